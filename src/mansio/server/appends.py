"""How appends to the log went, for metrics: what was appended, how long it took, what failed."""

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of a latency: a good disk syncs in 0.1 to 1 ms, a full queue of one takes seconds."""

_BOUNDS_NS: Final = tuple(round(bound * 1_000_000_000) for bound in BOUNDS_S)


class Appends:
    """Entries that landed in the log. An append that failed has no latency, also if its entry is there after all."""

    __slots__ = ("bytes", "entries", "errors", "last_seq", "sum_ns", "took_counts", "trimmed_seq")

    def __init__(self) -> None:
        self.entries = 0
        self.bytes = 0  # of these
        self.errors = 0
        self.last_seq = 0
        self.trimmed_seq = 0  # the log was told that it may forget entries up to this one
        self.sum_ns = 0  # of all latencies
        self.took_counts = [0] * (len(BOUNDS_S) + 1)  # by bucket, not cumulative

    def landed(self, seq: int, size: int) -> None:
        """An entry of this many bytes is durable."""
        self.entries += 1
        self.bytes += size
        self.last_seq = seq

    def took(self, ns: int) -> None:
        """An append returned after this time."""
        self.sum_ns += ns
        self.took_counts[bisect_left(_BOUNDS_NS, ns)] += 1
