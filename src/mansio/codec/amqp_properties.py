"""The properties of an AMQP 0-9-1 message, in its content header (section 4.2.6.1).

    header payload   class u16 | weight u16 | body size u64 | flags u16 | the fields that are set
    flags            bit 15 = content_type ... bit 2 = cluster_id, bit 0 = another flag word follows

Decoders raise CodecError and nothing else, as in `amqp_values`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from mansio.codec.amqp_values import (
    SYNTAX_ERROR,
    CodecError,
    Table,
    decode_table,
    encode_shortstr,
    encode_table,
)

CLASS_BASIC = 60

_U16 = struct.Struct(">H")
_U64 = struct.Struct(">Q")
_HEADER = struct.Struct(">HHQ")
_OCTETS = tuple(bytes((i,)) for i in range(256))


@dataclass(slots=True)
class Properties:
    """The properties of class basic (section 1.8), None where absent. timestamp: seconds."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Table | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


def _property_shortstr(buf: bytes, pos: int, end: int) -> tuple[str, int]:
    if pos >= end:
        raise CodecError(SYNTAX_ERROR, "properties are cut off")
    after = pos + 1 + buf[pos]
    if after > end:
        raise CodecError(SYNTAX_ERROR, "properties are cut off")
    return str(buf[pos + 1 : after], "utf-8", "surrogateescape"), after


def _property_octet(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    if pos >= end:
        raise CodecError(SYNTAX_ERROR, "properties are cut off")
    return buf[pos], pos + 1


def _property_timestamp(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    if pos + 8 > end:
        raise CodecError(SYNTAX_ERROR, "properties are cut off")
    return _U64.unpack_from(buf, pos)[0], pos + 8


# Flag bit, attribute, decoder, encoder; in the order of the fields.
_PROPERTIES: tuple[
    tuple[int, str, Callable[[bytes, int, int], tuple[object, int]], Callable[..., bytes]], ...
] = (
    (0x8000, "content_type", _property_shortstr, encode_shortstr),
    (0x4000, "content_encoding", _property_shortstr, encode_shortstr),
    (0x2000, "headers", decode_table, encode_table),
    (0x1000, "delivery_mode", _property_octet, _OCTETS.__getitem__),
    (0x0800, "priority", _property_octet, _OCTETS.__getitem__),
    (0x0400, "correlation_id", _property_shortstr, encode_shortstr),
    (0x0200, "reply_to", _property_shortstr, encode_shortstr),
    (0x0100, "expiration", _property_shortstr, encode_shortstr),
    (0x0080, "message_id", _property_shortstr, encode_shortstr),
    (0x0040, "timestamp", _property_timestamp, _U64.pack),
    (0x0020, "type", _property_shortstr, encode_shortstr),
    (0x0010, "user_id", _property_shortstr, encode_shortstr),
    (0x0008, "app_id", _property_shortstr, encode_shortstr),
    (0x0004, "cluster_id", _property_shortstr, encode_shortstr),
)
PROPERTY_BITS = tuple((bit, name) for bit, name, _, _ in _PROPERTIES)
"""(flag, name) of each property, in the order of the fields."""

# "Another flag word follows" (section 4.2.6.1), which class basic has not. RabbitMQ 3.10.8 refuses
# a second word, but passes the bare bit on to consumers, who then read a word that is not there.
_CONTINUATION = 0x0001


def decode_properties(payload: bytes, pos: int, end: int) -> Properties:
    """The properties whose flag word stands at pos and that reach exactly to end."""
    properties = Properties()
    for name, value, _, _ in _walk_properties(payload, pos, end):
        setattr(properties, name, value)
    return properties


def property_spans(payload: bytes, pos: int, end: int) -> dict[str, tuple[int, int]]:
    """Where each property lies: [start, stop) of its bytes. Flag word and errors as for `decode_properties`."""
    return {name: (start, stop) for name, _, start, stop in _walk_properties(payload, pos, end)}


def _walk_properties(payload: bytes, pos: int, end: int) -> list[tuple[str, object, int, int]]:
    if pos + 2 > end or end > len(payload):
        raise CodecError(SYNTAX_ERROR, "properties are cut off")
    flags: int = _U16.unpack_from(payload, pos)[0]
    pos += 2
    if flags & _CONTINUATION:
        raise CodecError(SYNTAX_ERROR, "properties have a second flag word")
    found: list[tuple[str, object, int, int]] = []
    for bit, name, decode, _ in _PROPERTIES:
        if flags & bit:
            start = pos
            value, pos = decode(payload, pos, end)
            found.append((name, value, start, pos))
    if pos != end:
        raise CodecError(SYNTAX_ERROR, "bytes are left over after the properties")
    return found


def encode_properties(p: Properties) -> bytes:
    """The flag word and the fields that are not None."""
    flags = 0
    parts: list[bytes] = [b""]
    for bit, name, _, encode in _PROPERTIES:
        value = getattr(p, name)
        if value is not None:
            flags |= bit
            parts.append(encode(value))
    parts[0] = _U16.pack(flags)
    return b"".join(parts)


def encode_header_payload(body_size: int, p: Properties) -> bytes:
    """The payload of a content header frame (section 4.2.6.1): class basic, weight 0, body_size in
    bytes, properties."""
    return _HEADER.pack(CLASS_BASIC, 0, body_size) + encode_properties(p)
