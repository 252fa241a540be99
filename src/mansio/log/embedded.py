"""The embedded engine: a log in a directory of this machine, written by a process of its own.

    EmbeddedLog ──► Engine ──► StoreProcess ══socket pair══► child.py ──► SegmentStore ──► files
     a handle        lock, FORMAT                            another process

`Engine` is what several handles share; an EmbeddedLog makes its own unless it is given one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from mansio.log.base import (
    EPOCH_MAX,
    NONCE_MAX,
    Bounds,
    Capabilities,
    Damaged,
    Fenced,
    LogError,
    Missing,
    Space,
    Unavailable,
)
from mansio.log.directory import DataDirectory, LockedError, process_is_there
from mansio.log.entry import ENTRY_BYTES_MAX, FENCE, Bytes, Entry, read_owner
from mansio.log.process import Reply, StoreProcess
from mansio.log.prompt import Prompt
from mansio.log.segments.files import DiskFiles
from mansio.log.segments.recovery import Cut
from mansio.log.segments.replay import Extent, replay_segment
from mansio.log.segments.settings import StoreSettings
from mansio.log.wire import (
    APPEND,
    BOUNDS,
    BOUNDS_ANSWER,
    EXTENT_ANSWER,
    EXTENTS,
    NUMBER_MAX,
    OPEN,
    READ,
    READ_ITEM,
    READ_SIZE,
    SPACE,
    SPACE_ANSWER,
    TRIM,
)

ORPHAN_S: Final = 10.0
"""How long a start waits for the store's process of a broker that was killed."""
_ORPHAN_POLL_S: Final = 0.05
DEPTH: Final = 2
"""While one entry is written the next one is on its way to the log's process, which would otherwise wait for us, 150 to
350 us each time (measured at 5,000 messages a second). A third one would only make entries smaller."""
_REPLAY_TURN_NS: Final = 10_000_000
"""How long replay keeps the loop before others get a turn."""


class Engine:
    """A data directory that is in use by this process, and the process of its store."""

    def __init__(self, path: Path, settings: StoreSettings | None = None) -> None:
        """Nothing is touched yet."""
        self.directory = DataDirectory(path)
        self._settings = settings or StoreSettings()
        self.process = StoreProcess(self.directory.segments, self._settings)
        self._starting = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Take the directory and start the store.

        Waits for the store of a broker that was killed and has something to finish.
        Errors: LockedError, NewerFormat, DirectoryError, Damaged, Unavailable.
        """
        deadline = time.monotonic() + ORPHAN_S
        while self.directory.lock_fd is None:
            try:
                self._take()
            except LockedError as error:
                alive = error.pid is not None and process_is_there(error.pid)
                if alive or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_ORPHAN_POLL_S)
        fresh = self.process.fresh
        try:
            await self.process.start()
            if fresh:
                self.directory.write_format()
                self.process.fresh = False
        except BaseException:
            await self.close()
            raise

    def submit(self, op: int, behind: Bytes) -> Prompt:
        """As StoreProcess.submit. Errors: Unavailable, at once or later."""
        if self._closed:
            raise Unavailable("the log is closed")
        if self.directory.lock_fd is None:
            self._take()
        return self.process.submit(op, behind)

    async def call(self, op: int, a: int = 0, b: int = 0, behind: Bytes = b"") -> Reply:
        """As StoreProcess.call; after `close`: Unavailable."""
        if self.directory.lock_fd is None:
            async with self._starting:
                if self.directory.lock_fd is None and not self._closed:
                    await self.start()
        if self._closed:
            raise Unavailable("the log is closed")
        return await self.process.call(op, a, b, behind)

    async def close(self) -> None:
        """Let the store finish, then let go of the directory."""
        self._closed = True
        await self.process.close()
        self.directory.release()

    def _take(self) -> None:
        self.process.fresh = not self.directory.take() or self._settings.scratch
        self.process.lock_fd = self.directory.lock_fd


class EmbeddedLog:
    """A handle on the log in a directory. Keeps the contract in base.py."""

    def __init__(
        self,
        directory: Path,
        settings: StoreSettings | None = None,
        engine: Engine | None = None,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
    ) -> None:
        """`engine`: shared with other handles; whoever made it closes it."""
        self.progress = (0, 0)
        """Bytes that the replay under way has read, and bytes that it will read in all."""
        self._own_engine = engine is None
        self._engine = engine or Engine(directory, settings)
        self._capabilities = Capabilities(True, False, entry_bytes_max, DEPTH)
        self._owner: tuple[int, int] | None = None
        self._opening = False
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """As Log.capabilities."""
        return self._capabilities

    @property
    def low(self) -> bool:
        """As Space.low, as of the last answer of the store."""
        return self._engine.process.low

    @property
    def room_bytes(self) -> int:
        """As Log.room_bytes."""
        return self._engine.process.room_bytes

    @property
    def cut(self) -> Cut | None:
        """The torn tail that the last start cut off, if any."""
        return self._engine.process.cut

    async def start(self) -> None:
        """As Engine.start. Without it, the first call starts the store."""
        await self._engine.start()

    async def open(self, epoch: int, nonce: int = 0) -> int:
        """As Log.open."""
        if self._closed or self._owner is not None or self._opening:
            raise Fenced("a handle is opened once")
        if not (1 <= epoch <= EPOCH_MAX and 0 <= nonce <= NONCE_MAX):
            raise ValueError(f"epoch {epoch} or nonce {nonce} is out of range")
        self._opening = True
        try:
            seq, _ = await self._engine.call(OPEN, epoch, nonce)
            self._owner = (epoch, nonce)
        finally:
            self._opening = False
        return seq

    def append(self, entry: bytes, expected_seq: int) -> Prompt:
        """As Log.append. A plain function, so that the entry is on its way when it returns."""
        try:
            self._check_append(entry, expected_seq)
            return self._engine.submit(APPEND, entry)
        except (LogError, ValueError) as error:
            failed = Prompt()
            failed.set_exception(error)
            return failed

    def _check_append(self, entry: bytes, expected_seq: int) -> None:
        owner = self._own()
        if len(entry) > self._capabilities.entry_bytes_max:
            raise ValueError(f"an entry of {len(entry)} bytes exceeds the largest one")
        flags, epoch, nonce, prev_seq = read_owner(entry)
        if (epoch, nonce) != owner or prev_seq != expected_seq or flags & FENCE:
            raise ValueError(f"entry of owner {(epoch, nonce)} behind seq {prev_seq}, flags {flags}"
                             f" appended by owner {owner} behind seq {expected_seq}")  # fmt: skip

    async def replay(self, from_seq: int = 1) -> AsyncIterator[tuple[int, Entry]]:
        """As Log.replay, read in this process from the files. `progress` says how far it is."""
        end_seq = (await self.bounds()).last_seq
        next_seq = from_seq
        while next_seq <= end_seq:
            try:
                async for seq, entry in self._replay(next_seq, end_seq):
                    next_seq = seq + 1
                    if entry is not None:
                        yield seq, entry
                return
            except (Damaged, OSError) as error:
                # A segment that was trimmed meanwhile may be gone, or have a new life.
                first_seq = (await self.bounds()).first_seq
                if first_seq <= next_seq:
                    if isinstance(error, OSError):
                        raise Unavailable(f"cannot read the log: {error}") from error
                    raise
                next_seq = first_seq

    async def read(self, seq: int, offset: int, length: int) -> bytes:
        """As Log.read."""
        return bytes((await self.read_many([(seq, offset, length)]))[0])

    async def read_many(
        self, items: Sequence[tuple[int, int, int]]
    ) -> Sequence[bytes | memoryview]:
        """As Log.read_many."""
        self._reach()
        for seq, offset, length in items:
            if offset < 0 or length < 0:
                raise ValueError(f"offset {offset} or length {length} is negative")
            if not 0 < seq <= NUMBER_MAX:
                raise Missing(f"there is no seq {seq}")
        request = b"".join(READ_ITEM.pack(*item) for item in items)
        _, behind = await self._engine.call(READ, behind=request)
        found: list[memoryview] = []
        view = memoryview(behind)
        at = 0
        for _ in items:
            start = at + READ_SIZE.size
            at = start + READ_SIZE.unpack_from(view, at)[0]
            found.append(view[start:at])
        return found

    async def trim(self, upto_seq: int) -> None:
        """As Log.trim."""
        epoch, _ = self._own()
        await self._engine.call(TRIM, epoch, min(max(upto_seq, 0), NUMBER_MAX))

    async def bounds(self) -> Bounds:
        """As Log.bounds."""
        self._reach()
        _, behind = await self._engine.call(BOUNDS)
        return Bounds(*BOUNDS_ANSWER.unpack(behind))

    async def space(self) -> Space:
        """As Log.space."""
        self._reach()
        _, behind = await self._engine.call(SPACE)
        low, *sizes = SPACE_ANSWER.unpack(behind)
        return Space(bool(low), *sizes)

    async def close(self) -> None:
        """As Log.close."""
        self._closed = True
        if self._own_engine:
            await self._engine.close()
        else:
            await self._engine.process.drain()

    async def _replay(self, from_seq: int, end_seq: int) -> AsyncIterator[tuple[int, Entry | None]]:
        self._reach()
        _, behind = await self._engine.call(EXTENTS)
        extents = [Extent(*fields) for fields in EXTENT_ANSWER.iter_unpack(behind)]
        while len(extents) > 1 and extents[1].prev_seq < from_seq:
            del extents[0]
        files = DiskFiles(self._engine.directory.segments)
        done, total = 0, sum(extent.end for extent in extents)
        turn_ns = time.monotonic_ns()
        for extent in extents:
            file = files.open(extent.name, write=False)
            try:
                for seq, end, entry in replay_segment(file, extent, from_seq):
                    if seq > end_seq:
                        return
                    self.progress = (done + end, total)
                    yield seq, entry
                    if time.monotonic_ns() - turn_ns > _REPLAY_TURN_NS:
                        await asyncio.sleep(0)
                        turn_ns = time.monotonic_ns()
            finally:
                file.close()
            done += extent.end
        self.progress = (total, total)

    def _own(self) -> tuple[int, int]:
        if self._closed or self._owner is None:
            raise Fenced("this handle is not open")
        return self._owner

    def _reach(self) -> None:
        if self._closed:
            raise Unavailable("this handle is closed")
