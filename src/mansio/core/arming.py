"""What hangs on a queue is changed while it runs, to what its arguments and the policies that match it ask for by now.

    arguments ─┐
    policies ──┴─► asked ─► rules, bound, levels, expiry, lease, timeouts     each as it is for a queue declared so

The same happens when a queue is made. What is in it stays there: messages live as long as the queue says now since they
came, what is too much goes at the end of this turn, priorities are sorted anew. What a queue refuses is only what comes
while it refuses: messages of this turn that came before are not concerned.
"""

from typing import TYPE_CHECKING

from mansio.core.bounds import make_bound
from mansio.core.expiry import Expiry
from mansio.core.field_values import Arguments
from mansio.core.lease import Lease
from mansio.core.levels import Levels
from mansio.core.rules import make_rules
from mansio.core.stream import Stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue


def arm(broker: "Broker", queue: "Queue") -> None:
    """A queue is new: it gets what its arguments ask for."""
    _arm_expiry(broker, queue)
    _arm_lease(broker, queue)
    _arm_levels(queue)


def rearm(broker: "Broker", queue: "Queue", asked: Arguments) -> None:
    """From now on the queue is as one that was declared with what is `asked`, but keeps what is in it."""
    before, queue.asked = queue.asked, asked
    queue.rules = make_rules(asked)
    queue.rearmed()
    if isinstance(queue, Stream):
        broker.streams.rearmed(queue)
    else:
        bound = make_bound(asked)
        if bound is None or not bound.is_like(queue.bound):
            queue.bound = bound
        arm(broker, queue)
        broker.dead_letters.rearmed(queue)
    if before.get("x-consumer-timeout") != asked.get("x-consumer-timeout"):
        broker.overdue.rearmed(queue)
    broker.dispatcher.touch(queue)


def _arm_expiry(broker: "Broker", queue: "Queue") -> None:
    if queue.expiry is not None:
        queue.expiry.rearm()
    elif queue.rules.ttl_ms is not None:
        queue.expiry = Expiry(broker, queue)


def _arm_lease(broker: "Broker", queue: "Queue") -> None:
    expires_ms = queue.rules.expires_ms
    if expires_ms is None:
        queue.lease = None
    elif queue.lease is None or queue.lease.expires_ms != expires_ms:
        queue.lease = Lease(broker, queue, expires_ms)


def _arm_levels(queue: "Queue") -> None:
    highest = queue.rules.levels
    if highest != (0 if queue.levels is None else queue.levels.highest):
        queue.set_levels(Levels(highest) if highest else None)
