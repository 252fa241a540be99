"""The role towards REQ and DEALER peers: a ROUTER that answers every request once.

    [envelope …, '', 'VERB', …]      a verb: see `verbs`
    [envelope …, '', '{"op": …}']    the same as JSON: see `json_form`
    [… 'MDPC01', …]                  Majordomo, or the first message is a worker's READY: see `services`
    [envelope …, '', anything else]  a task for the peer's queue, that of X-Queue or of the broker's settings

What a newcomer gets, with a REQ and a plain task:

    socket.send(b"resize cat.jpg")
    socket.recv()                    mode put    b"200 17": the task is stored, at position 17 of its queue
                                     mode call   what the worker has said, frame by frame
                                     an error    one frame, a status of three digits and a text: b"408 nobody has …"

The mode is that of X-Mode, or of the broker's settings. To tell an answer from an error whatever a worker says, there
is CALL, whose replies have the status in a frame of its own. How a task that is a JSON text is answered: `replying`.

    receive ─► PUTs and tasks in a row ─► putting ─► pending ◄─ confirmed
            └► one request ─► verbs, json_form ─► putting, calls, leases ◄─ deliver: to the `wire` of the consumer
"""

from typing import TYPE_CHECKING, Final

from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import SHORTSTR_BYTES_MAX
from mansio.core.dispatch import Consumer
from mansio.core.errors import BrokerError, MustWait
from mansio.core.run import Run
from mansio.protocol.zmtp.calling import Calls
from mansio.protocol.zmtp.envelopes import begin
from mansio.protocol.zmtp.json_form import perform
from mansio.protocol.zmtp.json_values import parse
from mansio.protocol.zmtp.leases import Leases
from mansio.protocol.zmtp.majordomo_frames import HEADERS, header_at
from mansio.protocol.zmtp.pending import Pending
from mansio.protocol.zmtp.putting import Putting, Style
from mansio.protocol.zmtp.replying import JsonReply, JsonTaskReply, Reply, TaskReply, VerbReply
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.services import Services
from mansio.protocol.zmtp.stamps import Stamps
from mansio.protocol.zmtp.statuses import ILL_FORMED, TOO_LARGE, Refused, refusal
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.timers import Timers
from mansio.protocol.zmtp.verbs import VERBS
from mansio.protocol.zmtp.wishes import TOPICS

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

UNREAD_BYTES_MAX: Final = 16 << 20
"""Replies that a peer has not read before its requests wait for it, as at all fronts."""
_Kind = tuple[Style, bytes, bytes]
"""How a request is to be answered, its queue, and its properties as a text."""
_TASK: Final[_Kind] = (TaskReply, b"", b"")
_JSON_TASK: Final[_Kind] = (JsonTaskReply, b"", b"")
_PUT: Final = [b"PUT"]
_WORDS: Final = frozenset((*VERBS, *HEADERS))
"""Bodies that are no tasks."""
_NO_WORDS: Final = frozenset[bytes]()


class Answering(Role):
    """See above."""

    socket_type = "ROUTER"

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        settings = connection.settings
        self.call_timeout_ms = settings.call_timeout_ms
        self._pending = Pending(connection.channel)
        self._timers = Timers(connection.broker)
        targets = Targets(connection)
        self.putting = Putting(connection, targets, self._pending)
        self.calls = Calls(connection, targets, self.putting, self._pending, self._timers)
        self.leases = Leases(connection, targets, self.putting, self._timers)
        self._services = Services(connection, targets, self.putting)
        self._stamps = Stamps(connection)
        self._words = VERBS if connection.socket_type == "DEALER" else _NO_WORDS
        self._named = "x-queue" in connection.metadata
        mode = connection.metadata.get("x-mode", settings.default_mode.encode())
        self._mode = mode.decode("latin-1").lower()
        self._unread_from = 0  # of what was said, since the peer does not read

    # -- requests

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`."""
        connection = self.connection
        if not connection.writable and self._crowded:
            connection.pause()
            return 0
        done = 0
        try:
            while done < len(messages) and not connection.closed:
                done += self._take(messages, done)
        except MustWait:
            return done
        return len(messages) if connection.closed else done

    @property
    def _crowded(self) -> bool:
        return self.connection.said_bytes - self._unread_from > UNREAD_BYTES_MAX

    def _take(self, messages: list[list[bytes]], i: int) -> int:
        """Takes a request, or all that follow each other and can be one run; answers how many. MustWait."""
        frames = messages[i]
        if self._services.takes(frames):
            return 1
        at = begin(frames, self._words)
        kind = self._kind(frames, at)
        if kind is None:
            self._request(frames, at)
            return 1
        style, name, text = kind
        body_at = -2 if text else -1
        envelopes, bodies = [frames[:at]], [frames[body_at]]
        for n in range(i + 1, len(messages)):
            frames = messages[n]
            at = begin(frames, self._words)
            if self._kind(frames, at) != kind or (at > 1 and header_at(frames) >= 0):
                break
            envelopes.append(frames[:at])
            bodies.append(frames[body_at])
        try:
            self.putting.put_row(name, bodies, envelopes, style, self._stamps.of(text))
        except (Refused, BrokerError) as error:
            refused = error if isinstance(error, Refused) else refusal(error)
            for envelope in envelopes:
                style(self.connection, envelope).failed(refused.status, refused.text)
        return len(bodies)

    def _kind(self, frames: list[bytes], at: int) -> _Kind | None:
        """Of a request that need not be looked at by itself: there is a body in it, and nothing else but its queue and
        properties of which all is known."""
        size = len(frames) - at
        if size == 1:
            body = frames[at]
            if self._mode != "put" or body in _WORDS:
                return None
            if not body or body[:1] not in b"{[":
                return _TASK
            return None if b'"op"' in body else _JSON_TASK
        if frames[at : at + 1] != _PUT:
            return None
        if size == 3:
            return VerbReply, frames[at + 1], b""
        if size == 4 and frames[-1] and self._stamps.of(frames[-1]) is not None:
            return VerbReply, frames[at + 1], frames[-1]
        return None

    def _request(self, frames: list[bytes], at: int) -> None:
        """One request by itself. MustWait."""
        envelope, args = frames[:at], frames[at:]
        reply: Reply = VerbReply(self.connection, envelope)
        try:
            if not args:
                raise Refused(ILL_FORMED, "there is nothing in this request")
            verb = VERBS.get(args[0])
            if verb is not None:
                verb(self, reply, args[1:])
                return
            asked = _object_with_op(args)
            if asked is not None:
                reply = JsonReply(self.connection, envelope)
                perform(self, reply, asked)
                return
            self._check_slip(args)
            is_json = len(args) == 1 and args[0][:1] in (b"{", b"[")
            reply = (JsonTaskReply if is_json else TaskReply)(self.connection, envelope)
            self._take_task(reply, args)
        except Refused as refused:
            reply.failed(refused.status, refused.text)
        except BrokerError as error:
            found = refusal(error)
            reply.failed(found.status, found.text)

    def _check_slip(self, frames: list[bytes]) -> None:
        """Refuses what looks like a verb that there is not: it would go to the default queue, and nobody would know."""
        first = frames[0]
        if len(frames) > 1 and not self._named and first.isalpha() and first.isupper():
            text = f"there is no verb {first[:16].decode()}; tasks that begin like one need an X-Queue, or go by PUT"
            raise Refused(ILL_FORMED, text)

    def _take_task(self, reply: Reply, frames: list[bytes]) -> None:
        """A whole message is a task."""
        properties = Properties(delivery_mode=2)
        if self._mode == "call":
            self.calls.call(reply, b"", frames, properties, self.call_timeout_ms)
        elif self._mode == "put":
            self.putting.put(reply, b"", frames, properties)
        else:
            raise Refused(ILL_FORMED, f"X-Mode is put or call, not {self._mode[:16]!r}")

    def tell_length(self, reply: Reply, name: bytes) -> None:
        """How much is in a queue, and who takes from it. BrokerError, Refused."""
        connection = self.connection
        assert connection.session is not None
        text = name.decode("utf-8", "surrogateescape") or connection.queue_name
        queue = connection.broker.definitions.check_queue(connection.session, text)
        consumers = len(queue.consumers)
        reply.done(ready=queue.ready_count, in_flight=queue.in_flight, consumers=consumers)

    def spread(self, frames: list[bytes]) -> None:
        """A topic and what there is to say of it go to whoever listens now. BrokerError, Refused, MustWait."""
        connection = self.connection
        assert connection.session is not None
        topic, *body = frames
        if len(topic) > SHORTSTR_BYTES_MAX:
            raise Refused(TOO_LARGE, f"a topic has at most {SHORTSTR_BYTES_MAX} bytes")
        connection.session.rights.check_write("exchange", TOPICS)
        if TOPICS in connection.broker.vhosts[connection.session.vhost].exchanges:
            key = topic.decode("utf-8", "surrogateescape")
            self.putting.spread(TOPICS, key, body, Properties(delivery_mode=2))

    # -- what the broker says

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
        """See `Role`."""
        for n in range(count):
            consumer.wire.deliver(run, start + n * step, tag + n, redelivered)

    def confirmed(self, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Role`."""
        self._pending.confirmed(upto, rejected)

    def refused(self, upto: int) -> None:
        """See `Role`."""
        self._pending.refused(upto)

    def cancelled(self, consumer_tag: str) -> None:
        """See `Role`."""
        self.leases.cancelled(consumer_tag)
        self.calls.cancelled(consumer_tag)
        self._services.cancelled(consumer_tag)

    def tick(self, now_ns: int) -> None:
        """See `Role`."""
        self.leases.prune()
        self._services.tick(now_ns)

    def go_on(self) -> None:
        """See `Role`."""
        self._services.go_on()
        if self.connection.writable or not self._crowded:
            self.connection.go_on_reading()

    def writable(self, yes: bool) -> None:
        """See `Role`."""
        self._unread_from = self.connection.said_bytes
        if yes:
            self.connection.go_on_reading()

    def closed(self) -> None:
        """See `Role`."""
        self._timers.stop_all()


def _object_with_op(frames: list[bytes]) -> dict[str, object] | None:
    """A request as JSON; None: it is a task."""
    if len(frames) > 1 or frames[0][:1] != b"{" or b'"op"' not in frames[0]:
        return None
    try:
        found = parse(frames[0], "the request")
    except Refused:
        return None
    return found if isinstance(found, dict) and "op" in found else None
