"""Messages that come again, as the oracle knows them: what `x-message-deduplication` of queues and exchanges takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mansio.codec.amqp_values import Table

if TYPE_CHECKING:
    from tests.sim.model import Channel, Spot

Follower = tuple["Channel", int]
"""A publish that was not taken: its channel and number."""
FOREVER_MS = 1 << 60
"""Later than this is never."""


@dataclass(slots=True)
class Seen:
    """An id that was seen. `needs`: what has to be in the log of the message that had it."""

    until_ms: int
    kept: bool
    """It is known after a restart."""
    needs: list[Spot]
    followers: list[Follower] = field(default_factory=list)
    """Publishes that were not taken since this one came."""


@dataclass(slots=True, eq=False)
class Window:
    """Ids that an exchange, or a queue with a time, has seen, in their order. `durable`: it outlives a restart."""

    ttl_ms: int | None
    size: int
    durable: bool
    ids: dict[str, Seen] = field(default_factory=dict)

    def find(self, ident: str, now_ms: int) -> Seen | None:
        """What it knows of an id."""
        found = self.ids.get(ident)
        return found if found is not None and found.until_ms > now_ms else None

    def remember(self, headers: Table, persistent: bool, needs: list[Spot], now_ms: int) -> Seen:
        """A message with these headers has come."""
        ident = id_of(headers)
        assert ident is not None
        ttl_ms: Any = headers.get("x-cache-ttl", self.ttl_ms)
        until_ms = FOREVER_MS if ttl_ms is None else now_ms + ttl_ms
        self.ids.pop(ident, None)
        self.ids[ident] = came = Seen(until_ms, persistent and self.durable, needs)
        for each in list(self.ids)[: -self.size]:  # the oldest, also if others are over already
            del self.ids[each]
        return came


def make_window(arguments: Table, durable: bool) -> Window | None:
    """What an exchange with these arguments remembers."""
    if arguments.get("x-message-deduplication") is not True:
        return None
    ttl_ms: Any = arguments.get("x-cache-ttl")
    size: Any = arguments.get("x-cache-size", 65_536)
    return Window(ttl_ms, size, durable)


def id_of(headers: Table) -> str | None:
    """What the message must not share with others."""
    value = headers.get("x-deduplication-header")
    return None if value is None else str(value).lower() if value is True else str(value)


def check_window(what: str, window: Window, logged: dict[str, int], now_ms: int) -> str:
    """What is wrong with what the log would bring back of a window; '' if nothing is."""
    kept = {ident: seen.until_ms for ident, seen in window.ids.items() if seen.kept}
    kept = {ident: until_ms for ident, until_ms in kept.items() if until_ms > now_ms}
    found = {ident: until_ms for ident, until_ms in logged.items() if until_ms > now_ms}
    return "" if kept == found else f"{what} knows {kept}, {found} says the log"
