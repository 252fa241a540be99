"""Bugs that are put in on purpose, of receipts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core.marks import Marks
from mansio.core.receipts import Receipts
from mansio.core.restore import Restore
from mansio.core.settling import Settling
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import Profile

OFTEN = 5
"""Some bugs strike only every so many times."""
Plant = Callable[[], AbstractContextManager[Any]]


def _not_told() -> AbstractContextManager[Any]:
    """Now and then nobody is told of a message that came to no queue, or to fewer than it might have."""
    send = Receipts.send
    calls = 0

    def forgetful(self: Receipts, vhost: str, run: Any, outcome: str, *about: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % OFTEN:
            send(self, vhost, run, outcome, *about)

    return often_told(patch.object(Receipts, "send", forgetful))


def _not_counted() -> AbstractContextManager[Any]:
    """A receipt knows of the last delivery only."""
    return often_told(patch.object(Marks, "count_return", lambda self, queue_id: 0))


def _told_too_late() -> AbstractContextManager[Any]:
    """The end of a message is in the entry behind the one with its receipt."""
    settled, take = Settling.settled, Settling.take_records
    late: dict[int, list[Any]] = {}

    def slow(self: Settling, queue: Any, run: Any, *about: Any, **how: Any) -> None:
        before = list(self._ranges.get(queue.id, ()))
        settled(self, queue, run, *about, **how)
        if run.marks is not None and run.marks.reply_to is not None:
            ranges = self._ranges.get(queue.id, [])
            late.setdefault(queue.id, []).extend(ranges[len(before) :])
            self._ranges[queue.id] = before

    def slow_take(self: Settling) -> list[Any]:
        self._ranges = {ident: ranges for ident, ranges in self._ranges.items() if ranges}
        taken: list[Any] = take(self)
        self._ranges = {ident: ranges for ident, ranges in late.items() if ranges}
        late.clear()
        return taken

    return often_told(
        patch.multiple(Settling, settled=slow, take_records=slow_take)  # type: ignore[arg-type]
    )


def _not_told_after_a_restart() -> AbstractContextManager[Any]:
    """A restart does not know who is to be told."""
    return rough(often_told(patch.object(Restore, "_mark", lambda *about: None)))


def often_told(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Worlds in which many messages ask for receipts."""

    def tell(profile: Profile, _: Random) -> None:
        profile.telling = 0.5

    return worlds(bug, tell)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("receipt forgotten", _not_told),
    ("deliveries not counted for a receipt", _not_counted),
    ("end behind its receipt", _told_too_late),
    ("receipts forgotten at restart", _not_told_after_a_restart),
)
