"""Messages that come again, as the oracle knows them: what `x-message-deduplication` of queues and others takes.

A stream looks at the numbers that producers give to their messages; to all others these are ids as any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mansio.codec.amqp_values import Table

if TYPE_CHECKING:
    from tests.sim.model import Channel, Spot

Follower = tuple["Channel", int]
"""A publish that was not taken: its channel and number."""
FOREVER_MS = 1 << 60
"""Later than this is never."""
PRODUCER, NUMBER = "x-producer", "x-publishing-id"
NAME_CHARS_MAX = 128
"""Of a producer; the digest of a longer name stands for it."""


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


@dataclass(slots=True, eq=False)
class Producers:
    """What a stream has of those who number their messages: of the last `size` of them the highest number."""

    size: int
    last: dict[str, tuple[int, Seen]] = field(default_factory=dict)

    def find(self, headers: Table) -> Seen | None:
        """What has made a message with these headers superfluous."""
        asked = number_of(headers)
        found = self.last.get(asked[0]) if asked is not None else None
        return (
            found[1] if found is not None and asked is not None and asked[1] <= found[0] else None
        )

    def remember(self, name: str, number: int, needs: list[Spot]) -> None:
        """This producer's message has come, which was not superfluous."""
        self.last.pop(name, None)
        self.last[name] = number, Seen(FOREVER_MS, True, needs)
        for each in list(self.last)[: -self.size]:
            del self.last[each]


def number_of(headers: Table) -> tuple[str, int] | None:
    """Who has published a message, and as the how manieth, where it says so and has no id of its own."""
    name, number = headers.get(PRODUCER), headers.get(NUMBER)
    if headers.get("x-deduplication-header") is not None or not isinstance(name, str):
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        return None
    if len(name) > NAME_CHARS_MAX:
        name = f"sha256:{sha256(name.encode()).hexdigest()}"
    return name, number


def id_of(headers: Table) -> str | None:
    """What the message must not share with others."""
    value = headers.get("x-deduplication-header")
    if value is not None:
        return str(value).lower() if value is True else str(value)
    numbered = number_of(headers)
    return None if numbered is None else f"{numbered[0]}\0{numbered[1]}"


def check_window(what: str, window: Window, logged: dict[str, int], now_ms: int) -> str:
    """What is wrong with what the log would bring back of a window; '' if nothing is."""
    kept = {ident: seen.until_ms for ident, seen in window.ids.items() if seen.kept}
    kept = {ident: until_ms for ident, until_ms in kept.items() if until_ms > now_ms}
    found = {ident: until_ms for ident, until_ms in logged.items() if until_ms > now_ms}
    return "" if kept == found else f"{what} knows {kept}, {found} says the log"


def check_producers(what: str, producers: Producers, logged: dict[str, int]) -> str:
    """The same of what a stream knows of its producers, unless there were so many that some are forgotten."""
    kept = {name: number for name, (number, _) in producers.last.items()}
    found: dict[str, int] = {}
    for ident in logged:
        name, mark, number = ident.rpartition("\0")
        if mark:
            found[name] = max(int(number), found.get(name, -1))
    same = kept == found or len(found) > producers.size
    return "" if same else f"{what} knows {kept}, {found} says the log"
