"""A run: consecutive messages that arrived in one turn and go to the same queues, as the publisher's own bytes.

    data  | publish method frame, header frame, body frames | publish method frame, header frame, … |
            message 0: [0, stride) or [0, ends[0])            message 1                               count messages

A run is shared by all queues that it was routed to and never changes; what is left of it in one queue is a `Span`.
`live` counts (queue, message) pairs that are not settled: at 0 its memory is given back.

A persistent run that went to a durable queue has a record in the log. `places` and `gone` are what that record, and
those of settlements, say of it: where it went and what is settled since. Once the record is durable, `bucket`, `seq`,
`offset` and `size` tell where it lies.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mansio.core.retention import Bucket
    from mansio.core.routing import Route

Place = tuple[int, int]
"""(queue id, position of the run's first message in that queue)."""
Range = tuple[int, int, int]
"""Messages of a queue by position: (first, count, step)."""


class Run:
    """`count` messages in `data`: each `stride` bytes long, or, if `stride` is 0, delimited by `ends` (native u32).

    `which[i]` is the number of message i's route in `routes`; None when there is only one.
    """

    __slots__ = (
        "bucket",
        "count",
        "data",
        "ends",
        "gone",
        "live",
        "offset",
        "persistent",
        "places",
        "routes",
        "seq",
        "size",
        "stride",
        "which",
    )

    def __init__(
        self,
        data: bytes,
        count: int,
        stride: int,
        ends: bytes | None,
        routes: "tuple[Route, ...]",
        which: bytes | None = None,
        persistent: bool = False,
    ) -> None:
        self.data = data
        self.count = count
        self.stride = stride
        self.ends = ends
        self.routes = routes
        self.which = which
        self.persistent = persistent
        self.live = 0
        self.places: tuple[Place, ...] = ()
        self.gone: list[tuple[int, Range]] | None = None  # (queue id, range)
        self.bucket: Bucket | None = None
        self.seq = 0
        self.offset = 0
        self.size = 0

    def bounds(self, i: int) -> tuple[int, int]:
        """Where message `i` lies in `data`: [start, stop), its publish method frame included."""
        if self.ends is None:
            return i * self.stride, (i + 1) * self.stride
        with memoryview(self.ends).cast("I") as table:
            return (table[i - 1] if i else 0), table[i]

    def route(self, i: int) -> "Route":
        """The route that message `i` was published with."""
        return self.routes[self.which[i] if self.which is not None else 0]

    def message(self, i: int) -> bytes:
        """The frames of message `i`, its publish method frame included."""
        start, stop = self.bounds(i)
        return self.data[start:stop]

    def content(self, i: int) -> bytes:
        """The header and body frames of message `i`."""
        start, stop = self.bounds(i)
        return self.data[start + self.route(i).skip : stop]

    def bytes_each(self) -> int:
        """Mean size of a message, at least 1."""
        return len(self.data) // self.count or 1


class Span:
    """Messages [start, stop) of a run that are ready in one queue; message i has the queue position `base + i`."""

    __slots__ = ("base", "redelivered", "run", "start", "stop")

    def __init__(
        self, run: Run, start: int, stop: int, base: int, redelivered: bool = False
    ) -> None:
        self.run = run
        self.start = start
        self.stop = stop
        self.base = base
        self.redelivered = redelivered
