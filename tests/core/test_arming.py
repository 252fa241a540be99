"""Queues that are changed while they run, with messages in them: each rule comes, changes, and goes again."""

from typing import Any

import pytest

from mansio.core.deadlines import NEVER_MS
from mansio.core.names import QUARANTINE
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.core.stream import Stream
from tests.core.play import SIZE, START_MS, Client, Scribe, make_timed, numbers_in, put, turn
from tests.core.test_dead_letters import page_out, reject, take
from tests.core.test_paging import Keeper
from tests.core.test_streams import Play

QUORUM = {"x-queue-type": "quorum"}


def make(**arguments: Any) -> tuple[Client, Scribe, Queue]:
    broker, scribe = make_timed()
    client = Client(broker)
    return client, scribe, client.declare(durable=True, arguments=arguments)


def hold(client: Client, **definition: Any) -> None:
    """A policy for all queues, in the place of the one before."""
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    client.broker.policies.put("/", "a", "", keys)


def let_go(client: Client) -> None:
    client.broker.policies.delete("/", "a")


# -- time to live


def test_messages_live_as_long_as_the_queue_says_now_since_they_came() -> None:
    client, _, queue = make()
    broker = client.broker
    put(client, queue, 1)
    turn(broker, 0)
    hold(client, message_ttl=100)
    turn(broker, 50)
    put(client, queue, 2)
    assert broker.deadlines.next_ms == START_MS + 100
    turn(broker, 99)
    assert numbers_in(queue) == [1, 2]
    turn(broker, 100)
    assert numbers_in(queue) == [2]
    hold(client, message_ttl=300)
    turn(broker, 200)
    assert numbers_in(queue) == [2]
    hold(client, message_ttl=150)
    turn(broker, 220)
    assert numbers_in(queue) == []


def test_what_is_too_old_for_a_new_policy_is_not_delivered_any_more() -> None:
    client, _, queue = make()
    put(client, queue, 1)
    turn(client.broker, 0)
    hold(client, message_ttl=100)
    client.consume(queue)
    turn(client.broker, 100)
    assert client.heard.take_numbers() == []
    assert client.broker.counts.expired == 1


def test_without_the_policy_only_what_says_so_itself_expires() -> None:
    client, _, queue = make()
    hold(client, message_ttl=100)
    put(client, queue, 1, expiration_ms=200)
    put(client, queue, 2)
    turn(client.broker, 0)
    let_go(client)
    turn(client.broker, 100)
    assert numbers_in(queue) == [1, 2]
    turn(client.broker, 200)
    assert numbers_in(queue) == [2]
    turn(client.broker, 10_000)
    assert numbers_in(queue) == [2]
    assert client.broker.deadlines.next_ms == NEVER_MS


# -- bounds


def test_a_bound_is_enforced_at_once_and_goes_again() -> None:
    client, _, queue = make()
    put(client, queue, *range(5))
    turn(client.broker)
    hold(client, max_length=2)
    turn(client.broker)
    assert numbers_in(queue) == [3, 4]
    hold(client, max_length=3)
    put(client, queue, 5, 6)
    turn(client.broker)
    assert numbers_in(queue) == [4, 5, 6]
    let_go(client)
    put(client, queue, 7, 8)
    turn(client.broker)
    assert numbers_in(queue) == [4, 5, 6, 7, 8]
    assert queue.bound is None


def test_it_counts_when_somebody_asks_in_the_same_turn() -> None:
    client, _, queue = make()
    put(client, queue, *range(5))
    turn(client.broker)
    hold(client, max_length=2)
    client.declare(durable=True)
    assert queue.ready_count == 2


def test_a_queue_refuses_only_what_comes_while_it_does() -> None:
    client, _, queue = make()
    client.channel.confirming = True
    put(client, queue, 1, 2)
    hold(client, max_length=1, overflow="reject-publish")
    put(client, queue, 3)
    turn(client.broker)
    client.broker.seal(1)
    client.broker.durable(1)
    assert ("confirmed", 1, 3, [(3, 3)]) in client.heard.take()
    assert numbers_in(queue) == [1, 2]
    hold(client, max_length=1)
    turn(client.broker)
    assert numbers_in(queue) == [2]


def test_bytes_are_counted_of_what_is_paged_out_once_that_is_read() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 100)
    assert [run for run in runs if not run.data and run.bodies is None]
    keeper.broker.policies.put("/", "a", "", {"max-length-bytes": 55 * SIZE})
    keeper.turn()
    assert queue.ready_count == 100, "nobody knows yet how much it is"
    keeper.settle()
    assert queue.ready_count == 55
    assert runs[-55].live and not runs[-56].live
    assert len(keeper.read) <= 56, "what goes anyway is not read"


def test_bytes_of_what_cannot_be_read_are_guessed() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 100)
    keeper.broker.policies.put(
        "/", "a", "", {"max-length-bytes": 55 * SIZE, "overflow": "drop-head"}
    )
    keeper.turn()
    while wanted := keeper.loading.take(1 << 40):
        for run in wanted:
            keeper.loading.lost(run)
        keeper.turn()
    assert queue.ready_count == 55
    assert keeper.loading.unreadable


def test_a_restart_reads_what_a_policy_bounds_by_bytes() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 100)
    keeper.broker.policies.put("/", "a", "", {"max-length-bytes": 55 * SIZE})
    keeper.turn()
    keeper = keeper.restarted()
    keeper.settle()
    assert keeper.queue("q").ready_count == 55


# -- priorities


def put_all(client: Client, queue: Queue, *priorities: int) -> None:
    for number, priority in enumerate(priorities, queue.next_position):
        put(client, queue, number, priority=priority, persistent=True)


def test_a_plain_queue_becomes_one_with_priorities_and_plain_again() -> None:
    client, _, queue = make()
    put_all(client, queue, 0, 3, 1, 9, 2)
    turn(client.broker)
    hold(client, max_priority=3)
    assert numbers_in(queue) == [1, 3, 4, 2, 0]
    put_all(client, queue, 0, 2, 5)
    assert numbers_in(queue) == [1, 3, 7, 4, 6, 2, 0, 5]
    turn(client.broker)
    hold(client, max_priority=1)
    assert numbers_in(queue) == [1, 2, 3, 4, 6, 7, 0, 5]
    turn(client.broker)
    let_go(client)
    assert numbers_in(queue) == list(range(8))
    assert queue.levels is None
    turn(client.broker)


def test_what_is_in_flight_comes_back_to_the_place_that_it_has_then() -> None:
    client, _, queue = make()
    put_all(client, queue, 0, 3, 1, 2)
    take(client, queue, 3)
    hold(client, max_priority=3)
    put_all(client, queue, 3)
    client.settle(1, 2, requeue=True)
    turn(client.broker)
    assert numbers_in(queue) == [1, 4, 3, 0]
    let_go(client)
    client.settle(3, requeue=True)
    turn(client.broker)
    assert numbers_in(queue) == [0, 1, 2, 3, 4]
    assert [span.redelivered for span in queue.ready] == [True, True, True, False, False]


def test_priorities_are_the_same_after_a_restart() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    for number in range(100):
        put(keeper.client, queue, number, priority=number % 2, persistent=True)
        keeper.turn()
    keeper.broker.policies.put("/", "a", "", {"max-priority": 1})
    keeper.turn()
    order = [span.base for span in queue.spans()]
    assert order == [*range(1, 100, 2), *range(0, 100, 2)]
    keeper = keeper.restarted()
    assert [span.base for span in keeper.queue("q").spans()] == order
    client = keeper.client
    client.consume(keeper.queue("q"))
    keeper.settle()
    assert client.heard.take_numbers() == order


def test_what_is_read_ahead_follows_the_new_order() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    client = keeper.client
    keeper.broker.set_prefetch(client.channel, 1, False)
    for number in range(200):
        put(client, queue, number, priority=number // 100, persistent=True)
        keeper.turn()
    client.consume(queue)
    keeper.settle()
    keeper.broker.policies.put("/", "a", "", {"max-priority": 1})
    keeper.settle()
    client.settle(1)
    keeper.settle()
    assert client.heard.take_numbers() == [0, 100]
    assert [span.base for span in queue.spans() if span.run.data][:9] == list(range(101, 110))


# -- leases


def exists(client: Client) -> bool:
    return "q" in client.broker.vhosts["/"].queues


def test_a_queue_gets_a_lease_that_begins_now_and_loses_it() -> None:
    client, _, _ = make()
    broker = client.broker
    turn(broker, 1000)
    hold(client, expires=100)
    turn(broker, 1099)
    assert exists(client)
    hold(client, expires=100, max_length=1)
    hold(client, expires=200)
    turn(broker, 1250)
    assert exists(client), "the lease began anew, and is longer"
    let_go(client)
    turn(broker, 5000)
    assert exists(client)
    hold(client, expires=50)
    turn(broker, 5050)
    assert not exists(client)


# -- dead letters, limits


def test_letters_go_where_the_policy_says_when_they_die() -> None:
    client, scribe, queue = make()
    target = client.declare("target")
    put(client, queue, 1, 2, 3)
    take(client, queue, 3)
    hold(client, dead_letter_exchange="", dead_letter_routing_key="target")
    reject(client, 1)
    assert numbers_in(target) == [1]
    hold(client, dead_letter_exchange="nowhere")
    reject(client, 2)
    let_go(client)
    reject(client, 3)
    turn(client.broker)
    assert (numbers_in(target), scribe.deaths.keys()) == ([1], {1, 2})


@pytest.mark.parametrize("paged_out", [True, False], ids=["paged out", "no room"])
def test_what_waits_for_an_exchange_that_is_not_named_any_more_is_settled(paged_out: bool) -> None:
    client, scribe, queue = make()
    broker = client.broker
    hold(client, dead_letter_exchange="")
    run: Run = put(client, queue, 1, persistent=True)
    turn(broker, 0)
    broker.journal.placed(1, 100, [(run, 1, 0, 100)])
    take(client, queue)
    if paged_out:
        run.home = broker.paging.pages(queue)
        page_out(broker, run)
    else:
        broker.journal.measured(0, False)
    reject(client, 1)
    turn(broker)
    assert queue.in_flight == 1
    let_go(client)
    turn(broker)
    assert (queue.in_flight, run.live, scribe.deaths) == (0, 0, {})
    assert not list(broker.dead_letters.held_back())
    turn(broker, 1000)


def test_what_was_given_back_too_often_waits_on_for_quarantine() -> None:
    client, _, queue = make(**QUORUM)
    broker = client.broker
    hold(client, delivery_limit=0)
    run = put(client, queue, 1, persistent=True)
    turn(broker, 0)
    take(client, queue)
    broker.journal.measured(0, False)
    client.settle(1, requeue=True)
    turn(broker)
    hold(client, delivery_limit=0, max_length=5)
    turn(broker)
    assert (queue.in_flight, run.live) == (1, 1)
    broker.journal.measured(1 << 40, False)
    turn(broker, 1000)
    assert numbers_in(broker.vhosts["/"].queues[QUARANTINE]) == [1]


def test_a_delivery_limit_counts_what_was_given_back_before() -> None:
    client, _, queue = make(**QUORUM)
    target = client.declare("target")
    put(client, queue, 1)
    for tag in range(1, 5):
        take(client, queue)
        client.settle(tag, requeue=True)
    hold(client, delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key="target")
    turn(client.broker)
    assert (numbers_in(queue), numbers_in(target)) == ([1], []), "it may be tried once more"
    take(client, queue)
    client.settle(5, requeue=True)
    turn(client.broker)
    assert (numbers_in(queue), numbers_in(target)) == ([], [1])


def test_the_quarantine_is_a_queue_as_others_are() -> None:
    client, _, queue = make(**QUORUM)
    client.broker.policies.put("/", "b", "^mansio", {"max-length": 1})
    client.broker.policies.put("/", "c", "^q", {"delivery-limit": 0})
    put(client, queue, 1, 2)
    take(client, queue, 2)
    client.settle(1, 2, requeue=True)
    turn(client.broker)
    assert numbers_in(client.broker.vhosts["/"].queues[QUARANTINE]) == [2]


# -- timeouts


def test_a_timeout_holds_for_what_is_delivered_already() -> None:
    client, _, queue = make()
    broker = client.broker
    put(client, queue, 1, 2, 3)
    take(client, queue)
    client.consume(queue)
    own = Client(broker, "own")
    other = client.declare("other", durable=True)
    put(client, other, 4)
    own.consume(other, arguments={"x-consumer-timeout": 60_000})
    turn(broker, 0)
    turn(broker, 5000)
    hold(client, consumer_timeout=1000)
    turn(broker, 5001)
    assert numbers_in(queue) == [1, 2, 3]
    assert other.in_flight == 1, "its consumer has a timeout of its own"
    take(client, queue)
    let_go(client)
    turn(broker, 60_000)
    assert queue.in_flight == 1


def test_a_timeout_holds_for_what_was_fetched() -> None:
    client, _, queue = make()
    put(client, queue, 1)
    take(client, queue)
    turn(client.broker, 5000)
    hold(client, consumer_timeout=1000)
    turn(client.broker, 5001)
    assert numbers_in(queue) == [1]


# -- streams


def test_a_stream_keeps_what_the_policy_says() -> None:
    play = Play(stream_max_segment_size_bytes=SIZE, max_length_bytes=5 * SIZE)
    for number in range(9):
        play.put(number)
    stream = play.stream
    assert isinstance(stream, Stream)
    assert stream.first == 4
    play.broker.policies.put("/", "a", "^s$", {"max-length-bytes": 2 * SIZE})
    play.turn()
    assert stream.first == 7
    play.broker.policies.put("/", "a", "^s$", {"max-age": "1s"})
    play.broker.now_ms += 1002
    play.turn()
    assert stream.first == 8, "the last segment stays"
    play.broker.policies.delete("/", "a")
    assert (stream.max_bytes, stream.max_age_ms) == (5 * SIZE, None)


def test_deliveries_stay_where_they_are_whatever_changes() -> None:
    client, _, queue = make()
    put(client, queue, 1, 2, 3)
    client.consume(queue)
    turn(client.broker, 0)
    hold(client, max_priority=5, message_ttl=1, max_length=1)
    turn(client.broker, 10)
    assert queue.in_flight == 3
    client.broker.settle(client.channel, 1, 3, False, Outcome.ACCEPT)
    turn(client.broker)
    assert (queue.in_flight, queue.ready_count) == (0, 0)
