"""Where passwords are hashed: in a process that takes nothing from messages, and when that takes too long, in a thread.

  check ──► process, started at the first job ──────────────────► answer
              │ ends ──► another one, once more ──► ends ───────► None: whoever waits is refused
              │ cannot be started ─┐ for a while
              └ late ──────────────┴► thread ───────────────────► the answer that comes first
                  until the process has answered, jobs go to the thread at once

The process gets what others leave of the processors. That may be next to nothing for as long as they like, and without
a privilege it cannot be raised again (sched(7), RLIMIT_NICE); good users have to get in all the same. So the thread has
some priority: with the least it would not help when it is needed, and stop the broker when it has to wait for a
processor while it holds the interpreter's lock. How much of one it takes is bounded by the rest behind wrong passwords,
which is longer the longer the thread has to wait. What has ended a process twice is not begun in the broker itself.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from mansio.admin.passwords import weight
from mansio.core.limits import NS
from mansio.server.clock import Clock
from mansio.server.hasher_process import Ended, HasherProcess
from mansio.server.hashing import Answer, Job, work
from mansio.server.tasks import Tasks

logger = logging.getLogger("mansio.login")

LATE_S: Final = 0.25
"""For a usual hash, of which one takes 20 ms, and the start of the process 100: a handshake may take 10 s."""
NICENESS: Final = 10
"""Of the thread: a tenth of a processor that is busy."""
START_AGAIN_S: Final = 60
"""After a process that could not be started."""
TOLD_S: Final = 60
"""Between two lines in the log about a process that is late."""


class Process(Protocol):
    """See HasherProcess."""

    async def start(self) -> None: ...
    async def ask(self, job: Job) -> Answer: ...
    def close(self) -> None: ...


class SparingHasher:
    """A `Hasher` that spares those who send messages."""

    def __init__(
        self,
        clock: Clock,
        tasks: Tasks,
        make_process: Callable[[], Process] = HasherProcess,
        late_s: float = LATE_S,
    ) -> None:
        """Nothing is started yet."""
        self._clock = clock
        self._tasks = tasks
        self._make_process = make_process
        self._late_s = late_s
        self._process: Process | None = None
        self._asking: asyncio.Task[Answer | None] | None = None
        self._thread = ThreadPoolExecutor(1, "passwords", initializer=_be_nice)
        self._start_from_ns = 0
        self._tell_from_ns = 0

    async def check(self, job: Job) -> Answer | None:
        """See `Hasher`."""
        if self._asking is not None and not self._asking.done():
            return await self._in_thread(job)
        asking: asyncio.Task[Answer | None] = self._tasks.start(self._ask(job), "hashing")
        self._asking = asking
        late_s = self._late_s * weight(job.known, job.hashing)
        await asyncio.wait((asking,), timeout=late_s)
        if not asking.done():
            self._tell_of_delay(late_s)
            beside: asyncio.Task[Answer] = self._tasks.start(self._in_thread(job), "hashing beside")
            await asyncio.wait((asking, beside), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done() or asking.result() is None:
                return await beside
        return asking.result()

    def close(self) -> None:
        """See `Hasher`."""
        if self._process is not None:
            self._process.close()
            self._process = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, job: Job) -> Answer | None:
        for _ in range(2):
            if self._process is None and not await self._start():
                return await self._in_thread(job)
            assert self._process is not None
            try:
                return await self._process.ask(job)
            except Ended as error:
                self._process = None
                logger.warning("the process that checks passwords has ended: %s", error)
        logger.error("a password was not checked: the process that does it has ended twice")
        return None

    async def _start(self) -> bool:
        now_ns = self._clock.now_ns()
        if now_ns < self._start_from_ns:
            return False
        self._process = self._make_process()
        try:
            await self._process.start()
        except (OSError, Ended) as error:
            self._process.close()
            self._process = None
            self._start_from_ns = now_ns + START_AGAIN_S * NS
            text = "passwords are checked in the broker itself, the process for it cannot be started: %s"
            logger.warning(text, error)
            return False
        return True

    async def _in_thread(self, job: Job) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, job, self._clock.now_ns)

    def _tell_of_delay(self, late_s: float) -> None:
        now_ns = self._clock.now_ns()
        if now_ns >= self._tell_from_ns:
            self._tell_from_ns = now_ns + TOLD_S * NS
            text = "passwords are checked in the broker itself: the process for it got no processor for %g s"
            logger.info(text, late_s)


def _be_nice() -> None:
    """Of the calling thread alone, as Linux has it."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (AttributeError, OSError) as error:  # not on this system
        logger.debug("the thread for passwords has the usual priority: %s", error)
