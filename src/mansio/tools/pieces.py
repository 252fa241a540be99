"""The parts of a log that can be read, file by file, and the gaps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mansio.log.base import LogError
from mansio.log.entry import Lineage
from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import HEADER_BYTES, Header, decode_header


class Moved(LogError):
    """A segment was trimmed while it was read: the broker that uses the directory needs it no more."""


class Gap(NamedTuple):
    """What cannot be read: `size` bytes from `offset` on of the file `name`.

    Entries `first` to `last` are in it, none if first > last.
    """

    name: str
    offset: int
    size: int
    first: int
    last: int
    what: str

    @property
    def entries(self) -> int:
        """How many are lost."""
        return max(self.last - self.first + 1, 0)

    def __str__(self) -> str:
        lost = "no entry is lost"
        if self.entries == 1:
            lost = f"entry {self.first} is lost"
        elif self.entries:
            lost = f"entries {self.first} to {self.last} are lost"
        place = f"{self.name}, byte {self.offset}"
        if self.size:
            place += f", {self.size} bytes"
        return f"{place}: {self.what}; {lost}"


@dataclass(slots=True)
class Piece:
    """The part of a file that belongs to the log. `header`: None if it is lost.

    `end`: the byte behind its last frame; `exact`: otherwise the frames may end before it.
    `last_seq`: no entry above it belongs to the log; None if there is no such bound.
    """

    name: str
    header: Header | None
    stamp: int
    prev_seq: int
    end: int
    last_seq: int | None
    exact: bool

    @property
    def lineage(self) -> Lineage:
        """As it was at the start of the piece; a blank one if that is not known."""
        lineage = Lineage()
        if self.header is not None:
            lineage.epoch, lineage.nonce = self.header.epoch, self.header.nonce
            lineage.last_seq = self.header.lineage_seq
        return lineage


def open_piece(files: Files, piece: Piece) -> File:
    """The piece's file, to read. Errors: Moved if it is gone."""
    try:
        return files.open(piece.name, write=False)
    except FileNotFoundError:
        raise Moved(f"{piece.name} is gone") from None


def check_in_place(files: Files, piece: Piece) -> None:
    """Errors: Moved if the file is gone or has a new life, so that what was read from it counts for nothing."""
    if piece.header is None:
        return
    header = decode_header(_header_bytes(files, piece), piece.header.number, piece.name)
    if header is not None and header.stamp != piece.stamp:
        raise Moved(f"{piece.name} has a new life")


def file_faults(files: Files, piece: Piece) -> list[Gap]:
    """What a start does not mind: a copy of the header that is not whole where the other one is, and a file that is
    shorter than it was made. Errors: Moved."""
    header = piece.header
    if header is None:
        return []
    file = open_piece(files, piece)
    try:
        data = file.pread(HEADER_BYTES, 0)
        end = file.pread(1, header.capacity - 1)
    finally:
        file.close()
    half = HEADER_BYTES // 2
    copies = ((0, data[:half] + bytes(half)), (half, bytes(half) + data[half:]))
    what = "one of the two copies of the header is damaged, the other one is used"
    gaps = [
        Gap(piece.name, offset, half, 1, 0, what)
        for offset, copy in copies
        if decode_header(copy, None, piece.name) != header
    ]
    if not end:
        what = f"the file is shorter than the {header.capacity} bytes that it was made with"
        gaps.append(Gap(piece.name, piece.end, 0, 1, 0, what))
    return gaps


def _header_bytes(files: Files, piece: Piece) -> bytes:
    file = open_piece(files, piece)
    try:
        return file.pread(HEADER_BYTES, 0)
    finally:
        file.close()
