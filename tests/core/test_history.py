"""Exchanges that remember: what comes to later bindings, what a restart brings back, and what it holds of memory."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import PreconditionFailed
from mansio.core.history import History
from mansio.core.queue import Queue
from mansio.core.run import Run
from tests.core.play import Client, Message, make_run
from tests.core.test_paging import Keeper


def history(broker: Broker, name: str = "rh") -> History:
    found = broker.vhosts["/"].exchanges[name].history
    assert found is not None
    return found


def publish(
    client: Client, number: int, persistent: bool = True, headers: Any = None, size: int = 19
) -> Run:
    """A message to the exchange rh, as a front hands it over."""
    run = make_run([number], persistent, size)
    run.routes = (
        client.broker.route(client.broker.users.rights("guest", "/"), "rh", "key", False, 1, 0),
    )
    assert run.routes[0].by_content
    view = Message(headers or {}, routing_key="key")
    client.broker.publish(
        client.channel,
        run,
        client.broker.route_message(client.broker.users.rights("guest", "/"), "rh", ["key"], view),
    )
    return run


def bind(client: Client, queue: str, key: str = "") -> None:
    client.broker.definitions.bind_queue(client.session, queue, "rh", key, {})


def numbers(queue: Queue) -> list[int]:
    return [
        int(span.run.message(i)[:8]) for span in queue.ready for i in range(span.start, span.stop)
    ]


def remembering(length: int = 3, **how: Any) -> Client:
    client = Client(Broker())
    client.exchange("rh", "x-recent-history", arguments={"x-recent-history-length": length}, **how)
    return client


def test_a_new_binding_gets_the_last_messages_in_order() -> None:
    client = remembering()
    late, early = client.declare("late"), client.declare("early")
    bind(client, "early")
    for number in range(5):
        publish(client, number)
    bind(client, "late")
    assert numbers(late) == [2, 3, 4], "also in the turn in which they came"
    client.broker.end_turn()
    check(client.broker)
    publish(client, 5)
    bind(client, "late")
    assert numbers(late) == [2, 3, 4, 5], "the binding was there before"
    bind(client, "late", "another")
    assert numbers(late) == [2, 3, 4, 5, 3, 4, 5]
    assert numbers(early) == [0, 1, 2, 3, 4, 5]
    check(client.broker)


def test_what_came_from_it_is_delivered_for_the_first_time() -> None:
    client = remembering()
    queue = client.declare()
    publish(client, 1)
    client.consume(queue)
    bind(client, "q")
    client.broker.end_turn()
    assert client.heard.deliveries == [("c", 1, 1, False)]


@pytest.mark.parametrize(
    ("value", "stored"), [(True, False), (False, True), (1, True), ("x", True)]
)
def test_a_header_keeps_a_message_out_of_it(value: Any, stored: bool) -> None:
    client = remembering()
    queue = client.declare()
    publish(client, 1, headers={"x-recent-history-no-store": value})
    bind(client, "q")
    assert numbers(queue) == [1] * stored


def test_no_client_can_name_it_and_what_only_it_takes_is_not_routed() -> None:
    client = remembering()
    publish(client, 1)
    assert client.broker.counts.dropped == 1
    assert not client.broker.vhosts["/"].queues
    route = client.broker.route(
        client.broker.users.rights("guest", "/"), "", history(client.broker).name, False, 1, 0
    )
    assert route.queues == ()


def test_another_exchange_may_get_it() -> None:
    client = remembering()
    client.exchange("topics", "topic")
    definitions = client.broker.definitions
    queue = client.declare()
    definitions.bind_queue(client.session, "q", "topics", "key", {})
    for number in range(4):
        publish(client, number)
    definitions.bind_exchange(client.session, "topics", "rh", "", {})
    assert numbers(queue) == [1, 2, 3]
    check(client.broker)


def test_exchanges_that_remember_may_follow_each_other() -> None:
    client = remembering()
    client.exchange("rh2", "x-recent-history")
    definitions = client.broker.definitions
    definitions.bind_exchange(client.session, "rh2", "rh", "", {})
    publish(client, 1)
    assert numbers(history(client.broker, "rh2")) == [1]
    client.exchange("rh3", "x-recent-history")
    definitions.bind_exchange(client.session, "rh3", "rh2", "", {})
    assert numbers(history(client.broker, "rh3")) == [1]
    check(client.broker)


@pytest.mark.parametrize("gone", ["deleted", "unbound"])
def test_it_goes_with_its_exchange(gone: str) -> None:
    client = remembering(auto_delete=gone == "unbound", durable=True)
    definitions = client.broker.definitions
    run = publish(client, 1)
    assert run.live == 1 and client.broker.memory_bytes
    if gone == "deleted":
        definitions.delete_exchange(client.session, "rh", False)
    else:
        client.declare()
        definitions.bind_queue(client.session, "q", "rh", "", {})
        definitions.unbind_queue(client.session, "q", "rh", "", {})
        client.broker.definitions.drop_queue(client.broker.vhosts["/"].queues["q"])
    client.broker.end_turn()
    assert run.live == 0 and not client.broker.memory_bytes
    check(client.broker)


def test_a_publish_under_way_when_the_exchange_goes_is_not_kept() -> None:
    client = remembering()
    client.broker.select_tx(client.channel)
    run = publish(client, 1)
    client.broker.definitions.delete_exchange(client.session, "rh", False)
    client.broker.commit(client.channel)
    client.broker.end_turn()
    assert not run.live
    check(client.broker)


@pytest.mark.parametrize("length", [0, -1, True, "5", 2.5, None])
def test_its_length_is_a_positive_integer(length: Any) -> None:
    with pytest.raises(PreconditionFailed, match="must be a positive integer"):
        remembering(length)


# -- restart and paging


def kept(length: int = 3, budget: int = 0, durable: bool = True) -> Keeper:
    keeper = Keeper(budget)
    keeper.client.exchange(
        "rh",
        "x-recent-history",
        durable=durable,
        arguments={"x-recent-history-length": length},
    )
    keeper.turn()
    return keeper


def test_a_restart_brings_back_what_is_durable() -> None:
    keeper = kept(length=4)
    for number in range(8):
        publish(keeper.client, number, persistent=number % 2 == 0)
        keeper.turn()
    assert numbers(history(keeper.broker)) == [4, 5, 6, 7]
    again = keeper.restarted()
    assert numbers(history(again.broker)) == [4, 6], "the transient ones are gone"
    queue = again.client.declare(durable=True)
    bind(again.client, "q")
    publish(again.client, 9)
    again.turn()
    third = again.restarted()
    assert numbers(third.queue("q")) == [4, 6, 9]
    assert numbers(history(third.broker)) == [4, 6, 9]
    assert queue.next_position == third.queue("q").next_position
    assert history(third.broker).id == history(keeper.broker).id
    third.broker.definitions.delete_exchange(third.client.session, "rh", False)
    third.turn()
    assert "rh" not in third.restarted().broker.vhosts["/"].exchanges


def test_the_history_of_an_exchange_that_is_not_durable_is_not_in_the_log() -> None:
    keeper = kept(durable=False)
    publish(keeper.client, 1)
    keeper.turn()
    assert not any(
        b"00000001" in record for records in keeper.log.entries.values() for record in records
    )


def test_the_log_is_cut_behind_what_it_has_forgotten_and_positions_go_on() -> None:
    keeper = Keeper(0, bucket_bytes=300, garbage_bytes=600)
    keeper.client.exchange("rh", "x-recent-history", durable=True)
    for number in range(200):
        publish(keeper.client, number)
        keeper.turn()
    assert min(keeper.log.entries) > 50
    again = keeper.restarted()
    assert numbers(history(again.broker)) == list(range(180, 200))
    assert history(again.broker).next_position == 200


def test_it_stays_in_memory_and_lets_go_of_what_it_forgets() -> None:
    keeper = kept(length=2, budget=1)
    queue = keeper.client.declare(durable=True)
    bind(keeper.client, "q")
    runs = []
    for number in range(6):
        runs.append(publish(keeper.client, number, size=100))
        keeper.turn()
    keeper.turn()
    assert numbers(history(keeper.broker)) == [4, 5]
    assert [bool(run.data) for run in runs] == [False] * 4 + [True] * 2
    assert queue.ready_count == 6


def test_what_it_forgets_in_part_stays_in_memory_as_a_whole() -> None:
    keeper = kept(length=2, budget=1)
    queue = keeper.client.declare(durable=True)
    bind(keeper.client, "q")
    route = keeper.broker.route(keeper.broker.users.rights("guest", "/"), "rh", "key", False, 1, 0)
    together = make_run([1, 2, 3], persistent=True, size=100)
    keeper.broker.publish(keeper.client.channel, together, route.queues)
    keeper.turn()
    for number in (4, 5):
        publish(keeper.client, number, size=100)
        keeper.turn()
        assert bool(together.data) == (number == 4)
    keeper.turn()
    assert numbers(history(keeper.broker)) == [4, 5]
    assert queue.ready_count == 5


def test_after_a_restart_a_binding_waits_for_what_is_paged_out() -> None:
    keeper = kept(length=3, budget=1)
    for number in range(5):
        publish(keeper.client, number)
        keeper.turn()
    again = keeper.restarted()
    held = history(again.broker)
    assert not any(span.run.data for span in held.ready)
    assert again.loading.must_wait_for_all(held, "waiter")
    assert not again.loading.take_woken()
    again.load()
    assert again.loading.take_woken() == ["waiter"]
    assert not again.loading.must_wait_for_all(held, "waiter")
    again.turn()
    assert numbers(held) == [2, 3, 4], "it stays in memory from then on"
    again.client.declare()
    bind(again.client, "q")
    again.turn()
    again.load()
    assert again.queue("q").ready_count == 3


def test_what_cannot_be_read_is_left_out() -> None:
    keeper = kept(length=3, budget=1)
    for number in range(3):
        publish(keeper.client, number)
        keeper.turn()
    again = keeper.restarted()
    held = history(again.broker)
    assert again.loading.must_wait_for_all(held, "waiter")
    first, *others = again.loading.take(1 << 30)
    again.loading.lost(first)
    for run in others:
        again.loading.loaded(run, again.record(run))
    assert again.loading.take_woken() == ["waiter"]
    assert not again.loading.must_wait_for_all(held, "waiter")
    queue = again.client.declare()
    bind(again.client, "q")
    assert queue.ready_count == 2
