"""The only place that reads a clock. The simulation passes a clock of its own in its place."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the server needs of a clock; this module itself is one."""

    def now_ns(self) -> int:
        """Nanoseconds since some moment; never goes back. For deadlines and intervals."""

    def wall_s(self) -> float:
        """Seconds since 1970 in UTC; may jump. For people and for timestamps only."""


def now_ns() -> int:
    """Monotonic time in nanoseconds."""
    return time.monotonic_ns()


def wall_s() -> float:
    """Time of day in seconds since 1970, UTC."""
    return time.time()


def cpu_ns() -> int:
    """CPU time of this process so far, in nanoseconds; tells whether it is idle."""
    return time.process_time_ns()
