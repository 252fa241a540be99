"""What peers ask for in the metadata of their READY, since most of their sockets cannot ask for anything later.

X-Queue        the queue that PUSH, PULL, REP and ROUTER peers mean; else the default one
X-Exchange     the exchange that PUB and SUB peers mean; else zmq.topic
X-Persistent   0: what PUSH and PUB peers send need not outlive a restart; 1, the default: in durable queues it does
X-Prefetch     how many messages a PULL peer is sent that its socket has not taken yet
X-Errors       what a reply that begins with "ERR " means: "reply", "reject" or "requeue"
"""

from typing import TYPE_CHECKING, Final

from mansio.core.errors import NotFound, PreconditionFailed
from mansio.core.queue import Queue

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

TOPICS: Final = "zmq.topic"
"""The exchange between PUB and SUB peers, and AMQP clients: a durable one of type topic, made for the first peer."""

NAME_BYTES_MAX: Final = 255


def queue_of(connection: "ZmtpConnection") -> Queue:
    """The queue that a peer means; a durable one is declared where there is none. BrokerError."""
    broker, session = connection.broker, connection.session
    assert session is not None
    name = connection.queue_name
    if not name:
        raise NotFound("no queue: the peer names none with X-Queue, and there is no default")
    definitions = broker.definitions
    if definitions.exists(session, name):
        return definitions.queue(session, name)
    return definitions.declare_queue(session, name, True, False, False, {})


def exchange_of(connection: "ZmtpConnection") -> str:
    """The name of the exchange that a peer means, which there is; BrokerError."""
    broker, session = connection.broker, connection.session
    assert session is not None
    name = connection.metadata.get("x-exchange", b"").decode("utf-8", "surrogateescape")
    if name in ("", TOPICS):
        broker.definitions.keep_exchange(session, TOPICS, "topic")
        return TOPICS
    broker.vhosts[session.vhost].publishable(name)
    return name


def wants_persistence(metadata: dict[str, bytes]) -> bool:
    """Whether durable queues are to keep what the peer sends over a restart; PreconditionFailed."""
    return _one_of(metadata, "X-Persistent", ("1", "0")) == "1"


def prefetch_of(metadata: dict[str, bytes], default: int, most: int) -> int:
    """How many messages may be under way to the peer; PreconditionFailed."""
    text = metadata.get("x-prefetch", b"%d" % default)
    if not (text.isdigit() and len(text) < 10 and 0 < int(text) <= most):
        shown = text.decode("utf-8", "backslashreplace")
        raise PreconditionFailed(f"X-Prefetch is {shown!r}: it may be 1 to {most}")
    return int(text)


def errors_of(metadata: dict[str, bytes]) -> str:
    """What a reply means that begins with "ERR "; PreconditionFailed."""
    return _one_of(metadata, "X-Errors", ("reply", "reject", "requeue"))


def _one_of(metadata: dict[str, bytes], name: str, known: tuple[str, ...]) -> str:
    """The value of this name, the first one where there is none."""
    text = metadata.get(name.lower(), known[0].encode()).decode("utf-8", "backslashreplace")
    if text not in known:
        raise PreconditionFailed(f"{name} is {text!r}: it may be {', '.join(known)}")
    return text
