"""What happens by itself at some time: one heap for queues, consumers and messages. Times are in Unix milliseconds.

    at(when, timed) ──► heap ──fire(now)──► timed.due(now), which may ask for the next time

A thing that is to be called later than it asked for first is called at the first time all the same, and looks again.
So a queue whose head changes with every turn costs one entry, not one for each head.
"""

from heapq import heappop, heappush
from typing import Final, Protocol

NEVER_MS: Final = 1 << 62
"""Later than any time."""


class Timed(Protocol):
    """Something that is called when its time has come."""

    deadline_ms: int
    """When it is called; NEVER_MS at first. `Deadlines` keeps it."""

    def due(self, now_ms: int) -> None:
        """The time has come, or has passed."""


class Deadlines:
    """Who is to be called when."""

    def __init__(self) -> None:
        self.next_ms = NEVER_MS
        """When `fire` has something to do."""
        self._heap: list[tuple[int, int, Timed]] = []
        self._count = 0  # so that things themselves are never compared

    def at(self, when_ms: int, timed: Timed) -> None:
        """Calls it at this time, or before if it has asked for that."""
        if when_ms >= timed.deadline_ms:
            return
        timed.deadline_ms = when_ms
        self._count += 1
        heappush(self._heap, (when_ms, self._count, timed))
        if when_ms < self.next_ms:
            self.next_ms = when_ms

    def fire(self, now_ms: int) -> None:
        """Calls everything whose time has come; what asks for a time that has passed is called next time."""
        heap = self._heap
        due: list[Timed] = []
        while heap and heap[0][0] <= now_ms:
            when_ms, _, timed = heappop(heap)
            if timed.deadline_ms == when_ms:
                timed.deadline_ms = NEVER_MS
                due.append(timed)
        for timed in due:
            timed.due(now_ms)
        self.next_ms = heap[0][0] if heap else NEVER_MS
