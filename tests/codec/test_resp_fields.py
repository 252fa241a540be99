"""Fields of entries as AMQP messages, and back."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from mansio.codec.amqp import stamp_offsets
from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.codec.resp_fields import (
    HEADERS_BYTES_MAX,
    PACKED,
    encode_entry,
    encode_fields,
    encode_row,
    entry_fields,
)

NAMES = st.sampled_from([b"a", b"body", b"x-stream-offset", b"", b"\xff", "ü".encode(), b"n" * 201])
VALUES = st.sampled_from([b"", b"v", b"\0\xff\r\n", b"long" * 3000])
FIELDS = st.lists(st.tuples(NAMES | st.binary(max_size=3), VALUES), min_size=1, max_size=5)


def parts(frames: bytes) -> tuple[Properties, list[bytes]]:
    """What an AMQP client would make of it: properties, and the payloads of the body frames."""
    size = int.from_bytes(frames[3:7], "big")
    properties = decode_properties(frames, 19, 7 + size)
    body_size = int.from_bytes(frames[11:19], "big")
    at, bodies = 8 + size, []
    while at < len(frames):
        kind, channel, size = struct.unpack_from(">BHI", frames, at)
        assert (kind, channel, frames[at + 7 + size]) == (3, 0, 0xCE)
        bodies.append(frames[at + 7 : at + 7 + size])
        at += size + 8
    assert sum(map(len, bodies)) == body_size
    return properties, bodies


@given(FIELDS, st.integers(0, 2**63 - 1))
def test_fields_come_back_as_they_were_and_in_their_order(
    pairs: list[tuple[bytes, bytes]], offset: int
) -> None:
    fields = [each for pair in pairs for each in pair]
    frames, at = encode_entry(fields, offset, 4096)
    assert entry_fields(b"before" + frames + b"behind", 6, 6 + len(frames)) == fields
    properties, bodies = parts(frames)
    assert properties.headers is not None and properties.headers["x-stream-offset"] == offset
    assert properties.delivery_mode == 2 and all(len(body) <= 4088 for body in bodies)
    assert frames[at : at + 8] == offset.to_bytes(8, "big")
    names = fields[::2]
    plain = len(set(names)) == len(names) and b"" not in names and b"x-stream-offset" not in names
    if plain and all(name.isascii() and len(name) < 200 for name in names):
        packed = b"body" in names and not dict(pairs)[b"body"]
        assert (properties.content_type == PACKED.decode()) is packed


def test_what_an_amqp_client_gets() -> None:
    properties, bodies = parts(encode_entry([b"kind", b"order", b"body", b"4711"], 5, 4096)[0])
    assert properties.headers == {"kind": "order", "x-stream-offset": 5} and bodies == [b"4711"]
    assert properties.content_type is None


def test_what_is_too_long_for_headers_is_in_the_body() -> None:
    fields = [b"a", b"x" * HEADERS_BYTES_MAX]
    frames, _ = encode_entry(fields, 5, 131_072)
    assert parts(frames)[0].content_type == PACKED.decode()
    assert entry_fields(frames, 0, len(frames)) == fields


def test_a_row_differs_in_its_offsets_only() -> None:
    fields = [b"a", b"b", b"body", b"c"]
    row = encode_row(fields, 7, 3, 4096)
    assert row == [encode_entry(fields, 7 + i, 4096)[0] for i in range(3)]


def published(properties: Properties, body: bytes) -> bytes:
    """A message of an AMQP client, as a stream has it."""
    payload = encode_header_payload(len(body), properties)
    frames = b"\x02\0\x07" + len(payload).to_bytes(4, "big") + payload + b"\xce"
    if body:
        frames += b"\x03\0\x07" + len(body).to_bytes(4, "big") + body + b"\xce"
    return stamp_offsets(frames, 1, len(frames), None, (0,), None, 3)[0]


def test_a_message_of_an_amqp_client_has_fields() -> None:
    headers = {
        "z": "text",
        "b": b"bytes",
        "n": 5,
        "t": True,
        "l": [1, 2],
        "d": {"in": "side"},
        "nothing": None,
        "f": 1.5,
    }
    data = published(Properties(content_type="text/plain", headers=headers, priority=3), b"hello")
    found = entry_fields(data, 0, len(data))
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert dict(pairs) == {
        b"z": b"text",
        b"b": b"bytes",
        b"n": b"5",
        b"t": b"true",
        b"f": b"1.5",
        b"body": b"hello",
    }
    assert [name for name, _ in pairs] == [b"b", b"f", b"n", b"t", b"body", b"z"]


def test_a_message_without_anything_has_an_empty_body() -> None:
    data = published(Properties(), b"")
    assert entry_fields(data, 0, len(data)) == [b"body", b""]


def test_a_body_that_only_says_that_it_is_packed_is_a_body() -> None:
    for body in (b"\0\0\0\x09a", b"\0\0\0\x01a", b"x"):
        data = published(Properties(content_type=PACKED.decode()), body)
        assert entry_fields(data, 0, len(data)) == [b"body", body]


def test_an_entry_as_a_reply() -> None:
    assert encode_fields(b"1-2", [b"a", b""]) == b"*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n"
