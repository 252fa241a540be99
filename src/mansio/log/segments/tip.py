"""Writes behind the last frame of a log: the segment that is written to, and its successors.

After a write or sync has failed, nobody knows what is on the disk, and a later sync may claim a
success that was none. So the file is spoiled: nothing is written to it again. The entry is written
once more, whole, to a new segment, whose header says where the spoiled one ends.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from zlib import crc32

from mansio.log.base import Full, Unavailable
from mansio.log.entry import HEAD_BYTES, Bytes
from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import (
    ENTRY,
    FRAME_BYTES,
    HEADER_BYTES,
    MARK,
    SEAL,
    Frame,
    Header,
    segment_name,
)
from mansio.log.segments.recovery import State
from mansio.log.segments.scan import BLOCK_BYTES, Place, entry_is_whole, walk
from mansio.log.segments.segment import Segment
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.spares import FULL, Spares

TAIL_BYTES: Final = 16 << 10
"""Kept free at the end of a segment for fences and marks, which must find room on a full disk."""
PAGE_BYTES: Final = 4096
"""Of the system's cache. A file's size is a multiple."""
UNCACHE_BYTES: Final = 2 << 20
CACHED_SEGMENTS: Final = 4
"""A log that grows beyond these, which come and go, leaves the system's cache in steps of so many bytes: what is read
again has a budget in memory of its own, and to find fresh memory for every page took 3 times as long as the write to
the disk itself, in a virtual machine (Linux 6.18: 1 MiB in 3.4 ms, or 0.9 ms with pages that were let go of)."""


class _Start(NamedTuple):
    """A segment that is not in the chain yet."""

    segment: Segment
    file: File
    header: bytes


class Tip:
    """The end of the log that `state` describes, and keeps it up to date."""

    def __init__(
        self,
        files: Files,
        settings: StoreSettings,
        state: State,
        spares: Spares,
        log: int,
        token: Callable[[], int],
    ) -> None:
        """`log`: the id of the log. `token`: gives 64 random bits."""
        self._files = files
        self._state = state
        self._spares = spares
        self._log = log
        self._token = token
        self._scratch = settings.scratch
        self._durable = settings.sync == "always" and not settings.scratch
        self._lazy = settings.sync != "always" and not settings.scratch
        self._file: File | None = None
        self._sealed = False
        self._cached_from = 0  # in the current file
        self._proven = self._owner()
        self.unsynced = False
        """Was anything written since the last sync, and should be synced some time?"""

    def write(self, size: int, first: Bytes, rest: Iterable[Bytes], urgent: bool) -> None:
        """Append an entry of `size` bytes, given as its first bytes and, if it is large, the rest.

        `urgent`: it may use the room that is kept for fences. Errors: Full, nothing was written;
        Unavailable, something may have been.
        """
        margin = FRAME_BYTES if urgent else TAIL_BYTES
        attempts = 2 if len(first) == size else 1
        failure: OSError | None = None
        for _ in range(attempts):
            start: _Start | None = None
            try:
                if not self._fits(size, margin):
                    self.sync()
                if not self._fits(size, margin):
                    start = self._start(size)
            except OSError as error:
                if failure is None and error.errno in FULL:
                    raise Full(f"no room for {size} bytes: {error}") from None
                failure = error
                continue
            try:
                self._put_entry(start, size, first, rest)
            except OSError as error:
                failure = error
                self._spoil(start)
            else:
                return
        raise Unavailable(f"cannot write to the log: {failure}") from failure

    def mark(self) -> None:
        """Make the state's floor durable. Errors: OSError."""
        if not self._fits(0, FRAME_BYTES):
            self.start_anew()
            return
        segment, file = self._current()
        try:
            file.pwritev([self._frame(MARK, segment)], segment.end, self._durable)
        except OSError:
            segment.spoiled = True
            raise
        segment.add_mark()
        self._sealed = False
        self.unsynced = self._lazy
        self.sync()

    def start_anew(self) -> None:
        """Begin a new segment before the present one is full. Errors: OSError."""
        self.sync()
        start = self._start(0)
        try:
            start.file.pwritev([start.header], 0, not self._scratch)
            self._join(start)
        except OSError:
            self._spoil(start)
            raise

    def seal(self) -> None:
        """Say behind the last entry that it was written whole, unless that is said already."""
        if self._sealed or not self._state.chain or self._state.chain[-1].spoiled:
            return
        self._sealed = True
        segment, file = self._current()
        if segment.end + FRAME_BYTES <= segment.header.capacity:
            try:
                file.pwritev([self._frame(SEAL, segment)], segment.end, False)
            except OSError:
                segment.spoiled = True

    def uncache(self) -> None:
        """Let the system forget what is durable, from time to time."""
        chain = self._state.chain
        if self._durable and len(chain) > CACHED_SEGMENTS and self._file is not None:
            length = chain[-1].end - self._cached_from
            if length > UNCACHE_BYTES:
                self._file.uncache(self._cached_from, length)
                self._cached_from += length - length % PAGE_BYTES

    def sync(self) -> None:
        """Make everything durable that is not. Errors: OSError."""
        if not self.unsynced:
            return
        segment, file = self._current()
        if not segment.spoiled:
            try:
                file.sync()
            except OSError:
                segment.spoiled = True
        if segment.spoiled:
            self._move_unsynced(segment, file)
        self.unsynced = False
        self._state.synced = self._state.last_seq
        self._proven = self._owner()
        self._sealed = False

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fits(self, size: int, margin: int) -> bool:
        if not self._state.chain:
            return False
        segment = self._state.chain[-1]
        end = segment.end + FRAME_BYTES + size + margin
        return not segment.spoiled and end <= segment.header.capacity

    def _current(self) -> tuple[Segment, File]:
        segment = self._state.chain[-1]
        if self._file is None:
            self._file = self._files.open(segment.name)
        return segment, self._file

    def _frame(self, kind: int, segment: Segment, length: int = 0, head: Bytes = b"") -> bytes:
        state, stamp = self._state, segment.header.stamp
        seq = segment.last_seq + (kind == ENTRY)
        return Frame(kind, length, stamp, seq, state.synced, state.floor, crc32(head)).encode()

    def _owner(self) -> tuple[int, int, int, bytes]:
        """What a header says of the owner of all entries so far."""
        lineage = self._state.lineage
        return lineage.epoch, lineage.nonce, lineage.last_seq, self._state.tail_id

    def _start(self, size: int) -> _Start:
        """A segment behind the last one, with room for an entry."""
        before = self._state.chain[-1] if self._state.chain else None
        end, seq = (before.end, before.last_seq) if before else (0, 0)
        return self._start_behind(before, end, seq, self._owner(), FRAME_BYTES + size)

    def _start_behind(
        self,
        before: Segment | None,
        before_end: int,
        prev_seq: int,
        owner: tuple[int, int, int, bytes],
        size: int,
    ) -> _Start:
        state, spares = self._state, self._spares
        need = HEADER_BYTES + size + TAIL_BYTES
        capacity = spares.segment_bytes
        if need > capacity:
            capacity = -(-need // HEADER_BYTES) * HEADER_BYTES
        number = spares.take_number()
        try:
            file = spares.start_segment(number, capacity)
        except OSError as error:
            if error.errno not in FULL:
                spares.discard(segment_name(number))
            raise
        number_before = before.header.number if before else 0
        header = Header(
            capacity, self._log, self._token(), number, number_before, before_end,
            prev_seq, state.synced, state.floor, *owner,
        )  # fmt: skip
        return _Start(Segment(header, HEADER_BYTES, prev_seq), file, header.encode())

    def _move_unsynced(self, segment: Segment, file: File) -> None:
        """Write what a failed sync may have lost, and can still be read, to a new segment."""
        chain = self._state.chain
        seq = max(self._state.synced, segment.header.prev_seq)
        before: Segment | None = segment
        if seq > segment.header.prev_seq:
            end = source = segment.find(file, seq).end
        else:  # nothing of it is kept, perhaps not even its header
            before, source = chain[-2] if len(chain) > 1 else None, HEADER_BYTES
            end = before.end if before else 0
        start = self._start_behind(before, end, seq, self._proven, segment.end - source)
        try:
            start.file.pwritev([start.header], 0, True)
            for place in walk(file, segment.header.stamp, seq, source, segment.end):
                if place.frame.kind == ENTRY:
                    self._copy(file, place, start)
            if start.segment.last_seq != segment.last_seq:
                raise OSError(errno.EIO, "what was not synced cannot be read any more")
            self._join(start)
        except OSError:
            self._spoil(start)
            raise
        if before is segment:
            segment.end, segment.last_seq = end, seq
        else:
            chain.remove(segment)
            self._spares.discard(segment.name)

    def _copy(self, file: File, place: Place, start: _Start) -> None:
        if not entry_is_whole(file, place):
            raise OSError(errno.EIO, "what was not synced cannot be read any more")
        target, frame = start.segment, place.frame
        head = self._frame(ENTRY, target, frame.length, place.head)
        start.file.pwritev([head], target.end, True)
        source, left = place.offset + FRAME_BYTES, frame.length
        offset = target.end + FRAME_BYTES
        while left:
            data = file.pread(min(left, BLOCK_BYTES), source)
            start.file.pwritev([data], offset, True)
            source, offset, left = source + len(data), offset + len(data), left - len(data)
        target.add(frame.seq, target.end, frame.length)

    def _put_entry(
        self, start: _Start | None, size: int, first: Bytes, rest: Iterable[Bytes]
    ) -> None:
        if start is None:
            segment, file = self._current()
            offset, parts = segment.end, []
        else:
            segment, file, header = start
            offset, parts = 0, [header]
        frame = self._frame(ENTRY, segment, size, first[:HEAD_BYTES])
        padding = _padding(segment.end, FRAME_BYTES + len(first)) if len(first) == size else b""
        file.pwritev([*parts, frame, first, padding], offset, self._durable)
        offset = segment.end + FRAME_BYTES + len(first)
        for part in rest:
            file.pwritev([part], offset, self._durable)
            offset += len(part)
        if start is not None:
            self._join(start)
        seq = segment.last_seq + 1
        segment.add(seq, segment.end, size)
        self._sealed = False
        if self._durable:
            self._state.synced = seq
        else:
            self.unsynced = self._lazy

    def _join(self, start: _Start) -> None:
        """Make a segment, whose header has been written, the last one of the chain."""
        if not self._scratch:
            self._files.sync_dir()
        self.uncache()
        self.close()
        self._file = start.file
        self._cached_from = 0
        self._state.chain.append(start.segment)
        self._sealed = False

    def _spoil(self, start: _Start | None) -> None:
        """A write failed. The header of a new segment may be on the disk and say where the last one
        ends, so that nothing may follow there either."""
        if self._state.chain:
            self._state.chain[-1].spoiled = True
        if start is not None:
            start.file.close()
            self._spares.discard(start.segment.name)


def _padding(offset: int, length: int) -> bytes:
    """Zeros up to the end of the page in which a write ends that it begins: if that page had something in it once and
    is not in memory, the system would have to read it first."""
    end = offset + length
    if offset // PAGE_BYTES == end // PAGE_BYTES:
        return b""
    return bytes(-end % PAGE_BYTES)
