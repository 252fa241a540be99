"""What is paged out and needed: asked for by queues, by clients that wait, and by the log that moves a record.

    look, must_wait, want ──► take() ──► somebody reads the records ──► loaded(run, record)   queues go on, waiters wake
                                                                    ├─► failed(run)           it is asked for again
                                                                    └─► lost(run)             it cannot be read, ever

A queue is read ahead in its order as long as it is handed out: while its head is paged out nothing of it is.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mansio.core.errors import PreconditionFailed
from mansio.core.records import Damaged, Published, decode
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.dispatch import Dispatcher
    from mansio.core.paging import Pages, Paging
    from mansio.core.queue import Queue


class Loading:
    """Runs that are to be read, in order, and who waits for them."""

    def __init__(self, paging: "Paging", dispatcher: "Dispatcher") -> None:
        self.unreadable: dict[Run, None] = {}
        self._paging = paging
        self._dispatcher = dispatcher
        self._wanted: deque[Run] = deque()
        self._under_way: set[Run] = set()  # wanted, or being read
        self._queues: dict[Run, list[Queue]] = {}  # whose head it is
        self._waiters: dict[Run, list[Any]] = {}
        self._calls: dict[Run, list[Callable[[Run], None]]] = {}
        self._woken: list[Any] = []

    @property
    def wanted(self) -> bool:
        """Whether there is something to read."""
        return bool(self._wanted)

    @property
    def awake(self) -> bool:
        """Whether a waiter may go on."""
        return bool(self._woken)

    # -- who needs something

    def look(self, queue: "Queue") -> None:
        """The queue has been handed out as far as it can be; something is ready."""
        head = queue.ready[0]
        if head.run in self.unreadable:
            return
        if not head.run.data:
            if self.wake_by(head.run, queue):
                self._read_ahead(queue)
        else:
            mark = self._paging.pages(queue).mark
            if mark is not None and head.base + head.start >= mark:
                self._read_ahead(queue)

    def wake_by(self, run: Run, queue: "Queue") -> bool:
        """The queue is looked at again when a run has been read that somebody wants; whether that is new."""
        waiting = self._queues.setdefault(run, [])
        if queue in waiting:
            return False
        waiting.append(queue)
        return True

    def must_wait(self, queue: "Queue", waiter: Any) -> bool:
        """Whether the queue's first message has to be read first: the waiter is woken then, and has to ask again.

        PreconditionFailed when it cannot be read.
        """
        if not queue.ready_count or queue.ready[0].run.data:
            return False
        run = queue.ready[0].run
        if run in self.unreadable:
            raise PreconditionFailed(
                f"the first message of queue '{queue.name}' in vhost '{queue.vhost}' cannot be read: damaged"
            )
        self._waiters.setdefault(run, []).append(waiter)
        self._read_ahead(queue)
        return True

    def must_wait_for_all(self, queue: "Queue", waiter: Any) -> bool:
        """The same for every message of a queue that is kept in memory; what cannot be read is not waited for."""
        absent = [
            span.run
            for span in queue.ready
            if not span.run.data and span.run not in self.unreadable
        ]
        for run in absent:
            self.want(run)
        if absent:
            self._waiters.setdefault(absent[-1], []).append(waiter)
        return bool(absent)

    def wake(self, run: Run, waiter: Any) -> None:
        """The waiter is woken once this run, which somebody wants, has been read, or cannot be."""
        self._waiters.setdefault(run, []).append(waiter)

    def call(self, run: Run, back: Callable[[Run], None]) -> None:
        """Calls back once the run has been read, or cannot be: at once if that is known."""
        if run in self.unreadable:
            back(run)
            return
        self._calls.setdefault(run, []).append(back)
        self.want(run)

    def measure(self, runs: Iterable[Run], queue: "Queue") -> None:
        """The sizes of these runs' messages are to be known: the queue is looked at again as each is there."""
        for run in runs:
            if run in self.unreadable:
                run.bodies = run.bytes_each()  # nobody will ever know more
                self._dispatcher.touch(queue)
            elif self.wake_by(run, queue):
                self.want(run)

    def want(self, run: Run) -> None:
        """A run that is paged out is to be read."""
        if run not in self._under_way and run not in self.unreadable:
            self._under_way.add(run)
            self._wanted.append(run)

    def _read_ahead(self, queue: "Queue") -> None:
        pages = self._paging.pages(queue)
        pages.mark = self.read_ahead(queue.spans(), pages)

    def read_ahead(self, spans: Iterable[Span], pages: "Pages") -> int | None:
        """Asks for what is missing in the first part of these spans, as pages of whoever wants it; the position in the
        middle of it, from where on to ask for more, or None where nothing is missing."""
        room = reach = self._paging.window_bytes // 2
        mark = None
        missing = False
        for span in spans:
            run = span.run
            if mark is None and room * 2 <= reach:
                mark = span.base + span.start
            if not run.data:
                missing = True
                run.home = pages
                self.want(run)
            room -= (span.stop - span.start) * run.bytes_each()
            if room <= 0:
                break
        return mark if missing else None

    # -- who reads

    def take(self, bytes_max: int) -> list[Run]:
        """The next runs to read, of so many bytes or a little more, in order. Each has to come back."""
        taken: list[Run] = []
        while self._wanted and bytes_max > 0:
            run = self._wanted.popleft()
            if run in self._under_way:
                taken.append(run)
                bytes_max -= run.size
        return taken

    def loaded(self, run: Run, record: bytes | memoryview) -> None:
        """The record was read; Damaged when it is not what was written."""
        if run not in self._under_way:
            return
        found = decode(record)
        if not isinstance(found, Published) or not run.page_in(
            found.messages, found.data, found.ends, found.which
        ):
            raise Damaged(f"publish of {run.count} messages: its bytes have changed")
        self._under_way.discard(run)
        self._paging.loaded(run)
        self._wake(run)

    def failed(self, run: Run) -> None:
        """It could not be read this time."""
        if run in self._under_way:
            self._wanted.append(run)

    def lost(self, run: Run) -> None:
        """It can never be read: a queue that comes to it stops there."""
        if run in self._under_way:
            self._under_way.discard(run)
            self.unreadable[run] = None
            self._wake(run)

    def forget(self, run: Run) -> None:
        """The run is settled everywhere: nobody needs it any more."""
        self._under_way.discard(run)
        self.unreadable.pop(run, None)
        self._wake(run)

    def take_woken(self) -> list[Any]:
        """Waiters that may go on."""
        woken, self._woken = self._woken, []
        return woken

    def _wake(self, run: Run) -> None:
        for queue in self._queues.pop(run, ()):
            self._dispatcher.touch(queue)
        self._woken += self._waiters.pop(run, ())
        for back in self._calls.pop(run, ()):
            back(run)
