"""Drives group commit against a log: one append at a time, and what to do when it fails."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from mansio.log.base import Log, LogError
from mansio.log.entry import Record
from mansio.log.group_commit import GroupCommit, Placed, State
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
        on_placed: Callable[[int, int, list[Placed]], int],
        on_durable: Callable[[int], None],
        on_failed: Callable[[int], None],
    ) -> None:
        """`on_placed(seq, bytes of the entry, owners' records)` answers up to where the log may be cut."""
        self._log = log
        self._clock = clock
        self._tasks = tasks
        self._on_placed = on_placed
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._group: GroupCommit | None = None
        self._added = asyncio.Event()
        self._trim_seq = 0
        self._trim_due = asyncio.Event()
        self._last = 0  # newest ticket
        self.durable = 0  # newest ticket that is durable
        self.lost = False  # nothing will be durable any more

    async def open(self, nonce: int) -> None:
        """Takes the log over and starts to write."""
        epoch = (await self._log.bounds()).epoch + 1
        seq = await self._log.open(epoch, nonce)
        entry_bytes_max = self._log.capabilities.entry_bytes_max
        self._group = GroupCommit(epoch, nonce, seq, entry_bytes_max=entry_bytes_max)
        self._tasks.start(self._run(self._group), "log writer")
        self._tasks.start(self._trim(), "log trimmer")

    @property
    def idle(self) -> bool:
        """Whether everything that was added is durable."""
        return self.durable >= self._last

    @property
    def pending_bytes(self) -> int:
        """What waits for the append that is under way."""
        return self._group.pending_bytes if self._group is not None else 0

    def add(self, records: Sequence[Record], owners: Sequence[tuple[int, Any]] = ()) -> int:
        """A turn's records, and whose they are; answers the ticket that the turn's confirms wait for."""
        if records:
            assert self._group is not None, "the log is not open"
            self._last = self._group.add(records, owners)
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
                    self._settled(group, group.appended(seq), len(entry))

    def _settled(self, group: GroupCommit, ticket: int, size: int) -> None:
        placed = group.take_placed()
        if size:
            upto = self._on_placed(group.last_seq, size, placed)
            self.trim(upto)
        if ticket > self.durable:
            self.durable = ticket
            self._on_durable(ticket)

    def trim(self, upto: int) -> None:
        """Entries up to this seq are not needed any more."""
        if upto > self._trim_seq:
            self._trim_seq = upto
            self._trim_due.set()

    async def _trim(self) -> None:
        while True:
            await self._trim_due.wait()
            self._trim_due.clear()
            try:
                await self._log.trim(self._trim_seq)
            except LogError as error:
                logger.warning("cutting the log failed: %s: %s", type(error).__name__, error)

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
            ticket = group.tail_read(last, entry)
            self._settled(group, ticket, len(entry) if entry and group.state is State.OPEN else 0)
            state = group.state
        if state is State.FATAL:
            self.lost = True
            logger.critical("the log cannot be written any more: nothing is confirmed from here on")
            self._on_failed(self._last)
            return False
        return True
