"""Queues that go away when nobody uses them."""

from collections.abc import Callable

import pytest

from mansio.core.check import InvariantBroken, check
from mansio.core.deadlines import NEVER_MS
from mansio.core.queue import Queue
from tests.core.play import Client, make_timed, put, turn
from tests.core.test_restore import Writer

LEASE = {"x-expires": 100}


def exists(client: Client) -> bool:
    return "q" in client.broker.vhosts["/"].queues


def test_an_unused_queue_goes_with_its_messages() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments=LEASE | {"x-dead-letter-exchange": "amq.fanout"})
    put(client, queue, 1)
    turn(broker, 99)
    assert exists(client)
    turn(broker, 100)
    assert not exists(client)
    assert queue.deleted and broker.counts.dead_lettered == 0


USES: dict[str, Callable[[Client, Queue], object]] = {
    "declare": lambda client, queue: client.declare(arguments=LEASE),
    "passive declare": lambda c, queue: c.broker.definitions.check_queue(c.session, "q"),
    "get": lambda client, queue: client.broker.get(client.channel, queue, True),
}


@pytest.mark.parametrize("use", USES)
def test_use_prolongs_the_lease(use: str) -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments=LEASE)
    turn(broker, 60)
    USES[use](client, queue)
    turn(broker, 100)
    turn(broker, 159)
    assert exists(client)
    turn(broker, 160)
    assert not exists(client)


def test_publishing_and_settling_is_no_use() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments=LEASE)
    put(client, queue, 1)
    broker.get(client.channel, queue, False)
    turn(broker, 60)
    put(client, queue, 2)
    client.settle(1, requeue=True)
    turn(broker, 100)
    assert not exists(client)


def test_a_consumer_holds_it_and_the_time_runs_from_its_end() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments=LEASE)
    client.consume(queue)
    turn(broker, 500)
    assert exists(client)
    broker.cancel(client.channel, "c")
    turn(broker, 599)
    assert exists(client)
    turn(broker, 600)
    assert not exists(client)


def test_a_lost_timer_is_noticed() -> None:
    broker, _ = make_timed()
    queue = Client(broker).declare(arguments=LEASE)
    turn(broker, 0)
    assert queue.lease is not None
    queue.lease.deadline_ms = NEVER_MS
    with pytest.raises(InvariantBroken):
        check(broker)


def test_what_comes_back_after_the_queue_is_gone_goes_with_it() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare(arguments=LEASE)
    put(client, queue, 1)
    broker.get(client.channel, queue, False)
    turn(broker, 100)
    assert not exists(client)
    client.settle(1, requeue=True)
    turn(broker)
    assert broker.memory_bytes == 0


def test_a_queue_that_was_deleted_in_the_log_does_not_go_once_more() -> None:
    writer = Writer()
    define = writer.broker.definitions
    queue = define.declare_queue(writer.session, "q", True, False, False, LEASE)
    define.delete_queue(writer.session, queue, False, False)
    define.declare_queue(writer.session, "other", True, False, False, LEASE)
    writer.turn()
    broker = writer.restored()
    broker.now_ms = 1000
    turn(broker)
    assert not broker.vhosts["/"].queues
