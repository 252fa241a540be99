"""Bugs that are put in on purpose, of what queues do by themselves: expire, count, have priorities, dead-letter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from mansio.core import records, restore
from mansio.core.dead_letters import DeadLetters
from mansio.core.deadlines import Deadlines, Timed
from mansio.core.expiry import Expiry
from mansio.core.journal import Journal
from mansio.core.lease import Lease
from mansio.core.levels import Levels
from mansio.core.queue import Queue
from mansio.core.restore import Restore
from mansio.core.routing import Arguments
from mansio.core.rules import Rules
from mansio.core.run import Run, Span
from mansio.core.settling import Settling
from mansio.protocol.amqp import letters
from tests.sim.planted_worlds import rough

OFTEN = 5
"""Some bugs strike only every so many times."""
Plant = Callable[[], AbstractContextManager[Any]]


def _delivered_expired() -> AbstractContextManager[Any]:
    """What has expired goes to consumers all the same."""
    return patch.multiple(Expiry, before=lambda self: True, head_lives=_is_there)


def _delivered_behind() -> AbstractContextManager[Any]:
    """What has expired behind the head is delivered with it."""
    return patch.object(Expiry, "head_lives", _is_there)


def _is_there(self: Expiry) -> bool:
    return self._queue.ready_count > 0


def _lost_timer() -> AbstractContextManager[Any]:
    """For some time queues are not called when their heads expire."""
    at = Deadlines.at
    calls = 0

    def forgetful(self: Deadlines, when_ms: int, timed: Timed) -> None:
        nonlocal calls
        calls += isinstance(timed, Expiry)
        if not isinstance(timed, Expiry) or calls % 50 > OFTEN:
            at(self, when_ms, timed)

    return patch.object(Deadlines, "at", forgetful)


@contextmanager
def _two_entries() -> Iterator[None]:
    """What a queue drops is settled in the entry behind the one with its dead letters."""
    drop, take = DeadLetters.drop, Settling.take_records
    late: dict[int, list[Any]] = {}

    def slow_drop(self: DeadLetters, queue: Queue, span: Span, reason: str) -> None:
        settling = self._broker.settling
        before = list(settling._ranges.get(queue.id, ()))
        drop(self, queue, span, reason)
        ranges = settling._ranges.get(queue.id, [])
        if len(ranges) > len(before):
            late.setdefault(queue.id, []).extend(ranges[len(before) :])
            settling._ranges[queue.id] = before

    def slow_take(self: Settling) -> list[Any]:
        self._ranges = {ident: ranges for ident, ranges in self._ranges.items() if ranges}
        taken: list[Any] = take(self)
        self._ranges = dict(late)
        late.clear()
        return taken

    with (
        patch.object(Settling, "take_records", slow_take),
        patch.object(DeadLetters, "drop", slow_drop),
    ):
        yield


def _round_and_round() -> AbstractContextManager[Any]:
    """Nobody notices that a message goes round."""
    return patch("mansio.core.dead_letters._cycle", lambda deaths: frozenset())


def _lowest_first() -> AbstractContextManager[Any]:
    """The lowest priority is served before the others."""

    def head(self: Levels) -> deque[Span]:
        return next((lane for lane in self.lanes if lane), self.lanes[0])

    return patch.object(Levels, "head", head)


def _behind_its_level() -> AbstractContextManager[Any]:
    """What is requeued comes behind the others of its priority."""

    plain = Queue.requeue

    def requeue(self: Queue, pieces: Sequence[Any]) -> None:
        if self.levels is None:
            plain(self, pieces)
            return
        counts = self.rules.counts
        for piece in pieces:
            self.in_flight -= piece.count
            self.ready_count += piece.count
            for i in range(piece.start, piece.start + piece.count * piece.step, piece.step):
                deliveries = piece.deliveries + 1 if counts else 0
                span = Span(piece.run, i, i + 1, piece.base, True, deliveries)
                self.levels.lane(piece.run).append(span)
        self.ready = self.levels.head()

    return patch.object(Queue, "requeue", requeue)


def _count_forgotten() -> AbstractContextManager[Any]:
    """A restart does not know how often messages were given back."""
    put = Restore._put

    def forgetful(self: Restore, queue: Queue, span: Span) -> None:
        self._counted.clear()
        put(self, queue, span)

    return rough(patch.object(Restore, "_put", forgetful))


def _count_not_carried() -> AbstractContextManager[Any]:
    """When the log moves a record, it does not write again how often its messages were given back."""
    carry = Journal.carry

    def forgetful(self: Journal, run: Run) -> None:
        run.returns = None
        carry(self, run)

    return rough(patch.object(Journal, "carry", forgetful))


def _too_patient() -> AbstractContextManager[Any]:
    """Messages may be given back once more than the queue says."""
    init = Rules.__init__

    def patient(self: Rules, arguments: Arguments) -> None:
        init(self, arguments)
        self.delivery_limit += self.delivery_limit >= 0

    return patch.object(Rules, "__init__", patient)


def _born_again() -> AbstractContextManager[Any]:
    """A restart takes messages for older than they are."""

    def decode(record: bytes) -> Any:
        found = records.decode(record)
        if isinstance(found, records.Published):
            return found._replace(arrived_ms=0)
        return found

    return rough(patch.object(restore, "decode", decode))


def _in_both_places() -> AbstractContextManager[Any]:
    """Now and then what is dead-lettered is not settled in the log."""
    drop = DeadLetters.drop
    calls = 0

    def forgetful(self: DeadLetters, queue: Queue, span: Span, reason: str) -> None:
        nonlocal calls
        calls += 1
        settling = self._broker.settling
        before = {ident: list(ranges) for ident, ranges in settling._ranges.items()}
        drop(self, queue, span, reason)
        if not calls % OFTEN:
            settling._ranges = before

    return patch.object(DeadLetters, "drop", forgetful)


def _lost_when_read() -> AbstractContextManager[Any]:
    """What was rejected while it was paged out is settled when it is read, and not dead-lettered."""

    def loaded(self: DeadLetters, run: Run) -> None:
        self._broker.settling.accept([piece for piece, _ in self.waiting.pop(run, ())])

    return patch.object(DeadLetters, "_loaded", loaded)


def _counted_once() -> AbstractContextManager[Any]:
    """A message that dies again in the same way is not counted."""
    add = letters._add_death

    def once(before: list[Any], entry: dict[str, Any]) -> list[Any]:
        deaths = add(before, entry)
        return [{**deaths[0], "count": entry["count"]}, *deaths[1:]]  # type: ignore[dict-item]

    return patch.object(letters, "_add_death", once)


def _unused() -> AbstractContextManager[Any]:
    """Using a queue does not prolong its lease."""
    used = Lease.used

    def deaf(self: Lease) -> None:
        if not self._used_ms:
            used(self)

    return patch.object(Lease, "used", deaf)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("expired message delivered", _delivered_expired),
    ("expired message delivered behind its head", _delivered_behind),
    ("timer of the head lost", _lost_timer),
    ("dead letter in another entry", _two_entries),
    ("dead letter in both places", _in_both_places),
    ("dead letter lost when it is read", _lost_when_read),
    ("circle not noticed", _round_and_round),
    ("deaths not counted", _counted_once),
    ("lowest priority first", _lowest_first),
    ("requeue behind its priority", _behind_its_level),
    ("delivery count lost at restart", _count_forgotten),
    ("delivery count not carried", _count_not_carried),
    ("delivery limit too high", _too_patient),
    ("age lost at restart", _born_again),
    ("lease not prolonged", _unused),
)
