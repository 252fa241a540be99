"""Flips single bits in the files of a log: nothing wrong is served, nothing is dropped in silence.

    python -m tests.log.bitflips --seeds 0:50 [--flips 2000]

One seed is one log of several segments in recycled files, with fences and marks, closed well or left by
a kill or a power cut. After a flip, a start and a replay must give every entry that was confirmed, as it
was; or raise Damaged that names a file and a byte, after entries that are as they were. With --flips 0
every byte of every file is flipped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from random import Random

from mansio.log.base import Damaged
from mansio.log.entry import encode_entry
from mansio.log.segments.layout import FRAME_BYTES, FRAME_MAGIC, HEADER_BYTES, parse_name
from mansio.log.segments.recovery import recover
from mansio.log.segments.replay import Extent, replay_segment
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.store import SegmentStore
from tests.log.segments.disk import Disk, ModelFiles, PowerCut

SEGMENT_BYTES = 128 << 10


class Wrong(AssertionError):
    """A flip was served, or dropped something in silence."""


class FlippedLog:
    """`entries`: the records that a replay must give, by seq. `torn`: the tail was not confirmed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.disk = Disk(self.rng)
        self.entries: dict[int, list[bytes]] = {}
        self.last_seq = 0
        self.first_seq = 0
        self._build()
        self.files = {
            name: inode.now for name, inode in self.disk.names.items() if not parse_name(name)[1]
        }  # type: ignore[index]

    def _build(self) -> None:
        rng = self.rng
        settings = StoreSettings(SEGMENT_BYTES, rng.choice(["always", "always", "interval"]))
        scale = rng.choice([300, 20_000])
        for epoch in range(1, 4):
            store = SegmentStore(ModelFiles(self.disk), settings, lambda: rng.getrandbits(64))
            seq = store.open(epoch, epoch)
            written = 0
            while written < 2 * SEGMENT_BYTES:
                records = [rng.randbytes(rng.randrange(scale)) for _ in range(rng.randrange(1, 4))]
                entry = encode_entry(epoch, epoch, seq, records)
                written += len(entry)
                seq = store.append(entry)
                self.entries[seq] = records
                if rng.random() < 0.05:
                    store.tend()
            if epoch < 3:
                store.trim(epoch, seq - rng.randrange(1, 5))
        self.last_seq = seq
        self._end(store, epoch, seq)
        self.first_seq = store.bounds().first_seq

    def _end(self, store: SegmentStore, epoch: int, seq: int) -> None:
        choice = self.rng.randrange(4)
        if choice == 0:
            store.close()
            return
        store.sync()
        store.tend()
        if choice == 1:  # killed while it was idle
            return
        records = [self.rng.randbytes(3000)]
        self.entries[seq + 1] = records
        self.disk.cut_in = 1
        try:
            store.append(encode_entry(epoch, epoch, seq, records))
        except PowerCut:
            pass
        if choice == 2:  # killed in the middle of an append: nobody was told of its entry
            self.disk.cut_in = -1
            return
        # The last entry that was confirmed can look like a torn one, because neither the seal nor
        # the next frame need be on the disk: a flip together with a power cut may go unnoticed there.
        self.disk.cut()
        self.last_seq = seq - 1

    def places(self, count: int) -> Iterator[tuple[str, int]]:
        """Bytes to flip, half of them in headers, frames and the heads of entries; 0 for all."""
        if not count:
            for name, data in self.files.items():
                yield from ((name, offset) for offset in range(len(data)))
            return
        names = sorted(self.files)
        frames = {name: _find_all(self.files[name], FRAME_MAGIC) for name in names}
        for _ in range(count):
            name = self.rng.choice(names)
            draw = self.rng.random()
            if draw < 0.1:
                yield name, self.rng.choice([0, HEADER_BYTES // 2]) + self.rng.randrange(512)
            elif draw < 0.5 and frames[name]:
                yield name, self.rng.choice(frames[name]) + self.rng.randrange(FRAME_BYTES + 44)
            else:
                yield name, self.rng.randrange(len(self.files[name]))

    def check(self, name: str, offset: int) -> str:
        """Flip a byte, look, and flip it back: "complete" or "damaged". Errors: Wrong."""
        data = self.files[name]
        if offset >= len(data):
            return "complete"
        bits = 1 << self.rng.randrange(8)
        data[offset] ^= bits
        try:
            found = self._replay()
        finally:
            data[offset] ^= bits
        if found and found[0][0] == 0:
            return "damaged"
        return "complete"

    def _replay(self) -> list[tuple[int, object]]:
        files = ModelFiles(self.disk)
        seq = 0
        try:
            state = recover(files, fresh=False)
            for segment in state.chain:
                head = segment.header
                extent = Extent(head.number, head.stamp, head.prev_seq, segment.end, head.epoch,
                                head.nonce, head.lineage_seq)  # fmt: skip
                for seq, _, entry in replay_segment(files.open(segment.name), extent, 0):
                    if entry is not None and entry.records != self.entries[seq]:
                        raise Wrong(f"entry {seq} is not what was written")
                    if entry is None and seq in self.entries:
                        raise Wrong(f"entry {seq} is left out")
        except Damaged as error:
            if ".seg" not in error.place:
                raise Wrong(f"damage without a file: {error}") from error
            return [(0, error)]
        if seq < self.last_seq or state.chain[0].header.prev_seq + 1 > self.first_seq:
            raise Wrong(f"ends at {seq}, but {self.last_seq} was confirmed")
        return [(seq, None)]


def run(seeds: Iterable[int], flips: int) -> dict[str, int]:
    """Flip in the logs of all seeds; count the outcomes. Errors: Wrong, with seed and place."""
    counts = {"complete": 0, "damaged": 0}
    for seed in seeds:
        log = FlippedLog(seed)
        assert log.check(next(iter(log.files)), 1 << 60) == "complete"
        for name, offset in log.places(flips):
            try:
                counts[log.check(name, offset)] += 1
            except Exception as error:
                what = f"seed {seed}, {name}, byte {offset}: {type(error).__name__}: {error}"
                raise Wrong(what) from error
    return counts


def main() -> int:
    """Exit code 1 at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", default="0:20", help="FROM:TO")
    parser.add_argument("--flips", type=int, default=500, help="bytes for each seed, 0 for all")
    args = parser.parse_args()
    first, last = map(int, args.seeds.split(":"))
    began = time.monotonic()
    try:
        counts = run(range(first, last), args.flips)
    except Wrong as error:
        print(error)
        return 1
    print(f"{last - first} logs, {counts}, {time.monotonic() - began:.1f} s: nothing wrong")
    return 0


def _find_all(data: bytearray, what: bytes) -> list[int]:
    found = []
    at = data.find(what)
    while at >= 0:
        found.append(at)
        at = data.find(what, at + 1)
    return found


if __name__ == "__main__":
    sys.exit(main())
