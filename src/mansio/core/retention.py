"""Which part of the log is still needed: its live runs by bucket, and what may be cut off at the front.

    seq   1 ─────────── 40 │ 41 ────────── 77 │ 78 ───────── …
          bucket           │ bucket           │ bucket              each about Limits.bucket_bytes
          no live run      │ 2 live runs      │ 9 live runs
          └── may be cut ──┘                                        if the topology is written again behind it

A run that stays in the oldest bucket while everything behind it is settled would keep the whole log. It is *carried*:
its record is appended again, with what is settled of it, and from then on it lives in a new bucket. The topology is
carried as a whole, in a *snapshot*.
"""

from collections import deque
from itertools import chain, islice
from typing import Any, Final

from mansio.core.items import Batch
from mansio.core.limits import Limits
from mansio.core.records import SNAPSHOT
from mansio.core.run import Run

Held = Run | Batch
"""What has a record that is needed as long as something of it is live."""

_MAX: Final = 1 << 63

SNAPSHOT_LAG_BUCKETS: Final = 4
"""How much may lie in front of the first live run, at least, before the topology is written again behind it."""
SNAPSHOT_LAG_FACTOR: Final = 4
"""And how many times the size of the snapshot: what is kept for it and what it costs are in proportion."""


TOLD_BYTES: Final = 32
"""What it takes, at most, to write again that some messages of a run are settled in one queue."""

LOW_GAIN_BUCKETS: Final = 4
"""Without room in the log: what must be won, at least, before the oldest messages are carried; and no less than is
carried, or a log that is nearly all live would be written again and again, and end up larger."""


class Bucket:
    """Entries [first_seq, last_seq] of the log, and the runs whose records lie there."""

    __slots__ = ("bytes", "first_seq", "last_seq", "leaving", "live_bytes", "moving", "runs")

    def __init__(self, seq: int) -> None:
        self.first_seq = seq
        self.last_seq = seq
        self.bytes = 0
        # Of the records of `runs` and `moving`, and of what is settled of these.
        self.live_bytes = 0
        self.runs: dict[Held, None] = {}
        self.moving: dict[Held, None] = {}  # carried, but their new record is not durable yet
        self.leaving = 0  # settled runs, but the record that says so is not durable yet

    @property
    def needed(self) -> bool:
        """Whether a restart now would look for a run here."""
        return bool(self.runs or self.moving or self.leaving)


class Retention:
    """Live runs by place in the log. Sizes in bytes."""

    def __init__(self, limits: Limits, replayed: bool = True) -> None:
        """`replayed` False: nobody will restore anything from this log, so the topology is not in it."""
        self._limits = limits
        self._replayed = replayed
        self.buckets: deque[Bucket] = deque()
        self.total_bytes = 0  # of entries that are not cut off
        self.live_bytes = 0  # of the records of live runs, and of what is settled of these
        self._topology_seq = 0 if replayed else _MAX
        """The entry of the last snapshot; 0: none, the whole topology counts."""
        self._snapshot_bytes = 0
        self._snapshot_pending = False
        self._moving = 0  # runs that are, in all buckets
        self._leaving: list[Bucket] = []  # of runs that were settled since `take_leaving`

    # -- what happens to the log

    def entry(self, seq: int, size: int) -> None:
        """One more entry of the log, appended or replayed."""
        if not self.buckets or self.buckets[-1].bytes >= self._limits.bucket_bytes:
            self.buckets.append(Bucket(seq))
        bucket = self.buckets[-1]
        bucket.last_seq = seq
        bucket.bytes += size
        self.total_bytes += size

    def place(self, owner: Any, seq: int, offset: int, size: int) -> None:
        """A record of `owner`, a run, SNAPSHOT or `take_leaving`, lies in entry `seq`, the last one that was told."""
        if isinstance(owner, list):
            for bucket in owner:
                bucket.leaving -= 1
        elif owner is SNAPSHOT:
            self._topology_seq = seq
            self._snapshot_bytes = size
            self._snapshot_pending = False
        elif owner.live:
            self.hold(owner, self.buckets[-1], seq, offset, size)
        elif self._replayed:  # settled already, but maybe not durably yet
            self._leave(self.buckets[-1])

    def hold(self, run: Held, bucket: Bucket, seq: int, offset: int, size: int) -> None:
        """A live run has its record there, and needs an earlier one no more."""
        self._forget(run)
        run.bucket = bucket
        run.seq, run.offset, run.size = seq, offset, size
        bucket.runs[run] = None
        self._count(bucket, size + TOLD_BYTES * len(run.gone or ()))

    def told(self, run: Run) -> None:
        """One more range of a run is settled, which has to be written again with it."""
        if run.bucket is not None:
            self._count(run.bucket, TOLD_BYTES)

    def shrink(self, run: Held, size: int) -> None:
        """So many bytes of its record are not needed any more, and are not written again with it."""
        if run.bucket is not None:
            run.size -= size
            self._count(run.bucket, -size)

    def settled(self, run: Held) -> None:
        """The run is settled everywhere, but its record is needed until the settlements are durable."""
        bucket = run.bucket
        if bucket is not None:
            self._forget(run)
            if self._replayed:
                self._leave(bucket)

    def take_leaving(self) -> list[Bucket]:
        """An owner for the last record of this turn, which says why runs are not needed any more."""
        leaving, self._leaving = self._leaving, []
        return leaving

    def _leave(self, bucket: Bucket) -> None:
        bucket.leaving += 1
        self._leaving.append(bucket)

    def _forget(self, run: Held) -> None:
        bucket = run.bucket
        if bucket is not None:
            run.bucket = None
            if run in bucket.moving:
                del bucket.moving[run]
                self._moving -= 1
            else:
                del bucket.runs[run]
            self._count(bucket, -run.size - TOLD_BYTES * len(run.gone or ()))

    def _count(self, bucket: Bucket, size: int) -> None:
        bucket.live_bytes += size
        self.live_bytes += size

    # -- what follows

    def cut(self) -> int:
        """Forgets the part of the log in front that nothing needs; the seq of its last entry, 0 if there is none."""
        buckets = self.buckets
        while len(buckets) > 1 and buckets[0].last_seq < self._topology_seq:
            if buckets[0].needed:
                break
            self.total_bytes -= buckets.popleft().bytes
        return buckets[0].first_seq - 1 if buckets else 0

    def take_snapshot_due(self, low: bool = False) -> bool:
        """Whether the topology is to be written again now; the caller does it. `low`: there is hardly any room."""
        if self._snapshot_pending:
            return False
        lag = 0 if low else SNAPSHOT_LAG_BUCKETS * self._limits.bucket_bytes
        lag = max(lag, (1 if low else SNAPSHOT_LAG_FACTOR) * self._snapshot_bytes)
        self._snapshot_pending = self._idle_bytes() > lag and len(self.buckets) > 1
        return self._snapshot_pending

    def take_carried(
        self, low: bool = False, most_bytes: int = _MAX
    ) -> tuple[list[Held], list[Run]]:
        """Runs whose records are to be appended again in this turn, and others that are paged out: they have to be
        read first, and are taken in a later turn. The caller does both.

        `most_bytes`: what there is room for. `low`: that is hardly anything, so one bucket is emptied at a time.
        """
        if low:
            due = self._is_pinned() and self._gains(most_bytes)
        else:
            garbage_bytes = self.total_bytes - self._idle_bytes() - self.live_bytes
            due = garbage_bytes > max(self._limits.garbage_bytes, self.live_bytes)
        if not due:
            return [], []
        carried: list[Held] = []
        absent: list[Run] = []
        room = self._limits.bucket_bytes
        buckets = islice(self.buckets, 1 if low else len(self.buckets) - 1)
        for run in chain.from_iterable(bucket.runs for bucket in buckets):
            if room <= 0:
                break
            room -= run.size
            if isinstance(run, Batch) or run.data:
                carried.append(run)
            else:
                absent.append(run)
        if sum(run.size for run in (*carried, *absent)) > most_bytes:
            return [], []
        for run in carried:
            home = run.bucket
            assert home is not None
            del home.runs[run]
            home.moving[run] = None
        self._moving += len(carried)
        return carried, absent

    def _idle_bytes(self) -> int:
        """What lies in front of the first live run: that is won by a snapshot, whatever is carried."""
        idle_bytes = 0
        for bucket in self.buckets:
            if bucket.needed:
                break
            idle_bytes += bucket.bytes
        return idle_bytes

    def _is_pinned(self) -> bool:
        """Whether only live runs keep the oldest bucket, and nothing is on its way behind them."""
        if len(self.buckets) < 2 or self._moving:
            return False
        return bool(self.buckets[0].runs) and not self.buckets[0].leaving

    def _gains(self, most_bytes: int) -> bool:
        """Whether the log gets much shorter in front if at most so much of it is carried."""
        least_bytes = LOW_GAIN_BUCKETS * self._limits.bucket_bytes
        live_bytes = idle_bytes = 0
        for bucket in islice(self.buckets, len(self.buckets) - 1):
            live_bytes += bucket.live_bytes
            idle_bytes += bucket.bytes - bucket.live_bytes
            if live_bytes > most_bytes:
                break
            if idle_bytes >= max(least_bytes, live_bytes):
                return True
        return False
