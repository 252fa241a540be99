"""Partitioned groups as the oracle knows them: who has which partition, whether that is fair, who may be served.

Which member gets which partition the broker decides, and tells; it is judged by what has to hold of every division.

member comes, or goes ──► Divided ──► each partition has one of its members, none has two more than another one could
                                      have, and no more partitions change hands than must
delivery ──► to the member that has the partition; to a new one when all that was delivered before is settled
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from tests.sim.model import Channel, Consumer, Model, Violation
from tests.sim.stream_events import Divided, Seat

if TYPE_CHECKING:
    from tests.sim.streams import Group
    from tests.sim.topology import Queue


class Partitions(Model):
    """The part of the model that is about them."""

    def __init__(self) -> None:
        super().__init__()
        self.rotas: dict[str, list[Queue]] = {}
        """Queues of partitioned groups, by the name of the group."""
        self.divided: dict[str, deque[Divided]] = {}
        """What the broker has told of each, and nothing has explained yet."""

    def join_rota(self, queue: Queue) -> None:
        """There is one more partition, if it is one."""
        if queue.group is not None and queue.group.rota is not None:
            self.rotas.setdefault(queue.group.rota, []).append(queue)

    def leave_rota(self, queue: Queue) -> None:
        """A queue is gone, and its consumers are."""
        if queue.group is not None and queue.group.rota in self.rotas:
            self.rotas[queue.group.rota].remove(queue)

    def forget_rotas(self) -> None:
        """The broker is gone: nobody divides anything."""
        self.rotas.clear()
        self.divided.clear()

    def restart_rotas(self) -> None:
        """There is another broker, and nobody is connected."""
        for queue in self.topology.queues.values():
            self.join_rota(queue)

    def divide(self, queue: Queue) -> None:
        """A consumer of a queue has come or gone: who has which partition now?"""
        name = None if queue.group is None else queue.group.rota
        if name is None or name not in self.rotas:
            return
        told = self.divided.get(name)
        if not told or told[0].queue != queue.name:
            raise Violation(f"group {name}: nobody has looked at {queue} again: {told}")
        seats = told.popleft().seats
        partitions = self.rotas[name]
        groups = [each.group for each in partitions if each.group is not None]
        settled = all(each.active is each.holder for each in groups)
        before = {each: holder_of(each) for each in partitions}
        for each in partitions:
            assert each.group is not None
            active, holder = seats.get(each.name, (None, None))
            each.group.active, each.group.holder = _find(each, active), _find(each, holder)
        _check_division(name, partitions)
        if settled:
            _check_moves(name, partitions, before)

    def check_divided(self) -> None:
        """A phase has ended."""
        for name, told in self.divided.items():
            if told:
                raise Violation(f"group {name}: nothing explains {told}")


def holder_of(queue: Queue) -> Consumer | None:
    """Who has a partition, or is to have it."""
    return None if queue.group is None else queue.group.holder


def check_member(group: Group, consumer: Consumer, what: str) -> None:
    """It gets something of a partition: it has to have that, and nobody before it anything unsettled."""
    if group.holder is not consumer:
        raise Violation(f"{what}: {group.holder and group.holder.tag} has the partition")
    group.served = [each for each in group.served if each.unsettled and each is not consumer]
    if group.served:
        raise Violation(f"{what}: {[each.tag for each in group.served]} have not settled all of it")
    group.served.append(consumer)


def must_serve(queue: Queue, group: Group) -> list[Consumer]:
    """Who has to get what is ready in a partition. What came by basic.get may be waited for as well."""
    holder = group.holder
    before = sum(each.unsettled for each in group.served)
    ready = not queue.in_flight or (group.served[-1:] == [holder] and queue.in_flight == before)
    return [holder] if holder is not None and holder.able and ready else []


def _find(queue: Queue, seat: Seat | None) -> Consumer | None:
    if seat is None:
        return None
    for consumer in queue.consumers:
        channel = consumer.channel
        if seat == (channel.connection.name, channel.number, consumer.tag):
            return consumer
    raise Violation(f"{queue} is given to {seat}, who is no member")


def _check_division(name: str, partitions: list[Queue]) -> None:
    load: Counter[Channel] = Counter()
    for queue in partitions:
        holder = holder_of(queue)
        if holder is not None:
            load[holder.channel] += 1
        elif queue.consumers:
            raise Violation(f"group {name}: nobody has {queue}")
    for queue in partitions:
        holder = holder_of(queue)
        for other in queue.consumers:
            assert holder is not None
            if load[other.channel] + 1 < load[holder.channel]:
                raise Violation(
                    f"group {name}: {holder.tag}, who has {queue}, has {load[holder.channel]}, "
                    f"{other.tag} {load[other.channel]}"
                )


def _check_moves(name: str, partitions: list[Queue], before: dict[Queue, Consumer | None]) -> None:
    """As few partitions as possible change hands. Where all members consume all of them, and none was changing hands
    already, it is known how few."""
    members = [{each.channel for each in queue.consumers} for queue in partitions]
    if not members or not members[0] or any(each != members[0] for each in members):
        return
    had: Counter[Channel] = Counter(dict.fromkeys(members[0], 0))
    moved = 0
    for queue in partitions:
        old, new = before[queue], holder_of(queue)
        if old is not None and old in queue.consumers:
            had[old.channel] += 1
            moved += new is not None and new.channel is not old.channel
    share, larger = divmod(len(partitions), len(had))
    least = 0
    for i, count in enumerate(sorted(had.values(), reverse=True)):
        least += max(count - share - (i < larger), 0)
    if moved > least:
        raise Violation(f"group {name}: {moved} partitions change hands, {least} would do")
