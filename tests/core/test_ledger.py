"""The ledger of unsettled deliveries against a dict from tag to message."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mansio.core.inflight import Flight, Ledger, Piece
from mansio.core.queue import Queue
from tests.core.play import make_run

QUEUE = Queue(1, "/", "q")
RUN = make_run(list(range(1000)))


def told(pieces: list[Piece]) -> dict[int, int]:
    """Tag -> number of the message, as the pieces say it."""
    found: dict[int, int] = {}
    for piece in pieces:
        for n in range(piece.count):
            assert piece.first + n not in found, "given out twice"
            found[piece.first + n] = piece.start + n * piece.step
    return found


class Model:
    """A ledger and beside it the dict that it has to agree with."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.open: dict[int, int] = {}
        self.next_tag = 1
        self.next_number = 0
        self.pending: list[Piece] = []  # settled in a transaction that may be rolled back

    def deliver(self, count: int, step: int, gap: int) -> None:
        first = self.next_tag + gap  # deliveries without acknowledgement take tags too
        flight = Flight(first, count, None, QUEUE, RUN, self.next_number, step, 0)
        self.ledger.add(flight)
        for n in range(count):
            self.open[first + n] = self.next_number + n * step
        self.next_tag = first + count
        self.next_number += count * step

    def settle(self, first: int, width: int) -> None:
        last = first + width
        expected: dict[int, int] = {}
        unknown = -1
        for tag in range(first, last + 1):
            if tag not in self.open:
                unknown = tag
                break
            expected[tag] = self.open.pop(tag)
        pieces, found = self.ledger.settle(first, last)
        assert (told(pieces), found) == (expected, unknown)
        self.pending += pieces

    def settle_until(self, last: int) -> None:
        expected = {tag: at for tag, at in self.open.items() if tag <= last}
        pieces = self.ledger.settle_until(last)
        assert told(pieces) == expected
        assert [piece.first for piece in pieces] == sorted(piece.first for piece in pieces)
        for tag in expected:
            del self.open[tag]
        self.pending += pieces

    def rollback(self) -> None:
        self.ledger.restore(self.pending, 0)
        self.open |= told(self.pending)
        self.pending = []

    def commit(self) -> None:
        self.pending = []

    def take_all(self) -> None:
        assert told(self.ledger.take_all()) == self.open
        self.open = {}
        self.pending = []

    def check(self) -> None:
        assert self.ledger.total == len(self.open)
        assert self.ledger.last_tag() >= max(self.open, default=0)
        assert bool(self.ledger.last_tag()) == bool(self.open)
        known = {tag for tag in range(self.next_tag + 3) if self.ledger.knows(tag)}
        assert known == set(self.open)
        left: dict[int, int] = {}
        for flight in self.ledger:
            pieces = list(flight.open_pieces(0, flight.count))
            assert flight.left == sum(piece.count for piece in pieces) > 0
            left |= told(pieces)
        assert left == self.open


tags = st.integers(0, 16)
steps = st.one_of(
    st.tuples(st.just("deliver"), st.integers(1, 8), st.integers(1, 3), st.sampled_from([0, 0, 2])),
    st.tuples(st.just("settle"), tags, st.sampled_from([0, 0, 0, 1, 2, 5])),
    st.tuples(st.just("settle_until"), tags),
    st.sampled_from([("rollback",), ("commit",)]),
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(steps, max_size=25))
@example([("deliver", 5, 2, 0), ("settle", 3, 0), ("settle", 2, 2), ("settle", 3, 0)])
@example([("deliver", 5, 1, 0), ("settle", 3, 0), ("settle", 4, 1), ("settle_until", 2)])
@example([("deliver", 4, 1, 0), ("commit",), ("settle", 2, 0), ("rollback",), ("settle", 1, 3)])
@example([("deliver", 3, 1, 2), ("deliver", 3, 1, 0), ("settle", 7, 0), ("settle_until", 6)])
def test_it_agrees_with_a_dict(script: list[tuple[Any, ...]]) -> None:
    model = Model()
    for name, *arguments in script:
        getattr(model, name)(*arguments)
        model.check()
    model.take_all()
    model.check()


def test_acknowledging_one_by_one_from_the_front_keeps_nothing() -> None:
    model = Model()
    for _ in range(1500):
        model.deliver(1, 1, 0)
    for tag in range(1, 1400):
        model.settle(tag, 0)
        assert len(model.ledger.flights) <= 1500
    assert len(model.ledger.flights) < 600, "the front of the list is cut"
    model.next_tag = 1500
    model.check()


def test_a_settled_run_is_let_go_at_once() -> None:
    """A flight that waits for the list to be cut must not keep its run: it may be large."""
    ledger = Ledger()
    for tag in range(1, 10):
        ledger.add(Flight(tag, 1, None, QUEUE, make_run([tag]), 0, 1, 0))
    ledger.settle(1, 5)
    runs = [flight.run for flight in ledger.flights if flight is not None]
    assert [int(run.data[:8]) for run in runs] == [6, 7, 8, 9]


@pytest.mark.parametrize("hole", [1, 3, 5])
def test_what_was_settled_inside_of_a_flight_comes_back(hole: int) -> None:
    model = Model()
    model.deliver(5, 1, 0)
    model.settle(hole, 0)
    model.rollback()
    model.check()
    model.settle(1, 4)
    assert not model.open
