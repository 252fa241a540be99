"""Drives group commit against a log: one append at a time, and what to do when it fails."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from mansio.log.base import Log, LogError, Unavailable
from mansio.log.entry import Record
from mansio.log.group_commit import GroupCommit, Placed, State
from mansio.log.prompt import Prompt
from mansio.server.appends import Appends
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
        self.appends = Appends()
        self._group: GroupCommit | None = None
        self._busy = False  # an append is under way, or one that failed is looked into
        self._entry_bytes = 0  # of the entry that is being appended
        self._offered_ns = 0  # when that began
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
        self._tasks.start(self._trim(), "log trimmer")

    @property
    def idle(self) -> bool:
        """Whether everything that was added is durable."""
        return self.durable >= self._last

    @property
    def working(self) -> bool:
        """Whether something that was added may still become durable."""
        return not self.idle and not self.lost

    @property
    def pending_bytes(self) -> int:
        """What waits for the append that is under way."""
        return self._group.pending_bytes if self._group is not None else 0

    @property
    def unsaved_bytes(self) -> int:
        """The same, and what is being appended."""
        group = self._group
        return group.pending_bytes + group.entry_bytes if group is not None else 0

    def add(
        self,
        records: Sequence[Record],
        owners: Sequence[tuple[int, Any]] = (),
        breaks: Sequence[int] = (),
    ) -> int:
        """A turn's records, as for GroupCommit; answers the ticket that the turn's confirms wait for."""
        if records:
            assert self._group is not None, "the log is not open"
            self._last = self._group.add(records, owners, breaks)
            if not self._busy:
                self._submit(self._group)
        return self._last

    def _submit(self, group: GroupCommit) -> None:
        """Appends what has gathered. No task of ours waits for it: at low load that would be most of the work."""
        self._busy = True
        try:
            job = group.take()
            if job is None:
                self._busy = False
                return
            entry, expected_seq = job
            self._entry_bytes = len(entry)
            self._offered_ns = self._clock.now_ns()
            append = self._log.append(entry, expected_seq)
            if not isinstance(append, Prompt):
                append = asyncio.ensure_future(append)
        except Exception as error:  # a mistake of ours, or there is no memory
            self._tasks.start(_fail(error), "log")
        else:
            append.add_done_callback(self._appended)

    def _appended(self, append: asyncio.Future[int] | Prompt) -> None:
        group = self._group
        if append.cancelled() or group is None:
            return
        error = append.exception()
        if error is not None:
            self._tasks.start(self._recover(group, error), "log recovery")
            return
        try:
            self._landed(group, append.result())
        except Exception as mistake:  # nobody else would notice that confirms do not leave
            self._tasks.start(_fail(mistake), "log")

    def _landed(self, group: GroupCommit, landed_seq: int) -> None:
        ticket, size = group.appended(landed_seq), self._entry_bytes
        seq = group.last_seq
        self.appends.took(self._clock.now_ns() - self._offered_ns)
        self._submit(group)  # the disk need not wait until everybody is told
        self._settled(group, seq, ticket, size)

    def _settled(self, group: GroupCommit, seq: int, ticket: int, size: int) -> None:
        """Entry `seq` of `size` bytes is durable."""
        self.appends.landed(seq, size)
        self.trim(self._on_placed(seq, size, group.take_placed()))
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
            upto = self._trim_seq
            try:
                await self._log.trim(upto)
                self.appends.trimmed_seq = upto
            except LogError as error:
                logger.warning("cutting the log failed: %s: %s", type(error).__name__, error)
                if isinstance(error, Unavailable):
                    await asyncio.sleep(RETRY_S)
                    self._trim_due.set()

    async def _recover(self, group: GroupCommit, error: BaseException) -> None:
        """Finds out what became of the entry, and goes on if the log is still ours."""
        if not isinstance(error, LogError):
            raise error
        state = group.failed(error)
        self.appends.errors += 1
        logger.error("append to the log failed: %s: %s", type(error).__name__, error)
        while state in (State.UNKNOWN, State.BLOCKED):
            await asyncio.sleep(RETRY_S)
            if state is State.BLOCKED:
                group.retry()
                break
            try:
                last = (await self._log.bounds()).last_seq
                entry = None
                if last != group.last_seq:  # which may have been trimmed
                    entry = await self._log.read(last, 0, self._log.capabilities.entry_bytes_max)
            except LogError as again:
                state = group.failed(again)
                continue
            ticket = group.tail_read(last, entry)
            state = group.state
            if state is State.OPEN and entry is not None:
                self._settled(group, last, ticket, len(entry))
        if state is State.FATAL:
            self.lost = True
            logger.critical("the log cannot be written any more: nothing is confirmed from here on")
            self._on_failed(self._last)
            return
        self._submit(group)


async def _fail(error: Exception) -> None:
    """As a task it stops the broker: without its log it would only look alive."""
    raise error
