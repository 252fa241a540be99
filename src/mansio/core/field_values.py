"""Field tables as the core sees them: mappings of names to values (specification 4.2.5.5)."""

from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]
NO_HEADERS: Arguments = {}


def freeze(value: Any) -> Any:
    """A hashable form of a field table's value in which True differs from 1, and 1 from 1.0."""
    if isinstance(value, Mapping):
        return "F", tuple(sorted((key, freeze(item)) for key, item in value.items()))
    if isinstance(value, list):
        return "A", tuple(freeze(item) for item in value)
    return type(value).__name__, value if value.__hash__ else repr(value)


def type_name(value: Any) -> str:
    """RabbitMQ's name of a field table type; integers that fit 32 bits are written as such."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "signedint" if -(1 << 31) <= value < 1 << 31 else "long"
    return {str: "longstr", float: "double", list: "array", dict: "table", bytes: "binary"}.get(
        type(value), "void"
    )
