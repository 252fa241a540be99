"""Drives group commit against a log: one append at a time, and what to do when it fails."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from mansio.log.base import Log, LogError
from mansio.log.entry import Record
from mansio.log.group_commit import GroupCommit, State
from mansio.server.clock import Clock
from mansio.server.tasks import Tasks

logger = logging.getLogger("mansio.log")

RETRY_S: Final = 1.0
"""Between two tries to read the tail of a log that does not answer, or to write to one that is full."""


class Committer:
    """Appends what turns add; tells by ticket what is durable and what never will be."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        tasks: Tasks,
        on_durable: Callable[[int], None],
        on_failed: Callable[[int], None],
    ) -> None:
        self._log = log
        self._clock = clock
        self._tasks = tasks
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._group: GroupCommit | None = None
        self._added = asyncio.Event()
        self._last = 0  # newest ticket
        self.durable = 0  # newest ticket that is durable
        self.lost = False  # nothing will be durable any more

    async def open(self, nonce: int) -> None:
        """Takes the log over and starts to write."""
        epoch = (await self._log.bounds()).epoch + 1
        seq = await self._log.open(epoch, nonce)
        self._group = GroupCommit(epoch, nonce, seq)
        self._tasks.start(self._run(self._group), "log writer")

    @property
    def idle(self) -> bool:
        """Whether everything that was added is durable."""
        return self.durable >= self._last

    def add(self, records: Sequence[Record]) -> int:
        """A turn's records; answers the ticket that the turn's confirms wait for."""
        if records:
            assert self._group is not None, "the log is not open"
            self._last = self._group.add(records)
            self._added.set()
        return self._last

    async def _run(self, group: GroupCommit) -> None:
        while True:
            await self._added.wait()
            self._added.clear()
            while (job := group.take()) is not None:
                entry, expected_seq = job
                try:
                    seq = await self._log.append(entry, expected_seq)
                except LogError as error:
                    if not await self._recover(group, error):
                        return
                else:
                    self._settled(group.appended(seq))

    def _settled(self, ticket: int) -> None:
        if ticket > self.durable:
            self.durable = ticket
            self._on_durable(ticket)

    async def _recover(self, group: GroupCommit, error: LogError) -> bool:
        """Finds out what became of the entry; False when the log is lost to us."""
        state = group.failed(error)
        logger.error("append to the log failed: %s: %s", type(error).__name__, error)
        while state in (State.UNKNOWN, State.BLOCKED):
            await asyncio.sleep(RETRY_S)
            if state is State.BLOCKED:
                group.retry()
                return True
            try:
                last = (await self._log.bounds()).last_seq
                entry = None
                if last != group.last_seq:  # which may have been trimmed
                    entry = await self._log.read(last, 0, self._log.capabilities.entry_bytes_max)
            except LogError as again:
                state = group.failed(again)
                continue
            self._settled(group.tail_read(last, entry))
            state = group.state
        if state is State.FATAL:
            self.lost = True
            logger.critical("the log cannot be written any more: nothing is confirmed from here on")
            self._on_failed(self._last)
            return False
        return True
