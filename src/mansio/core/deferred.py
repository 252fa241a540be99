"""Messages of one queue that wait to be tried again: *deferred*, neither ready nor in flight.

in flight ──nack, reject, timeout──► deferred ──due──► ready, at its old place
                    └──tried too often──► dead-lettered, or quarantined
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from mansio.core.dead_letters import DELIVERY_LIMIT
from mansio.core.deadlines import NEVER_MS
from mansio.core.inflight import Piece
from mansio.core.run import Span

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue

READY_MAX: Final = 5000
"""Spans that become ready in one turn; the others follow in the next one."""


class Deferred:
    """Those of one queue, by when they are due. `count`: messages."""

    __slots__ = ("_broker", "_heap", "_queue", "count", "deadline_ms")

    def __init__(self, broker: "Broker", queue: "Queue") -> None:
        self.count = 0
        self.deadline_ms = NEVER_MS
        self._heap: list[tuple[int, int, Span]] = []
        self._broker = broker
        self._queue = queue

    def __iter__(self) -> Iterator[Span]:
        """What waits, in no order."""
        return (span for _, _, span in self._heap)

    def put_off(self, pieces: Iterable[Piece]) -> None:
        """Deliveries that were given back: each waits, or was tried too often."""
        broker, queue = self._broker, self._queue
        retry, limit = queue.rules.retry, queue.rules.delivery_limit
        assert retry is not None
        spent: list[Piece] = []
        for piece in pieces:
            attempt = piece.deliveries + 1
            for part in _each(piece) if retry.jitter or piece.step != 1 else (piece,):
                delay_ms = retry.delay_ms(attempt, broker.draws)
                if delay_ms is None or attempt > limit >= 0:
                    spent.append(part)
                    continue
                due_ms = broker.now_ms + delay_ms
                span = Span(part.run, part.start, part.start + part.count, part.base, True, attempt)
                queue.in_flight -= part.count
                broker.settling.credit(part)
                broker.settling.given_back(queue, part, attempt, due_ms)
                if part.run.marks is not None:
                    part.run.marks.count_return(queue.id)
                self.add(span, due_ms)
        if queue.fed and not queue.in_flight:  # the next member of a group may have waited for it
            broker.dispatcher.touch(queue)
        if spent:
            broker.dead_letters.reject(spent, DELIVERY_LIMIT)

    def add(self, span: Span, due_ms: int) -> None:
        """Messages wait until then."""
        self.count += span.stop - span.start
        heappush(self._heap, (due_ms, span.base + span.start, span))
        self._broker.deadlines.at(due_ms, self)

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        heap = self._heap
        spans: list[Span] = []
        while heap and heap[0][0] <= now_ms and len(spans) < READY_MAX:
            spans.append(heappop(heap)[2])
        if spans:
            self._return(spans)
        if heap:
            self._broker.deadlines.at(heap[0][0], self)

    def _return(self, spans: list[Span]) -> None:
        broker, queue = self._broker, self._queue
        count = sum(span.stop - span.start for span in spans)
        self.count -= count
        queue.ready_count += count
        queue.put_back(spans)
        if queue.bound is not None:
            queue.bound.returned(queue, broker.dead_letters)
        broker.dispatcher.touch(queue)

    def take_all(self) -> list[Span]:
        """Empties it."""
        spans = [span for _, _, span in self._heap]
        self._heap.clear()
        self.count = 0
        return spans


def _each(piece: Piece) -> list[Piece]:
    """Its messages one by one."""
    return [
        Piece(
            piece.first + n,
            1,
            piece.consumer,
            piece.queue,
            piece.run,
            piece.start + n * piece.step,
            1,
            piece.base,
            piece.deliveries,
        )
        for n in range(piece.count)
    ]
