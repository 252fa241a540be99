"""Bugs that are put in on purpose, of policies that change running queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core import topology_records
from mansio.core.expiry import Expiry
from mansio.core.lease import Lease
from mansio.core.levels import Levels
from mansio.core.policies import Policies
from mansio.core.queue import Queue
from mansio.core.topology import VHost
from tests.sim.planted_worlds import rough, worlds
from tests.sim.profile import Profile

Plant = Callable[[], AbstractContextManager[Any]]


def busy(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """The bug, in worlds in which operators have much to do."""

    def change(profile: Profile, _: Random) -> None:
        profile.policing, profile.taste["priority"] = 0.2, 3.0

    return worlds(bug, change)


def _old_routes() -> AbstractContextManager[Any]:
    """Connections go on to use the routes that they know when queues get priorities or bounds."""
    apply = Policies._apply

    def silent(self: Policies, host: VHost, *changed: Any) -> None:
        version = host.version
        apply(self, host, *changed)
        host.version = version

    return busy(patch.object(Policies, "_apply", silent))


def _order_lost() -> AbstractContextManager[Any]:
    """A queue that loses its priorities keeps its messages in the order of these."""
    set_levels = Queue.set_levels

    def careless(self: Queue, levels: Levels | None) -> None:
        spans = list(self.spans())
        set_levels(self, levels)
        if levels is None:
            self.ready = deque(spans)

    return busy(patch.object(Queue, "set_levels", careless))


def _not_in_snapshots() -> AbstractContextManager[Any]:
    """Policies are forgotten with the part of the log in which they were put."""
    return rough(busy(patch.object(topology_records, "policies_fields", lambda host: {})))


def _still_mortal() -> AbstractContextManager[Any]:
    """Messages live as long as the queue said when it first said something."""
    rearm = Expiry.rearm

    def once(self: Expiry) -> None:
        if not hasattr(self, "_ttl_ms") or not self._queue.ready_count:
            rearm(self)

    return busy(patch.object(Expiry, "rearm", once))


def _old_lease() -> AbstractContextManager[Any]:
    """A queue goes when a lease ends that it has no more."""

    def due(self: Lease, now_ms: int) -> None:
        if self._queue.deleted or self._queue.consumers:
            return
        if self.until_ms > now_ms:
            self._broker.deadlines.at(self.until_ms, self)
        else:
            self._broker.definitions.drop_queue(self._queue)

    return busy(patch.object(Lease, "due", due))


BUGS: tuple[tuple[str, Plant], ...] = (
    ("routes older than a policy", _old_routes),
    ("order lost with priorities", _order_lost),
    ("policy not in the snapshot", _not_in_snapshots),
    ("time to live not changed", _still_mortal),
    ("lease that is no more", _old_lease),
)
