"""The ledger of one channel: what was delivered and not yet settled, as intervals of delivery tags over runs.

    flight   tags  [first, first + count)          message of tag first + i: number start + i * step of the run

The usual settlement, of consecutive tags from the front, moves the bounds of one flight. A tag settled in the middle is
marked in the flight's `settled` bytes; the flight goes when its last tag goes. Tags rise, so flights are in order.
"""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.core.dispatch import Consumer
    from mansio.core.queue import Queue

_FIRST = attrgetter("first")
_COMPACT_AT = 512  # flights gone from the front before the list is cut
_GONE: Any = None

WITHDRAWN_MAX = 1024
"""Rows of tags that a channel remembers as taken back: an acknowledgement of an older one closes the channel."""


class Piece:
    """`count` messages with tags from `first`, numbers `start`, `start + step` … of `run`; settled or given back."""

    __slots__ = (
        "base",
        "consumer",
        "count",
        "deliveries",
        "first",
        "queue",
        "run",
        "start",
        "step",
    )

    def __init__(
        self,
        first: int,
        count: int,
        consumer: "Consumer | None",
        queue: "Queue",
        run: Run,
        start: int,
        step: int,
        base: int,
        deliveries: int = 0,
    ) -> None:
        self.first = first
        self.count = count
        self.consumer = consumer
        self.queue = queue
        self.run = run
        self.start = start
        self.step = step
        self.base = base
        self.deliveries = deliveries  # how often these had been given back before


class Flight(Piece):
    """One delivery of a slice of a run at `since_ms`; `left` of its messages are unsettled."""

    __slots__ = ("left", "settled", "since_ms")

    def __init__(
        self,
        first: int,
        count: int,
        consumer: "Consumer | None",
        queue: "Queue",
        run: Run,
        start: int,
        step: int,
        base: int,
        deliveries: int = 0,
        since_ms: int = 0,
    ) -> None:
        super().__init__(first, count, consumer, queue, run, start, step, base, deliveries)
        self.since_ms = since_ms
        self.left = count
        self.settled: bytearray | None = None

    def piece(self, i: int, count: int) -> Piece:
        """The `count` messages from the flight's i-th on."""
        start = self.start + i * self.step
        first, consumer, queue, run = self.first + i, self.consumer, self.queue, self.run
        return Piece(
            first, count, consumer, queue, run, start, self.step, self.base, self.deliveries
        )

    def open_pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """What is unsettled among the flight's messages [start, stop), in order."""
        if self.settled is None:
            if start < stop:
                yield self.piece(start, stop - start)
            return
        i = start
        while i < stop:
            at = self.settled.find(0, i, stop)
            if at < 0:
                return
            i = self.settled.find(1, at, stop)
            if i < 0:
                i = stop
            yield self.piece(at, i - at)

    def cut_front(self, n: int) -> None:
        """Forgets the first `n` messages, all of them settled."""
        self.first += n
        self.start += n * self.step
        self.count -= n
        if self.settled is not None:
            del self.settled[:n]


class Ledger:
    """Unsettled deliveries of one channel. `withdrawn`: rows of tags that were taken back, [first, last]; their client
    may still settle them, without effect."""

    __slots__ = ("_head", "flights", "total", "withdrawn")

    def __init__(self) -> None:
        self.flights: list[Flight] = []
        self._head = 0
        self.total = 0
        self.withdrawn: list[tuple[int, int]] | None = None

    def __iter__(self) -> Iterator[Flight]:
        for i in range(self._head, len(self.flights)):
            yield self.flights[i]

    def add(self, flight: Flight) -> None:
        """A delivery, with tags above all earlier ones."""
        self.flights.append(flight)
        self.total += flight.count

    def restore(self, pieces: list[Piece], now_ms: int) -> None:
        """Takes back pieces that `settle` gave out, as if delivered now: a transaction was rolled back."""
        flights = [
            _flight(piece, flight.since_ms)
            for flight in self
            for piece in flight.open_pieces(0, flight.count)
        ]
        flights += [_flight(piece, now_ms) for piece in pieces]
        self.flights = sorted(flights, key=_FIRST)
        self.total += sum(piece.count for piece in pieces)
        self._head = 0

    def settle(self, first: int, last: int) -> tuple[list[Piece], int]:
        """Settles tags [first, last]; answers the pieces, and the first unknown tag (-1 if all were known)."""
        pieces: list[Piece] = []
        tag = first
        while tag <= last:
            at = self._find(tag)
            if at < 0:
                if self.withdrawn is not None and (until := self._withdrawn_until(tag)):
                    tag = until + 1
                    continue
                return pieces, tag
            flight = self.flights[at]
            i = tag - flight.first
            n = min(last - tag + 1, flight.count - i)
            if flight.settled is not None:
                gone = flight.settled.find(1, i, i + n)
                if gone == i:
                    return pieces, tag
                if gone > 0:
                    n = gone - i
            pieces.append(flight.piece(i, n))
            self._take(at, flight, i, n)
            tag += n
        return pieces, -1

    def settle_until(self, last: int) -> list[Piece]:
        """Settles every tag up to `last`."""
        pieces: list[Piece] = []
        while self._head < len(self.flights):
            flight = self.flights[self._head]
            if flight.first > last:
                break
            n = min(last - flight.first + 1, flight.count)
            gone = list(flight.open_pieces(0, n))
            pieces += gone
            count = sum(piece.count for piece in gone)
            self.total -= count
            flight.left -= count
            if flight.left:
                flight.cut_front(n)
                break
            self._drop(self._head)
        return pieces

    def knows(self, tag: int) -> bool:
        """Whether `tag` was delivered and is not settled, or was taken back."""
        at = self._find(tag)
        if at < 0:
            return self.withdrawn is not None and self._withdrawn_until(tag) > 0
        flight = self.flights[at]
        return flight.settled is None or not flight.settled[tag - flight.first]

    def flight(self, tag: int) -> Flight | None:
        """The flight that the unsettled delivery with this tag is in."""
        at = self._find(tag)
        if at < 0:
            return None
        flight = self.flights[at]
        settled = flight.settled
        return None if settled is not None and settled[tag - flight.first] else flight

    def last_tag(self) -> int:
        """The highest tag that may be unsettled, or 0."""
        if self._head == len(self.flights):
            return 0
        flight = self.flights[-1]
        return flight.first + flight.count - 1

    def take_all(self) -> list[Piece]:
        """Empties the ledger."""
        return self.settle_until(self.last_tag())

    def withdraw(self, flights: list[Flight]) -> list[Piece]:
        """Takes what is unsettled of these flights, and remembers it as withdrawn."""
        pieces = [piece for flight in flights for piece in flight.open_pieces(0, flight.count)]
        gone = set(map(id, flights))
        self.flights = [flight for flight in self if id(flight) not in gone]
        self._head = 0
        self.total -= sum(piece.count for piece in pieces)
        rows = (self.withdrawn or []) + [(p.first, p.first + p.count - 1) for p in pieces]
        self.withdrawn = sorted(rows)[-WITHDRAWN_MAX:]
        return pieces

    def _withdrawn_until(self, tag: int) -> int:
        """The last tag of the withdrawn row that `tag` is in, or 0."""
        rows = self.withdrawn or []
        at = bisect_right(rows, (tag, 1 << 64)) - 1
        return rows[at][1] if at >= 0 and tag <= rows[at][1] else 0

    def _find(self, tag: int) -> int:
        flights, head = self.flights, self._head
        if head == len(flights):
            return -1
        at = head
        if tag >= flights[head].first + flights[head].count:
            at = bisect_right(flights, tag, head, key=_FIRST) - 1
        flight = flights[at]
        return at if flight.first <= tag < flight.first + flight.count else -1

    def _take(self, at: int, flight: Flight, i: int, n: int) -> None:
        self.total -= n
        flight.left -= n
        if not flight.left:
            self._drop(at)
        elif i == 0:
            flight.cut_front(n)
        elif i + n == flight.count and flight.settled is None:
            flight.count -= n
        else:
            if flight.settled is None:
                flight.settled = bytearray(flight.count)
            flight.settled[i : i + n] = b"\x01" * n

    def _drop(self, at: int) -> None:
        if at != self._head:
            del self.flights[at]
            return
        self.flights[at] = _GONE  # what its run holds goes now, not when the list is cut
        self._head += 1
        if self._head == len(self.flights):
            self.flights.clear()
            self._head = 0
        elif self._head >= _COMPACT_AT and self._head * 2 > len(self.flights):
            del self.flights[: self._head]
            self._head = 0


def _flight(p: Piece, since_ms: int) -> Flight:
    first, count, consumer, queue, run = p.first, p.count, p.consumer, p.queue, p.run
    return Flight(
        first, count, consumer, queue, run, p.start, p.step, p.base, p.deliveries, since_ms
    )
