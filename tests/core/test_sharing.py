"""Priorities of consumers, and the single active one."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import AccessRefused, PreconditionFailed
from mansio.core.limits import TURN_BYTES
from mansio.core.queue import Queue
from tests.core.play import Client, make_run


def subscribe(client: Client, queue: Queue, tag: str, priority: int = 0, prefetch: int = 0) -> None:
    client.broker.set_prefetch(client.channel, prefetch, whole_channel=False)
    client.consume(queue, tag, arguments={"x-priority": priority} if priority else {})


def hand_out(client: Client, queue: Queue, *numbers: int) -> list[tuple[str, int]]:
    """(consumer tag, message) of what the client gets when these are published."""
    if numbers:
        client.publish(queue, *numbers)
    client.broker.end_turn()
    check(client.broker)
    got = [(delivery[0], delivery[2]) for delivery in client.heard.deliveries]
    client.heard.deliveries.clear()
    return got


def test_higher_priorities_get_all_that_they_have_room_for() -> None:
    client = Client(Broker())
    queue = client.declare()
    subscribe(client, queue, "low")
    subscribe(client, queue, "high", 7, prefetch=2)
    subscribe(client, queue, "middle", 3, prefetch=1)
    got = hand_out(client, queue, *range(6))
    assert got == [("high", 0), ("high", 1), ("middle", 2), ("low", 3), ("low", 4), ("low", 5)]
    client.settle_until(3)
    assert hand_out(client, queue, 6, 7, 8, 9) == [
        ("high", 6),
        ("high", 7),
        ("middle", 8),
        ("low", 9),
    ]


def test_consumers_of_one_priority_take_turns_from_turn_to_turn() -> None:
    client = Client(Broker())
    queue = client.declare()
    for tag, priority in (("a", 5), ("low", 0), ("b", 5), ("c", 5)):
        subscribe(client, queue, tag, priority)
    got = [hand_out(client, queue, number)[0][0] for number in range(5)]
    assert got == list("abcab")
    client.broker.cancel(client.channel, "a")
    assert [hand_out(client, queue, number)[0][0] for number in (5, 6)] == ["c", "b"]


def test_the_turn_goes_on_when_a_priority_comes() -> None:
    client = Client(Broker())
    queue = client.declare()
    for tag in "ab":
        subscribe(client, queue, tag)
    assert hand_out(client, queue, 0) == [("a", 0)]
    subscribe(client, queue, "low", -1)
    assert hand_out(client, queue, 1) == [("b", 1)]


def test_a_queue_whose_consumers_are_gone_is_a_plain_one_again() -> None:
    client = Client(Broker())
    queue = client.declare()
    subscribe(client, queue, "high", 1)
    assert queue.sharing is not None
    client.broker.cancel(client.channel, "high")
    assert queue.sharing is None
    subscribe(client, queue, "plain")
    assert queue.sharing is None


def overwhelm(queue: Queue, *clients: Client) -> int:
    """Publishes what is too much for one connection and turn; how many messages that is."""
    size = TURN_BYTES // 4
    clients[0].broker.publish(clients[0].channel, make_run(list(range(10)), size=size), (queue,))
    return 10


def test_lower_priorities_wait_for_a_connection_that_goes_on_in_the_next_turn() -> None:
    broker = Broker()
    high, low = Client(broker, "high"), Client(broker, "low")
    queue = high.declare()
    subscribe(low, queue, "low")
    subscribe(high, queue, "high", 1)
    left = overwhelm(queue, high)
    while left:
        broker.end_turn()
        check(broker)
        taken = len(high.heard.take_numbers())
        assert taken
        left -= taken
        broker.grant(high.session)
    assert low.heard.deliveries == []


@pytest.mark.parametrize("how", ["does not read", "is cancelled", "is closed", "gets no more"])
def test_lower_priorities_go_on_when_the_one_that_they_wait_for_is_out(how: str) -> None:
    broker = Broker()
    high, low = Client(broker, "high"), Client(broker, "low")
    queue = high.declare()
    subscribe(low, queue, "low")
    subscribe(high, queue, "high", 1)
    overwhelm(queue, high)
    broker.end_turn()
    got = len(high.heard.take_numbers())
    assert (queue.ready_count, low.heard.deliveries) == (10 - got, [])
    if how == "does not read":
        broker.set_writable(high.session, False)
    elif how == "is cancelled":
        broker.cancel(high.channel, "high")
    elif how == "is closed":
        broker.close_session(high.session)
    else:
        broker.set_prefetch(high.channel, 1, whole_channel=True)
    broker.end_turn()
    check(broker)
    assert low.heard.take_numbers()


def single(client: Client, **arguments: Any) -> Queue:
    return client.declare(arguments={"x-single-active-consumer": True, **arguments})


def test_the_single_active_consumer_gets_everything() -> None:
    client = Client(Broker())
    queue = single(client)
    subscribe(client, queue, "first", prefetch=2)
    subscribe(client, queue, "second", 9)
    assert hand_out(client, queue, *range(4)) == [("first", 0), ("first", 1)]
    client.settle(1)
    assert hand_out(client, queue) == [("first", 2)]


def test_what_the_active_consumer_had_stays_with_it() -> None:
    client = Client(Broker())
    queue = single(client)
    for tag in ("first", "second", "third"):
        subscribe(client, queue, tag)
    hand_out(client, queue, 0, 1)
    client.broker.cancel(client.channel, "second")
    assert hand_out(client, queue, 2) == [("first", 2)]
    client.broker.cancel(client.channel, "first")
    assert hand_out(client, queue, 3) == [("third", 3)]
    assert queue.in_flight == 4
    client.settle(1, requeue=True)
    assert hand_out(client, queue) == [("third", 0)]


def test_the_next_active_consumer_gets_what_is_ready_at_once() -> None:
    client = Client(Broker())
    queue = single(client)
    subscribe(client, queue, "first", prefetch=1)
    subscribe(client, queue, "low")
    subscribe(client, queue, "high", 1)
    subscribe(client, queue, "late", 1)
    hand_out(client, queue, 0, 1)
    client.broker.cancel(client.channel, "first")
    assert hand_out(client, queue) == [("high", 1)]


def test_the_channel_of_the_active_consumer_is_closed() -> None:
    broker = Broker()
    one, other = Client(broker, "one"), Client(broker, "other")
    queue = single(one)
    subscribe(one, queue, "c")
    subscribe(other, queue, "c")
    hand_out(one, queue, 0, 1)
    broker.close_channel(one.channel)
    assert hand_out(other, queue) == [("c", 0), ("c", 1)]


def test_exclusive_use_is_not_for_queues_with_a_single_active_consumer() -> None:
    client = Client(Broker())
    queue = single(client)
    with pytest.raises(AccessRefused):
        client.consume(queue, exclusive=True)
    assert not queue.consumers


def test_only_those_that_are_served_first_make_a_queue_crowded() -> None:
    broker = Broker()
    active, idle = Client(broker, "active"), Client(broker, "idle")
    queue = single(active)
    subscribe(active, queue, "active")
    subscribe(idle, queue, "idle")
    run = make_run(list(range(100)), size=TURN_BYTES // 4)
    broker.publish(active.channel, run, (queue,))
    broker.end_turn()
    assert queue.crowded


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-priority": "high"}, "expected integer, got longstr"),
        ({"x-cancel-on-ha-failover": 1}, "{unacceptable_type,signedint}"),
        ({"x-weight": 0}, "expected a weight from 1 to 65535, got 0"),
        ({"x-weight": 65_536}, "expected a weight from 1 to 65535, got 65536"),
        ({"x-weight": True}, "expected integer, got bool"),
        ({"x-stream-offset": 1}, "of queue type rabbit_classic_queue"),
    ],
)
def test_consumer_arguments_that_are_wrong(arguments: dict[str, Any], text: str) -> None:
    client = Client(Broker())
    queue = client.declare()
    with pytest.raises(PreconditionFailed) as refused:
        client.consume(queue, arguments=arguments)
    assert next(iter(arguments)) in refused.value.text
    assert text in refused.value.text
    assert not queue.consumers and not client.channel.consumers


def test_consumer_arguments_that_mean_nothing_are_accepted() -> None:
    client = Client(Broker())
    queue = client.declare()
    client.consume(queue, arguments={"x-cancel-on-ha-failover": True, "x-anything": 1})
    assert queue.sharing is None
