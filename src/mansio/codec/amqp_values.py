"""AMQP 0-9-1 values: short and long strings and field tables; properties have their own file.

Layout (AMQP 0-9-1 section 4.2.5, field types as RabbitMQ reads them, all numbers big-endian):

    table      u32 length in bytes | { u8 length, name | type octet | value } ...
    array 'A'  u32 length in bytes | { type octet | value } ...

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


class Timestamp(int):
    """Seconds since 1970 as a u64, type 'T' (section 4.2.5.4)."""

    __slots__ = ()


class Long(int):
    """An integer to be written as type 'l', of 64 bits, whatever its size."""

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


_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_DECIMAL = struct.Struct(">BI")
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
        Long: lambda value: struct.pack(">cq", b"l", value),
        list: _encode_array,
        dict: lambda value: b"F" + encode_table(value),
    }
)
