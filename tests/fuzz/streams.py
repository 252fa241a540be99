"""Streams of frames for the scanner, built from choices: most of them good."""

from mansio.codec.amqp_methods import (
    BasicAck,
    BasicNack,
    BasicPublish,
    BasicQos,
    BasicReject,
    ChannelClose,
    frame,
    method_frame,
)
from mansio.codec.amqp_properties import Properties, encode_header_payload
from tests.fuzz.harness import Choices
from tests.fuzz.story import FRAME_MAX

KEYS = ("a", "b", "ab", "c", "", "!", "a" * 80, "abc")
PROPERTIES = (
    Properties(),
    Properties(delivery_mode=2),
    Properties(delivery_mode=1, priority=3, content_type="text/plain"),
    Properties(expiration="100"),
    Properties(headers={"CC": ["b"]}),
    Properties(headers={"x": 1}, reply_to="amq.rabbitmq.reply-to"),
    Properties(headers={"x": "y"}, timestamp=1, correlation_id="c", reply_to="me", app_id="app"),
    Properties(user_id="guest"),
    Properties(headers={"y": [{"a": None}], "x": 1.5, "x-stream-offset": 1}, delivery_mode=2),
)


def publish(choices: Choices) -> bytes:
    """Some publishes with one route and properties of a kind."""
    channel = 1 + choices.below(2)
    method = method_frame(channel, BasicPublish("x" * choices.below(2), KEYS[choices.below(8)]))
    properties = PROPERTIES[choices.below(len(PROPERTIES))]
    size = choices.below(256) + choices.below(2) * 250
    pieces = 1 + choices.below(4)
    parts: list[bytes] = []
    for number in range(1 + choices.below(6)):
        body = (b"%d-" % number + bytes(size))[: size + (number if choices.bit() else 0)]
        lie = choices.byte()
        said = len(body) + (lie == 255) - (lie == 254 and size > 0)
        parts += [method, frame(2, channel, encode_header_payload(said, properties))]
        step = min(FRAME_MAX - 8, max(1, -(-len(body) // pieces)))
        parts += [frame(3, channel, body[i : i + step]) for i in range(0, len(body), step)]
    return b"".join(parts)


def settle(choices: Choices) -> bytes:
    """A row of settlements with tags that follow each other, or nearly."""
    channel = 1 + choices.below(2)
    tag = choices.byte() if choices.bit() else (1 << 64) - 1 - choices.below(4)
    kind = choices.below(4)
    flag = choices.bit()
    parts: list[bytes] = []
    for _ in range(1 + choices.below(6)):
        one = (BasicAck(tag, flag), BasicNack(tag, flag), BasicReject(tag, flag), BasicAck(tag))
        parts.append(method_frame(channel, one[kind]))
        tag = (tag + (0, 1, 1, 2)[choices.below(4)]) % (1 << 64)
    return b"".join(parts)


def single(choices: Choices) -> bytes:
    """A frame that the scanner does not know."""
    channel = choices.below(3)
    match choices.below(5):
        case 0:
            return method_frame(channel, BasicQos(0, choices.byte()))
        case 1:
            return method_frame(channel, ChannelClose(200, "bye"))
        case 2:
            return frame(8, 0, b"")
        case 3:
            return frame(1 + choices.below(3), channel, choices.some())
        case _:
            return frame(1, channel, choices.take(choices.below(5)))


def build(choices: Choices) -> bytes:
    """A stream of frames, most of them good."""
    parts: list[bytes] = []
    for _ in range(24):
        if not choices:
            break
        match choices.below(8):
            case 0 | 1 | 2 | 3:
                parts.append(publish(choices))
            case 4:
                parts.append(settle(choices))
            case 5:
                parts.append(single(choices))
            case 6:
                parts.append(choices.some())
            case _:
                damaged = bytearray(publish(choices))
                for _ in range(1 + choices.below(2)):
                    damaged[choices.below(len(damaged))] = choices.byte()
                parts.append(bytes(damaged))
    return b"".join(parts)
