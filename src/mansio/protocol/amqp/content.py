"""Messages that need more than their bytes: put together frame by frame, or with properties that change their way."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_content import FRAMING_BYTES, HEADER_FIXED_BYTES, body_frames
from mansio.codec.amqp_fields import Fields
from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import CodecError, encode_shortstr
from mansio.core.equivalence import type_name
from mansio.core.limits import TIME_MAX_MS
from mansio.protocol.amqp.replies import PRECONDITION_FAILED, UNEXPECTED_FRAME, Refusal

_PUBLISH = m.BasicPublish.ID
_COPIES: Final = ("CC", "BCC")


class Assembly:
    """A publish whose frames come one by one: its method frame, then header, then bodies up to the announced size."""

    __slots__ = ("_bodies", "_frame_max", "body_size", "header", "left", "method", "method_frame")

    def __init__(self, method: m.BasicPublish, method_frame: bytes, frame_max: int) -> None:
        self.method = method
        self.method_frame = method_frame
        self.header: bytes | None = None
        self.body_size = 0
        self.left = 0
        self._bodies = bytearray()
        self._frame_max = frame_max

    def add_header(self, payload: bytes, body_bytes_max: int) -> None:
        """Takes the payload of the header frame; Refusal when it is not one for a publish, or announces too much."""
        class_id, weight = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        if len(payload) < HEADER_FIXED_BYTES or weight:
            raise not_a_header()
        if class_id != _PUBLISH >> 16:
            text = f"expected content header for class 60, got one for class {class_id} instead"
            raise Refusal(UNEXPECTED_FRAME, text, _PUBLISH)
        self.body_size = int.from_bytes(payload[4:12], "big")
        if self.body_size > body_bytes_max:
            text = (
                f"message size {self.body_size} is larger than configured max size {body_bytes_max}"
            )
            raise Refusal(PRECONDITION_FAILED, text, _PUBLISH)
        self.header = payload
        self.left = self.body_size

    def add_body(self, payload: bytes) -> None:
        """Takes the payload of a body frame; Refusal when it is more than was announced."""
        if len(payload) > self.left:
            raise not_a_body()
        self.left -= len(payload)
        self._bodies += payload

    def properties(self) -> Properties:
        """As those of `Content`, once the header is here."""
        return Content(self.header or bytes(HEADER_FIXED_BYTES), b"").properties()

    @property
    def persistent(self) -> bool:
        """Whether it says so, in properties that make sense; others are refused when it is published."""
        try:
            return self.properties().delivery_mode == 2
        except CodecError:
            return False

    @property
    def data_bytes(self) -> int:
        """What the message takes at least."""
        return self.body_size

    @property
    def complete(self) -> bool:
        """Whether the whole body is here."""
        return self.header is not None and not self.left

    def frames(self, channel: int) -> bytes:
        """The message as its publisher would have sent it in as few frames as possible."""
        parts = [self.method_frame, m.frame(m.FRAME_HEADER, channel, self.header or b"")]
        parts += body_frames(self._bodies, channel, self._frame_max)
        return b"".join(parts)


def not_a_header() -> Refusal:
    """The error for another frame where a content header is due."""
    text = "expected content header for class 60, got non content header frame instead"
    return Refusal(UNEXPECTED_FRAME, text, _PUBLISH)


def not_a_body() -> Refusal:
    """The error for another frame where a body is due, or for more body than was announced."""
    return Refusal(
        UNEXPECTED_FRAME, "expected content body, got non content body frame instead", _PUBLISH
    )


@dataclass(slots=True)
class Content:
    """One message taken apart: the payload of its header frame and its body."""

    header: bytes
    body: bytes

    @classmethod
    def parse(cls, frames: bytes) -> "Content":
        """From header and body frames, as a run holds them."""
        header = b""
        bodies: list[bytes] = []
        at = 0
        while at < len(frames):
            size = int.from_bytes(frames[at + 3 : at + 7], "big")
            payload = frames[at + 7 : at + 7 + size]
            if frames[at] == m.FRAME_HEADER:
                header = payload
            else:
                bodies.append(payload)
            at += size + FRAMING_BYTES
        return cls(header, b"".join(bodies))

    def properties(self) -> Properties:
        """The properties; CodecError when they are malformed."""
        return decode_properties(self.header, HEADER_FIXED_BYTES, len(self.header))

    def with_reply_to(self, name: str) -> "Content":
        """The same message with another reply-to; every other byte stays."""
        fields = self._fields()
        fields.fields["reply_to"] = encode_shortstr(name)
        return self._with(fields)

    def without_header(self, name: str) -> "Content":
        """The same message without an entry of its header table; every other byte stays."""
        fields = self._fields()
        fields.entries.pop(name, None)
        return self._with(fields)

    @property
    def raw_properties(self) -> bytes:
        """Their flag word and fields."""
        return self.header[HEADER_FIXED_BYTES:]

    def with_properties(self, raw: bytes) -> "Content":
        """The same message with other properties."""
        return Content(self.header[:HEADER_FIXED_BYTES] + raw, self.body)

    def _fields(self) -> Fields:
        return Fields(self.raw_properties)

    def _with(self, fields: Fields) -> "Content":
        return self.with_properties(fields.encode())

    def frames(self, channel: int, frame_max: int) -> bytes:
        """Header and body frames of at most `frame_max` bytes."""
        parts = [m.frame(m.FRAME_HEADER, channel, self.header)]
        return b"".join(parts + body_frames(self.body, channel, frame_max))


def check_copies(headers: Mapping[str, Any]) -> None:
    """Refuses CC and BCC headers that hold no routing keys."""
    for name in _COPIES:
        if name in headers and not isinstance(headers[name], list):
            wrong = f'{{unacceptable_type_in_header,"{name}",{type_name(headers[name])}}}'
            raise Refusal(PRECONDITION_FAILED, f"invalid message: {wrong}", _PUBLISH)


def copies(headers: Mapping[str, Any]) -> list[str]:
    """The routing keys of the CC and BCC headers (RabbitMQ: sender-selected routing)."""
    values = [headers.get(name) for name in _COPIES]
    return [
        key for keys in values if isinstance(keys, list) for key in keys if isinstance(key, str)
    ]


def expiration_ms(value: str) -> int:
    """The number of milliseconds; Refusal for anything else (texts of RabbitMQ 3.10.8)."""
    found = re.match(r"[+-]?[0-9]+", value)
    rest = value[found.end() :] if found is not None else ""
    if found is None or rest:
        wrong = f'{{leftover_string,"{rest}"}}' if rest else "no_integer"
        raise Refusal(PRECONDITION_FAILED, f"invalid expiration '{value}': {wrong}", _PUBLISH)
    number = int(value)
    if number < 0:
        raise Refusal(
            PRECONDITION_FAILED,
            f"invalid expiration '{value}': {{value_negative,{number}}}",
            _PUBLISH,
        )
    if number > TIME_MAX_MS:
        raise Refusal(
            PRECONDITION_FAILED,
            f"invalid expiration '{value}': {{value_too_large,{number}}}",
            _PUBLISH,
        )
    return number
