"""A stream: entries stay when they are read, and every reader has a place of its own.

    publish ──► numbered, in the log ──durable──► readers, each at its offset
    [segment 0][segment 1][segment 2 …]           acknowledgements give credit, and take nothing away
     └ goes as a whole when there is too much, or it is too old; the last one stays

It keeps its entries as a queue keeps what is ready: spans of runs by position, and a position is an offset. So they are
stored, paged out, restored and given back as those of queues are. Every message has its offset in a header from the
beginning, so that all readers share one copy of it. Nobody sees what is not durable: after a crash its offset would be
another message's.

Redis clients know entries by their ids (stream_ids.py), and may take some away: in front, below `floor`, or between
others, in `gaps`. A run of which nothing is left is given up.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mansio.core.gaps import Gaps
from mansio.core.paging import Pages
from mansio.core.producers import Producers
from mansio.core.queue import Queue
from mansio.core.run import Run, Span
from mansio.core.stream_arguments import SEGMENT_BYTES, duration_ms

if TYPE_CHECKING:
    from mansio.core.batch import Batch
    from mansio.core.group import Group
    from mansio.core.packing import Packing
    from mansio.core.read_group import ReadGroups
    from mansio.core.routing import Route
    from mansio.core.watching import Watcher


class Cut(NamedTuple):
    """Entries of a run that a stream gives up: `alive` of those at the offsets [start, stop) were still there."""

    run: Run
    start: int
    stop: int
    alive: int


class Segment:
    """Entries up to offset `stop`, exclusive, of `data_bytes`; the last of them came at `last_ms`."""

    __slots__ = ("data_bytes", "last_ms", "stop")

    def __init__(self) -> None:
        self.stop = 0
        self.data_bytes = 0
        self.last_ms = 0


class Reader:
    """Where a consumer of a stream is: at `offset`, and in the run of this `number`; -1: not known yet."""

    __slots__ = ("mark", "number", "offset")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.number = -1
        self.mark: int | None = None  # the offset at which more is read ahead; see Loading


class Stream(Queue):
    """`committed`: all entries below this offset are durable. `removed`: how many runs are gone from the front.

    `data_bytes`: of all segments. `missing`: entries between others that were lost with a part of the log. `held`: a
    protected group needs what would be too much, or too old, without it.

    `floor`: offsets below it are gone; `gaps`: others that are, None for none; `released`: how many of these are in no
    run any more. `last_id`: no entry has had a higher one; `deleted_id`: the highest that was taken away by itself;
    `added`: to `next_position`, how many entries there have ever been. `batch`: entries that are not in a run yet.
    """

    keeps: ClassVar[bool] = True

    __slots__ = (
        "added",
        "batch",
        "committed",
        "data_bytes",
        "deleted_id",
        "floor",
        "gaps",
        "groups",
        "held",
        "last_id",
        "max_age_ms",
        "max_bytes",
        "missing",
        "packed",
        "packing",
        "readers",
        "released",
        "removed",
        "route",
        "segment_bytes",
        "segments",
        "watchers",
    )

    def _prepare(self) -> None:
        """See `Queue`."""
        self.committed = 0
        self.data_bytes = 0
        self.groups: list[Group] = []
        self.held = False
        self.removed = 0
        self.missing = 0
        self.floor = 0
        self.gaps: Gaps | None = None
        self.released = 0
        self.last_id = self.deleted_id = self.added = 0
        self.batch: Batch | None = None
        self.route: Route | None = None  # of entries that Redis clients add
        self.readers: ReadGroups | None = None  # groups of Redis clients
        self.watchers: dict[Watcher, None] | None = None  # who waits for entries
        self.packed = 0  # the number of the first run that may be packed; see packing.py
        self.packing: Packing | None = None
        self.pages = Pages(oldest_first=True)
        self.dedup = Producers() if self.arguments.get("x-message-deduplication") else None
        self.segments: deque[Segment] = deque()
        self.rearmed()

    def rearmed(self) -> None:
        """See `Queue`. What is in a segment stays there, however large they may be from now on."""
        asked = self.asked
        self.max_age_ms: int | None = None
        if "x-max-age" in asked:
            self.max_age_ms = duration_ms(asked["x-max-age"])
        self.max_bytes: int | None = asked.get("x-max-length-bytes")
        self.segment_bytes: int = asked.get("x-stream-max-segment-size-bytes", SEGMENT_BYTES)

    # -- entries

    @property
    def first(self) -> int:
        """The offset of the oldest entry; that of the next one where there is none."""
        return max(self.ready[0].base, self.floor) if self.ready else self.next_position

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What is there of these offsets, as intervals."""
        start = max(start, self.floor)
        if self.gaps is not None:
            yield from self.gaps.pieces(start, stop)
        elif start < stop:
            yield start, stop

    def alive(self, start: int, stop: int) -> int:
        """How many entries are there of these offsets, all of one run."""
        start = max(start, self.floor)
        if start >= stop:
            return 0
        return stop - start - (0 if self.gaps is None else self.gaps.within(start, stop))

    def is_whole(self, span: Span) -> bool:
        """Whether nothing of a run is gone."""
        return self.alive(span.base, span.base + span.stop) == span.stop

    @property
    def last_ms(self) -> int:
        """When the newest entry came; 0: there is none."""
        return self.segments[-1].last_ms if self.segments else 0

    def put_back_partly(self, span: Span, gone: list[tuple[int, int]]) -> None:
        """A run is back after a restart, but for what is settled of it at these offsets. Of those before, too."""
        if gone and not self.ready and gone[0][0] == span.base:
            self.floor = gone[0][1]
            gone = gone[1:]
        self.put(span)
        for start, stop in gone:
            if self.gaps is None:
                self.gaps = Gaps()
            self.gaps.add(start, stop)

    def put(self, span: Span) -> None:
        """See `Queue`. Nothing in a stream has been delivered before, whoever has seen it."""
        span.redelivered = False
        self.ready.append(span)
        if not self.segments or self.segments[-1].data_bytes >= self.segment_bytes:
            self.segments.append(Segment())
        segment = self.segments[-1]
        segment.stop = span.base + span.stop
        segment.data_bytes += span.run.data_bytes
        self.data_bytes += span.run.data_bytes
        segment.last_ms = max(span.run.arrived_ms, segment.last_ms)

    def placed(self, run: Run) -> None:
        """One of its runs is durable, and all before it."""
        stop = run.places[0][1] + run.count
        self.committed = max(self.committed, stop)

    # -- readers

    def run_at(self, reader: Reader) -> Span | None:
        """The run that the reader reads next; None where it has to wait for it.

        What is not there any more is skipped, also what damage of the log has taken.
        """
        ready = self.ready
        if reader.offset < self.floor or self.gaps is not None:
            self._skip(reader)
        if reader.offset >= self.committed or not ready:
            return None
        at = reader.number - self.removed
        if reader.number < 0 or at < 0:
            reader.offset = max(reader.offset, self.first)
            at = bisect_right(ready, reader.offset, key=_base) - 1
            at += reader.offset >= ready[at].base + ready[at].stop
            reader.number = at + self.removed
            if reader.offset >= self.committed:
                return None
        if at >= len(ready):
            return None
        span = ready[at]
        reader.offset = max(reader.offset, span.base)
        return span

    def _skip(self, reader: Reader) -> None:
        """What is gone is not read."""
        offset = max(reader.offset, self.floor)
        if self.gaps is not None:
            offset = self.gaps.skip(offset)
        if offset != reader.offset:
            reader.offset, reader.number = offset, -1

    def room_until_gap(self, offset: int) -> int:
        """How many entries follow each other from this one on, which is there; many where nothing else is gone."""
        return 1 << 62 if self.gaps is None else self.gaps.next_start(offset) - offset

    def last_offset(self) -> int:
        """Where the newest run begins that may be read."""
        at = bisect_left(self.ready, self.committed, key=_base) - 1
        return max(self.ready[at].base, self.floor) if at >= 0 else self.committed

    def span_of(self, offset: int) -> int:
        """Which span has this offset, or is the first one behind it; how many there are where none is."""
        at = bisect_right(self.ready, offset, key=_base) - 1
        if at < 0 or offset >= self.ready[at].base + self.ready[at].stop:
            at += 1
        return at

    def offset_at(self, when_ms: int) -> int:
        """Where the first run begins that came at this time or later."""
        at = bisect_left(self.ready, when_ms, key=_arrived)
        return self.ready[at].base if at < len(self.ready) else self.committed

    # -- the end of entries

    def excess(self, now_ms: int) -> int:
        """The offset below which entries are to go: those of segments that are too many, or too old."""
        until = 0
        self.held = False
        needed = min((g.floor for g in self.groups if g.protected), default=self.committed)
        too_many = -1 if self.max_bytes is None else self.data_bytes - self.max_bytes
        oldest_ms = -1 if self.max_age_ms is None else now_ms - self.max_age_ms
        for segment in self.segments:
            if segment is self.segments[-1] or segment.stop > self.committed:
                break
            if too_many <= 0 and segment.last_ms >= oldest_ms:
                break
            if segment.stop > needed:
                self.held = True
                break
            until = segment.stop
            too_many -= segment.data_bytes
        return until

    def next_excess_ms(self) -> int | None:
        """When the oldest segment is too old; None: never, as long as nothing else happens."""
        if self.max_age_ms is None or len(self.segments) < 2 or self.held:
            return None
        if self.segments[0].stop > self.committed:
            return None
        return self.segments[0].last_ms + self.max_age_ms + 1

    def cut(self, until: int, first: int = -1) -> list[Cut]:
        """Takes what is below this offset; segments go with what is in them, but for the last one.

        `first`: where the stream began before spans were taken out, if any were.
        """
        first = self.first if first < 0 else first
        kept = 0  # of the offsets that go, those that are in a run
        gone: list[Cut] = []
        while self.ready and self.ready[0].base < until:
            run, base = self.ready[0].run, self.ready[0].base
            stop = min(base + run.count, until)
            count = self.alive(base, stop)
            kept += stop - max(base, first)
            self.ready_count -= count
            gone.append(Cut(run, max(base, first), stop, count))
            if stop < base + run.count:
                break
            self.ready.popleft()
            self.removed += 1
            self._leave_segment(base, run)
        self.released = max(self.released - (until - first - kept), 0)
        self.floor = until
        if self.gaps is not None:
            self.gaps.drop_below(until)
            self.gaps = self.gaps or None
        while len(self.segments) > 1 and self.segments[0].stop <= until:
            self.segments.popleft()
        return gone

    def take_out(self, at: int) -> Run:
        """Takes a span of which nothing is left."""
        span = self.ready[at]
        self.released += span.base + span.stop - max(span.base, self.first)
        if at:
            del self.ready[at]
            self.packed -= at < self.packed - self.removed
            if self.packing is not None and at < self.packing.number - self.removed:
                self.packing.number -= 1
            for consumer in self.consumers:
                assert consumer.reader is not None
                consumer.reader.number = -1
        else:
            self.ready.popleft()
            self.removed += 1
        self._leave_segment(span.base, span.run)
        return span.run

    def _leave_segment(self, base: int, run: Run) -> None:
        segment = next(each for each in self.segments if each.stop > base)
        segment.data_bytes -= run.data_bytes
        self.data_bytes -= run.data_bytes

    def take_all(self) -> list[Span]:
        """See `Queue`."""
        self.segments.clear()
        self.data_bytes = 0
        self.removed += len(self.ready)
        spans = [
            Span(span.run, start - span.base, stop - span.base, span.base)
            for span in super().take_all()
            for start, stop in self.pieces(span.base, span.base + span.stop)
        ]
        self.floor, self.gaps = self.next_position, None
        return spans


def _base(span: Span) -> int:
    return span.base


def _arrived(span: Span) -> int:
    return span.run.arrived_ms
