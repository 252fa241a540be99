"""Finds the end of a log at a start, and decides what a broken place is: a torn tail or damage.

The segments form a chain, each header naming the one before. The tip is the segment with the
highest number and a whole header; files that the chain does not reach are debris of attempts that
were never confirmed. Entries that some header or frame calls synced are not read here: replay
checks them. What comes behind them is checked whole:

    … ───── synced ─────┬── checked ──┬─ first broken place ─ rest
                        │             │  proof that it was synced? Damaged
                        │             │  else: cut, the log ends here
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mansio.log.base import Damaged
from mansio.log.entry import Lineage, entry_id
from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    HEADER_BYTES,
    MARK,
    Header,
    at_place,
    decode_frame,
    decode_header,
    parse_name,
    segment_name,
)
from mansio.log.segments.scan import Place, entry_is_whole, search, walk
from mansio.log.segments.segment import Segment

_UNCHECKED_MAX: Final = 64
"""Entries that wait for a later frame to prove them; the oldest is checked beyond that."""


class Cut(NamedTuple):
    """A torn tail that was cut off: `size` bytes from byte `offset` of a file. Nobody was told
    that they were durable."""

    name: str
    offset: int
    size: int


class State:
    """A log as it stands. `chain`: oldest segment first, the last one is written to.

    `synced`, `floor`: as in a frame. `tail_id`: entry_id of entry `lineage.last_seq`.
    """

    __slots__ = ("chain", "floor", "lineage", "synced", "tail_id")

    def __init__(self) -> None:
        self.chain: list[Segment] = []
        self.lineage = Lineage()
        self.tail_id = b""
        self.synced = 0
        self.floor = 1

    @property
    def last_seq(self) -> int:
        """Of the last entry, stale or not."""
        return self.chain[-1].last_seq if self.chain else 0


class Recovered(State):
    """What was found at a start. `dirty`: frames that were cut off may stand behind the end, so
    that the next entry needs a new segment. `debris`: files of no use."""

    __slots__ = ("cut", "debris", "dirty", "number_max", "spares")

    def __init__(self) -> None:
        super().__init__()
        self.cut: Cut | None = None
        self.dirty = False
        self.spares: list[str] = []
        self.debris: list[str] = []
        self.number_max = 0


def recover(files: Files, fresh: bool) -> Recovered:
    """Find the end of the log. Changes nothing on the disk.

    `fresh`: the log may never have been made, so that nothing at all is no damage.
    Errors: Damaged, NewerFormat, OSError.
    """
    found = Recovered()
    headers: dict[int, Header] = {}
    headless: list[int] = []
    for name in sorted(files.sizes()):
        parsed = parse_name(name)
        if parsed is None:
            continue
        number, spare = parsed
        header = _read_header(files, name, None if spare else number)
        found.number_max = max(found.number_max, number, header.number if header else 0)
        if spare:
            found.spares.append(name)
        elif header is None:
            headless.append(number)
        else:
            headers[number] = header
    if not headers:
        if not fresh:
            raise Damaged(
                "no segment has a whole header", 0, segment_name(max(headless, default=1))
            )
        found.debris = [segment_name(number) for number in headless]
        return found
    chain = _chain(headers)
    tail = _Tail(files, chain, found)
    tail.find_end()
    _check_headless(files, [n for n in headless if n > chain[-1].number], found)
    _drop_trimmed(found)
    kept = {segment.header.number for segment in found.chain}
    found.debris = [segment_name(n) for n in sorted({*headers, *headless} - kept)]
    return found


def _read_header(files: Files, name: str, number: int | None) -> Header | None:
    file = files.open(name, write=False)
    try:
        return decode_header(file.pread(HEADER_BYTES, 0), number, name)
    finally:
        file.close()


def _chain(headers: dict[int, Header]) -> list[Header]:
    header = headers[max(headers)]
    chain = [header]
    while header.before in headers and header.before < header.number:
        before = headers[header.before]
        if before.log != header.log:
            raise Damaged("a segment of another log", 0, segment_name(before.number))
        chain.append(before)
        header = before
    chain.reverse()
    return chain


class _Tail:
    """Walks what is not known to be synced."""

    def __init__(self, files: Files, chain: list[Header], found: Recovered) -> None:
        self._files = files
        self._chain = chain
        self._found = found
        self._unchecked: list[tuple[Place, int]] = []  # and the index of its segment
        self._hole: tuple[int, int, int] | None = None  # index of the segment, offset, seq
        self._hole_bytes = 0
        self._behind = False  # were there frames behind the hole?
        found.synced = max(header.synced for header in chain)
        found.floor = max(header.floor for header in chain)

    def find_end(self) -> None:
        """Set what `found` says about the end."""
        chain, found = self._chain, self._found
        index = len(chain) - 1
        while index and chain[index].prev_seq > found.synced:
            index -= 1
        for at in range(index):
            following = chain[at + 1]
            found.chain.append(Segment(chain[at], following.before_end, following.prev_seq))
        last_seq, end = 0, HEADER_BYTES
        while index < len(chain):
            last_seq, end, goes_on = self._walk(index)
            if not goes_on:
                break
            found.chain.append(Segment(chain[index], end, last_seq))
            index += 1
        self._check(0)
        if self._hole is not None:
            index, end, seq = self._hole
            last_seq = seq - 1
            del found.chain[index:]
        name = segment_name(chain[index].number)
        if found.synced > last_seq:
            what = f"entry {last_seq + 1} is missing or damaged, and it was durable"
            raise at_place(what, name, end, last_seq + 1)
        found.dirty = self._behind or index < len(chain) - 1
        if self._hole_bytes or found.dirty:
            found.cut = Cut(name, end, self._hole_bytes)
        found.chain.append(Segment(chain[index], end, last_seq))
        self._read_lineage(found.chain[-1])

    def _walk(self, index: int) -> tuple[int, int, bool]:
        """Walk one segment: (last seq, end, does the chain go on behind it?)."""
        header = self._chain[index]
        following = self._chain[index + 1] if index + 1 < len(self._chain) else None
        file = self._files.open(segment_name(header.number), write=False)
        try:
            size = self._files.sizes()[segment_name(header.number)]
            limit = size if following is None else following.before_end
            seq, end = header.prev_seq, HEADER_BYTES
            for place in walk(file, header.stamp, seq, end, limit):
                self._see(place)
                if place.frame.kind == ENTRY:
                    self._unchecked.append((place, index))
                    self._check(_UNCHECKED_MAX, file)
                    seq = place.frame.seq
                    end = place.end
                elif place.frame.kind == MARK:
                    end = place.end
            if following is not None and (seq, end) == (following.prev_seq, following.before_end):
                self._check(0, file)
                return seq, end, self._hole is None
            self._search(file, header, seq, end, limit)
            self._check(0, file)
            return seq, end, False
        finally:
            file.close()

    def _search(self, file: File, header: Header, seq: int, end: int, limit: int) -> None:
        for place in search(file, header.stamp, end, limit):
            self._see(place)
            if place.frame.seq > seq or place.frame.kind == MARK:
                self._behind = True

    def _see(self, place: Place) -> None:
        found = self._found
        found.synced = max(found.synced, place.frame.synced)
        found.floor = max(found.floor, place.frame.floor)

    def _check(self, left: int, file: File | None = None) -> None:
        """Check entries, the oldest first, until `left` of them wait, all in one segment's file."""
        while self._unchecked and self._unchecked[0][0].frame.seq <= self._found.synced:
            del self._unchecked[0]
        while len(self._unchecked) > left:
            place, index = self._unchecked.pop(0)
            if self._hole is not None:
                self._behind = True
            elif file is not None and not entry_is_whole(file, place):
                self._hole = index, place.offset, place.frame.seq
                self._hole_bytes = FRAME_BYTES + place.frame.length

    def _read_lineage(self, tip: Segment) -> None:
        """Who owns the log at its end, and what its last entry is."""
        header, found = tip.header, self._found
        lineage = found.lineage
        lineage.epoch, lineage.nonce = header.epoch, header.nonce
        lineage.last_seq, found.tail_id = header.lineage_seq, header.tail_id
        file = self._files.open(tip.name, write=False)
        try:
            last: Place | None = None
            for place in walk(file, header.stamp, header.prev_seq, HEADER_BYTES, tip.end):
                if place.frame.kind == ENTRY and self._admit(tip, place):
                    last = place
            if last is not None:
                at = last.end - 4
                found.tail_id = entry_id(last.head + file.pread(4, at))
        finally:
            file.close()

    def _admit(self, tip: Segment, place: Place) -> bool:
        """As Lineage.admit, of an entry whose head is what was written."""
        seq = place.frame.seq
        try:
            if not place.head_is_whole:
                raise Damaged("the head of the entry fails its check")
            return self._found.lineage.admit(seq, place.head + bytes(4))
        except Damaged as error:
            raise at_place(error.what, tip.name, place.offset, seq) from None


def _check_headless(files: Files, numbers: list[int], found: Recovered) -> None:
    """A file behind the tip without a header was never confirmed, unless its frames say so.

    They are all looked at, since what took the header may have taken the first of them too. Those
    of an earlier life of the file are no proof: they tell of entries below the end.
    """
    last_seq = found.chain[-1].last_seq
    for number in numbers:
        name = segment_name(number)
        file = files.open(name, write=False)
        try:
            first = decode_frame(file.pread(FRAME_BYTES, HEADER_BYTES), 0, None)
            stamp = first.stamp if first else None
            for place in search(file, stamp, HEADER_BYTES, files.sizes()[name]):
                if place.frame.synced > last_seq:
                    raise Damaged("the header is lost", 0, name)
        finally:
            file.close()


def _drop_trimmed(found: Recovered) -> None:
    """Leave out the segments that had been trimmed before the log ended."""
    chain = found.chain
    kept = next(
        (at for at, segment in enumerate(chain) if segment.last_seq >= found.floor), len(chain) - 1
    )
    del chain[:kept]
    header = chain[0].header
    if found.floor and header.prev_seq >= found.floor:
        what = f"the segment with entry {found.floor} and up to {header.prev_seq} is missing"
        raise at_place(what, segment_name(header.before), 0, found.floor)
