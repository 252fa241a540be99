"""What streams and consumer groups owe, beside what queues do (ledger.py).

An entry of a stream is a copy that stays. It is *owed* once its publish was confirmed, or anybody has seen it: nobody
sees what is not durable. A consumer group owes what its stream does from some offset on, until it is settled there; it
has copies of its own of what somebody got from it, or has purged.

Retention takes the oldest entries. What may be gone of a stream is what lies below its *floor*: so much came behind it
that the stream may have been too large, with all that goes at once. What a protected group has not settled stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.ledger import Copy, QueueLedger
from tests.torture.syncing import Thing
from tests.torture.topology import ALL_GROUPS, ALL_STREAMS, INDEX, LOOSE, QUEUES

OVERHEAD_BYTES = 250
"""The most that counts for a message beside its body: properties, framing and the frames of its publish."""
RUN_BYTES_MAX = 320 << 10
"""The most that is read from a socket at once, and so may make a segment longer than it is to be."""

Key = tuple[int, int]


class StreamLedger(QueueLedger):
    """One stream. `at`: its entries by offset, as far as they were seen. `high`: above all offsets that were seen.

    `first`: no entry below this offset is there, as far as is known.
    """

    keeps = True

    def __init__(self, name: str) -> None:
        super().__init__(name, False)
        self.limits = ALL_STREAMS[name]
        self.groups: list[GroupLedger] = []
        self.at: dict[int, Copy] = {}
        self.first = 0
        self.high = 0
        self._first_synced = 0
        self.whole: tuple[int, int] | None = None
        """All that it had on the last look at everything: offsets from, up to."""
        self._gone: dict[int, int] = {}
        """By numbered producer: up to which number nothing is known any more."""

    def begin(self) -> None:
        """It is declared where there was none. Loose if the old one may come back."""
        self.loose = any(c.settled is None or not c.settled.synced for c in self.copies.values())
        self.copies, self.at, self.highest, self._gone = {}, {}, {}, {}
        self.first = self._first_synced = self.high = 0
        self.whole = None

    def crashed(self) -> None:
        """What retention took may be there again."""
        self.first = self._first_synced

    def is_gone(self, producer: int, number: int) -> bool:
        """Whether this message of a numbered producer was in it and is not known any more."""
        return number <= self._gone.setdefault(producer, 0)

    def seen(self, copy: Copy, offset: int) -> None:
        """An entry is seen for the first time."""
        copy.offset = offset
        self.at[offset] = copy
        self.high = max(self.high, offset + 1)

    def floor(self, incarnation: int, top: int | None = None) -> int:
        """Entries below this offset may be gone, if no protected group needs them; so may, where it is above 0, those
        whose offset is not known. `top`: the highest offset that these can have, if that is known."""
        limits = self.limits
        if not limits.bytes_max:
            return 0
        room = limits.bytes_max - limits.segment_bytes - RUN_BYTES_MAX
        places = self._places(incarnation, self.high if top is None else top)
        for offset, size in sorted(places, reverse=True):
            room -= size + OVERHEAD_BYTES
            if room < 0:
                return offset + 1
        return 0

    def _places(self, incarnation: int, top: int) -> Iterator[tuple[int, int]]:
        """Entries by offset, with their sizes. One that nobody has seen is at most right before the next one of its
        publisher that somebody has, and, unless it is sent again, before all that later brokers were sent."""
        bounds: dict[int, int] = {}  # by broker: its first one; then the first of a later one
        for copy in sorted(self.at.values(), key=_offset, reverse=True):
            if copy.publisher not in self._gone:
                bounds[copy.incarnation] = copy.offset
        later = top + 1
        for number in range(incarnation, 0, -1):
            bounds[number], later = later, min(later, bounds.get(number, later))
        next_seen: dict[int, int] = {}
        for key in sorted(self.copies, reverse=True):
            copy = self.copies[key]
            if copy.offset >= 0:
                next_seen[key[0]] = copy.offset
                yield copy.offset, copy.size
            elif copy.possible(incarnation):
                bound = top + 1 if key[0] in self._gone else bounds[copy.incarnation]
                yield min(bound, next_seen.get(key[0], bound)) - 1, copy.size

    def owed(self, incarnation: int) -> Iterator[Copy]:
        if not self.loose:
            floor = self.floor(incarnation)
            for copy in self.copies.values():
                if copy.owed(incarnation) and self._stays(copy, floor):
                    yield copy

    def missing(self, incarnation: int, first: int, until: int) -> Iterator[Copy]:
        """What is owed, if the stream has these offsets and no others."""
        if not self.loose:
            floor = self.floor(incarnation, first - 1)
            for copy in self.copies.values():
                if not copy.owed(incarnation) or first <= copy.offset < until:
                    continue
                if copy.offset >= until or self._stays(copy, floor):
                    yield copy

    def _stays(self, copy: Copy, floor: int) -> bool:
        return (copy.offset >= floor if copy.offset >= 0 else not floor) or self._is_needed(copy)

    def _is_needed(self, copy: Copy) -> bool:
        return any(group.source.protected and group.needs(copy) for group in self.groups)

    def may_skip(self, first: int, until: int, incarnation: int) -> bool:
        """Whether a reader may pass over these offsets, because retention has taken them."""
        if until > self.floor(incarnation):
            return False
        copies = [self.at[offset] for offset in range(first, until) if offset in self.at]
        return not any(self._is_needed(copy) for copy in copies)

    def segment_went(self, until: int) -> bool:
        """Whether what is gone now, and was not before, can be a segment."""
        known = [self.at[offset] for offset in range(self.first, until) if offset in self.at]
        size = sum(copy.size + OVERHEAD_BYTES for copy in known)
        return len(known) < until - self.first or size >= self.limits.segment_bytes

    def tells(self, copy: Copy) -> bool:
        return not self.loose and not self.limits.bytes_max

    def forget(self, horizon: int) -> None:
        """What was not seen in the stream is not in it, but for what a numbered producer may send again."""
        if self.whole is None or self.loose:
            return
        first, until = self.whole
        self.whole = None
        kept: dict[Key, Copy] = {}
        for key, copy in self.copies.items():
            numbered = key[0] in self._gone
            may_come = key[0] >= horizon or (numbered and not copy.confirmed)
            if may_come or first <= copy.offset < until:
                kept[key] = copy
            elif numbered:
                self._gone[key[0]] = max(key[1], self._gone[key[0]])
        self.copies = kept
        self.at = {copy.offset: copy for copy in kept.values() if copy.offset >= 0}
        self.first = self._first_synced = max(self.first, first)


def _offset(copy: Copy) -> int:
    return copy.offset


class GroupLedger(QueueLedger):
    """One group. `low`: nothing below this offset comes. `sure`: everything from this offset on does; None: not known.

    `there`: it was declared. `top`: the highest offset of a first delivery. `server`: who got its last one.
    """

    def __init__(self, name: str, stream: StreamLedger) -> None:
        super().__init__(name, False)
        self.source = ALL_GROUPS[name]
        self.stream = stream
        self.low = 0
        self.sure: int | None = None
        self.there = False
        self.top = -1
        self.server = 0
        self._deleted: Thing | None = None
        stream.groups.append(self)

    def begin(self, begin: int | str) -> None:
        """It is about to be declared where there was none: at an offset, `first` or `next`."""
        old = self._deleted
        self.loose = self.stream.loose or (old is not None and not old.synced)
        self.copies, self.highest = {}, {}
        self.there, self._deleted, self.top = False, None, -1
        if begin == "next":
            confirmed = sum(1 for copy in self.stream.copies.values() if copy.confirmed)
            self.low, self.sure = max(self.stream.high, confirmed), None
        else:
            self.low = self.sure = begin if isinstance(begin, int) else 0

    def formed(self) -> None:
        """It is declared. Where it begins at what comes next, that is not above all that was sent."""
        self.there = True
        if self.sure is None:
            unseen = sum(1 for copy in self.stream.copies.values() if copy.offset < 0)
            self.sure = self.stream.high + unseen

    def needs(self, copy: Copy) -> bool:
        """Whether it must have an entry of the stream, which is owed."""
        if self.loose or not self.there or self._deleted is not None or self.sure is None:
            return False
        if copy.offset < self.sure and (copy.offset >= 0 or self.sure):
            return False
        own = self.copies.get((copy.publisher, copy.number))
        return own is None or own.settled is None

    def own(self, entry: Copy) -> Copy:
        """The group's copy of an entry."""
        key = (entry.publisher, entry.number)
        if key not in self.copies:
            self.copies[key] = self._copy(entry)
        return self.copies[key]

    def _copy(self, entry: Copy) -> Copy:
        copy = Copy(
            entry.publisher,
            entry.number,
            INDEX[self.name],
            entry.size,
            entry.crc,
            True,
            entry.incarnation,
        )
        copy.offset = entry.offset
        copy.confirmed = entry.confirmed
        return copy

    def owed(self, incarnation: int) -> Iterator[Copy]:
        return (copy for copy in self.stream.owed(incarnation) if self.needs(copy))

    def possible(self, incarnation: int) -> int:
        return sum(1 for copy in self._entries(incarnation) if self._may_have(copy, incarnation))

    def _entries(self, incarnation: int) -> Iterator[Copy]:
        for copy in self.stream.copies.values():
            if copy.possible(incarnation) and (copy.offset < 0 or copy.offset >= self.low):
                yield copy

    def _may_have(self, entry: Copy, incarnation: int) -> bool:
        own = self.copies.get((entry.publisher, entry.number))
        return own is None or own.possible(incarnation)

    def ready(self, incarnation: int) -> list[Copy]:
        copies = [self.own(entry) for entry in self._entries(incarnation)]
        return [copy for copy in copies if not copy.holder]

    def deleting(self, thing: Thing) -> list[Copy]:
        self._deleted = thing
        return super().deleting(thing)

    def found(self, there: bool, undone: set[Thing]) -> None:
        super().found(there, undone)
        if self._deleted in undone:
            self._deleted = None
        if there and not self.there and self._deleted is None:
            self.formed()
        self.there = there

    def tells(self, copy: Copy) -> bool:
        return not self.loose and (self.source.protected or not self.stream.limits.bytes_max)

    def forget(self, horizon: int) -> None:
        """All of it is settled."""
        if not self.loose and self.there:
            self.copies = {}
            self.low = self.sure = max(self.low, self.stream.high)


def make_ledgers() -> list[QueueLedger]:
    """Of every queue, in the order of `QUEUES`."""
    streams = {name: StreamLedger(name) for name in ALL_STREAMS}
    made: list[QueueLedger] = []
    for name in QUEUES:
        if name in streams:
            made.append(streams[name])
        elif name in ALL_GROUPS:
            made.append(GroupLedger(name, streams[ALL_GROUPS[name].stream]))
        else:
            made.append(QueueLedger(name, name == LOOSE))
    return made
