"""What streams and their consumers are asked for: retention, and where to begin (RabbitMQ 3.10.8)."""

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mansio.core.stream import Stream

SEGMENT_BYTES: Final = 500_000_000
"""Of a segment, unless a stream asks for another size (RabbitMQ)."""

SEGMENT_BYTES_MAX: Final = 3_000_000_000
"""Of `x-stream-max-segment-size-bytes` (RabbitMQ 3.10.8)."""

OFFSET: Final = "x-stream-offset"
"""The argument of a consumer, or a group, that says where it begins; and the header that says where a message is."""

_UNIT_MS: Final = {
    "Y": 365 * 86_400_000, "M": 30 * 86_400_000, "D": 86_400_000,
    "h": 3_600_000, "m": 60_000, "s": 1000,
}  # fmt: skip


def duration_ms(text: Any) -> int | None:
    """A time such as `7D` or `30s` in milliseconds; None when it is not one."""
    found = re.fullmatch(r"([0-9]+)([YMDhms])", text) if isinstance(text, str) else None
    return int(found[1]) * _UNIT_MS[found[2]] if found is not None else None


def is_offset(value: Any) -> bool:
    """Whether it says where a reader begins: a word, a number, a timestamp, or how long ago."""
    if isinstance(value, str):
        return value in ("first", "last", "next") or bool(duration_ms(value))
    return isinstance(value, int) and not isinstance(value, bool)


def offset_of(stream: "Stream", value: Any, now_ms: int) -> int:
    """Where a reader begins that asked for this, which `is_offset` allows."""
    if value == "first":
        return stream.first
    if value == "last":
        return stream.last_offset()
    if value is None or value == "next":
        return stream.committed
    if _is_timestamp(value):
        return stream.offset_at(int(value) * 1000)
    if isinstance(value, int):
        return max(value, 0)
    ago_ms = duration_ms(value)
    assert ago_ms is not None
    return stream.offset_at(now_ms - ago_ms)


def _is_timestamp(value: Any) -> bool:
    """Field tables tell it from an integer by its type."""
    return type(value).__name__ == "Timestamp"
