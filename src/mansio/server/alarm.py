"""The broker's time: Unix time for what it does, and an alarm for what is due though nobody says anything."""

import asyncio
from collections.abc import Callable
from typing import Final

from mansio.core.broker import Broker
from mansio.core.deadlines import NEVER_MS
from mansio.server.clock import Clock

ALARM_S_MAX: Final = 3600.0
"""Longest time that the loop is asked to wait for the broker's next deadline, which may be years ahead."""


class Alarm:
    """Sets the time of one broker."""

    def __init__(self, broker: Broker, clock: Clock, ring: Callable[[], None]) -> None:
        """`ring` is called when the broker has something to do."""
        self._broker = broker
        self._clock = clock
        self._ring = ring
        self._next_ms = NEVER_MS  # when it rings
        self._unix_ns = 0  # what makes the clock's time Unix time
        self.set_time()

    def set_time(self) -> None:
        """Asks for the time of day, which may have been changed since."""
        now_ns = self._clock.now_ns()
        self._unix_ns = int(self._clock.wall_s() * 1_000_000_000) - now_ns
        self.see(now_ns)

    def see(self, now_ns: int) -> None:
        """The broker goes by this time of the clock from now on."""
        self._broker.now_ms = (now_ns + self._unix_ns) // 1_000_000

    def look(self) -> None:
        """A turn is about to end."""
        if self._broker.deadlines.next_ms < NEVER_MS:
            self.see(self._clock.now_ns())

    def set(self) -> None:
        """A turn has ended: rings when the next thing is due. One that rings too early finds the next time."""
        next_ms = self._broker.deadlines.next_ms
        if next_ms >= self._next_ms:
            return
        self._next_ms = next_ms
        delay_s = max(next_ms - self._broker.now_ms, 0) / 1000
        loop = asyncio.get_running_loop()
        loop.call_later(min(delay_s, ALARM_S_MAX), self._on_time, next_ms)

    def _on_time(self, when_ms: int) -> None:
        if when_ms == self._next_ms:
            self._next_ms = NEVER_MS
        self._ring()
