"""What always holds of queues that do something at some time: they are called then."""

from typing import TYPE_CHECKING

from mansio.core.check_paging import is_awaited
from mansio.core.check_topology import InvariantBroken

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue


def check_times(queue: "Queue", broker: "Broker") -> None:
    """Raises InvariantBroken when nobody would notice that the queue's head expires, or that its lease ends."""
    expiry = queue.expiry
    if expiry is not None and queue.ready_count and not queue.dirty:
        when_ms = max(expiry.of(queue.ready[0].run), broker.now_ms)
        waits = is_awaited(queue, broker) or broker.dead_letters.is_blocked(queue)
        if expiry.deadline_ms > when_ms and not waits:
            raise InvariantBroken(f"queue {queue.name}: its head expires, and it is not called")
    lease = queue.lease
    if lease is not None and not queue.consumers and lease.deadline_ms > lease.until_ms:
        raise InvariantBroken(f"queue {queue.name}: its lease ends, and it is not called")
