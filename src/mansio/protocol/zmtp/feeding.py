"""Peers that SUBscribe: what is published to an exchange with keys that begin like their topics.

    PUB peers, AMQP clients ──► exchange ──► its feed ──► [topic, body…] to each, at once

A topic is the beginning of the routing key, byte by byte, as in ZeroMQ: dots mean nothing. Nothing is kept for a peer
that is not there or does not read: beyond some bytes its messages are dropped, and counted. All peers with the same
subscriptions get the same bytes. The exchange is zmq.topic unless X-Exchange names another one.
"""

from typing import TYPE_CHECKING, Final

from mansio.codec.zmtp_runs import encode_run
from mansio.core.errors import BrokerError
from mansio.core.feed import topic_of
from mansio.core.run import Run
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.wishes import exchange_of

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

SUBSCRIPTIONS_MAX: Final = 65_536
"""Of one peer; one more ends its connection."""
TOPICS_BYTES_MAX: Final = 4 << 20
"""Of all its different topics together; more ends its connection."""
UNREAD_BYTES_MAX: Final = 1 << 20
"""Messages that wait for a peer that does not read; what comes then is dropped."""
BURST_BYTES_MAX: Final = 16 << 20
"""The same for one that does read, in one turn: these bytes have not been offered to it yet."""
_MORE: Final = 1


class Feeding(Role):
    """What one subscriber hears."""

    socket_type = "XPUB"

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        self._exchange = exchange_of(connection)
        session = connection.session
        assert session is not None
        session.rights.check_read("exchange", self._exchange)
        self._counts: dict[bytes, int] = {}  # how often it has subscribed, by topic
        self._topics_bytes = 0
        self._waiting_bytes = 0
        self._dropped = 0

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`: what XSUB peers say beside subscriptions is for nobody."""
        return len(messages)

    def subscribe(self, prefix: bytes) -> None:
        """See `Role`."""
        count = self._counts.get(prefix, 0)
        connection = self.connection
        if not count:
            assert connection.session is not None
            if len(self._counts) >= SUBSCRIPTIONS_MAX:
                connection.finish(f"it has more than {SUBSCRIPTIONS_MAX} subscriptions")
                return
            if self._topics_bytes + len(prefix) > TOPICS_BYTES_MAX:
                connection.finish(f"its subscriptions have more than {TOPICS_BYTES_MAX} bytes")
                return
            feeds = connection.broker.feeds
            try:
                feeds.listen(connection.session, self._exchange, prefix, self)
            except BrokerError as error:
                connection.finish(error.text)
                return
            self._topics_bytes += len(prefix)
        self._counts[prefix] = count + 1

    def cancel(self, prefix: bytes) -> None:
        """See `Role`."""
        count = self._counts.get(prefix, 0)
        if count > 1:
            self._counts[prefix] = count - 1
        elif count:
            del self._counts[prefix]
            self._topics_bytes -= len(prefix)
            self._leave(prefix)

    def _leave(self, prefix: bytes) -> None:
        connection = self.connection
        assert connection.session is not None
        feeds = connection.broker.feeds
        feeds.leave(connection.session.vhost, self._exchange, prefix, self)

    # -- messages

    def render(self, run: Run, start: int, stop: int, wanted: bytes | None) -> bytes:
        """See `Listener`."""
        skips = tuple([route.skip for route in run.routes])
        heads = tuple(
            [
                b"" if route.whole else _topic_frame(topic_of(route.routing_key))
                for route in run.routes
            ]
        )
        return encode_run(
            run.data, run.stride, run.ends, skips, run.which, heads, wanted, start, stop - start, 1
        )

    def hear(self, data: bytes, count: int) -> None:
        """See `Listener`."""
        connection = self.connection
        if connection.closed:
            return
        reads = connection.writable and not connection.gated
        if reads and not connection.speaking:
            self._waiting_bytes = 0
        size = self._waiting_bytes + len(data)
        if size > (BURST_BYTES_MAX if reads else UNREAD_BYTES_MAX):
            self._drop(count)
            return
        self._waiting_bytes = size
        connection.send_raw(data)

    def _drop(self, count: int) -> None:
        connection = self.connection
        if not self._dropped:
            connection.broker.notices.append(
                f"{connection.peer.name} does not read fast enough: messages for it are dropped"
            )
        self._dropped += count
        connection.broker.feeds.dropped_messages += count

    def silenced(self, why: str) -> None:
        """See `Listener`."""
        self.connection.finish(why)

    # -- the end

    def closed(self) -> None:
        """See `Role`."""
        for prefix in self._counts:
            self._leave(prefix)
        if self._dropped:
            connection = self.connection
            connection.broker.notices.append(
                f"{connection.peer.name} has missed {self._dropped} messages: it did not read fast enough"
            )


def _topic_frame(topic: bytes) -> bytes:
    """A topic that is a routing key has at most 255 bytes."""
    return bytes((_MORE, len(topic))) + topic
