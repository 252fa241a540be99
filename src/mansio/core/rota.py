"""Which member of a partitioned group is active where: each partition has one, and none has two more than another one.

    stream orders-0 ──► queue billing-0 ──► member A      every member consumes from all queues of the group, each of
    stream orders-1 ──► queue billing-1 ──► member B      which says `x-stream-group: billing`; a member is a channel
    stream orders-2 ──► queue billing-2 ──► member A

Members that come are handed partitions, those of members that go are divided among the others. A partition changes
hands when its present member has settled what it was sent, so that its order holds; meanwhile nobody gets more.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mansio.core.dispatch import Consumer
    from mansio.core.group import Group
    from mansio.core.session import Channel

ROTA: Final = "x-stream-group"


class Partition:
    """One queue of the group: who is active there, and who is to be. `consumers`: of its members."""

    __slots__ = ("active", "consumers", "heir", "queue")

    def __init__(self, queue: "Group") -> None:
        self.queue = queue
        self.consumers: list[Consumer] = []
        self.active: Consumer | None = None
        self.heir: Consumer | None = None

    @property
    def holder(self) -> "Consumer | None":
        """Who has it, or will."""
        return self.heir or self.active

    def give(self, consumer: "Consumer") -> None:
        """To a member, once the present one has settled everything."""
        self.heir = None if consumer is self.active else consumer
        self.take_over()

    def take_over(self) -> None:
        """Makes the heir active if it can be now."""
        if self.heir is not None and not self.queue.in_flight:
            self.active, self.heir = self.heir, None

    @property
    def served(self) -> "Consumer | None":
        """Who gets messages now: nobody while it changes hands."""
        return self.active if self.heir is None else None


class Rota:
    """All partitions of one group."""

    __slots__ = ("partitions",)

    def __init__(self) -> None:
        self.partitions: dict[Group, Partition] = {}

    def join(self, queue: "Group") -> None:
        """One more partition."""
        self.partitions[queue] = Partition(queue)

    def leave(self, queue: "Group") -> None:
        """A partition is gone."""
        self.partitions.pop(queue, None)

    def subscribe(self, queue: "Group", consumer: "Consumer") -> list["Group"]:
        """A member consumes from a partition; answers the queues that somebody else is served of now, or again."""
        self.partitions[queue].consumers.append(consumer)
        return self._balance()

    def unsubscribe(self, queue: "Group", consumer: "Consumer") -> list["Group"]:
        """It does no more."""
        partition = self.partitions[queue]
        partition.consumers.remove(consumer)
        if partition.active is consumer:
            partition.active = None
        if partition.heir is consumer:
            partition.heir = None
        return self._balance()

    def _balance(self) -> list["Group"]:
        """Divides what nobody has, then takes from who has most for who has least."""
        before = [(each, each.served) for each in self.partitions.values()]
        load: Counter[Channel] = Counter()
        for partition in self.partitions.values():
            if partition.holder is not None:
                load[partition.holder.channel] += 1
        for partition in self.partitions.values():
            if partition.holder is None and partition.consumers:
                heir = min(partition.consumers, key=lambda each: load[each.channel])
                partition.give(heir)
                load[heir.channel] += 1
        while self._move_one(load):
            pass
        return [each.queue for each, served in before if each.served is not served]

    def _move_one(self, load: "Counter[Channel]") -> bool:
        for partition in self.partitions.values():
            holder = partition.holder
            if holder is None:
                continue
            heir = min(partition.consumers, key=lambda each: load[each.channel])
            if load[heir.channel] + 1 < load[holder.channel]:
                partition.give(heir)
                load[holder.channel] -= 1
                load[heir.channel] += 1
                return True
        return False
