"""A log in segment files, synchronous, for one process at a time. It is what MemoryStore is in memory.

    spare ──► segment that is written to ──► full segment ──trim──► spare, or gone

Numbers and names are in layout.py, finding the end at a start in recovery.py, writing in tip.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mansio.log.base import EPOCH_MAX, NONCE_MAX, Bounds, Fenced, Full, Missing, Space, Unavailable
from mansio.log.entry import HEAD_BYTES, Bytes, encode_fence, read_owner
from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import FRAME_BYTES, HEADER_BYTES
from mansio.log.segments.recovery import Cut, recover
from mansio.log.segments.replay import Extent
from mansio.log.segments.segment import Segment
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.spares import SPARES_MAX, Spares
from mansio.log.segments.tip import TAIL_BYTES, Tip

FILES_MAX: Final = 64
"""Open files for reading; the one that was not used for longest is closed."""
RESERVED_SEGMENTS: Final = 2
"""Beside the limit of free space, what is kept for acknowledgements and for records that are carried."""
_REWRITE_BYTES: Final = 1 << 20


class SegmentStore:
    """`cut`: the torn tail that was cut off at this start, if any. `low`: see Space. `room_bytes`: see Log.

    Calls of `append` and `land` that raise Unavailable may have written their entry.
    """

    def __init__(
        self, files: Files, settings: StoreSettings, token: Callable[[], int], fresh: bool = True
    ) -> None:
        """Recover the log, or make it. `token`: gives 64 random bits.

        `fresh`: it may not have been made yet. Errors: Damaged, NewerFormat, OSError.
        """
        self._files = files
        if settings.scratch:
            for name in files.sizes():
                files.unlink(name)
        found = recover(files, fresh)
        self.cut: Cut | None = found.cut
        self.low = False
        self.room_bytes = 0
        self._state = found
        segment_bytes, self._free_min_bytes = settings.fitted(files.space()[1])
        self._spares = Spares(files, found.spares, found.number_max, segment_bytes)
        log = found.chain[0].header.log if found.chain else token()
        self._tip = Tip(files, settings, found, self._spares, log, token)
        self._readers: OrderedDict[int, File] = OrderedDict()
        self._short = False  # did making a spare fail?
        self._looked_at: Segment | None = None  # the last one when the space was looked at
        if found.chain and not settings.scratch:
            self._make_sure()
        sizes = files.sizes()
        for name in found.debris:
            self._spares.retire(name, sizes[name])
        if not found.chain:
            self._tip.start_anew()
        elif found.dirty:
            found.chain[-1].spoiled = True
        self.tend()
        self._look()

    def bounds(self) -> Bounds:
        """As Log.bounds."""
        lineage = self._state.lineage
        return Bounds(self._state.chain[0].header.prev_seq + 1, lineage.last_seq, lineage.epoch)

    def open(self, epoch: int, nonce: int) -> int:
        """As Log.open."""
        if not (1 <= epoch <= EPOCH_MAX and 0 <= nonce <= NONCE_MAX):
            raise ValueError(f"epoch {epoch} or nonce {nonce} is out of range")
        lineage = self._state.lineage
        if epoch <= lineage.epoch:
            raise Fenced(f"epoch {epoch} is not above {lineage.epoch}, which has been opened")
        fence = encode_fence(epoch, nonce, lineage.last_seq)
        try:
            return self._land(len(fence), fence, (), urgent=True)
        except Full as error:
            raise Unavailable(str(error)) from None

    def append(self, entry: bytes) -> int:
        """As Log.append, for the owner and place that stand in the entry."""
        return self.append_parts(len(entry), entry, ())

    def append_parts(self, size: int, first: Bytes, rest: Iterable[Bytes]) -> int:
        """As append, of an entry of `size` bytes given as its first bytes and the rest.

        `first`: at least the head. Nothing is kept of them. `rest` may be left unread after an error,
        and is read only to compare it where the entry may be the last one once more.
        """
        _, epoch, nonce, expected_seq = read_owner(first)
        lineage = self._state.lineage
        if epoch != lineage.epoch or nonce != lineage.nonce:
            raise Fenced(f"epoch {epoch} is over, the log is in epoch {lineage.epoch}")
        if expected_seq != lineage.last_seq:
            head = bytes(first[:HEAD_BYTES])
            if self._state.tail_id[:HEAD_BYTES] == head:
                ends = _Ends(first, rest)
                for _ in ends:
                    pass
                if head + ends.last == self._state.tail_id:
                    return lineage.last_seq
            raise Fenced(f"the last entry is seq {lineage.last_seq}, not {expected_seq}")
        return self._land(size, first, rest, urgent=False)

    def land(self, entry: bytes) -> int:
        """Put an entry at the end whoever wrote it."""
        return self._land(len(entry), entry, (), urgent=False)

    def read(self, seq: int, offset: int, length: int) -> bytes:
        """As Log.read."""
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} or length {length} is negative")
        bounds = self.bounds()
        if not bounds.first_seq <= seq <= bounds.last_seq:
            raise Missing(f"seq {seq} is not within {bounds}")
        chain = self._state.chain
        segment = chain[bisect_left(chain, seq, key=_last_seq)]
        try:
            file = self._reader(segment)
            place = segment.find(file, seq)
            length = min(length, place.frame.length - offset)
            if length <= 0:
                return b""
            return file.pread(length, place.offset + FRAME_BYTES + offset)
        except OSError as error:
            raise Unavailable(f"cannot read the log: {error}") from error

    def trim(self, epoch: int, upto_seq: int) -> None:
        """As Log.trim, for the owner of this epoch."""
        state = self._state
        if epoch != state.lineage.epoch:
            raise Fenced(f"epoch {epoch} is over")
        try:
            self._drop(upto_seq)
            tip = state.chain[-1]
            if upto_seq >= tip.last_seq and tip.header.capacity > self._spares.segment_bytes:
                self._tip.start_anew()
                self._drop(upto_seq)
        except OSError as error:
            raise Unavailable(f"cannot trim the log: {error}") from error
        finally:
            self._short = False

    def sync(self) -> None:
        """Make every entry durable, under a policy that has not done so. Errors: Unavailable."""
        try:
            self._tip.sync()
        except OSError as error:
            raise Unavailable(f"cannot sync the log: {error}") from error

    @property
    def unsynced(self) -> bool:
        """Is there anything for `sync` to do?"""
        return self._tip.unsynced

    def tend(self) -> bool:
        """Do what can wait until nobody waits: the seal, the reserve, the removal of files.

        Answers whether there is more to do; each call takes milliseconds at most.
        """
        self._tip.seal()
        self._tip.uncache()
        if self._lacks_spares:
            try:
                self._spares.make()
            except OSError:
                self._short = True
        more = self._spares.remove_one() or self._lacks_spares
        if not more and self._looked_at is not self._state.chain[-1]:
            self._look()
        return more

    @property
    def _lacks_spares(self) -> bool:
        """Is one to be made? The second one has time until the segment is half full: until then, most likely one has
        been retired, whose blocks are cheaper to write to."""
        tip = self._state.chain[-1]
        half_full = tip.end * 2 > tip.header.capacity
        return len(self._spares) < (SPARES_MAX if half_full else 1) and not self._short

    def measure(self) -> Space:
        """Look at the space. Errors: Unavailable."""
        try:
            free_bytes, _ = self._files.space()
            used_bytes = sum(self._files.sizes().values())
        except OSError as error:
            raise Unavailable(f"cannot read the log's directory: {error}") from error
        self._weigh(free_bytes)
        return Space(self.low, free_bytes, used_bytes, len(self._state.chain))

    def space(self) -> Space:
        """Look at the space, and try again to complete the reserve. Errors: Unavailable."""
        self._short = False
        while self.tend() and self.low:
            self._look()
        return self.measure()

    def extents(self) -> list[Extent]:
        """The segments, oldest first, as they are now."""
        return [
            Extent(head.number, head.stamp, head.prev_seq, segment.end,
                   head.epoch, head.nonce, head.lineage_seq)
            for segment in self._state.chain for head in (segment.header,)
        ]  # fmt: skip

    def close(self) -> None:
        """Sync, seal and let go of the files."""
        try:
            self._tip.sync()
        except OSError:
            pass  # nobody was told that it is durable
        self._tip.seal()
        self._tip.close()
        for file in self._readers.values():
            file.close()
        self._readers.clear()

    def _look(self) -> None:
        """Look at the space, without raising anything."""
        try:
            self._weigh(self._files.space()[0])
        except OSError:
            self._weigh(0)

    def _weigh(self, free_bytes: int) -> None:
        """Say what room there is, beside the segment that is written to.

        Two segments that follow each other hold more than one could, but each may be half empty, since an entry is
        not divided. Without any it is low, until there is room for a segment.
        """
        self._looked_at = self._state.chain[-1]
        unit = self._spares.segment_bytes
        left = free_bytes + len(self._spares) * unit
        left -= self._free_min_bytes + RESERVED_SEGMENTS * unit
        room_bytes = left * (unit - HEADER_BYTES - TAIL_BYTES) // (2 * unit)
        self.low = left < (unit if self.low else 1)
        self.room_bytes = 0 if self.low else room_bytes

    def _land(self, size: int, first: Bytes, rest: Iterable[Bytes], urgent: bool) -> int:
        state = self._state
        head = bytes(first[:HEAD_BYTES])
        ends = _Ends(first, rest)
        self._tip.write(size, first, ends, urgent)
        if self._looked_at is not state.chain[-1]:
            self._look()
        seq = state.last_seq
        if state.lineage.admit(seq, head + ends.last):
            state.tail_id = head + ends.last
        return seq

    def _reader(self, segment: Segment) -> File:
        number = segment.header.number
        file = self._readers.get(number)
        if file is None:
            file = self._readers[number] = self._files.open(segment.name, write=False)
            if len(self._readers) > FILES_MAX:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(number)
        return file

    def _drop(self, upto_seq: int) -> None:
        """Let go of whole segments from the front, when it is durable that they may be missing."""
        state, chain = self._state, self._state.chain
        count = 0
        while count < len(chain) - 1 and chain[count].last_seq <= upto_seq:
            count += 1
        if not count:
            return
        state.floor = chain[count].header.prev_seq + 1
        self._tip.mark()
        trimmed = chain[:count]
        del chain[:count]
        self._looked_at = None
        for segment in trimmed:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        file = self._readers.pop(segment.header.number, None)
        if file is not None:
            file.close()
        if segment.spoiled:
            self._spares.discard(segment.name)
        else:
            self._spares.retire(segment.name, segment.header.capacity)

    def _make_sure(self) -> None:
        """Write what is not proven to be durable again, in its place; at least in the last segment.

        It was read, but perhaps from memory: a sync of an earlier process may have failed, and
        another sync would not say so. The same bytes can be written over themselves safely.
        """
        state = self._state
        for segment in state.chain:
            tip = segment is state.chain[-1]
            if not tip and segment.last_seq <= state.synced:
                continue
            file = self._files.open(segment.name)
            try:
                offset = HEADER_BYTES
                if segment.header.prev_seq < state.synced:
                    offset = segment.find(file, state.synced).end
                file.pwritev([segment.header.encode()], 0, True)
                while offset < segment.end:
                    data = file.pread(min(_REWRITE_BYTES, segment.end - offset), offset)
                    file.pwritev([data], offset, True)
                    offset += len(data)
            finally:
                file.close()
        self._files.sync_dir()
        state.synced = state.last_seq


class _Ends:
    """The parts of an entry behind its first one, and what its last 4 bytes were."""

    __slots__ = ("_rest", "last")

    def __init__(self, first: Bytes, rest: Iterable[Bytes]) -> None:
        self.last = bytes(first[-4:])
        self._rest = rest

    def __iter__(self) -> Iterator[Bytes]:
        for part in self._rest:
            self.last = (self.last + bytes(part[-4:]))[-4:]
            yield part


def _last_seq(segment: Segment) -> int:
    return segment.last_seq
