"""Fuzzes the AMQP front with a Broker behind it: several clients, good and bad frames in any order.

No exception may leave a front or the Broker; what a front sends is whole frames and whole contents;
what the Broker writes to the log can be read back; the Broker's invariants hold after every step;
and nothing grows without bound.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import random
from collections.abc import Callable
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import (
    CodecError,
    Properties,
    Table,
    encode_header_payload,
    encode_table,
)
from mansio.core import records
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.limits import Limits
from mansio.core.users import Users
from mansio.protocol.amqp.connection import AmqpConnection
from mansio.protocol.base import Peer
from tests.fuzz import harness
from tests.fuzz.harness import Choices

NAME = "connection"
CLIENTS = 3
STEPS_MAX = 64
FRAME_MAX, SMALL_FRAME_MAX = 8192, 4096  # what is offered, and what some clients want
SECOND_NS = 1_000_000_000

# Choices of 16: most are good, so that a client lives long enough to get somewhere.
QUEUES = ("q0", "q1", "q2", "q3") * 3 + ("", "amq.rabbitmq.reply-to", "amq.x", "no\udcff")
KEYS = (
    "q0",
    "q1",
    "q2",
    "q0",
    "q1",
    "q0",
    "q3",
    "a.b",
    "a",
    "#",
    "*.b",
    "a.#",
    "",
    "q2",
    "q3",
    "no",
)
EXCHANGES = (
    *("", "", "", "", "x0", "x0", "x1", "x2", "x1"),
    *("amq.topic", "amq.headers", "amq.fanout", "amq.direct", "x3", "x2", "no"),
)
TAGS = ("t0", "t1", "", "t2")
NO_ACK_TAG = "t1"
DURABLE = ("q1", "q3")
NONE: tuple[Table, ...] = ({},) * 7
ARGUMENTS: tuple[Table, ...] = (
    *NONE,
    {"h": 1, "x-match": "all"},
    {"h": 1.5, "i": [1], "x-match": "any-with-x"},
    {"x-max-length": 2},
    {"x-max-length": 1, "x-overflow": "reject-publish"},
    {"x-max-length-bytes": 400, "x-max-priority": 1, "x-overflow": 7},
    {"x-match": "any", "h": 1},
    {"alternate-exchange": "x1"},
    {"x-message-ttl": "wrong", "t": {"deep": [b"\xff", None]}},
    {"x-match": 5, "x-dead-letter-exchange": "x0", "x-priority": 1},
)
PROPERTIES = (
    *(Properties(), Properties(), Properties(), Properties(headers={"h": 1}), Properties(type="t")),
    *(Properties(delivery_mode=2), Properties(delivery_mode=2, message_id="m", priority=3)),
    Properties(user_id="guest"),
    Properties(content_type="text/plain", timestamp=1),
    Properties(headers={"h": 1, "x": {"y": [None]}}),
    Properties(headers={"CC": ["q1", "q2"], "BCC": ["q0"]}),
    Properties(headers={"CC": 5}, delivery_mode=7),
    Properties(expiration="100"),
    Properties(expiration="abc", user_id="guest"),
    Properties(reply_to="amq.rabbitmq.reply-to", user_id="somebody"),
)
GUEST = m.ConnectionStartOk({"capabilities": {}}, "PLAIN", b"\0guest\0guest")
CAPABLE = m.ConnectionStartOk(
    {
        "capabilities": {
            "consumer_cancel_notify": True,
            "connection.blocked": True,
            "authentication_failure_close": True,
        }
    },
    "AMQPLAIN",
    encode_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:],
)
TUNES = [m.method_frame(0, m.ConnectionTuneOk(8, size, 10)) for size in (0, SMALL_FRAME_MAX)]
OPENING = m.method_frame(0, m.ConnectionOpen("/")) + b"".join(
    m.method_frame(number, m.ChannelOpen()) for number in (1, 2, 3)
)


class Client:
    """One front, what is fed into it, and a reader of what it says."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        peer = Peer(f"127.0.0.1:{number} -> 127.0.0.1:5672", True)
        self.front = AmqpConnection(
            world.broker, world.users, peer, world.token, world.speaking, world.now_ns
        )
        self.frames = 0
        self.content_left: int | None = None  # None: no content is due; -1: its header is
        self.content_channel = 0
        self.over = False
        self.tags: dict[int, int] = {}  # the last delivery tag of each channel
        self.open: dict[int, list[int]] = {}  # delivery tags that are not settled
        self.answers: list[bytes] = []  # what a well-behaved client sends next

    def receive(self, data: bytes) -> None:
        """Bytes from the peer, when the server would read them."""
        if self.front.closed or self.front.paused:
            return
        self.front.receive_data(data, self.world.now_ns)
        limit = max(FRAME_MAX, 131_072) + FRAME_MAX
        assert len(self.front.tail) <= limit, len(self.front.tail)

    def hear(self) -> None:
        """Takes what the front has to say: whole frames, contents as announced."""
        raw = b"".join(self.front.data_to_send())
        assert not (raw and self.over), "a closed front speaks"
        self.over = self.front.closed
        if raw.startswith(b"AMQP"):
            assert raw == b"AMQP\0\0\x09\x01" and self.over
            return
        at = 0
        while at < len(raw):
            kind, channel = raw[at], int.from_bytes(raw[at + 1 : at + 3], "big")
            size = int.from_bytes(raw[at + 3 : at + 7], "big")
            assert size + 8 <= self.front.frame_max
            assert at + size + 8 <= len(raw) and raw[at + 7 + size] == 0xCE
            self.frame(kind, channel, raw[at + 7 : at + 7 + size])
            at += size + 8
        assert self.content_left is None, "a content is cut off"

    def frame(self, kind: int, channel: int, payload: bytes) -> None:
        """Checks one frame of the front."""
        self.frames += 1
        if self.content_left is not None:
            assert channel == self.content_channel
            if self.content_left < 0:
                assert kind == m.FRAME_HEADER and payload[:4] == b"\0\x3c\0\0"
                self.content_left = int.from_bytes(payload[4:12], "big")
            else:
                assert kind == m.FRAME_BODY and 0 < len(payload) <= self.content_left
                self.content_left -= len(payload)
            if not self.content_left:
                self.content_left = None
            return
        if kind == m.FRAME_HEARTBEAT:
            assert channel == 0 and not payload
            return
        assert kind == m.FRAME_METHOD
        method = read_method(payload)
        if method.CONTENT:
            self.content_left, self.content_channel = -1, channel
        assert (channel == 0) == (method.ID >> 16 == 10)
        self.remember(channel, method)

    def remember(self, channel: int, method: m.Method) -> None:
        """What a client must know of what it heard."""
        if isinstance(method, (m.BasicDeliver, m.BasicGetOk)):
            assert method.delivery_tag == self.tags.get(channel, 0) + 1
            self.tags[channel] = method.delivery_tag
            if not isinstance(method, m.BasicDeliver) or method.consumer_tag != NO_ACK_TAG:
                self.open.setdefault(channel, []).append(method.delivery_tag)
        elif isinstance(method, m.ChannelClose):
            self.forget(channel)
            self.answers += [
                m.method_frame(channel, m.ChannelCloseOk()),
                m.method_frame(channel, m.ChannelOpen()),
            ]
        elif isinstance(method, m.ChannelOpenOk):
            self.forget(channel)
        elif isinstance(method, m.ConnectionClose):
            self.answers = [m.method_frame(0, m.ConnectionCloseOk())]

    def forget(self, channel: int) -> None:
        """The channel's deliveries are nobody's any more."""
        self.tags.pop(channel, None)
        self.open.pop(channel, None)

    def settle(self, channel: int, bits: int, multiple: bool) -> int:
        """A tag to settle: mostly one that is open, none twice; 0 and multiple do no harm."""
        tags = self.open.get(channel)
        if not tags or bits >= 252:
            return 0 if multiple else self.tags.get(channel, 0) + bits % 4
        at = (bits >> 4) % len(tags)
        tag = tags[at]
        del tags[0 if multiple else at : at + 1]
        return tag

    def answer(self) -> None:
        """Sends what is expected of a client."""
        answers, self.answers = self.answers, []
        self.receive(b"".join(answers))


def read_method(payload: bytes) -> m.Method:
    """A method of the front. Only the text of a close may hold bytes that are no text: names that
    the client published to, which RabbitMQ 3.10.8 hands back as they were, too."""
    try:
        return m.decode_method(payload)
    except CodecError as error:
        assert error.text == "Malformed UTF-8 in shortstr"
        close = m.METHODS[int.from_bytes(payload[:4], "big")]
        assert close in (m.ChannelClose, m.ConnectionClose)
        return close()


class World:
    """A Broker with its clients and a log that answers when the input says so."""

    def __init__(self) -> None:
        limits = Limits(
            frame_max=FRAME_MAX,
            channel_max=8,
            message_bytes_max=20_000,
            memory_bytes_max=200_000,
            parked_bytes_max=50_000,
            consumers_per_channel_max=5,
        )
        self.broker = Broker(limits)
        self.users = Users()
        self.speaking: list[Any] = []
        self.now_ns = 0
        self.tokens = 0
        self.ticket = 0
        self.durable = 0
        self.numbers = 0
        self.clients = [self.client() for _ in range(CLIENTS)]

    def token(self) -> str:
        self.tokens += 1
        return f"token{self.tokens}"

    def client(self) -> Client:
        self.numbers += 1
        return Client(self, self.numbers)

    def end_turn(self) -> None:
        """As server/turn.py does it."""
        found = self.broker.end_turn()
        for record in found:
            records.decode(b"".join(record))
        self.ticket += 1
        self.broker.seal(self.ticket)
        self.write()

    def answer(self, ok: bool) -> None:
        """The log has written everything, or never will."""
        if self.durable < self.ticket:
            self.durable = self.ticket
            (self.broker.durable if ok else self.broker.failed)(self.ticket)
            self.write()

    def write(self) -> None:
        for client in self.clients:
            client.hear()
            if client.front.session is not None:
                self.broker.grant(client.front.session)
        self.speaking.clear()
        if not self.broker.blocked:
            for client in self.clients:
                if client.front.blocked or client.front.paused:
                    client.front.unblock()

    def settle_down(self) -> None:
        """Everything that is still to be done is done, and nobody leaves anything behind."""
        for client in self.clients:
            client.front.set_writable(True)
        for _ in range(10_000):
            self.end_turn()
            self.answer(True)
            if not self.broker.unfinished:
                break
        else:
            raise AssertionError("the Broker does not come to rest")
        for client in self.clients:
            client.front.receive_eof()
            client.hear()
        self.end_turn()
        self.answer(True)
        check(self.broker)
        assert not self.broker.sessions and not self.broker.waiting


def good_method(choices: Choices, client: Client, channel: int) -> m.Method:
    """A method that a client may send, with arguments that mostly fit."""
    row = choices.below(len(GOOD) + 10)
    queue, exchange = QUEUES[choices.below(16)], EXCHANGES[choices.below(16)]
    key, bits = KEYS[choices.below(16)], choices.byte()
    if row < len(GOOD):
        return GOOD[row](queue, exchange, key, ARGUMENTS[choices.below(16)], bits)
    multiple = bit(bits, 0) or not client.open.get(channel)
    tag = client.settle(channel, bits, multiple)
    if row % 3 == 0:
        return m.BasicAck(tag, multiple)
    if row % 3 == 1 or multiple:
        return m.BasicNack(tag, multiple, bit(bits, 1))
    return m.BasicReject(tag, bit(bits, 1))


def bit(bits: int, number: int) -> bool:
    return bool(bits >> number & 1)


def declare_exchange(q: str, x: str, k: str, a: Table, b: int) -> m.Method:
    kind = ("direct", "fanout", "topic", "headers")[int(x[1:]) if x[1:].isdigit() else b >> 6]
    return m.ExchangeDeclare(x or "x0", kind, b >= 240, bit(b, 6), b == 99, b == 239, bit(b, 2), a)


# Arguments: queue, exchange, key, table, bits. What comes often stands here often.
GOOD: tuple[Callable[[str, str, str, Table, int], m.Method], ...] = (
    *(
        (
            lambda q, x, k, a, b: m.QueueDeclare(
                q, False, q in DURABLE or b >= 240, False, False, bit(b, 0)
            )
        ),
    )
    * 4,
    lambda q, x, k, a, b: m.QueueDeclare(q, b > 240, q in DURABLE, bit(b, 1), bit(b, 2), False, a),
    *((lambda q, x, k, a, b: m.BasicConsume(q, TAGS[b >> 6], False, TAGS[b >> 6] == NO_ACK_TAG)),)
    * 4,
    lambda q, x, k, a, b: m.BasicConsume(
        q, TAGS[b >> 6], bit(b, 0), TAGS[b >> 6] == NO_ACK_TAG, b % 16 == 1, bit(b, 4), a
    ),
    *((lambda q, x, k, a, b: m.BasicGet(q, b >= 240)),) * 2,
    *((lambda q, x, k, a, b: m.QueueBind(q, x if x or b >= 240 else "x1", k, bit(b, 4), a)),) * 3,
    lambda q, x, k, a, b: m.QueueUnbind(q, x, k, a),
    lambda q, x, k, a, b: m.QueuePurge(q, bit(b, 4)),
    lambda q, x, k, a, b: m.QueueDelete(q, bit(b, 0), bit(b, 1), bit(b, 4)),
    *((declare_exchange,) * 3),
    lambda q, x, k, a, b: m.ExchangeDelete(x, bit(b, 0), bit(b, 4)),
    *((lambda q, x, k, a, b: m.ExchangeBind(x or "x2", EXCHANGES[b >> 4] or "x0", k, False, a)),)
    * 2,
    lambda q, x, k, a, b: m.ExchangeUnbind(x, EXCHANGES[b >> 4], k, False, a),
    *((lambda q, x, k, a, b: m.BasicQos(int(b == 255), b >> 5, bit(b, 0))),) * 2,
    *((lambda q, x, k, a, b: m.BasicCancel(TAGS[b >> 6], bit(b, 4))),) * 2,
    lambda q, x, k, a, b: m.BasicRecover(b < 250),
    lambda q, x, k, a, b: m.BasicRecoverAsync(b < 250),
    lambda q, x, k, a, b: m.ConfirmSelect(bit(b, 0)),
    lambda q, x, k, a, b: m.TxSelect(),
    *((lambda q, x, k, a, b: m.TxCommit()),) * 2,
    lambda q, x, k, a, b: m.TxRollback(),
    lambda q, x, k, a, b: m.ChannelClose(200, "bye"),
    lambda q, x, k, a, b: m.ChannelFlow(b < 250),
)


def publishes(choices: Choices, channel: int) -> bytes:
    """A row of publishes on one route or on two in turn, some with several body frames."""
    bits = choices.byte()
    exchange = EXCHANGES[choices.below(16) if bits & 16 else 0]
    keys = (KEYS[choices.below(16)], KEYS[choices.below(16)])
    methods = [m.BasicPublish(exchange, key, bool(bits & 1), bits == 255) for key in keys]
    properties = PROPERTIES[choices.below(len(PROPERTIES)) if bits & 2 else 5 * (bits >> 7)]
    size = (0, 1, 20, 300, 2000, 5000, 9000, 60)[choices.below(8)]
    count = 1 + choices.below(8 if size < 1000 else 3)
    parts: list[bytes] = []
    for i in range(count):
        body = bytes(size)
        step = (FRAME_MAX if bits & 64 else SMALL_FRAME_MAX) - 8
        if not bits & 4:
            step = min(step, max(1, size // 3))
        parts.append(m.method_frame(channel, methods[i % 2 if bits & 8 else 0]))
        parts.append(m.frame(2, channel, encode_header_payload(size, properties)))
        parts += [m.frame(3, channel, body[at : at + step]) for at in range(0, size, step)]
    return b"".join(parts)


def client_bytes(choices: Choices, client: Client) -> bytes:
    """What a client sends at once: mostly well-formed, sometimes damaged."""
    parts: list[bytes] = []
    damage = choices.byte()
    for _ in range(1 + choices.below(4)):
        kind = choices.below(64)
        channel = (1, 1, 1, 1, 2, 2, 2, 3)[choices.below(8)]
        if kind < 20:
            parts.append(publishes(choices, channel))
        elif kind < 60:
            method = good_method(choices, client, channel)
            parts.append(m.method_frame(channel, method))
        elif kind < 61:
            parts.append(m.method_frame(choices.below(6), m.ChannelOpen()))
        elif kind < 62:
            parts.append(choices.some())
        elif kind < 63:
            parts.append(m.frame(1 + choices.below(3), choices.below(4), choices.some()))
        else:
            every = tuple(m.METHODS.values())
            parts.append(m.method_frame(choices.below(4), every[choices.below(len(every))]()))
    raw = bytearray(b"".join(parts))
    if damage >= 250 and raw:
        for _ in range(1 + choices.below(3)):
            raw[choices.below(min(len(raw), 65536))] = choices.byte()
    return bytes(raw)


def handshake(choices: Choices) -> bytes:
    """A handshake, mostly a good one, with three channels."""
    bits = choices.byte()
    start_ok = m.method_frame(0, CAPABLE if bits & 1 else GUEST)
    raw = bytearray(b"AMQP\0\0\x09\x01" + start_ok + TUNES[bits >> 1 & 1] + OPENING)
    if bits >= 248:
        raw[choices.below(len(raw))] = choices.byte()
    return bytes(raw)


def start(world: World, number: int, choices: Choices) -> None:
    """A new client in the place of one that is gone."""
    world.clients[number] = client = world.client()
    client.receive(handshake(choices))


def step(world: World, choices: Choices) -> None:
    """One event of the world."""
    number = choices.below(CLIENTS)
    client = world.clients[number]
    if client.over:
        start(world, number, choices)
        return
    kind = choices.below(64)
    if kind < 36:
        client.receive(client_bytes(choices, client))
    elif kind < 40:
        data, size = client_bytes(choices, client), 1 + choices.byte()
        size = max(size, len(data) // 16)
        for at in range(0, len(data), size):
            client.receive(data[at : at + size])
    elif kind < 52:
        world.end_turn()
        world.answer(True)
    elif kind < 54:
        world.end_turn()
    elif kind < 55:
        world.answer(choices.below(4) != 3)
    elif kind < 59:
        client.front.set_writable(kind != 55)
    elif kind < 61:
        world.now_ns += choices.byte() * SECOND_NS // 32
        client.front.tick(world.now_ns)
    elif kind < 62:
        client.receive(m.method_frame(0, m.ConnectionClose(200, "bye")))
    elif kind < 63:
        client.front.receive_eof()
    elif choices.below(8) == 7:
        client.front.shutdown(320, "shutdown")
    if choices.byte() < 240:
        client.answer()


def run(data: bytes) -> None:
    choices = Choices(data)
    world = World()
    for client in world.clients:
        client.receive(handshake(choices))
    scene = choices.byte()
    if scene & 1:
        world.clients[0].receive(SCENE)
    for number, client in enumerate(world.clients):
        if scene >> number & 2:
            client.receive(m.method_frame(2, m.BasicQos(0, scene >> 6)) + SUBSCRIBE)
    for _ in range(STEPS_MAX):
        if not choices:
            break
        step(world, choices)
        check(world.broker)
    world.settle_down()


# Queues with bindings, so that an input need not spell them out.
SCENE = b"".join(
    m.method_frame(1, method)
    for method in (
        m.QueueDeclare("q0"),
        m.QueueDeclare("q1", durable=True),
        m.QueueDeclare("q2", auto_delete=True),
        m.QueueDeclare(
            "q3", durable=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"}
        ),
        m.ExchangeDeclare("x0", "direct"),
        m.ExchangeDeclare("x1", "fanout"),
        m.ExchangeDeclare("x2", "topic", durable=True),
        m.ExchangeDeclare("x3", "headers", arguments={"alternate-exchange": "x1"}),
        m.QueueBind("q0", "x1", ""),
        m.QueueBind("q1", "x2", "a.#"),
        m.QueueBind("q2", "x2", "*.b"),
        m.ExchangeBind("x2", "x1", "a.b"),
        m.BasicConsume("q0", "t0"),
        m.ConfirmSelect(),
    )
)


SUBSCRIBE = m.method_frame(2, m.QueueDeclare("q0")) + b"".join(
    m.method_frame(2, m.BasicConsume("q0", tag)) for tag in ("t0", "t2")
)


def seeds() -> list[bytes]:
    """Long rows of choices: what they mean is decided as they are read."""
    rng = random.Random(0)
    return [bytes((1, 0, 0, n * 37 % 256)) + rng.randbytes(40 << (n // 4)) for n in range(24)]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
