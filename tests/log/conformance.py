"""What every engine must do, as tests: the contract in src/mansio/log/base.py.

A new engine needs a Harness and one class in test_conformance.py:

    class TestMyEngine(LogConformance):
        make = MyHarness
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import cycle
from typing import Any, Protocol

import pytest

from mansio.log.base import (
    EPOCH_MAX,
    NONCE_MAX,
    Damaged,
    Fenced,
    Full,
    Log,
    LogError,
    Missing,
    Unavailable,
)
from mansio.log.entry import FENCE, decode_entry, encode_entry, encode_fence

NONCE = 7


class Harness(Protocol):
    """One empty log and what a test must be able to do behind its back.

    Made anew for every test, inside a running loop. `room_bytes`: the size at which the log is
    Full, roughly; at most 16 MiB, to keep the suite quick.
    """

    room_bytes: int

    def handle(self) -> Log:
        """A new handle on the log, not opened."""

    async def land(self, entry: bytes) -> int:
        """Put an entry at the end, with none of the checks of `append`; return its seq."""

    async def damage(self, seq: int, offset: int) -> None:
        """Change the byte at offset of a stored entry."""

    async def lose(self, seq: int) -> None:
        """Remove a stored entry from the middle."""

    async def close(self) -> None:
        """Remove the log. Handles may still be open."""


Scenario = Callable[[Any, Harness], Coroutine[Any, Any, None]]


def scenario(test: Scenario) -> Callable[[LogConformance], None]:
    """Run an async test on a fresh log. No `wraps`: pytest would take `log` for a fixture."""

    async def run(suite: LogConformance) -> None:
        log = suite.make()
        try:
            await asyncio.wait_for(test(suite, log), 30)
        finally:
            await log.close()

    def sync(self: LogConformance) -> None:
        asyncio.run(run(self))

    sync.__name__, sync.__doc__ = test.__name__, test.__doc__
    return sync


def entry(prev_seq: int, *records: bytes, epoch: int = 1, nonce: int = NONCE) -> bytes:
    return encode_entry(epoch, nonce, prev_seq, records)


async def opened(log: Harness, epoch: int = 1, nonce: int = NONCE) -> tuple[Log, int]:
    handle = log.handle()
    return handle, await handle.open(epoch, nonce)


async def fill(handle: Log, last_seq: int, *records: bytes, epoch: int = 1) -> int:
    """Append one entry for each record; return the last seq."""
    for record in records:
        last_seq = await handle.append(entry(last_seq, record, epoch=epoch), last_seq)
    return last_seq


async def replayed(handle: Log, from_seq: int = 1) -> list[tuple[int, list[bytes]]]:
    return [(seq, entry.records) async for seq, entry in handle.replay(from_seq)]


class LogConformance:
    """Derive, and set `make`."""

    make: Callable[[], Harness]

    # -- open, append, replay ---------------------------------------------------------------

    @scenario
    async def test_empty_log(self, log: Harness) -> None:
        handle = log.handle()
        assert await handle.bounds() == (1, 0, 0)
        assert await replayed(handle) == []
        with pytest.raises(Missing):
            await handle.read(1, 0, 1)

    @scenario
    async def test_open_appends_a_fence(self, log: Harness) -> None:
        handle, seq = await opened(log, epoch=3)
        assert seq == 1
        assert await handle.bounds() == (1, 1, 3)
        fence = decode_entry(await handle.read(1, 0, 1000))
        assert (fence.fence, fence.epoch, fence.nonce, fence.records) == (True, 3, NONCE, [])
        assert await replayed(handle) == []

    @scenario
    async def test_open_takes_the_whole_range(self, log: Harness) -> None:
        for bad in [(0, 0), (-1, 0), (EPOCH_MAX + 1, 0), (1, -1), (1, NONCE_MAX + 1)]:
            with pytest.raises(ValueError, match="range"):
                await log.handle().open(*bad)
        handle, seq = await opened(log, EPOCH_MAX, NONCE_MAX)
        data = entry(seq, b"a", epoch=EPOCH_MAX, nonce=NONCE_MAX)
        assert await handle.append(data, seq) == 2
        assert await handle.bounds() == (1, 2, EPOCH_MAX)

    @scenario
    async def test_replay_returns_what_was_appended(self, log: Harness) -> None:
        handle, seq = await opened(log)
        records = [[b"a", b"", b"bc"], [b"\x00" * 100], [bytes(range(256)) * 1000, b"d"]]
        for group in records:
            assert await handle.append(entry(seq, *group), seq) == seq + 1
            seq += 1
        assert await replayed(handle) == [(2, records[0]), (3, records[1]), (4, records[2])]
        assert await replayed(handle, 0) == await replayed(handle)
        assert await replayed(handle, 3) == [(3, records[1]), (4, records[2])]
        assert await replayed(handle, 5) == []
        assert await handle.bounds() == (1, 4, 1)

    @scenario
    async def test_another_handle_reads_without_open(self, log: Harness) -> None:
        handle, seq = await opened(log)
        await fill(handle, seq, b"a", b"b")
        reader = log.handle()
        assert await reader.bounds() == (1, 3, 1)
        assert await replayed(reader) == [(2, [b"a"]), (3, [b"b"])]
        assert decode_entry(await reader.read(3, 0, 1000)).records == [b"b"]

    @scenario
    async def test_appends_may_be_pipelined(self, log: Harness) -> None:
        handle, seq = await opened(log)
        appends = [
            asyncio.ensure_future(handle.append(entry(at, b"%d" % at), at))
            for at in range(seq, seq + 20)
        ]
        assert await asyncio.gather(*appends) == list(range(seq + 1, seq + 21))
        found = await replayed(handle)
        assert found == [(at + 1, [b"%d" % at]) for at in range(seq, seq + 20)]

    @scenario
    async def test_entry_of_the_wrong_owner_or_place(self, log: Harness) -> None:
        handle, seq = await opened(log, epoch=2)
        for data in [
            entry(seq, b"a", epoch=1),
            entry(seq, b"a", epoch=3),
            entry(seq, b"a", epoch=2, nonce=NONCE + 1),
            entry(seq + 1, b"a", epoch=2),
            encode_entry(2, NONCE, seq, (), FENCE),
        ]:
            with pytest.raises(ValueError, match="append"):
                await handle.append(data, seq)
        assert await handle.bounds() == (1, 1, 2)

    @scenario
    async def test_largest_entry(self, log: Harness) -> None:
        handle, seq = await opened(log)
        largest = handle.capabilities.entry_bytes_max
        if largest > log.room_bytes:
            pytest.skip("the largest entry is larger than this log")
        room = largest - len(entry(seq, b""))
        with pytest.raises(ValueError, match="exceeds"):
            await handle.append(entry(seq, bytes(room + 1)), seq)
        assert await handle.append(entry(seq, bytes(room)), seq) == seq + 1
        assert len(await handle.read(seq + 1, 0, largest)) == largest

    # -- owners -----------------------------------------------------------------------------

    @scenario
    async def test_append_and_trim_need_an_open_handle(self, log: Harness) -> None:
        handle = log.handle()
        with pytest.raises(Fenced):
            await handle.append(entry(0, b"a"), 0)
        with pytest.raises(Fenced):
            await handle.trim(1)

    @scenario
    async def test_epochs_rise(self, log: Harness) -> None:
        await opened(log, epoch=5)
        for epoch in (4, 5):
            with pytest.raises(Fenced):
                await opened(log, epoch, NONCE + 1)
        _, seq = await opened(log, epoch=6)
        assert await log.handle().bounds() == (1, seq, 6)

    @scenario
    async def test_handle_is_opened_once(self, log: Harness) -> None:
        handle, _ = await opened(log)
        with pytest.raises(Fenced):
            await handle.open(2, NONCE)
        assert await handle.bounds() == (1, 1, 1)

    @scenario
    async def test_wrong_expected_seq_is_fenced(self, log: Harness) -> None:
        handle, seq = await opened(log)
        last_seq = await fill(handle, seq, b"a", b"b")
        for wrong in (0, seq, last_seq - 1, last_seq + 1):
            with pytest.raises(Fenced):
                await handle.append(entry(wrong, b"x"), wrong)
        assert await replayed(handle) == [(2, [b"a"]), (3, [b"b"])]
        assert await fill(handle, last_seq, b"c") == last_seq + 1

    @scenario
    async def test_stale_owner_is_fenced(self, log: Harness) -> None:
        old, seq = await opened(log)
        last_seq = await fill(old, seq, b"a")
        new, fence_seq = await opened(log, epoch=2)
        assert fence_seq == last_seq + 1
        for guess in (last_seq, fence_seq):
            with pytest.raises(Fenced):
                await old.append(entry(guess, b"stale"), guess)
        assert await fill(new, fence_seq, b"b", epoch=2) == fence_seq + 1
        with pytest.raises(Fenced):
            await old.append(entry(last_seq, b"stale"), last_seq)
        assert await replayed(new) == [(2, [b"a"]), (4, [b"b"])]

    @scenario
    async def test_pipelined_appends_after_a_failure(self, log: Harness) -> None:
        old, seq = await opened(log)
        await opened(log, epoch=2)
        appends = [
            asyncio.ensure_future(old.append(entry(at, b"stale"), at)) for at in range(seq, seq + 5)
        ]
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [Fenced] * 5
        assert await replayed(log.handle()) == []

    @scenario
    async def test_same_append_twice_lands_once(self, log: Harness) -> None:
        handle, seq = await opened(log)
        data = entry(seq, b"a")
        assert await handle.append(data, seq) == seq + 1
        assert await handle.append(data, seq) == seq + 1
        assert await replayed(handle) == [(2, [b"a"])]
        with pytest.raises(Fenced):
            await handle.append(entry(seq, b"b"), seq)
        last_seq = await fill(handle, seq + 1, b"c")
        with pytest.raises(Fenced):
            await handle.append(data, seq)
        assert await handle.bounds() == (1, last_seq, 1)

    @scenario
    async def test_same_append_is_fenced_behind_a_fence(self, log: Harness) -> None:
        handle, seq = await opened(log)
        data = entry(seq, b"a")
        await handle.append(data, seq)
        await opened(log, epoch=2)
        with pytest.raises(Fenced):
            await handle.append(data, seq)

    # -- stale entries ----------------------------------------------------------------------

    @scenario
    async def test_stale_entries_are_not_there(self, log: Harness) -> None:
        old, seq = await opened(log)
        last_seq = await fill(old, seq, b"a")
        new, fence_seq = await opened(log, epoch=3)
        for stale in [
            entry(last_seq, b"lower epoch"),
            entry(fence_seq, b"lower epoch, guessed the seq"),
            entry(fence_seq, b"same epoch, other owner", epoch=3, nonce=NONCE + 1),
            encode_fence(2, NONCE, 0),
            encode_fence(3, NONCE + 1, 0),
        ]:
            await log.land(stale)
        assert (await new.bounds())[1:] == (fence_seq, 3)
        landed = await new.append(entry(fence_seq, b"b", epoch=3), fence_seq)
        assert landed == fence_seq + 6
        await log.land(entry(landed, b"later still"))
        assert (await new.bounds())[1:] == (landed, 3)
        assert await fill(new, landed, b"c", epoch=3) == landed + 2
        expected = [(2, [b"a"]), (landed, [b"b"]), (landed + 2, [b"c"])]
        assert await replayed(log.handle()) == expected

    @scenario
    async def test_replay_from_behind_the_fence_drops_stale_entries(self, log: Harness) -> None:
        await opened(log)
        new, fence_seq = await opened(log, epoch=2)
        stale_seq = await log.land(entry(fence_seq, b"stale"))
        last_seq = await fill(new, fence_seq, b"a", epoch=2)
        assert await replayed(new, stale_seq) == [(last_seq, [b"a"])]
        await new.trim(fence_seq)
        assert await replayed(log.handle()) == [(last_seq, [b"a"])]

    # -- read, trim, bounds -----------------------------------------------------------------

    @scenario
    async def test_read_is_a_slice(self, log: Harness) -> None:
        handle, seq = await opened(log)
        data = entry(seq, b"first", bytes(range(256)) * 300)
        seq = await handle.append(data, seq)
        starts = decode_entry(data).starts
        assert await handle.read(seq, starts[0], 5) == b"first"
        assert await handle.read(seq, starts[1] + 256, 256) == bytes(range(256))
        assert await handle.read(seq, 0, len(data)) == data
        assert await handle.read(seq, 3, 10**6) == data[3:]
        assert await handle.read(seq, len(data), 1) == b""
        assert await handle.read(seq, 5, 0) == b""
        for offset, length in [(-1, 1), (0, -1)]:
            with pytest.raises(ValueError, match="negative"):
                await handle.read(seq, offset, length)
        for missing in (0, seq + 1):
            with pytest.raises(Missing):
                await handle.read(missing, 0, 1)

    @scenario
    async def test_read_many_is_read_of_each(self, log: Harness) -> None:
        handle, seq = await opened(log)
        last_seq = await fill(handle, seq, *(b"%d" % n * 50 for n in range(20)))
        items = [(at, at, 40) for at in range(last_seq, seq, -1)] + [(seq, 0, 10**6), (seq, 5, 0)]
        assert await handle.read_many(items) == [await handle.read(*item) for item in items]
        assert await handle.read_many([]) == []
        with pytest.raises(Missing):
            await handle.read_many([*items, (last_seq + 1, 0, 1)])
        with pytest.raises(ValueError, match="negative"):
            await handle.read_many([*items, (last_seq, -1, 1)])

    @scenario
    async def test_space(self, log: Harness) -> None:
        handle, seq = await opened(log)
        before = await handle.space()
        assert not before.low
        assert handle.low is False
        seq = await fill(handle, seq, *([bytes(log.room_bytes // 16)] * 4))
        after = await handle.space()
        assert after.used_bytes > before.used_bytes
        assert after.free_bytes < before.free_bytes
        await handle.trim(seq)
        await handle.close()
        with pytest.raises(Unavailable):
            await handle.space()
        with pytest.raises(Unavailable):
            await handle.read_many([(seq, 0, 1)])

    @scenario
    async def test_room_is_a_promise(self, log: Harness) -> None:
        handle, seq = await opened(log)
        assert log.room_bytes // 8 < handle.room_bytes <= log.room_bytes
        sizes = cycle((5000, 100_000, 20_000, 5000, 150_000, 4096))
        for _ in range(6):
            room_bytes = handle.room_bytes
            while room_bytes > 0:
                data = entry(seq, bytes(min(next(sizes), room_bytes)))
                room_bytes -= max(len(data), 4096)
                if room_bytes >= 0:
                    seq = await handle.append(data, seq)
        assert handle.room_bytes < log.room_bytes // 8, "the answers to appends tell"
        await handle.space()
        assert handle.room_bytes < log.room_bytes // 8
        await handle.trim(seq)
        while handle.low or handle.room_bytes < log.room_bytes // 8:
            await handle.space()
        await fill(handle, seq, bytes(100_000))

    @scenario
    async def test_trim_is_from_the_front(self, log: Harness) -> None:
        handle, seq = await opened(log)
        last_seq = await fill(handle, seq, *(b"%d" % n for n in range(10)))
        await handle.trim(5)
        first_seq, *rest = await handle.bounds()
        assert first_seq <= 6
        assert rest == [last_seq, 1]
        assert (await replayed(handle, 6))[0] == (6, [b"4"])
        assert await replayed(handle, 1) == await replayed(handle, first_seq)
        await handle.trim(2)
        assert (await handle.bounds()).first_seq == first_seq
        for seq in range(1, first_seq):
            with pytest.raises(Missing):
                await handle.read(seq, 0, 1)
        assert await fill(handle, last_seq, b"next") == last_seq + 1

    @scenario
    async def test_seqs_are_not_used_again(self, log: Harness) -> None:
        handle, seq = await opened(log)
        last_seq = await fill(handle, seq, b"a", b"b")
        await handle.trim(10**9)
        assert (await handle.bounds())[1:] == (last_seq, 1)
        await handle.close()
        with pytest.raises(Fenced):
            await opened(log, epoch=1)
        new, fence_seq = await opened(log, epoch=2)
        assert fence_seq == last_seq + 1
        last_seq = await fill(new, fence_seq, b"c", epoch=2)
        assert await replayed(new, fence_seq) == [(last_seq, [b"c"])]

    @scenario
    async def test_full_then_trim(self, log: Harness) -> None:
        handle, seq = await opened(log)
        record = bytes(log.room_bytes // 16)
        data = b""
        with pytest.raises(Full):
            for _ in range(64):
                data = entry(seq, record)
                seq = await handle.append(data, seq)
        assert (await handle.bounds()).last_seq == seq
        with pytest.raises(Full):
            await handle.append(data, seq)
        new, fence_seq = await opened(log, epoch=2)
        assert fence_seq == seq + 1
        await new.trim(seq)
        assert await fill(new, fence_seq, record, epoch=2) == fence_seq + 1

    # -- damage, close ----------------------------------------------------------------------

    @scenario
    async def test_damaged_entry_stops_replay(self, log: Harness) -> None:
        handle, seq = await opened(log)
        await fill(handle, seq, b"a", b"bbbb", b"c")
        await log.damage(3, len(entry(2, b"bbbb")) - 6)
        found: list[int] = []
        with pytest.raises(Damaged, match="3") as caught:
            async for seq, _ in log.handle().replay():
                found.append(seq)
        assert found == [2]
        assert caught.value.place != "entry", "the engine says where it is"
        assert await replayed(log.handle(), 4) == [(4, [b"c"])]

    @scenario
    async def test_lost_entry_stops_replay(self, log: Harness) -> None:
        handle, seq = await opened(log)
        await fill(handle, seq, b"a", b"b", b"c")
        await log.lose(3)
        found: list[int] = []
        with pytest.raises(Damaged, match="missing"):
            async for seq, _ in log.handle().replay():
                found.append(seq)
        assert found == [2]

    @scenario
    async def test_close(self, log: Harness) -> None:
        handle, seq = await opened(log)
        append = asyncio.ensure_future(handle.append(entry(seq, b"a"), seq))
        await asyncio.sleep(0)
        await handle.close()
        await handle.close()
        assert await append == 2
        with pytest.raises(Fenced):
            await handle.append(entry(2, b"b"), 2)
        with pytest.raises(Fenced):
            await handle.open(2, NONCE)
        with pytest.raises(Fenced):
            await handle.trim(1)
        with pytest.raises(Unavailable):
            await handle.bounds()
        with pytest.raises(Unavailable):
            await handle.read(2, 0, 1)
        with pytest.raises(Unavailable):
            await replayed(handle)
        assert await replayed(log.handle()) == [(2, [b"a"])]

    @scenario
    async def test_closing_an_unused_handle(self, log: Harness) -> None:
        handle = log.handle()
        await handle.close()
        with pytest.raises(LogError):
            await handle.bounds()
