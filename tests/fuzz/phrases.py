"""What clients say to an AMQP front, built from choices: most of it makes sense."""

from collections.abc import Callable

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.codec.amqp_values import Table, encode_table
from tests.fuzz.harness import Choices
from tests.fuzz.world import FRAME_MAX, NO_ACK_TAG, SMALL_FRAME_MAX, Client

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
    *("amq.topic", "amq.headers", "amq.fanout", "amq.direct", "x3", "x4", "no"),
)
TAGS = ("t0", "t1", "", "t2")
DURABLE = ("q1", "q3")
NONE: tuple[Table, ...] = ({},) * 7
ARGUMENTS: tuple[Table, ...] = (
    *NONE,
    {"h": 1, "x-match": "all"},
    {"h": 1.5, "i": [1], "x-match": "any-with-x"},
    {"x-max-length": 2},
    {"x-max-length": 1, "x-overflow": "reject-publish"},
    {"x-max-length-bytes": 400, "x-max-priority": 1, "x-overflow": "drop-head"},
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


def good_method(choices: Choices, client: Client, channel: int) -> m.Method:
    """A method that a client may send, with arguments that mostly fit."""
    row = choices.below(len(GOOD) + 10)
    queue, exchange = QUEUES[choices.below(16)], EXCHANGES[choices.below(16)]
    key, bits = KEYS[choices.below(16)], choices.byte()
    if row < len(GOOD):
        method = GOOD[row](queue, exchange, key, ARGUMENTS[choices.below(16)], bits)
        ends_tx = isinstance(method, (m.TxCommit, m.TxRollback))
        return m.TxSelect() if ends_tx and channel not in client.in_tx and bits < 240 else method
    multiple = bit(bits, 0) or not client.open.get(channel)
    tag = client.settle(channel, bits, multiple)
    if row % 3 == 0:
        return m.BasicAck(tag, multiple)
    if row % 3 == 1 or multiple:
        return m.BasicNack(tag, multiple, bit(bits, 1))
    return m.BasicReject(tag, bit(bits, 1))


def settlements(choices: Choices, client: Client, channel: int) -> bytes:
    """A row of acks, nacks or rejects, of neighbours when the input likes it."""
    kind, bits = choices.below(3), choices.byte()
    parts: list[bytes] = []
    for _ in range(1 + choices.below(6)):
        if not client.open.get(channel):
            break
        tag = client.settle(channel, bits % 64, False)
        one = (
            m.BasicAck(tag),
            m.BasicNack(tag, False, bit(bits, 7)),
            m.BasicReject(tag, bit(bits, 7)),
        )
        parts.append(m.method_frame(channel, one[kind]))
    return b"".join(parts)


def bit(bits: int, number: int) -> bool:
    return bool(bits >> number & 1)


def declare_exchange(q: str, x: str, k: str, a: Table, b: int) -> m.Method:
    kinds = ("direct", "fanout", "topic", "headers", "x-random" if b & 1 else "x-recent-history")
    kind = kinds[int(x[1:]) if x[1:].isdigit() else b >> 6]
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
        body = bytes(size + (bits == 254) - (bits == 253 and size > 0))
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
        elif kind < 26:
            parts.append(settlements(choices, client, channel))
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
