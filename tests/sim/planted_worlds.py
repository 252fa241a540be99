"""Worlds in which a planted bug strikes soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from tests.sim.profile import Profile

Change = Callable[[Profile, Random], None]


@contextmanager
def worlds(bug: AbstractContextManager[Any], change: Change) -> Iterator[None]:
    """The bug, in worlds that are changed as soon as they are made; they may be changed by the bug already."""
    with bug:
        init = Profile.__init__

        def changed(self: Profile, rng: Random) -> None:
            init(self, rng)
            change(self, rng)

        with patch.object(Profile, "__init__", changed):
            yield


def rough(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Worlds in which brokers crash often, and the log is cut often."""

    def crash(profile: Profile, _: Random) -> None:
        profile.crashes, profile.bucket_bytes = 0.02, 300

    return worlds(bug, crash)
