"""Messages as runs hold them: a content header frame and the body frames behind it (AMQP 0-9-1 section 4.2.6).

type u8 | channel u16 | size u32 | payload | 0xCE        of each frame
"""

from typing import Final

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload

HEADER_FIXED_BYTES: Final = 12
"""Class, weight and body size, in front of the property flags (specification 4.2.6.1)."""

FRAMING_BYTES: Final = 8
"""Type, channel and size before a payload, and the end octet behind it."""

FRAME_HEAD_BYTES: Final = 7
"""Type, channel and size in front of a payload."""


def content_frames(
    body: bytes | bytearray | memoryview, properties: Properties, channel: int, frame_max: int
) -> bytes:
    """A new message. `frame_max`: bytes of the largest body frame, framing included. ValueError and TypeError for
    properties that have no encoding."""
    header = m.frame(m.FRAME_HEADER, channel, encode_header_payload(len(body), properties))
    return b"".join([header, *body_frames(body, channel, frame_max)])


def body_frames(body: bytes | bytearray | memoryview, channel: int, frame_max: int) -> list[bytes]:
    """Body frames of at most `frame_max` bytes; none for an empty body."""
    size = frame_max - FRAMING_BYTES
    with memoryview(body) as view:
        return [
            m.frame(m.FRAME_BODY, channel, bytes(view[i : i + size]))
            for i in range(0, len(view), size)
        ]


def properties_of(frames: bytes, at: int = 0) -> bytes:
    """The flag word and fields of the header frame that begins there."""
    payload = at + FRAME_HEAD_BYTES
    stop = payload + int.from_bytes(frames[at + 3 : payload], "big")
    return frames[payload + HEADER_FIXED_BYTES : stop]


def with_properties(frames: bytes, properties: bytes) -> bytes:
    """The same message, a header frame and what is behind it, with other properties."""
    stop = FRAME_HEAD_BYTES + int.from_bytes(frames[3:FRAME_HEAD_BYTES], "big")
    size = (HEADER_FIXED_BYTES + len(properties)).to_bytes(4, "big")
    fixed = frames[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + HEADER_FIXED_BYTES]
    return b"".join((frames[:3], size, fixed, properties, frames[stop:]))
