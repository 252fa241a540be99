"""What an embedded log's handle and its store's process say to each other, over a socket pair.

    request: op 1, zeros 3, bytes behind 4, a 8, b 8
    reply: status 1, low 1, zeros 2, bytes behind 4, value 8, room 8

`low` and `room` are SegmentStore.low and room_bytes.
Both sides are of one build and live for one run, so there is no version. Numbers are big-endian. The
first reply answers no request: it says how the start of the store went. Then every request gets
one reply, in order.

op      a      b         behind                         value     behind, in the reply
OPEN    epoch  nonce                                    seq
APPEND                   the entry                      seq
READ                     (seq, offset, length) each             for each its size, then its bytes
TRIM    epoch  upto_seq
BOUNDS                                                          Bounds
EXTENTS                                                         Extent each, oldest first
SPACE                                                           Space, with low as 0 or 1
"""

from __future__ import annotations

import json
import struct
from typing import Final

from mansio.log.base import Damaged, Fenced, Full, LogError, Missing, Unavailable
from mansio.log.segments.layout import NewerFormat

REQUEST: Final = struct.Struct(">B3xIQQ")
REPLY: Final = struct.Struct(">BB2xIQQ")
READ_ITEM: Final = struct.Struct(">QQQ")
READ_SIZE: Final = struct.Struct(">I")
BOUNDS_ANSWER: Final = struct.Struct(">3Q")
EXTENT_ANSWER: Final = struct.Struct(">7Q")
SPACE_ANSWER: Final = struct.Struct(">4Q")

OPEN: Final = 1
APPEND: Final = 2
READ: Final = 3
TRIM: Final = 4
BOUNDS: Final = 5
EXTENTS: Final = 6
SPACE: Final = 7

DONE: Final = 0
_ERRORS: Final[tuple[type[Exception], ...]] = (
    Unavailable, Fenced, Full, Missing, NewerFormat, ValueError, LogError,
)  # fmt: skip
_DAMAGED: Final = len(_ERRORS) + 1
_UNKNOWN: Final = len(_ERRORS) + 2

NUMBER_MAX: Final = (1 << 64) - 1
"""Of the numbers in requests and replies."""


def encode_error(error: Exception) -> tuple[int, bytes]:
    """(status, bytes behind the reply) of an error. An OSError becomes Unavailable."""
    if isinstance(error, Damaged):
        return _DAMAGED, json.dumps([error.what, error.offset, error.place]).encode()
    if isinstance(error, OSError):
        return 1, str(error).encode(errors="replace")
    for status, kind in enumerate(_ERRORS, 1):
        if isinstance(error, kind):
            return status, str(error).encode(errors="replace")
    return _UNKNOWN, f"{type(error).__name__}: {error}".encode(errors="replace")


def decode_error(status: int, data: bytes | bytearray) -> Exception:
    """The error in a reply whose status is not DONE."""
    if status == _DAMAGED:
        what, offset, place = json.loads(data)
        return Damaged(what, offset, place)
    text = data.decode(errors="replace")
    if status == _UNKNOWN:
        return Unavailable(f"the log's process failed: {text}")
    return _ERRORS[status - 1](text)
