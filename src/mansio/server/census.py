"""Sums over all queues, for metrics: what only a look at each of them tells."""

from typing import Final

from mansio.core.broker import Broker
from mansio.core.queue import Queue
from mansio.core.stream import Stream

QUEUES_PER_READING: Final = 1000
"""Queues that are looked at in one reading (0.1 ms). Of more, sums come some readings later, and the loop goes on."""


class Sums:
    """Over all queues. What streams keep is not ready: it waits for nobody."""

    __slots__ = (
        "consumers", "deferred", "group_ready", "groups", "readers", "ready", "stream_bytes",
        "stream_messages", "unacknowledged",
    )  # fmt: skip

    def __init__(self) -> None:
        self.consumers = 0
        self.ready = 0
        self.unacknowledged = 0
        self.deferred = 0
        self.readers = 0  # consumers of streams
        self.stream_messages = 0
        self.stream_bytes = 0
        self.groups = 0
        self.group_ready = 0

    def add(self, queue: Queue) -> None:
        """One more."""
        self.consumers += len(queue.consumers)
        self.unacknowledged += queue.in_flight
        if isinstance(queue, Stream):
            self.readers += len(queue.consumers)
            self.stream_messages += queue.ready_count
            self.stream_bytes += queue.data_bytes
            return
        self.ready += queue.ready_count
        self.deferred += 0 if queue.deferred is None else queue.deferred.count
        if queue.fed:
            self.groups += 1
            self.group_ready += queue.ready_count


class Census:
    """Sums over all queues, from the last time that each was looked at."""

    def __init__(self) -> None:
        self.sums = Sums()
        self._left: list[Queue] = []
        self._coming = Sums()

    def go_on(self, broker: Broker) -> None:
        """Looks at some more queues; with the last one there are new sums."""
        if not self._left:
            self._left = [
                queue for host in broker.vhosts.values() for queue in host.queues.values()
            ]
            self._coming = Sums()
        part = self._left[-QUEUES_PER_READING:]
        del self._left[-QUEUES_PER_READING:]
        for queue in part:
            if not queue.deleted:
                self._coming.add(queue)
        if not self._left:
            self.sums = self._coming
