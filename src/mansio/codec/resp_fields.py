"""Entries of streams as AMQP messages, and back: the fields of a Redis client's XADD are headers and a body.

    XADD s * kind order body 4711      header frame  headers: kind = "order", x-stream-offset = 17
                                       body frame    4711

The headers have the order of the fields; a field `body`, if there is one, comes where x-stream-offset stands. Fields
that cannot be headers, as their names come twice, are no text or are too long, are all in the body, see `PACKED`. What
was published over AMQP has its headers that are texts or numbers as fields, and its body as the field `body`.

Layouts: amqp_properties.py and amqp_values.py. This file can be compiled as it is.
"""

from __future__ import annotations

import struct

PACKED = b"application/vnd.mansio.fields"
"""The content type of an entry whose body has its fields: name, value, name, value …, each with its size as u32."""
NAME_BYTES_MAX = 200
"""Of a field that becomes a header; AMQP has 255."""
HEADERS_BYTES_MAX = 60_000
"""Of all headers of an entry: a header frame cannot be divided, and clients negotiate frames of 64 KiB and more."""

_BODY = b"body"
_OFFSET = b"x-stream-offset"
_OFFSET_ENTRY = b"\x0fx-stream-offsetl"
_HEADERS, _DELIVERY_MODE, _CONTENT_TYPE, _CONTENT_ENCODING = 0x2000, 0x1000, 0x8000, 0x4000
_FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">BHIHHQH")  # frame, class, weight, size of the body, flags
_HEADER_AND_SIZE = struct.Struct(">BHIHHQHI")  # the same, and the size of the table
_STRING = struct.Struct(">BI")
_OCTETS = [bytes((i,)) for i in range(NAME_BYTES_MAX + 1)]
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_HEADER_PAYLOAD = 14
_FRAMING = 8

# Type octet -> (format, size) of the numbers that are shown as fields.
_NUMBERS = {
    ord(kind): (struct.Struct(form), struct.calcsize(form))
    for kind, form in (
        ("b", ">b"), ("B", ">B"), ("s", ">h"), ("u", ">H"), ("I", ">i"), ("i", ">I"), ("l", ">q"),
        ("L", ">q"), ("T", ">Q"), ("f", ">f"), ("d", ">d"), ("t", ">?"),
    )
}  # fmt: skip
_SIZED = (ord("S"), ord("x"), ord("F"), ord("A"))


def encode_entry(fields: list[bytes], offset: int, frame_max: int) -> tuple[bytes, int]:
    """The frames of an entry with these fields (name, value, name, value …), on channel 0, and where in them the offset
    stands, i64. `frame_max`: bytes of the largest body frame, framing included."""
    body = b""
    parts: list[bytes] = [b""]
    before = front_bytes = -1  # parts in front of the offset, and their size
    size = 0
    names = set()
    for i in range(0, len(fields), 2):
        name = fields[i]
        value = fields[i + 1]
        if name in names or not name or len(name) > NAME_BYTES_MAX:
            return _encode_packed(fields, offset, frame_max)
        names.add(name)
        if name == _BODY:
            if not value:
                return _encode_packed(fields, offset, frame_max)
            body = value
            before = len(parts)
            front_bytes = size
            continue
        if not name.isascii():
            try:
                name.decode()
            except UnicodeDecodeError:
                return _encode_packed(fields, offset, frame_max)
        size += len(name) + len(value) + 6
        parts += (_OCTETS[len(name)], name, _STRING.pack(83, len(value)), value)
    if size > HEADERS_BYTES_MAX or _OFFSET in names:
        return _encode_packed(fields, offset, frame_max)
    if before < 0:
        before = len(parts)
        front_bytes = size
    parts.insert(before, _OFFSET_ENTRY + _I64.pack(offset))
    size += len(_OFFSET_ENTRY) + 8
    parts[0] = _HEADER_AND_SIZE.pack(
        2, 0, _HEADER_PAYLOAD + 4 + size + 1, 60, 0, len(body), _HEADERS | _DELIVERY_MODE, size
    )
    parts.append(b"\x02\xce")
    if body:
        parts.append(_body_frames(body, frame_max))
    return b"".join(parts), _HEADER_AND_SIZE.size + front_bytes + len(_OFFSET_ENTRY)


def _encode_packed(fields: list[bytes], offset: int, frame_max: int) -> tuple[bytes, int]:
    body = b"".join([_U32.pack(len(each)) + each for each in fields])
    table = _OFFSET_ENTRY + _I64.pack(offset)
    head = _HEADER.pack(
        2,
        0,
        _HEADER_PAYLOAD + 1 + len(PACKED) + 4 + len(table) + 1,
        60,
        0,
        len(body),
        _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE,
    )
    frames = b"%b%c%b%b%b\x02\xce" % (head, len(PACKED), PACKED, _U32.pack(len(table)), table)
    return frames + _body_frames(body, frame_max), len(frames) - 2 - 8


def _body_frames(body: bytes, frame_max: int) -> bytes:
    most = frame_max - _FRAMING
    if len(body) <= most:
        return b"%b%b\xce" % (_FRAME.pack(3, 0, len(body)), body)
    pieces = [body[at : at + most] for at in range(0, len(body), most)]
    return b"".join([b"%b%b\xce" % (_FRAME.pack(3, 0, len(piece)), piece) for piece in pieces])


def encode_row(fields: list[bytes], offset: int, count: int, frame_max: int) -> list[bytes]:
    """`count` entries that are alike but for their offsets, from this one on."""
    frames, at = encode_entry(fields, offset, frame_max)
    front, back = frames[:at], frames[at + 8 :]
    pack = _I64.pack
    return [b"%b%b%b" % (front, pack(offset + i), back) for i in range(count)]


def entry_fields(data: bytes, start: int, stop: int) -> list[bytes]:
    """The fields of the entry whose header and body frames lie in data[start:stop], name, value, name, value …"""
    _, _, size, _, _, body_size, flags = _HEADER.unpack_from(data, start)
    at = start + _HEADER_PAYLOAD + 7
    body = b""
    if body_size:
        body = _body(data, start + 7 + size + 1, stop, body_size)
    packed = False
    if flags & _CONTENT_TYPE:
        after = at + 1 + data[at]
        packed = data[at + 1 : after] == PACKED
        at = after
    if packed:
        found = _unpack(body)
        if found is not None:
            return found
    if flags & _CONTENT_ENCODING:
        at += 1 + data[at]
    fields: list[bytes] = []
    if flags & _HEADERS:
        end = at + 4 + _U32.unpack_from(data, at)[0]
        _add_headers(data, at + 4, end, body, fields)
    elif body:
        fields = [_BODY, body]
    if not fields:
        fields = [_BODY, body]
    return fields


def _add_headers(data: bytes, at: int, end: int, body: bytes, fields: list[bytes]) -> None:
    while at < end:
        kind_at = at + 1 + data[at]
        name = data[at + 1 : kind_at]
        kind = data[kind_at]
        at = kind_at + 1
        if kind in _SIZED:
            value_at = at + 4
            at = value_at + _U32.unpack_from(data, at)[0]
            if kind == 83 or kind == 120:  # S, x
                fields.append(name)
                fields.append(data[value_at:at])
        elif kind in _NUMBERS:
            form, size = _NUMBERS[kind]
            if name == _OFFSET:
                if body:
                    fields.append(_BODY)
                    fields.append(body)
            else:
                fields.append(name)
                fields.append(_text(form.unpack_from(data, at)[0]))
            at += size
        else:
            at += 5 if kind == 68 else 0  # D, else V


def _text(value: bool | int | float) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return repr(value).encode()


def _body(data: bytes, at: int, stop: int, size: int) -> bytes:
    first = _U32.unpack_from(data, at + 3)[0]
    if first >= size:
        return data[at + 7 : at + 7 + first]
    pieces = []
    while at < stop:
        size = _U32.unpack_from(data, at + 3)[0]
        pieces.append(data[at + 7 : at + 7 + size])
        at += 8 + size
    return b"".join(pieces)


def _unpack(body: bytes) -> list[bytes] | None:
    """The fields of a packed entry; None when it is none."""
    fields: list[bytes] = []
    at = 0
    while at + 4 <= len(body):
        after = at + 4 + _U32.unpack_from(body, at)[0]
        fields.append(body[at + 4 : after])
        at = after
    return fields if at == len(body) and fields and len(fields) % 2 == 0 else None


def encode_ids(first: int, count: int) -> bytes:
    """The replies that say `count` ids, ms << 64 | number, that follow each other in one ms."""
    ms = b"%d" % (first >> 64)
    number = first & 0xFFFFFFFFFFFFFFFF
    size = len(ms) + 1
    parts = []
    for i in range(number, number + count):
        text = b"%d" % i
        parts.append(b"$%d\r\n%b-%b\r\n" % (size + len(text), ms, text))
    return b"".join(parts)


def encode_fields(id: bytes, fields: list[bytes]) -> bytes:
    """The reply that says an entry: its id and its fields."""
    parts = [b"*2\r\n$%d\r\n%b\r\n*%d\r\n" % (len(id), id, len(fields))]
    for each in fields:
        parts.append(b"$%d\r\n%b\r\n" % (len(each), each))
    return b"".join(parts)
