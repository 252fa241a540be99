"""A queue's ready messages against a list of positions: what is requeued goes back to its place."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.inflight import Flight, Piece
from mansio.core.queue import Queue
from mansio.core.run import Span
from tests.core.play import make_run


class Model:
    """A queue and beside it what it has to hold."""

    def __init__(self) -> None:
        self.queue = Queue(1, "/", "q")
        self.ready: dict[int, bool] = {}  # position -> redelivered
        self.flights: list[Piece] = []
        self.published = 0

    def append(self, count: int) -> None:
        numbers = list(range(self.published, self.published + count))
        assert self.queue.append(make_run(numbers)) == self.published
        self.published += count
        self.ready |= dict.fromkeys(numbers, False)

    def deliver(self, rounds: int, consumers: int) -> None:
        """Hands the head out in turns to some consumers, as dispatching does."""
        if not self.queue.ready:
            return
        head = self.queue.ready[0]
        rounds = min(rounds, (head.stop - head.start) // consumers)
        if rounds < 1:
            return
        span = self.queue.take_head(rounds * consumers)
        self._left(span, sorted(self.ready)[: rounds * consumers])
        for offset in range(consumers):
            start = span.start + offset
            flight = Flight(1, rounds, None, self.queue, span.run, start, consumers, span.base)
            self.flights.append(flight)
            self.queue.in_flight += rounds

    def _left(self, span: Span, expected: list[int]) -> None:
        assert list(range(span.base + span.start, span.base + span.stop)) == expected
        for position in expected:
            assert self.ready.pop(position) == span.redelivered

    def take_tail(self, n: int) -> None:
        if not self.queue.ready:
            return
        n = min(n, self.queue.ready[-1].stop - self.queue.ready[-1].start)
        expected = sorted(self.ready)[-n:]
        self._left(self.queue.take_tail(n), expected)

    def requeue(self, picks: list[tuple[int, int, int]]) -> None:
        """Gives back parts of some flights: (which, from where on, how many)."""
        pieces: list[Piece] = []
        for which, at, count in picks:
            if not self.flights:
                break
            flight = self.flights.pop(which % len(self.flights))
            assert isinstance(flight, Flight)
            at %= flight.count
            count = min(count, flight.count - at)
            if at:
                self.flights.append(_flight(flight.piece(0, at)))
            if at + count < flight.count:
                rest = flight.piece(at + count, flight.count - at - count)
                self.flights.append(_flight(rest))
            piece = flight.piece(at, count)
            pieces.append(piece)
            for n in range(piece.count):
                self.ready[piece.base + piece.start + n * piece.step] = True
        self.queue.requeue(pieces)

    def check(self) -> None:
        found: list[tuple[int, bool]] = []
        for span in self.queue.ready:
            assert span.start < span.stop
            for i in range(span.start, span.stop):
                found.append((span.base + i, span.redelivered))
                assert int(span.run.message(i)[:8]) == span.base + i
        assert found == sorted(self.ready.items())
        assert self.queue.ready_count == len(found)
        assert self.queue.in_flight == sum(flight.count for flight in self.flights)


def _flight(p: Piece) -> Flight:
    return Flight(p.first, p.count, p.consumer, p.queue, p.run, p.start, p.step, p.base)


steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 9)),
    st.tuples(st.just("deliver"), st.integers(1, 9), st.integers(1, 3)),
    st.tuples(st.just("take_tail"), st.integers(1, 3)),
    st.tuples(
        st.just("requeue"),
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)), max_size=5),
    ),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=30))
def test_it_agrees_with_a_list(script: list[tuple[Any, ...]]) -> None:
    model = Model()
    for name, *arguments in script:
        getattr(model, name)(*arguments)
        model.check()
    left = sorted(model.ready)
    spans = model.queue.take_all()
    assert [span.base + i for span in spans for i in range(span.start, span.stop)] == left
    assert (model.queue.ready_count, len(model.queue.ready)) == (0, 0)


def test_what_comes_back_one_by_one_becomes_one_span_again() -> None:
    model = Model()
    model.append(100)
    model.deliver(50, 2)
    for _ in range(2):
        model.requeue([(0, 0, 100)])
    model.check()
    assert len(model.queue.ready) == 1, "a slice costs less than a hundred messages"


def test_redelivered_messages_stay_apart_from_new_ones() -> None:
    model = Model()
    model.append(4)
    model.deliver(2, 1)
    model.requeue([(0, 0, 2)])
    assert [span.redelivered for span in model.queue.ready] == [True, False]
