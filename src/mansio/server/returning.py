"""Clients that write, wait until it is durable, and write again at once: all of them are to be in one entry.

    entry durable ──► told: 50 clients ──► 1 is back ─ 49 more are on their way ─► all 50 in the next entry
                                           └ alone, it would take the disk for a whole sync, and the 49 wait for two

So the next entry waits for those who were told just now, for as long as the last one took at most, and only where
clients have been seen to come back in such a time.
"""

from collections import deque
from typing import Final

WINDOW_NS_MAX: Final = 2_000_000
"""Who takes longer than this has something else to do, however slow the disk is."""
PENDING_BYTES_MAX: Final = 131_072
"""What is so much already is worth an entry: 50 clients with 1 KiB each are less than half of it."""


class Returning:
    """Counts clients that wait for the log. Times are in ns of one clock."""

    __slots__ = (
        "_back",
        "_expected",
        "_told",
        "_told_ns",
        "_waiting",
        "_window_ns",
        "pending",
        "punctual",
    )

    def __init__(self) -> None:
        self.pending = 0
        """Clients that wait for what is not durable yet; who has done so twice counts twice."""
        self.punctual = False
        """Whether most of those who were told before were back in time."""
        self._waiting: deque[tuple[int, int]] = (
            deque()
        )  # (ticket, clients), but for those without clients
        self._told = 0
        self._told_ns = 0
        self._window_ns = 0
        self._back = 0  # of those who were told, in time
        self._expected = 0  # so many are pending when all are back

    def wrote(self, ticket: int, clients: int, now_ns: int) -> None:
        """So many clients, more than none, wait for this ticket."""
        self._waiting.append((ticket, clients))
        self.pending += clients
        if now_ns - self._told_ns <= self._window_ns:
            self._back += clients

    def told(self, ticket: int, now_ns: int, append_ns: int) -> None:
        """Those who wait for tickets up to this one are told; the append took so long."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > ticket:
            return
        before = self.pending
        while waiting and waiting[0][0] <= ticket:
            self.pending -= waiting.popleft()[1]
        self.punctual = 2 * self._back >= self._told
        self._told = before - self.pending
        self._told_ns = now_ns
        self._window_ns = min(append_ns, WINDOW_NS_MAX)
        self._back = 0
        self._expected = before

    def awaited(self, now_ns: int, pending_bytes: int) -> bool:
        """Whether an entry with what is pending should wait for those who are on their way."""
        return (
            self.punctual
            and self.pending < self._expected
            and pending_bytes < PENDING_BYTES_MAX
            and now_ns - self._told_ns < self._window_ns
        )
