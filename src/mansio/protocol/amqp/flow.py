"""When input has to wait: publishers for memory or disk, and who fetches a message until that is read from the log.

short of memory   what was published is accepted, and nothing more is read
short of disk     publishes are *parked*: settlements overtake them, every other method stays behind them, and
                  they are applied in order when the log has room again
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import METHOD
from mansio.core.broker import Broker
from mansio.core.run import Run
from mansio.protocol.amqp.content import Assembly
from mansio.protocol.amqp.login import Login
from mansio.protocol.amqp.states import State
from mansio.protocol.base import Authenticator, Peer

if TYPE_CHECKING:
    from mansio.protocol.amqp.channel import AmqpChannel

Publish = Run | Assembly
"""What may be parked: a run, or one message whose route has not been looked up yet."""

TELL_NS: Final = 250_000_000
"""How long a publish may be parked before the peer hears connection.blocked, while the log is not low: most often what
is under way to the disk becomes durable within milliseconds, and there is room again."""

_OVERTAKING: Final = frozenset((m.BasicPublish.ID, m.BasicAck.ID, m.BasicNack.ID, m.BasicReject.ID))
"""Methods that do not wait for publishes that are parked, or are parked with their content."""


class Flow(Login):
    """The part of a connection that says whether it is read from."""

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        announce: list[Any],
        now_ns: int,
    ) -> None:
        super().__init__(broker, authenticator, peer, announce, now_ns)
        self.channels: dict[int, AmqpChannel] = {}
        self.received_ns = now_ns
        self.paused = False
        self._told_blocked = False
        self._parked: deque[tuple[AmqpChannel, Publish, int, int]] = deque()  # flags, topology
        self._parked_bytes = 0
        self._parked_ns = 0  # since when something waits for room
        self._commit_bytes = 0  # of a commit that waits for room, 0: none does

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """See `Front`."""
        raise NotImplementedError

    def go_on(self, now_ns: int) -> None:
        """See `Front`."""
        self.waiting = False
        self.receive_data(b"", now_ns)

    # -- waiting for room in the log

    def take_publish(self, channel: "AmqpChannel", publish: Publish, flags: int) -> None:
        """Something was published: it goes to the Broker, unless it has to wait for room in the log."""
        if self._parked or (
            publish.data_bytes > self.broker.journal.room_bytes
            and not self._has_room(channel, publish)
        ):
            version = self.broker.vhosts[channel.core.session.vhost].version
            self._parked.append((channel, publish, flags, version))
            self._parked_bytes += publish.data_bytes
            self._wait_for_room()
        else:
            self.apply_publish(channel, publish, flags)

    def apply_publish(
        self, channel: "AmqpChannel", publish: Publish, flags: int, stale: bool = False
    ) -> None:
        """Hands it to the Broker. `stale`: its routes are looked up again, since the topology has changed."""
        raise NotImplementedError

    def _has_room(self, channel: "AmqpChannel", publish: Publish) -> bool:
        """In a transaction it is the commit that needs the room."""
        journal = self.broker.journal
        streams = len(self.broker.streams)  # each writes down what it gets, also if it is transient
        if streams and isinstance(publish, Run):
            streams = max(route.streams for route in publish.routes)
        if channel.core.tx is not None or not (publish.persistent or streams):
            return journal.has_room(0)
        return journal.has_room(publish.data_bytes * (1 + streams))

    def must_wait(self, kind: int, number: int, payload: bytes) -> bool:
        """Whether a frame is not looked at now: it comes behind parked publishes, or commits what finds no room."""
        if kind != METHOD:
            return False
        method = int.from_bytes(payload[:4], "big")
        channel = self.channels.get(number)
        if self._parked:
            return method not in _OVERTAKING and not (channel is not None and channel.closing)
        if method != m.TxCommit.ID or channel is None or channel.closing:
            return False
        tx = channel.core.tx
        if tx is None or tx.bytes <= self.broker.journal.room_bytes:
            return False
        size = sum(run.data_bytes for run, _ in tx.publishes if run.persistent)
        if not tx.publishes or self.broker.journal.has_room(size):
            return False
        self._commit_bytes = size
        self._wait_for_room()
        return True

    def _wait_for_room(self) -> None:
        waiters = self.broker.journal.waiters
        if self not in waiters:
            waiters[self] = None
            self._parked_ns = self.now_ns
        if self.broker.low_on_disk:
            self._tell_blocked()
        self.paused = True
        self.may_go_on()

    def _apply_parked(self) -> bool:
        """Applies what there is room for, in order; whether that is all."""
        if self._parked and self.broker.low_on_memory:
            return False
        while self._parked:
            channel, publish, flags, version = self._parked[0]
            gone = channel.closing or self.channels.get(channel.number) is not channel
            if not gone and not self._has_room(channel, publish):
                return False
            self._parked.popleft()
            self._parked_bytes -= publish.data_bytes
            if not gone:
                now = self.broker.vhosts[channel.core.session.vhost].version
                self.apply_publish(channel, publish, flags, now != version)
        return self.broker.journal.has_room(self._commit_bytes)

    def stop_waiting(self) -> None:
        """Nothing waits for room any more."""
        self._parked.clear()
        self._parked_bytes = self._commit_bytes = 0
        self.broker.journal.waiters.pop(self, None)

    def tell_if_late(self, now_ns: int) -> None:
        """Tells a peer that waits for room: at once while the log is low, and otherwise when it takes long."""
        if self._told_blocked or self not in self.broker.journal.waiters:
            return
        if self.broker.low_on_disk:
            self._tell_blocked()
        elif now_ns - self._parked_ns >= TELL_NS:
            mib = max(self._parked_bytes, self._commit_bytes) / (1 << 20)
            self.broker.notices.append(
                f"{self.peer.name} is blocked: {mib:.1f} MiB that it published must be sure to find room on the disk; "
                "free some space or consume"
            )
            self._tell_blocked()

    # -- being blocked

    def hold_back(self, size: int) -> None:
        """The peer has published, `size` bytes, while the broker was short of memory or disk."""
        self._parked_bytes += size
        self._tell_blocked()
        self.paused = True
        self.may_go_on()

    def _tell_blocked(self) -> None:
        if not self._told_blocked:
            self._told_blocked = True
            if self.capable("connection.blocked"):
                self.send_method(0, m.ConnectionBlocked(reason=self._shortage()))

    def _shortage(self) -> str:
        """Why publishers are held back, in RabbitMQ's words (3.10.8, rabbit_reader)."""
        lacks = ["memory"] * self.broker.low_on_memory
        if self.broker.low_on_disk or not lacks:
            lacks.append("disk")
        return "low on " + " & ".join(lacks)

    def may_go_on(self) -> bool:
        """Reads on from a peer that has something to acknowledge: otherwise memory might never be given back."""
        owes = any(channel.core.ledger.total for channel in self.channels.values())
        if owes and self._parked_bytes <= self.broker.limits.parked_bytes_max:
            self.paused = False
        return not self.paused

    def unblock(self) -> None:
        """See `Front`."""
        if not self._apply_parked():
            self.may_go_on()
            return
        self.stop_waiting()
        self.paused = False
        self.received_ns = self.now_ns  # it was not listened to, so its heartbeats were not heard
        if self._told_blocked:
            self._told_blocked = False
            if self.capable("connection.blocked") and self.state is State.OPEN:
                self.send_method(0, m.ConnectionUnblocked())

    @property
    def deaf(self) -> bool:
        """See `Front`."""
        return False

    @property
    def blocked(self) -> bool:
        """Whether the peer has been told, or is held back, for want of memory or disk."""
        return self._told_blocked
