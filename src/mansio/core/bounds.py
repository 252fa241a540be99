"""Queues with a maximum length: what is too much at the end of a turn goes, from the head or back to its publisher.

The bound is looked at once a turn, behind dispatching: what consumers take at once never counts, as in RabbitMQ.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mansio.core.routing import Arguments
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.queue import Queue
    from mansio.core.session import Channel
    from mansio.core.settling import Settling


class Bound:
    """`x-max-length` and `x-max-length-bytes` of one queue, and what arrived in this turn for `reject-publish`."""

    __slots__ = ("_arrived", "bytes_max", "count_max", "reject")

    def __init__(self, count_max: int | None, bytes_max: int | None, reject: bool) -> None:
        self.count_max = count_max
        self.bytes_max = bytes_max
        self.reject = reject
        self._arrived: dict[
            int, tuple[Channel, int]
        ] = {}  # base position -> (publisher, number of its first message)

    def arrived(self, run: Run, base: int, channel: "Channel", first: int) -> None:
        """A run took places from `base` on; `first`: publish number of its first message, 0 without confirms."""
        if self.bytes_max is not None:
            run.measure()
        if self.reject:
            self._arrived[base] = (channel, first)

    def enforce(self, queue: "Queue", settling: "Settling") -> None:
        """Drops what is too much; publishers of rejected messages are told with their confirms."""
        excess = self._excess(queue)
        while excess > 0:
            span = queue.ready[-1] if self.reject else queue.ready[0]
            n = min(excess, span.stop - span.start)
            if self.reject:
                if span.base not in self._arrived:  # older than this turn: it was accepted
                    break
                self._refuse(span, n)
                settling.drop(queue, queue.take_tail(n))
            else:
                settling.drop(queue, queue.take_head(n))
            excess -= n
        self._arrived.clear()

    def _refuse(self, span: Span, n: int) -> None:
        channel, first = self._arrived[span.base]
        if first:
            channel.rejected.append((first + span.stop - n, first + span.stop - 1))

    def _excess(self, queue: "Queue") -> int:
        """How many ready messages are too many."""
        excess = 0
        if self.count_max is not None:
            excess = max(queue.ready_count - self.count_max, 0)
        if self.bytes_max is not None:
            excess = max(excess, self._excess_of_bytes(queue, self.bytes_max))
        return excess

    def _excess_of_bytes(self, queue: "Queue", bytes_max: int) -> int:
        """The same by size of bodies, which is what RabbitMQ counts, from the end that is kept."""
        room = bytes_max
        kept = 0
        for span in queue.ready if self.reject else reversed(queue.ready):
            count = span.stop - span.start
            sizes = span.run.bodies
            assert sizes is not None  # measured when it arrived
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
    """The bound that a queue's arguments ask for."""
    count_max, bytes_max = arguments.get("x-max-length"), arguments.get("x-max-length-bytes")
    if count_max is None and bytes_max is None:
        return None
    return Bound(
        count_max, bytes_max, str(arguments.get("x-overflow", "")).startswith("reject-publish")
    )
