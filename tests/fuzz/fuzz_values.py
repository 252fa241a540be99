"""Fuzzes the decoders of tables and properties: CodecError or a value that comes back the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from decimal import Decimal

from mansio.codec.amqp_properties import Properties, decode_properties, encode_properties
from mansio.codec.amqp_values import (
    TABLE_DEPTH_MAX,
    CodecError,
    Table,
    Timestamp,
    Value,
    decode_table,
    encode_table,
)
from tests.fuzz import harness

NAME = "values"

# Containers and values that the input may make at most, for each of its bytes.
_VALUES_PER_BYTE_MAX = 1


def seeds() -> list[bytes]:
    everything: Table = {
        "bool": True,
        "int": -1,
        "long": 1 << 40,
        "double": 1.5,
        "text": "é",
        "raw": b"\xff\0",
        "time": Timestamp(1_700_000_000),
        "decimal": Decimal("3.14"),
        "none": None,
        "list": [1, "two", [None, {}]],
        "table": {"a": {"b": {"c": []}}},
    }
    properties = Properties(
        content_type="text/plain",
        headers={"x": [1]},
        delivery_mode=2,
        priority=9,
        correlation_id="c",
        timestamp=1,
        cluster_id="",
    )
    small = b"".join(b"\1" + kind for kind in (b"abB\1", b"bs\1\2", b"cu\1\2", b"ei\1\2\3\4"))
    narrow = small + b"\1fL\1\2\3\4\5\6\7\x08\1gf\1\2\3\4"
    return [
        b"\0" + encode_table(everything),
        b"\0" + encode_table({}),
        b"\0" + len(narrow).to_bytes(4, "big") + narrow,
        b"\1" + encode_properties(properties),
        b"\1" + encode_properties(Properties()),
        b"\1\xff\xfc" + bytes(40),
    ]


def measure(value: Value, depth: int = 0) -> int:
    """How many values there are in a value; fails when it is nested too deep."""
    assert depth < TABLE_DEPTH_MAX
    if isinstance(value, dict):
        return 1 + sum(measure(inner, depth + 1) for inner in value.values())
    if isinstance(value, list):
        return 1 + sum(measure(inner, depth + 1) for inner in value)
    return 1


def run(data: bytes) -> None:
    """First byte: table or properties, and how far in front of the end they must stop."""
    kind = data[0] if data else 0
    raw = data[1:]
    end = len(raw) - (kind >> 4 if kind < 128 else 0)
    try:
        if kind & 1:
            properties = decode_properties(raw, 0, end)
            again = encode_properties(properties)
            assert decode_properties(again, 0, len(again)) == properties
            return
        table, stop = decode_table(raw, 0, end)
    except CodecError as error:
        assert error.code in (501, 502) and error.text.isascii()
        return
    assert 4 <= stop <= end
    assert measure(table) <= 1 + stop * _VALUES_PER_BYTE_MAX
    wire = encode_table(table)
    assert decode_table(wire, 0, len(wire)) == (table, len(wire))


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
