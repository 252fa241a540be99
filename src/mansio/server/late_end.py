"""Turns that end late: what clients do who wait for the log goes into one turn for as long as the log is busy anyway.

    LPUSH ─ LPUSH ─ LPUSH ─┐ the entry before is durable, or nobody is on his way any more
    └────── one turn ──────┴─► end ──► one entry

The end of a turn costs as much as some ten commands of clients that come one by one.
"""

from collections.abc import Sequence
from typing import Final

from mansio.core.broker import Broker
from mansio.protocol.base import Front
from mansio.server.clock import Clock
from mansio.server.committer import Committer

OPEN_NS_MAX: Final = 5_000_000
"""For so long at most: then what has come goes to what waits for the log."""


class LateEnd:
    """Knows whether a turn may be left open."""

    __slots__ = ("_broker", "_clock", "_committer", "_speaking", "_until_ns")

    def __init__(
        self, broker: Broker, committer: Committer, clock: Clock, speaking: Sequence[Front]
    ) -> None:
        """`speaking`: fronts with output."""
        self._broker = broker
        self._committer = committer
        self._clock = clock
        self._speaking = speaking
        self._until_ns = 0  # when this turn ends anyway; -1: now; 0: it was not asked yet

    def puts_off(self) -> bool:
        """Whether the turn, in which somebody did what is to be durable, need not end now: nobody else waits for its
        end, and the committer will ask for it."""
        broker = self._broker
        if self._speaking or broker.resumed or broker.notices:
            return False
        if broker.dispatcher.awaited or broker.lists.awaited:
            return False
        if broker.confirms.urgent or broker.deadlines.next_ms <= broker.now_ms:
            return False
        now_ns = self._clock.now_ns()
        if not self._until_ns:
            self._until_ns = now_ns + OPEN_NS_MAX
        return now_ns < self._until_ns and self._committer.leave_open(broker.confirms.changing)

    def due(self) -> None:
        """The log is ready for it."""
        self._until_ns = -1

    def ended(self) -> None:
        """The next turn begins."""
        self._until_ns = 0
        self._committer.open_clients = 0
