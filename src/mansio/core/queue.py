"""One classic queue: messages ready in the order of their positions, and how many are in flight.

    ready ──deliver──► in flight ──ack, reject──► settled
      ▲                   │
      └─────requeue───────┘    back to its own place, marked redelivered

`ready` is a deque of spans whose positions rise from left to right. What a queue's arguments and policies ask for
beyond that hangs on it: `bound`, `dedup`, `expiry`, `lease`, `levels`, `deferred`; all None for a plain queue. See
`arming`.

A Redis client sees it as a list, whose right end is the front, or the left one if `head_left`; see `lists`. What such a
client pushes in front has positions below all others.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mansio.core.bounds import make_bound
from mansio.core.deduplication import make_memory
from mansio.core.field_values import Arguments
from mansio.core.inflight import Piece
from mansio.core.rules import make_rules
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.deferred import Deferred
    from mansio.core.dispatch import Consumer
    from mansio.core.expiry import Expiry
    from mansio.core.lease import Lease
    from mansio.core.levels import Levels
    from mansio.core.paging import Pages
    from mansio.core.session import Session
    from mansio.core.sharing import Sharing
    from mansio.core.vacancy import Vacancy
    from mansio.core.waiters import Line


class Queue:
    """A queue and its consumers. `id` is unique for the broker's life; `owner` is set for exclusive queues."""

    hidden: ClassVar[bool] = False
    """No client can name it, and what is only there counts as not routed: the history of an exchange."""
    keeps: ClassVar[bool] = False
    """Its messages stay when they are settled: a stream."""
    fed: ClassVar[bool] = False
    """Only a stream puts messages into it: a consumer group."""

    __slots__ = (
        "arguments",
        "asked",
        "auto_delete",
        "bindings",
        "bound",
        "consumers",
        "crowded",
        "dedup",
        "deferred",
        "deleted",
        "dirty",
        "durable",
        "exclusive_consumer",
        "expiry",
        "had_consumer",
        "head_left",
        "id",
        "in_flight",
        "lease",
        "levels",
        "logged",
        "low_position",
        "name",
        "next_position",
        "owner",
        "pages",
        "ready",
        "ready_count",
        "rules",
        "sharing",
        "turn",
        "vacancy",
        "vhost",
        "waiters",
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
        self.logged = durable and owner is None  # its persistent messages are in the log
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments: Arguments = arguments or {}
        self.asked = self.arguments  # with what policies say: see `arming`
        self.bindings: dict[int, Any] = {}
        self.rules = make_rules(self.arguments)
        self.bound = make_bound(self.arguments)
        self.dedup = make_memory(self.arguments)
        self.expiry: Expiry | None = None  # a message in it, or every one, may expire
        self.lease: Lease | None = None
        self.levels: Levels | None = None  # priorities
        self.deferred: Deferred | None = None  # what waits to be tried again, where a rule says so
        self.ready: deque[Span] = deque()
        self.ready_count = 0
        self.in_flight = 0
        self.next_position = 0
        self.low_position = 0  # of all that it ever had
        self.head_left = self.arguments.get("x-head") == "left"
        self.vacancy: Vacancy | None = None  # nobody has declared it: it goes when it is empty
        self.waiters: Line | None = None  # clients that wait for something to come into it
        self.consumers: list[Consumer] = []
        self.turn = 0
        self.sharing: Sharing | None = None  # None: its consumers, if any, are served in turn
        self.exclusive_consumer = False
        self.had_consumer = False
        self.crowded = False  # more is ready than its consumers' connections carry
        self.dirty = False
        self.deleted = False
        self.pages: Pages | None = None
        self._prepare()

    def _prepare(self) -> None:
        """For kinds of queues: what they have beside, by their arguments."""

    def rearmed(self) -> None:
        """For kinds of queues: `asked` has changed."""

    @property
    def lasting(self) -> bool:
        """Whether it outlives a restart, where a log is kept: not an exclusive queue, whose owner is gone."""
        return self.durable and self.owner is None

    def append(self, run: Run) -> int:
        """Puts a run at the end; answers the position of its first message."""
        base = self.next_position
        self.put(Span(run, 0, run.count, base))
        self.ready_count += run.count
        self.next_position = base + run.count
        return base

    def prepend(self, run: Run) -> int:
        """Puts a run in front of all that has its priority; answers the position of its first message."""
        base = self.low_position - run.count
        span = Span(run, 0, run.count, base)
        if self.levels is None:
            self.ready.appendleft(span)
        else:
            self.levels.lane(run).appendleft(span)
            self.ready = self.levels.head()
        self.ready_count += run.count
        self.low_position = base
        return base

    def put(self, span: Span) -> None:
        """Puts a span behind all that came before it. The caller counts its messages."""
        if self.levels is None:
            self.ready.append(span)
        else:
            self.levels.lane(span.run).append(span)
            self.ready = self.levels.head()

    def spans(self) -> Iterator[Span]:
        """What is ready, in the order in which it would be delivered."""
        return iter(self.ready) if self.levels is None else self.levels.spans()

    def lanes(self) -> Sequence[deque[Span]]:
        """What is ready, in deques in each of which positions rise; the head is in the last one that is not empty."""
        return (self.ready,) if self.levels is None else self.levels.lanes

    def newest(self) -> Span:
        """What came last of what is ready; there is something."""
        return self.ready[-1] if self.levels is None else self.levels.newest()

    def last(self) -> Span:
        """What would be delivered last; there is something."""
        return (self.ready if self.levels is None else self.levels.last())[-1]

    def take_head(self, n: int) -> Span:
        """Takes the first `n` messages of the first span, which has at least as many."""
        span = self.ready[0]
        self.ready_count -= n
        if n == span.stop - span.start:
            self.ready.popleft()
            if self.levels is not None and not self.ready:
                self.ready = self.levels.head()
            return span
        start = span.start
        taken = Span(span.run, start, start + n, span.base, span.redelivered, span.deliveries)
        span.start += n
        return taken

    def take_tail(self, n: int) -> Span:
        """Takes the last `n` messages of the newest span, which has at least as many."""
        span = self.newest()
        return self._take_back(self.ready if self.levels is None else self.levels.lane(span.run), n)

    def take_last(self, n: int) -> Span:
        """Takes the last `n` messages of the span that would be delivered last, which has at least as many."""
        return self._take_back(self.ready if self.levels is None else self.levels.last(), n)

    def _take_back(self, lane: deque[Span], n: int) -> Span:
        span = lane[-1]
        self.ready_count -= n
        if n == span.stop - span.start:
            lane.pop()
            if self.levels is not None:
                self.ready = self.levels.head()
            return span
        span.stop -= n
        stop = span.stop
        return Span(span.run, stop, stop + n, span.base, span.redelivered, span.deliveries)

    def put_back(self, spans: list[Span]) -> None:
        """Takes messages back to their places. The caller counts them."""
        if self.levels is None:
            merge(self.ready, spans)
            return
        for lane, its_own in self.levels.divide(spans):
            merge(lane, its_own)
        self.ready = self.levels.head()

    def set_levels(self, levels: "Levels | None") -> None:
        """From now on it has these priorities, or none. What is ready goes to the place that it has now."""
        spans = sorted(self.spans(), key=_place)
        self.levels = levels
        if levels is None:
            self.ready = deque(spans)
            return
        for lane, its_own in levels.divide(spans):
            lane.extend(its_own)
        self.ready = levels.head()

    def requeue(self, pieces: Iterable[Piece]) -> None:
        """Takes deliveries back to their places, marked as redelivered."""
        self.put_back(spans_of(self, pieces))

    def take_all(self) -> list[Span]:
        """Empties the ready messages."""
        spans = list(self.spans())
        for lane in self.lanes():
            lane.clear()
        self.ready_count = 0
        return spans


def spans_of(queue: Queue, pieces: Iterable[Piece]) -> list[Span]:
    """Deliveries as spans that are ready again; counted as such."""
    spans: list[Span] = []
    for piece in pieces:
        queue.in_flight -= piece.count
        queue.ready_count += piece.count
        deliveries = piece.deliveries
        first, run, base = piece.start, piece.run, piece.base
        if piece.step == 1:
            spans.append(Span(run, first, first + piece.count, base, True, deliveries))
        else:
            numbers = range(first, first + piece.count * piece.step, piece.step)
            spans += [Span(run, i, i + 1, base, True, deliveries) for i in numbers]
    return spans


def merge(ready: deque[Span], spans: list[Span]) -> None:
    """Puts spans into their places among others, near whose front they belong."""
    if not spans:
        return
    spans.sort(key=_place)
    last = _place(spans[-1])
    while ready and _place(ready[0]) < last:
        spans.append(ready.popleft())
    spans.sort(key=_place)
    ready.extendleft(reversed(_join(spans)))


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
            and before.deliveries == span.deliveries
        ):
            before.stop = span.stop
        else:
            result.append(span)
    return result
