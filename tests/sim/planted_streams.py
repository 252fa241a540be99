"""Bugs that are put in on purpose, of streams and consumer groups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core.group import Group
from mansio.core.restore import Restore
from mansio.core.run import Run
from mansio.core.settling import Settling
from mansio.core.stream import Reader, Stream
from mansio.core.streams import Streams
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import SLOW, Profile

OFTEN = 5
"""Some bugs strike only every so many times."""
Plant = Callable[[], AbstractContextManager[Any]]


def reading(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """The bug, in worlds where streams are read and much of them is not in memory."""

    def fall_behind(profile: Profile, _: Random) -> None:
        if not any("x-max-age" in each.arguments for each in profile.queues):
            profile.page_bytes = 200
        profile.taste["read"] = 3.0

    return worlds(bug, fall_behind)


def _reused() -> AbstractContextManager[Any]:
    """After a restart a stream goes on with an offset that it has given away."""
    finish = Restore.finish

    def forgetful(self: Restore) -> None:
        finish(self)
        for host in self._broker.vhosts.values():
            for queue in host.queues.values():
                if isinstance(queue, Stream) and queue.ready:
                    queue.ready_count -= queue.ready[-1].run.count
                    queue.next_position = queue.committed = queue.ready.pop().base
                    queue.segments.clear()

    return rough(patch.object(Restore, "finish", forgetful))


def _skipped() -> AbstractContextManager[Any]:
    """Now and then a reader that waits for a run to be read goes on behind it."""
    wait = Streams._wait
    calls = 0

    def hasty(self: Streams, stream: Stream, reader: Reader, run: Run) -> None:
        nonlocal calls
        calls += 1
        wait(self, stream, reader, run)
        if not calls % OFTEN:
            reader.offset += 1
            reader.number = -1

    return reading(patch.object(Streams, "_wait", hasty))


def _lost_entry() -> AbstractContextManager[Any]:
    """At a restart a group begins one entry too late."""
    restored = Group.restored

    def late(self: Group) -> None:
        if self.ready_count:
            run = self.take_head(1).run
            run.live -= 1
        restored(self)

    return rough(patch.object(Group, "restored", late))


def _settled_lost() -> AbstractContextManager[Any]:
    """What a group has settled is not in the log."""
    settled = Settling.settled

    def silent(self: Settling, queue: Any, *about: Any, **more: Any) -> None:
        settled(self, queue, *about, **more)
        if isinstance(queue, Group):
            self._ranges.pop(queue.id, None)

    return patch.object(Settling, "settled", silent)


def _unprotected() -> AbstractContextManager[Any]:
    """Retention does not ask what protected groups need."""
    return patch.object(Group, "floor", 1 << 60)


def _too_much() -> AbstractContextManager[Any]:
    """The last segment goes with the others."""
    excess = Stream.excess

    def greedy(self: Stream, now_ms: int) -> int:
        until = excess(self, now_ms)
        return self.committed if until else 0

    return patch.object(Stream, "excess", greedy)


def _never_cut() -> AbstractContextManager[Any]:
    """Nobody looks whether entries are too old."""
    return patch.object(Stream, "next_excess_ms", lambda self: None)


def _early() -> AbstractContextManager[Any]:
    """Readers get what is not durable yet. Worlds whose log is slow."""
    append = Streams.append

    def hasty(self: Streams, stream: Stream, run: Run) -> None:
        append(self, stream, run)
        stream.committed = stream.next_position
        self._broker.dispatcher.touch(stream)

    def slow(profile: Profile, _: Random) -> None:
        profile.faults = SLOW

    return worlds(patch.object(Streams, "append", hasty), slow)


def _wrong_begin() -> AbstractContextManager[Any]:
    """A group begins with what its stream has first, whatever it asked for."""
    join = Streams.join

    def first(self: Streams, group: Group, stream: Stream, begin: int) -> None:
        join(self, group, stream, stream.first)

    return patch.object(Streams, "join", first)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("offset used again", _reused),
    ("reader skips", _skipped),
    ("group loses an entry at restart", _lost_entry),
    ("settlement of a group not in the log", _settled_lost),
    ("protected group not asked", _unprotected),
    ("last segment cut", _too_much),
    ("never too old", _never_cut),
    ("delivered before durable", _early),
    ("group begins elsewhere", _wrong_begin),
)
