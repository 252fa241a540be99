"""Where Titanic keeps what it was asked, and the answers: in queues, as all messages are.

    titanic.request ──► the service's queue: the request, persistent, reply_to titanic.reply.UUID ──► any worker
                   └──► titanic.reply.UUID, durable: empty until a worker has answered

So there is no such queue: the UUID is unknown; it is empty: pending; it has a message: that is the reply. Both survive
what queues survive, and go together: when the request is closed, or some time (`titanic_ttl_ms`) after it was made; a
reply that is asked for lives as long again.
"""

from typing import TYPE_CHECKING, Final

from mansio.core.queue import Queue

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

PREFIX: Final = "titanic.reply."
"""Of the queues' names; a UUID of 32 hexadecimal digits follows."""

_DIGITS: Final = frozenset(b"0123456789abcdef")


def uuid_of(frame: bytes) -> str | None:
    """The UUID that a client says, None if it is none."""
    small = frame.lower()
    return small.decode() if len(small) == 32 and _DIGITS.issuperset(small) else None


def open_request(connection: "ZmtpConnection", uuid: str, ttl_ms: int) -> Queue:
    """Makes the place for a reply. The peer hears what is said from here on when that is durable."""
    assert connection.session is not None
    return connection.broker.definitions.declare_queue(
        connection.session,
        PREFIX + uuid,
        True,
        False,
        False,
        {"x-expires": ttl_ms},
        generated=True,
        hidden=True,
    )


def find(connection: "ZmtpConnection", uuid: str) -> Queue | None:
    """The place for a reply; None if the request is unknown, closed, or gone with time."""
    assert connection.session is not None
    return connection.broker.definitions.vhost(connection.session).queues.get(PREFIX + uuid)


def close_request(connection: "ZmtpConnection", uuid: str) -> None:
    """Forgets a request and its reply. The peer hears what is said from here on when that is durable."""
    queue = find(connection, uuid)
    if queue is not None:
        connection.broker.definitions.drop_queue(queue, connection.session)


def is_place(name: str) -> bool:
    """Whether a queue, by its name, is the place for a reply."""
    return name.startswith(PREFIX)


def is_closed(connection: "ZmtpConnection", reply_to: str) -> bool:
    """Whether a message is a request to Titanic that was closed before it was executed."""
    assert connection.session is not None
    if not is_place(reply_to):
        return False
    return reply_to not in connection.broker.definitions.vhost(connection.session).queues
