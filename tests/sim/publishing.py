"""Messages that clients publish: bursts of few shapes on few routes, so that the broker finds rows to group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.codec.amqp_values import Table, Timestamp, Value
from tests.sim.delaying import delay_of, spent
from tests.sim.profile import Profile
from tests.sim.receipts import asked_of
from tests.sim.repeats import NUMBER, PRODUCER
from tests.sim.wire import ID_BYTES, REPLY_TO, Message, make_body

SIZES = (0, 1, 7, 8, 9, 20, 64)
DELAYS = (1, 5, 50, 50, 300, 3000, 20_000, 60_000, 5_000_000_000, "70", 0, -5, True, "soon")
IDS = (*"abcdefgh", 1, True)
PRODUCERS = ("p", "q", "q", "r", "long " * 30, "p", 1)
"""Who number their messages as they like."""
EXPIRATIONS = ("0", "1", "20", "300", "4000", "60000")
BIG = (1000, 4088, 4100, 9000, 40_000, 131_000, 131_100, 200_000)


@dataclass(slots=True)
class Shape:
    """What the messages of a burst have in common."""

    size: int
    properties: Properties
    copies: tuple[str, ...] = ()
    blind: bool = False
    numbered: bool = False
    """Each message has its number in its properties."""
    producer: bool = False
    """Each message has the number of its producer among its headers."""
    encoded: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    """The header payload as it is sent, as it is delivered, and as it is held back, where all messages have the
    same."""


def make_shape(rng: Random, profile: Profile, queues: list[str]) -> Shape:
    """A size and properties, most of them plain."""
    if rng.random() < profile.small or rng.random() > 0.2 * profile.taste["big"]:
        size = rng.choice(SIZES)
    else:
        size = rng.choice(BIG)
    properties = Properties()
    shape = Shape(size, properties)
    if rng.random() < profile.persistent:
        properties.delivery_mode = 2
    elif rng.random() < 0.3:
        properties.delivery_mode = 1
    if rng.random() < 0.4:
        properties.headers = make_headers(rng)
        if rng.random() < 0.1:
            properties.headers["x-recent-history-no-store"] = rng.choice((True, False, 1))
    if rng.random() < profile.repeating:
        ids: Table = {"x-deduplication-header": rng.choice(IDS)}
        if rng.random() < 0.2:
            ids["x-cache-ttl"] = rng.choice((0, 20, 5000))
        properties.headers = {**(properties.headers or {}), **ids}
    if rng.random() < profile.numbering:
        shape.producer = True
        named: Table = {PRODUCER: rng.choice(PRODUCERS)}
        properties.headers = {**(properties.headers or {}), **named}
    if rng.random() < profile.delaying:
        properties.headers = {**(properties.headers or {}), "x-delay": rng.choice(DELAYS)}
    if rng.random() < 0.3:
        properties.content_type = "text/plain"
    if rng.random() < 0.2:
        properties.correlation_id = "c" * rng.randint(0, 9)
    if rng.random() < 0.1:
        properties.timestamp = Timestamp(1_700_000_000)
    if rng.random() < 0.15 * profile.taste["priority"]:
        properties.priority = rng.choice((0, 1, 1, 2, 3, 9, 255))
    if rng.random() < 0.1 * profile.taste["expire"]:
        properties.expiration = rng.choice(EXPIRATIONS)
    if queues and rng.random() < profile.telling:
        shape.numbered = True
        asks = {"x-receipt": rng.choice((True, True, True, True, True, True, False, "true"))}
        properties.headers = {**(properties.headers or {}), **asks}
        properties.reply_to = rng.choice((*queues[:2], rng.choice(queues), "nowhere"))
        properties.correlation_id = rng.choice((None, ""))
    if rng.random() < 0.08 * profile.taste["special"]:
        _make_special(rng, shape, profile.keys, queues)
        if rng.random() < 0.02 * profile.taste["mistake"]:
            properties.user_id = "mallory"
    return shape


def _make_special(rng: Random, shape: Shape, keys: list[str], queues: list[str]) -> None:
    """Properties that the broker has to look at."""
    properties = shape.properties
    draw = rng.random()
    if draw < 0.25:
        properties.reply_to = REPLY_TO
    elif draw < 0.35:
        properties.user_id = "guest"
    elif draw < 0.4:
        properties.expiration = "315360000000"
    else:
        shape.copies = tuple(rng.choice([*keys, *queues]) for _ in range(rng.randint(1, 2)))
        shape.blind = rng.random() < 0.5
        headers: Table = {"BCC" if shape.blind else "CC": list(shape.copies)}
        properties.headers = {**(properties.headers or {}), **headers}


def make_headers(rng: Random) -> Table:
    """Headers that bindings of headers exchanges may ask for."""
    headers: Table = {}
    for name in ("h", "i", "x-j"):
        if rng.random() < 0.5:
            headers[name] = rng.choice((1, 2, "one", True))
    return headers


def number_shape(shape: Shape, number: Value) -> None:
    """What is made next of it has this number from its producer."""
    headers = shape.properties.headers or {}
    shape.properties.headers = {**headers, NUMBER: number}
    shape.encoded = (b"", b"", b"")


def make_message(number: int, shape: Shape, exchange: str, key: str, mandatory: bool) -> Message:
    """One message; where its body has no room for the number, its message id has."""
    properties = shape.properties
    delay_ms = delay_of(properties.headers or {})
    headers = spent(properties.headers or {})
    if shape.blind:
        headers = {name: value for name, value in headers.items() if name != "BCC"}
    if shape.size < ID_BYTES or shape.numbered:
        properties.message_id = str(number)
        if shape.numbered and properties.correlation_id is not None:
            properties.correlation_id = str(number)
        shape.encoded = _encode(shape, headers)
    elif not shape.encoded[0]:
        shape.encoded = _encode(shape, headers)
    sent, header, kept = shape.encoded
    body = make_body(number, shape.size)
    message = Message(number, exchange, key, body, sent, header, headers=headers)
    message.persistent = properties.delivery_mode == 2
    message.priority = properties.priority or 0
    if properties.expiration is not None:
        message.expiration_ms = int(properties.expiration)
    message.delay_ms, message.kept = delay_ms, kept
    message.mandatory = mandatory
    message.copies = shape.copies
    message.user_id = properties.user_id
    message.asks_receipt = asked_of(properties)
    if properties.reply_to == REPLY_TO:
        message.asks_reply = replace(properties)
        if delay_ms:
            message.asks_reply.headers = headers
    return message


def _encode(shape: Shape, headers: Table) -> tuple[bytes, bytes, bytes]:
    properties = shape.properties
    sent = kept = encode_header_payload(shape.size, properties)
    delayed = delay_of(properties.headers or {})
    if delayed:
        waiting = replace(properties, headers=spent(properties.headers or {}))
        kept = encode_header_payload(shape.size, waiting)
    if not shape.blind:
        return sent, kept, kept
    return sent, encode_header_payload(shape.size, replace(properties, headers=headers)), kept
