"""One classic queue: messages ready in the order of their positions, and how many are in flight.

    ready ──deliver──► in flight ──ack, reject──► settled
      ▲                   │
      └─────requeue───────┘    back to its own place, marked redelivered

`ready` is a deque of spans whose positions rise from left to right.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mansio.core.bounds import make_bound
from mansio.core.inflight import Piece
from mansio.core.routing import Arguments
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.dispatch import Consumer
    from mansio.core.paging import Pages
    from mansio.core.session import Session


class Queue:
    """A queue and its consumers. `id` is unique for the broker's life; `owner` is set for exclusive queues."""

    __slots__ = (
        "arguments",
        "auto_delete",
        "bindings",
        "bound",
        "consumers",
        "crowded",
        "deleted",
        "dirty",
        "durable",
        "exclusive_consumer",
        "had_consumer",
        "id",
        "in_flight",
        "name",
        "next_position",
        "owner",
        "pages",
        "ready",
        "ready_count",
        "turn",
        "vhost",
    )

    def __init__(
        self,
        id: int,
        vhost: str,
        name: str,
        durable: bool = False,
        auto_delete: bool = False,
        owner: "Session | None" = None,
        arguments: Arguments | None = None,
    ) -> None:
        self.id = id
        self.vhost = vhost
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments: Arguments = arguments or {}
        self.bindings: dict[int, Any] = {}
        self.bound = make_bound(self.arguments)
        self.ready: deque[Span] = deque()
        self.ready_count = 0
        self.in_flight = 0
        self.next_position = 0
        self.consumers: list[Consumer] = []
        self.turn = 0
        self.exclusive_consumer = False
        self.had_consumer = False
        self.crowded = False  # more is ready than its consumers' connections carry
        self.dirty = False
        self.deleted = False
        self.pages: Pages | None = None

    @property
    def logged(self) -> bool:
        """Whether persistent messages in it outlive a restart: not in an exclusive queue, whose owner is gone."""
        return self.durable and self.owner is None

    def append(self, run: Run) -> int:
        """Puts a run at the end; answers the position of its first message."""
        base = self.next_position
        self.ready.append(Span(run, 0, run.count, base))
        self.ready_count += run.count
        self.next_position = base + run.count
        return base

    def take_head(self, n: int) -> Span:
        """Takes the first `n` messages of the first span, which has at least as many."""
        span = self.ready[0]
        self.ready_count -= n
        if n == span.stop - span.start:
            return self.ready.popleft()
        taken = Span(span.run, span.start, span.start + n, span.base, span.redelivered)
        span.start += n
        return taken

    def take_tail(self, n: int) -> Span:
        """Takes the last `n` messages of the last span, which has at least as many."""
        span = self.ready[-1]
        self.ready_count -= n
        if n == span.stop - span.start:
            return self.ready.pop()
        span.stop -= n
        return Span(span.run, span.stop, span.stop + n, span.base, span.redelivered)

    def requeue(self, pieces: Iterable[Piece]) -> None:
        """Takes messages back to their places, marked as redelivered."""
        spans: list[Span] = []
        for piece in pieces:
            self.in_flight -= piece.count
            self.ready_count += piece.count
            if piece.step == 1:
                spans.append(
                    Span(piece.run, piece.start, piece.start + piece.count, piece.base, True)
                )
            else:
                stop = piece.start + piece.count * piece.step
                spans += [
                    Span(piece.run, i, i + 1, piece.base, True)
                    for i in range(piece.start, stop, piece.step)
                ]
        if not spans:
            return
        spans.sort(key=_place)
        last = _place(spans[-1])
        ready = self.ready
        while ready and _place(ready[0]) < last:
            spans.append(ready.popleft())
        spans.sort(key=_place)
        ready.extendleft(reversed(_join(spans)))

    def take_all(self) -> list[Span]:
        """Empties the ready messages."""
        spans = list(self.ready)
        self.ready.clear()
        self.ready_count = 0
        return spans


def _place(span: Span) -> int:
    return span.base + span.start


def _join(spans: list[Span]) -> list[Span]:
    """Joins neighbours that are one piece of one run: a position is in one span only, so they never overlap."""
    result: list[Span] = []
    for span in spans:
        before = result[-1] if result else None
        if (
            before is not None
            and before.run is span.run
            and before.base == span.base
            and before.stop == span.start
            and before.redelivered == span.redelivered
        ):
            before.stop = span.stop
        else:
            result.append(span)
    return result
