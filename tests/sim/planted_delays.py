"""Bugs that are put in on purpose, of messages that wait: tried again later, or delayed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mansio.core import restore
from mansio.core.deadlines import Deadlines, Timed
from mansio.core.deferred import Deferred
from mansio.core.delays import Delays
from mansio.core.forwarding import Forwarding
from mansio.core.held import Held
from mansio.core.queue import Queue
from mansio.core.restore import Restore
from mansio.core.retry import Retry
from mansio.core.run import Run, Span
from mansio.core.settling import Settling
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import Profile

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


def _delayed_too_short() -> AbstractContextManager[Any]:
    """A delayed message is held back for half of its time."""
    start = Held.start

    def early(self: Held, base: int, now_ms: int) -> None:
        if isinstance(self.due, int):
            self.due //= 2
        start(self, base, now_ms)

    return often_delayed(patch.object(Held, "start", early))


def _delayed_for_ever() -> AbstractContextManager[Any]:
    """Now and then nobody is called when delayed messages are due."""
    at = Deadlines.at
    calls = 0

    def forgetful(self: Deadlines, when_ms: int, timed: Timed) -> None:
        nonlocal calls
        calls += isinstance(timed, Delays)
        if not isinstance(timed, Delays) or calls % OFTEN:
            at(self, when_ms, timed)

    return often_delayed(patch.object(Deadlines, "at", forgetful))


def _delayed_run_by_run() -> AbstractContextManager[Any]:
    """All that is due of one run comes out before what is due of others."""
    return often_delayed(patch.object(Delays, "_until", lambda self, now_ms: (now_ms, 1 << 64)))


def _delayed_again() -> AbstractContextManager[Any]:
    """A restart brings back what has left the store."""
    left = Settling.left

    def silent(self: Settling, run: Run, holder: int, count: int, ranges: Any) -> None:
        left(self, run, holder, count, [])

    return often_delayed(patch.object(Settling, "left", silent))


@contextmanager
def _delayed_in_two_entries() -> Iterator[None]:
    """That a message has left the store is in the entry behind the one with what became of it."""
    left, take = Settling.left, Settling.take_records
    late: dict[int, list[Any]] = {}

    def slow(self: Settling, run: Run, holder: int, count: int, ranges: Any) -> None:
        left(self, run, holder, count, [])
        if ranges:
            late.setdefault(holder, []).extend(ranges)

    def slow_take(self: Settling) -> list[Any]:
        taken: list[Any] = take(self)
        for holder, ranges in late.items():
            self._ranges.setdefault(holder, []).extend(ranges)
        late.clear()
        return taken

    bug = patch.object(Settling, "left", slow)
    with often_delayed(bug), patch.object(Settling, "take_records", slow_take):
        yield


def _delayed_anew() -> AbstractContextManager[Any]:
    """After a restart delays take longer."""
    read = restore.from_table

    def late(run: Run, base: int, table: array[int]) -> Held:
        times = [each + 1000 for each in table[: run.count]]
        return read(run, base, array("Q", times) + table[run.count :])

    return rough(often_delayed(patch.object(restore, "from_table", late)))


def _delayed_old_ways() -> AbstractContextManager[Any]:
    """Delayed messages go where others of their key went before."""
    end = Forwarding.end

    def clinging(self: Forwarding) -> None:
        known = dict(self._by_key)
        end(self)
        self._by_key.update(known)

    return often_delayed(patch.object(Forwarding, "end", clinging))


def often_delayed(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Worlds in which many messages are delayed."""

    def delay(profile: Profile, _: Random) -> None:
        profile.delaying = 0.4

    return worlds(bug, delay)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("retry too early", _tried_early),
    ("retry forgotten", _tried_never),
    ("retry once too often", _tried_too_often),
    ("end of a channel taken for a refusal", _end_counts),
    ("time of a retry lost at restart", _due_forgotten),
    ("time of a retry not in the log", _not_written),
    ("delayed message too early", _delayed_too_short),
    ("delayed message forgotten", _delayed_for_ever),
    ("delayed messages run by run", _delayed_run_by_run),
    ("delayed message comes again", _delayed_again),
    ("delayed message leaves in another entry", _delayed_in_two_entries),
    ("delay longer after a restart", _delayed_anew),
    ("delayed message on old ways", _delayed_old_ways),
)
