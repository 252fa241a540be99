"""A stream that is copied: its entries with their ids, and the groups of Redis clients with what is pending.

    [3 4][5 – 7]  ──read──► elements ──write──► [3 4][5][7]     what is gone is not copied, offsets stay what they are

Groups of AMQP clients stay with the stream that they have been declared for.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from mansio.core.entries import Slice
from mansio.core.list_copies import Element, elements
from mansio.core.recall import Recall
from mansio.core.routing import Route
from mansio.core.run import Run, Span, make_run
from mansio.core.stream_ids import compact, id_at
from mansio.core.stream_keys import new_stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.stream import Stream


class Part(NamedTuple):
    """Entries that follow each other: the offset of the first one, their ids, and when they came."""

    offset: int
    ids: list[int]
    arrived_ms: int
    elements: Sequence[Element]

    @property
    def data_bytes(self) -> int:
        """Of all entries."""
        return sum([len(frames) for frames, _ in self.elements])


def read_stream(broker: "Broker", stream: "Stream", recall: Recall) -> list[Part]:
    """All entries of a stream; MustWait."""
    entries = broker.streams.entries
    length = entries.length(stream)
    slices = entries.slices(stream, stream.first, stream.next_position, length)
    whole: dict[Run, Span] = {}
    for run, start, stop in slices:
        known = whole.get(run)
        whole[run] = Span(run, start if known is None else known.start, stop, 0)
    seen = dict(zip(whole, recall.see_all(list(whole.values()), elements), strict=True))
    return [_part(each, whole[each[0]], seen[each[0]]) for each in slices]


def _part(found: Slice, whole: Span, seen: Sequence[Element]) -> Part:
    run, start, stop = found
    ids = [id_at(run, i) for i in range(start, stop)]
    some = seen[start - whole.start : stop - whole.start]
    return Part(run.places[0][1] + start, ids, run.arrived_ms, some)


def write_stream(
    broker: "Broker", source: "Stream", vhost: str, name: str, parts: list[Part]
) -> None:
    """A new stream of this name, which none has, with these entries and all else that Redis clients know of another
    one: within what the journal writes as a whole."""
    streams = broker.streams
    target = new_stream(broker, vhost, name)
    for part in parts:
        at = 0
        for (channel, frame_max, _, _), group in groupby(part.elements, lambda each: each[1]):
            route = Route("", name, (target,), channel=channel)
            route.frame_max = frame_max
            run = make_run([frames for frames, _ in group], route, True)
            run.arrived_ms = part.arrived_ms
            run.ids = compact(run.arrived_ms, part.ids[at : at + run.count])
            streams.enter_at(target, run, part.offset + at)
            at += run.count
    target.last_id, target.deleted_id = source.last_id, source.deleted_id
    target.added = source.next_position + source.added - target.next_position
    streams.reading.copy(source, target)
    streams.entries.write_mark(target)
    broker.keyspaces.flush()
