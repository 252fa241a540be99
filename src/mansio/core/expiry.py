"""Messages that expire: by the time to live of their queue, by their own expiration, or the earlier of both.

Only the head of a queue expires, as in RabbitMQ (3.10.8): what has expired behind a message that has not is dropped
when it gets there. Nothing that has expired is delivered. A message that may live 0 ms goes to a consumer with room
in the turn in which it comes, or to nobody.
"""

from typing import TYPE_CHECKING, Final

from mansio.core.dead_letters import EXPIRED
from mansio.core.deadlines import NEVER_MS

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.run import Run, Span

_DROPPED_MAX: Final = 2048
"""Messages that one queue drops in a turn: to write them again for a dead-letter exchange takes its time."""


class Expiry:
    """The expiry of one queue's messages."""

    __slots__ = ("_broker", "_looked_at", "_queue", "_ttl_ms", "deadline_ms")

    def __init__(self, broker: "Broker", queue: "Queue", fresh: int | None = None) -> None:
        """`fresh`: the position of what has just come; without it, all in the queue has been there before."""
        self.deadline_ms = NEVER_MS
        self._broker = broker
        self._queue = queue
        self._ttl_ms = NEVER_MS
        self._looked_at = queue.next_position if fresh is None else fresh
        """Positions from here on have come since consumers were last served."""
        self.rearm()

    def rearm(self) -> None:
        """The rules of the queue may have changed: what is in it now lives as long as they say since it came."""
        ttl_ms = self._queue.rules.ttl_ms
        self._ttl_ms = NEVER_MS if ttl_ms is None else ttl_ms

    def spare_nothing(self) -> None:
        """What has expired by now is not served any more, also if it came just now."""
        self._looked_at = self._queue.next_position

    def of(self, run: "Run") -> int:
        """When the messages of a run expire."""
        ttl_ms = self._ttl_ms
        if run.expiration_ms is not None and run.expiration_ms < ttl_ms:
            ttl_ms = run.expiration_ms
        return run.arrived_ms + ttl_ms

    def before(self) -> bool:
        """Consumers are about to be served: what has expired does not go to them, but for what came just now.

        False when the head has expired but is still there: nobody is to be served.
        """
        lives = self._drop(self._looked_at)
        if not lives:
            self._looked_at = self._queue.next_position  # what came just now had its turn
        return lives

    def head_lives(self) -> bool:
        """Whether there is a message that may be delivered next, once what has expired in front of it is gone."""
        return self._drop(self._looked_at) and self._queue.ready_count > 0

    def after(self) -> bool:
        """Consumers were served, or a client asks for the first message: what has expired by now goes."""
        self._looked_at = self._queue.next_position
        return self._drop(self._looked_at)

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        self._broker.dispatcher.touch(self._queue)

    def _drop(self, upto: int) -> bool:
        broker, queue = self._broker, self._queue
        left = _DROPPED_MAX
        while queue.ready_count:
            span: Span = queue.ready[0]
            when_ms = self.of(span.run)
            if when_ms > broker.now_ms or span.base + span.start >= upto:
                broker.deadlines.at(when_ms, self)
                return True
            if left <= 0:
                broker.deadlines.at(broker.now_ms, self)
                return False
            if not broker.dead_letters.can_take(queue, span):
                return False
            n = min(span.stop - span.start, left)
            broker.dead_letters.drop(queue, queue.take_head(n), EXPIRED)
            broker.counts.expired += n
            left -= n
        return True
