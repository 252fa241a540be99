"""Counts what the records of a log say, and rebuilds the topology from them as a broker's start does.

Positions of a queue are kept as intervals, which are few since they are published and settled mostly in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mansio.core.broker import Broker
from mansio.core.group import Group
from mansio.core.item_records import Stored
from mansio.core.limits import Limits
from mansio.core.queue import Queue
from mansio.core.records import (
    STARTED,
    STOPPED,
    Counted,
    Published,
    Record,
    Returned,
    Settled,
    decode,
)
from mansio.core.run import Range
from mansio.core.topology_restore import TopologyRestore


class Count(NamedTuple):
    """Messages of one queue in the log: `live` are not settled."""

    live: int
    settled: int


class Intervals:
    """A set of positions, added mostly in rising order."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[list[int]] = []  # [first, stop)

    def add(self, first: int, stop: int) -> None:
        """Add positions [first, stop)."""
        if self._pieces and self._pieces[-1][1] == first:
            self._pieces[-1][1] = stop
        else:
            self._pieces.append([first, stop])

    def joined(self) -> list[list[int]]:
        """The same as sorted intervals that do not touch."""
        joined: list[list[int]] = []
        for first, stop in sorted(self._pieces):
            if joined and first <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([first, stop])
        self._pieces = joined
        return joined


@dataclass(slots=True)
class Positions:
    """Of one queue."""

    published: Intervals = field(default_factory=Intervals)
    settled: Intervals = field(default_factory=Intervals)

    def settle(self, ranges: Iterable[Range]) -> None:
        """Take ranges of a settlement in."""
        for first, count, step in ranges:
            if step == 1:
                self.settled.add(first, first + count)
            else:
                for position in range(first, first + count * step, step):
                    self.settled.add(position, position + 1)

    def count(self) -> Count:
        """What there is now."""
        published, settled = self.published.joined(), self.settled.joined()
        total = sum(stop - first for first, stop in published)
        both, at = 0, 0
        for first, stop in published:
            while at < len(settled) and settled[at][1] <= first:
                at += 1
            i = at
            while i < len(settled) and settled[i][0] < stop:
                both += min(stop, settled[i][1]) - max(first, settled[i][0])
                i += 1
        return Count(total - both, both)

    def count_fed(self, stream: Positions, begin: int) -> Count:
        """What there is now of a group that gets what this stream has, from this offset on."""
        fed = Positions()
        for first, stop in stream.published.joined():
            if stop > begin:
                fed.published.add(max(first, begin), stop)
        for settled in (stream.settled, self.settled):
            for first, stop in settled.joined():
                fed.settled.add(first, stop)
        return fed.count()


class Tally:
    """`records`, `messages`: seen so far. `clean`: nothing was written since the broker stopped in order.

    `queues`: positions by id of queue, of those that were not deleted.
    """

    def __init__(self) -> None:
        self.records = 0
        self.messages = 0
        self.clean = False
        self.queues: dict[int, Positions] = {}
        self.broker = Broker(Limits())
        self._topology = TopologyRestore(self.broker)

    def take(self, record: bytes) -> Record:
        """Count a record and answer what it says. Errors: records.Damaged, as at a broker's start."""
        found = decode(record)
        self.records += 1
        if isinstance(found, Returned):
            return found
        self.clean = False
        if isinstance(found, Published):
            self.messages += found.messages
            for queue, base in found.places:
                self._positions(queue).published.add(base, base + found.messages)
        elif isinstance(found, Counted | Stored):
            pass
        elif isinstance(found, Settled):
            self._positions(found.queue).settle(found.ranges)
        else:
            self._change(found)
        return found

    def counts(self) -> dict[tuple[str, str], Count]:
        """Messages by vhost and name of the queues that there are."""
        return {
            (host.name, name): self._count(queue)
            for host in self.broker.vhosts.values()
            for name, queue in host.queues.items()
        }

    def _count(self, queue: Queue) -> Count:
        positions = self._positions(queue.id)
        if not isinstance(queue, Group) or queue.source is None:
            return positions.count()
        return positions.count_fed(self._positions(queue.source.id), queue.begin)

    def delayed(self) -> dict[str, int]:
        """Messages that wait until they are due, by vhost."""
        stores = {name: self.broker.delays(name).id for name in self.broker.vhosts}
        return {name: self._positions(id).count().live for name, id in stores.items() if id}

    def _positions(self, queue: int) -> Positions:
        found = self.queues.get(queue)
        if found is None:
            found = self.queues[queue] = Positions()
        return found

    def _change(self, found: dict[str, Any]) -> None:
        do = found.get("do")
        if do == STOPPED:
            self.clean = True
        elif do == STARTED:
            if found.get("new"):
                self._topology.begin()
        else:
            for deleted in self._topology.change(found):
                self.queues.pop(deleted, None)
