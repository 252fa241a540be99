"""Power cuts at any moment, on a disk that loses what was not synced: nothing confirmed is ever lost.

    python -m tests.log.powercut --seeds 0:10000

One seed is one life of a log: several runs, each of them ended by a power cut, a kill or a close, with
appends, trims and failing disks in between. After every start the log must be what was confirmed, and
perhaps the entry that was under way; never anything else. The seed of a failure is printed; give it as
SEED:SEED+1 to see it alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random

from mansio.log.base import Fenced, Full, LogError, Unavailable
from mansio.log.entry import decode_entry, encode_entry, encode_fence
from mansio.log.segments.replay import replay_segment
from mansio.log.segments.settings import StoreSettings, Sync
from mansio.log.segments.store import SegmentStore
from tests.log.segments.disk import Disk, Faults, ModelFiles, PowerCut

SEGMENT_BYTES = 128 << 10
RUNS = 6


class Lost(AssertionError):
    """What the log holds is not what it must hold."""


class Life:
    """A log from its first start on. `entries`: what was appended, by seq, confirmed or perhaps not.

    `confirmed`: the last seq that the policy promises to keep. `certain`: everything up to here is
    in the log; the rest, if it is there, must be what `entries` says, in one of its forms.
    """

    def __init__(self, seed: int, sync: Sync = "always", honest: bool = True) -> None:
        self.rng = Random(seed)
        room = self.rng.choice([1 << 40, 1 << 40, 12 * SEGMENT_BYTES])
        self.disk = Disk(self.rng, room)
        self.settings = StoreSettings(SEGMENT_BYTES, sync, scratch=False)
        self.honest = honest
        self.forms: dict[int, list[bytes]] = {}  # every entry that may be at a seq
        self.confirmed = 0
        self.trimmed = 0
        self.epoch = 0
        self.made = False
        self.starts = 0

    def run(self) -> None:
        """The whole life. Errors: Lost; Damaged and others, which are failures as well."""
        for _ in range(RUNS):
            self.disk.faults = Faults()
            store = self._start()
            if store is None:
                continue
            self._check(store)
            try:
                if self.rng.random() < 0.5:
                    self.disk.faults = self._draw_faults()
                if self.rng.random() < 0.8:
                    self.disk.cut_in = self.rng.randrange(1, 300)
                self._work(store)
            except PowerCut:
                if self.rng.random() < 0.8:
                    self.disk.cut()
                self.disk.cut_in = -1  # otherwise the process was killed in the middle of a call

    def _start(self) -> SegmentStore | None:
        if self.rng.random() < 0.3:
            self.disk.cut_in = self.rng.randrange(1, 30)
        try:
            files = ModelFiles(self.disk, self.honest)
            token = lambda: self.rng.getrandbits(64)  # noqa: E731
            store = SegmentStore(files, self.settings, token, fresh=not self.made)
        except PowerCut:
            if self.rng.random() < 0.8:
                self.disk.cut()
            self.disk.cut_in = -1
            return None
        self.disk.cut_in = -1
        self.made = True
        self.starts += 1
        return store

    def _check(self, store: SegmentStore) -> None:
        bounds = store.bounds()
        if bounds.last_seq < self.confirmed:
            raise Lost(f"ends at {bounds.last_seq}, but {self.confirmed} was confirmed")
        if bounds.first_seq > self.trimmed + 1:
            raise Lost(f"begins at {bounds.first_seq}, but was trimmed up to {self.trimmed}")
        files = ModelFiles(self.disk)
        expected = bounds.first_seq
        for extent in store.extents():
            for seq, _, _ in replay_segment(files.open(extent.name), extent, 0):
                if seq != expected:
                    raise Lost(f"seq {seq} where {expected} should be")
                expected += 1
        if expected != bounds.last_seq + 1:
            raise Lost(f"replay ends at {expected - 1}, not {bounds.last_seq}")
        for seq in range(bounds.first_seq, bounds.last_seq + 1):
            found = store.read(seq, 0, 1 << 30)
            if found not in self.forms.get(seq, []):
                raise Lost(f"entry {seq} is not what was appended")
            decode_entry(found)
            self.forms[seq] = [found]
        self.forms = {seq: data for seq, data in self.forms.items() if seq <= bounds.last_seq}
        # What a start has found was made durable by it.
        self.confirmed = bounds.last_seq
        self.epoch = bounds.epoch

    def _work(self, store: SegmentStore) -> None:
        rng = self.rng
        epoch = self.epoch + 1
        last_seq = store.bounds().last_seq
        self.forms.setdefault(last_seq + 1, []).append(encode_fence(epoch, epoch, last_seq))
        try:
            last_seq = store.open(epoch, epoch)
        except Unavailable:
            return self._end(store)
        self._settle(store, last_seq)
        steps = rng.randrange(1, 60)
        scale = rng.choice([100, 5_000, 60_000])
        for _ in range(steps):
            action = rng.random()
            if action < 0.75:
                last_seq = self._append(store, epoch, last_seq, rng.randrange(scale))
            elif action < 0.8:
                last_seq = self._append(store, epoch, last_seq, rng.randrange(3 * SEGMENT_BYTES))
            elif action < 0.88:
                self._trim(store, epoch, rng.randrange(last_seq + 1))
            elif action < 0.94:
                self._sync(store)
            else:
                store.tend()
        return self._end(store)

    def _append(self, store: SegmentStore, epoch: int, last_seq: int, size: int) -> int:
        body = self.rng.randbytes(min(size, 64)) * (size // 64 + 1)
        entry = encode_entry(epoch, epoch, last_seq, [body[:size]])
        self.forms.setdefault(last_seq + 1, []).append(entry)
        for attempt in range(3):
            try:
                seq = store.append(entry)
            except Full:
                if not attempt:  # an earlier one may come to light after a cut
                    self.forms[last_seq + 1].remove(entry)
                if self.rng.random() < 0.5:
                    self._trim(store, epoch, last_seq)
                return last_seq
            except Unavailable:
                if store.bounds().last_seq != last_seq:
                    raise Lost("a failed append is in the log") from None
            except Fenced as error:
                raise Lost(f"fenced: {error}") from None
            else:
                if seq != last_seq + 1 or store.bounds().last_seq != seq:
                    raise Lost(f"seq {seq} behind {last_seq}")
                self._settle(store, seq)
                return seq
        self.disk.faults = Faults()  # the disk has recovered; the same entry must be next
        try:
            seq = store.append(entry)
        except Full:
            return last_seq
        self._settle(store, seq)
        return seq

    def _settle(self, store: SegmentStore, seq: int) -> None:
        """The append of seq returned, so it is what it was given last."""
        self.forms[seq] = self.forms[seq][-1:]
        if self.settings.sync == "always":
            self.confirmed = seq
        elif not store.unsynced:
            self.confirmed = store.bounds().last_seq

    def _trim(self, store: SegmentStore, epoch: int, upto_seq: int) -> None:
        self.trimmed = max(self.trimmed, upto_seq)
        try:
            store.trim(epoch, upto_seq)
        except Unavailable:
            pass

    def _sync(self, store: SegmentStore) -> None:
        try:
            store.sync()
        except Unavailable:
            return
        self.confirmed = store.bounds().last_seq

    def _draw_faults(self) -> Faults:
        chances = [self.rng.choice([0.0, 0.0, 0.05, 0.3]) for _ in range(4)]
        return Faults(*chances)

    def _end(self, store: SegmentStore) -> None:
        choice = self.rng.random()
        if choice < 0.3:
            store.close()
        if choice < 0.6:
            raise PowerCut
        self.disk.cut_in = -1  # the process was killed, the machine goes on


def main() -> int:
    """Run seeds; exit code 1 at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", default="0:1000", help="FROM:TO")
    parser.add_argument("--sync", default="", help="always, interval or never; by seed if empty")
    args = parser.parse_args()
    first, last = map(int, args.seeds.split(":"))
    began = time.monotonic()
    starts = 0
    for seed in range(first, last):
        life = Life(seed, args.sync or policy(seed))
        try:
            life.run()
        except (AssertionError, LogError, OSError, ValueError) as error:
            print(f"seed {seed}, sync {life.settings.sync}: {type(error).__name__}: {error}")
            if last - first == 1:
                raise
            return 1
        starts += life.starts
    print(f"{last - first} seeds, {starts} starts, {time.monotonic() - began:.1f} s: nothing lost")
    return 0


def policy(seed: int) -> Sync:
    """Half of the seeds sync always."""
    choices: tuple[Sync, ...] = ("always", "interval", "always", "never")
    return choices[seed % 4]


if __name__ == "__main__":
    sys.exit(main())
