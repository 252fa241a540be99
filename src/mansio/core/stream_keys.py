"""Streams that Redis clients make by using them."""

from typing import TYPE_CHECKING, Final

from mansio.core.admission import check_new_queue
from mansio.core.names import check_key_name
from mansio.core.records import encode_topology
from mansio.core.stream import Stream
from mansio.core.topology_records import queue_fields

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Session

MADE_BY: Final = "x-made-by"
"""The argument of a queue that nobody has declared, and so goes with its key."""


def make_stream(broker: "Broker", session: "Session", name: str) -> Stream:
    """A new stream; AccessRefused, PreconditionFailed."""
    host = broker.vhosts[session.vhost]
    check_key_name("stream", name, host.name)
    session.rights.check_configure("queue", name)
    check_new_queue(host, session, name, {})
    broker.confirms.changed(session)
    return new_stream(broker, host.name, name)


def new_stream(broker: "Broker", vhost: str, name: str) -> Stream:
    """The same without questions."""
    definitions = broker.definitions
    arguments = {"x-queue-type": "stream", MADE_BY: "redis"}
    stream = definitions.make_queue(
        definitions.take_id(), vhost, name, True, False, None, arguments
    )
    assert isinstance(stream, Stream)
    broker.vhosts[vhost].add_queue(stream)
    change = {"do": "declare queue", "vhost": vhost, **queue_fields(stream)}
    broker.journal.write(encode_topology(change))
    return stream


def reset_stream(broker: "Broker", stream: Stream) -> None:
    """DEL of one that was declared over AMQP: it is empty and has forgotten its ids and groups, and stays."""
    broker.streams.reading.drop_all(stream)
    broker.streams.watching.stir(stream)
    broker.streams.entries.reset(stream)
