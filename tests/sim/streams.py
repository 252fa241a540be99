"""Streams and consumer groups as the oracle knows them: what they are beside queues.

A stream's queue has its entries in `ready`, and positions are offsets. A group's queue is one as any other, which gets
the entries of its stream once they are durable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mansio.codec.amqp_properties import decode_properties, encode_header_payload
from mansio.codec.amqp_values import Long, Timestamp
from tests.sim.letters import HEADER_FIXED_BYTES
from tests.sim.repeats import Producers
from tests.sim.wire import Message

if TYPE_CHECKING:
    from tests.sim.model import Consumer
    from tests.sim.topology import Entry, Queue

OFFSET = "x-stream-offset"
SEGMENT_BYTES = 500_000_000
NEVER = 1 << 62
"""Above all offsets."""
_UNIT_MS = {
    "Y": 365 * 86_400_000, "M": 30 * 86_400_000, "D": 86_400_000,
    "h": 3_600_000, "m": 60_000, "s": 1000,
}  # fmt: skip


def span_ms(text: str) -> int:
    """A length of time such as `7D` or `30s`."""
    found = re.fullmatch(r"([0-9]+)([YMDhms])", text)
    assert found is not None, text
    return int(found[1]) * _UNIT_MS[found[2]]


@dataclass(slots=True)
class Segment:
    """Entries up to an offset, exclusive, which go together; the last one came at `last_ms`."""

    stop: int
    data_bytes: int
    last_ms: int


@dataclass(slots=True, eq=False)
class Stream:
    """`committed`: all entries below this offset are durable, and the broker knows it."""

    queue: Queue
    segment_bytes: int = SEGMENT_BYTES
    bytes_max: int | None = None
    age_ms: int | None = None
    committed: int = 0
    groups: list[Queue] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    """What came together: the offset of the first entry, and when it came."""
    segments: list[Segment] = field(default_factory=list)
    low: int = NEVER
    """No protected group needed anything below this offset since the last phase began."""
    grown: bool = False
    """Something has become durable in this phase."""
    producers: Producers | None = None
    """It looks at the numbers that producers give to their messages."""

    @property
    def first(self) -> int:
        """The offset of the oldest entry; that of the next one where there is none."""
        ready = self.queue.ready
        return ready[0].position if ready else self.queue.next_position

    def entry(self, offset: int) -> Entry | None:
        """The entry at this offset, if it is there."""
        at = offset - self.first
        return self.queue.ready[at] if 0 <= at < len(self.queue.ready) else None

    def add_run(self, base: int, count: int, data_bytes: int, came_ms: int) -> None:
        """Entries have come together."""
        self.runs.append((base, came_ms))
        if not self.segments or self.segments[-1].data_bytes >= self.segment_bytes:
            self.segments.append(Segment(0, 0, 0))
        segment = self.segments[-1]
        segment.stop, segment.last_ms = base + count, came_ms
        segment.data_bytes += data_bytes

    def begin(self, value: Any, now_ms: int) -> int:
        """Where a reader begins that asks for this."""
        if value == "first":
            return self.first
        if value == "last":
            runs = [base for base, _ in self.runs if base < self.committed]
            return runs[-1] if runs else self.committed
        if value in (None, "next"):
            return self.committed
        if isinstance(value, int) and not isinstance(value, Timestamp):
            return max(value, 0)
        when_ms = value * 1000 if isinstance(value, int) else now_ms - span_ms(value)
        return next((base for base, came_ms in self.runs if came_ms >= when_ms), self.committed)

    def excess(self, now_ms: int, needed: int) -> int:
        """Up to where whole segments from the front may go, and have to; nothing from `needed` on."""
        until = 0
        left_bytes = sum(segment.data_bytes for segment in self.segments)
        for segment in self.segments[:-1]:
            large = self.bytes_max is not None and left_bytes > self.bytes_max
            old = self.age_ms is not None and segment.last_ms < now_ms - self.age_ms
            if segment.stop > min(needed, self.committed) or not (large or old):
                break
            until = segment.stop
            left_bytes -= segment.data_bytes
        return until

    def cut(self, until: int) -> None:
        """Entries below this offset go."""
        while self.segments and self.segments[0].stop <= until:
            self.segments.pop(0)
        self.runs = [run for run in self.runs if run[0] >= until]
        for entry in [each for each in self.queue.ready if each.position < until]:
            self.queue.remove(entry)


@dataclass(slots=True, eq=False)
class Group:
    """`source`: the queue of its stream. `next`: the offset of the first entry that it has not got yet."""

    source: Queue
    protected: bool
    rota: str | None = None
    """The group that it is a partition of."""
    begin: int = 0
    next: int = 0
    holder: Consumer | None = None
    """Of a partition: who has it, or is to have it when the one before has settled all."""
    active: Consumer | None = None
    """Of a partition: who had it when members came or went the last time."""
    served: list[Consumer] = field(default_factory=list)
    """Of a partition: who was given something, without those who have settled all; the last one is last."""
    first_due: int = 0
    """Of a partition: what is delivered for the first time is not before this offset."""


def make_stream(queue: Queue, arguments: Any, producers_max: int) -> Stream | None:
    """What a queue is beside that, if these arguments ask for a stream; it remembers so many producers."""
    if arguments.get("x-queue-type") != "stream":
        return None
    stream = Stream(queue)
    if arguments.get("x-message-deduplication") is True:
        stream.producers = Producers(producers_max)
    return stream


def ask_stream(stream: Stream, asked: Any) -> None:
    """What is to be kept, and in segments of which size from now on."""
    stream.bytes_max = asked.get("x-max-length-bytes")
    stream.segment_bytes = asked.get("x-stream-max-segment-size-bytes", SEGMENT_BYTES)
    stream.age_ms = span_ms(asked["x-max-age"]) if "x-max-age" in asked else None


def make_group(queues: dict[str, Queue], queue: Queue, arguments: Any) -> Group | None:
    """What a queue is beside that, if these arguments ask for a consumer group."""
    if "x-stream" not in arguments:
        return None
    source = queues[arguments["x-stream"]]
    assert source.stream is not None
    source.stream.groups.append(queue)
    rota = arguments.get("x-stream-group")
    return Group(source, arguments.get("x-stream-protected") is True, rota)


def stamp(message: Message, offset: int) -> Message:
    """The message as a stream has it: persistent, with its offset among its headers, which are sorted."""
    properties = decode_properties(message.header, HEADER_FIXED_BYTES, len(message.header))
    headers = {**(properties.headers or {}), OFFSET: Long(offset)}
    properties = replace(properties, headers=dict(sorted(headers.items())))
    stamped = replace(message, headers=headers, persistent=True, priority=0, expiration_ms=None)
    stamped.delay_ms, stamped.kept, stamped.asks_receipt = 0, b"", None
    stamped.header = encode_header_payload(len(message.body), properties)
    return stamped


def offset_in(header: bytes) -> int:
    """The offset among these headers; -1: there is none."""
    headers = decode_properties(header, HEADER_FIXED_BYTES, len(header)).headers or {}
    offset = headers.get(OFFSET, -1)
    return offset if isinstance(offset, int) else -1


def growth(header: bytes) -> int:
    """How many bytes the offset of a message adds to it: a name, a type and a value in a table."""
    headers = decode_properties(header, HEADER_FIXED_BYTES, len(header)).headers
    if headers is not None and OFFSET in headers:
        return 0
    return 1 + len(OFFSET) + 1 + 8 + (4 if headers is None else 0)
