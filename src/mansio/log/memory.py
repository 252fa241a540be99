"""The reference engine: entries in memory. Other engines are right if they behave like it.

`MemoryStore` is the log itself, synchronous; it is what would be a file or a stream elsewhere.
`MemoryLog` is one handle on it. Give a store to several handles to play restarts and rivals.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence

from mansio.log.base import (
    EPOCH_MAX,
    NONCE_MAX,
    Bounds,
    Capabilities,
    Damaged,
    Fenced,
    Full,
    Missing,
    Space,
    Unavailable,
)
from mansio.log.entry import (
    ENTRY_BYTES_MAX,
    FENCE,
    Entry,
    Lineage,
    decode_entry,
    encode_fence,
    entry_id,
    read_owner,
)


class MemoryStore:
    """A log without its owners.

    `retain` False: every entry is forgotten as soon as it has been counted. `bytes_max`: room for
    entries; None means no limit. `entries`: kept entries by seq, in order, stale ones included.
    """

    __slots__ = (
        "_bytes", "_bytes_max", "_lineage", "_next_seq", "_retain", "_stale", "_tail_id", "entries"
    )  # fmt: skip

    def __init__(self, retain: bool = True, bytes_max: int | None = None) -> None:
        self.entries: dict[int, bytes] = {}
        self._retain = retain
        self._bytes_max = bytes_max
        self._bytes = 0
        self._next_seq = 1
        self._stale: set[int] = set()
        self._lineage = Lineage()
        self._tail_id = b""

    def open(self, epoch: int, nonce: int) -> int:
        """As Log.open."""
        if not (1 <= epoch <= EPOCH_MAX and 0 <= nonce <= NONCE_MAX):
            raise ValueError(f"epoch {epoch} or nonce {nonce} is out of range")
        if epoch <= self._lineage.epoch:
            raise Fenced(f"epoch {epoch} is not above {self._lineage.epoch}, which has been opened")
        return self.land(encode_fence(epoch, nonce, self._lineage.last_seq))

    def append(self, owner: tuple[int, int], entry: bytes, expected_seq: int) -> int:
        """As Log.append, for the owner (epoch, nonce)."""
        flags, epoch, nonce, prev_seq = read_owner(entry)
        if (epoch, nonce) != owner or prev_seq != expected_seq or flags & FENCE:
            raise ValueError(f"entry of owner {(epoch, nonce)} behind seq {prev_seq}, flags {flags}"
                             f" appended by owner {owner} behind seq {expected_seq}")  # fmt: skip
        lineage = self._lineage
        if epoch != lineage.epoch or nonce != lineage.nonce:
            raise Fenced(f"epoch {epoch} is over, the log is in epoch {lineage.epoch}")
        if expected_seq != lineage.last_seq:
            if entry_id(entry) == self._tail_id:
                return lineage.last_seq
            raise Fenced(f"the last entry is seq {lineage.last_seq}, not {expected_seq}")
        if self._bytes_max is not None and self._bytes + len(entry) > self._bytes_max:
            raise Full(f"{len(entry)} bytes more than {self._bytes} exceed {self._bytes_max}")
        return self.land(entry)

    def land(self, entry: bytes) -> int:
        """Put an entry at the end whoever wrote it, as a late message to a distributed log does."""
        seq = self._next_seq
        if self._lineage.admit(seq, entry):
            self._tail_id = entry_id(entry)
        else:
            self._stale.add(seq)
        self._next_seq = seq + 1
        self.entries[seq] = entry
        self._bytes += len(entry)
        if not self._retain:
            self._forget(seq)
        return seq

    def replay(self, from_seq: int) -> Iterator[tuple[int, Entry]]:
        """As Log.replay. The end is that of the moment of the first step."""
        lineage = Lineage()
        for seq in [seq for seq in self.entries if seq >= from_seq and seq not in self._stale]:
            data = self.entries.get(seq)
            if data is None:
                lineage = Lineage()  # trimmed meanwhile, so the next one follows nothing
                continue
            try:
                entry = decode_entry(data)
                lineage.admit(seq, data)
            except Damaged as error:
                raise error.at(f"memory log, seq {seq}") from None
            if not entry.fence:
                yield seq, entry

    def read(self, seq: int, offset: int, length: int) -> bytes:
        """As Log.read."""
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} or length {length} is negative")
        entry = self.entries.get(seq)
        if entry is None:
            raise Missing(f"seq {seq} is not within {self.bounds()}")
        return entry[offset : offset + length]

    def trim(self, upto_seq: int) -> None:
        """As Log.trim."""
        self._forget(min(upto_seq, self._lineage.last_seq))

    def bounds(self) -> Bounds:
        """As Log.bounds."""
        first_seq = next(iter(self.entries), self._next_seq)
        return Bounds(first_seq, self._lineage.last_seq, self._lineage.epoch)

    @property
    def room_bytes(self) -> int:
        """As Log.room_bytes."""
        if self._bytes_max is None:
            return sys.maxsize
        return max(self._bytes_max - self._bytes, 0)

    def space(self) -> Space:
        """As Log.space."""
        return Space(False, self.room_bytes, self._bytes, 1 if self.entries else 0)

    def _forget(self, upto_seq: int) -> None:
        while self.entries:
            seq = next(iter(self.entries))
            if seq > upto_seq:
                break
            self._bytes -= len(self.entries.pop(seq))
            self._stale.discard(seq)


class MemoryLog:
    """A handle on a MemoryStore, its own or a shared one. Keeps the contract in base.py.

    `retain` False: forget entries at once, for a broker whose restart forgets everything anyway.
    With a `store`, `retain` is the store's. Nothing survives the process.
    """

    __slots__ = ("_capabilities", "_closed", "_owner", "store")

    def __init__(
        self,
        retain: bool = True,
        store: MemoryStore | None = None,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
    ) -> None:
        self.store = MemoryStore(retain) if store is None else store
        self._capabilities = Capabilities(False, False, entry_bytes_max)
        self._owner: tuple[int, int] | None = None
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """As Log.capabilities."""
        return self._capabilities

    @property
    def low(self) -> bool:
        """As Log.low."""
        return False

    @property
    def room_bytes(self) -> int:
        """As Log.room_bytes."""
        return self.store.room_bytes

    async def open(self, epoch: int, nonce: int = 0) -> int:
        """As Log.open."""
        if self._closed or self._owner is not None:
            raise Fenced("a handle is opened once")
        seq = self.store.open(epoch, nonce)
        self._owner = (epoch, nonce)
        return seq

    async def append(self, entry: bytes, expected_seq: int) -> int:
        """As Log.append."""
        owner = self._own()
        if len(entry) > self._capabilities.entry_bytes_max:
            raise ValueError(f"an entry of {len(entry)} bytes exceeds the largest one")
        return self.store.append(owner, entry, expected_seq)

    async def replay(self, from_seq: int = 1) -> AsyncIterator[tuple[int, Entry]]:
        """As Log.replay."""
        self._reach()
        for seq, entry in self.store.replay(from_seq):
            yield seq, entry

    async def read(self, seq: int, offset: int, length: int) -> bytes:
        """As Log.read."""
        self._reach()
        return self.store.read(seq, offset, length)

    async def read_many(
        self, items: Sequence[tuple[int, int, int]]
    ) -> Sequence[bytes | memoryview]:
        """As Log.read_many."""
        self._reach()
        return [self.store.read(*item) for item in items]

    async def space(self) -> Space:
        """As Log.space. It is never low: memory has its own limits, kept elsewhere."""
        self._reach()
        return self.store.space()

    async def trim(self, upto_seq: int) -> None:
        """As Log.trim."""
        epoch, _ = self._own()
        if epoch != self.store.bounds().epoch:
            raise Fenced(f"epoch {epoch} is over")
        self.store.trim(upto_seq)

    async def bounds(self) -> Bounds:
        """As Log.bounds."""
        self._reach()
        return self.store.bounds()

    async def close(self) -> None:
        """As Log.close."""
        self._closed = True

    def _own(self) -> tuple[int, int]:
        if self._closed or self._owner is None:
            raise Fenced("this handle is not open")
        return self._owner

    def _reach(self) -> None:
        if self._closed:
            raise Unavailable("this handle is closed")
