"""Bugs that are put in on purpose, of partitioned groups, and of groups whose members follow each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core.dispatch import Consumer
from mansio.core.group import Group
from mansio.core.overdue import Overdue
from mansio.core.rota import Partition, Rota
from mansio.core.settling import Settling
from mansio.core.sharing import Sharing
from tests.sim.planted_worlds import worlds
from tests.sim.profile import Profile

Plant = Callable[[], AbstractContextManager[Any]]


def teaming(
    bug: AbstractContextManager[Any], fetching: bool = False
) -> AbstractContextManager[Any]:
    """The bug, in worlds with partitioned groups, whose members come and go often; `fetching`: by basic.get too."""

    def team(profile: Profile, rng: Random) -> None:
        if not profile.partitioned:
            profile.queues = profile.plain
            profile.add_partitions(rng)
        profile.taste["team"] = profile.taste["close"] = profile.taste["qos"] = 3.0
        profile.taste["delete"], profile.crashes = 0.3, 0.0
        if fetching:
            profile.taste["get"] = profile.taste["cancel"] = 3.0

    return worlds(bug, team)


def following(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """The bug, in worlds with groups of which one member at a time is active."""

    def follow(profile: Profile, rng: Random) -> None:
        if not profile.partitioned:
            profile.queues = profile.plain
            profile.add_partitions(rng)
        for spec in profile.queues:
            if spec.arguments.pop("x-stream-group", None):
                spec.arguments["x-single-active-consumer"] = True
        profile.taste["consume"] = 3.0

    return worlds(bug, follow)


def _impatient() -> AbstractContextManager[Any]:
    """A member gets a partition before the one who had it has settled what it was sent."""

    def take_over(self: Partition) -> None:
        if self.heir is not None:
            self.active, self.heir = self.heir, None

    return teaming(patch.object(Partition, "take_over", take_over))


def _insatiable() -> AbstractContextManager[Any]:
    """A member gets more of a partition that it is to give up."""
    return teaming(patch.object(Partition, "served", property(lambda self: self.active)))


def _unfair() -> AbstractContextManager[Any]:
    """Who comes gets only partitions that nobody has."""
    return teaming(patch.object(Rota, "_move_one", lambda self, load: False))


def _restless() -> AbstractContextManager[Any]:
    """All partitions are dealt out anew whenever a member comes or goes."""
    balance = Rota._balance

    def deal(self: Rota) -> list[Group]:
        for partition in self.partitions.values():
            if len(partition.consumers) > 1 and partition.holder is partition.consumers[0]:
                partition.give(partition.consumers[-1])
        return balance(self)

    return teaming(patch.object(Rota, "_balance", deal))


def _not_told() -> AbstractContextManager[Any]:
    """Nobody looks again at a partition when the last delivery of it is settled."""
    settled = Settling.settled

    def silent(self: Settling, queue: Any, *about: Any, **more: Any) -> None:
        rota = queue.rota if isinstance(queue, Group) else None
        if isinstance(queue, Group):
            queue.rota = None
        settled(self, queue, *about, **more)
        if isinstance(queue, Group):
            queue.rota = rota

    return teaming(patch.object(Settling, "settled", silent), fetching=True)


def _shared() -> AbstractContextManager[Any]:
    """All members of a partition get some of it."""
    init = Sharing.__init__

    def forgetful(self: Sharing, *about: Any) -> None:
        init(self, *about)
        self.partition = None

    return teaming(patch.object(Sharing, "__init__", forgetful))


def _two_active() -> AbstractContextManager[Any]:
    """In a group the newest member becomes the single active one."""
    add = Sharing.add

    def newest(self: Sharing, consumer: Consumer) -> None:
        add(self, consumer)
        if self.single and isinstance(consumer.queue, Group):
            self.active = consumer

    return following(patch.object(Sharing, "add", newest))


def _never_claimed() -> AbstractContextManager[Any]:
    """What a member of a group does not settle in time is not taken back."""
    timeout_ms = Overdue.consumer_timeout_ms

    def patient(self: Overdue, queue: Any, consumer: Consumer | None) -> int:
        return 0 if isinstance(queue, Group) else timeout_ms(self, queue, consumer)

    return patch.object(Overdue, "consumer_timeout_ms", patient)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("partition taken over too early", _impatient),
    ("partition not given up", _insatiable),
    ("partitions not divided anew", _unfair),
    ("more partitions moved than must", _restless),
    ("next member of a partition not told", _not_told),
    ("partition shared", _shared),
    ("single active member replaced", _two_active),
    ("late member keeps entries", _never_claimed),
)
