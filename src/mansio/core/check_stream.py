"""What always holds of streams: part of `check`."""

from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken
from mansio.core.stream import Stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.dispatch import Consumer


def check_stream(stream: Stream, broker: "Broker") -> None:
    """Entries follow each other, segments account for them, and nobody waits for what he may have.

    They do so without a gap, unless the log was damaged.
    """
    name = stream.name
    at = stream.first
    data_bytes = 0
    for span in stream.ready:
        if span.base > at and stream.missing:
            at = span.base
        if span.base != at or span.start or span.stop != span.run.count or span.redelivered:
            raise InvariantBroken(f"stream {name}: {span.base} + {span.start} where {at} is due")
        at = span.base + span.stop
        data_bytes += span.run.data_bytes
    end = at
    if stream.missing:
        at = max(at, stream.next_position)
    if at != stream.next_position or not stream.committed <= at:
        raise InvariantBroken(f"stream {name} ends at {at}, committed {stream.committed}")
    if not sum(each.data_bytes for each in stream.segments) == stream.data_bytes == data_bytes:
        raise InvariantBroken(f"segments of stream {name} do not count {data_bytes} bytes")
    if stream.segments and stream.segments[-1].stop != end:
        raise InvariantBroken(f"segments of stream {name} end at {stream.segments[-1].stop}")
    if not stream.dirty:
        for consumer in stream.consumers:
            _check_reader(stream, consumer, broker)


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
