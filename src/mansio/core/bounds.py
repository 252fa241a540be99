"""Queues with a maximum length: what is too much at the end of a turn goes, from the head or back to its publisher.

The bound is looked at once a turn, behind dispatching: what consumers take at once never counts, as in RabbitMQ.

A policy may bound the bytes of a queue with messages in it, whose sizes nobody has looked at. Those that are paged out
are read for that, and nothing is dropped for its size before they are.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mansio.core.dead_letters import MAXLEN
from mansio.core.field_values import Arguments
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.dead_letters import DeadLetters
    from mansio.core.queue import Queue
    from mansio.core.session import Channel


class Bound:
    """`x-max-length` and `x-max-length-bytes` of one queue, and what arrived in this turn for `reject-publish`."""

    __slots__ = ("_arrived", "_fresh", "_waiting", "bytes_max", "count_max", "reject")

    def __init__(self, count_max: int | None, bytes_max: int | None, reject: bool) -> None:
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.reject = reject
        self._arrived: dict[int, tuple[Channel | None, int]] = {}
        """By base position: the publisher, and the number of its first message, 0 without confirms."""
        self._fresh = 0  # messages that arrived in this turn
        self._waiting: list[Callable[[], None]] | None = None  # publishers

    @property
    def shut(self) -> bool:
        """Whether nothing gets in, even if a consumer waits for it."""
        return self.reject and self.count_max == 0

    def is_like(self, other: "Bound | None") -> bool:
        """Whether the other one asks for the same."""
        return other is not None and (self.count_max, self.bytes_max, self.reject) == (
            other.count_max,
            other.bytes_max,
            other.reject,
        )

    def takes(self, queue: "Queue", run: Run) -> bool:
        """Whether the queue may take a run and has room for all of it; sizes that nobody knows are taken for means."""
        if self.count_max is not None and queue.ready_count + run.count > self.count_max:
            return False
        if self.bytes_max is None:
            return True
        room = self.bytes_max - _size(Span(run, 0, run.count, 0))
        for span in queue.spans():
            room -= _size(span)
        return room >= 0

    def arrived(self, run: Run, base: int, channel: "Channel | None") -> None:
        """A run took places from `base` on; `channel`: who published it and is to hear of it, by its number. Where
        that may be another one's, the queue takes the run, full or not."""
        self._fresh += run.count
        if self.bytes_max is not None:
            run.measure()
        if self.reject and not (channel is not None and channel.regrouped):
            confirming = channel is not None and channel.confirming
            first = channel.published - run.count + 1 if channel is not None and confirming else 0
            if not first and channel is not None and channel.tx is None:
                channel = None  # a transaction that it begins later in this turn is not concerned
            self._arrived[base] = (channel, first)

    def enforce(self, queue: "Queue", dead_letters: "DeadLetters") -> None:
        """Drops what is too much; publishers of rejected messages are told."""
        upto = queue.next_position
        self._drop(queue, dead_letters, self._excess(queue, dead_letters))
        while self.reject and upto < queue.next_position:  # receipts of what was refused came here
            upto = queue.next_position
            self._drop(queue, dead_letters, self._excess(queue, dead_letters))
        self._arrived.clear()
        self._fresh = 0
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            for look in waiting:
                look()

    def wait(self, look: "Callable[[], None]") -> None:
        """A publisher waits for room: `look` is called when there may be some, if consumers have made it."""
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(look)

    def returned(self, queue: "Queue", dead_letters: "DeadLetters") -> None:
        """Messages came back: what is too much then goes before consumers are served (RabbitMQ 3.10.8 observed)."""
        if not self.reject:
            self._drop(queue, dead_letters, self._excess(queue, dead_letters) - self._fresh)

    def _drop(self, queue: "Queue", dead_letters: "DeadLetters", excess: int) -> None:
        while excess > 0:
            span = queue.newest() if self.reject else queue.ready[0]
            n = min(excess, span.stop - span.start)
            if self.reject:
                # What is older than this turn was accepted.
                if span.base not in self._arrived or not dead_letters.can_refuse(queue, span):
                    break
                self._refuse(span, n)
                dead_letters.refuse(queue, queue.take_tail(n))
            elif dead_letters.can_take(queue, span):
                dead_letters.drop(queue, queue.take_head(n), MAXLEN)
            else:
                break
            excess -= n

    def _refuse(self, span: Span, n: int) -> None:
        channel, first = self._arrived[span.base]
        if channel is None:
            return
        if first:
            channel.rejected.append((first + span.stop - n, first + span.stop - 1))
        elif channel.tx is not None:
            channel.tx_refused = True

    def _excess(self, queue: "Queue", dead_letters: "DeadLetters") -> int:
        """How many ready messages are too many."""
        excess = 0
        if self.count_max is not None:
            excess = max(queue.ready_count - self.count_max, 0)
        if self.bytes_max is not None:
            excess = max(excess, self._excess_of_bytes(queue, self.bytes_max, dead_letters))
        return excess

    def _excess_of_bytes(self, queue: "Queue", bytes_max: int, dead_letters: "DeadLetters") -> int:
        """The same by size of bodies, which is what RabbitMQ counts, from the end that is kept.

        What is refused is what came last, whatever its priority.
        """
        room = bytes_max
        kept = 0
        spans = list(queue.spans())
        if self.reject:
            spans.sort(key=_place)
        else:
            spans.reverse()
        for at, span in enumerate(spans):
            count = span.stop - span.start
            sizes = span.run.bodies
            if sizes is None:
                if not span.run.data:
                    dead_letters.loading.measure(_unknown(spans[at:], room), queue)
                    return 0
                sizes = span.run.measure()
            if isinstance(sizes, int):
                fitting = min(count, room // sizes) if sizes else count
                room -= fitting * sizes
            else:
                part = sizes[span.start : span.stop]
                fitting, room = _fit(part if self.reject else reversed(part), room)
            kept += fitting
            if fitting < count:
                return queue.ready_count - kept
        return 0


def _size(span: Span) -> int:
    """Bytes of the bodies of a span."""
    run = span.run
    sizes = run.measure() if run.data else run.bodies
    if sizes is None:
        sizes = run.bytes_each()
    if isinstance(sizes, int):
        return (span.stop - span.start) * sizes
    return sum(sizes[span.start : span.stop])


def _unknown(spans: list[Span], room: int) -> list[Run]:
    """Runs that have to be read before it is known how many of these fit: at least so many as fill the room."""
    found: list[Run] = []
    for span in spans:
        run = span.run
        if run.bodies is None and not run.data:
            found.append(run)
        room -= (span.stop - span.start) * run.bytes_each()
        if room < 0:
            break
    return found


def _place(span: Span) -> int:
    return span.base + span.start


def _fit(sizes: Iterable[int], room: int) -> tuple[int, int]:
    """How many of these fit, from the first one on, and the room that is left then."""
    fitting = 0
    for size in sizes:
        if size > room:
            break
        room -= size
        fitting += 1
    return fitting, room


def make_bound(arguments: Arguments) -> Bound | None:
    """The bound that a queue with these arguments has."""
    count_max, bytes_max = arguments.get("x-max-length"), arguments.get("x-max-length-bytes")
    if arguments.get("x-queue-type") == "stream":  # it goes by segments
        return None
    if count_max is None and bytes_max is None:
        return None
    return Bound(
        count_max, bytes_max, str(arguments.get("x-overflow", "")).startswith("reject-publish")
    )
