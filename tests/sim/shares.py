"""Which consumers may be given messages, and how many: priorities, the single active consumer, strategies."""

from __future__ import annotations

from tests.sim.model import Consumer, Violation
from tests.sim.partitions import check_member, must_serve
from tests.sim.topology import Queue


def check_turn_of(consumer: Consumer, what: str) -> None:
    """A delivery to this consumer is made: nobody may stand before it."""
    queue, group = consumer.queue, consumer.queue.group
    if group is not None and group.rota is not None:
        check_member(group, consumer, what)
        return
    if queue.single:
        if queue.active is not consumer:
            raise Violation(f"{what}: {queue.active and queue.active.tag} is the active consumer")
        return
    for other in queue.consumers:
        if other.priority > consumer.priority and other.able:
            raise Violation(
                f"{what} at priority {consumer.priority}: {other.tag} has {other.priority} and room"
            )


def first_in_line(queue: Queue) -> list[Consumer]:
    """Who has to be given the next message: one of these."""
    group = queue.group
    if group is not None and group.rota is not None:
        return must_serve(queue, group)
    if queue.single:
        return [queue.active] if queue.active is not None and queue.active.able else []
    able = [consumer for consumer in queue.consumers if consumer.able]
    highest = max((consumer.priority for consumer in able), default=0)
    return [consumer for consumer in able if consumer.priority == highest]


def check_shares(queue: Queue, spent: set[int]) -> None:
    """All deliveries of a turn from this queue are made: compares those who got some with those who still had room.

    `spent`: ids of connections that were sent all that they may be in a turn, whose consumers so were passed over.
    """
    if not queue.single and (queue.group is None or queue.group.rota is None):
        for one in queue.consumers:
            for other in queue.consumers:
                if other.priority == one.priority and one.got and other is not one:
                    if other.able and id(other.channel.connection) not in spent:
                        _check_pair(queue, one, other, spent)
    for consumer in queue.consumers:
        consumer.got = 0


def _check_pair(queue: Queue, one: Consumer, other: Consumer, spent: set[int]) -> None:
    """`one` got messages, while `other` had room from beginning to end. For a just share by weight `one` must have had
    room all the time, too: who comes back is not behind."""
    what = f"queue {queue.name}, {queue.strategy}: {one.tag} got {one.got}, {other.tag} {other.got}"
    if queue.strategy == "least-loaded":
        if one.unsettled > other.unsettled + 1:
            raise Violation(f"{what}, and has {one.unsettled} unsettled, {other.unsettled}")
    elif queue.strategy == "round-robin":
        if one.got > other.got + 1:
            raise Violation(what)
    elif queue.strategy == "weighted":
        always = one.able and id(one.channel.connection) not in spent
        lead = one.got / one.weight - other.got / other.weight
        if always and lead > 1 / one.weight + 1 / other.weight + 1e-6:
            raise Violation(f"{what}, by weight {one.weight} and {other.weight}")
