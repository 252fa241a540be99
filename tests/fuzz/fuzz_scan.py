"""Fuzzes the frame scanner: buffers whole, split anywhere, with stale bytes behind, compiled and
pure, against a reader of frames that is too simple to be wrong (`plain`).

What the scanner may do to the order is part of the check: between two frames that are neither
publishes nor settlements, every queue sees its messages in the order in which they were sent, and
settlements keep their order among themselves.
"""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mansio.codec import amqp
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
from mansio.codec.amqp_values import (
    CodecError,
    Properties,
    decode_properties,
    encode_header_payload,
)
from tests.fuzz import harness
from tests.fuzz.harness import Choices

NAME = "scan"
ROOT = Path(__file__).resolve().parents[2]
FRAME_MAX = 128
WHOLE_MAX = 300
SETTLES = {amqp.ACK_ID, amqp.NACK_ID, amqp.REJECT_ID}
CLASS_BASIC = b"\0\x3c\0\0"


def load_pure() -> ModuleType:
    """The plain-Python form of the codec, under a name of its own."""
    path = ROOT / "src/mansio/codec/amqp.py"
    spec = importlib.util.spec_from_file_location("mansio.codec._amqp_pure", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


PURE = load_pure()


@dataclass(eq=False)
class FakeRoute:
    """Routing keys are words of queue letters: "ab" leads to the queues a and b. "!" is refused."""

    key: str
    frame: bytes
    group: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.group = frozenset(self.key)


@dataclass
class Section:
    """What lay between two single frames."""

    queues: dict[str, list[bytes]] = field(default_factory=dict)
    nowhere: list[bytes] = field(default_factory=list)
    settles: list[tuple[int, int, int, int]] = field(default_factory=list)

    def publish(self, key: str, message: bytes) -> None:
        for queue in sorted(set(key)):
            self.queues.setdefault(queue, []).append(message)
        if not key:
            self.nowhere.append(message)


@dataclass
class Story:
    """A connection's input as its channels see it: sections, single frames between, how it ends."""

    sections: list[Section] = field(default_factory=lambda: [Section()])
    singles: list[tuple[int, int, bytes]] = field(default_factory=list)
    fault: int = 0
    rest: int = 0

    def single(self, kind: int, channel: int, payload: bytes) -> None:
        self.singles.append((kind, channel, payload))
        self.sections.append(Section())

    def plain(self) -> tuple[Any, ...]:
        sections = [(s.queues, sorted(s.nowhere), s.settles) for s in self.sections]
        return sections, self.singles, self.fault


class Content:
    """A publish taken frame by frame, as a connection does it for what the scanner leaves to it."""

    def __init__(self, method: bytes, channel: int) -> None:
        self.frames = method_frame_bytes(channel, method)
        self.channel = channel
        self.left = -1  # the header is due
        self.key = key_of(method)

    def add(self, kind: int, channel: int, payload: bytes) -> bool | None:
        """True when complete, False when not yet, None for a frame that is not due."""
        if channel != self.channel:
            return None
        if self.left < 0:
            if kind != amqp.HEADER or len(payload) < 14 or payload[:4] != CLASS_BASIC:
                return None
            self.left = int.from_bytes(payload[4:12], "big")
        elif kind != amqp.BODY or len(payload) > self.left:
            return None
        else:
            self.left -= len(payload)
        if kind == amqp.HEADER or payload:  # the scanner leaves empty body frames to this way
            self.frames += frame(kind, channel, payload)
        return not self.left


def method_frame_bytes(channel: int, payload: bytes) -> bytes:
    return frame(amqp.METHOD, channel, payload)


def key_of(method: bytes) -> str | None:
    """The routing key of a publish method's payload; None where there is no route."""
    try:
        found = BasicPublish.decode(method, 4)
    except CodecError:
        return None
    return None if "!" in found.routing_key else found.routing_key


def plain(stream: bytes) -> Story:
    """The story of a stream, read frame by frame without any cleverness."""
    story = Story()
    content: Content | None = None
    pos = 0
    while pos < len(stream):
        kind = stream[pos]
        if kind not in (1, 2, 3, 8):
            story.fault = 501
            break
        size = int.from_bytes(stream[pos + 3 : pos + 7], "big")
        if len(stream) - pos < 7:
            break
        if size > FRAME_MAX - 8:
            story.fault = 501
            break
        if len(stream) - pos < size + 8:
            break
        if stream[pos + size + 7] != 0xCE:
            story.fault = 501
            break
        channel = int.from_bytes(stream[pos + 1 : pos + 3], "big")
        content = tell(story, content, kind, channel, stream[pos + 7 : pos + 7 + size])
        if story.fault:
            break
        pos += size + 8
    return story


def tell(
    story: Story, content: Content | None, kind: int, channel: int, payload: bytes
) -> Content | None:
    """One frame's part of the story; the content that is then being put together."""
    if content is not None:
        done = content.add(kind, channel, payload)
        if done is None:
            story.fault = 505
            return None
        if not done:
            return content
        if content.key is None:
            story.single(*unframe(content.frames))
        else:
            story.sections[-1].publish(content.key, content.frames)
        return None
    method = int.from_bytes(payload[:4], "big") if kind == amqp.METHOD and len(payload) >= 4 else 0
    if method == amqp.PUBLISH_ID:
        return Content(payload, channel)
    if method in SETTLES and len(payload) == 13:
        tag = int.from_bytes(payload[4:12], "big")
        story.sections[-1].settles.append((channel, method, tag, payload[12]))
    else:
        story.single(kind, channel, payload)
    return None


def unframe(raw: bytes) -> tuple[int, int, bytes]:
    """A refused content as one single frame, so that it counts as one in the story."""
    return raw[0], int.from_bytes(raw[1:3], "big"), raw


class Reader:
    """Drives a Scan as a connection does, and tells the story of what it hears."""

    def __init__(self, codec: Any) -> None:
        self.codec = codec
        self.scan = codec.Scan(FRAME_MAX)
        self.scan.whole_max = WHOLE_MAX
        self.routes: dict[bytes, FakeRoute] = {}
        self.story = Story()
        self.content: Content | None = None
        self.tail = b""
        self.items: list[Any] = []
        self.calls = 0

    def receive(self, data: bytes, junk: bytes) -> None:
        """More bytes; `junk` lies behind them in the buffer, as in one that is used again."""
        buf = bytearray(self.tail + data + junk)
        end = len(self.tail) + len(data)
        pos = 0
        while not self.story.fault:
            self.calls += 1
            assert self.calls < 50_000, "the scanner does not get on"
            out: list[Any] = []
            if self.content is not None:
                new = self.scan.one(buf, pos, end, out)
            else:
                new = self.scan.scan(buf, pos, end, self.routes, out)
            assert pos <= new <= end
            learned = False
            for item in out:
                if item[0] == amqp.MISS:
                    learned = self.miss(item)
                    if not learned:
                        out = []
                        new = self.scan.one(buf, new, end, out)
                        self.take(out[0])
                else:
                    self.take(item)
            if new == pos and not learned:
                break
            pos = new
        self.tail = bytes(buf[pos:end])

    def miss(self, item: Any) -> bool:
        _, channel, raw = item
        assert raw[0] == 1 and raw[-1] == 0xCE and int.from_bytes(raw[1:3], "big") == channel
        assert raw not in self.routes
        key = key_of(raw[7:-1])
        if key is not None:
            self.routes[raw] = FakeRoute(key, raw)
        return key is not None

    def take(self, item: Any) -> None:
        """One item of the scanner."""
        kind = item[0]
        if kind == amqp.RUN:
            self.items.append((kind, tuple(r.frame for r in item[1]), *item[2:]))
            self.run(item)
        elif kind == amqp.SETTLE:
            self.items.append(item)
            _, channel, method, first, last, bits = item
            assert first <= last and (first == last or not (bits & 1) or method == amqp.REJECT_ID)
            self.story.sections[-1].settles += [
                (channel, method, tag, bits) for tag in range(first, last + 1)
            ]
        elif kind == amqp.FAULT:
            self.items.append(item)
            self.story.fault = item[1]
        else:
            self.items.append(item)
            self.content = tell(self.story, self.content, *item)

    def run(self, item: Any) -> None:
        """A run: its messages are what was sent, its flags are what their properties say."""
        _, routes, which, data, count, stride, ends, flags = item
        assert count > 0 and (stride > 0) == (ends is None)
        assert (which is None) == (len(routes) == 1)
        assert which is None or (len(which) == count and set(which) == set(range(len(routes))))
        assert len({route.group for route in routes}) == 1
        assert count == 1 or not flags & amqp.SPECIAL
        stop = 0
        for i in range(count):
            start, after = self.codec.bounds(i, stride, ends)
            assert start == stop < after
            stop = after
            route = routes[which[i] if which is not None else 0]
            message = data[start:stop]
            assert message.startswith(route.frame)
            check_flags(message, len(route.frame), flags)
            self.story.sections[-1].publish(route.key, message)
        assert stop == len(data)


def check_flags(message: bytes, skip: int, flags: int) -> None:
    """A message that is not special has nothing in its properties that changes its way."""
    size = int.from_bytes(message[skip + 3 : skip + 7], "big")
    try:
        found = decode_properties(message, skip + 19, skip + 7 + size)
    except CodecError:
        # Only what a headers table holds is not looked at.
        assert flags & amqp.SPECIAL or message[skip + 19] & 0x20
        return
    if flags & amqp.SPECIAL:
        return
    assert bool(flags & amqp.PERSISTENT) == (found.delivery_mode == 2)
    assert found.expiration is None and found.user_id is None
    assert not (found.reply_to or "").startswith("amq.rabbitmq.reply-to")
    assert not {"CC", "BCC"} & set(found.headers or {})


# -- building streams

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
)


def publish(choices: Choices) -> bytes:
    """Some publishes with one route and properties of a kind."""
    channel = 1 + choices.below(2)
    method = method_frame(channel, BasicPublish("x" * choices.below(2), KEYS[choices.below(8)]))
    properties = PROPERTIES[choices.below(8)]
    size = choices.below(256) + choices.below(2) * 250
    pieces = 1 + choices.below(4)
    parts: list[bytes] = []
    for number in range(1 + choices.below(6)):
        body = (b"%d-" % number + bytes(size))[: size + (number if choices.bit() else 0)]
        parts += [method, frame(2, channel, encode_header_payload(len(body), properties))]
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


def check_deliveries(reader: Reader, other: Reader, choices: Choices) -> None:
    """Deliveries of every run are the same from both forms and from one message at a time."""
    for item in reader.items:
        if item[0] != amqp.RUN:
            continue
        _, frames, which, data, count, stride, ends, _ = item
        start = choices.below(count)
        step = 1 + choices.below(3)
        number = 1 + choices.below((count - start - 1) // step + 1)
        tag = choices.byte() if choices.bit() else (1 << 64) - number
        channel = 1 + choices.below(3)
        tails = tuple(
            (len(raw), b"\0\1x\1k\xce", int.from_bytes(raw[1:3], "big")) for raw in frames
        )
        head = amqp.PUBLISH_ID.to_bytes(4, "big") + b"\3tag"
        arguments = (data, stride, ends, which, tails, start, number, step, head, tag, channel)
        expected = b""
        for n in range(number):
            i = start + n * step
            a, b = PURE.bounds(i, stride, ends)
            skip = tails[which[i] if which is not None else 0][0]
            payload = head + (tag + n).to_bytes(8, "big") + b"\0\1x\1k"
            expected += frame(1, channel, payload) + with_channel(data[a + skip : b], channel)
        assert reader.codec.encode_deliveries(*arguments) == expected
        assert other.codec.encode_deliveries(*arguments) == expected


def with_channel(raw: bytes, channel: int) -> bytes:
    """The frames with another channel."""
    out = b""
    while raw:
        size = int.from_bytes(raw[3:7], "big")
        out += frame(raw[0], channel, raw[7 : 7 + size])
        raw = raw[8 + size :]
    return out


def run(data: bytes) -> None:
    choices = Choices(data)
    splits = [choices.byte() for _ in range(1 + choices.below(6))]
    raw = choices.bit() and choices.bit()
    stream = choices.take(harness.INPUT_BYTES_MAX) if raw else build(choices)
    expected = plain(stream)

    whole, pure, junk = Reader(amqp), Reader(PURE), Reader(amqp)
    whole.receive(stream, b"")
    pure.receive(stream, b"")
    junk.receive(stream, stream[: splits[0]] + b"\xce" * splits[0])
    assert whole.items == pure.items == junk.items
    assert whole.tail == pure.tail == junk.tail
    assert whole.story.plain() == expected.plain()

    for codec in (amqp, PURE):
        split = Reader(codec)
        at, turn = 0, 0
        while at < len(stream):
            size = 1 + splits[turn % len(splits)]
            split.receive(stream[at : at + size], b"")
            at, turn = at + size, turn + 1
        assert split.story.plain() == expected.plain()
        if not split.story.fault:
            assert split.tail == whole.tail
    check_deliveries(whole, pure, Choices(data))


def seeds() -> list[bytes]:
    return [
        bytes((1, 40, 0)) + bytes((op, *arguments)) * 3
        for op, arguments in (
            (0, (1, 0, 0, 0, 10, 0, 1, 5, 0, 0, 0)),
            (1, (0, 1, 2, 1, 50, 1, 3, 2, 1, 1, 1)),
            (2, (1, 1, 4, 3, 100, 0, 2, 3, 0, 1, 0)),
            (3, (0, 0, 5, 0, 5, 0, 1, 1)),
            (4, (0, 1, 5, 0, 0, 4, 1, 1, 1, 1)),
            (4, (1, 0, 2, 3, 0, 5, 1, 1, 1, 1, 1)),
            (5, (1, 0, 9)),
            (7, (1, 0, 0, 0, 10, 0, 1, 5, 0, 0, 0, 1, 7, 9, 3)),
        )
    ] + [bytes((3, 1, 2, 3, 4)) + bytes(range(64)) * 3]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
