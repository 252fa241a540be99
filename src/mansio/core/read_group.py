"""A consumer group of a Redis client on a stream: how far it has read, and what its consumers have not acknowledged.

    stream  ──XREADGROUP >──► pending, of one consumer ──XACK──► done with
               `last_id`        └──XCLAIM──► of another one

It takes nothing from the stream, and shares nothing with the groups that AMQP clients declare (group.py). Each group,
each consumer and each pending entry is an item in the log (reading.py), known there by a number.
"""

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mansio.core.stream import Stream

UNKNOWN: Final = -1
"""Of `read`: how many entries the group has read cannot be told."""


class Pending:
    """An entry that a consumer has got and not acknowledged."""

    __slots__ = ("consumer", "count", "delivered_ms")

    def __init__(self, consumer: "Consumer", delivered_ms: int, count: int) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.count = count  # how often it was delivered


class PendingList:
    """Entries by id, also in their order."""

    __slots__ = ("_order", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, Pending] = {}
        self._order: list[int] | None = None  # None: is to be found

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, id: int, pending: Pending) -> None:
        """One more entry, or another one in its place."""
        if id not in self.entries:
            self._order = None
        self.entries[id] = pending

    def take(self, id: int) -> None:
        """It is gone."""
        del self.entries[id]
        self._order = None

    def ids(self, low: int = 0) -> list[int]:
        """Those from this id on, in order."""
        if self._order is None:
            self._order = sorted(self.entries)
        return self._order[bisect_left(self._order, low) :] if low else self._order


class Consumer:
    """A member of a group, by the name that it gives. `seen_ms`: when it last asked for something; `active_ms`: when it
    last got something, -1: never."""

    __slots__ = ("active_ms", "name", "number", "pending", "seen_ms")

    def __init__(self, number: int, name: bytes, seen_ms: int) -> None:
        self.number = number
        self.name = name
        self.seen_ms = seen_ms
        self.active_ms = -1
        self.pending = PendingList()


class ReadGroup:
    """`last_id`: the last entry that was delivered; `read`: how many were by then, or UNKNOWN.

    `offset`: of what comes behind `last_id`, or before: where to look for it; it is not in the log.
    """

    __slots__ = (
        "consumers",
        "last_id",
        "name",
        "next_number",
        "number",
        "numbered",
        "offset",
        "pending",
        "read",
        "stream",
    )

    def __init__(self, stream: "Stream", number: int, name: bytes, last_id: int, read: int) -> None:
        self.stream = stream
        self.number = number
        self.name = name
        self.last_id = last_id
        self.read = read
        self.offset = -1
        self.pending = PendingList()
        self.consumers: dict[bytes, Consumer] = {}
        self.numbered: dict[int, Consumer] = {}
        self.next_number = 1

    def by_name(self) -> list[Consumer]:
        """Its consumers in the order of their names."""
        return [self.consumers[name] for name in sorted(self.consumers)]


class ReadGroups:
    """All groups of one stream, by name and by number."""

    __slots__ = ("by_name", "next_number", "numbered")

    def __init__(self) -> None:
        self.by_name: dict[bytes, ReadGroup] = {}
        self.numbered: dict[int, ReadGroup] = {}
        self.next_number = 1

    def in_order(self) -> list[ReadGroup]:
        """In the order of their names."""
        return [self.by_name[name] for name in sorted(self.by_name)]
