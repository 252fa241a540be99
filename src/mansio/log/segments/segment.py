"""One segment of the chain, and where its entries are."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

from mansio.log.segments.files import File
from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    HEADER_BYTES,
    Header,
    at_place,
    segment_name,
)
from mansio.log.segments.scan import Place, walk

INDEX_STEP_BYTES: Final = 64 << 10
"""One place in this many bytes is kept: 16 bytes of memory for each, one short read to find an entry."""


class Segment:
    """`end`: the byte behind its last frame. `last_seq`: of its last entry, or of the one before it.

    `spoiled`: a write or sync of it failed, so nothing is ever written to this file again.
    """

    __slots__ = ("_index_at", "_index_seqs", "_indexed", "end", "header", "last_seq", "spoiled")

    def __init__(self, header: Header, end: int, last_seq: int) -> None:
        self.header = header
        self.end = end
        self.last_seq = last_seq
        self.spoiled = False
        self._index_seqs = array("Q")
        self._index_at = array("Q")
        self._indexed = HEADER_BYTES  # up to here

    @property
    def name(self) -> str:
        """Of its file."""
        return segment_name(self.header.number)

    def add(self, seq: int, offset: int, length: int) -> None:
        """An entry was appended; the last one before it ended at `end`."""
        if self._indexed == self.end:
            self._note(seq, offset)
            self._indexed = offset + FRAME_BYTES + length
        self.end = offset + FRAME_BYTES + length
        self.last_seq = seq

    def add_mark(self) -> None:
        """A frame without an entry was appended."""
        if self._indexed == self.end:
            self._indexed += FRAME_BYTES
        self.end += FRAME_BYTES

    def find(self, file: File, seq: int) -> Place:
        """Where entry seq is, one of this segment. Errors: Damaged."""
        if self._indexed < self.end:
            self._index(file)
        at = bisect_right(self._index_seqs, seq) - 1
        if at >= 0:
            start, before = self._index_at[at], self._index_seqs[at] - 1
            for place in walk(file, self.header.stamp, before, start, self.end, INDEX_STEP_BYTES):
                if place.frame.seq == seq and place.frame.kind == ENTRY:
                    return place
        raise at_place("the entry cannot be found", self.name, self._index_at[at], seq)

    def _index(self, file: File) -> None:
        header = self.header
        self._index_seqs, self._index_at = array("Q"), array("Q")
        for place in walk(file, header.stamp, header.prev_seq, HEADER_BYTES, self.end):
            if place.frame.kind == ENTRY:
                self._note(place.frame.seq, place.offset)
        self._indexed = self.end

    def _note(self, seq: int, offset: int) -> None:
        if not self._index_at or offset - self._index_at[-1] >= INDEX_STEP_BYTES:
            self._index_seqs.append(seq)
            self._index_at.append(offset)
