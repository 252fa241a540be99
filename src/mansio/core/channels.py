"""Channels of Redis' publish and subscribe: who listens where. Nothing is kept: a message is for who is there.

channels   a message goes to who has subscribed to its channel, then to who has a pattern that it matches
shards     the same for sharded channels, which have names of their own and no patterns
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

from mansio.core.globs import glob

Kind = Literal[0, 1, 2]
CHANNEL: Final = 0
PATTERN: Final = 1
SHARD: Final = 2
KINDS: Final[tuple[Kind, ...]] = (CHANNEL, PATTERN, SHARD)

Listeners = dict[Any, None]
"""In the order in which they came."""


class Channels:
    """Of one broker; they are the same in all databases."""

    def __init__(self) -> None:
        self._listeners: tuple[dict[bytes, Listeners], ...] = ({}, {}, {})

    def add(self, kind: Kind, name: bytes, listener: Any) -> None:
        """It listens from now on; `name` of a PATTERN is the pattern."""
        self._listeners[kind].setdefault(name, {})[listener] = None

    def remove(self, kind: Kind, name: bytes, listener: Any) -> None:
        """It listens no more."""
        listeners = self._listeners[kind].get(name)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[kind][name]

    def names(self, kind: Kind) -> list[bytes]:
        """Where somebody listens."""
        return list(self._listeners[kind])

    def count(self, kind: Kind, name: bytes) -> int:
        """How many listen there."""
        return len(self._listeners[kind].get(name, ()))

    def find(self, name: bytes, shard: bool = False) -> Iterator[tuple[bytes | None, list[Any]]]:
        """Who is to have a message of this channel: first (None, listeners), then (pattern, listeners) of each."""
        listeners = self._listeners[SHARD if shard else CHANNEL].get(name)
        if listeners:
            yield None, list(listeners)
        if not shard:
            for pattern, listeners in list(self._listeners[PATTERN].items()):
                if glob(pattern).matches(name):
                    yield pattern, list(listeners)
