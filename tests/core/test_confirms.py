"""What waits for the log: confirms, refusals and transactions, turn by turn; and queues with a bound."""

import pytest

from mansio.core import broker as broker_module
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import PreconditionFailed
from tests.core.play import SIZE, Client, make_run


def publisher() -> Client:
    client = Client(Broker())
    client.channel.confirming = True
    return client


def turn(client: Client, ticket: int) -> None:
    client.broker.end_turn()
    client.broker.seal(ticket)


def test_confirms_wait_for_their_ticket() -> None:
    client = publisher()
    broker, queue = client.broker, client.declare()
    client.publish(queue, 1, 2)
    turn(client, 1)
    client.publish(queue, 3)
    client.publish(queue, 4)
    turn(client, 2)
    turn(client, 2)
    broker.durable(0)
    assert client.heard.take() == [] and broker.waiting
    broker.durable(1)
    assert client.heard.take() == [("confirmed", 1, 2, [])]
    broker.durable(2)
    assert client.heard.take() == [("confirmed", 1, 4, [])] and not broker.waiting


def test_a_later_ticket_covers_earlier_ones_in_order() -> None:
    client = publisher()
    queue = client.declare()
    for ticket in (1, 2, 3):
        client.publish(queue, ticket)
        turn(client, ticket)
    client.broker.durable(3)
    assert [told[2] for told in client.heard.take()] == [1, 2, 3]


def test_what_is_not_sealed_is_never_released() -> None:
    client = publisher()
    client.publish(client.declare(), 1)
    client.broker.durable(9)
    assert client.heard.take() == []


def test_publishes_that_lead_nowhere_are_confirmed_too() -> None:
    client = publisher()
    client.broker.publish(client.channel, make_run([1, 2]), ())
    turn(client, 0)
    client.broker.durable(0)
    assert client.heard.take() == [("confirmed", 1, 2, [])]


def test_what_the_log_lost_is_refused() -> None:
    client = publisher()
    queue = client.declare()
    client.publish(queue, 1)
    turn(client, 1)
    client.publish(queue, 2)
    turn(client, 2)
    client.broker.durable(1)
    client.broker.failed(2)
    assert client.heard.take() == [("confirmed", 1, 1, []), ("refused", 1, 2)]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_channel_that_is_closed_hears_nothing_nor_does_its_successor(
    sealed: bool, again: bool
) -> None:
    client = publisher()
    broker, queue = client.broker, client.declare()
    client.publish(queue, 1)
    transaction = broker.open_channel(client.session, 2)
    broker.select_tx(transaction)
    broker.commit(transaction)
    if sealed:
        turn(client, 1)
    for channel in (client.channel, transaction):
        broker.close_channel(channel)
        if again:
            broker.open_channel(client.session, channel.number)
    turn(client, 1)
    broker.durable(1)
    assert client.heard.take() == []


def test_a_session_that_is_closed_hears_nothing() -> None:
    client = publisher()
    client.publish(client.declare(), 1)
    turn(client, 1)
    client.broker.close_session(client.session)
    client.broker.failed(1)
    assert client.heard.take() == []


def test_a_transaction_is_nothing_until_its_commit_and_then_all() -> None:
    client = Client(Broker())
    broker, queue = client.broker, client.declare()
    client.consume(queue)
    client.publish(queue, 1, 2, 3)
    broker.end_turn()
    client.heard.deliveries.clear()
    broker.select_tx(client.channel)
    client.publish(queue, 4)
    client.settle(1)
    client.settle(2, requeue=True)
    broker.end_turn()
    assert (client.heard.take_numbers(), queue.in_flight, queue.ready_count) == ([], 3, 0)
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 1"):
        client.settle(1)
    broker.commit(client.channel)
    turn(client, 1)
    assert client.heard.take_numbers() == [2, 4]
    assert client.heard.take() == [], "commit-ok waits for the log"
    broker.durable(1)
    assert client.heard.take() == [("committed", 1, True)]
    check(broker)


def test_a_commit_that_the_log_lost() -> None:
    client = Client(Broker())
    client.broker.select_tx(client.channel)
    client.broker.commit(client.channel)
    turn(client, 1)
    client.broker.failed(1)
    assert client.heard.take() == [("committed", 1, False)]


def test_a_rollback_forgets_publishes_and_gives_deliveries_back() -> None:
    client = Client(Broker())
    broker, queue = client.broker, client.declare()
    client.consume(queue)
    client.publish(queue, *range(6))
    broker.end_turn()
    broker.select_tx(client.channel)
    client.publish(queue, 9)
    for tag in (3, 5, 1):
        client.settle(tag)
    client.settle(2, requeue=True)
    broker.rollback(client.channel)
    broker.end_turn()
    check(broker)
    assert client.heard.take_numbers() == list(range(6))
    client.settle(1, 6)
    broker.commit(client.channel)
    assert (broker.memory_bytes, client.channel.ledger.total) == (0, 0)


def test_closing_rolls_back() -> None:
    client = Client(Broker())
    broker, queue = client.broker, client.declare()
    client.publish(queue, 1, 2, 3)
    broker.select_tx(client.channel)
    for _ in range(3):
        broker.get(client.channel, queue, False)
    client.settle(2)
    client.publish(queue, 4)
    broker.close_channel(client.channel)
    assert (queue.ready_count, queue.in_flight) == (3, 0)
    check(broker)


def test_transactions_have_to_be_selected() -> None:
    client = Client(Broker())
    for do in (client.broker.commit, client.broker.rollback):
        with pytest.raises(PreconditionFailed, match="channel is not transactional"):
            do(client.channel)
    client.broker.select_tx(client.channel)
    before = client.channel.tx
    client.broker.select_tx(client.channel)
    assert client.channel.tx is before


def test_a_transaction_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "OPEN_RUNS_MAX", 3)
    client = Client(Broker())
    queue = client.declare()
    client.broker.select_tx(client.channel)
    for number in range(3):
        client.publish(queue, number)
    with pytest.raises(PreconditionFailed, match="commit more often"):
        client.publish(queue, 4)
    client.broker.commit(client.channel)
    assert queue.ready_count == 3


# -- queues with a maximum length


def test_too_much_goes_from_the_head_at_the_end_of_the_turn() -> None:
    client = publisher()
    queue = client.declare(arguments={"x-max-length": 3})
    client.publish(queue, 1, 2, 3, 4)
    client.publish(queue, 5)
    turn(client, 1)
    client.broker.durable(1)
    assert client.heard.take() == [("confirmed", 1, 5, [])]
    client.consume(queue)
    client.broker.end_turn()
    assert client.heard.take_numbers() == [3, 4, 5]
    check(client.broker)


def test_what_consumers_take_at_once_does_not_count() -> None:
    client = publisher()
    queue = client.declare(arguments={"x-max-length": 1})
    client.consume(queue)
    client.publish(queue, *range(5))
    client.broker.end_turn()
    assert client.heard.take_numbers() == list(range(5))


def test_a_queue_that_rejects_names_the_publishes() -> None:
    client = publisher()
    queue = client.declare(arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    client.publish(queue, 1, 2)
    turn(client, 1)
    client.publish(queue, 3, 4)
    client.publish(client.declare("free"), 5)
    client.publish(queue, 6, 7)
    turn(client, 2)
    client.broker.durable(2)
    assert client.heard.take()[0] == ("confirmed", 1, 2, [])
    client.publish(queue, 8)
    turn(client, 3)
    client.broker.durable(3)
    client.consume(queue)
    client.broker.end_turn()
    assert client.heard.take_numbers() == [1, 2, 3]
    check(client.broker)


def test_the_numbers_of_rejected_publishes() -> None:
    client = publisher()
    queue = client.declare(arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    client.publish(queue, 1, 2)
    client.publish(client.declare("free"), 3)
    client.publish(queue, 4, 5, 6)
    turn(client, 1)
    client.broker.durable(1)
    ((_, _, upto, rejected),) = client.heard.take()
    numbers = {n for first, last in rejected for n in range(first, last + 1)}
    assert (upto, numbers) == (6, {5, 6})


def test_a_transaction_is_not_to_blame_for_what_was_published_before_it() -> None:
    client = Client(Broker())
    queue = client.declare(arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    client.publish(queue, 1)
    client.broker.select_tx(client.channel)
    turn(client, 1)
    client.broker.commit(client.channel)
    turn(client, 2)
    client.broker.durable(2)
    assert client.heard.take() == [("committed", 1, True)]


@pytest.mark.parametrize(
    ("room", "left"), [(0, []), (SIZE - 1, []), (SIZE, [4]), (3 * SIZE, [2, 3, 4])]
)
def test_a_bound_in_bytes(room: int, left: list[int]) -> None:
    client = publisher()
    queue = client.declare(arguments={"x-max-length-bytes": room})
    client.publish(queue, 1, 2, 3, 4)
    client.broker.end_turn()
    client.consume(queue)
    client.broker.end_turn()
    assert client.heard.take_numbers() == left
    assert client.broker.memory_bytes == (4 * SIZE if left else 0)
