"""Messages that expire: at the head, at their time, and never into a consumer's hands."""

from unittest.mock import patch

import pytest

from mansio.core.check import InvariantBroken, check
from mansio.core.deadlines import NEVER_MS
from tests.core.play import START_MS, Client, make_timed, numbers_in, put, turn


def test_the_head_expires_at_its_time_though_nobody_says_anything() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 100})
    put(client, queue, 1)
    turn(broker, 50)
    put(client, queue, 2)
    turn(broker, 99)
    assert numbers_in(queue) == [1, 2]
    assert broker.deadlines.next_ms == START_MS + 100
    turn(broker, 100)
    assert numbers_in(queue) == [2]
    assert broker.deadlines.next_ms == START_MS + 150
    turn(broker, 150)
    assert numbers_in(queue) == []
    assert (broker.counts.expired, broker.deadlines.next_ms) == (2, NEVER_MS)


@pytest.mark.parametrize(("own_ms", "at_ms"), [(30, 30), (500, 100), (None, 100)])
def test_the_shorter_of_both_times_counts(own_ms: int | None, at_ms: int) -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 100})
    put(client, queue, 1, expiration_ms=own_ms)
    turn(broker, 0)
    turn(broker, at_ms - 1)
    assert numbers_in(queue) == [1]
    turn(broker, at_ms)
    assert numbers_in(queue) == []


def test_behind_a_head_that_lives_nothing_goes_until_that_is_taken() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare()
    put(client, queue, 1)
    put(client, queue, 2, 3, expiration_ms=10)
    put(client, queue, 4)
    turn(broker, 0)
    turn(broker, 20)
    assert queue.ready_count == 4
    got = broker.get(client.channel, queue, True)
    assert got is not None and got.remaining == 1
    assert numbers_in(queue) == [4]


@pytest.mark.parametrize("consumers", [1, 2])
@pytest.mark.parametrize("strategy", ["round-robin", "random", "weighted", "least-loaded"])
def test_what_has_expired_behind_the_head_is_not_delivered_with_it(
    consumers: int, strategy: str
) -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-dispatch-strategy": strategy})
    put(client, queue, 1)
    put(client, queue, 2, 3, expiration_ms=10)
    put(client, queue, 4)
    turn(broker, 0)
    broker.now_ms += 20
    for i in range(consumers):
        client.consume(queue, f"c{i}")
    turn(broker)
    assert client.heard.take_numbers() == [1, 4]
    assert broker.counts.expired == 2


def test_a_message_without_time_goes_to_who_has_room_now_or_to_nobody() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 0})
    broker.set_prefetch(client.channel, 2, False)
    client.consume(queue)
    put(client, queue, 1, 2, 3)
    turn(broker, 0)
    assert client.heard.take_numbers() == [1, 2]
    assert (queue.ready_count, broker.counts.expired) == (0, 1)
    client.settle(1, requeue=True)
    turn(broker, 0)
    assert client.heard.take_numbers() == []
    assert (queue.ready_count, broker.counts.expired) == (0, 2)


@pytest.mark.parametrize("room", [False, True])
def test_a_policy_spares_nothing_that_was_there_before_the_first_message_with_a_time(
    room: bool,
) -> None:
    """With that message, the policy and a consumer in one turn."""
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare()
    put(client, queue, 1)
    turn(broker, 0)
    broker.now_ms = START_MS + 50
    put(client, queue, 2, expiration_ms=5000)
    broker.policies.put("/", "a", "", {"message-ttl": 10})
    if room:
        client.consume(queue)
    turn(broker, 50)
    assert client.heard.take_numbers() == [2] * room
    assert numbers_in(queue) == [2] * (not room)
    assert broker.counts.expired == 1


def test_what_is_requeued_keeps_its_time() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 100})
    put(client, queue, 1)
    got = broker.get(client.channel, queue, False)
    assert got is not None
    turn(broker, 60)
    client.settle(1, requeue=True)
    turn(broker, 99)
    assert numbers_in(queue) == [1]
    turn(broker, 100)
    assert numbers_in(queue) == []


def test_in_flight_nothing_expires() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 100})
    client.consume(queue)
    put(client, queue, 1)
    turn(broker, 0)
    turn(broker, 1000)
    client.settle(1)
    turn(broker, 1000)
    assert (broker.counts.acknowledged, broker.counts.expired) == (1, 0)


def test_what_expires_at_once_goes_in_parts_and_nobody_is_served_before() -> None:
    with patch("mansio.core.expiry._DROPPED_MAX", 3):
        broker, _ = make_timed()
        client = Client(broker)
        queue = client.declare()
        put(client, queue, *range(1, 9), expiration_ms=10)
        put(client, queue, 9)
        turn(broker, 0)
        client.consume(queue)
        turn(broker, 20)
        assert (queue.ready_count, client.heard.take_numbers()) == (6, [])
        assert broker.get(client.channel, queue, True) is None
        assert broker.deadlines.next_ms <= broker.now_ms
        turn(broker)
        turn(broker)
        assert client.heard.take_numbers() == [9]


def test_what_came_while_the_head_waited_to_be_read_is_not_offered_later() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    arguments = {"x-message-ttl": 10, "x-dead-letter-exchange": "amq.fanout"}
    queue = client.declare(arguments=arguments)
    head = put(client, queue, 1)
    turn(broker, 0)
    data = head.data
    broker.paging.resident_bytes -= head.data_bytes
    head.page_out()
    broker.now_ms += 20
    client.consume(queue)
    put(client, queue, 2, expiration_ms=0)
    broker.end_turn()
    head.data = data
    broker.paging.resident_bytes += head.data_bytes
    broker.paging.loading.forget(head)
    turn(broker)
    assert (client.heard.take_numbers(), queue.ready_count) == ([], 0)


def test_a_lost_timer_is_noticed() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments={"x-message-ttl": 10})
    put(client, queue, 1)
    turn(broker, 0)
    assert queue.expiry is not None
    queue.expiry.deadline_ms = NEVER_MS
    with pytest.raises(InvariantBroken):
        check(broker)


def test_a_full_queue_refuses_in_the_same_turn_though_its_head_waits_to_be_read() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    arguments = {
        "x-message-ttl": 10,
        "x-max-length": 1,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "amq.fanout",
    }
    queue = client.declare(arguments=arguments)
    head = put(client, queue, 1)
    turn(broker, 0)
    broker.paging.resident_bytes -= head.data_bytes
    head.page_out()
    client.channel.confirming = True
    put(client, queue, 2)
    broker.now_ms += 20
    broker.end_turn()
    assert client.channel.rejected == [(1, 1)]
    assert queue.ready_count == 1
