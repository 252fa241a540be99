"""Which consumers of a queue may get messages at all: by priority, or the single active one.

    priorities     consumers with a higher `x-priority` get messages as long as one of them has room;
                   among those of one priority the queue's strategy decides
    single active  one consumer gets all; when it goes, one of the highest priority follows: the first that came
    partition      one consumer gets all, of the member that the group's rota has chosen

(RabbitMQ 3.10.8 observed.) A consumer has no room when its prefetch is used up, or when its client does not read. That
its connection was sent as much as goes into one turn does not count: it goes on in the next turn, and consumers of a
lower priority wait for that.

A queue has a `Sharing` only while it needs one: it has consumers, and one of them came with a priority, or an argument
of the queue asks for it.
"""

from typing import TYPE_CHECKING

from mansio.core.dispatch import Consumer, dispatch_to_one
from mansio.core.draws import Draws
from mansio.core.group import Group as StreamGroup
from mansio.core.strategies import Strategy, make_strategy

if TYPE_CHECKING:
    from mansio.core.queue import Queue
    from mansio.core.rota import Partition
    from mansio.core.settling import Settling


class Group:
    """Consumers of one priority, in order of subscription; `turn`: the number of the one that is next."""

    __slots__ = ("consumers", "priority", "strategy", "turn")

    def __init__(self, priority: int, strategy: Strategy) -> None:
        self.priority = priority
        self.strategy = strategy
        self.consumers: list[Consumer] = []
        self.turn = 0


class Sharing:
    """How the consumers of one queue share its messages. `active` is the single active consumer, where there is one."""

    __slots__ = ("_draws", "_strategy", "active", "groups", "partition", "single")

    def __init__(self, queue: "Queue", draws: Draws) -> None:
        """For the consumers that the queue has."""
        self._draws = draws
        self._strategy: str = queue.arguments.get("x-dispatch-strategy", "round-robin")
        self.single: bool = queue.arguments.get("x-single-active-consumer", False)
        self.active: Consumer | None = None
        self.groups: list[Group] = []  # the highest priority first
        self.partition: Partition | None = None
        if isinstance(queue, StreamGroup) and queue.rota is not None:
            self.partition = queue.rota.partitions[queue]
        for consumer in queue.consumers:
            self.add(consumer)
        for group in self.groups:
            if group.priority == 0:  # all that were there before are in it
                group.turn = queue.turn

    def add(self, consumer: Consumer) -> None:
        """A consumer has subscribed."""
        if self.active is None and self.single:
            self.active = consumer
        at = 0
        for group in self.groups:
            if group.priority == consumer.priority:
                group.consumers.append(consumer)
                return
            at += group.priority > consumer.priority
        group = Group(consumer.priority, make_strategy(self._strategy, self._draws))
        group.consumers.append(consumer)
        self.groups.insert(at, group)

    def remove(self, consumer: Consumer) -> None:
        """A consumer has gone; the next one becomes active if it was that."""
        group = next(group for group in self.groups if group.priority == consumer.priority)
        at = group.consumers.index(consumer)
        del group.consumers[at]
        if at < group.turn:
            group.turn -= 1
        if not group.consumers:
            self.groups.remove(group)
        if consumer is self.active:
            self.active = self.groups[0].consumers[0] if self.groups else None

    @property
    def first(self) -> list[Consumer]:
        """Those that get messages before all others."""
        if self.partition is not None:
            served = self.partition.served
            return [] if served is None else [served]
        if self.active is not None:
            return [self.active]
        return self.groups[0].consumers if self.groups else []

    def dispatch(self, queue: "Queue", settling: "Settling") -> None:
        """Hands out what can be handed out; the queue has consumers."""
        if self.partition is not None:
            self.partition.take_over()
            for consumer in self.first:
                dispatch_to_one(queue, consumer, settling)
            return
        if self.active is not None:
            dispatch_to_one(queue, self.active, settling)
            return
        for group in self.groups:
            consumers = group.consumers
            if len(consumers) == 1:
                dispatch_to_one(queue, consumers[0], settling)
            else:
                group.strategy.share(queue, group, settling)
            if not queue.ready_count or not queue.ready[0].run.data:
                return
            if any(consumer.is_spent for consumer in consumers):
                return


def needs_sharing(queue: "Queue", consumer: Consumer) -> bool:
    """Whether the queue's arguments, or this consumer, ask for more than serving consumers in turn."""
    arguments = queue.arguments
    if consumer.priority:
        return True
    if not arguments:
        return False
    if isinstance(queue, StreamGroup) and queue.rota is not None:
        return True
    return (
        arguments.get("x-dispatch-strategy", "round-robin") != "round-robin"
        or arguments.get("x-single-active-consumer") is True
    )
