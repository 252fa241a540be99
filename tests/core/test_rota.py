"""Partitioned groups: each partition has one active member, and they are divided fairly."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.dispatch import Consumer
from mansio.core.group import Group
from mansio.core.routing import NO_HEADERS, Arguments
from tests.core.play import Client
from tests.core.test_streams import Play

PARTITIONS = 4


class Team(Play):
    """Four partitions of a group over four streams."""

    def __init__(self, more: Arguments = NO_HEADERS) -> None:
        """`more`: arguments of the group's queues."""
        super().__init__()
        self.queues: list[Group] = []
        for n in range(PARTITIONS):
            self.client.declare(f"s{n}", durable=True, arguments={"x-queue-type": "stream"})
            arguments = {"x-stream": f"s{n}", "x-stream-group": "billing", **more}
            queue = self.client.declare(f"billing-{n}", durable=True, arguments=arguments)
            assert isinstance(queue, Group)
            self.queues.append(queue)
        self.turn()

    def member(self, partitions: range = range(PARTITIONS), prefetch: int = 10) -> Client:
        client = Client(self.broker, "member")
        self.broker.set_prefetch(client.channel, prefetch, False)
        for n in partitions:
            client.consume(self.queues[n], f"c{n}")
        self.turn()
        return client

    def put_all(self, first: int) -> None:
        """One entry for each partition: 10 × the given number + that of the partition."""
        for n in range(PARTITIONS):
            stream = self.broker.vhosts["/"].queues[f"s{n}"]
            self.client.publish(stream, first * 10 + n)
        self.turn()

    def holders(self) -> list[Consumer | None]:
        assert self.queues[0].rota is not None
        return [self.queues[0].rota.partitions[queue].holder for queue in self.queues]


def test_members_divide_the_partitions_when_they_come_and_go() -> None:
    team = Team()
    one = team.member()
    team.put_all(0)
    assert one.heard.take_numbers() == [0, 1, 2, 3]
    one.settle_until(0)
    two = team.member()
    team.put_all(1)
    got = sorted(one.heard.take_numbers()), sorted(two.heard.take_numbers())
    assert len(got[0]) == len(got[1]) == 2 and sorted(got[0] + got[1]) == [10, 11, 12, 13]
    team.broker.close_session(one.session)
    team.turn()
    assert sorted(two.heard.take_numbers()) == got[0], "what the other one had not settled"
    team.put_all(2)
    assert sorted(two.heard.take_numbers()) == [20, 21, 22, 23]


def test_a_partition_changes_hands_when_everything_is_settled() -> None:
    team = Team()
    one = team.member()
    team.put_all(0)
    one.heard.take_numbers()
    two = team.member()
    team.put_all(1)
    kept = one.heard.take_numbers()
    assert len(kept) == 2 and two.heard.take_numbers() == [], "the first ones are not settled"
    one.settle_until(0)
    team.turn()
    moved = two.heard.take_numbers()
    assert sorted(kept + moved) == [10, 11, 12, 13]


def test_without_a_prefetch_the_next_member_is_told_as_well() -> None:
    team = Team()
    one = team.member(prefetch=0)
    team.put_all(0)
    two = team.member(prefetch=0)
    team.put_all(1)
    assert two.heard.take_numbers() == []
    one.settle_until(0)
    team.turn()
    assert len(two.heard.take_numbers()) == 2


@pytest.mark.parametrize("refused", [False, True], ids=["acknowledged", "tried-later"])
def test_what_was_fetched_and_is_settled_lets_the_next_member_begin(refused: bool) -> None:
    team = Team({"x-retry": {"delays": [1000]}})
    team.put_all(0)
    fetching = Client(team.broker, "fetching")
    got = team.broker.get(fetching.channel, team.queues[0], False)
    assert got is not None
    team.put_all(1)
    one = team.member()
    assert one.heard.take_numbers() == [1, 11, 2, 12, 3, 13]
    fetching.settle(got.tag, requeue=refused)
    team.turn()
    assert one.heard.take_numbers() == [10]


def test_what_a_cancelled_member_settles_lets_the_next_one_begin() -> None:
    """Also where it has a prefetch count for all that its channel consumes."""
    team = Team()
    one = Client(team.broker, "one")
    team.broker.set_prefetch(one.channel, 10, True)
    one.consume(team.queues[0], "c")
    team.put_all(0)
    two = team.member(range(1))
    team.broker.cancel(one.channel, "c")
    team.put_all(1)
    assert two.heard.take_numbers() == []
    one.settle(1)
    team.turn()
    assert two.heard.take_numbers() == [10]


def test_a_member_goes_on_with_what_it_was_to_give_up_and_keeps_after_all() -> None:
    team = Team()
    one = team.member(range(3))
    team.put_all(0)
    two = team.member(range(2))
    team.put_all(1)
    assert one.heard.take_numbers() == [0, 1, 2, 11, 12]
    for n in (1, 2):
        team.broker.cancel(one.channel, f"c{n}")
    team.turn()
    assert (one.heard.take_numbers(), two.heard.take_numbers()) == ([10], [])


def test_a_member_may_consume_from_some_of_them() -> None:
    team = Team()
    one, two = team.member(range(3)), team.member(range(2, 4))
    holders = [each.channel if each else None for each in team.holders()]
    assert holders == [one.channel, one.channel, two.channel, two.channel]


def test_one_more_member_than_partitions_waits() -> None:
    team = Team()
    members = [team.member() for _ in range(PARTITIONS + 1)]
    team.put_all(0)
    got = [len(each.heard.take_numbers()) for each in members]
    assert sorted(got) == [0, 1, 1, 1, 1]


def test_a_partition_can_be_deleted() -> None:
    team = Team()
    one = team.member()
    team.broker.definitions.delete_queue(team.client.session, team.queues[0], False, False)
    team.turn()
    team.queues.pop(0)
    assert [each.channel if each else None for each in team.holders()] == [one.channel] * 3
    for queue in team.queues:
        team.broker.definitions.delete_queue(team.client.session, queue, False, False)
    team.turn()
    assert not team.broker.streams._rotas


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=25))
def test_the_division_is_always_fair(steps: list[int]) -> None:
    team = Team()
    members: list[Client] = []
    for number, step in enumerate(steps):
        if step == 0 and members:
            team.broker.close_session(members.pop(number % len(members)).session)
        elif step == 1 and members:
            members[number % len(members)].settle_until(0)
        elif len(members) < 6:
            members.append(team.member())
        team.put_all(number)
        holders = team.holders()
        assert all(holders) or not members
        load = Counter(each.channel for each in holders if each is not None)
        counts = [load[member.channel] for member in members]
        assert not counts or max(counts) - min(counts) <= 1
