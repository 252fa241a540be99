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
_NEXT_BYTES: Final = 4 << 10
"""Read when the next entry is asked for, as one who reads in order does."""


class Segment:
    """`end`: the byte behind its last frame. `last_seq`: of its last entry, or of the one before it.

    `spoiled`: a write or sync of it failed, so nothing is ever written to this file again.
    """

    __slots__ = (
        "_found",
        "_index_at",
        "_index_seqs",
        "_indexed",
        "end",
        "header",
        "last_seq",
        "spoiled",
    )

    def __init__(self, header: Header, end: int, last_seq: int) -> None:
        self.header = header
        self.end = end
        self.last_seq = last_seq
        self.spoiled = False
        self._index_seqs = array("Q")
        self._index_at = array("Q")
        self._indexed = HEADER_BYTES  # up to here
        self._found: Place | None = None  # by the last call of find

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
        """Where entry seq is, one of this segment. Errors: Damaged; OSError."""
        header, last = self.header, self._found
        if last is not None and last.frame.seq == seq:
            return last
        at = bisect_right(self._index_seqs, seq) - 1
        start, before = HEADER_BYTES, header.prev_seq
        if at >= 0:
            start, before = self._index_at[at], self._index_seqs[at] - 1
        block_bytes = INDEX_STEP_BYTES
        if last is not None and before < last.frame.seq < seq:
            start, before, block_bytes = last.end, last.frame.seq, _NEXT_BYTES
        for place in walk(file, header.stamp, before, start, self.end, block_bytes):
            if place.frame.kind == ENTRY:
                if place.offset == self._indexed:
                    self._note(place.frame.seq, place.offset)
                    self._indexed = place.end
                if place.frame.seq == seq:
                    self._found = place
                    return place
            elif place.offset == self._indexed:
                self._indexed = place.end
        raise at_place("the entry cannot be found", self.name, start, seq)

    def _note(self, seq: int, offset: int) -> None:
        if not self._index_at or offset - self._index_at[-1] >= INDEX_STEP_BYTES:
            self._index_seqs.append(seq)
            self._index_at.append(offset)
