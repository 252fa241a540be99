"""What always holds of a queue and the policies that match it: it is as one that was declared so."""

from typing import TYPE_CHECKING

from mansio.core.bounds import make_bound
from mansio.core.check_topology import InvariantBroken
from mansio.core.rules import make_rules

if TYPE_CHECKING:
    from mansio.core.queue import Queue
    from mansio.core.topology import VHost


def check_policies(host: "VHost") -> None:
    """Raises InvariantBroken for a queue or an exchange that goes by other rules than those that hold for it."""
    for queue in host.queues.values():
        if queue.asked != host.policies.asked(queue):
            raise InvariantBroken(f"queue {queue.name} does what it is not asked for by now")
        _check_parts(queue)
    for exchange in host.exchanges.values():
        alternate = exchange.alternate
        if alternate != host.policies.alternate(exchange):
            raise InvariantBroken(f"exchange {exchange.name} has alternate exchange {alternate}")


def _check_parts(queue: "Queue") -> None:
    rules = make_rules(queue.asked)
    if any(getattr(queue.rules, name) != getattr(rules, name) for name in _PLAIN_RULES):
        raise InvariantBroken(f"queue {queue.name} has rules that it was not asked for")
    bound = make_bound(queue.asked)
    if (bound is None) != (queue.bound is None) or (bound and not bound.is_like(queue.bound)):
        raise InvariantBroken(f"queue {queue.name} has a bound that it was not asked for")
    if rules.levels != (0 if queue.levels is None else queue.levels.highest):
        raise InvariantBroken(f"queue {queue.name} has not the {rules.levels} priorities asked for")
    if rules.ttl_ms is not None and queue.expiry is None:
        raise InvariantBroken(f"queue {queue.name}: nothing expires")
    if rules.expires_ms != (None if queue.lease is None else queue.lease.expires_ms):
        raise InvariantBroken(f"queue {queue.name} has another lease than was asked for")


_PLAIN_RULES = (
    "dead_letter_exchange", "dead_letter_key", "delivery_limit", "expires_ms", "letters_refused", "levels", "ttl_ms",
)  # fmt: skip
