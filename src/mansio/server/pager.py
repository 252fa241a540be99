"""Reads back what is paged out, in the order in which it is asked for, and writes transient messages to the spool.

end of the turn ──► records for the spool ──► entry written ──► their runs are paged out
                ──► runs that are wanted  ──► read_many     ──► queues go on, clients that fetch are answered
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final

from mansio.core import records
from mansio.core.broker import Broker
from mansio.core.run import Run
from mansio.log.base import Damaged, Log, LogError, Missing
from mansio.log.group_commit import Placed
from mansio.server.clock import Clock
from mansio.server.committer import Committer
from mansio.server.tasks import Tasks

logger = logging.getLogger("mansio.pager")

READ_BYTES: Final = 512 << 10
"""What is asked of the log at once: enough that calls do not count, little enough that nobody waits long for others."""
READERS: Final = 2
"""Who read at the same time: while messages go out, the log's process reads the next ones."""
RETRY_S: Final = 0.1
RETRY_S_MAX: Final = 5.0
"""Between two tries to read from a log that does not answer: twice as long each time."""


class Pager:
    """The way between the core's `Paging` and the logs."""

    def __init__(
        self,
        broker: Broker,
        log: Log,
        spool: Log | None,
        clock: Clock,
        tasks: Tasks,
        on_loaded: Callable[[], None],
    ) -> None:
        """`on_loaded`: queues may go on, and waiters that have woken. `spool`: empty, and not shared with anybody."""
        self._paging = broker.paging
        self._loading = broker.paging.loading
        self._log = log
        self._spool = spool
        self._tasks = tasks
        self._on_loaded = on_loaded
        self._due = asyncio.Event()
        self._opening = False
        self._open = False  # the spool is; it is opened when it is needed first
        self._writer = (
            None
            if spool is None
            else Committer(spool, clock, tasks, self._on_spooled, _ignore, self._on_spool_lost)
        )

    def start(self) -> None:
        """Begins to read."""
        self._paging.spooling = self._spool is not None
        for number in range(READERS):
            self._tasks.start(self._run(), f"pager {number}")

    async def close(self) -> None:
        """Lets go of the spool."""
        self._paging.spooling = False
        if self._spool is not None:
            await self._spool.close()

    def turn(self) -> None:
        """A turn has ended."""
        if self._writer is not None and self._paging.spooling:
            if self._open:
                self._writer.add(*self._paging.take_spooled())
                self._writer.trim(self._paging.spool.cut())
            elif self._paging.leaving_bytes and not self._opening:
                self._opening = True
                self._tasks.start(self._open_spool(self._writer), "spool")
        if self._loading.wanted:
            self._due.set()
        if self._loading.awake:
            self._on_loaded()

    @property
    def pending_bytes(self) -> int:
        """What waits for the spool."""
        return self._paging.leaving_bytes

    async def _open_spool(self, writer: Committer) -> None:
        try:
            await writer.open(secrets.randbits(64))
        except LogError as error:
            logger.error("cannot open the spool: %s: %s", type(error).__name__, error)
            self._on_spool_lost(0)
        else:
            self._open = True
            self.turn()

    async def _run(self) -> None:
        retry_s = RETRY_S
        while True:
            await self._due.wait()
            self._due.clear()
            while runs := self._loading.take(READ_BYTES):
                failed = await self._load(runs)
                self._on_loaded()
                if not failed:
                    retry_s = RETRY_S
                    continue
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)
                for run in failed:
                    self._loading.failed(run)

    async def _load(self, runs: list[Run]) -> list[Run]:
        """Reads runs and hands them back; answers those that could not be read for now."""
        failed: list[Run] = []
        logged = [run for run in runs if run.places]
        if logged:
            failed += await self._load_from(self._log, logged)
        if self._spool is not None and len(logged) < len(runs):
            failed += await self._load_from(self._spool, [run for run in runs if not run.places])
        return failed

    async def _load_from(self, log: Log, runs: list[Run]) -> list[Run]:
        failed: list[Run] = []
        places = [(run.seq, run.offset, run.size) for run in runs]
        try:
            found = await log.read_many(places)
        except (Damaged, Missing) as error:
            moved = isinstance(error, Missing) and places[0][0] != runs[0].seq
            if len(runs) > 1 or moved:  # its record was appended again meanwhile: there it is
                for run in runs:
                    failed += await self._load_from(log, [run])
            else:
                self._lose(runs[0], error)
        except LogError as error:
            what = type(error).__name__
            logger.error("cannot read messages back, trying again: %s: %s", what, error)
            failed = runs
        else:
            for run, record in zip(runs, found, strict=True):
                self._hand_back(run, record)
        return failed

    def _hand_back(self, run: Run, record: bytes | memoryview) -> None:
        try:
            self._loading.loaded(run, record)
        except records.Damaged as error:
            self._lose(run, error)

    def _lose(self, run: Run, error: Exception) -> None:
        if not run.live:  # settled while it was read, and its record cut off
            return
        self._loading.lost(run)
        logger.critical(
            "%d messages cannot be read back, their queues stop there: seq %d, byte %d of the %s: %s",
            run.count,
            run.seq,
            run.offset,
            "log" if run.places else "spool",
            error,
        )

    def _on_spooled(self, seq: int, size: int, placed: list[Placed]) -> int:
        return self._paging.spooled(seq, size, placed)

    def _on_spool_lost(self, ticket: int) -> None:
        self._paging.spool_lost()
        logger.critical(
            "the spool cannot be written: transient messages stay in memory from here on"
        )


def _ignore(ticket: int) -> None:
    """Nobody waits for the spool."""
