"""Field tables and properties: every decoder whole, at every truncation, with bytes before and
after, with wrong lengths and wrong types."""

import struct
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec.amqp_properties import (
    Properties,
    decode_properties,
    encode_header_payload,
    encode_properties,
)
from mansio.codec.amqp_values import (
    SYNTAX_ERROR,
    TABLE_BYTES_MAX,
    TABLE_DEPTH_MAX,
    CodecError,
    Table,
    Timestamp,
    Value,
    decode_table,
    encode_longstr,
    encode_shortstr,
    encode_table,
)


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def table_of(entries: bytes) -> bytes:
    """Entries with the length in front."""
    return u32(len(entries)) + entries


# Wire form of one value with its type octet, and what it means.
WIRE: list[tuple[bytes, Value]] = [
    (b"t\0", False),
    (b"t\1", True),
    (b"t\2", True),
    (b"b\x80", -128),
    (b"B\xff", 255),
    (b"s\x80\0", -32768),
    (b"u\xff\xff", 65535),
    (b"I\x80\0\0\0", -(1 << 31)),
    (b"i\xff\xff\xff\xff", (1 << 32) - 1),
    (b"l\x80" + bytes(7), -(1 << 63)),
    (b"L\xff" + b"\xff" * 7, -1),
    (b"f\x3f\xc0\0\0", 1.5),
    (b"d\x3f\xf8" + bytes(6), 1.5),
    (b"D\2\0\0\1\x3a", Decimal("3.14")),
    (b"D\0\xff\xff\xff\xff", Decimal(4294967295)),
    (b"D\xff\0\0\0\1", Decimal("1E-255")),
    (b"T" + b"\xff" * 8, Timestamp((1 << 64) - 1)),
    (b"S\0\0\0\0", ""),
    (b"S\0\0\0\3\xe2\x82\xac", "€"),
    (b"S\0\0\0\2\xff\xfe", "\udcff\udcfe"),
    (b"x\0\0\0\2\xff\0", b"\xff\0"),
    (b"V", None),
    (b"A\0\0\0\0", []),
    (b"A\0\0\0\4Vt\1V", [None, True, None]),
    (b"F\0\0\0\0", {}),
    (b"F\0\0\0\3\1aV", {"a": None}),
]
WIRE_IDS = [wire[:6].hex() for wire, _ in WIRE]


def decode(wire: bytes) -> Table:
    table, end = decode_table(wire, 0, len(wire))
    assert end == len(wire)
    return table


def refused(call: Callable[..., object], *arguments: object) -> CodecError:
    """The error of a call that must be refused as a syntax error."""
    with pytest.raises(CodecError) as caught:
        call(*arguments)
    assert caught.value.code == SYNTAX_ERROR
    assert caught.value.text.isascii()
    return caught.value


@pytest.mark.parametrize(("wire", "value"), WIRE, ids=WIRE_IDS)
def test_each_type_in_a_table(wire: bytes, value: Value) -> None:
    found = decode(table_of(b"\1k" + wire))["k"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("wire", "value"), WIRE, ids=WIRE_IDS)
def test_each_type_in_an_array(wire: bytes, value: Value) -> None:
    found = decode(table_of(b"\1kA" + table_of(wire + wire)))["k"]
    assert found == [value, value]


@pytest.mark.parametrize(("wire", "value"), WIRE, ids=WIRE_IDS)
def test_each_type_cut_off_anywhere_is_refused(wire: bytes, value: Value) -> None:
    entry = b"\1k" + wire
    for size in range(1, len(entry)):
        refused(decode, table_of(entry[:size]))
        # The same when more bytes follow behind the table: a value may not borrow them.
        refused(decode_table, table_of(entry[:size]) + bytes(16), 0, 4 + size)
        in_array = b"\1kA" + table_of(entry[2:size])
        if size > 2:
            refused(decode, table_of(in_array))


@pytest.mark.parametrize(("wire", "value"), WIRE, ids=WIRE_IDS)
def test_a_whole_table_cut_off_anywhere_is_refused(wire: bytes, value: Value) -> None:
    whole = table_of(b"\1a" + wire + b"\1b" + wire)
    for size in range(len(whole)):
        refused(decode, whole[:size])
        refused(decode_table, whole, 0, size)


@pytest.mark.parametrize(("wire", "value"), WIRE, ids=WIRE_IDS)
def test_bytes_around_a_table_are_left_alone(wire: bytes, value: Value) -> None:
    whole = table_of(b"\1k" + wire)
    table, end = decode_table(b"before" + whole + b"after", 6, 6 + len(whole) + 5)
    assert table["k"] == value
    assert end == 6 + len(whole)


def test_every_other_type_octet_is_refused() -> None:
    known = {wire[0] for wire, _ in WIRE}
    for octet in set(range(256)) - known:
        kind = bytes((octet,))
        error = refused(decode, table_of(b"\1k" + kind + bytes(64)))
        assert error.text == f"unknown field type {octet}"


@pytest.mark.parametrize("kind", [b"f", b"d"])
def test_floats_that_are_not_numbers_are_refused(kind: bytes) -> None:
    for value in (nan, inf, -inf):
        wire = kind + struct.pack(">" + kind.decode(), value)
        refused(decode, table_of(b"\1k" + wire))


def test_of_entries_with_one_name_the_first_counts() -> None:
    assert decode(table_of(b"\1at\1\1at\0\1bV\1aV")) == {"a": True, "b": None}


def test_names_may_be_empty_long_or_not_text() -> None:
    names = {"": 1, "n" * 255: 2, "\udcff": 3, "ключ": 4}
    assert decode(encode_table(names)) == names


def test_a_name_that_fills_its_table_is_refused() -> None:
    refused(decode, table_of(b"\3abc"))
    refused(decode, table_of(b"\xffabc"))
    refused(decode, table_of(b"\0"))


@pytest.mark.parametrize("kind", [b"S", b"x", b"A", b"F"])
@pytest.mark.parametrize("claimed", [1, 255, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_claimed_length_is_neither_believed_nor_allocated(kind: bytes, claimed: int) -> None:
    inner = table_of(b"\1k" + kind + u32(claimed))
    outer = u32(claimed) + b"\1kV"
    tracemalloc.start()
    try:
        refused(decode, inner)
        if claimed > 3:
            refused(decode, outer)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_table_may_not_reach_past_the_end_it_was_given() -> None:
    whole = table_of(b"\1kV")
    refused(decode_table, whole + bytes(8), 0, len(whole) - 1)
    refused(decode_table, whole, 0, len(whole) + 1)
    refused(decode_table, whole, len(whole), len(whole))


def nested(depth: int, kind: bytes) -> bytes:
    """A table with depth - 1 tables or arrays inside each other."""
    name = b"\1k" if kind == b"F" else b""
    value = kind + u32(0)
    for _ in range(depth - 2):
        value = kind + table_of(name + value)
    return table_of(b"\1k" + value)


def test_nesting_ends_at_its_limit() -> None:
    deepest = nested(TABLE_DEPTH_MAX, b"F")
    inside: Value = decode(deepest)
    depth = 0
    while inside:
        assert isinstance(inside, dict)
        inside = inside["k"]
        depth += 1
    assert depth == TABLE_DEPTH_MAX - 1
    error = refused(decode, nested(TABLE_DEPTH_MAX + 1, b"F"))
    assert error.text == f"tables are nested more than {TABLE_DEPTH_MAX} deep"


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_a_bomb_of_nested_tables_is_refused(kind: bytes) -> None:
    refused(decode, nested(10_000, kind))


def test_depth_counts_from_where_the_caller_stands() -> None:
    empty = table_of(b"")
    assert decode_table(empty, 0, 4, TABLE_DEPTH_MAX - 1) == ({}, 4)
    refused(decode_table, empty, 0, 4, TABLE_DEPTH_MAX)


def test_size_ends_at_its_limit() -> None:
    room = TABLE_BYTES_MAX - len(b"\1kS") - 4
    assert len(decode(encode_table({"k": "a" * room}))) == 1
    error = refused(decode, encode_table({"k": "a" * (room + 1)}))
    assert error.text == f"table is larger than {TABLE_BYTES_MAX} bytes"


def test_memory_for_what_is_there_stays_in_proportion() -> None:
    wire = table_of(b"\1kA" + table_of(b"F\0\0\0\0" * 25_000))  # the dearest: 5 bytes make a dict
    tracemalloc.start()
    try:
        decode(wire)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(wire)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (None, b"V"),
        (True, b"t\1"),
        (False, b"t\0"),
        (1, b"I\0\0\0\1"),
        ((1 << 31) - 1, b"I\x7f\xff\xff\xff"),
        (1 << 31, b"l\0\0\0\0\x80\0\0\0"),
        (-(1 << 31), b"I\x80\0\0\0"),
        (-(1 << 31) - 1, b"l\xff\xff\xff\xff\x7f\xff\xff\xff"),
        (1.5, b"d\x3f\xf8" + bytes(6)),
        ("€", b"S\0\0\0\3\xe2\x82\xac"),
        ("\udcff", b"S\0\0\0\1\xff"),
        (b"\xff", b"x\0\0\0\1\xff"),
        (Timestamp(1), b"T" + bytes(7) + b"\1"),
        (Decimal("3.14"), b"D\2\0\0\1\x3a"),
        (Decimal("2E+3"), b"D\0\0\0\7\xd0"),
        ([None, 1], b"A\0\0\0\6VI\0\0\0\1"),
        ({"a": {}}, b"F\0\0\0\7\1aF\0\0\0\0"),
    ],
)
def test_encoding_of_each_type(value: Value, wire: bytes) -> None:
    assert encode_table({"k": value}) == table_of(b"\1k" + wire)


@pytest.mark.parametrize(
    "value",
    [1 << 63, -(1 << 63) - 1, nan, inf, Decimal("NaN"), Decimal("Infinity"), Decimal(-1),
     Decimal(1 << 32), Decimal("1E-256"), Timestamp(-1), Timestamp(1 << 64), "\ud800", (1, 2),
     object()],
)  # fmt: skip
def test_what_has_no_encoding_is_an_error_of_the_caller(value: Value) -> None:
    with pytest.raises((ValueError, TypeError, struct.error)):
        encode_table({"k": value})


def test_string_helpers() -> None:
    assert encode_shortstr("") == b"\0"
    assert encode_shortstr("é\udcff") == b"\3\xc3\xa9\xff"
    assert encode_shortstr("a" * 255) == b"\xff" + b"a" * 255
    with pytest.raises(ValueError, match="256"):
        encode_shortstr("é" * 128)
    assert encode_longstr(b"ab") == b"\0\0\0\2ab"


def any_bytes_as_text() -> st.SearchStrategy[str]:
    return st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


TEXT = st.one_of(st.text(st.characters(codec="utf-8"), max_size=40), any_bytes_as_text())
SCALARS: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(max_size=40),
    st.builds(Timestamp, st.integers(0, (1 << 64) - 1)),
    st.builds(
        lambda digits, scale: Decimal(f"{digits}E-{scale}"),
        st.integers(0, (1 << 32) - 1),
        st.integers(0, 255),
    ),
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT, inner, max_size=5)),
    max_leaves=20,
)
TABLES = st.dictionaries(TEXT, VALUES, max_size=6)


def types_of(value: Value) -> object:
    """The value's shape with its types: equality alone takes True for 1 and 1.0 for 1."""
    if isinstance(value, dict):
        return {name: types_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [types_of(inner) for inner in value]
    return type(value)


@given(TABLES)
def test_tables_come_back_as_they_were(table: Table) -> None:
    found = decode(encode_table(table))
    assert found == table
    assert list(found) == list(table)
    assert types_of(found) == types_of(table)


@given(TABLES, st.data())
def test_damaged_tables_raise_nothing_else(table: Table, data: st.DataObject) -> None:
    wire = bytearray(encode_table(table))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        found, end = decode_table(bytes(wire), 0, len(wire))
    except CodecError:
        return
    assert end <= len(wire)
    assert decode(encode_table(found)) == found


@given(st.binary(max_size=64), st.integers(0, 70), st.integers(0, 70))
def test_any_bytes_at_any_place_raise_nothing_else(raw: bytes, pos: int, end: int) -> None:
    for decoder in (decode_table, decode_properties):
        try:
            decoder(raw, pos, end)
        except CodecError:
            pass


SHORT = st.one_of(
    st.none(), st.binary(max_size=255).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
OCTET = st.one_of(st.none(), st.integers(0, 255))
PROPERTIES = st.builds(
    Properties,
    content_type=SHORT,
    content_encoding=SHORT,
    headers=st.one_of(st.none(), TABLES),
    delivery_mode=OCTET,
    priority=OCTET,
    correlation_id=SHORT,
    reply_to=SHORT,
    expiration=SHORT,
    message_id=SHORT,
    timestamp=st.one_of(st.none(), st.integers(0, (1 << 64) - 1)),
    type=SHORT,
    user_id=SHORT,
    app_id=SHORT,
    cluster_id=SHORT,
)

# One property each: flag word, field, the properties.
ONE: list[tuple[int, bytes, Properties]] = [
    (0x8000, b"\4text", Properties(content_type="text")),
    (0x4000, b"\4gzip", Properties(content_encoding="gzip")),
    (0x2000, b"\0\0\0\3\1kV", Properties(headers={"k": None})),
    (0x1000, b"\2", Properties(delivery_mode=2)),
    (0x0800, b"\xff", Properties(priority=255)),
    (0x0400, b"\1c", Properties(correlation_id="c")),
    (0x0200, b"\1r", Properties(reply_to="r")),
    (0x0100, b"\0021s", Properties(expiration="1s")),
    (0x0080, b"\2id", Properties(message_id="id")),
    (0x0040, bytes(7) + b"\1", Properties(timestamp=1)),
    (0x0020, b"\1t", Properties(type="t")),
    (0x0010, b"\1u", Properties(user_id="u")),
    (0x0008, b"\1a", Properties(app_id="a")),
    (0x0004, b"\0", Properties(cluster_id="")),
]


@pytest.mark.parametrize(("flags", "raw", "properties"), ONE, ids=[hex(bit) for bit, _, _ in ONE])
def test_each_property(flags: int, raw: bytes, properties: Properties) -> None:
    wire = struct.pack(">H", flags) + raw
    assert encode_properties(properties) == wire
    assert decode_properties(wire, 0, len(wire)) == properties
    assert decode_properties(b"--" + wire + b"--", 2, 2 + len(wire)) == properties
    for size in range(len(wire)):
        refused(decode_properties, wire[:size], 0, size)
        refused(decode_properties, wire, 0, size)
    refused(decode_properties, wire + b"\0", 0, len(wire) + 1)
    refused(decode_properties, wire, 0, len(wire) + 1)


def test_all_properties_in_their_order() -> None:
    wire = struct.pack(">H", 0xFFFC) + b"".join(raw for _, raw, _ in ONE)
    properties = decode_properties(wire, 0, len(wire))
    for _, _, one in ONE:
        name = next(n for n in Properties.__slots__ if getattr(one, n) is not None)
        assert getattr(properties, name) == getattr(one, name)
    assert encode_properties(properties) == wire


def test_flag_words() -> None:
    assert decode_properties(b"\0\0", 0, 2) == Properties()
    assert encode_properties(Properties()) == b"\0\0"
    assert decode_properties(b"\0\2", 0, 2) == Properties()  # unused: RabbitMQ 3.10.8 ignores it
    refused(decode_properties, b"\0\1", 0, 2)
    error = refused(decode_properties, b"\0\1\0\0", 0, 4)
    assert error.text == "properties have a second flag word"


def test_bad_headers_inside_of_properties() -> None:
    for headers in (b"\0\0\0\x09\1kV", b"\0\0\0\3\1kZ", nested(TABLE_DEPTH_MAX + 1, b"F")):
        wire = b"\x20\0" + headers
        refused(decode_properties, wire, 0, len(wire))


@given(PROPERTIES)
def test_properties_come_back_as_they_were(properties: Properties) -> None:
    wire = encode_properties(properties)
    assert decode_properties(wire, 0, len(wire)) == properties


@given(PROPERTIES, st.data())
def test_damaged_properties_raise_nothing_else(properties: Properties, data: st.DataObject) -> None:
    wire = bytearray(encode_properties(properties))
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_properties(bytes(wire), 0, len(wire))
    except CodecError:
        return
    again = encode_properties(found)
    assert decode_properties(again, 0, len(again)) == found


def test_header_payload() -> None:
    payload = encode_header_payload(5, Properties(delivery_mode=2))
    assert payload == b"\0\x3c\0\0" + bytes(7) + b"\5" + b"\x10\0\2"
    assert encode_header_payload((1 << 64) - 1, Properties())[4:12] == b"\xff" * 8


def test_errors_carry_code_text_and_method() -> None:
    error = CodecError(501, "text", 0x003C0028)
    assert (error.code, error.text, error.method) == (501, "text", 0x003C0028)
    assert CodecError(502, "text").method == 0
