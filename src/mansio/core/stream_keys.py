"""Streams that Redis clients make by using them."""

from typing import TYPE_CHECKING, Final

from mansio.core.admission import check_new_queue
from mansio.core.errors import PreconditionFailed
from mansio.core.names import check_not_reserved
from mansio.core.records import encode_topology
from mansio.core.stream import Stream
from mansio.core.topology_records import queue_fields

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Session

MADE_BY: Final = "x-made-by"
"""The argument of a queue that nobody has declared, and so goes with its key."""
NAME_BYTES_MAX: Final = 255


def make_stream(broker: "Broker", session: "Session", name: str) -> Stream:
    """A new stream; AccessRefused, PreconditionFailed."""
    host = broker.vhosts[session.vhost]
    if len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX:
        raise PreconditionFailed(
            f"a stream is a queue, whose name has at most {NAME_BYTES_MAX} bytes"
        )
    check_not_reserved("queue", name, host.name)
    session.rights.check_configure("queue", name)
    check_new_queue(host, session, name, {})
    definitions = broker.definitions
    arguments = {"x-queue-type": "stream", MADE_BY: "redis"}
    stream = definitions.make_queue(
        definitions.take_id(), host.name, name, True, False, None, arguments
    )
    assert isinstance(stream, Stream)
    host.add_queue(stream)
    broker.confirms.changed(session)
    change = {"do": "declare queue", "vhost": host.name, **queue_fields(stream)}
    broker.journal.write(encode_topology(change))
    return stream


def reset_stream(broker: "Broker", stream: Stream) -> None:
    """DEL of one that was declared over AMQP: it is empty and has forgotten its ids and groups, and stays."""
    broker.streams.reading.drop_all(stream)
    broker.streams.watching.stir(stream)
    broker.streams.entries.reset(stream)
