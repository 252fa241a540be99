"""The store by itself, on a modelled disk: failures, space, the index."""

from __future__ import annotations

from random import Random

import pytest

from mansio.log.base import Damaged, Full, Missing, Unavailable
from mansio.log.entry import encode_entry
from mansio.log.segments.layout import FRAME_BYTES, HEADER_BYTES, parse_name
from mansio.log.segments.settings import SEGMENT_SHARE, StoreSettings, Sync
from mansio.log.segments.store import SegmentStore
from tests.log.segments.disk import Disk, Faults, ModelFiles

SEGMENT_BYTES = 128 << 10


class Bench:
    """A store on a disk, and what was appended to it."""

    def __init__(self, sync: Sync = "always", room_bytes: int = 1 << 40, seed: int = 7) -> None:
        self.disk = Disk(Random(seed), room_bytes)
        self.settings = StoreSettings(SEGMENT_BYTES, sync)
        self.entries: dict[int, bytes] = {}
        self.epoch = 0
        self.restart()

    def restart(self, fresh: bool = True) -> None:
        """Start a store on what is on the disk, and take it over."""
        rng = self.disk.rng
        files = ModelFiles(self.disk)
        self.store = SegmentStore(files, self.settings, lambda: rng.getrandbits(64), fresh)
        self.epoch = self.store.bounds().epoch + 1
        self.seq = self.store.open(self.epoch, 7)

    def entry(self, size: int) -> bytes:
        return encode_entry(self.epoch, 7, self.seq, [self.disk.rng.randbytes(size)])

    def append(self, size: int, count: int = 1) -> None:
        for _ in range(count):
            entry = self.entry(size)
            self.seq = self.store.append(entry)
            self.entries[self.seq] = entry

    def check(self) -> None:
        first_seq, last_seq, _ = self.store.bounds()
        assert last_seq == self.seq
        for seq, entry in self.entries.items():
            if seq >= first_seq:
                assert self.store.read(seq, 0, 1 << 30) == entry

    def files(self, spare: bool) -> list[str]:
        return [name for name in self.disk.names if parse_name(name)[1] == spare]  # type: ignore[index]


def test_the_index_finds_everything_in_any_order() -> None:
    bench = Bench()
    for size in (0, 10, 3000, 70_000, 200_000):
        bench.append(size, 40)
    bench.check()
    bench.restart()
    order = list(bench.entries)
    Random(3).shuffle(order)
    for seq in order + order:
        assert bench.store.read(seq, 3, 50) == bench.entries[seq][3:53]
    with pytest.raises(Missing):
        bench.store.read(bench.seq + 1, 0, 1)


def test_a_failed_write_goes_to_another_file() -> None:
    bench = Bench()
    bench.append(100, 3)
    before = len(bench.files(False))
    bench.disk.faults = Faults(write=1.0)
    with pytest.raises(Unavailable):
        bench.append(100)
    assert bench.store.bounds().last_seq == bench.seq
    bench.disk.faults = Faults()
    bench.append(100)
    while bench.store.tend():
        pass
    assert len(bench.files(False)) == before + 1
    bench.check()
    bench.disk.cut()
    bench.restart(fresh=False)
    bench.check()


def test_a_failed_sync_is_not_asked_again() -> None:
    bench = Bench("interval")
    bench.append(100, 5)
    bench.store.sync()
    bench.append(100, 5)
    bench.disk.faults = Faults(sync=1.0)
    bench.store.sync()  # writes what is not synced to another file
    bench.append(100)
    bench.disk.faults = Faults()
    bench.store.sync()
    bench.check()
    bench.disk.cut()
    bench.restart(fresh=False)
    bench.check()


def test_full_leaves_room_for_fences_and_trims() -> None:
    bench = Bench(room_bytes=8 * SEGMENT_BYTES)
    with pytest.raises(Full):
        bench.append(5000, 1000)
    assert bench.store.space().low
    for _ in range(50):
        bench.restart(fresh=False)
    bench.check()
    with pytest.raises(Full):
        bench.append(5000, 10)
    bench.store.trim(bench.epoch, bench.seq)
    while bench.store.tend():
        pass
    assert not bench.store.space().low
    bench.append(5000, 20)
    bench.check()


@pytest.mark.parametrize("seed", range(60))
def test_what_there_is_room_for_never_meets_a_full_disk(seed: int) -> None:
    """Whatever the sizes, and behind it there is room for many acknowledgements."""
    rng = Random(seed)
    unit = rng.choice((SEGMENT_BYTES, SEGMENT_BYTES, 2 * SEGMENT_BYTES))
    bench = Bench(room_bytes=SEGMENT_SHARE * unit + rng.randrange(40) * 4096, seed=seed)
    large = (unit // 2, unit - 30_000, unit - HEADER_BYTES, unit + 1, 3 * unit)
    small = rng.choice(((5000,), (5000, 60_000), (5000, unit // 2), (4096, unit - 30_000)))
    for _ in range(rng.choice((1, 3, 8))):
        room_bytes = bench.store.room_bytes
        assert (room_bytes == 0) <= bench.store.low
        while True:
            size = rng.choice((*small, *rng.choices(large, k=rng.randrange(2))))
            entry = bench.entry(size)
            room_bytes -= len(entry)
            if room_bytes < 0:
                break
            bench.append(size)
            if rng.random() < 0.3:
                bench.store.tend()
        if rng.random() < 0.5:
            bench.store.trim(bench.epoch, rng.randint(0, bench.seq))
    assert bench.store.room_bytes < bench.disk.room_bytes // 2
    bench.append(100, 500)
    bench.check()


def test_room_is_known_from_the_start_and_after_a_trim() -> None:
    bench = Bench(room_bytes=16 * SEGMENT_BYTES)
    at_first = bench.store.room_bytes
    assert 0.3 < at_first / bench.disk.room_bytes < 0.5
    while not bench.store.low:
        bench.append(5000)
        assert bench.store.low or bench.store.room_bytes
    assert not bench.store.room_bytes
    bench.append(5000, 20)
    bench.store.trim(bench.epoch, bench.seq)
    while bench.store.tend():
        pass
    assert not bench.store.low
    assert bench.store.room_bytes == at_first
    bench.restart(fresh=False)
    assert bench.store.room_bytes == at_first


def test_a_large_entry_takes_the_reserve_when_nothing_else_is_left() -> None:
    bench = Bench(room_bytes=8 * SEGMENT_BYTES)
    while bench.disk.room_bytes - sum(ModelFiles(bench.disk).sizes().values()) >= SEGMENT_BYTES:
        bench.append(5000)
        bench.store.tend()
    assert len(bench.files(True)) == 2
    bench.append(SEGMENT_BYTES)
    assert bench.files(True) == []
    bench.check()


def test_trimmed_files_are_used_again() -> None:
    bench = Bench()
    for _ in range(30):
        bench.append(5000, 30)
        bench.store.trim(bench.epoch, bench.seq)
        while bench.store.tend():
            pass
        assert len(bench.disk.names) <= 5
        assert len(bench.files(True)) <= 2
    bench.append(1 << 20)
    bench.store.trim(bench.epoch, bench.seq)
    while bench.store.tend():
        pass
    assert set(ModelFiles(bench.disk).sizes().values()) == {SEGMENT_BYTES}
    assert len(bench.disk.names) <= 3
    bench.check()


def test_a_log_that_comes_and_goes_needs_no_new_files(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    created: list[str] = []
    create = ModelFiles.create
    monkeypatch.setattr(
        ModelFiles, "create", lambda *args: created.append(args[1]) or create(*args)
    )
    for _ in range(300):
        bench.append(4000)
        while bench.store.tend():
            pass
        bench.store.trim(bench.epoch, bench.seq - 4)
    assert len(created) <= 2
    bench.check()


def test_an_entry_of_an_earlier_life_behind_a_new_frame_is_torn() -> None:
    bench = Bench()
    bench.append(5000, 30)
    bench.store.close()
    segment = bench.store._state.chain[-1]
    place = segment.find(ModelFiles(bench.disk).open(segment.name), bench.seq)
    old = bench.entries[bench.seq - 9]
    body = place.offset + FRAME_BYTES
    now = bench.disk.names[segment.name].now
    now[body : place.end] = old
    now[place.end : place.end + FRAME_BYTES] = bytes(FRAME_BYTES)  # no seal
    seq = bench.seq
    bench.restart(fresh=False)
    assert bench.store.cut == (segment.name, place.offset, place.end - place.offset)
    assert bench.seq == seq, "the fence took its place"


def test_a_missing_segment_is_damage() -> None:
    bench = Bench()
    bench.append(5000, 100)
    bench.store.trim(bench.epoch, 30)
    bench.store.close()
    first, second, *_ = sorted(bench.files(False))
    for name in (first, second):
        inode = bench.disk.names.pop(name)
        with pytest.raises(Damaged, match="missing"):
            bench.restart(fresh=False)
        bench.disk.names[name] = inode
    bench.restart(fresh=False)
    bench.check()


def test_a_segment_of_another_log_is_damage() -> None:
    bench = Bench()
    bench.append(5000, 100)
    bench.store.close()
    other = Bench(seed=8)
    other.append(5000, 100)
    name = sorted(bench.files(False))[1]
    bench.disk.names[name] = other.disk.names[name]
    with pytest.raises(Damaged, match="another log"):
        bench.restart(fresh=False)


def test_a_streamed_entry_that_fails_is_not_there() -> None:
    bench = Bench()
    bench.append(100)
    entry = bench.entry(300_000)
    parts = [entry[at : at + 65536] for at in range(0, len(entry), 65536)]

    def failing() -> list[bytes]:
        bench.disk.faults = Faults(write=1.0)
        return parts[1:]

    for _ in range(2):
        with pytest.raises(Unavailable):
            bench.store.append_parts(len(entry), parts[0], iter(failing()))
    bench.disk.faults = Faults()
    bench.check()
    bench.seq = bench.store.append_parts(len(entry), parts[0], iter(parts[1:]))
    bench.entries[bench.seq] = entry
    bench.check()
    assert bench.store.append_parts(len(entry), parts[0], iter(parts[1:])) == bench.seq


def test_settings_fit_the_file_system() -> None:
    settings = StoreSettings()
    assert settings.fitted(1 << 40) == (16 << 20, 50 << 20)
    assert settings.fitted(64 << 20) == (4 << 20, 4 << 20)
    assert settings.fitted(1 << 20) == (128 << 10, 64 << 10)
