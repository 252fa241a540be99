"""Reads the entries of a log one after the other, each checked in full, and goes on behind what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mansio.log.base import Damaged
from mansio.log.entry import HEAD_BYTES, Entry, Lineage, decode_entry
from mansio.log.segments.files import File
from mansio.log.segments.layout import ENTRY, FRAME_BYTES, HEADER_BYTES, SEAL, Frame, decode_frame
from mansio.log.segments.replay import BLOCK_BYTES
from mansio.log.segments.scan import Place, Window, search
from mansio.tools.pieces import Gap, Piece, check_in_place, open_piece
from mansio.tools.survey import Survey


class Found(NamedTuple):
    """An entry that is whole: `size` bytes from `offset` on of the file `name`. `stale`: not part of the log."""

    seq: int
    name: str
    offset: int
    size: int
    entry: Entry
    stale: bool


def read_log(seen: Survey, from_seq: int = 1) -> Iterator[Found | Gap]:
    """Yield every entry from from_seq on, and a Gap for what cannot be read.

    Errors: Moved, if the directory is in use and this part of the log was trimmed meanwhile; OSError.
    """
    pieces = seen.pieces
    seq = max(seen.floor - 1, 0)
    lineage = Lineage()
    for at, piece in enumerate(pieces):
        if at + 1 < len(pieces) and pieces[at + 1].prev_seq < from_seq:
            seq = pieces[at + 1].prev_seq
            continue
        if piece.prev_seq > seq:
            what = "what lies between this file and the one before is missing"
            yield Gap(piece.name, 0, 0, seq + 1, piece.prev_seq, what)
        file = open_piece(seen.files, piece)
        try:
            reader = _Reader(seen, piece, file, piece.lineage if piece.header else lineage)
            for item in reader.read():
                if isinstance(item, Gap):
                    check_in_place(seen.files, piece)
                    yield item
                elif item.seq >= from_seq:
                    yield item
            seq, lineage = max(seq, reader.seq), reader.lineage
        finally:
            file.close()
    if not pieces and seen.synced:
        yield Gap("log", 0, 0, max(seen.floor, 1), seen.synced, "all segments are missing")


class _Reader:
    """One piece. `seq`: of the last entry, read or lost. `lineage`: as of there."""

    def __init__(self, seen: Survey, piece: Piece, file: File, lineage: Lineage) -> None:
        self.seq = piece.prev_seq
        self.lineage = lineage
        self._piece = piece
        self._file = file
        self._window = Window(file, BLOCK_BYTES)
        self._synced = seen.synced
        self._floor = seen.floor
        self._odd = ""  # why the last entry does not follow the one before it

    def read(self) -> Iterator[Found | Gap]:
        """Yield what there is."""
        piece = self._piece
        offset = HEADER_BYTES
        while offset + FRAME_BYTES <= piece.end and not self._over():
            data, at = self._window.at(offset, FRAME_BYTES + HEAD_BYTES)
            frame = decode_frame(data, at, piece.stamp)
            found: Found | str = "no frame where one should be"
            if frame is not None:
                if frame.kind != ENTRY and frame.seq == self.seq:
                    if frame.kind == SEAL and not piece.exact:
                        break
                    offset += FRAME_BYTES
                    continue
                found = self._entry(frame, offset)
            if isinstance(found, str):
                ahead = frame is not None and frame.seq > self.seq + (frame.kind == ENTRY)
                gap, offset = self._gap(offset, offset if ahead else offset + 1, found)
                if gap is not None:
                    yield gap
                continue
            if self._odd:
                yield Gap(piece.name, offset, found.size, 1, 0, self._odd)
                self._odd = ""
            offset += FRAME_BYTES + found.size
            if found.seq >= self._floor:
                yield found
        if self._missing():
            last = self._last()
            yield Gap(piece.name, offset, 0, self.seq + 1, last, "the file ends too early")
            self.seq = last

    def _over(self) -> bool:
        """Does nothing follow that belongs to the log?"""
        piece = self._piece
        return not piece.exact and piece.last_seq is not None and self.seq >= piece.last_seq

    def _last(self) -> int:
        """The last entry that should be here."""
        return self._synced if self._piece.last_seq is None else self._piece.last_seq

    def _missing(self) -> bool:
        return self.seq < self._last()

    def _entry(self, frame: Frame, offset: int) -> Found | str:
        """The entry of a frame, or what is wrong with it."""
        end = offset + FRAME_BYTES + frame.length
        if frame.kind != ENTRY or frame.seq != self.seq + 1:
            return f"entry {self.seq + 1} is not there"
        if end > self._piece.end:
            return "the entry reaches beyond the end"
        data, at = self._window.at(offset, FRAME_BYTES + frame.length)
        body = data[at + FRAME_BYTES : at + FRAME_BYTES + frame.length]
        try:
            entry = decode_entry(body)
        except Damaged as error:
            return f"the entry is damaged at its byte {error.offset}: {error.what}"
        self.seq = frame.seq
        head = body[:HEAD_BYTES] + bytes(4)
        try:
            admitted = self.lineage.admit(self.seq, head)
        except Damaged as error:
            self._odd = error.what
            self.lineage.last_seq = 0
            admitted = self.lineage.admit(self.seq, head)
        return Found(self.seq, self._piece.name, offset, frame.length, entry, not admitted)

    def _gap(self, offset: int, start: int, what: str) -> tuple[Gap | None, int]:
        """What is lost at a bad place, and the byte, `start` or behind it, at which reading goes on."""
        piece, first = self._piece, self.seq + 1
        place = self._next(start)
        if place is not None:
            entry = place.frame.kind == ENTRY
            self.seq = place.frame.seq - entry
            end = place.offset
        else:
            end = piece.end
            if not self._missing() and not piece.exact:
                return None, end  # a torn tail: nobody was told of it
            self.seq = max(self.seq, self._last())
        self.lineage.last_seq = 0  # the next entry may follow anything
        return Gap(piece.name, offset, end - offset, first, self.seq, what), end

    def _next(self, start: int) -> Place | None:
        """The next frame that may follow, wherever it begins."""
        piece = self._piece
        for place in search(self._file, piece.stamp, start, piece.end):
            if place.frame.seq - (place.frame.kind == ENTRY) >= self.seq:
                return place
        return None
