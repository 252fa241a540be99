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


class Returning:
    """Counts clients that wait for the log. Times are in ns of one clock; `others`: clients of the turn that is not
    over, which have no ticket yet."""

    __slots__ = (
        "_before", "_expected", "_here", "_told_ns", "_waiting", "_window_ns", "pending", "punctual",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pending = 0
        """Clients that wait for tickets; who has done so twice counts twice."""
        self.punctual = False
        """Whether most of those who were told before the last ones were back in time."""
        self._waiting: deque[tuple[int, int]] = (
            deque()
        )  # (ticket, clients), but for those without clients
        self._told_ns = 0
        self._window_ns = 0
        self._before = 0  # who waited when the last ones were told
        self._here = 0  # who waited when somebody last came in time
        self._expected = 0  # who waits when all are back

    def wrote(self, ticket: int, clients: int) -> None:
        """So many clients, more than none, wait for this ticket."""
        self._waiting.append((ticket, clients))
        self.pending += clients

    def told(self, ticket: int, now_ns: int, append_ns: int, others: int = 0) -> None:
        """Those who wait for tickets up to this one are told; the append took so long."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > ticket:
            return
        self.punctual = 2 * (self._here - self._before) >= self._expected - self._before
        self._expected = self.pending + others
        while waiting and waiting[0][0] <= ticket:
            self.pending -= waiting.popleft()[1]
        self._before = self._here = self.pending + others
        self._told_ns = now_ns
        self._window_ns = min(append_ns, WINDOW_NS_MAX)

    def awaited(self, now_ns: int, others: int = 0) -> bool:
        """Whether more of those who were told are on their way; it has to be asked when some have come."""
        if now_ns - self._told_ns >= self._window_ns:
            return False
        self._here = self.pending + others
        return self.punctual and self._here < self._expected
