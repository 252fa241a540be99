"""Small runs of a stream become large ones: what came message by message would fill the memory with places.

    [0][1][2] … [127] ──join──► [0 … 127] ──durable──► takes their places     within one segment, settled by all groups

A run costs some 450 bytes of memory, whatever is in it, and a stream keeps its entries for days. So what came in small
runs is written to the log once more, as one. A restart finds both, and takes the larger one.
"""

from itertools import islice
from typing import TYPE_CHECKING, Final

from mansio.core.run import Run, Span, lay_out
from mansio.core.stream_ids import joined as joined_ids

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.stream import Stream

PACK_RUNS: Final = 128
"""So many are packed at once, if they are small enough."""
PACK_BYTES: Final = 256 << 10
"""And no more bytes than this: about what a busy stream has in a run."""
SMALL_BYTES: Final = 8 << 10
"""Larger runs stay as they are: to write them twice would cost more than their places."""
PACK_MS: Final = 60_000
"""What came later than this behind the first one is not packed with it: who asks for a time is given whole runs."""
_ROUTES_MAX: Final = 256


class Packing:
    """Runs of one stream that are being packed: `count` of them, from the one of this `number` on, into `run`."""

    __slots__ = ("count", "number", "run")

    def __init__(self, run: Run, number: int, count: int) -> None:
        self.run = run
        self.number = number
        self.count = count


def join(runs: list[Run]) -> Run:
    """One run of the messages of all, which came when the last of them did."""
    routes = {route: None for run in runs for route in run.routes}
    number = {route: i for i, route in enumerate(routes)}
    which = None
    if len(routes) > 1:
        which = bytes([number[run.route(i)] for run in runs for i in range(run.count)])
    frames = [message for run in runs for message in run.messages()]
    joined = Run(*lay_out(frames), tuple(routes), which, True)
    joined.arrived_ms = runs[-1].arrived_ms
    joined.ids = joined_ids(runs, joined.arrived_ms)
    return joined


class Packer:
    """Packs the runs of streams, as they become durable."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def look(self, stream: "Stream") -> None:
        """Begins where enough small runs follow each other that nobody else needs."""
        at = max(stream.packed - stream.removed, 0)
        if stream.packing is not None or len(stream.ready) - at <= PACK_RUNS:
            return
        spans = self._small(stream, at)
        if len(spans) < 2:
            span = stream.ready[at]
            first = span.run
            large = first.data_bytes > SMALL_BYTES
            if spans or large or not first.data or not stream.is_whole(span):  # else it has to wait
                stream.packed = at + stream.removed + 1
            return
        broker = self._broker
        size = sum(span.run.data_bytes for span in spans)
        if broker.journal.ended or not broker.journal.has_room(size):
            return
        run = join([span.run for span in spans])
        run.live = run.count
        run.places = ((stream.id, spans[0].base),)
        broker.settling.count(run)
        for queue_id, settled in sorted(gone for span in spans for gone in span.run.gone or ()):
            broker.settling.note_gone(run, queue_id, settled)
        # What groups have settled must not stay behind with the small runs.
        broker.streams.write(run)
        if broker.paging.budget_bytes:
            broker.paging.arrived(run, (stream,))
        stream.packing = Packing(run, at + stream.removed, len(spans))

    def _small(self, stream: "Stream", at: int) -> list[Span]:
        """The runs to pack, from this one on; none if it cannot be packed yet."""
        spans: list[Span] = []
        routes: set[object] = set()
        size = 0
        stop = next(each.stop for each in stream.segments if each.stop > stream.ready[at].base)
        for number in range(at, min(at + PACK_RUNS, len(stream.ready))):
            span = stream.ready[number]
            run = span.run
            size += run.data_bytes
            routes.update(run.routes)
            end = span.base + span.stop
            if (
                run.data_bytes > SMALL_BYTES
                or size > PACK_BYTES
                or len(routes) > _ROUTES_MAX
                or end > stop
                or (spans and spans[-1].base + spans[-1].stop != span.base)
                or (spans and run.arrived_ms - spans[0].run.arrived_ms > PACK_MS)
            ):
                break
            if not stream.is_whole(span):
                break
            if end > stream.committed or run.live != run.count or not run.data:
                break
            if not run.bucket and not self._broker.forgetful:
                break
            spans.append(span)
        return spans

    def placed(self, stream: "Stream", run: Run) -> None:
        """A run of the stream is durable: if it is the packed one, it takes the places of those that it is made of."""
        packing = stream.packing
        if packing is None or packing.run is not run:
            return
        stream.packing = None
        at = packing.number - stream.removed
        parts = list(islice(stream.ready, max(at, 0), max(at, 0) + packing.count))
        count = sum(span.run.live for span in parts if stream.is_whole(span))
        if at < 0 or count != run.count or any(span.run.live != span.run.count for span in parts):
            # Some are cut off, or taken out, or a group that came meanwhile wants them as they are.
            self._broker.settling.left(run, stream.id, run.count, ())
            stream.packed = max(packing.number + packing.count, stream.removed)
            return
        later = [stream.ready.pop() for _ in range(len(stream.ready) - at - packing.count)]
        packed = [stream.ready.pop() for _ in range(packing.count)]
        stream.ready.append(Span(run, 0, run.count, run.places[0][1]))
        stream.ready.extend(reversed(later))
        stream.packed = packing.number + 1
        for span in packed:
            self._broker.settling.left(span.run, stream.id, span.run.count, ())
        for consumer in stream.consumers:
            assert consumer.reader is not None
            consumer.reader.number = -1

    def gone(self, stream: "Stream") -> None:
        """The stream is deleted."""
        if stream.packing is not None:
            run = stream.packing.run
            stream.packing = None
            self._broker.settling.left(run, stream.id, run.count, ())
