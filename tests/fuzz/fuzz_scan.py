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
from mansio.codec.amqp_content import properties_of, with_properties
from mansio.codec.amqp_fields import Fields
from mansio.codec.amqp_methods import (
    frame,
)
from mansio.codec.amqp_properties import decode_properties
from mansio.codec.amqp_values import CodecError, Long
from tests.fuzz import harness
from tests.fuzz.harness import Choices
from tests.fuzz.story import FRAME_MAX, Content, Story, key_of, plain, tell
from tests.fuzz.streams import build

NAME = "scan"
ROOT = Path(__file__).resolve().parents[2]
WHOLE_MAX = 300


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
    in_order: bool = field(init=False)

    def __post_init__(self) -> None:
        self.group = frozenset(self.key)
        self.in_order = "a" in self.key


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
        assert len(routes) == 1 or not flags & amqp.SPECIAL
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
        assert flags & amqp.SPECIAL
        return
    if flags & amqp.SPECIAL:
        return
    assert bool(flags & amqp.PERSISTENT) == (found.delivery_mode == 2)
    assert found.expiration is None and found.user_id is None
    assert not (found.reply_to or "").startswith("amq.rabbitmq.reply-to")
    assert not {"CC", "BCC"} & set(found.headers or {})


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


def check_offsets(reader: Reader, choices: Choices) -> None:
    """Offsets in every run are the same from both forms and from `Fields`; nothing that is sound is refused."""
    for item in reader.items:
        if item[0] != amqp.RUN:
            continue
        _, frames, which, data, count, stride, ends, flags = item
        skips = tuple(map(len, frames))
        first = choices.byte() << choices.below(56)
        found = stamped(amqp, data, count, stride, ends, skips, which, first)
        assert found == stamped(PURE, data, count, stride, ends, skips, which, first)
        if flags & amqp.SPECIAL and not all(
            is_sound(data[a:b], skips[0])
            for a, b in (PURE.bounds(i, stride, ends) for i in range(count))
        ):
            continue
        assert found is not None
        stop = 0
        for i in range(count):
            skip = skips[which[i] if which is not None else 0]
            a, b = PURE.bounds(i, stride, ends)
            fields = Fields(properties_of(data[a + skip : b]))
            fields.set("x-stream-offset", Long(first + i))
            fields.sort()
            expected = with_properties(data[a + skip : b], fields.encode())
            start, stop = PURE.bounds(i, *found[1:])
            message = bytearray(found[0][start:stop])
            message[skip + 20] &= 0xFC  # `Fields` leaves out what no property has
            assert message == data[a : a + skip] + expected
        assert stop == len(found[0])


def stamped(codec: Any, *run: Any) -> Any:
    """None if it is refused."""
    try:
        return codec.stamp_offsets(*run)
    except ValueError:
        return None


def is_sound(message: bytes, skip: int) -> bool:
    try:
        Fields(properties_of(message, skip))
    except CodecError:
        return False
    return True


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
    check_offsets(whole, Choices(data))


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
