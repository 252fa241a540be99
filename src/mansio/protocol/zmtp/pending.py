"""Publishes of one connection that wait for the log, by their numbers on its channel: the first one is number 1."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mansio.protocol.zmtp.statuses import FAILED, FULL

if TYPE_CHECKING:
    from mansio.core.session import Channel

Told = Callable[[int, Sequence[int]], None]
"""Is told what became of publishes that came together: a status, and which of them, from 0 on, have it. The others are
stored."""


class _Waiting(NamedTuple):
    first: int
    last: int
    told: Told


class Pending:
    """In the order in which they were published."""

    def __init__(self, channel: "Channel") -> None:
        channel.confirming = True
        self._channel = channel
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, count: int, told: Told) -> None:
        """The last `count` publishes of the channel wait from now on."""
        last = self._channel.published
        self._waiting.append(_Waiting(last - count + 1, last, told))

    def confirmed(self, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Outbox`."""
        waiting = self._waiting
        while waiting and waiting[0].last <= upto:
            first, last, told = waiting.popleft()
            lost: Sequence[int] = ()
            if rejected:
                numbers = {
                    number - first
                    for low, high in rejected
                    for number in range(max(low, first), min(high, last) + 1)
                }
                lost = sorted(numbers)
            told(FULL, lost)

    def refused(self, upto: int) -> None:
        """See `Outbox`."""
        waiting = self._waiting
        while waiting and waiting[0].last <= upto:
            first, last, told = waiting.popleft()
            told(FAILED, range(last - first + 1))
