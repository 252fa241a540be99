"""When input has to wait: publishers for memory, and who fetches a message until that is read from the log."""

from typing import TYPE_CHECKING, Any

from mansio.codec import amqp_methods as m
from mansio.core.broker import Broker
from mansio.core.users import Users
from mansio.protocol.amqp.login import Login
from mansio.protocol.amqp.states import State
from mansio.protocol.base import Peer

if TYPE_CHECKING:
    from mansio.protocol.amqp.channel import AmqpChannel


class Flow(Login):
    """The part of a connection that says whether it is read from."""

    def __init__(
        self, broker: Broker, users: Users, peer: Peer, announce: list[Any], now_ns: int
    ) -> None:
        super().__init__(broker, users, peer, announce, now_ns)
        self.channels: dict[int, AmqpChannel] = {}
        self.received_ns = now_ns
        self.paused = False
        self.waiting = False
        self._told_blocked = False
        self._parked_bytes = 0

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """See `Front`."""
        raise NotImplementedError

    def go_on(self, now_ns: int) -> None:
        """See `Front`."""
        self.waiting = False
        self.receive_data(b"", now_ns)

    def hold_back(self, size: int) -> None:
        """The peer has published while the broker was short of memory."""
        self._parked_bytes += size
        if not self._told_blocked:
            self._told_blocked = True
            if self.capable("connection.blocked"):
                self.send_method(0, m.ConnectionBlocked(reason=self._shortage()))
        self.paused = True
        self.may_go_on()

    def _shortage(self) -> str:
        """Why publishers are held back, in RabbitMQ's words (3.10.8, rabbit_reader)."""
        lacks = ["memory"] * self.broker.low_on_memory + ["disk"] * self.broker.low_on_disk
        return "low on " + " & ".join(lacks)

    def may_go_on(self) -> bool:
        """Reads on from a peer that has something to acknowledge: otherwise memory might never be given back."""
        owes = any(channel.core.ledger.total for channel in self.channels.values())
        if owes and self._parked_bytes <= self.broker.limits.parked_bytes_max:
            self.paused = False
        return not self.paused

    def unblock(self) -> None:
        """See `Front`."""
        self.paused = False
        self.received_ns = self.now_ns  # it was not listened to, so its heartbeats were not heard
        self._parked_bytes = 0
        if self._told_blocked:
            self._told_blocked = False
            if self.capable("connection.blocked") and self.state is State.OPEN:
                self.send_method(0, m.ConnectionUnblocked())

    @property
    def blocked(self) -> bool:
        """Whether the peer has been told, or is held back, for want of memory."""
        return self._told_blocked
