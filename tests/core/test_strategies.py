"""Dispatch strategies of queues."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.draws import Draws
from mansio.core.errors import PreconditionFailed
from mansio.core.matching import Means
from mansio.core.queue import Queue
from mansio.core.view import compile_nothing
from tests.core.play import Client


class Crew:
    """Consumers of one queue, each on a connection of its own."""

    def __init__(self, strategy: str, *arguments: dict[str, Any], seed: int = 1) -> None:
        self.broker = Broker(means=Means(Draws(seed), compile_nothing))
        self.publisher = Client(self.broker, "publisher")
        self.queue: Queue = self.publisher.declare(arguments={"x-dispatch-strategy": strategy})
        self.members: list[Client] = []
        self.published = 0
        for each in arguments or ({},):
            self.join(**each)

    def join(self, prefetch: int = 0, no_ack: bool = False, **arguments: Any) -> Client:
        member = Client(self.broker, f"member {len(self.members)}")
        self.broker.set_prefetch(member.channel, prefetch, whole_channel=False)
        named = {f"x-{key}": value for key, value in arguments.items()}
        member.consume(self.queue, "c", no_ack=no_ack, arguments=named)
        self.members.append(member)
        return member

    def publish(self, count: int) -> list[int]:
        """How many each of them gets of these."""
        if count:
            first = self.published
            self.published += count
            self.publisher.publish(self.queue, *range(first, self.published))
        self.broker.end_turn()
        check(self.broker)
        return [len(member.heard.take_numbers()) for member in self.members]


@pytest.mark.parametrize("strategy", ["random", "weighted", "least-loaded", "round-robin"])
@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(
        st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 9)), min_size=1, max_size=5
    ),
    counts=st.lists(st.integers(0, 30), max_size=5),
)
def test_nothing_is_lost_and_nobody_with_room_waits(
    strategy: str, members: list[tuple[int, bool, int]], counts: list[int]
) -> None:
    given = [{"prefetch": p, "no_ack": no_ack, "weight": w} for p, no_ack, w in members]
    crew = Crew(strategy, *given)
    got = 0
    for count in counts:
        got += sum(crew.publish(count))
        assert got + crew.queue.ready_count == crew.published
        if crew.queue.ready_count:
            assert all(consumer.room(1) <= 0 for consumer in crew.queue.consumers)
        crew.members[0].settle_until(0)


@pytest.mark.parametrize("strategy", ["random", "weighted", "least-loaded"])
def test_a_channel_gets_messages_and_tags_in_order(strategy: str) -> None:
    client = Client(Broker())
    queue = client.declare(arguments={"x-dispatch-strategy": strategy})
    for tag in "abc":
        client.consume(queue, tag, arguments={"x-weight": ord(tag) - 96})
    client.publish(queue, *range(30))
    client.broker.end_turn()
    assert [delivery[1] for delivery in client.heard.deliveries] == list(range(1, 31))
    assert client.heard.take_numbers() == list(range(30))


@pytest.mark.parametrize("turns", [1, 60])
def test_weights_decide_who_gets_how_many(turns: int) -> None:
    crew = Crew("weighted", {"weight": 1}, {}, {"weight": 4})
    total: Counter[int] = Counter()
    for _ in range(turns):
        total.update(dict(enumerate(crew.publish(60 // turns))))
    assert [total[i] for i in range(3)] == [10, 10, 40]


def test_weights_take_turns_and_do_not_come_in_bursts_of_the_whole() -> None:
    crew = Crew("weighted", {"weight": 2}, {"weight": 3})
    got = [crew.publish(1).index(1) for _ in range(10)]
    assert got.count(0) == 4
    assert all(set(got[i : i + 4]) == {0, 1} for i in range(7))


def test_who_comes_back_by_weight_does_not_get_what_it_missed() -> None:
    crew = Crew("weighted", {"prefetch": 1}, {})
    assert crew.publish(100) == [1, 99]
    crew.broker.set_prefetch(crew.members[0].channel, 0, whole_channel=False)
    crew.broker.cancel(crew.members[0].channel, "c")
    crew.join()
    assert crew.publish(100)[1:] == [50, 50]
    crew.members[0].settle_until(0)


def test_one_that_had_no_room_for_a_while_gets_its_share_again_and_no_more() -> None:
    crew = Crew("weighted", {"prefetch": 10}, {})
    assert crew.publish(100) == [10, 90]
    crew.members[0].settle_until(0)
    assert crew.publish(20) == [10, 10]


def test_the_least_loaded_one_is_next() -> None:
    crew = Crew("least-loaded", {}, {}, {})
    assert crew.publish(9) == [3, 3, 3]
    crew.members[1].settle(1, 2)
    crew.members[2].settle(1, 3)
    assert crew.publish(3) == [0, 1, 2]
    crew.publish(3)
    assert sorted(consumer.unsettled for consumer in crew.queue.consumers) == [3, 3, 4]


def test_equal_loads_take_turns() -> None:
    crew = Crew("least-loaded", {}, {}, {})
    got = []
    for _ in range(6):
        got.append(crew.publish(1).index(1))
        crew.members[got[-1]].settle_until(0)
    assert got == [0, 1, 2, 0, 1, 2]


def test_a_consumer_that_does_not_acknowledge_is_never_loaded() -> None:
    crew = Crew("least-loaded", {}, {"no_ack": True})
    assert crew.publish(20) == [1, 19]
    assert crew.publish(20) == [0, 20]


def test_random_draws_are_fair_and_a_seed_decides_them() -> None:
    crew = Crew("random", {}, {}, {})
    got = crew.publish(3000)
    assert all(850 < count < 1150 for count in got)
    assert Crew("random", {}, {}, {}).publish(3000) == got
    assert Crew("random", {}, {}, {}, seed=2).publish(3000) != got


def test_random_passes_over_who_has_no_room() -> None:
    crew = Crew("random", {"prefetch": 2}, {})
    assert crew.publish(50) == [2, 48]


def test_priorities_come_before_the_strategy() -> None:
    crew = Crew(
        "weighted",
        {"weight": 100},
        {"weight": 1, "priority": 1, "prefetch": 8},
        {"weight": 3, "priority": 1, "prefetch": 90},
    )
    assert crew.publish(12) == [0, 3, 9]
    assert crew.publish(100) == [14, 5, 81]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("fastest", "unknown dispatch strategy 'fastest', expected one of round-robin, random"),
        (3, "{unacceptable_type,signedint}"),
    ],
)
def test_strategies_that_there_are_not(value: Any, text: str) -> None:
    client = Client(Broker())
    with pytest.raises(PreconditionFailed) as refused:
        client.declare(arguments={"x-dispatch-strategy": value})
    assert text in refused.value.text


def test_the_strategy_is_one_of_a_queues_properties() -> None:
    client = Client(Broker())
    client.declare(arguments={"x-dispatch-strategy": "random"})
    with pytest.raises(PreconditionFailed) as refused:
        client.declare()
    assert "inequivalent arg 'x-dispatch-strategy'" in refused.value.text
    client.declare("plain")
    client.declare("plain", arguments={"x-dispatch-strategy": "round-robin"})


def test_in_turn_needs_nothing_more() -> None:
    assert Crew("round-robin").queue.sharing is None


def test_draws_are_below_their_bound_and_reach_all() -> None:
    draws = Draws(7)
    assert {draws.below(5) for _ in range(200)} == set(range(5))
    assert {draws.below(1) for _ in range(10)} == {0}
    assert [Draws(seed).below(1 << 62) for seed in range(3)] == [
        Draws(seed).below(1 << 62) for seed in range(3)
    ]


@pytest.mark.parametrize("seed", [0, -1, 1 << 70, 0x9E3779B97F4A7C15])
def test_any_seed_will_do(seed: int) -> None:
    draws = Draws(seed)
    assert len({draws.below(1 << 62) for _ in range(20)}) == 20
