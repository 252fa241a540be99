"""Queues that go away by themselves when nobody has used them for so long: `x-expires`, or `expires` of a policy.

Use is to declare the queue, to have a consumer, and basic.get; to publish is not (RabbitMQ 3.10.8). A policy that
changes the time gives the queue all of it anew.
"""

from typing import TYPE_CHECKING

from mansio.core.deadlines import NEVER_MS

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue


class Lease:
    """The time that one queue has left."""

    __slots__ = ("_broker", "_queue", "_used_ms", "deadline_ms", "expires_ms")

    def __init__(self, broker: "Broker", queue: "Queue", expires_ms: int) -> None:
        self.deadline_ms = NEVER_MS
        self._broker = broker
        self._queue = queue
        self.expires_ms = expires_ms
        self._used_ms = 0
        self.used()

    def used(self) -> None:
        """The queue is in use now; also to be told when its last consumer goes."""
        self._used_ms = self._broker.now_ms
        self._broker.deadlines.at(self.until_ms, self)

    @property
    def until_ms(self) -> int:
        """When the queue goes if nobody uses it until then."""
        return self._used_ms + self.expires_ms

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        if self._queue.lease is not self or self._queue.deleted or self._queue.consumers:
            return
        if self.until_ms > now_ms:
            self._broker.deadlines.at(self.until_ms, self)
        else:
            self._broker.definitions.drop_queue(self._queue)
