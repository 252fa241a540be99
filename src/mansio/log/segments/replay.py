"""Reads the entries of one segment in order, each checked in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from mansio.log.base import Damaged
from mansio.log.entry import HEAD_BYTES, Entry, Lineage, decode_entry
from mansio.log.segments.files import File
from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    HEADER_BYTES,
    at_place,
    decode_frame,
    segment_name,
)
from mansio.log.segments.scan import Window

BLOCK_BYTES: Final = 4 << 20
"""Read at a time: few calls, and little is read twice where an entry crosses the end of a block."""


class Extent(NamedTuple):
    """What replay needs to know of a segment: HEADER_FIELDS, and where its frames end."""

    number: int
    stamp: int
    prev_seq: int
    end: int
    epoch: int
    nonce: int
    lineage_seq: int

    @property
    def name(self) -> str:
        """Of its file."""
        return segment_name(self.number)

    @property
    def lineage(self) -> Lineage:
        """As it was at the segment's start."""
        lineage = Lineage()
        lineage.epoch, lineage.nonce, lineage.last_seq = self.epoch, self.nonce, self.lineage_seq
        return lineage


def replay_segment(
    file: File, extent: Extent, from_seq: int
) -> Iterator[tuple[int, int, Entry | None]]:
    """Yield (seq, end, entry) of every entry: `end` is the byte of the file behind it.

    The entry is None where it is a fence, stale, or below from_seq, of which only the head is read.
    Errors: Damaged; OSError.
    """
    window = Window(file, BLOCK_BYTES)
    lineage = extent.lineage
    seq, offset = extent.prev_seq, HEADER_BYTES
    while offset < extent.end:
        data, at = window.at(offset, FRAME_BYTES + HEAD_BYTES)
        frame = decode_frame(data, at, extent.stamp)
        if frame is None:
            raise at_place("no frame where one should be", extent.name, offset, seq + 1)
        body = offset + FRAME_BYTES
        end = body + frame.length
        if frame.kind != ENTRY:
            offset = end
            continue
        if frame.seq != seq + 1:
            what = f"entry {seq + 1} is missing, seq {frame.seq} follows"
            raise at_place(what, extent.name, offset, seq + 1)
        if end > extent.end:
            raise at_place("the entry reaches beyond the end", extent.name, offset, seq + 1)
        seq += 1
        try:
            entry: Entry | None = None
            if seq >= from_seq:
                data, at = window.at(offset, FRAME_BYTES + frame.length)
                start = at + FRAME_BYTES
                entry = decode_entry(data[start : start + frame.length])
            start = at + FRAME_BYTES
            head = data[start : start + HEAD_BYTES]
            if crc32(head) != frame.check:
                raise Damaged("the head of the entry fails its check")
            if not lineage.admit(seq, head + bytes(4)) or (entry and entry.fence):
                entry = None
        except Damaged as error:
            raise at_place(error.what, extent.name, body + error.offset, seq) from None
        yield seq, end, entry
        offset = end
