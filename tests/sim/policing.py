"""What a change of policies does to queues with messages in them, as the oracle expects it."""

from __future__ import annotations

from typing import Any

from tests.sim.commands import Commands
from tests.sim.receipts import REJECTED
from tests.sim.topology import Queue, ask


class Policing(Commands):
    """The part of the model that operators change."""

    def change_policies(self, change: dict[str, Any]) -> None:
        """An operator has done this, and the broker has said that it is done."""
        self.topology.policies.change(change)
        for queue in self.topology.queues.values():
            asked = self.topology.policies.asked(queue.name, queue.arguments)
            if asked != queue.asked:
                self._rearm(queue, asked)
        self.pump()

    def _rearm(self, queue: Queue, asked: Any) -> None:
        bound, lease_ms = _bound(queue), queue.lease_ms
        ask(queue, asked)
        for entry in self.entries(queue):
            queue.sort(entry)
        queue.ready.sort()
        if _bound(queue) != bound:
            for entry in queue.ready:
                entry.accepted = True
        if queue.lease_ms != lease_ms:
            queue.used_ms = self.now_ms
        for consumer in queue.consumers:
            consumer.timeout_ms = self.timeout_of(consumer)
        for delivery in self.deliveries(queue):
            if delivery.consumer is None:
                delivery.timeout_ms = self.timeout_ms(queue)
            elif delivery.consumer in queue.consumers:
                delivery.timeout_ms = delivery.consumer.timeout_ms
        if queue.letters_to is None:
            self._let_go(queue)

    def _let_go(self, queue: Queue) -> None:
        """What was rejected, and waits to be read for an exchange that there is not any more."""
        gone = [each for each in self.dying if each.queue is queue and each.reason == "rejected"]
        for each in gone:
            self.dying.remove(each)
            self.end(queue, each.entry, REJECTED, each.holder)


def _bound(queue: Queue) -> tuple[int | None, int | None, bool] | None:
    if queue.length_max is None and queue.bytes_max is None:
        return None
    return queue.length_max, queue.bytes_max, queue.rejects
