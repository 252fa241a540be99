"""Walks the frames of one segment file in order, and searches behind a place that is no frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from mansio.log.entry import HEAD_BYTES
from mansio.log.segments.files import File
from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    FRAME_MAGIC,
    SEAL,
    Frame,
    decode_frame,
)

BLOCK_BYTES: Final = 1 << 20
"""Read at a time while walking: large enough to cost few calls, small beside a segment."""


class Place(NamedTuple):
    """A frame and where it is: `offset` is a byte of the file. `head`: of its entry, if any."""

    offset: int
    frame: Frame
    head: bytes

    @property
    def end(self) -> int:
        """The byte behind the frame and its entry."""
        return self.offset + FRAME_BYTES + self.frame.length

    @property
    def head_is_whole(self) -> bool:
        """Is the head that of the entry for which the frame was written?"""
        return crc32(self.head) == self.frame.check


class Window:
    """A moving block of a file."""

    __slots__ = ("_block", "_block_bytes", "_file", "_start")

    def __init__(self, file: File, block_bytes: int = BLOCK_BYTES) -> None:
        self._file = file
        self._block_bytes = block_bytes
        self._block = b""
        self._start = 0

    def at(self, offset: int, length: int) -> tuple[bytes, int]:
        """A block and the byte of it that is `offset` of the file, with length bytes behind it.

        Fewer than length only where the file ends.
        """
        inside = offset - self._start
        if inside < 0 or inside + length > len(self._block):
            self._block = self._file.pread(max(length, self._block_bytes), offset)
            self._start = offset
            inside = 0
        return self._block, inside


def walk(
    file: File, stamp: int, seq: int, start: int, end: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[Place]:
    """Yield the frames between two bytes of a file, up to the first place that is none.

    `seq`: of the entry before `start`. Stops also before a frame with a seq out of order, one whose
    entry would reach beyond `end`, and behind a seal. Bodies are not read.
    """
    window = Window(file, block_bytes)
    offset = start
    while offset + FRAME_BYTES <= end:
        data, inside = window.at(offset, FRAME_BYTES + HEAD_BYTES)
        frame = decode_frame(data, inside, stamp)
        if frame is None:
            return
        if frame.kind != ENTRY:
            if frame.seq != seq:
                return
            yield Place(offset, frame, b"")
            if frame.kind == SEAL:
                return
            offset += FRAME_BYTES
            continue
        if frame.seq != seq + 1 or offset + FRAME_BYTES + frame.length > end:
            return
        seq += 1
        yield Place(offset, frame, data[inside + FRAME_BYTES : inside + FRAME_BYTES + HEAD_BYTES])
        offset += FRAME_BYTES + frame.length


def search(file: File, stamp: int | None, start: int, end: int) -> Iterator[Place]:
    """Yield every frame of this life of the file between two bytes, wherever it begins.

    With stamp None, of any life.
    """
    offset = start
    while offset + FRAME_BYTES <= end:
        block = file.pread(min(BLOCK_BYTES, end - offset), offset)
        at = block.find(FRAME_MAGIC)
        while at >= 0 and at + FRAME_BYTES <= len(block):
            frame = decode_frame(block, at, stamp)
            if frame is not None:
                yield Place(offset + at, frame, b"")
            at = block.find(FRAME_MAGIC, at + 1)
        if len(block) <= FRAME_BYTES:
            return
        offset += len(block) - FRAME_BYTES + 1


def entry_is_whole(file: File, place: Place) -> bool:
    """Is the entry of a frame the one for which it was written, and passes its own check?"""
    at, left = place.offset + FRAME_BYTES, place.frame.length
    if left < HEAD_BYTES + 4 or not place.head_is_whole:
        return False
    crc = 0
    left -= 4
    while left:
        data = file.pread(min(left, BLOCK_BYTES), at)
        if not data:
            return False
        crc = crc32(data, crc)
        at += len(data)
        left -= len(data)
    return file.pread(4, at) == crc.to_bytes(4, "big")
