"""Helpers for tests of the hot codec: both of its forms, publishes as bytes, and a reader that drives `Scan`."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mansio.codec import amqp
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload

SOURCE = Path(__file__).resolve().parents[2] / "src/mansio/codec/amqp.py"
FRAME_MAX = 4096


def load_pure() -> ModuleType:
    """The plain-Python form of the codec, under a name of its own."""
    spec = importlib.util.spec_from_file_location("mansio.codec._amqp_of_tests", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


PURE: Any = load_pure() if amqp.COMPILED else amqp
CODECS: list[Any] = [amqp, PURE] if amqp.COMPILED else [amqp]
NAMES = ["compiled", "pure"] if amqp.COMPILED else ["pure"]


def publish(
    key: str,
    body: bytes = b"hello",
    properties: Properties | None = None,
    channel: int = 1,
    pieces: Iterable[int] = (),
    mandatory: bool = False,
) -> bytes:
    """A message as its publisher sends it; `pieces`: sizes of its first body frames, the rest is one more."""
    frames = [
        m.method_frame(channel, m.BasicPublish("", key, mandatory)),
        m.frame(2, channel, encode_header_payload(len(body), properties or Properties())),
    ]
    at = 0
    for size in (*pieces, len(body)):
        if body[at : at + size]:
            frames.append(m.frame(3, channel, body[at : at + size]))
        at += size
    return b"".join(frames)


def raw_publish(key: str, header: bytes, body: bytes = b"", channel: int = 1) -> bytes:
    """A message whose header frame's payload is given as bytes."""
    frames = m.method_frame(channel, m.BasicPublish("", key)) + m.frame(2, channel, header)
    return frames + (m.frame(3, channel, body) if body else b"")


def ack(tag: int, multiple: bool = False, channel: int = 1) -> bytes:
    return m.method_frame(channel, m.BasicAck(tag, multiple))


def nack(tag: int, multiple: bool = False, requeue: bool = True, channel: int = 1) -> bytes:
    return m.method_frame(channel, m.BasicNack(tag, multiple, requeue))


def reject(tag: int, requeue: bool = True, channel: int = 1) -> bytes:
    return m.method_frame(channel, m.BasicReject(tag, requeue))


@dataclass(eq=False)
class FakeRoute:
    """What a routing key leads to: every letter is a queue; "!" is unknown, and a capital letter looks at ids."""

    key: str
    frame: bytes
    channel: int
    group: frozenset[Any] = field(init=False)
    in_order: bool = field(init=False)

    def __post_init__(self) -> None:
        goals = {(self.channel, queue) for queue in self.key}
        self.group = frozenset(goals or {(self.channel, "")})
        self.in_order = self.key != self.key.lower()


@dataclass
class Reader:
    """Drives a `Scan` as a connection does and keeps what it hears."""

    codec: Any
    frame_max: int = FRAME_MAX
    runs: list[Any] = field(default_factory=list)
    settles: list[tuple[int, int, int, int]] = field(default_factory=list)
    singles: list[tuple[int, int, bytes]] = field(default_factory=list)
    fault: tuple[int, int, str] | None = None
    tail: bytes = b""
    items: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scan = self.codec.Scan(self.frame_max)
        self.routes: dict[bytes, FakeRoute] = {}

    def receive(self, data: bytes, behind: bytes = b"") -> None:
        """More bytes; `behind` lies behind them in the buffer, left over from another read."""
        buf = bytearray(self.tail + data + behind)
        end = len(self.tail) + len(data)
        pos = 0
        while self.fault is None:
            out: list[Any] = []
            before = pos
            pos = self.scan.scan(buf, pos, end, self.routes, out)
            assert before <= pos <= end
            again = False
            for item in out:
                if item[0] == amqp.MISS:
                    again, pos = self._miss(buf, pos, end, item)
                else:
                    self._take(item)
            if pos == before and not again:
                break
        self.tail = bytes(buf[pos:end])

    def _miss(self, buf: bytearray, pos: int, end: int, item: Any) -> tuple[bool, int]:
        _, channel, raw = item
        assert raw not in self.routes
        assert raw == buf[pos : pos + len(raw)]
        key = m.BasicPublish.decode(raw[:-1], 11).routing_key
        if "!" not in key:
            self.routes[raw] = FakeRoute(key, raw, channel)
            return True, pos
        out: list[Any] = []
        pos = self.scan.one(buf, pos, end, out)
        self._take(out[0])
        return True, pos

    def _take(self, item: Any) -> None:
        kind = item[0]
        if kind == amqp.RUN:
            self.items.append((kind, tuple(r.frame for r in item[1]), *item[2:]))
            self.runs.append(item[1:])
            return
        self.items.append(item)
        if kind == amqp.SETTLE:
            _, channel, method, first, last, bits = item
            assert first <= last
            self.settles += [(channel, method, tag, bits) for tag in range(first, last + 1)]
        elif kind == amqp.FAULT:
            self.fault = item
        else:
            self.singles.append(item)

    def messages(self) -> list[tuple[str, bytes, int]]:
        """(routing key, frames, flags) of every message, in the order of the runs."""
        found: list[tuple[str, bytes, int]] = []
        for routes, which, data, count, stride, ends, flags in self.runs:
            assert (which is None) == (len(routes) == 1)
            assert (stride == 0) == (ends is not None)
            stop = 0
            for i in range(count):
                start, after = self.codec.bounds(i, stride, ends)
                assert start == stop < after
                stop = after
                route = routes[which[i] if which is not None else 0]
                assert data.startswith(route.frame, start)
                found.append((route.key, data[start:stop], flags))
            assert stop == len(data)
        return found

    def told(self) -> tuple[Any, ...]:
        """All of it, in a form that does not depend on how the bytes were cut into reads."""
        return sorted(self.messages()), self.settles, self.singles, self.fault, self.tail


def read(codec: Any, data: bytes, frame_max: int = FRAME_MAX) -> Reader:
    """Everything in one read."""
    reader = Reader(codec, frame_max)
    reader.receive(data)
    return reader
