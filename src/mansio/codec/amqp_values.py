"""AMQP 0-9-1 values: field tables and the properties of a message.

Layout (AMQP 0-9-1 section 4.2.5, field types as RabbitMQ reads them, all numbers big-endian):

    table      u32 length in bytes | { u8 length, name | type octet | value } ...
    array 'A'  u32 length in bytes | { type octet | value } ...
    properties u16 flags, bit 15 = content_type ... bit 2 = cluster_id | the fields that are set

    t bool    b i8   B u8   s i16   u u16   I i32   i u32   l i64   L i64   f f32   d f64
    T u64 seconds    D u8 scale, u32 digits    S u32 length, text    x u32 length, bytes
    F table          A array                   V nothing

Every length is compared with the bytes that are there before anything is read or built. Decoders
raise CodecError and nothing else; encoders raise ValueError, TypeError or struct.error for a value
that has no encoding, which is the caller's bug.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import TypeAlias

FRAME_ERROR = 501
SYNTAX_ERROR = 502
NOT_IMPLEMENTED = 540

# Tables and arrays inside each other: real ones nest 3 deep (x-death is a list of tables). Python's
# own stack would end near 300. Deeper ones are refused with SYNTAX_ERROR.
TABLE_DEPTH_MAX = 64
# Bytes of one table, nested ones included. A table lives in one frame, so frame_max (128 KiB) is
# met first; this bounds the memory (at most 16 times as much) when frame_max is set very high.
# Larger ones are refused with SYNTAX_ERROR.
TABLE_BYTES_MAX = 1 << 20
# A short string's length is one octet (section 4.2.5.3). Encoding a longer one is a ValueError.
SHORTSTR_BYTES_MAX = 255

CLASS_BASIC = 60


class Timestamp(int):
    """Seconds since 1970 as a u64, type 'T' (section 4.2.5.4)."""

    __slots__ = ()


Value: TypeAlias = (
    bool
    | int
    | float
    | str
    | bytes
    | Decimal
    | Timestamp
    | list["Value"]
    | dict[str, "Value"]
    | None
)
Table: TypeAlias = dict[str, Value]


class CodecError(Exception):
    """Bytes that are not what the protocol says. code: AMQP reply code (501 or 502, 540 for an
    unknown method); text: the explanation without the code's name, ASCII, may be longer than a
    reply text; method: class id << 16 | method id to name in the close, 0 for none."""

    def __init__(self, code: int, text: str, method: int = 0) -> None:
        super().__init__(code, text, method)
        self.code = code
        self.text = text
        self.method = method


_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_DECIMAL = struct.Struct(">BI")
_HEADER = struct.Struct(">HHQ")
_READ_U32 = _U32.unpack_from
_OCTETS = tuple(bytes((i,)) for i in range(256))

# Type octet -> (reader, width) of the values whose width is fixed.
_FIXED: dict[int, tuple[Callable[[bytes, int], tuple[Value, ...]], int]] = {
    ord(kind): (struct.Struct(form).unpack_from, struct.calcsize(form))
    for kind, form in (
        ("t", ">?"), ("b", ">b"), ("B", ">B"), ("s", ">h"), ("u", ">H"), ("I", ">i"),
        ("i", ">I"), ("l", ">q"), ("L", ">q"),
    )
}  # fmt: skip
_FLOATS: dict[int, struct.Struct] = {ord("f"): struct.Struct(">f"), ord("d"): struct.Struct(">d")}


def decode_table(buf: bytes, pos: int, end: int, depth: int = 0) -> tuple[Table, int]:
    """The table whose u32 length stands at pos, and the position after it; end is the first byte
    that does not belong to it. Of entries with the same name the first counts (RabbitMQ 3.10.8)."""
    stop = _bound(buf, pos, end, depth)
    pos += 4
    table: Table = {}
    while pos < stop:
        name = pos + 1
        pos = name + buf[pos]
        if pos >= stop:
            raise CodecError(SYNTAX_ERROR, "field name runs past the end of its table")
        key = str(buf[name:pos], "utf-8", "surrogateescape")
        value, pos = _decode_value(buf, pos, stop, depth)
        table.setdefault(key, value)
    return table, stop


def table_spans(buf: bytes, pos: int, end: int) -> list[tuple[str, int, int]]:
    """Names of a table's entries and where each lies, name included; pos at the u32 length. CodecError as above."""
    stop = _bound(buf, pos, end, 0)
    at = pos + 4
    spans: list[tuple[str, int, int]] = []
    while at < stop:
        value_at = at + 1 + buf[at]
        if value_at >= stop:
            raise CodecError(SYNTAX_ERROR, "field name runs past the end of its table")
        name = buf[at + 1 : value_at].decode("utf-8", "surrogateescape")
        _, after = _decode_value(buf, value_at, stop, 0)
        spans.append((name, at, after))
        at = after
    return spans


def _decode_array(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    stop = _bound(buf, pos, end, depth)
    pos += 4
    values: list[Value] = []
    while pos < stop:
        value, pos = _decode_value(buf, pos, stop, depth)
        values.append(value)
    return values, stop


def _bound(buf: bytes, pos: int, end: int, depth: int) -> int:
    """Where the table or array with its length at pos ends: inside of end and of both limits."""
    if pos + 4 > end or end > len(buf):
        raise CodecError(SYNTAX_ERROR, "table is cut off")
    size: int = _READ_U32(buf, pos)[0]
    if size > end - pos - 4:
        raise CodecError(SYNTAX_ERROR, "table is longer than what holds it")
    if size > TABLE_BYTES_MAX:
        raise CodecError(SYNTAX_ERROR, f"table is larger than {TABLE_BYTES_MAX} bytes")
    if depth >= TABLE_DEPTH_MAX:
        raise CodecError(SYNTAX_ERROR, f"tables are nested more than {TABLE_DEPTH_MAX} deep")
    return pos + 4 + size


def _decode_value(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    """The value whose type octet stands at pos < end, and the position after it."""
    kind = buf[pos]
    pos += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        after = pos + fixed[1]
        if after > end:
            raise CodecError(SYNTAX_ERROR, f"field of type '{chr(kind)}' is cut off")
        return fixed[0](buf, pos)[0], after
    decode = _VARIABLE.get(kind)
    if decode is None:
        raise CodecError(SYNTAX_ERROR, f"unknown field type {kind}")
    return decode(buf, pos, end, depth)


def _decode_bytes(buf: bytes, pos: int, end: int, depth: int) -> tuple[bytes, int]:
    if pos + 4 > end:
        raise CodecError(SYNTAX_ERROR, "string is cut off")
    after: int = pos + 4 + _READ_U32(buf, pos)[0]
    if after > end:
        raise CodecError(SYNTAX_ERROR, "string is longer than what holds it")
    return bytes(buf[pos + 4 : after]), after


def _decode_str(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    raw, pos = _decode_bytes(buf, pos, end, depth)
    return str(raw, "utf-8", "surrogateescape"), pos


def _decode_float(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    form = _FLOATS[buf[pos - 1]]
    if pos + form.size > end:
        raise CodecError(SYNTAX_ERROR, "field of a float type is cut off")
    value: float = form.unpack_from(buf, pos)[0]
    if not isfinite(value):  # RabbitMQ cannot hold one; and a NaN argument never equals itself
        raise CodecError(SYNTAX_ERROR, "float is not a finite number")
    return value, pos + form.size


def _decode_timestamp(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    if pos + 8 > end:
        raise CodecError(SYNTAX_ERROR, "field of type 'T' is cut off")
    return Timestamp(_U64.unpack_from(buf, pos)[0]), pos + 8


def _decode_decimal(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    if pos + 5 > end:
        raise CodecError(SYNTAX_ERROR, "field of type 'D' is cut off")
    scale, digits = _DECIMAL.unpack_from(buf, pos)
    return Decimal(f"{digits}E-{scale}"), pos + 5


def _decode_void(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    return None, pos


def _decode_inner_table(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    return decode_table(buf, pos, end, depth + 1)


def _decode_inner_array(buf: bytes, pos: int, end: int, depth: int) -> tuple[Value, int]:
    return _decode_array(buf, pos, end, depth + 1)


_VARIABLE: dict[int, Callable[[bytes, int, int, int], tuple[Value, int]]] = {
    ord("S"): _decode_str,
    ord("x"): _decode_bytes,
    ord("F"): _decode_inner_table,
    ord("A"): _decode_inner_array,
    ord("T"): _decode_timestamp,
    ord("f"): _decode_float,
    ord("d"): _decode_float,
    ord("D"): _decode_decimal,
    ord("V"): _decode_void,
}


def encode_table(table: Mapping[str, Value]) -> bytes:
    """The table with its u32 length in front, entries in the mapping's order."""
    if not table:
        return b"\0\0\0\0"
    parts: list[bytes] = []
    for name, value in table.items():
        parts.append(encode_shortstr(name))
        parts.append(_ENCODERS[type(value)](value))
    body = b"".join(parts)
    return _U32.pack(len(body)) + body


def encode_shortstr(text: str) -> bytes:
    """The text as UTF-8 with its length octet; ValueError above 255 bytes."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > SHORTSTR_BYTES_MAX:
        raise ValueError(f"short string of {len(raw)} bytes")
    return _OCTETS[len(raw)] + raw


def encode_longstr(raw: bytes) -> bytes:
    """The bytes with their u32 length in front."""
    return _U32.pack(len(raw)) + raw


def _encode_int(value: int) -> bytes:
    if -0x8000_0000 <= value <= 0x7FFF_FFFF:
        return struct.pack(">ci", b"I", value)
    return struct.pack(">cq", b"l", value)


def _encode_float(value: float) -> bytes:
    if not isfinite(value):
        raise ValueError("float is not a finite number")
    return struct.pack(">cd", b"d", value)


def _encode_decimal(value: Decimal) -> bytes:
    _, _, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("decimal is not a finite number")
    scale = max(0, -exponent)
    return struct.pack(">cBI", b"D", scale, int(value.scaleb(scale)))


def _encode_array(values: list[Value]) -> bytes:
    body = b"".join([_ENCODERS[type(value)](value) for value in values])
    return b"A" + _U32.pack(len(body)) + body


class _Encoders(dict[type, Callable[..., bytes]]):
    def __missing__(self, kind: type) -> Callable[..., bytes]:
        raise TypeError(f"no field type for {kind.__name__}")


_ENCODERS = _Encoders(
    {
        type(None): lambda value: b"V",
        bool: lambda value: b"t\1" if value else b"t\0",
        int: _encode_int,
        float: _encode_float,
        str: lambda value: b"S" + encode_longstr(value.encode("utf-8", "surrogateescape")),
        bytes: lambda value: b"x" + encode_longstr(value),
        Decimal: _encode_decimal,
        Timestamp: lambda value: b"T" + _U64.pack(value),
        list: _encode_array,
        dict: lambda value: b"F" + encode_table(value),
    }
)


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
