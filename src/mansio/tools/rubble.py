"""What is left of a log that does not start: every file that holds a part of it, without relying on any of them.

The files are looked at from the last one backwards. Of an entry that stands in two files, the later file counts: a
segment that was given up after a failed write is followed by one that begins before what had failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import ENTRY, HEADER_BYTES, Header, decode_header, parse_name
from mansio.log.segments.scan import search
from mansio.tools.pieces import Gap, Piece


@dataclass(slots=True)
class Rubble:
    """`pieces`: in the order of the log. `synced`: entries up to this one were durable once. `floor`: the first one
    that is kept."""

    pieces: list[Piece] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    synced: int = 0
    floor: int = 0
    _log: int | None = None

    def add(self, files: Files, name: str, number: int) -> None:
        """Take the segment before those that were added already."""
        size = files.sizes()[name]
        file = files.open(name, write=False)
        try:
            header = decode_header(file.pread(HEADER_BYTES, 0), number, name)
            stamp = header.stamp if header else _last_stamp(file, size)
            if stamp is None:
                self._miss(name, 0, size, "neither its header nor any entry can be read")
                return
            if header and self._log not in (None, header.log):
                self._miss(name, 0, size, "a segment of another log")
                return
            first = self._look_through(file, stamp, size)
        finally:
            file.close()
        self._place(name, number, header, stamp, first, size)

    def _place(
        self, name: str, number: int, header: Header | None, stamp: int, first: int, size: int
    ) -> None:
        above = self.pieces[0] if self.pieces else None
        prev_seq = header.prev_seq if header else first - 1
        bound = above.prev_seq if above else None
        if above and above.last_seq is not None:
            bound = min(above.prev_seq, above.last_seq)
        end = size
        if above and above.header and above.header.before == number:
            end = min(size, above.header.before_end)
        if header is None:
            self._miss(name, 0, HEADER_BYTES, "both copies of its header are damaged")
        else:
            self._log = header.log
            self.synced = max(self.synced, header.synced)
            self.floor = max(self.floor, header.floor)
        self.pieces.insert(0, Piece(name, header, stamp, prev_seq, end, bound, exact=False))

    def _look_through(self, file: File, stamp: int, size: int) -> int:
        """Take in what the frames say; the seq of the first entry."""
        first = 0
        for place in search(file, stamp, HEADER_BYTES, size):
            frame = place.frame
            first = first or frame.seq + (frame.kind != ENTRY)
            self.synced = max(self.synced, frame.synced)
            self.floor = max(self.floor, frame.floor)
        return first or 1

    def _miss(self, name: str, offset: int, size: int, what: str) -> None:
        self.gaps.append(Gap(name, offset, size, 1, 0, what))


def rubble(files: Files) -> Rubble:
    """Look at every segment. Errors: OSError, NewerFormat."""
    found = Rubble()
    named = [(parsed[0], name) for name in files.sizes() if (parsed := parse_name(name))]
    for number, name in sorted(named, reverse=True):
        if not name.startswith("spare-"):
            found.add(files, name, number)
    found.pieces = [
        piece
        for piece in found.pieces
        if piece.last_seq is None or piece.last_seq >= max(found.floor, piece.prev_seq + 1)
    ]
    return found


def _last_stamp(file: File, size: int) -> int | None:
    """The stamp of the file's present life: each life has higher seqs than the one before."""
    places = search(file, None, HEADER_BYTES, size)
    last = max(places, key=lambda place: place.frame.seq, default=None)
    return last.frame.stamp if last else None
