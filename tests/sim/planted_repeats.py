"""Bugs that are put in on purpose, of messages that come again: duplicates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core import topology_restore
from mansio.core.deduplication import Deduplication, Present, Window
from mansio.core.marks import Marks
from mansio.core.restore import Restore
from mansio.core.run import Run
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import Profile, deduplicate

Plant = Callable[[], AbstractContextManager[Any]]


def _held_for_ever() -> AbstractContextManager[Any]:
    """An id is not free again when its message is settled."""
    return often_repeated(patch.object(Present, "settled", lambda self, id: None))


def _refused_and_known() -> AbstractContextManager[Any]:
    """What a full queue has refused is remembered."""

    def half(self: Deduplication, window: Window, marks: Marks, of: Any) -> None:
        self._refuse_repeats(window, marks)

    return often_repeated(patch.object(Deduplication, "_forget", half), full=True)


def _refused_alone() -> AbstractContextManager[Any]:
    """What was not taken for a message that a full queue has refused then is confirmed."""
    bug = patch.object(Deduplication, "_refuse_repeats", lambda *about: None)
    return often_repeated(bug, full=True)


def _parted_from_the_first() -> AbstractContextManager[Any]:
    """What came behind a message whose id has come anew since, in this turn, is confirmed whatever becomes of it."""
    remember = Deduplication._remember

    def anew(self: Deduplication, window: Window, run: Run, *about: Any) -> None:
        for each in [each for each in self._repeats if each[0] is window]:
            if run.marks is not None and each[1] is self._firsts.get((window, run.marks.id or "")):
                del self._repeats[each]
        remember(self, window, run, *about)

    def hasten(profile: Profile, _: Random) -> None:
        profile.turn, profile.step_ns = 0.2, 500_000
        for queue in profile.plain:
            queue.arguments |= {"x-message-deduplication": True, "x-cache-ttl": 1}

    bug = often_repeated(patch.object(Deduplication, "_remember", anew), full=True)
    return worlds(bug, hasten)


def _recalled_anew() -> AbstractContextManager[Any]:
    """What an exchange remembers is taken again by queues that have got it."""

    def recall(profile: Profile, _: Random) -> None:
        profile.taste["topology"] = 3.0
        for exchange in profile.exchanges:
            exchange.type, exchange.arguments = "x-recent-history", {}

    return worlds(often_repeated(patch.object(Marks, "only_id", lambda self: None)), recall)


def _too_long() -> AbstractContextManager[Any]:
    """What a message says of the time does not count."""
    until_ms = Window.until_ms

    def deaf(self: Window, ttl_ms: int | None, now_ms: int) -> int:
        return until_ms(self, None, now_ms)

    return often_repeated(patch.object(Window, "until_ms", deaf))


def _not_written() -> AbstractContextManager[Any]:
    """The log is not told what windows remember."""
    return often_repeated(patch.object(Deduplication, "take_records", lambda self: []))


def _window_lost() -> AbstractContextManager[Any]:
    """After a restart windows have seen nothing."""
    return rough(
        often_repeated(patch.object(topology_restore, "restore_ids", lambda of, ids: None))
    )


def _present_lost() -> AbstractContextManager[Any]:
    """After a restart queues do not know the ids of what they have."""
    return rough(often_repeated(patch.object(Restore, "_mark", lambda *about: None)))


def often_repeated(
    bug: AbstractContextManager[Any], full: bool = False
) -> AbstractContextManager[Any]:
    """Worlds in which many messages come again, and many queues and exchanges look at that; `full`: and queues have
    room for few."""

    def repeat(profile: Profile, rng: Random) -> None:
        if not profile.repeating:
            for spec in (*profile.plain, *profile.exchanges):
                if rng.random() < 0.5:
                    deduplicate(rng, spec.arguments, 0.5)
        profile.repeating, profile.cross = 0.7, False
        for queue in profile.plain if full else ():
            queue.arguments |= {"x-max-length": 1, "x-overflow": "reject-publish"}

    return worlds(bug, repeat)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("id held for ever", _held_for_ever),
    ("id of a refused message remembered", _refused_and_known),
    ("duplicate of a refused message confirmed", _refused_alone),
    ("duplicate of a refused message confirmed when it came anew", _parted_from_the_first),
    ("id of what was recalled not held", _recalled_anew),
    ("id remembered for too long", _too_long),
    ("ids not in the log", _not_written),
    ("ids of windows lost at restart", _window_lost),
    ("ids of queues lost at restart", _present_lost),
)
