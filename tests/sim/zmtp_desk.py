"""What the oracle expects of one ZeroMQ peer: its requests become the moves that an AMQP client's commands are, and
each of its replies has to follow from these.

commands  ─► replies that are due at once: errors, GET without waiting, ACK, NACK, LEN
dispatch  ─► tasks for who waits, 204 for who has waited long enough, 404 for whose queue is gone
release   ─► 200 for what is in the log, 507 for what a full queue has refused
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.protocol.zmtp.json_values import property_members
from mansio.protocol.zmtp.messages import PARTS, split
from tests.sim.letters import COUNT, properties_of, split_count
from tests.sim.model import (
    COMMANDS,
    DISPATCH,
    NOBODY,
    RELEASE,
    TIME,
    Connection,
    Consumer,
    Refused,
    Violation,
)
from tests.sim.model import Channel as ModelChannel
from tests.sim.topology import Entry, Queue
from tests.sim.wire import Message
from tests.sim.zmtp_wire import MESSAGE, Request, ZItem

if TYPE_CHECKING:
    from tests.sim.model import Delivery
    from tests.sim.oracle import Oracle

DEFAULT_QUEUE = "tasks"
DEDUPLICATION = "x-deduplication-header"
STATUS = {404: 404, 403: 403, 405: 403, 410: 410, 503: 503}
"""Of what AMQP refuses with these codes; 400 for all others."""
SILENT_NS = 30_000_000_000
LATE_MAX = 2
"""So often the broker may look at a peer that is silent for as long, and not end the connection."""
Check = Callable[[list[bytes]], None]
"""Looks at the frames of a reply behind its envelope."""


class Desk:
    """Of one peer."""

    patient = False
    """It may be silent for ever."""

    def __init__(self, oracle: Oracle, connection: Connection, queue: str) -> None:
        self.oracle = oracle
        self.connection = connection
        self.queue = queue
        self.channel = ModelChannel(connection, 1)
        self.leaving = False
        """It was told to go, and does when all that was said has left."""
        self._open: dict[tuple[bytes, ...], Request] = {}
        """Requests that are not answered, by envelope."""
        self._expected: list[tuple[Request, Check]] = []
        self._seen: list[ZItem] = []
        self._puts: dict[tuple[bytes, ...], tuple[int, str]] = {}
        """By envelope: the number of the publish, and the id that its reply has to say."""
        self._seats: dict[str, tuple[Request | None, int]] = {}
        """By consumer tag: who waits there, until when; 0: for ever."""
        self._leases: dict[int, Delivery] = {}
        self._promises: dict[tuple[bytes, ...], list[Callable[[], None]]] = {}
        """What has to be in the log when the reply to a request leaves."""
        self._token = b""
        self.meant: deque[bytes] = deque()
        """See `ZmtpFront`."""
        self._asked = False
        self._late = 0
        self._next_seat = 1

    # -- what has arrived

    def apply(self, request: Request, message: Message | None) -> None:
        """One thing that the peer has said has reached the broker."""
        if self.connection.state == "closed":
            return
        if request.verb == "HELLO":
            self.connection.state = "open"
            self.connection.channels[1] = self.channel
            self.open(request)
        elif request.verb == "PONG":
            self.pong(request)
        else:
            self.apply_more(request, message)

    def open(self, request: Request) -> None:
        """The handshake is over."""

    def pong(self, request: Request) -> None:
        """The peer has answered a PING."""

    def closing(self) -> None:
        """The connection ends, and nothing has happened for that yet."""

    def refused(self, entry: Entry) -> None:
        """A full queue has refused what the peer has put there."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the broker has ended what the connection is there for, in this turn."""
        return False

    def apply_more(self, request: Request, message: Message | None) -> None:
        """The peer has asked for something."""
        key = tuple(request.envelope)
        self.channel.confirming = True
        if key in self._open:
            raise AssertionError(f"{request} while {self._open[key]} is not answered")
        self._open[key] = request
        try:
            HANDLERS[request.verb](self, request, message)
        except Refused as refused:
            self._expect_status(request, STATUS.get(refused.code, 400))

    def _find_queue(self, name: str, declare: Request | None) -> Queue:
        """The queue of this name, declared for a request if there is none."""
        name = name or self.queue or DEFAULT_QUEUE
        queue = self.oracle.topology.queues.get(name)
        if queue is not None:
            return queue
        if declare is None or name.startswith("amq."):
            raise Refused(404)
        queue = self.oracle.topology.add_queue(name, True, False, None, {})
        queue.used_ms = self.oracle.now_ms
        place = queue.name, queue.incarnation
        self._promise(declare, lambda: self._check_declared(place))
        return queue

    def _find_readable(self, name: str, declare: Request | None) -> Queue:
        queue = self._find_queue(name, declare)
        if queue.owner is not None:
            raise Refused(405)
        if queue.stream is not None:
            raise Refused(400)
        return queue

    # -- publishing

    def put(self, request: Request, message: Message | None) -> None:
        """PUT, and what is no verb."""
        assert message is not None
        oracle, channel = self.oracle, self.channel
        queue = self._find_queue(request.queue, request)
        if queue.group is not None:
            raise Refused(400)
        self._check_room(request)
        properties = request.properties
        if properties is not None and properties.message_id and _looks_at_ids(queue):
            self._give_id(message, properties.message_id)
        asks = properties is not None and _asks(message, properties)
        names = {queue.name, *message.copies} if asks else {queue.name}
        before = queue.next_position
        oracle._publish(channel, message)
        id = str(before) if queue.next_position > before else ""
        queues = [oracle.topology.queues.get(name) for name in names]
        if message.delay_ms:
            queues = []
        number = channel.published
        if message.persistent or any(each is not None and _decides(each) for each in queues):
            self._puts[tuple(request.envelope)] = number, id
            return
        del channel.pending[number]
        self._expect(request, lambda frames: self._check_stored(request, frames, id))

    def _check_room(self, request: Request) -> None:
        """Refused, if the broker is short of memory: it alone knows, but it may only be where that is bounded."""
        at = len(request.envelope)
        for item in self._seen if self.oracle.bounded else ():
            if item.frames[:at] == request.envelope and item.frames[at][:3] == b"503":
                raise Refused(503)

    def _give_id(self, message: Message, ident: str) -> None:
        """Where a queue looks at ids, that of the message is one."""
        for name in ("header", "kept"):
            payload = getattr(message, name)
            properties = properties_of(payload)
            properties.headers = {DEDUPLICATION: ident, **(properties.headers or {})}
            setattr(message, name, encode_header_payload(len(message.body), properties))
        message.headers = {DEDUPLICATION: ident, **message.headers}
        self.oracle.add_message(message)

    def _check_stored(self, request: Request, frames: list[bytes], id: str) -> None:
        good = [b"200", id.encode()]
        if request.verb == "TASK":
            good = [b"200 %b" % id.encode() if id else b"200"]
        if frames != good:
            self._fail(f"{request} was answered {frames}, not {good}")

    # -- working

    def get(self, request: Request, message: Message | None) -> None:
        """The next task, at once or within some time."""
        if request.wait_ms:
            self._sit_down(request, self._find_readable(request.queue, request))
            return
        queue = self._find_readable(request.queue, None)
        reply: Any = self.oracle.basic_get(self.channel, m.BasicGet(queue.name))
        if len(reply) == 1:
            self._expect_status(request, 204)
            return
        method, found, count = reply
        self._leases[method.delivery_tag] = self.channel.unacked[method.delivery_tag]
        self._expect(
            request,
            lambda frames: self._check_task(
                frames, method.delivery_tag, method.redelivered, found, count
            ),
        )

    def next(self, request: Request, message: Message | None) -> None:
        """A task is done, if there is one; the next one is waited for."""
        queue = self._find_readable(request.queue, request)
        if not request.tag:
            self._sit_down(request, queue)
            return
        lease = self._find_lease(request.tag)
        consumer = lease.consumer
        seated = consumer is not None and consumer.tag in self._seats
        if consumer is None or not seated or consumer.queue is not queue:
            self._check_consumable(queue, consumer)
            self._finish(request, lease, "accept")
            self._promise_settled(request, lease)
            self._sit_down(request, queue)
            return
        self._answer(request, lease)
        self._seats[consumer.tag] = request, 0
        self._settle(lease, "accept")
        self._promise_settled(request, lease)

    def _check_consumable(self, queue: Queue, but: Consumer | None) -> None:
        """Whether there may be one more consumer; a request that is refused changes nothing."""
        if any(each.exclusive for each in queue.consumers if each is not but):
            raise Refused(403)

    def _sit_down(self, request: Request, queue: Queue) -> None:
        tag = f"zmq-{self._next_seat}"
        self.channel.new_consumer_limit = 1
        self.oracle.basic_consume(self.channel, m.BasicConsume(queue.name, tag))
        self._next_seat += 1
        until_ms = self.oracle.now_ms + request.wait_ms if request.wait_ms else 0
        self._seats[tag] = request, until_ms
        self.channel.consumers[tag].waits_until_ms = until_ms

    def ack(self, request: Request, message: Message | None) -> None:
        """A task is done."""
        lease = self._find_lease(request.tag)
        self._finish(request, lease, "accept")
        self._promise_settled(request, lease)
        self._expect(request, lambda frames: self._check_plain(request, frames, [b"200"]))

    def _promise_settled(self, request: Request, lease: Delivery) -> None:
        entry, queue = lease.entry, lease.queue
        if entry.message.persistent and queue.logged and not queue.deleted:
            place = queue.place(entry.position)
            self._promise(request, lambda: self._check_settled(place))

    def nack(self, request: Request, message: Message | None) -> None:
        """A task is not done."""
        lease = self._find_lease(request.tag)
        self._finish(request, lease, "requeue" if request.requeue else "reject")
        self._expect(request, lambda frames: self._check_plain(request, frames, [b"200"]))

    def _find_lease(self, tag: str) -> Delivery:
        token, _, digits = tag.rpartition("-")
        number = int(digits)
        lease = self._leases.get(number)
        if token.encode() != self._token or lease is None or number not in self.channel.unacked:
            raise Refused(410)
        return lease

    def _finish(self, request: Request, lease: Delivery, outcome: str) -> None:
        self._answer(request, lease)
        consumer = lease.consumer
        if consumer is not None and self._seats.pop(consumer.tag, None) is not None:
            if consumer.tag in self.channel.consumers:
                self.oracle.cancel(consumer)
        self._settle(lease, outcome)

    def _settle(self, lease: Delivery, outcome: str) -> None:
        del self._leases[lease.tag]
        del self.channel.unacked[lease.tag]
        self.oracle._finish([lease], outcome)

    def _answer(self, request: Request, lease: Delivery) -> None:
        """The result goes where the task says."""
        if not request.result:
            return
        about = properties_of(lease.entry.message.header)
        queue = self.oracle.topology.queues.get(about.reply_to or "")
        if about.reply_to:
            self._check_room(request)
        if not about.reply_to or queue is None or queue.group is not None:
            return
        body, frames = b"".join(request.result), request.result
        made = Message(request.result_number, "", queue.name, body, b"", b"")
        made.persistent = about.delivery_mode == 2
        properties = Properties(delivery_mode=2 if made.persistent else 1)
        properties.correlation_id = about.correlation_id or about.message_id
        if len(frames) > 1:
            properties.headers = made.headers = {PARTS: [len(each) for each in frames]}
        made.header = made.kept = encode_header_payload(len(body), properties)
        self.oracle.add_message(made)
        before = queue.next_position
        self.oracle.enqueue(NOBODY, made, [queue], 0)
        source = lease.queue
        if lease.entry.message.persistent and source.logged and not source.deleted:
            if made.persistent and queue.logged and queue.stream is None:
                place = source.place(lease.entry.position)
                self.oracle.links.append((place, [queue.place(before)]))

    # -- questions

    def length(self, request: Request, message: Message | None) -> None:
        """How much there is."""
        queue = self._find_queue(request.queue, None)
        if queue.owner is not None:
            raise Refused(405)
        self.oracle.inquire(queue)
        queue.used_ms = self.oracle.now_ms
        good = [b"200", b"%d" % len(queue.ready), b"%d" % queue.in_flight]
        good.append(b"%d" % len(queue.consumers))
        self._expect(request, lambda frames: self._check_plain(request, frames, good))

    def ping(self, request: Request, message: Message | None) -> None:
        """Nothing else."""
        self._expect(request, lambda frames: self._check_plain(request, frames, [b"200", b"PONG"]))

    # -- replies

    def _expect(self, request: Request, check: Check) -> None:
        self._expected.append((request, check))

    def _expect_status(self, request: Request, status: int) -> None:
        self._expect(request, lambda frames: self._check_status(request, frames, status))

    def _check_status(self, request: Request, frames: list[bytes], status: int) -> None:
        if frames[0][:3] != b"%d" % status or frames[0][3:4] not in (b"", b" "):
            self._fail(f"{request} was answered {frames}, not {status}")

    def _check_plain(self, request: Request, frames: list[bytes], good: list[bytes]) -> None:
        if frames != good:
            self._fail(f"{request} was answered {frames}, not {good}")

    def _promise(self, request: Request, check: Callable[[], None]) -> None:
        self._promises.setdefault(tuple(request.envelope), []).append(check)

    def on_output(self, items: Sequence[ZItem]) -> None:
        """The broker has made these."""
        for item in items:
            if item.kind != MESSAGE:
                self._asked = self._asked or item.kind == "PING"
            elif self.oracle.phase == COMMANDS:
                self._seen.append(item)
            elif self.oracle.phase == DISPATCH:
                self._on_dispatched(item)
            elif self.oracle.phase == RELEASE:
                self._on_confirmed(item)
            else:
                self._fail(f"{item.frames} is said outside of a turn")

    def heard(self) -> None:
        """The peer has said something, or was not listened to."""
        self._asked, self._late = False, 0

    def check_alive(self, silent_ns: int, ended: bool) -> None:
        """Time has passed: a peer is given up that holds what others could do, was asked whether it is there, and has
        not said anything for long."""
        owes = self.channel.unacked or any(not c.no_ack for c in self.channel.consumers.values())
        self._late += bool(self._asked and owes and silent_ns > SILENT_NS)
        if self._late > LATE_MAX and not ended and not self.patient:
            self._fail(f"it is silent for {silent_ns} ns and holds {self.channel.unacked}")

    def unsay(self, items: Sequence[ZItem]) -> None:
        """The broker has taken these back."""
        self._seen = [each for each in self._seen if each not in items]

    def _take_request(self, item: ZItem) -> tuple[Request, list[bytes]]:
        """Which request it answers, and how."""
        for at in range(1, len(item.frames)):
            request = self._open.get(tuple(item.frames[:at]))
            if request is not None:
                del self._open[tuple(item.frames[:at])]
                return request, item.frames[at:]
        self._fail(f"{item.frames} answers nothing that waits")

    def _on_dispatched(self, item: ZItem) -> None:
        request, frames = self._take_request(item)
        tag = next((tag for tag, seat in self._seats.items() if seat[0] is request), None)
        if tag is None:
            self._fail(f"{request} was answered {frames} at the end of a turn")
        consumer = self.channel.consumers.get(tag)
        if frames[0] == b"200":
            if consumer is None:
                self._fail(f"{request} was given {frames}, where nobody sits")
            self._hand_out(consumer, frames)
            self._seats[tag] = None, 0
            return
        until_ms = self._seats.pop(tag)[1]
        if frames[0] == b"204":
            if not 0 < until_ms <= self.oracle.now_ms:
                self._fail(f"{request} was answered 204 at {self.oracle.now_ms}, not {until_ms}")
            if consumer is not None:
                self.oracle.cancel(consumer)
        elif frames[0] != b"404" or (self.channel, tag) not in self.oracle.cancelled:
            self._fail(f"{request} was answered {frames}")

    def _hand_out(self, consumer: Consumer, frames: list[bytes]) -> None:
        """A task comes to who has waited for it."""
        body = b"".join([frames[3], *frames[5:]])
        members, count = _without_count(json.loads(frames[4]))
        message = self._find_message(consumer.queue, body, members)
        tag = self._tag_number(frames[1])
        method = m.BasicDeliver(consumer.tag, tag, frames[2] == b"1", message.exchange, message.key)
        self.oracle.hand_out(self.channel, consumer, method, message, count)
        self._leases[tag] = self.channel.unacked[tag]
        self._check_task(frames, tag, frames[2] == b"1", message, count)

    def _find_message(self, queue: Queue, body: bytes, members: Any) -> Message:
        """The one in the queue that is meant."""
        found = [
            (min(entries), message)
            for message, entries in queue.by_message.items()
            if entries and message.body == body and _members(message) == members
        ]
        if not found:
            self._fail(f"{body[:20]!r} with {members} is not in {queue}")
        return self.choose(found)[1]

    def choose(self, found: list[tuple[Entry, Message]]) -> tuple[Entry, Message]:
        """The first of those that look the same to the peer which the broker has meant."""
        meant = split_count(self.meant.popleft())[0]
        found = [each for each in found if properties_of(each[1].header) == meant] or found
        return min(found, key=lambda each: each[0])

    def _tag_number(self, tag: bytes) -> int:
        token, _, digits = tag.rpartition(b"-")
        self._token = self._token or token
        if token != self._token or not digits.isdigit():
            self._fail(f"the tag {tag!r} is not of {self._token!r}")
        return int(digits)

    def _check_task(
        self, frames: list[bytes], tag: int, redelivered: bool, message: Message, count: int
    ) -> None:
        what = f"{message!r} came as {frames}"
        if frames[0] != b"200" or len(frames) < 5:
            self._fail(what)
        if self._tag_number(frames[1]) != tag or frames[2] != b"%d" % redelivered:
            self._fail(f"{what}, not as {tag}, {redelivered}")
        parts = split(message.body, (properties_of(message.header).headers or {}).get(PARTS))
        if [frames[3], *frames[5:]] != parts:
            self._fail(f"{what}, not as {parts}")
        if _without_count(json.loads(frames[4])) != (_members(message), count):
            self._fail(f"{what}, not with {_members(message)}, {count}")

    def _on_confirmed(self, item: ZItem) -> None:
        request, frames = self._take_request(item)
        key = tuple(request.envelope)
        if key not in self._puts:
            self._fail(f"{request} was answered {frames} when the log has moved")
        number, id = self._puts.pop(key)
        status = frames[0][:3]
        if status == b"200":
            self._check_stored(request, frames, id)
        elif (status == b"500" and not self.oracle.fenced) or status not in (b"500", b"507"):
            self._fail(f"{request} was answered {frames}")
        self.oracle.confirm(self.connection, 1, number, False, status != b"200")

    def on_written(self, item: ZItem) -> None:
        """This is on its way to the peer."""
        if item.kind != MESSAGE or self.oracle.fenced:
            return
        for at in range(1, len(item.frames)):
            for check in self._promises.pop(tuple(item.frames[:at]), ()):
                check()

    def _check_declared(self, place: tuple[str, int]) -> None:
        self.oracle.read_log()
        if place not in self.oracle.durable.declared.values():
            self._fail(f"queue {place} is told, but the log does not know it")

    def _check_settled(self, place: Any) -> None:
        self.oracle.read_log()
        stored = self.oracle.durable.places.get(place)
        if stored is not None and not stored.settled:
            self._fail(f"the settlement of {place} is told, and not in the log")

    # -- the ends of phases, and of the connection

    def end_phase(self) -> None:
        """All that has arrived is applied: what is due must have been said, in this order, and nothing else."""
        seen, self._seen = self._seen, []
        expected, self._expected = self._expected, []
        if self.connection.state == "closed":
            return
        for request, check in expected:
            if not seen:
                self._fail(f"{request} was not answered")
            item = seen.pop(0)
            at = len(request.envelope)
            if item.frames[:at] != request.envelope:
                self._fail(f"{request} was answered {item.frames}")
            del self._open[tuple(request.envelope)]
            check(item.frames[at:])
        if seen:
            self._fail(f"nothing explains {[item.frames for item in seen]}")

    def end_dispatch(self) -> None:
        """Nobody waits longer than he meant to, nor for a queue that is gone."""
        for tag, (request, until_ms) in list(self._seats.items()):
            if tag not in self.channel.consumers:
                if request is not None:
                    self._fail(f"{request} waits for a queue that is gone")
                del self._seats[tag]
                for lease in list(self._leases.values()):
                    if lease.consumer is not None and lease.consumer.tag == tag:
                        del self._leases[lease.tag]
            elif request is not None and 0 < until_ms <= self.oracle.now_ms:
                self._fail(f"{request} waits since {until_ms}")

    def on_end(self, silent_ns: int, log_lost: bool, reason: str) -> None:
        """The broker ends the connection, now."""
        silent = self.oracle.phase == TIME and silent_ns > SILENT_NS
        began = self.oracle.phase == TIME and self.connection.state == "header"
        lost = log_lost and self.oracle.fenced
        if not (silent or began or lost or self.leaving or self.is_cancelled):
            self._fail(f"the connection ends: {reason}")
        self.oracle.end_connection(self.connection)

    def _fail(self, text: str) -> NoReturn:
        raise Violation(f"{self.connection.name}: {text}")


def _members(message: Message) -> Any:
    """What a peer is told of its properties."""
    return json.loads(json.dumps(property_members(properties_of(message.header))))


def _without_count(members: Any) -> tuple[Any, int]:
    """Without the count of deliveries, and that."""
    headers = members.get("headers", {})
    count = headers.pop(COUNT, 0)
    if not headers:
        members.pop("headers", None)
    return members, count


def _looks_at_ids(queue: Queue) -> bool:
    return queue.unique or queue.arguments.get("x-message-deduplication") is True


def _decides(queue: Queue) -> bool:
    """Whether the queue says later what becomes of a message."""
    bounded = queue.length_max is not None or queue.bytes_max is not None
    return queue.stream is not None or (bounded and queue.rejects)


def _asks(message: Message, properties: Properties) -> bool:
    """Whether it may go elsewhere as well."""
    return bool(properties.headers or message.headers or properties.user_id)


HANDLERS: dict[str, Callable[[Desk, Request, Message | None], None]] = {
    "PUT": Desk.put,
    "TASK": Desk.put,
    "GET": Desk.get,
    "NEXT": Desk.next,
    "ACK": Desk.ack,
    "NACK": Desk.nack,
    "LEN": Desk.length,
    "PING": Desk.ping,
}
