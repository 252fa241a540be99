"""The queues that requests name: whether the peer may use them, and what happens where there is none."""

from typing import TYPE_CHECKING

from mansio.core.errors import NotFound
from mansio.core.names import DEFAULT_EXCHANGE, RESERVED_PREFIX, check_queue_name
from mansio.core.queue import Queue
from mansio.protocol.zmtp.statuses import ILL_FORMED, Refused

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Targets:
    """Those of one connection. An empty name is that of its own queue, see `ZmtpConnection.queue_name`."""

    def __init__(self, connection: "ZmtpConnection") -> None:
        self._connection = connection
        self._known: dict[bytes, Queue] = {}  # published to before

    def to_publish(self, name: bytes) -> Queue:
        """A queue to put messages into, declared durable if there is none. BrokerError, Refused."""
        connection = self._connection
        session = connection.session
        assert session is not None
        session.rights.check_write("exchange", DEFAULT_EXCHANGE)
        queue = self._known.get(name)
        if queue is not None and not queue.deleted:
            return queue
        text = self._text(name)
        queue = connection.broker.vhosts[session.vhost].queues.get(text)
        if queue is None:
            queue = self._declare(text)
        if queue.fed:
            raise Refused(ILL_FORMED, f"queue '{text}' gets its messages from a stream")
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[name] = queue
        return queue

    def to_read(self, name: bytes, declare: bool) -> Queue:
        """A queue to take messages from; without `declare` NotFound if there is none. BrokerError, Refused."""
        connection = self._connection
        session = connection.session
        assert session is not None
        text = self._text(name)
        session.rights.check_read("queue", text)
        if declare and not connection.broker.definitions.exists(session, text):
            queue = self._declare(text)
        else:
            queue = connection.broker.definitions.queue(session, text)
        if queue.keeps:
            text = f"queue '{text}' is a stream: workers take from a group of it (x-stream)"
            raise Refused(ILL_FORMED, text)
        return queue

    def _text(self, name: bytes) -> str:
        text = name.decode("utf-8", "surrogateescape") or self._connection.queue_name
        if not text:
            raise Refused(ILL_FORMED, "no queue is named, neither here nor by X-Queue")
        return text

    def _declare(self, name: str) -> Queue:
        connection = self._connection
        assert connection.session is not None
        if name.startswith(RESERVED_PREFIX):
            raise NotFound(f"no queue '{name}', and nobody may declare one with such a name")
        check_queue_name(name)
        declare = connection.broker.definitions.declare_queue
        return declare(connection.session, name, True, False, False, {})


KNOWN_MAX = 1024
"""Names of queues that a connection remembers."""
