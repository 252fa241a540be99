"""What a peer waits for, and until when: one entry among the broker's deadlines for each connection."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS

if TYPE_CHECKING:
    from mansio.core.broker import Broker

_CROWD: Final = 64
"""Timers that were stopped are thrown out when there are more of these, and more than of others: a client with many
short calls and a long timeout has nearly all of its timers stopped."""


class Timer:
    """One call at one time, unless it is stopped before."""

    __slots__ = ("_timers", "late")

    def __init__(self, timers: "Timers", late: Callable[[], None]) -> None:
        self._timers = timers
        self.late: Callable[[], None] | None = late

    def stop(self) -> None:
        """It is not called any more."""
        if self.late is not None:
            self.late = None
            self._timers.stopped()


class Timers:
    """Those of one connection."""

    def __init__(self, broker: "Broker") -> None:
        self.deadline_ms = NEVER_MS
        self._broker = broker
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0
        self._stopped = 0

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, ms: int, late: Callable[[], None]) -> Timer:
        """Calls it so many milliseconds from now, in a turn of its own."""
        self._count += 1
        when_ms = self._broker.now_ms + ms
        timer = Timer(self, late)
        heappush(self._heap, (when_ms, self._count, timer))
        self._broker.deadlines.at(when_ms, self)
        return timer

    def stopped(self) -> None:
        """One more was."""
        self._stopped += 1
        if self._stopped > _CROWD and self._stopped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].late is not None]
            heapify(self._heap)
            self._stopped = 0

    def stop_all(self) -> None:
        """The connection is over."""
        for _, _, timer in self._heap:
            timer.late = None
        self._heap.clear()
        self._stopped = 0

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        heap = self._heap
        due: list[Callable[[], None]] = []
        while heap and heap[0][0] <= now_ms:
            timer = heappop(heap)[2]
            if timer.late is None:
                self._stopped -= 1
            else:
                due.append(timer.late)
                timer.late = None
        for late in due:
            late()
        if self._heap:
            self._broker.deadlines.at(self._heap[0][0], self)
