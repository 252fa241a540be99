"""Rebuilds a Broker from the records that earlier ones wrote: `entry` and `apply` in order, then `finish` once.

    entry ─► apply each record ─► … ─► finish
             publishes and settlements gather by queue id; the topology is changed at once

Settlements are taken out at the end, since they may lie far behind what they settle. The log may begin anywhere: what
was cut off in front is settled; the topology counts from its beginning or from a snapshot on. A run that was carried
is in the log twice: the later record counts.

Everything that comes back is marked as redelivered, since it may have been delivered before; after an orderly stop, at
which the broker wrote down what had been, only that. With a budget for messages in memory, all of it is paged out.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from mansio.core.deduplication import Present
from mansio.core.delays import Delays
from mansio.core.expiry import Expiry
from mansio.core.group import Group
from mansio.core.held import from_table
from mansio.core.item_records import Stored
from mansio.core.items import Batch
from mansio.core.limits import ROUTES_MAX
from mansio.core.queue import Queue
from mansio.core.records import (
    SNAPSHOT,
    STARTED,
    STOPPED,
    Counted,
    Published,
    PublishedRoute,
    Returned,
    Settled,
    decode,
)
from mansio.core.routing import Route
from mansio.core.run import Range, Run, Span
from mansio.core.stream import Stream
from mansio.core.topology_restore import TopologyRestore

if TYPE_CHECKING:
    from mansio.core.broker import Broker

Interval = tuple[int, int]
"""Positions [first, stop)."""


class Restore:
    """The way back from records to state; of one use."""

    def __init__(self, broker: "Broker") -> None:
        """`broker` has served nobody yet."""
        self._broker = broker
        self._topology = TopologyRestore(broker)
        self._spans: dict[int, dict[int, Span]] = {}  # by queue id and base position
        self._settled: dict[int, list[Range]] = {}  # by queue id
        self._returned: dict[int, list[Range]] = {}
        self._counted: dict[int, dict[int, tuple[int, int]]] = {}
        """By queue id and position: how often it was given back, and when it is ready again."""
        self._items: dict[int, dict[bytes, tuple[bytes, Batch]]] = {}
        """By id of the store, tag and key: the last value."""
        self._routes: dict[tuple[PublishedRoute, ...], tuple[Route, ...]] = {}
        self._in_order = False  # nothing was written since an orderly stop
        self._seq = 0
        self.records = 0  # that were read so far
        self.messages = 0  # that these have published

    def entry(self, seq: int, size: int) -> None:
        """The records that follow come from entry `seq` of the log, which has this many bytes."""
        self._seq = seq
        self._broker.journal.retention.entry(seq, size)

    def apply(self, record: bytes, offset: int = 0) -> None:
        """One record, from this byte of its entry; Damaged when it cannot be read or does not fit."""
        self.records += 1
        found = decode(record)
        if isinstance(found, Returned):
            self._returned.setdefault(found.queue, []).extend(found.ranges)
            return
        self._in_order = False
        if isinstance(found, Counted):
            counted = self._counted.setdefault(found.queue, {})
            for first, count, step in found.ranges:
                for position in range(first, first + count * step, step):
                    counted[position] = found.deliveries, found.due_ms
        elif isinstance(found, Published):
            self._publish(found, offset, len(record))
        elif isinstance(found, Settled):
            self._settled.setdefault(found.queue, []).extend(found.ranges)
        elif isinstance(found, Stored):
            self._store(found, offset, len(record))
        elif found["do"] == STOPPED:
            self._in_order = True
        elif found["do"] == STARTED:
            self._returned.clear()
            if found["new"]:
                self._topology.begin()
        else:
            for deleted in self._topology.change(found):
                self._spans.pop(deleted, None)
                self._settled.pop(deleted, None)
                self._counted.pop(deleted, None)
                self._items.pop(deleted, None)
            if found["do"] == SNAPSHOT:
                self._broker.journal.retention.place(SNAPSHOT, self._seq, offset, len(record))

    def finish(self) -> None:
        """Fills the queues with what is not settled; from here on the broker may serve."""
        queues = self._topology.finish()
        runs: dict[Run, None] = {}
        paging = self._broker.paging
        for queue in queues:
            bytes_count = queue.bound is not None and queue.bound.bytes_max is not None
            for span in self._restore_queue(queue):
                if bytes_count and span.run.data:  # else a policy bounds it: it is read for that
                    span.run.measure()
                if isinstance(queue, Group):  # its stream has them already
                    continue
                runs[span.run] = None
                if paging.budget_bytes:
                    span.run.home = paging.pages(queue)
                    if queue.hidden:
                        paging.keep(span.run)
        for host in self._broker.vhosts:
            self._restore_delays(self._broker.delays(host), runs)
        for run in runs:
            bucket, run.bucket = run.bucket, None
            self._broker.settling.count(run)
            if bucket is not None:
                self._broker.journal.retention.hold(run, bucket, run.seq, run.offset, run.size)
        for queue in queues:
            if isinstance(queue, Group):
                queue.restored()
        for queue in queues:
            if isinstance(queue, Stream):
                self._broker.streams.restored(queue)
            if queue.expiry is not None:
                queue.expiry.spare_nothing()
            if queue.bound is not None or queue.expiry is not None:
                self._broker.dispatcher.touch(queue)  # what is too much, or too old, goes
        self._broker.keyspaces.take_back(self._items)
        self._spans.clear()
        self._settled.clear()
        self._returned.clear()
        self._counted.clear()

    def _publish(self, found: Published, offset: int, size: int) -> None:
        self.messages += found.messages
        data, ends, which = found.data, found.ends, found.which
        run = Run(data, found.messages, found.stride, ends, self._find_routes(found), which, True)
        run.places = tuple(found.places)
        run.arrived_ms, run.expiration_ms = found.arrived_ms, found.expiration_ms
        run.priority = found.priority
        run.marks, run.ids = found.marks, found.ids
        if found.due is not None and found.places:
            run.held = from_table(run, found.places[0][1], found.due)
        buckets = self._broker.journal.retention.buckets
        run.bucket = buckets[-1] if buckets else None
        run.seq, run.offset, run.size = self._seq, offset, size
        if self._broker.paging.budget_bytes:
            # A queue may also be known from a later snapshot only.
            queues = [queue_id for queue_id, _ in found.places]
            if found.due is None and not self._topology.unlimited.issuperset(queues):
                run.measure()
            run.page_out()
        for queue_id, base in found.places:
            spans = self._spans.setdefault(queue_id, {})
            if base not in spans or spans[base].stop <= run.count:  # else it is packed in there
                spans[base] = Span(run, 0, run.count, base)

    def _store(self, found: Stored, offset: int, size: int) -> None:
        batch = Batch()
        buckets = self._broker.journal.retention.buckets
        batch.bucket = buckets[-1] if buckets else None
        batch.seq, batch.offset, batch.size = self._seq, offset, size
        values = self._items.setdefault(found.store, {})
        for name, value in found.changes:
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value, batch

    def _restore_delays(self, delays: Delays, runs: dict[Run, None]) -> None:
        by_base = self._spans.pop(delays.id, {})
        settled = _intervals(self._settled.get(delays.id, ()))
        if settled:
            delays.next_position = max(delays.next_position, settled[-1][1])
        for base in sorted(by_base):
            span = by_base[base]
            delays.next_position = max(delays.next_position, base + span.run.count)
            left = array("I")
            for piece, inside in _split([span], settled):
                if not inside:
                    left.extend(range(piece.start, piece.stop))
            if left:
                delays.take_back(span.run, left)
                runs[span.run] = None

    def _find_routes(self, found: Published) -> tuple[Route, ...]:
        """Runs that were published alike share their routes."""
        key = tuple(found.routes)
        routes = self._routes.get(key)
        if routes is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            routes = self._routes[key] = tuple(_route(each) for each in found.routes)
        return routes

    def _restore_queue(self, queue: Queue) -> Iterable[Span]:
        by_base = self._spans.pop(queue.id, {})
        if isinstance(queue, Group):
            by_base = {span.base: span for span in _from(queue)}
        spans = [by_base[base] for base in sorted(by_base)]
        if queue.keeps:
            spans = _outermost(spans)
        settled = _intervals(self._settled.get(queue.id, ()))
        returned = _intervals(self._returned.get(queue.id, ()))
        for gone in settled[:1]:
            queue.low_position = min(queue.low_position, gone[0])
        for span in spans[:1]:
            queue.low_position = min(queue.low_position, span.base)
        for gone in settled[-1:]:
            queue.next_position = max(queue.next_position, gone[1])
        for span in spans[-1:]:
            queue.next_position = max(queue.next_position, span.base + span.stop)
        if isinstance(queue, Stream):
            self._restore_stream(queue, spans, settled)
            return queue.spans()
        for span, inside in _split(spans, settled):
            if inside:
                if span.run.gone is None:
                    span.run.gone = []
                count = span.stop - span.start
                span.run.gone.append((queue.id, (span.base + span.start, count, 1)))
                continue
            for piece, delivered in _split([span], returned) if self._in_order else [(span, True)]:
                piece.redelivered = delivered
                self._put(queue, piece)
        return queue.spans() if queue.deferred is None else [*queue.spans(), *queue.deferred]

    def _restore_stream(self, stream: Stream, spans: list[Span], settled: list[Interval]) -> None:
        """Runs of which something is left, whole: what is gone of them is noted."""
        for _, pieces in groupby(_split(spans, settled), lambda piece: piece[0].base):
            parts = list(pieces)
            run, base = parts[0][0].run, parts[0][0].base
            gone = [(base + span.start, base + span.stop) for span, inside in parts if inside]
            count = run.count - sum(stop - start for start, stop in gone)
            if not count:
                continue
            run.live += count
            stream.ready_count += count
            stream.put_back_partly(Span(run, 0, run.count, base), gone)
            if gone:
                run.gone = [(stream.id, (start, stop - start, 1)) for start, stop in gone]

    def _put(self, queue: Queue, span: Span) -> None:
        """A span is there, message by message where it is known how often they were given back."""
        run = span.run
        run.live += span.stop - span.start
        if run.expiration_ms is not None and queue.expiry is None and not queue.hidden:
            queue.expiry = Expiry(self._broker, queue)
        counted = self._counted.get(queue.id)
        if run.marks is not None:
            self._mark(queue, run, span.base + span.start, counted or {})
        if not counted or not (queue.rules.counts or queue.deferred is not None):
            queue.ready_count += span.stop - span.start
            queue.put(span)
            return
        for i in range(span.start, span.stop):
            position = span.base + i
            deliveries, due_ms = counted.get(position, (0, 0))
            redelivered = span.redelivered or bool(deliveries)
            message = Span(run, i, i + 1, span.base, redelivered, deliveries)
            if due_ms > self._broker.now_ms and queue.deferred is not None:
                queue.deferred.add(message, due_ms)
            else:
                queue.ready_count += 1
                queue.put(message)
            if deliveries:
                if run.returns is None:
                    run.returns = []
                run.returns.append((queue.id, deliveries, due_ms, (position, 1, 1)))

    def _mark(
        self, queue: Queue, run: Run, position: int, counted: dict[int, tuple[int, int]]
    ) -> None:
        """The only message of a run is in the queue, and asks for more than being delivered."""
        marks = run.marks
        assert marks is not None
        if marks.id is not None and isinstance(queue.dedup, Present):
            queue.dedup.take(marks.id)
        if marks.reply_to is None or queue.hidden:
            return
        marks.owed.add(queue.id)
        self._broker.receipts.owed += 1
        if position in counted:
            deliveries, due_ms = counted[position]
            marks.returns = (marks.returns or {}) | {queue.id: deliveries}
            if not queue.rules.counts and queue.deferred is None:
                returned = (queue.id, deliveries, due_ms, (position, 1, 1))
                run.returns = [*(run.returns or ()), returned]


def _outermost(spans: list[Span]) -> list[Span]:
    """Those that are not packed in one before them."""
    found: list[Span] = []
    for span in spans:
        if not found or span.base >= found[-1].base + found[-1].stop:
            found.append(span)
    return found


def _from(group: Group) -> Iterator[Span]:
    """What the stream has that feeds a group, from the offset on at which it began."""
    stream = group.source
    assert stream is not None
    for span in stream.ready:
        start = max(group.begin - span.base, 0)
        if start < span.stop:
            yield Span(span.run, start, span.stop, span.base)


def _route(found: PublishedRoute) -> Route:
    route = Route(found.exchange, found.key, (), channel=found.channel, skip=found.skip)
    route.frame_max = found.frame_max
    return route


def _split(spans: Iterable[Span], intervals: list[Interval]) -> Iterator[tuple[Span, bool]]:
    """The spans, cut where an interval begins or ends, each with whether it lies inside of one. Both rise."""
    at = 0
    for span in spans:
        low, high = span.base + span.start, span.base + span.stop
        while at < len(intervals) and intervals[at][1] <= low:
            at += 1
        i = at
        while low < high:
            first, stop = intervals[i] if i < len(intervals) else (high, high)
            inside = first <= low
            until = min(stop if inside else first, high)
            yield Span(span.run, low - span.base, until - span.base, span.base), inside
            low = until
            i += inside


def _intervals(ranges: Iterable[Range]) -> list[Interval]:
    """Positions as sorted intervals, joined where they touch."""
    pieces: list[Interval] = []
    for first, count, step in ranges:
        if step == 1:
            pieces.append((first, first + count))
        else:
            pieces += [(i, i + 1) for i in range(first, first + count * step, step)]
    pieces.sort()
    joined: list[Interval] = []
    for first, stop in pieces:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined
