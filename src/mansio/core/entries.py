"""Entries of streams as Redis clients have them: added with ids, looked up by ids, taken away one by one or in front.

    add ──► batch ──flush──► run, as what is published over AMQP        delete, trim ──► settled in the log, by offset

What they see is everything that was appended: their replies wait for the log where that is not durable yet.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.batch import BATCH_BYTES_MAX, Batch, Trim
from mansio.core.records import encode_topology
from mansio.core.routing import Route
from mansio.core.run import Run, Span, lay_out
from mansio.core.stream_ids import id_at, index_of
from mansio.core.stream_marks import MARK, marks_of

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.stream import Stream

NODE: Final = 100
"""Entries that a trim which is not exact takes at a time (stream-node-max-entries of redis-server 7.0.15)."""

Slice = tuple[Run, int, int]
"""Entries [start, stop) of a run."""


class Entries:
    """Of all streams of a broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.open: list[Stream] = []
        """Streams with entries that are not in a run yet."""
        self.unwritten = False  # the end of the turn has something to do
        self._marked: dict[Stream, None] = {}  # in this turn

    # -- in

    def next_offset(self, stream: "Stream") -> int:
        """The offset of the entry that is added next."""
        batch = stream.batch
        return stream.next_position + (0 if batch is None else len(batch.frames))

    def add(self, stream: "Stream", frames: bytes, id: int, trim: Trim | None = None) -> None:
        """One entry, which has its offset in it, and an id above `last_id`; what is too much then goes."""
        batch = stream.batch
        if batch is None or batch.trim != trim or batch.data_bytes >= BATCH_BYTES_MAX:
            self.flush(stream)
            batch = stream.batch = Batch(trim)
            self.open.append(stream)
            self.unwritten = True
        batch.frames.append(frames)
        batch.ids.append(id)
        batch.data_bytes += len(frames)
        stream.last_id = id

    def add_row(self, stream: "Stream", frames: list[bytes], first: int) -> None:
        """Several entries, with ids from this one on."""
        self.add(stream, frames[0], first)
        batch = stream.batch
        assert batch is not None
        batch.frames += frames[1:]
        batch.ids.extend(range(first + 1, first + len(frames)))
        batch.data_bytes += sum(map(len, frames)) - len(frames[0])
        stream.last_id = first + len(frames) - 1

    def flush_all(self) -> None:
        """The turn, or a transaction, ends."""
        streams, self.open = self.open, []
        for stream in streams:
            self.flush(stream)
        self.unwritten = bool(self._marked)

    def flush(self, stream: "Stream") -> None:
        """What was added becomes a run."""
        batch = stream.batch
        if batch is None:
            return
        stream.batch = None
        if stream.deleted:
            return
        run = Run(*lay_out(batch.frames), (self._route(stream),), None, True)
        self._broker.streams.enter(stream, run, batch.ids)
        if batch.trim is not None:
            self.trim(stream, batch.trim)

    def _route(self, stream: "Stream") -> Route:
        if stream.route is None:
            stream.route = Route("", stream.name, ())
            stream.route.frame_max = self._broker.letters.frame_max
        return stream.route

    # -- looked up

    def length(self, stream: "Stream") -> int:
        """How many entries there are."""
        self.flush(stream)
        return stream.ready_count

    def offset_of(self, stream: "Stream", id: int) -> int:
        """The offset of the first entry with this id or a higher one, which may be gone; the next one if none is."""
        self.flush(stream)
        at = bisect_left(stream.ready, id, key=_last_id)
        if at == len(stream.ready):
            return stream.next_position
        span = stream.ready[at]
        return span.base + index_of(span.run, id)

    def slices(
        self, stream: "Stream", start: int, stop: int, count: int, reverse: bool = False
    ) -> list[Slice]:
        """Up to `count` of the entries at offsets [start, stop), the first ones; in reverse the last ones, slices
        in the order of falling offsets."""
        self.flush(stream)
        found: list[Slice] = []
        start = max(start, stream.first)
        if count <= 0 or start >= stop or not stream.ready:
            return found
        step = -1 if reverse else 1
        at = stream.span_of(stop - 1 if reverse else start)
        if at == len(stream.ready):
            at -= reverse
        while 0 <= at < len(stream.ready) and count > 0:
            span = stream.ready[at]
            low, high = max(start, span.base), min(stop, span.base + span.stop)
            if low >= high and (span.base >= stop if not reverse else span.base < start):
                break
            pieces = list(stream.pieces(low, high))
            for first, last in reversed(pieces) if reverse else pieces:
                n = min(last - first, count)
                if n <= 0:
                    break
                i = (last - n if reverse else first) - span.base
                found.append((span.run, i, i + n))
                count -= n
            at += step
        return found

    def at(self, stream: "Stream", id: int) -> Slice | None:
        """The entry with this id; None when there is none."""
        offset = self.offset_of(stream, id)
        if offset >= stream.next_position or offset < stream.first:
            return None
        span = stream.ready[stream.span_of(offset)]
        i = offset - span.base
        if id_at(span.run, i) != id or not stream.alive(offset, offset + 1):
            return None
        return span.run, i, i + 1

    def first_id(self, stream: "Stream") -> int:
        """The id of the oldest entry; 0 when there is none."""
        self.flush(stream)
        found = self.slices(stream, stream.first, stream.next_position, 1)
        return id_at(found[0][0], found[0][1]) if found else 0

    def newest_id(self, stream: "Stream") -> int:
        """The id of the newest entry; 0 when there is none."""
        self.flush(stream)
        found = self.slices(stream, stream.first, stream.next_position, 1, True)
        return id_at(found[0][0], found[0][1]) if found else 0

    # -- out

    def delete(self, stream: "Stream", ids: Iterable[int]) -> int:
        """XDEL: these entries go; answers how many there were."""
        self.flush(stream)
        first = stream.first
        gone: list[int] = []
        for id in set(ids):
            found = self.at(stream, id)
            if found is not None:
                gone.append(found[0].places[0][1] + found[1])
                stream.deleted_id = max(stream.deleted_id, id)
        for start, stop in _joined(sorted(gone)):
            self._broker.streams.cuts.take_out(stream, start, stop)
        if gone:
            if stream.gaps is not None and (until := stream.gaps.skip(first)) > first:
                self._broker.streams.cuts.give_up(stream, until, first, True)
            self.mark(stream)
        return len(gone)

    def trim(self, stream: "Stream", trim: Trim) -> int:
        """What is too much goes, in front; answers how many entries."""
        self.flush(stream)
        before = stream.ready_count
        if trim.by_id:
            until = self.offset_of(stream, trim.least)
            if not trim.exact:
                until = self._whole_nodes(stream, until, trim)
        elif trim.exact:
            until = self._behind(stream, before - trim.least)
        else:
            until = self._nodes(stream, trim)
        until = min([until, *(group.floor for group in stream.groups if group.protected)])
        if until > stream.first:
            self._broker.streams.cuts.give_up(stream, until, asked=True)
            if not stream.ready_count:
                self.mark(stream)
        return before - stream.ready_count

    def _behind(self, stream: "Stream", count: int) -> int:
        """The offset behind the first `count` entries."""
        if count <= 0:
            return stream.first
        for start, stop in stream.pieces(stream.first, stream.next_position):
            if stop - start >= count:
                return start + count
            count -= stop - start
        return stream.next_position

    def _nodes(self, stream: "Stream", trim: Trim) -> int:
        """Up to where whole nodes may go that are not needed for so many entries."""
        left, gone = stream.ready_count, 0
        at = stream.first
        while left > trim.least:
            stop = min(at - at % NODE + NODE, stream.next_position)
            count = _alive(stream, at, stop)
            if left - count < trim.least or (trim.most and gone + count > trim.most):
                break
            at, left, gone = stop, left - count, gone + count
        return at

    def _whole_nodes(self, stream: "Stream", until: int, trim: Trim) -> int:
        """Up to where whole nodes may go of what is below this offset."""
        gone = 0
        at = stream.first
        while at < until:
            stop = min(at - at % NODE + NODE, stream.next_position)
            count = _alive(stream, at, stop)
            if stop > until or (trim.most and gone + count > trim.most):
                break
            at, gone = stop, gone + count
        return at

    # -- what the entries do not tell

    def mark(self, stream: "Stream") -> None:
        """What is known of the stream beside its entries is to be durable."""
        self._marked[stream] = None
        self.unwritten = True

    def turned(self) -> None:
        """The turn ends."""
        self.flush_all()
        self._broker.streams.watching.serve()
        self._broker.streams.turned()
        marked, self._marked = self._marked, {}
        for stream in marked:
            if not stream.deleted:
                self.write_mark(stream)
        self.unwritten = False

    def write_mark(self, stream: "Stream") -> None:
        """The same at once."""
        change: dict[str, Any] = {"do": MARK, "vhost": stream.vhost, "name": stream.name}
        self._broker.journal.write(encode_topology(change | marks_of(stream)))

    def set_id(self, stream: "Stream", last: int, added: int, deleted: int) -> None:
        """XSETID: -1, or 0 for the highest that was deleted, for what stays."""
        self.flush(stream)
        stream.last_id = last
        if stream.ready:
            self._broker.streams.cuts.lower_ids(stream, stream.ready[-1], last)
        if added >= 0:
            stream.added = added - stream.next_position
        if deleted:
            stream.deleted_id = deleted
        self.mark(stream)

    def reset(self, stream: "Stream") -> None:
        """DEL of a stream that was declared: it is as if nobody had ever put something into it, but for offsets."""
        self.flush(stream)
        if stream.next_position > stream.first:
            self._broker.streams.cuts.give_up(stream, stream.next_position, asked=True)
        stream.last_id = stream.deleted_id = 0
        stream.added = -stream.next_position
        self.mark(stream)


def _alive(stream: "Stream", start: int, stop: int) -> int:
    """How many entries are there, of any runs."""
    return sum(high - low for low, high in stream.pieces(start, stop))


def _joined(offsets: list[int]) -> list[tuple[int, int]]:
    """Rising offsets as intervals."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


def _last_id(span: Span) -> int:
    return id_at(span.run, span.stop - 1)
