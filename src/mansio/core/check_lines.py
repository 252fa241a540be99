"""What always holds of clients that wait for lists: queues know their lines, and nobody waits beside what he wants."""

from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.topology import VHost


def check_line(queue: "Queue", broker: "Broker") -> None:
    """Raises InvariantBroken when the queue has something for who waits, and is not looked at again."""
    line = queue.waiters
    if line is not broker.vhosts[queue.vhost].lines.get(queue.name):
        raise InvariantBroken(f"queue {queue.name} does not know who waits for it")
    if line is None or not queue.ready_count or queue.keeps or queue.fed or queue.owner is not None:
        return
    expired = queue.expiry is not None and queue.expiry.of(queue.ready[0].run) <= broker.now_ms
    absent = not (queue.ready[0].run.data and queue.last().run.data)
    if not (queue.dirty or line in broker.lists.ready or absent or expired):
        raise InvariantBroken(f"queue {queue.name}: {queue.ready_count} ready, and clients wait")


def check_lines(host: "VHost") -> None:
    """Raises InvariantBroken for a line in which nobody stands, or that a waiter does not stand in all the same."""
    for key, line in host.lines.items():
        if not line.waiters:
            raise InvariantBroken(f"the line of {key} is empty")
        for waiter in line.waiters:
            if key not in waiter.keys or waiter.session.closed:
                raise InvariantBroken(f"the line of {key} has somebody who does not wait for it")
