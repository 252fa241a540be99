"""The bytes of a segment: what releases have written must stay readable."""

from __future__ import annotations

import pytest

from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    HEADER_BYTES,
    SEAL,
    Frame,
    Header,
    NewerFormat,
    decode_frame,
    decode_header,
    parse_name,
    segment_name,
    spare_name,
)
from mansio.log.segments.scan import search, walk
from tests.log.segments.disk import Disk, ModelFiles

HEADER = Header(
    capacity=1 << 24, log=0x1111, stamp=0x2222, number=5, before=4, before_end=123456,
    prev_seq=77, synced=76, floor=60, epoch=3, nonce=9, lineage_seq=77, tail_id=bytes(range(40)),
)  # fmt: skip
HEADER_1 = bytes.fromhex(
    "4d616e73696f5367000100000000000000000000010000000000000000001111"
    "000000000000222200000000000000050000000000000004000000000001e240"
    "000000000000004d000000000000004c000000000000003c0000000000000003"
    "0000000000000009000000000000004d000102030405060708090a0b0c0d0e0f"
    "101112131415161718191a1b1c1d1e1f2021222324252627"
).ljust(508, b"\0") + bytes.fromhex("a268c012")
"""As format 1 wrote it."""
FRAME = Frame(ENTRY, 48, 0x2222, 78, 77, 60, 0x1234ABCD)
FRAME_1 = bytes.fromhex(
    "4d7346720100000000000030000000000000222200000000"
    "0000004e000000000000004d000000000000003c1234abcd"
)
"""As format 1 wrote it, without its CRC."""


def copies(first: bytes, second: bytes) -> bytes:
    return first.ljust(4096, b"\0") + second.ljust(4096, b"\0")


def test_format_1_is_what_it_was() -> None:
    data = copies(HEADER_1, HEADER_1)
    assert HEADER.encode() == data
    assert decode_header(data, 5, "place") == HEADER
    assert FRAME.encode()[:-4] == FRAME_1
    assert decode_frame(b"x" + FRAME.encode(), 1, 0x2222) == FRAME


def test_one_copy_of_the_header_is_enough() -> None:
    for broken in range(512):
        bad = bytearray(HEADER_1)
        bad[broken] ^= 1
        assert decode_header(copies(bad, HEADER_1), 5, "place") == HEADER
        assert decode_header(copies(HEADER_1, bad), 5, "place") == HEADER
        assert decode_header(copies(bad, bad), 5, "place") is None
    assert decode_header(HEADER_1[:100], 5, "place") is None


def test_a_header_of_another_life_of_the_file() -> None:
    old = HEADER._replace(number=3).encode()[:4096]
    assert decode_header(copies(HEADER_1, old), 5, "place") == HEADER
    assert decode_header(copies(old, HEADER_1), 5, "place") == HEADER
    assert decode_header(copies(old, old), 5, "place") is None
    assert decode_header(copies(old, HEADER_1), None, "place") == HEADER


def test_a_newer_header_is_refused() -> None:
    import zlib

    newer = bytearray(HEADER_1[:508])
    newer[9] = 2
    data = bytes(newer) + zlib.crc32(newer).to_bytes(4, "big")
    with pytest.raises(NewerFormat, match=r"file\.seg has format 2"):
        decode_header(copies(data, data), 5, "file.seg")


def test_no_byte_of_a_frame_is_free() -> None:
    data = FRAME.encode()
    for broken in range(FRAME_BYTES):
        bad = bytearray(data)
        bad[broken] ^= 0x80
        assert decode_frame(bad, 0, 0x2222) is None
    assert decode_frame(data[:-1], 0, 0x2222) is None
    assert decode_frame(data, 0, 0x2223) is None
    assert decode_frame(data, 0, None) == FRAME


def test_names() -> None:
    assert parse_name(segment_name(255)) == (255, False)
    assert parse_name(spare_name(255)) == (255, True)
    for other in ("FORMAT", "00ff.seg", "00000000000000fg.seg", "00000000000000FF.seg", ".seg"):
        assert parse_name(other) is None


def test_walk_and_search() -> None:
    from random import Random

    files = ModelFiles(Disk(Random(1)))
    file = files.create("file", 1 << 20)
    frames = [
        Frame(ENTRY, 100, 7, 1, 0, 1),
        Frame(ENTRY, 3000, 7, 2, 1, 1),
        Frame(SEAL, 0, 7, 2, 2, 1),
    ]
    offset = HEADER_BYTES
    for frame in frames:
        file.pwritev([frame.encode(), bytes(frame.length)], offset, True)
        offset += FRAME_BYTES + frame.length
    for block_bytes in (100, 4096):
        places = list(walk(file, 7, 0, HEADER_BYTES, 1 << 20, block_bytes))
        assert [place.frame for place in places] == frames
    assert [place.frame for place in walk(file, 7, 0, HEADER_BYTES, offset - 100)] == frames[:1]
    assert list(walk(file, 7, 1, HEADER_BYTES, 1 << 20)) == []
    assert [place.frame for place in search(file, 7, HEADER_BYTES + 1, 1 << 20)] == frames[1:]
    beyond = Frame(ENTRY, 100, 7, 9, 8, 1)
    file.pwritev([beyond.encode()], (1 << 20) - FRAME_BYTES, True)  # in the last bytes of a block
    assert [place.frame for place in search(file, 7, offset, 1 << 20)] == [beyond]
