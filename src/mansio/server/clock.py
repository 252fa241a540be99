"""The only place that reads a clock. The simulation passes a clock of its own in its place."""

from time import monotonic_ns, process_time_ns, time
from typing import Protocol


class Clock(Protocol):
    """What the server needs of a clock; this module itself is one."""

    def now_ns(self) -> int:
        """Nanoseconds since some moment; never goes back. For deadlines and intervals."""

    def wall_s(self) -> float:
        """Seconds since 1970 in UTC; may jump. For people and for timestamps only."""


now_ns = monotonic_ns
"""Monotonic time in nanoseconds."""
wall_s = time
"""Time of day in seconds since 1970, UTC."""
cpu_ns = process_time_ns
"""CPU time of this process so far, in nanoseconds; tells whether it is idle."""
