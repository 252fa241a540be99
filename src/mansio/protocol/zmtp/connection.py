"""One ZeroMQ peer: messages in for its role, messages out. How it came in is `security.py`, what it is told is
`output.py`; here are its bytes, its flow, and its end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mansio.codec.zmtp import BODIES, COMMANDED
from mansio.core.broker import Broker
from mansio.core.dispatch import Consumer
from mansio.core.limits import NS
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel
from mansio.protocol.base import Authenticator, Peer
from mansio.protocol.zmtp.heartbeats import Heartbeats, Look
from mansio.protocol.zmtp.peers import peers_of
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.security import Security
from mansio.protocol.zmtp.settings import ZmtpSettings
from mansio.protocol.zmtp.states import State

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import CurveSession

SUBSCRIBERS = frozenset(("SUB", "XSUB"))
"""Peers whose messages are subscriptions, where they do not come as commands: \\x01 and the prefix, or \\x00 and it."""


class ZmtpConnection(Security):
    """The front of one peer. See `protocol.base.Front` for its verbs, `core.session.Outbox` for what it is told."""

    protocol = "zmq"

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        token: Callable[[], str],
        announce: list[Any],
        now_ns: int,
        settings: ZmtpSettings | None = None,
    ) -> None:
        """`announce`: the list of fronts with output that the server looks at; `token`: makes a name that nobody
        guesses."""
        super().__init__(broker, authenticator, peer, announce, now_ns, settings or ZmtpSettings())
        self.token = token
        self.tail = b""
        self.closed = False
        self.paused = False
        self.received_ns = now_ns
        self.heartbeats = Heartbeats()
        self._deadline_ns = now_ns + broker.limits.handshake_ns
        self._pending: list[Any] = []  # items that the role has not taken yet
        self._resuming = False

    # -- input

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """See `Front`."""
        buf = bytearray(self.tail)
        buf += data
        self.receive_buffer(buf, len(buf), now_ns)

    def receive_buffer(self, buf: bytearray, end: int, now_ns: int) -> None:
        """See `Front`."""
        self.received_ns = self.now_ns = now_ns
        self.tail = b""
        pos = 0 if self.waiting or self.closed else self._read(buf, 0, end)
        if pos < end and not self.closed:
            self.tail = bytes(buf[pos:end])

    def _read(self, buf: bytearray, pos: int, end: int) -> int:
        """Takes what the buffer holds from `pos` on, as far as it goes: where it got to."""
        while self.state is not State.OPEN:
            before, state = pos, self.state
            pos = self._shake_hands(buf, pos, end)
            if self.closed or self.waiting or (pos == before and state is self.state):
                return pos
        items: list[Any] = []
        if self._curve is None:
            pos = self._scan.scan(buf, pos, end, items)
        else:
            pos = self._scan_sealed(self._curve, buf, pos, end, items)
        self._pending = self._take(self.role, items)
        self._break_off()
        return pos

    def _scan_sealed(
        self, curve: "CurveSession", buf: bytearray, pos: int, end: int, out: list[Any]
    ) -> int:
        """`Scan.scan` of what is in MESSAGEs of CURVE."""
        items: list[Any] = []
        pos = self._sealed.scan(buf, pos, end, items)
        frames, whole = curve.open(items)
        self._scan.scan(bytearray(frames), 0, len(frames), out)
        if not whole:
            self._scan.fault = self._scan.fault or "a MESSAGE of CURVE that cannot be opened"
        self._scan.fault = self._scan.fault or self._sealed.fault
        return pos

    def _take(self, role: Any, items: list[Any]) -> list[Any]:
        """Hands items to the role: those that it has not taken."""
        for n, (kind, item) in enumerate(items):
            if kind == BODIES:
                taken = role.receive_bodies(item)
            elif kind == COMMANDED:
                self._on_command(item)
                taken = len(item)
            elif self.socket_type in SUBSCRIBERS:
                taken = self._hear(role, item)
            else:
                taken = role.receive(item)
            if self.closed:
                return []
            if taken < len(item):
                self.waiting = True
                return [(kind, item[taken:]), *items[n + 1 :]]
            if self.waiting:
                return items[n + 1 :]
        return []

    def _hear(self, role: Role, messages: list[list[bytes]]) -> int:
        """Messages of a subscriber."""
        for frames in messages:
            first = frames[0]
            if len(frames) == 1 and first[:1] == b"\x01":
                role.subscribe(first[1:])
            elif len(frames) == 1 and first[:1] == b"\x00":
                role.cancel(first[1:])
            else:
                role.receive([frames])
        return len(messages)

    def _break_off(self) -> None:
        """Behind the last message there are bytes that are none: the end, when all before are taken."""
        if self._scan.fault and not (self._pending or self.closed):
            self.finish(self._scan.fault)

    def _on_ping(self, data: bytes) -> None:
        context = self.heartbeats.on_ping(data)
        if context is None:
            self.finish("a PING that is malformed")
        else:
            self.send_command(b"PONG", context)

    def _on_pong(self, data: bytes) -> None:
        if data and self.role is not None:
            self.role.ponged(data)

    def _on_subscribe(self, data: bytes) -> None:
        if self.role is not None:
            self.role.subscribe(data)

    def _on_cancel(self, data: bytes) -> None:
        if self.role is not None:
            self.role.cancel(data)

    # -- flow

    def pause(self) -> None:
        """Nothing more is taken, nor read, until `go_on_reading`."""
        self.waiting = True

    def go_on_reading(self) -> None:
        """What was not taken is handed to the role again, at the end of this turn, and more is read."""
        if self.waiting and not self._resuming and not self.closed:
            self._resuming = True
            self.broker.resumed.append(self)

    def room(self, size_bytes: int) -> bool:
        """Whether so much may be published now, also into the log. If not, the connection waits until it may: the role
        answers how many messages it has taken before, and gets the others again."""
        broker = self.broker
        if size_bytes <= broker.journal.room_bytes and not broker.blocked:
            return True
        if broker.journal.has_room(size_bytes) and not broker.blocked:
            return True
        broker.journal.waiters[self] = None
        self.paused = self.waiting = True
        return False

    def unblock(self) -> None:
        """See `Front`."""
        if self.broker.low_on_memory:
            return
        self.broker.journal.waiters.pop(self, None)
        self.paused = False
        if self.waiting:
            self._resuming = True

    def go_on(self, now_ns: int) -> None:
        """See `Front`."""
        if self.closed or self._finishing is not None:  # what it has said since is not heard
            return
        self.now_ns = now_ns
        role = self.role
        if role is not None:
            role.go_on()
            if not self._resuming or self.closed:
                return
            self._resuming = self.waiting = False
            self.received_ns = now_ns  # it was not listened to
            self._pending = self._take(role, self._pending)
            self._break_off()
        if self.tail and not (self.waiting or self.closed):
            tail, self.tail = bytearray(self.tail), b""
            pos = self._read(tail, 0, len(tail))
            if pos < len(tail) and not self.closed:
                self.tail = bytes(tail[pos:])

    @property
    def deaf(self) -> bool:
        """See `Front`."""
        return False

    @property
    def blocked(self) -> bool:
        """Whether it is held back for want of memory or disk."""
        return self.paused

    def may_go_on(self) -> bool:
        """Whether it may be read from again."""
        return not self.paused

    def set_writable(self, writable: bool) -> None:
        """See `Front`."""
        self.writable = writable
        if self.session is not None:
            self.broker.set_writable(self.session, writable)
        if self.role is not None:
            self.role.writable(writable)

    # -- time

    def tick(self, now_ns: int) -> None:
        """See `Front`."""
        self.now_ns = now_ns
        if self.closed:
            return
        role = self.role
        if role is None:
            if now_ns >= self._deadline_ns:
                self.end(f"the handshake took too long, at {self.state.name}")
            return
        role.tick(now_ns)
        if self.state is State.CLOSED:
            return
        heartbeats = self.heartbeats
        if self.waiting:  # it is not listened to, so its PINGs are not heard
            heartbeats.heard()
            if heartbeats.pinged:
                self.send_command(b"PONG")
            return
        look = heartbeats.look(now_ns, now_ns - self.received_ns, self.minor > 0 and self._owes())
        if look is Look.ASK:
            self.send_command(b"PING", heartbeats.question())
        elif look is Look.GONE:
            self.end(f"it was silent for {(now_ns - self.received_ns) / NS:.1f} s")

    def _owes(self) -> bool:
        """Whether it matters that a peer is still there that says nothing."""
        if self.role is None or self.role.patient:
            return False
        channel = self.channel
        return channel.ledger.total > 0 or any(not c.no_ack for c in channel.consumers.values())

    # -- outbox

    def deliver(
        self,
        consumer: Consumer,
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        """See `Outbox`."""
        if self.role is not None:
            self.role.deliver(consumer, run, start, count, step, tag, redelivered)

    def returned(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`."""
        if self.role is not None:
            self.role.returned(run, i, route)

    def duplicate(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`: it is there, as it is where nobody asks."""

    def cancelled(self, channel: Channel, consumer_tag: str) -> None:
        """See `Outbox`."""
        if self.role is not None:
            self.role.cancelled(consumer_tag)

    def confirmed(self, channel: Channel, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Outbox`."""
        if self.role is not None:
            self.role.confirmed(upto, rejected)

    def refused(self, channel: Channel, upto: int) -> None:
        """See `Outbox`."""
        if self.role is not None:
            self.role.refused(upto)

    def committed(self, channel: Channel, ok: bool, partly: bool) -> None:
        """See `Outbox`: there are no transactions."""

    def expelled(self, why: str) -> None:
        """See `Outbox`."""
        self.end(why)

    # -- the end

    def receive_eof(self) -> None:
        """See `Front`."""
        if not self.closed:
            begun = self.role is None and self._greeted
            self.end("closed during the handshake" if begun else "")
        while self.unflushed:
            self.unflushed.pop()[1]()

    def shutdown(self, code: int, text: str) -> None:
        """See `Front`: ZeroMQ knows no goodbye, peers come again by themselves."""
        self.finish("")

    def finish(self, reason: str) -> None:
        """The connection is over once what has been said may leave; `reason` is for the log."""
        self._pending = []
        super().finish(reason)
        if not self.closed:
            self.waiting = True

    def end(self, reason: str) -> None:
        """The connection is over."""
        if self.closed:
            return
        self.close_reason = reason
        self.closed = True
        self.state = State.CLOSED
        self._pending = []
        self.broker.journal.waiters.pop(self, None)
        if self.role is not None:
            self.role.closed()
        session, self.session = self.session, None
        if session is not None:
            peers_of(self.broker).sessions -= 1
            self.broker.close_session(session)
        self.wake()
