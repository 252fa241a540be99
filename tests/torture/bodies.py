"""Message bodies that say which message they are.

    publisher u32 | number u32 | size u32 | crc32 u32 of all the rest | filling of random bytes

The publisher writes the size and check sum that it sent into the journal, the consumer those of what it got: the
oracle compares them and need not believe what a body says of itself.
"""

from __future__ import annotations

import struct
import zlib
from random import Random

_HEAD = struct.Struct(">III")
_CRC = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CRC.size
SIZE_MAX = 2 << 20
_FILLING = Random(0).randbytes(SIZE_MAX + 4096)


def make_body(publisher: int, number: int, size: int) -> tuple[bytes, int]:
    """A body of `size` bytes (HEAD_BYTES to SIZE_MAX), and its check sum."""
    head = _HEAD.pack(publisher, number, size)
    start = (publisher * 61 + number) & 4095
    filling = _FILLING[start : start + size - HEAD_BYTES]
    crc = zlib.crc32(filling, zlib.crc32(head))
    return b"".join((head, _CRC.pack(crc), filling)), crc


def read_body(body: bytes) -> tuple[int, int, int, int]:
    """(publisher, number, size, check sum) of what came; check sum -1 if the body disagrees with itself."""
    if len(body) < HEAD_BYTES:
        return -1, -1, len(body), -1
    publisher, number, size = _HEAD.unpack_from(body)
    crc = zlib.crc32(memoryview(body)[HEAD_BYTES:], zlib.crc32(body[: _HEAD.size]))
    right = size == len(body) and crc == _CRC.unpack_from(body, _HEAD.size)[0]
    return publisher, number, len(body), crc if right else -1


def draw_size(rng: Random) -> int:
    """Mostly small; one of a thousand is above 100 KiB, up to 2 MiB."""
    x = rng.random()
    if x < 0.75:
        return rng.randrange(HEAD_BYTES, 600)
    if x < 0.96:
        return rng.randrange(600, 8 << 10)
    if x < 0.999:
        return rng.randrange(8 << 10, 100 << 10)
    return rng.randrange(100 << 10, SIZE_MAX + 1)
