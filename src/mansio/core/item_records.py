"""What the log has of items, see `items`: part of `records`.

    ITEMS     06 | store u64 | items × (tag u8, key size u32, value size + 1 u32 or 0: it is gone, key, value)

All integers are big-endian. Later records count: of each key the last one says what its value is.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

ITEMS: Final = 6

Change = tuple[int, bytes, bytes | None]
"""(tag, key, value; None: it is gone)."""

_HEAD = struct.Struct(">BQ")
_ITEM = struct.Struct(">BII")


class Stored(NamedTuple):
    """Items of one store that have changed: by tag and key, the tag in front."""

    store: int
    changes: list[tuple[bytes, bytes | None]]


def encode_items(store: int, changes: Iterable[Change]) -> tuple[bytes, ...]:
    """A record's parts."""
    parts = [_HEAD.pack(ITEMS, store)]
    for tag, key, value in changes:
        if value is None:
            parts += (_ITEM.pack(tag, len(key), 0), key)
        else:
            parts += (_ITEM.pack(tag, len(key), len(value) + 1), key, value)
    return (b"".join(parts),)


def decode_items(record: bytes | memoryview) -> Stored:
    """What such a record says; ValueError or struct.error when it cannot be read."""
    _, store = _HEAD.unpack_from(record)
    changes: list[tuple[bytes, bytes | None]] = []
    at, end = _HEAD.size, len(record)
    while at < end:
        tag, key_size, value_size = _ITEM.unpack_from(record, at)
        at += _ITEM.size
        stop = at + key_size + max(value_size - 1, 0)
        if stop > end:
            raise ValueError(f"an item ends at byte {stop}")
        name = bytes((tag,)) + record[at : at + key_size]
        value = bytes(record[at + key_size : stop]) if value_size else None
        changes.append((name, value))
        at = stop
    return Stored(store, changes)
