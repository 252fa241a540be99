"""One AMQP 0-9-1 connection: handshake, frames to channels, heartbeats, and the outbox that the Broker delivers to."""

from collections.abc import Callable
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import FAULT, HEARTBEAT, METHOD, MISS, RUN, SETTLE
from mansio.codec.amqp_values import CodecError
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError, NotAllowed
from mansio.core.limits import ROUTES_MAX
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.protocol.amqp import handshake, publishing
from mansio.protocol.amqp.channel import AmqpChannel
from mansio.protocol.amqp.flow import Flow, Publish
from mansio.protocol.amqp.replies import (
    BROKER_ERRORS,
    CHANNEL_ERROR,
    CHANNEL_LEVEL,
    COMMAND_INVALID,
    CONNECTION_FORCED,
    FRAME_ERROR,
    NOT_ALLOWED,
    PRECONDITION_FAILED,
    RESOURCE_ERROR,
    UNEXPECTED_FRAME,
    Refusal,
    reply_text,
)
from mansio.protocol.amqp.states import CONNECTION, State
from mansio.protocol.amqp.traits import TraitsMemo
from mansio.protocol.base import Authenticator, Peer

PROTOCOL_HEADER = handshake.PROTOCOL_HEADERS[0]
HEARTBEAT_FRAME = m.frame(m.FRAME_HEARTBEAT, 0, b"")
FRAME_OVERHEAD_BYTES = len(HEARTBEAT_FRAME)


class AmqpConnection(Flow):
    """The front of one client. See `protocol.base.Front` for its verbs, `core.session.Outbox` for what it is told."""

    protocol = "amqp"
    unflushed = ()

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        token: Callable[[], str],
        announce: list[Any],
        now_ns: int,
    ) -> None:
        """`token` gives a fresh random name part at each call; `announce` is the list of fronts with output."""
        super().__init__(broker, authenticator, peer, announce, now_ns)
        self.token = token
        self.tail = b""
        self.closed = False
        limits = broker.limits
        self._deadline_ns = now_ns + limits.handshake_ns  # for the handshake, later for our close
        self._routes: dict[bytes, Route] = {}
        self._routes_version = -1
        self.traits = TraitsMemo()
        self._learned = False  # a route, in the last step: the same bytes are scanned again
        self._assembling = 0  # channels whose content is being put together frame by frame

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
        pos = 0
        if self.session is None and self.state is State.HEADER:
            pos = self._receive_header(bytes(buf[:end]))
        try:
            while not self.closed and not self.waiting:
                before = pos
                pos = self._step(buf, pos, end)
                if pos == end or (pos == before and not self._learned):
                    break
        except (BrokerError, CodecError, Refusal) as error:
            self._refuse(error, 0)
        if pos < end and not self.closed:
            self.tail = bytes(buf[pos:end])

    def _receive_header(self, data: bytes) -> int:
        """The eight bytes with which a client says which version it speaks (specification 4.2.2)."""
        if len(data) < 8 and any(known.startswith(data) for known in handshake.PROTOCOL_HEADERS):
            self.tail = data
            return len(data)
        if not data.startswith(handshake.PROTOCOL_HEADERS):
            self.send_raw(PROTOCOL_HEADER)
            self.end(handshake.not_amqp(data))
            return 0
        self.state = State.START
        self.send_method(0, handshake.start(self.broker.limits, self.peer))
        return 8

    def _step(self, buf: bytearray, pos: int, end: int) -> int:
        """Scans once and handles what was found; the new position."""
        self._learned = False
        out: list[Any] = []
        session = self.session  # there is one as long as the connection is open
        if session is None or self._assembling:
            pos = self.scan.one(buf, pos, end, out)
        else:
            version = self.broker.vhosts[session.vhost].version
            if version != self._routes_version:
                self.forget_routes()
                self._routes_version = version
            pos = self.scan.scan(buf, pos, end, self._routes, out)
        for item in out:
            kind = item[0]
            if kind == RUN:
                self._on_run(item)
            elif kind == SETTLE:
                self._on_settle(item)
            elif kind == MISS:
                if not self._find_route(item[1], item[2]):
                    frames: list[Any] = []
                    pos = self.scan.one(buf, pos, end, frames)
                    self._on_frame(*frames[0])
            elif kind == FAULT:
                self._fault(item[1], item[2])
            else:
                self.waiting = self.must_wait(kind, item[1], item[2])
                if not self.waiting:
                    self._on_frame(kind, item[1], item[2])
                if (
                    self.waiting and self.state is State.OPEN
                ):  # the frame, always the last item, is looked at again
                    pos -= len(item[2]) + FRAME_OVERHEAD_BYTES
            if self.closed:
                break
        return pos

    def _on_run(self, item: Any) -> None:
        _, routes, which, data, count, stride, ends, flags = item
        channel = self.channels.get(routes[0].channel)
        if channel is not None and not channel.closing:
            # Special messages are looked at one by one later; until then they may be persistent.
            run = Run(data, count, stride, ends, routes, which, flags != 0)
            if self._parked or run.data_bytes > self.broker.journal.room_bytes:
                self.take_publish(channel, run, flags)
            else:
                self.apply_publish(channel, run, flags)

    def apply_publish(
        self, channel: AmqpChannel, publish: Publish, flags: int, stale: bool = False
    ) -> None:
        """For the Broker; while that is short of memory its publisher is told and then not read from."""
        try:
            if not isinstance(publish, Run):
                publishing.publish_assembled(channel, publish)
            elif stale:
                channel.core.regrouped = True  # queues may have got bounds since
                publishing.publish_again(channel, publish, flags)
            else:
                publishing.publish(channel, publish, flags)
        except (BrokerError, CodecError, Refusal) as error:
            self._refuse(error, channel.number, m.BasicPublish.ID)
        channel.core.regrouped = False
        if self.broker.blocked and self.session is not None:
            self.hold_back(publish.data_bytes)

    def _on_settle(self, item: Any) -> None:
        _, number, method, first, last, bits = item
        channel = self.channels.get(number)
        if channel is None:
            self._refuse(Refusal(CHANNEL_ERROR, "expected 'channel.open'", method), number)
        elif not channel.closing:
            try:
                channel.settle(method, first, last, bits)
            except BrokerError as error:
                self._refuse(error, number, method)

    def _find_route(self, number: int, frame: bytes) -> bool:
        """Learns the route of a publish method frame; False when the frame has to be looked at by itself."""
        channel = self.channels.get(number)
        if channel is None or channel.closing:
            return False
        if len(self._routes) >= ROUTES_MAX:
            self.forget_routes()
        try:
            route = self._routes[frame] = publishing.make_route(channel, frame)
        except (BrokerError, CodecError, Refusal):
            return False  # the frame, taken by itself, leads to the same error when its content is complete
        self._learned = True
        if any(queue.bound is not None for queue in route.queues):
            self.scan.grouping = False  # a rejected publish must be named by its number
        return True

    # -- single frames

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == FAULT:
            self._fault(number, payload.decode() if isinstance(payload, bytes) else payload)
            return
        if kind == HEARTBEAT:
            self._on_heartbeat(number, payload)
            return
        if self.state is State.CLOSING and (kind != METHOD or number != 0):
            return
        try:
            if number == 0:
                self._on_connection_frame(kind, payload)
            elif self.state is not State.OPEN:
                raise Refusal(
                    UNEXPECTED_FRAME, f"type {kind} on channel {number} during the handshake"
                )
            else:
                self._on_channel_frame(kind, number, payload)
        except (BrokerError, CodecError, Refusal) as error:
            method = int.from_bytes(payload[:4], "big") if kind == METHOD else m.BasicPublish.ID
            self._refuse(error, number, method)

    def _on_heartbeat(self, number: int, payload: bytes) -> None:
        if number != 0:
            self._fault(UNEXPECTED_FRAME, "type 8, all octets = <<>>")
        elif payload:
            self._fault(
                FRAME_ERROR, f"heartbeat with {len(payload)} bytes of payload: unknown_frame"
            )

    def _on_connection_frame(self, kind: int, payload: bytes) -> None:
        if kind != METHOD:
            raise Refusal(UNEXPECTED_FRAME, f"type {kind} on channel 0")
        method = int.from_bytes(payload[:4], "big")
        handler = CONNECTION.get((self.state, method))
        if handler is not None:
            getattr(self, handler)(m.decode_method(payload))
        elif self.state is not State.CLOSING:
            m.decode_method(payload)
            text = f"unexpected method in connection state {handshake.STATE_NAMES[self.state]}"
            raise Refusal(CHANNEL_ERROR, text, method)

    def _on_channel_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is not None:
            channel.on_frame(kind, payload)
            return
        if kind != METHOD:
            raise Refusal(UNEXPECTED_FRAME, "expected method frame, got non method frame instead")
        method = m.decode_method(payload)
        if isinstance(method, m.ChannelOpen):
            self._open_channel(number)
        elif method.ID >> 16 == 10:
            raise Refusal(COMMAND_INVALID, "unimplemented method", method.ID)
        else:
            raise Refusal(CHANNEL_ERROR, "expected 'channel.open'", method.ID)

    def _open_channel(self, number: int) -> None:
        if self.channel_max and len(self.channels) >= self.channel_max:
            text = f"number of channels opened ({len(self.channels)}) has reached the negotiated"
            raise Refusal(NOT_ALLOWED, f"{text} channel_max ({self.channel_max})")
        if self.session is not None:
            try:
                channel = self.broker.open_channel(self.session, number)
            except NotAllowed as error:
                raise Refusal(NOT_ALLOWED, error.text) from None
            self.channels[number] = AmqpChannel(self, channel)
            self.send_method(number, m.ChannelOpenOk())

    def assembling(self, more: bool) -> None:
        """A channel begins or ends to put a content together frame by frame."""
        self._assembling += 1 if more else -1

    def drop_channel(self, number: int) -> None:
        """The channel is closed on both sides."""
        self.channels.pop(number, None)
        self.forget_routes()

    def forget_routes(self) -> None:
        """Routes of a channel that is not open any more must not be found."""
        self._routes.clear()
        self.scan.grouping = True

    # -- errors and ends

    def _on_close(self, method: m.ConnectionClose) -> None:
        self._end_session()
        self.send_method(0, m.ConnectionCloseOk())
        self.end(self.close_reason, lingers=True)

    def _on_close_ok(self, method: m.ConnectionCloseOk) -> None:
        self.end(self.close_reason)

    def _refuse(
        self, error: BrokerError | CodecError | Refusal, number: int, method: int = 0
    ) -> None:
        """Closes the channel or the connection, as the reply code says."""
        if isinstance(error, BrokerError):
            refusal = Refusal(BROKER_ERRORS[type(error)], error.text, method)
        elif isinstance(error, CodecError):
            refusal = Refusal(error.code, error.text, error.method)
        else:
            refusal = error
        channel = self.channels.get(number)
        if refusal.code in CHANNEL_LEVEL and channel is not None:
            channel.close(refusal.code, reply_text(refusal.code, refusal.text), refusal.method)
        else:
            self.close(refusal)

    def expelled(self, why: str) -> None:
        """See `Outbox`."""
        self.close(Refusal(CONNECTION_FORCED, why))

    def refuse_storage(self, number: int) -> None:
        """What a channel asked to be kept could not be: 506 closes the connection, so that nobody relies on it."""
        self._refuse(Refusal(RESOURCE_ERROR, "the log could not be written", m.TxCommit.ID), number)

    def refuse_commit(self, number: int) -> None:
        """A full queue has rejected a message of a transaction; all else of it is done (RabbitMQ 3.10.8 observed)."""
        self._refuse(Refusal(PRECONDITION_FAILED, "partial tx completion", m.TxCommit.ID), number)

    def _fault(self, code: int, text: str) -> None:
        """Bytes that are no frames: what follows cannot be read, so nothing of it is."""
        self.close(Refusal(code, text))
        self.end(reply_text(code, text), lingers=True)

    def close(self, refusal: Refusal) -> None:
        """Closes the connection with a reply code and waits for the peer's close-ok."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self._end_session()
        self.state = State.CLOSING
        self.paused = self.waiting = False  # close-ok has to be read
        text = reply_text(refusal.code, refusal.text)
        self.close_reason = self.close_reason or text
        self._deadline_ns = self.now_ns + self.broker.limits.handshake_ns
        method = refusal.method
        self.send_method(0, m.ConnectionClose(refusal.code, text, method >> 16, method & 0xFFFF))

    def _end_session(self) -> None:
        session, self.session = self.session, None
        if self._gates:
            self.drop_held()  # it is not durable yet, and nobody will tell when it is
        self.stop_waiting()
        self.channels.clear()
        self._routes.clear()
        self._assembling = 0
        if session is not None:
            self.broker.close_session(session)

    def end(self, reason: str, lingers: bool = False) -> None:
        self._end_session()
        self.lingers = lingers
        self.state = State.CLOSED
        self.close_reason = reason
        self.closed = True
        self.wake()

    def receive_eof(self) -> None:
        """See `Front`."""
        if not self.closed:
            reason = "closed during the handshake"
            if self.state in (State.OPEN, State.CLOSING):
                reason = "client unexpectedly closed TCP connection"
            self.end(self.close_reason or reason)

    def flushed(self) -> None:
        """See `Front`: whatever is not acknowledged is delivered again."""

    def shutdown(self, code: int, text: str) -> None:
        """See `Front`."""
        if self.state in (State.HEADER, State.START, State.CHECKING, State.TUNE):
            self.end(text)
        else:
            self.close(Refusal(code, text))

    # -- time and flow

    def tick(self, now_ns: int) -> None:
        """See `Front`."""
        self.now_ns = now_ns
        if self.state is not State.OPEN:
            if now_ns >= self._deadline_ns and not self.closed:
                late = f"handshake took too long, state {self.state.name}"
                self.end(self.close_reason or late)
            return
        self.tell_if_late(now_ns)
        interval = self.heartbeat_ns
        if interval:
            if now_ns - self.received_ns > 2 * interval and not (self.paused or self.waiting):
                self.end(f"missed heartbeats from client, timeout: {interval // 1_000_000_000}s")
            elif now_ns - self.sent_ns >= interval // 2:
                self.send_at_once(HEARTBEAT_FRAME)

    def set_writable(self, writable: bool) -> None:
        """See `Front`."""
        if self.session is not None:
            self.broker.set_writable(self.session, writable)
