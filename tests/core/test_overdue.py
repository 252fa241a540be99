"""Acknowledgement timeouts: deliveries that are not settled in time go back, and their consumer is cancelled."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import PreconditionFailed
from mansio.core.inflight import WITHDRAWN_MAX
from mansio.core.limits import Limits
from mansio.core.overdue import GRAIN_MS
from mansio.core.queue import Queue
from tests.core.play import Client

START_MS = 1_700_000_000_000


def make(timeout_ms: int = 0) -> Broker:
    broker = Broker(Limits(consumer_timeout_ms=timeout_ms))
    broker.now_ms = START_MS
    return broker


def turn(broker: Broker, at_ms: int = -1) -> None:
    """Ends a turn, at this time after the start if there is one."""
    if at_ms >= 0:
        broker.now_ms = START_MS + at_ms
    broker.end_turn()
    check(broker)


def cancellations(client: Client) -> list[str]:
    return [told[2] for told in client.heard.take() if told[0] == "cancelled"]


def join(client: Client, queue: Queue, tag: str = "c", timeout_ms: int | None = None) -> None:
    arguments = {} if timeout_ms is None else {"x-consumer-timeout": timeout_ms}
    client.consume(queue, tag, arguments=arguments)


def test_what_is_not_acknowledged_in_time_goes_to_another_consumer() -> None:
    broker = make(10_000)
    slow, other = Client(broker, "slow"), Client(broker, "other")
    queue = slow.declare()
    join(slow, queue, "slow")
    slow.publish(queue, 1, 2, 3)
    turn(broker, 0)
    join(other, queue, "other")
    slow.settle(2)
    turn(broker, 9_000)
    assert cancellations(slow) == []
    turn(broker, 10_000)
    assert cancellations(slow) == ["slow"]
    got = [(delivery[2], delivery[3]) for delivery in other.heard.deliveries]
    assert got == [(1, True), (3, True)]
    assert slow.channel.is_open and not slow.channel.consumers
    assert broker.counts.timed_out == 2
    (notice,) = broker.notices
    assert "queue 'q' in vhost '/': consumer 'slow', cancelled, on channel 1 of slow" in notice
    assert "2 requeued, delivered up to 10.0 s ago" in notice


def test_younger_deliveries_of_the_consumer_go_back_too_and_those_of_others_stay() -> None:
    broker = make(10_000)
    client = Client(broker)
    queue, others = client.declare(), client.declare("others")
    join(client, queue)
    join(client, others, "kept")
    client.publish(queue, 1)
    turn(broker, 0)
    client.publish(others, 2)
    turn(broker, 6_000)
    client.publish(queue, 3)
    turn(broker, 6_000)
    turn(broker, 10_000)
    assert cancellations(client) == ["c"]
    assert (queue.ready_count, others.in_flight) == (2, 1)
    turn(broker, 15_900)
    assert cancellations(client) == []
    turn(broker, 16_700)
    assert cancellations(client) == ["kept"]


@pytest.mark.parametrize("late", [1, 2, 5, 7])
def test_late_settlements_of_what_was_taken_back_do_nothing(late: int) -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    join(client, queue)
    client.publish(queue, *range(7))
    turn(broker, 0)
    client.settle(3, 4)
    turn(broker, 1000)
    assert queue.ready_count == 5
    client.settle(late)
    client.settle(late, requeue=True)
    with pytest.raises(PreconditionFailed):
        client.settle(3)
    with pytest.raises(PreconditionFailed):
        client.settle(8)
    assert queue.ready_count == 5


def test_a_late_acknowledgement_with_multiple_settles_what_is_still_there() -> None:
    broker = make(0)
    client = Client(broker)
    queue, others = client.declare(), client.declare("others")
    join(client, others, "kept")
    client.publish(others, 1)
    turn(broker, 0)
    join(client, queue, timeout_ms=1000)
    client.publish(queue, 2, 3)
    turn(broker, 0)
    turn(broker, 1000)
    assert (others.in_flight, queue.ready_count) == (1, 2)
    client.settle_until(3)
    assert (others.in_flight, queue.ready_count) == (0, 2)
    client.settle(2, 3)
    check(broker)


def test_only_so_many_rows_are_remembered() -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    join(client, queue)
    client.publish(queue, *range(2 * WITHDRAWN_MAX + 2))
    turn(broker, 0)
    for tag in range(2, 2 * WITHDRAWN_MAX + 3, 2):
        client.settle(tag)
    turn(broker, 1000)
    client.settle(2 * WITHDRAWN_MAX + 1)
    client.settle(3)
    with pytest.raises(PreconditionFailed):
        client.settle(1)


@pytest.mark.parametrize(
    ("queue_ms", "consumer_ms", "expected_ms"),
    [
        (None, None, 8000),
        (3000, None, 3000),
        (3000, 500, 500),
        (None, 20_000, 20_000),
        (0, 700, 700),
    ],
)
def test_consumer_before_queue_before_broker(
    queue_ms: int | None, consumer_ms: int | None, expected_ms: int
) -> None:
    broker = make(8000)
    client = Client(broker)
    arguments = {} if queue_ms is None else {"x-consumer-timeout": queue_ms}
    queue = client.declare(arguments=arguments)
    join(client, queue, timeout_ms=consumer_ms)
    client.publish(queue, 1)
    turn(broker, 0)
    turn(broker, expected_ms - 1)
    assert cancellations(client) == []
    turn(broker, expected_ms + max(expected_ms // 16, GRAIN_MS[0]))
    assert cancellations(client) == ["c"]


@pytest.mark.parametrize(
    ("broker_ms", "arguments", "consumer_ms", "no_ack"),
    [
        (0, {}, None, False),
        (5000, {"x-consumer-timeout": 0}, None, False),
        (5000, {}, 0, False),
        (5000, {}, 10, True),
    ],
)
def test_off(broker_ms: int, arguments: dict[str, Any], consumer_ms: int, no_ack: bool) -> None:
    broker = make(broker_ms)
    client = Client(broker)
    queue = client.declare(arguments=arguments)
    own = {} if consumer_ms is None else {"x-consumer-timeout": consumer_ms}
    client.consume(queue, no_ack=no_ack, arguments=own)
    client.publish(queue, 1)
    turn(broker, 0)
    for at_ms in (5_000, 50_000, 10**9):
        turn(broker, at_ms)
    assert cancellations(client) == [] and broker.counts.timed_out == 0


def test_every_delivery_has_its_own_time() -> None:
    """A consumer that works steadily is never late, however long it goes on."""
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    join(client, queue)
    for step in range(100):
        at_ms = step * 300
        client.publish(queue, step)
        turn(broker, at_ms)
        if step >= 3:
            client.settle(step - 2)
    assert cancellations(client) == [] and len(client.channel.consumers) == 1
    turn(broker, 98 * 300 + 1000 + GRAIN_MS[0])
    assert cancellations(client) == ["c"]


def test_a_cancelled_consumers_deliveries_are_taken_back_without_another_cancel() -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    join(client, queue)
    client.publish(queue, 1, 2)
    turn(broker, 0)
    broker.cancel(client.channel, "c")
    join(client, queue)  # another one with its tag
    turn(broker, 1000)
    assert cancellations(client) == [] and len(client.channel.consumers) == 1
    assert [delivery[3] for delivery in client.heard.deliveries] == [False, False, True, True]


def test_what_basic_get_fetched_goes_back_when_it_is_late_and_alone() -> None:
    broker = make(1000)
    client = Client(broker)
    queue, patient = client.declare(), client.declare("p", arguments={"x-consumer-timeout": 0})
    client.publish(queue, 1, 2)
    client.publish(patient, 3)
    turn(broker, 0)
    broker.get(client.channel, queue, False)
    broker.get(client.channel, patient, False)
    turn(broker, 500)
    broker.get(client.channel, queue, False)
    turn(broker, 1000)
    assert (queue.ready_count, queue.in_flight, patient.in_flight) == (1, 1, 1)
    assert "basic.get on channel 1 of client" in broker.notices[0]
    turn(broker, 1600)
    assert (queue.ready_count, patient.in_flight) == (2, 1)
    client.settle(1)
    client.settle(3)
    assert queue.ready_count == 2


def test_the_next_single_active_consumer_takes_over() -> None:
    broker = make(1000)
    first, second = Client(broker, "first"), Client(broker, "second")
    queue = first.declare(arguments={"x-single-active-consumer": True})
    join(first, queue, "first")
    join(second, queue, "second")
    first.publish(queue, 1)
    turn(broker, 0)
    turn(broker, 1000)
    assert second.heard.take_numbers() == [1]


def test_an_auto_delete_queue_goes_with_its_last_consumer() -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare(auto_delete=True)
    join(client, queue)
    client.publish(queue, 1)
    turn(broker, 0)
    turn(broker, 1000)
    assert queue.deleted and cancellations(client) == ["c"]
    assert broker.memory_bytes == 0


def test_what_a_transaction_has_acknowledged_counts_from_its_rollback() -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    broker.select_tx(client.channel)
    join(client, queue)
    run = client.publish(queue, 1)
    broker.commit(client.channel)
    turn(broker, 0)
    assert run.live
    client.settle(1)
    turn(broker, 1500)
    broker.rollback(client.channel)
    turn(broker, 2300)
    assert cancellations(client) == []
    turn(broker, 2500 + GRAIN_MS[0])
    assert cancellations(client) == ["c"]


def test_rollbacks_do_not_hide_what_is_late_behind_them() -> None:
    broker = make(1000)
    client = Client(broker)
    queue, others = client.declare(), client.declare("others")
    broker.select_tx(client.channel)
    join(client, queue)
    join(client, others, "late")
    for each in (queue, others):
        client.publish(each, 1)
    broker.commit(client.channel)
    turn(broker, 0)
    for at_ms in range(100, 1100, 100):
        client.settle(1)
        broker.rollback(client.channel)
        turn(broker, at_ms)
    assert cancellations(client) == ["late"]


def test_a_rollback_brings_back_what_nobody_looked_at_any_more() -> None:
    broker = make(1000)
    client = Client(broker)
    queue = client.declare()
    broker.select_tx(client.channel)
    join(client, queue)
    client.publish(queue, 1)
    broker.commit(client.channel)
    turn(broker, 0)
    client.settle(1)
    broker.cancel(client.channel, "c")
    turn(broker, 5000)
    assert not broker.overdue._watches
    broker.rollback(client.channel)
    turn(broker, 5000)
    assert queue.in_flight == 1
    turn(broker, 6100)
    assert queue.ready_count == 1


def test_closed_channels_are_forgotten_at_once_and_idle_ones_at_the_next_look() -> None:
    broker = make(60_000)
    client = Client(broker)
    queue = client.declare()
    for number in range(2, 50):
        channel = broker.open_channel(client.session, number)
        broker.consume(channel, queue, "c", False, False, {})
        broker.close_channel(channel)
    watches = broker.overdue._watches.values()
    assert sum(len(watch.channels) for watch in watches) == 0
    join(client, queue)
    broker.cancel(client.channel, "c")
    turn(broker, 70_000)
    assert not broker.overdue._watches


def test_a_timeout_beyond_the_grain_strikes_on_the_dot_with_one_delivery() -> None:
    """The next look is planned for when the oldest delivery is due, not in steps."""
    broker = make(1_800_000)
    client = Client(broker)
    queue = client.declare()
    join(client, queue)
    turn(broker, 1_000_000)
    client.publish(queue, 1)
    turn(broker, 1_000_000)
    for at_ms in range(1_000_000, 2_800_000, 50_000):
        turn(broker, at_ms)
    assert cancellations(client) == []
    turn(broker, 2_800_000)
    assert cancellations(client) == ["c"]


@pytest.mark.parametrize("value", [-1, "1000", True, 1.5])
def test_values_that_are_wrong(value: Any) -> None:
    client = Client(make())
    with pytest.raises(PreconditionFailed):
        client.declare(arguments={"x-consumer-timeout": value})
    queue = client.declare()
    with pytest.raises(PreconditionFailed):
        client.consume(queue, arguments={"x-consumer-timeout": value})
