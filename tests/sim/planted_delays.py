"""Bugs that are put in on purpose, of messages that wait: tried again later, or delayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mansio.core.deadlines import Deadlines, Timed
from mansio.core.deferred import Deferred
from mansio.core.queue import Queue
from mansio.core.restore import Restore
from mansio.core.retry import Retry
from mansio.core.run import Span
from mansio.core.settling import Settling
from tests.sim.planted_letters import rough

if TYPE_CHECKING:
    from mansio.core.draws import Draws

OFTEN = 5
"""Some bugs strike only every so many times."""
Plant = Callable[[], AbstractContextManager[Any]]


def _tried_early() -> AbstractContextManager[Any]:
    """A deferred message comes back when half of its time is over."""
    add = Deferred.add

    def early(self: Deferred, span: Span, due_ms: int) -> None:
        now_ms = self._broker.now_ms
        add(self, span, now_ms + (due_ms - now_ms) // 2)

    return patch.object(Deferred, "add", early)


def _tried_never() -> AbstractContextManager[Any]:
    """Now and then a queue is not called when what it has deferred is due."""
    at = Deadlines.at
    calls = 0

    def forgetful(self: Deadlines, when_ms: int, timed: Timed) -> None:
        nonlocal calls
        calls += isinstance(timed, Deferred)
        if not isinstance(timed, Deferred) or calls % OFTEN:
            at(self, when_ms, timed)

    return patch.object(Deadlines, "at", forgetful)


def _tried_too_often() -> AbstractContextManager[Any]:
    """A rule without end: its last delay is used again and again."""
    delay_ms = Retry.delay_ms

    def endless(self: Retry, attempt: int, draws: Draws) -> int | None:
        return delay_ms(
            self, min(attempt, max(self.limit, 1)) if self.limit >= 0 else attempt, draws
        )

    return patch.object(Retry, "delay_ms", endless)


def _end_counts() -> AbstractContextManager[Any]:
    """What comes back because a channel has ended is deferred, too."""
    requeue = Settling.requeue

    def deferring(self: Settling, pieces: Any, why: int = 0) -> None:
        requeue(self, pieces, why or 2)

    return patch.object(Settling, "requeue", deferring)


def _due_forgotten() -> AbstractContextManager[Any]:
    """After a restart what was deferred is ready at once."""
    put = Restore._put

    def forgetful(self: Restore, queue: Queue, span: Span) -> None:
        counted = self._counted.get(queue.id, {})
        for position, (deliveries, _) in list(counted.items()):
            counted[position] = deliveries, 0
        put(self, queue, span)

    return rough(patch.object(Restore, "_put", forgetful))


def _not_written() -> AbstractContextManager[Any]:
    """The log is told how often a message was tried, and not when it is tried again."""
    given_back = Settling.given_back

    def silent(self: Settling, queue: Queue, piece: Any, deliveries: int, due_ms: int) -> None:
        given_back(self, queue, piece, deliveries, 0)

    return patch.object(Settling, "given_back", silent)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("retry too early", _tried_early),
    ("retry forgotten", _tried_never),
    ("retry once too often", _tried_too_often),
    ("end of a channel taken for a refusal", _end_counts),
    ("time of a retry lost at restart", _due_forgotten),
    ("time of a retry not in the log", _not_written),
)
