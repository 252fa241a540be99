"""The pager without a loop: what server/pager.py does, on a virtual clock, slowly and with failures."""

from __future__ import annotations

from random import Random

from mansio.core.broker import Broker
from mansio.core.run import Run
from mansio.log.base import Missing
from mansio.log.group_commit import GROUP_BYTES_MAX, GroupCommit
from mansio.log.memory import MemoryStore
from tests.log.faulty import Committer, Faults, FaultyLog

NS_MAX = 20_000_000
"""How long a read takes at most."""


class Pager:
    """Reads from the log and from a spool of its own."""

    def __init__(self, rng: Random, broker: Broker, log: MemoryStore, faults: Faults) -> None:
        self._rng = rng
        self._paging = broker.paging
        self._log = log
        self._spool = MemoryStore()
        depth = rng.choice((1, 2))
        handle = FaultyLog(rng, self._spool, faults, depth)
        self._group = GroupCommit(
            1, 0, handle.open(1), rng.choice((300, GROUP_BYTES_MAX)), depth=depth
        )
        self._writer = Committer(self._group, handle)
        self._ticket = 0
        self._reading: list[Run] = []
        self._due_ns = 0
        broker.paging.spooling = broker.limits.page_bytes > 0 and rng.random() < 0.8

    @property
    def busy(self) -> bool:
        """Whether something is read or written, or has to be."""
        if self._reading or self._paging.loading.wanted:
            return True
        return self._paging.spooling and self._group.durable < self._ticket

    def next_ns(self) -> int:
        """When `step` has something to do, if it is busy."""
        times = [at for at in (self._writer.next_ns(),) if at is not None]
        return min([*times, self._due_ns]) if self._reading else min(times, default=0)

    def turn(self) -> None:
        """A turn has ended."""
        if self._paging.spooling:
            self._spool.trim(self._paging.spool.cut())
            records, owners = self._paging.take_spooled()
            if records:
                self._ticket = self._group.add(records, owners)

    def step(self, now_ns: int) -> None:
        """Whatever is due."""
        if self._paging.spooling:
            self._write(now_ns)
        if self._reading and now_ns >= self._due_ns:
            reading, self._reading = self._reading, []
            for run in reading:
                self._read(run)
        if not self._reading:
            self._reading = self._paging.loading.take(self._rng.choice((1, 300, 30_000)))
            self._due_ns = now_ns + self._rng.randint(0, NS_MAX)

    def _write(self, now_ns: int) -> None:
        self._writer.step(now_ns)
        for landed in self._group.take_landed():
            self._spool.trim(self._paging.spooled(*landed))

    def _read(self, run: Run) -> None:
        loading = self._paging.loading
        store = self._log if run.places else self._spool
        if self._rng.random() < 0.1:
            loading.failed(run)
            return
        try:
            record = store.read(run.seq, run.offset, run.size)
        except Missing:
            if run.live:
                raise
            loading.failed(run)
        else:
            if len(record) == run.size:
                loading.loaded(run, record)
            elif run.live:
                raise AssertionError(f"a record of {run.size} bytes has {len(record)}")
