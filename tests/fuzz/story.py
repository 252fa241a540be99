"""What a stream of AMQP frames says, told by a reader that is too simple to be wrong (`plain`).

A scanner may put publishes of different queues into another order and settlements behind publishes,
as long as nobody can tell. A Story is what everybody can tell: between two frames that are neither,
the messages of each queue in their order, and the settlements in theirs.
"""

from dataclasses import dataclass, field
from typing import Any

from mansio.codec import amqp
from mansio.codec.amqp_methods import BasicPublish, frame
from mansio.codec.amqp_values import CodecError

FRAME_MAX = 128
SETTLES = {amqp.ACK_ID, amqp.NACK_ID, amqp.REJECT_ID}
CLASS_BASIC = b"\0\x3c\0\0"


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
