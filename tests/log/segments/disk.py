"""A disk that loses what was not synced: a file layer for the store, driven by one seed.

Every sector of 512 bytes is written whole or not at all. Since it was last synced, a sector may
have been written several times; a power cut leaves any one of these states, for each sector on its
own: so writes are lost, torn and reordered. Names behave in the same way, as operations that are
whole or not at all: any of them may be lost, except that one that builds on another (same name or
same file) needs it.

Faults: a call can fail with EIO, or ENOSPC. A failed sync or durable write leaves its bytes readable,
as the page cache does, but the disk keeps some old sectors for good: no later sync writes them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from mansio.log.entry import Bytes

SECTOR = 512


class PowerCut(BaseException):
    """The machine stops here. Not an Exception: nothing may catch it."""


@dataclass(slots=True)
class Inode:
    """`now`: what reads see. `stable`: what is on the disk. `dirty`: by sector, the states that it may
    have at a cut besides the one in `stable`."""

    now: bytearray = field(default_factory=bytearray)
    stable: bytearray = field(default_factory=bytearray)
    dirty: dict[int, list[bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class NameChange:
    """`old` None: a new name. `new` None: an unlink."""

    old: str | None
    new: str | None
    inode: Inode


@dataclass(slots=True)
class Faults:
    """Chances of a call to fail with EIO, by what it does; `full`: of `create`, with ENOSPC."""

    write: float = 0.0
    sync: float = 0.0
    names: float = 0.0
    full: float = 0.0


class Disk:
    """One directory. Give it to a `ModelFiles`, cut it, give it to the next one."""

    def __init__(self, rng: Random, room_bytes: int = 1 << 40) -> None:
        self.rng = rng
        self.room_bytes = room_bytes
        self.faults = Faults()
        self.names: dict[str, Inode] = {}
        self.cut_in = -1  # calls until the power is cut; negative: never
        self.calls = 0
        self._stable_names: dict[str, Inode] = {}
        self._changes: list[NameChange] = []

    def cut(self) -> None:
        """Become what the disk is after a power cut."""
        rng = self.rng
        lost_names: set[str] = set()
        lost_inodes: set[int] = set()
        for change in self._changes:
            names = {name for name in (change.old, change.new) if name is not None}
            if names & lost_names or id(change.inode) in lost_inodes or rng.random() < 0.5:
                lost_names |= names
                lost_inodes.add(id(change.inode))
                continue
            self._apply(change)
        self._changes.clear()
        self.names = dict(self._stable_names)
        for inode in self.names.values():
            for sector, states in inode.dirty.items():
                state = rng.choice([None, *states])
                if state is not None:
                    self._settle(inode, sector, state)
            inode.dirty.clear()
            inode.now = bytearray(inode.stable)
        self.cut_in = -1

    def step(self, chance: float = 0.0) -> None:
        """Every call comes through here, before its effect."""
        self.calls += 1
        if self.cut_in >= 0:
            self.cut_in -= 1
            if self.cut_in < 0:
                raise PowerCut
        if chance and self.rng.random() < chance:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def find(self, name: str) -> Inode:
        """The file with a name. Errors: FileNotFoundError."""
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.names[name]

    def change(self, old: str | None, new: str | None, inode: Inode) -> None:
        """Change a name, not durably."""
        self._changes.append(NameChange(old, new, inode))
        if old is not None:
            del self.names[old]
        if new is not None:
            self.names[new] = inode

    def sync_names(self) -> None:
        """Make all names durable."""
        for change in self._changes:
            self._apply(change)
        self._changes.clear()

    def write(self, inode: Inode, data: bytes, offset: int) -> None:
        """Write, not durably."""
        end = offset + len(data)
        if len(inode.now) < end:
            inode.now.extend(bytes(end - len(inode.now)))
        inode.now[offset:end] = data
        for sector in range(offset // SECTOR, -(-end // SECTOR)):
            state = bytes(inode.now[sector * SECTOR : (sector + 1) * SECTOR])
            inode.dirty.setdefault(sector, []).append(state)

    def flush(self, inode: Inode, sectors: Sequence[int]) -> None:
        """Make sectors durable; every one of them is a call of its own for the power cut."""
        for sector in sectors:
            states = inode.dirty.pop(sector, None)
            if states is not None:
                self._settle(inode, sector, states[-1])

    def lose(self, inode: Inode, sectors: Sequence[int]) -> None:
        """A sync of these sectors failed: some are on the disk, the others never will be."""
        for sector in sectors:
            states = inode.dirty.pop(sector, None)
            if states is not None and self.rng.random() < 0.5:
                self._settle(inode, sector, states[-1])

    def _settle(self, inode: Inode, sector: int, state: bytes) -> None:
        start = sector * SECTOR
        if len(inode.stable) < start + len(state):
            inode.stable.extend(bytes(start + len(state) - len(inode.stable)))
        inode.stable[start : start + len(state)] = state

    def _apply(self, change: NameChange) -> None:
        if change.old is not None:
            self._stable_names.pop(change.old, None)
        if change.new is not None:
            self._stable_names[change.new] = change.inode


class ModelFile:
    """An open file of a Disk."""

    def __init__(self, disk: Disk, inode: Inode, honest: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._honest = honest

    def pwritev(self, parts: Sequence[Bytes], offset: int, durable: bool) -> None:
        disk, inode = self._disk, self._inode
        data = b"".join(parts)
        disk.step()
        failing = disk.faults.write and disk.rng.random() < disk.faults.write
        if failing and disk.rng.random() < 0.5:
            data = data[: disk.rng.randrange(len(data) + 1)]
        disk.write(inode, data, offset)
        sectors = range(offset // SECTOR, -(-(offset + len(data)) // SECTOR))
        if failing:
            if durable:
                disk.lose(inode, sectors)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if durable:
            disk.step()
            if self._honest:
                disk.flush(inode, sectors)

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(self._inode.now[offset : offset + length])

    def sync(self) -> None:
        disk, inode = self._disk, self._inode
        sectors = sorted(inode.dirty)
        try:
            disk.step(disk.faults.sync)
        except OSError:
            disk.lose(inode, sectors)
            raise
        if self._honest:
            disk.flush(inode, sectors)

    def uncache(self, offset: int, length: int) -> None:
        pass

    def close(self) -> None:
        pass


class ModelFiles:
    """A file layer on a Disk. `honest` False: it confirms every sync, and does nothing."""

    def __init__(self, disk: Disk, honest: bool = True) -> None:
        self._disk = disk
        self._honest = honest

    def sizes(self) -> dict[str, int]:
        return {name: len(inode.now) for name, inode in self._disk.names.items()}

    def create(self, name: str, size: int) -> ModelFile:
        disk = self._disk
        disk.step(disk.faults.names)
        full = disk.rng.random() < disk.faults.full
        if full or sum(self.sizes().values()) + size > disk.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if name in disk.names:
            raise FileExistsError(errno.EEXIST, name)
        inode = Inode(bytearray(size), bytearray(size))
        disk.change(None, name, inode)
        return ModelFile(disk, inode, self._honest)

    def open(self, name: str, write: bool = True) -> ModelFile:
        return ModelFile(self._disk, self._disk.find(name), self._honest)

    def rename(self, old: str, new: str) -> None:
        disk = self._disk
        disk.step(disk.faults.names)
        assert new not in disk.names
        disk.change(old, new, disk.find(old))

    def unlink(self, name: str) -> None:
        disk = self._disk
        disk.step(disk.faults.names)
        disk.change(name, None, disk.find(name))

    def sync_dir(self) -> None:
        disk = self._disk
        disk.step(disk.faults.names)
        if self._honest:
            disk.sync_names()

    def space(self) -> tuple[int, int]:
        used = sum(self.sizes().values())
        return max(self._disk.room_bytes - used, 0), self._disk.room_bytes
