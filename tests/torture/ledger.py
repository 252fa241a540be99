"""What each queue owes: the copies of messages that went to it, and what is known of each one.

A copy is a message in one queue. It is

- *owed* once its publish was confirmed, its transaction was committed, or it was seen after a restart, until somebody
  asks to settle it; a transient one until the broker ends;
- *possible* until it is known to be gone: its settlement is synced, its transaction was discarded, it was transient in
  a broker that has ended, or a drain has shown its queue empty (then its publisher is below the horizon);
- *held* by a connection that got it and has neither settled nor requeued it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.torture.syncing import Thing, Tx


@dataclass(slots=True, eq=False)
class Copy:
    """A message in a queue. `incarnation`: of the broker that it was sent to; `received`: of its last receipt, or 0."""

    publisher: int
    number: int
    queue: int
    size: int
    crc: int
    persistent: bool
    incarnation: int
    tx: Tx | None = None
    confirmed: bool = False
    received: int = 0
    holder: int = 0
    settled: Thing | None = None
    offset: int = -1
    """Of an entry of a stream, once somebody has seen it."""

    def __repr__(self) -> str:
        kind = "persistent" if self.persistent else "transient"
        where = f" at offset {self.offset}" if self.offset >= 0 else ""
        return f"{kind} message {self.publisher}/{self.number} of {self.size} bytes{where}"

    def owed(self, incarnation: int) -> bool:
        """Must it be in the queue, or with a consumer?"""
        if not self.confirmed or self.settled is not None:
            return False
        return self.persistent or self.incarnation == incarnation

    def possible(self, incarnation: int) -> bool:
        """May it be?"""
        if self.settled is not None and self.settled.synced:
            return False
        if self.tx is not None and self.tx.state in ("staged", "discarded"):
            return False
        return self.persistent or self.incarnation == incarnation


@dataclass(slots=True, eq=False)
class Reader:
    """A consumer, or a channel that gets. `strict`: it is alone, after a restart, so all comes in order."""

    connection: int
    queue: int
    strict: bool
    floor: dict[int, int]
    """By publisher: the highest number that anyone had received when this reader began."""
    last: dict[int, int] = field(default_factory=dict)
    """By publisher: the highest number among its own first deliveries; if strict, the last of all."""

    def in_order(self, publisher: int, number: int, redelivered: bool) -> bool:
        """Takes note of a delivery; False if an earlier one should have come after it."""
        if redelivered and not self.strict:
            return True
        last = self.last.get(publisher, 0)
        if not redelivered:
            last = max(last, self.floor.get(publisher, 0) - 1)
        self.last[publisher] = number
        return number > last


class QueueLedger:
    """One queue. `loose`: nothing in it is owed. `keeps`: it is a stream."""

    keeps = False

    def __init__(self, name: str, loose: bool) -> None:
        self.name = name
        self.loose = loose
        self.copies: dict[tuple[int, int], Copy] = {}
        self.highest: dict[int, int] = {}  # by publisher: the highest number that was received

    def ready(self, incarnation: int) -> list[Copy]:
        """What nobody holds."""
        return [copy for copy in self.copies.values() if not copy.holder]

    def deleting(self, thing: Thing) -> list[Copy]:
        """It is deleted: what that settles."""
        return list(self.copies.values())

    def found(self, there: bool, undone: set[Thing]) -> None:
        """Whether it was there on a look; `undone`: changes that were not made."""
        for copy in self.copies.values():
            if copy.settled in undone:
                copy.settled = None

    def tells(self, copy: Copy) -> bool:
        """Whether it was settled, or never there, if a drain does not find it."""
        return copy.persistent and not self.loose

    def owed(self, incarnation: int) -> Iterator[Copy]:
        """The copies that must be there."""
        if self.loose:
            return iter(())
        return (copy for copy in self.copies.values() if copy.owed(incarnation))

    def possible(self, incarnation: int) -> int:
        """How many may be there."""
        return sum(1 for copy in self.copies.values() if copy.possible(incarnation))

    def forget(self, horizon: int) -> None:
        """The copies of publishers below the horizon are gone."""
        self.copies = {key: copy for key, copy in self.copies.items() if key[0] >= horizon}
        self.highest = {key: top for key, top in self.highest.items() if key >= horizon}
