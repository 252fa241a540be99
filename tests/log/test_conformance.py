"""Every engine against the contract, and what is particular to one engine."""

from __future__ import annotations

import asyncio

import pytest

from mansio.log.base import Log, Missing
from mansio.log.memory import MemoryLog, MemoryStore
from tests.log.conformance import LogConformance, entry, fill, opened, replayed
from tests.log.embedded_harness import EmbeddedHarness, IntervalHarness, NeverHarness


class MemoryHarness:
    def __init__(self) -> None:
        self.room_bytes = 4 << 20
        self.store = MemoryStore(bytes_max=self.room_bytes)

    def handle(self) -> Log:
        return MemoryLog(store=self.store, entry_bytes_max=1 << 20)

    async def land(self, entry: bytes) -> int:
        return self.store.land(entry)

    async def damage(self, seq: int, offset: int) -> None:
        data = bytearray(self.store.entries[seq])
        data[offset] ^= 0x10
        self.store.entries[seq] = bytes(data)

    async def lose(self, seq: int) -> None:
        del self.store.entries[seq]

    async def close(self) -> None:
        pass


class TestMemoryLog(LogConformance):
    make = MemoryHarness


class TestEmbeddedLog(LogConformance):
    make = EmbeddedHarness


class TestEmbeddedLogInterval(LogConformance):
    make = IntervalHarness


class TestEmbeddedLogNever(LogConformance):
    make = NeverHarness


def test_memory_trim_is_exact_and_gives_memory_back() -> None:
    async def run() -> None:
        log = MemoryHarness()
        handle, seq = await opened(log)
        await fill(handle, seq, b"a", b"b", b"c")
        await handle.trim(3)
        assert list(log.store.entries) == [4]
        assert await handle.bounds() == (4, 4, 1)

    asyncio.run(run())


def test_memory_trim_during_replay() -> None:
    async def run() -> None:
        handle, seq = await opened(MemoryHarness())
        await fill(handle, seq, b"a", b"b", b"c", b"d")
        found = []
        async for seq, _ in handle.replay():
            found.append(seq)
            if seq == 2:
                await handle.trim(4)
        assert found == [2, 5]

    asyncio.run(run())


def test_memory_without_retain_forgets_entries_but_not_seqs() -> None:
    async def run() -> None:
        log = MemoryLog(retain=False)
        seq = await log.open(1, 7)
        last_seq = await fill(log, seq, b"a", b"b")
        assert last_seq == 3
        assert log.store.entries == {}
        assert await log.bounds() == (4, 3, 1)
        assert await replayed(log) == []
        with pytest.raises(Missing):
            await log.read(3, 0, 1)
        assert await log.append(entry(2, b"b"), 2) == 3

    asyncio.run(run())
