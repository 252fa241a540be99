"""Who of several consumers of one priority gets the next message (queue argument `x-dispatch-strategy`).

    round-robin    the next in turn; what a queue does that does not ask for another one (dispatch.py)
    random         any, each as likely as the others
    weighted       each as many as its `x-weight` (1 to 65535, 1 if not given) in proportion to those of the others
    least-loaded   the one with the fewest unsettled deliveries, in turn among those that have as few

Only consumers that have room take part. A strategy hands out until there is nothing, nobody has room, or the next
message is paged out. Messages of one channel leave in order, whichever consumer they are for.
"""

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, Final, Protocol

from mansio.core.dispatch import (
    Consumer,
    Ring,
    Settler,
    able_in_turn,
    dispatch_in_turn,
    give_head,
    give_round,
    has_head,
)
from mansio.core.draws import Draws

if TYPE_CHECKING:
    from mansio.core.queue import Queue

STRATEGIES: Final = ("round-robin", "random", "weighted", "least-loaded")

WEIGHT_MAX: Final = 65_535
"""Of one consumer; more is refused, as nobody could tell it from this."""

_LAP: Final = 1 << 40
"""What one message moves a consumer of weight 1 on: so much that what a division by a weight leaves does not count."""


class Strategy(Protocol):
    """One for each group of consumers that have the same priority."""

    def share(self, queue: "Queue", ring: Ring, settler: Settler) -> None:
        """Hands out what can be handed out among these consumers, of which there is one at least."""


class RoundRobin:
    """The next in turn."""

    def share(self, queue: "Queue", ring: Ring, settler: Settler) -> None:
        """See `Strategy`."""
        dispatch_in_turn(queue, ring, settler)


class Random:
    """Any."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def share(self, queue: "Queue", ring: Ring, settler: Settler) -> None:
        """See `Strategy`."""
        able = list(ring.consumers)
        while able and has_head(queue):
            each = queue.ready[0].run.bytes_each()
            at = self._draws.below(len(able))
            if able[at].room(each) > 0:
                give_head(queue, able[at], 1, each, settler)
            else:
                del able[at]


class Weighted:
    """Each as far as its weight takes it: who has come least far gets the next message and goes on by 1 / weight.

    (Start-time fair queueing: Goyal, Vin and Cheng, 1996.) Who had no room for a while goes on where the others are:
    what it could not take is not kept for it.
    """

    def __init__(self) -> None:
        self._front = 0  # how far the one had come that got the last message

    def share(self, queue: "Queue", ring: Ring, settler: Settler) -> None:
        """See `Strategy`."""
        line: list[tuple[int, int, Consumer]] = []  # how far, order of subscription
        for i, consumer in enumerate(ring.consumers):
            line.append((max(consumer.mark, self._front), i, consumer))
        heapify(line)
        while line and has_head(queue):
            span = queue.ready[0]
            each = span.run.bytes_each()
            mark, i, consumer = line[0]
            room = consumer.room(each)
            if room <= 0:
                heappop(line)
                continue
            n = min(room, span.stop - span.start)
            step = _LAP // consumer.weight
            if len(line) > 1:  # until it has passed the next one
                n = min(n, (min(line[1:3])[0] - mark) // step + 1)
            give_head(queue, consumer, n, each, settler)
            self._front = mark + (n - 1) * step
            consumer.mark = mark + n * step
            heapreplace(line, (consumer.mark, i, consumer))


class LeastLoaded:
    """Whoever has the fewest unsettled deliveries; one that does not acknowledge never has any."""

    def share(self, queue: "Queue", ring: Ring, settler: Settler) -> None:
        """See `Strategy`."""
        while has_head(queue):
            each = queue.ready[0].run.bytes_each()
            able = able_in_turn(ring, each)
            if not able:
                return
            loads = {consumer.unsettled for consumer, _ in able}
            least = min(loads)
            idle = [pair for pair in able if pair[0].unsettled == least]
            if all(consumer.no_ack for consumer, _ in idle):
                rounds_max = 1 << 62
            elif any(consumer.no_ack for consumer, _ in idle):
                rounds_max = 1
            else:  # until they have as many as the next ones
                rounds_max = min(loads - {least}, default=1 << 62) - least
            give_round(queue, ring, idle, each, settler, rounds_max)


def make_strategy(name: str, draws: Draws) -> Strategy:
    """The strategy of this name, one of STRATEGIES."""
    if name == "random":
        return Random(draws)
    if name == "weighted":
        return Weighted()
    return LeastLoaded() if name == "least-loaded" else RoundRobin()
