"""Queues with priorities: the highest first, in order within each."""

from typing import Any

import pytest

from mansio.core.queue import Queue
from tests.core.play import Client, make_timed, numbers_in, put, turn


def make(**arguments: Any) -> tuple[Client, Queue]:
    broker, _ = make_timed()
    client = Client(broker)
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return client, client.declare(arguments={"x-max-priority": 3} | named)


def test_the_highest_priority_is_first_and_within_one_what_came_first() -> None:
    client, queue = make()
    for number, priority in enumerate((0, 2, 1, 2, 9, 3, 0, 1)):
        put(client, queue, number, priority=priority)
    turn(client.broker)
    assert numbers_in(queue) == [4, 5, 1, 3, 2, 7, 0, 6]
    client.consume(queue)
    turn(client.broker)
    assert client.heard.take_numbers() == [4, 5, 1, 3, 2, 7, 0, 6]


def test_what_is_requeued_comes_to_its_place_among_its_priority() -> None:
    client, queue = make()
    put(client, queue, 1, 2, 3, priority=2)
    put(client, queue, 4, 5, priority=1)
    for _ in range(4):
        client.broker.get(client.channel, queue, False)
    put(client, queue, 6, priority=3)
    client.settle(4, requeue=True)
    client.settle(1, 2, requeue=True)
    turn(client.broker)
    assert numbers_in(queue) == [6, 1, 2, 4, 5]


def test_too_much_is_dropped_where_it_would_be_delivered_next() -> None:
    client, queue = make(max_length=2)
    put(client, queue, 1, priority=2)
    put(client, queue, 2, priority=1)
    put(client, queue, 3, priority=3)
    turn(client.broker)
    assert numbers_in(queue) == [1, 2]


@pytest.mark.parametrize(
    "bound", [{"max_length": 2}, {"max_length_bytes": 50}], ids=["count", "bytes"]
)
def test_what_is_refused_is_what_came_last_whatever_its_priority(bound: dict[str, int]) -> None:
    client, queue = make(overflow="reject-publish", **bound)
    client.channel.confirming = True
    put(client, queue, 1, priority=0, size=25)
    put(client, queue, 2, priority=3, size=25)
    put(client, queue, 3, priority=1, size=25)
    put(client, queue, 4, priority=3, size=25)
    turn(client.broker)
    assert sorted(numbers_in(queue)) == [1, 2]


def test_no_more_is_refused_than_does_not_fit_behind_what_came_before() -> None:
    client, queue = make(overflow="reject-publish", max_length_bytes=90)
    put(client, queue, 1, priority=0, size=20)
    put(client, queue, 2, priority=0, size=20)
    put(client, queue, 3, priority=3, size=80)
    turn(client.broker)
    assert numbers_in(queue) == [1, 2]


def test_only_the_head_of_all_priorities_expires() -> None:
    client, queue = make()
    put(client, queue, 1, priority=0, expiration_ms=10)
    put(client, queue, 2, priority=2)
    turn(client.broker, 0)
    turn(client.broker, 20)
    assert numbers_in(queue) == [2, 1]
    client.broker.get(client.channel, queue, True)
    assert numbers_in(queue) == []


def test_it_can_be_emptied_and_filled_again() -> None:
    client, queue = make()
    put(client, queue, 1, priority=3)
    put(client, queue, 2, priority=0)
    assert client.broker.definitions.purge_queue(client.session, queue) == 2
    put(client, queue, 3, priority=1)
    turn(client.broker)
    assert numbers_in(queue) == [3]
