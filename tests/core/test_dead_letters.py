"""Messages that queues drop: to an exchange, into quarantine, or away; never into two entries of the log."""

from typing import Any
from unittest.mock import patch

import pytest

from mansio.core.broker import Broker
from mansio.core.names import QUARANTINE
from mansio.core.queue import Queue
from mansio.core.records import Published, Settled, decode
from mansio.core.run import Run
from mansio.core.session import Outcome
from tests.core.play import START_MS, Client, Scribe, make_timed, numbers_in, put, turn

QUORUM = {"x-queue-type": "quorum"}


def make(**arguments: Any) -> tuple[Client, Scribe, Queue, Queue]:
    """A client, what it hears of letters, a queue whose dead letters go to `target`, and that."""
    broker, scribe = make_timed()
    client = Client(broker)
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "target"}
    queue = client.declare(durable=True, arguments=letters | named)
    return client, scribe, queue, client.declare("target", durable=True)


def take(client: Client, queue: Queue, count: int = 1) -> None:
    for _ in range(count):
        assert client.broker.get(client.channel, queue, False) is not None


def reject(client: Client, first: int, last: int = 0) -> None:
    client.broker.settle(client.channel, first, max(first, last), False, Outcome.REJECT)


def page_out(broker: Broker, run: Run) -> None:
    """Takes the bytes of a run away, as if it lay in the log only."""
    broker.paging.resident_bytes -= run.data_bytes
    run.page_out()


def test_what_is_rejected_goes_to_the_exchange_in_order() -> None:
    client, scribe, queue, target = make()
    put(client, queue, 1, 2, 3)
    take(client, queue, 3)
    reject(client, 1, 3)
    assert numbers_in(target) == [1, 2, 3]
    (death,) = scribe.deaths[2]
    assert (death.queue, death.reason, death.key) == ("q", "rejected", "key")
    assert (death.time_s, death.new_key) == (START_MS // 1000, "target")
    turn(client.broker)
    assert client.broker.counts.dead_lettered == 3


@pytest.mark.parametrize(
    ("arguments", "reason"), [({"message_ttl": 10}, "expired"), ({"max_length": 0}, "maxlen")]
)
def test_what_expires_or_is_too_much_goes_there_too(arguments: dict[str, int], reason: str) -> None:
    client, scribe, queue, target = make(**arguments)
    put(client, queue, 1, 2)
    turn(client.broker, 0)
    turn(client.broker, 20)
    assert numbers_in(target) == [1, 2]
    assert [death.reason for death in scribe.deaths[1]] == [reason]


def test_acknowledged_purged_and_deleted_messages_do_not() -> None:
    client, scribe, queue, _ = make()
    put(client, queue, 1, 2, 3)
    take(client, queue, 2)
    client.settle(1)
    client.broker.definitions.purge_queue(client.session, queue)
    client.broker.definitions.drop_queue(queue)
    reject(client, 2)
    turn(client.broker)
    assert not scribe.deaths and client.broker.memory_bytes == 0


def test_without_the_exchange_they_are_dropped() -> None:
    client, _, queue, target = make(dead_letter_exchange="nowhere")
    put(client, queue, 1)
    take(client, queue)
    reject(client, 1)
    turn(client.broker)
    assert (target.ready_count, client.broker.memory_bytes) == (0, 0)


def test_what_goes_round_by_itself_is_dropped_and_what_is_rejected_is_not() -> None:
    client, scribe, queue, _ = make(message_ttl=10, dead_letter_routing_key="q")
    put(client, queue, 1, 2)
    take(client, queue)
    reject(client, 1)
    assert numbers_in(queue) == [2, 1]
    turn(client.broker, 0)
    turn(client.broker, 20)
    assert numbers_in(queue) == []
    assert [death.reason for death in scribe.deaths[1]] == ["expired", "rejected"]


def test_a_full_queue_refuses_and_writes_letters() -> None:
    client, scribe, queue, target = make(max_length=1, overflow="reject-publish-dlx")
    client.channel.confirming = True
    put(client, queue, 1)
    put(client, queue, 2)
    turn(client.broker)
    assert (numbers_in(queue), numbers_in(target)) == ([1], [2])
    assert [death.reason for death in scribe.deaths[2]] == ["maxlen"]


def test_a_letter_that_is_paged_out_before_it_is_refused_stays() -> None:
    client, scribe, queue, target = make(max_length=0, overflow="reject-publish-dlx")
    run = put(client, queue, 1)
    page_out(client.broker, run)
    client.broker.end_turn()
    assert (queue.ready_count, target.ready_count, scribe.deaths) == (1, 0, {})


def test_given_back_too_often_it_goes_to_the_exchange() -> None:
    client, scribe, queue, target = make(delivery_limit=1, queue_type="quorum")
    put(client, queue, 1)
    for tag in (1, 2):
        take(client, queue)
        client.settle(tag, requeue=True)
    assert (numbers_in(queue), numbers_in(target)) == ([], [1])
    assert [death.reason for death in scribe.deaths[1]] == ["delivery_limit"]
    assert scribe.counted_as == [(1, 0), (1, 1)]


def test_without_an_exchange_it_goes_into_quarantine_which_is_made_then() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(durable=True, arguments=QUORUM | {"x-delivery-limit": 0})
    assert QUARANTINE not in broker.vhosts["/"].queues
    put(client, queue, 1, persistent=True)
    take(client, queue)
    client.settle(1, requeue=True)
    quarantine = broker.vhosts["/"].queues[QUARANTINE]
    assert numbers_in(quarantine) == [1] and quarantine.durable
    kinds = [type(decode(record)) for record in turn(broker)]
    assert kinds.count(Published) == 2 and Settled in kinds


def test_nothing_gets_lost_in_quarantine_though_it_goes_round() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    limit = QUORUM | {"x-delivery-limit": 0}
    quarantine = client.declare(QUARANTINE, durable=True, arguments=limit)
    put(client, quarantine, 1)
    for tag in (1, 2):
        take(client, quarantine)
        client.settle(tag, requeue=True)
        assert numbers_in(quarantine) == [1]


def test_each_piece_is_settled_in_the_entry_of_its_letters() -> None:
    client, _, queue, _ = make()
    put(client, queue, 1, persistent=True)
    put(client, queue, 2, persistent=True)
    take(client, queue, 2)
    turn(client.broker)
    with patch("mansio.core.journal.PART_BYTES_MAX", 10):
        reject(client, 1, 2)
        records = turn(client.broker)
    found = [decode(record) for record in records]
    kinds = [type(each) for each in found]
    assert kinds == [Published, Settled, Published, Settled]
    assert client.broker.journal.breaks == [2]
    settled = [each.ranges for each in found if isinstance(each, Settled)]
    assert settled == [[(0, 1, 1)], [(1, 1, 1)]]


def test_a_transaction_with_dead_letters_stays_in_one_entry() -> None:
    client, _, queue, _ = make()
    put(client, queue, 1, persistent=True)
    put(client, queue, 2, persistent=True)
    take(client, queue, 2)
    turn(client.broker)
    with patch("mansio.core.journal.PART_BYTES_MAX", 10):
        client.broker.select_tx(client.channel)
        put(client, queue, 3, persistent=True)
        reject(client, 1)
        reject(client, 2)
        client.broker.commit(client.channel)
        turn(client.broker)
    assert client.broker.journal.breaks == []


def test_what_is_paged_out_is_read_before_it_dies() -> None:
    client, _, queue, target = make()
    run = put(client, queue, 1, 2)
    client.consume(queue)
    turn(client.broker)
    data = run.data
    page_out(client.broker, run)
    run.home = client.broker.paging.pages(queue)
    reject(client, 1, 2)
    consumer = client.channel.consumers["c"]
    assert (target.ready_count, consumer.unsettled, queue.in_flight) == (0, 0, 2)
    run.data = data
    client.broker.paging.resident_bytes += run.data_bytes
    client.broker.paging.loading._wake(run)
    assert (numbers_in(target), queue.in_flight) == ([1, 2], 0)


def test_what_cannot_be_read_is_dropped_with_a_notice() -> None:
    client, _, queue, target = make()
    run = put(client, queue, 1)
    take(client, queue)
    page_out(client.broker, run)
    run.home = client.broker.paging.pages(queue)
    reject(client, 1)
    client.broker.paging.loading.lost(run)
    assert (target.ready_count, queue.in_flight) == (0, 0)
    (notice,) = client.broker.notices
    assert "1 messages of queue 'q' in vhost '/' that were rejected cannot be read" in notice
