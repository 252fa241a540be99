"""What always holds of streams: part of `check`."""

from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken
from mansio.core.stream import Stream
from mansio.core.stream_ids import id_at

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.dispatch import Consumer


def check_stream(stream: Stream, broker: "Broker") -> None:
    """Entries follow each other, segments account for them, and nobody waits for what he may have.

    They do so without a gap, unless the log was damaged.
    """
    name = stream.name
    at = stream.ready[0].base if stream.ready else stream.next_position
    first = stream.first
    data_bytes = count = absent = 0
    last_id = -1
    for span in stream.ready:
        if span.base > at:
            absent += span.base - at
            _check_gone(stream, at, span.base)
            at = span.base
        if span.base != at or span.start or span.stop != span.run.count or span.redelivered:
            raise InvariantBroken(f"stream {name}: {span.base} + {span.start} where {at} is due")
        at = span.base + span.stop
        data_bytes += span.run.data_bytes
        alive = stream.alive(span.base, at)
        if not alive:
            raise InvariantBroken(f"stream {name} keeps a run at {span.base} that is gone")
        count += alive
        if id_at(span.run, 0) <= last_id:
            raise InvariantBroken(f"stream {name}: ids at {span.base} do not rise")
        last_id = id_at(span.run, span.stop - 1)
    absent += stream.next_position - at
    _check_gone(stream, at, stream.next_position)
    if count != stream.ready_count or last_id > stream.last_id:
        raise InvariantBroken(f"stream {name} counts {stream.ready_count} entries of {count}")
    if absent != stream.released + stream.missing and stream.ready:
        raise InvariantBroken(f"stream {name} has released {stream.released} of {absent}")
    if stream.gaps is not None and (not stream.gaps or stream.gaps.starts[0] <= first):
        raise InvariantBroken(f"stream {name} has gaps in front of {first}")
    if not stream.committed <= stream.next_position:
        raise InvariantBroken(f"stream {name} ends at {at}, committed {stream.committed}")
    if not sum(each.data_bytes for each in stream.segments) == stream.data_bytes == data_bytes:
        raise InvariantBroken(f"segments of stream {name} do not count {data_bytes} bytes")
    if stream.segments and stream.segments[-1].stop < at and stream.ready:
        raise InvariantBroken(f"segments of stream {name} end at {stream.segments[-1].stop}")
    if not stream.dirty:
        for consumer in stream.consumers:
            _check_reader(stream, consumer, broker)


def _check_gone(stream: Stream, start: int, stop: int) -> None:
    """Where there is no run, nothing may be looked for."""
    if any(stream.pieces(start, stop)):
        raise InvariantBroken(f"stream {stream.name} has nothing at {start} to {stop}")


def _check_reader(stream: Stream, consumer: "Consumer", broker: "Broker") -> None:
    channel = consumer.channel
    reader = consumer.reader
    if reader is None:
        raise InvariantBroken(f"consumer {consumer.tag} of stream {stream.name} is nowhere")
    span = stream.run_at(reader)
    if span is None or not channel.active or stream.id in channel.session.starved:
        return
    if consumer.unsettled >= consumer.limit:
        return
    loading = broker.paging.loading
    if span.run in loading.unreadable or stream in loading._queues.get(span.run, ()):
        return
    raise InvariantBroken(f"consumer {consumer.tag} of stream {stream.name} is not served")
