"""Drives group commit against a log: one append at a time, and what to do when it fails."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from mansio.log.base import Log, LogError, Unavailable
from mansio.log.commit_states import State
from mansio.log.entry import Record
from mansio.log.group_commit import AHEAD_BYTES_MIN, GroupCommit, Placed
from mansio.log.prompt import Prompt
from mansio.server.appends import Appends
from mansio.server.clock import Clock
from mansio.server.returning import Returning
from mansio.server.tasks import Tasks

logger = logging.getLogger("mansio.log")

LINGER_BYTES_MAX: Final = 131_072
"""Who is on his way is not waited for when so much is pending: it is worth an entry."""
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
        on_free: Callable[[], None] | None = None,
    ) -> None:
        """`on_placed(seq, bytes of the entry, owners' records)` answers up to where the log may be cut. `on_free`: an
        entry is about to begin, and a turn that was left open for it is to end."""
        self._log = log
        self._clock = clock
        self._tasks = tasks
        self._on_placed = on_placed
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._on_free = on_free
        self.appends = Appends()
        self._group: GroupCommit | None = None
        self._under_way: deque[tuple[asyncio.Future[int] | Prompt, int]] = (
            deque()
        )  # and since when, in ns
        self._error: BaseException | None = (
            None  # of an append; it is looked into when none is under way
        )
        self._returning = Returning()
        self._lingering = False  # until they are back
        self.open_clients = 0
        """Clients of the turn that was left open."""
        self._trim_seq = 0
        self._trim_due = asyncio.Event()
        self._last = 0  # newest ticket
        self.durable = 0  # newest ticket that is durable
        self.lost = False  # nothing will be durable any more

    async def open(self, nonce: int) -> None:
        """Takes the log over and starts to write."""
        epoch = (await self._log.bounds()).epoch + 1
        seq = await self._log.open(epoch, nonce)
        able = self._log.capabilities
        self._group = GroupCommit(
            epoch, nonce, seq, entry_bytes_max=able.entry_bytes_max, depth=able.depth,
            ahead_bytes_min=AHEAD_BYTES_MIN,
        )  # fmt: skip
        self._tasks.start(self._trim(), "log trimmer")

    @property
    def idle(self) -> bool:
        """Whether everything that was added is durable."""
        return self.durable >= self._last

    @property
    def working(self) -> bool:
        """Whether something that was added, or is about to be, may still become durable."""
        return not self.lost and (self.open_clients > 0 or not self.idle)

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
        clients: int = 0,
    ) -> int:
        """A turn's records, as for GroupCommit; answers the ticket that the turn's confirms wait for. `clients`: how
        many of these say nothing until they are told."""
        if records:
            assert self._group is not None, "the log is not open"
            self._last = self._group.add(records, owners, breaks)
            if clients:
                self._returning.wrote(self._last, clients)
            if self._error is None:
                self._submit(self._group)
        return self._last

    def _submit(self, group: GroupCommit) -> None:
        """Appends what has gathered. No task of ours waits for it: at low load that would be most of the work."""
        if not self._under_way:
            if self._returning.punctual and self._linger(group):
                return
            if self.open_clients and self._on_free is not None:
                self._on_free()
        try:
            while (job := group.take()) is not None:
                append = self._log.append(*job)
                if not isinstance(append, Prompt):
                    append = asyncio.ensure_future(append)
                self._under_way.append((append, self._clock.now_ns()))
                append.add_done_callback(self._appended)
        except Exception as error:  # a mistake of ours, or there is no memory
            self._tasks.start(_fail(error), "log")

    def _linger(self, group: GroupCommit) -> bool:
        """Whether more is about to come; it is looked at again in each pass of the loop, since it is a matter of some
        100 us."""
        if group.pending_bytes >= LINGER_BYTES_MAX:
            return False
        if not self._returning.awaited(self._clock.now_ns(), self.open_clients):
            return False
        if (group.pending_bytes or self.open_clients) and not self._lingering:
            self._lingering = True
            asyncio.get_running_loop().call_soon(self._look_for_more)
        return True

    def _look_for_more(self) -> None:
        self._lingering = False
        if self._group is not None and self._error is None:
            self._submit(self._group)

    def leave_open(self, clients: int) -> bool:
        """A turn is the concern of so many clients only, who wait for the log: whether it should not end yet, since its
        entry cannot begin, or since more clients are on their way. If so, `on_free` is called in time."""
        group = self._group
        if group is None or self._error is not None:
            return False
        self.open_clients = clients
        if self._under_way:
            self._returning.awaited(self._clock.now_ns(), clients)
            return True
        if self._returning.punctual and self._linger(group):
            return True
        self.open_clients = 0
        return False

    def _appended(self, _: asyncio.Future[int] | Prompt) -> None:
        try:
            while self._under_way and self._under_way[0][0].done():
                self._take_answer(*self._under_way.popleft())
        except Exception as mistake:  # nobody else would notice that confirms do not leave
            self._tasks.start(_fail(mistake), "log")

    def _take_answer(self, append: asyncio.Future[int] | Prompt, since_ns: int) -> None:
        group = self._group
        if append.cancelled() or group is None:
            return
        error = self._error = self._error or append.exception()
        if error is None:
            ticket = group.appended(append.result())
            now_ns = self._clock.now_ns()
            self.appends.took(now_ns - since_ns)
            self._returning.told(ticket, now_ns, now_ns - since_ns, self.open_clients)
            self._submit(group)  # the disk need not wait until everybody is told
            self._settle(group, ticket)
        elif not self._under_way:
            self._tasks.start(self._recover(group, error), "log recovery")

    def _settle(self, group: GroupCommit, ticket: int) -> None:
        """Entries have become durable, and with them everything up to a ticket."""
        for seq, size, placed in group.take_landed():
            self.appends.landed(seq, size)
            self.trim(self._on_placed(seq, size, placed))
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
        """Finds out what became of the entries, and goes on if the log is still ours."""
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
            self._settle(group, group.tail_read(last, entry))
            state = group.state
        if state is State.FATAL:
            self.lost = True
            logger.critical("the log cannot be written any more: nothing is confirmed from here on")
            self._on_failed(self._last)
            return
        self._error = None
        self._submit(group)


async def _fail(error: Exception) -> None:
    """As a task it stops the broker: without its log it would only look alive."""
    raise error
