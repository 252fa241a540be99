"""Arguments of queues, exchanges and bindings as JSON, and back.

Most values are the same in both. What JSON lacks (bytes, decimals, timestamps) is written in two ways: under
`arguments` as something that RabbitMQ can read, and under `mansio_arguments` so that every type comes back.
"""

import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from mansio.codec.amqp_values import CodecError, Table, Timestamp, decode_table, encode_table
from mansio.core.errors import BadValue
from mansio.core.records import Damaged, pack_table, unpack_table

PLAIN: Final = "arguments"
TYPED: Final = "mansio_arguments"


def table_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a definition that say its arguments."""
    plain = _plain(table)
    if _is_plain(table):
        return {PLAIN: plain}
    return {PLAIN: plain, TYPED: pack_table(table)}


def read_table(fields: Mapping[str, Any]) -> Table:
    """The arguments that these fields say; BadValue for what is no field table (specification 4.2.5.5)."""
    table = fields.get(PLAIN, {})
    if table == []:  # what some tools write for no arguments
        table = {}
    if not isinstance(table, dict):
        raise BadValue(f"arguments must be an object, not {table!r}")
    if TYPED in fields:
        try:
            table = _of_the_wire(unpack_table(fields[TYPED]))
        except Damaged as error:
            raise BadValue(f"{TYPED}: {error}") from None
    return checked(table)


def checked(table: dict[str, Any]) -> Table:
    """The same table; BadValue if no client could have sent it."""
    try:
        raw = encode_table(table)
        again, _ = decode_table(raw, 0, len(raw))
    except (CodecError, ValueError, TypeError, ArithmeticError, struct.error) as error:
        raise BadValue(f"arguments cannot be written as a table: {error}") from None
    except RecursionError:
        raise BadValue("arguments cannot be written as a table: nested too deep") from None
    return again


def _of_the_wire(value: Any) -> Any:
    """The same with the codec's own type of timestamps."""
    if isinstance(value, dict):
        return {key: _of_the_wire(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_of_the_wire(each) for each in value]
    return Timestamp(value) if type(value).__name__ == "Timestamp" else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(each) for each in value.values())
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (str, int, float, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Decimal):
        return float(value)
    return int(value) if type(value).__name__ == "Timestamp" else value
