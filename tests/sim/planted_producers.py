"""Bugs that are put in on purpose, of producers that number their messages, and of ids and receipts beside streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core.deduplication import Deduplication, Window
from mansio.core.producers import Producers, _numbered
from mansio.core.receipts import Receipts
from mansio.core.run import Run
from mansio.core.stream import Stream
from mansio.core.streams import Streams
from tests.sim.planted_repeats import often_repeated
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import Profile

Plant = Callable[[], AbstractContextManager[Any]]


def numbering(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """The bug, in worlds where streams look at the numbers of what is published, and much is published again."""

    def number(profile: Profile, _: Random) -> None:
        profile.numbering, profile.cross = max(profile.numbering, 0.3), False
        profile.taste["produce"] = 3.0
        for spec in profile.queues:
            if spec.arguments.get("x-queue-type") == "stream":
                spec.arguments["x-message-deduplication"] = True
                if profile.producers_max > 2:
                    profile.producers.append((f"{spec.name} again", spec.name))

    return worlds(bug, number)


def _stored_again() -> AbstractContextManager[Any]:
    """A message with the last number is stored again."""

    def knows(self: Producers, id: str, now_ms: int) -> bool:
        found = _numbered(id)
        return found is not None and found[1] < self.numbers.get(found[0], -1)

    return numbering(patch.object(Producers, "knows", knows))


def _only_last() -> AbstractContextManager[Any]:
    """Only the last number is known, and lower ones are stored."""

    def knows(self: Producers, id: str, now_ms: int) -> bool:
        found = _numbered(id)
        return found is not None and found[1] == self.numbers.get(found[0])

    return numbering(patch.object(Producers, "knows", knows))


def _one_for_all() -> AbstractContextManager[Any]:
    """The numbers of all producers are taken for those of one."""
    remember = Producers.remember

    def mixed(self: Producers, id: str, *about: Any) -> None:
        remember(self, id, *about)
        for name in self.numbers:
            self.numbers[name] = max(self.numbers.values())

    return numbering(patch.object(Producers, "remember", mixed))


def _not_kept() -> AbstractContextManager[Any]:
    """Numbers are not written down with the topology, and known as long as the log reaches back."""
    return rough(numbering(patch.object(Producers, "kept", lambda self, now_ms: [])))


def _not_written() -> AbstractContextManager[Any]:
    """Numbers are not written down as they come."""
    take = Deduplication.take_records

    def silent(self: Deduplication) -> list[Any]:
        for window in [each for each in self._fresh if isinstance(each, Producers)]:
            del self._fresh[window]
        return take(self)

    return numbering(patch.object(Deduplication, "take_records", silent))


def _refused() -> AbstractContextManager[Any]:
    """The publisher of a duplicate hears that it could not be stored."""
    repeated = Deduplication._repeated

    def refusing(self: Deduplication, memory: Any, id: str, channel: Any) -> None:
        repeated(self, memory, id, channel)
        if isinstance(memory, Producers) and channel.confirming:
            channel.rejected.append((channel.published, channel.published))

    return numbering(patch.object(Deduplication, "_repeated", refusing))


def _unnoticed() -> AbstractContextManager[Any]:
    """An exchange does not remember the id of what only streams took."""
    remember = Deduplication._remember

    def forgetful(self: Deduplication, window: Window, run: Run, *about: Any) -> None:
        if not all(queue.keeps for queue in run.routes[0].queues):
            remember(self, window, run, *about)

    def repeat(profile: Profile, _: Random) -> None:
        profile.taste["topology"] = 3.0

    bug = patch.object(Deduplication, "_remember", forgetful)
    return worlds(often_repeated(bug), repeat)


def _owed_by_streams() -> AbstractContextManager[Any]:
    """Streams owe receipts, for what they never settle."""
    append = Streams.append

    def owing(self: Streams, stream: Stream, run: Run) -> None:
        append(self, stream, run)
        if run.marks is not None:
            self._broker.receipts.arrived(run.marks, (stream,))

    return asking(patch.object(Streams, "append", owing))


def _into_groups() -> AbstractContextManager[Any]:
    """Receipts come into groups."""
    send = Receipts.send

    def careless(self: Receipts, vhost: str, run: Run, *about: Any) -> None:
        target = run.marks and self._broker.vhosts[vhost].queues.get(run.marks.reply_to or "")
        if target is None or not target.fed:
            send(self, vhost, run, *about)
            return
        with patch.object(type(target), "fed", False):
            send(self, vhost, run, *about)

    return asking(patch.object(Receipts, "send", careless))


def asking(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """The bug, in worlds where many messages ask for receipts."""

    def ask(profile: Profile, _: Random) -> None:
        profile.telling = 0.5

    return worlds(bug, ask)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("last number stored again", _stored_again),
    ("lower number stored", _only_last),
    ("producers taken for one", _one_for_all),
    ("numbers not in the snapshot", _not_kept),
    ("numbers not in the log", _not_written),
    ("duplicate number refused", _refused),
    ("id that only streams took forgotten", _unnoticed),
    ("receipts owed by streams", _owed_by_streams),
    ("receipts in groups", _into_groups),
)
