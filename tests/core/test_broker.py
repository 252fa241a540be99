"""The Broker's commands: consuming, settling, what closing gives back, and what is counted."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import AccessRefused, NotAllowed, PreconditionFailed
from mansio.core.records import Published, Settled, decode
from mansio.core.routing import Route
from mansio.core.run import Run
from tests.core.play import SIZE, Client, make_broker, make_run


def records(broker: Broker) -> list[Any]:
    return [decode(b"".join(record)) for record in broker.end_turn()]


def test_an_unknown_virtual_host_is_not_allowed() -> None:
    client = Client(Broker())
    with pytest.raises(NotAllowed, match="vhost /nope not found"):
        client.broker.open_session(client.heard, "guest", "/nope", "x")


def test_messages_flow_and_memory_is_given_back() -> None:
    client = Client(Broker())
    broker, queue = client.broker, client.declare()
    client.publish(queue, 1, 2, 3)
    assert broker.memory_bytes == 3 * SIZE
    client.consume(queue)
    assert broker.end_turn() == []
    assert client.heard.take_numbers() == [1, 2, 3]
    client.settle(2)
    client.settle(1)
    assert (broker.memory_bytes, queue.in_flight) == (3 * SIZE, 1), "a run goes as a whole"
    client.settle(3)
    assert (broker.memory_bytes, queue.in_flight, client.channel.unsettled) == (0, 0, 0)


def test_a_run_in_two_queues_is_counted_once_until_both_are_done() -> None:
    client = Client(Broker())
    queues = (client.declare("a"), client.declare("b"))
    client.broker.publish(client.channel, make_run([1]), queues)
    assert client.broker.memory_bytes == SIZE
    assert client.broker.get(client.channel, queues[0], no_ack=True) is not None
    assert client.broker.memory_bytes == SIZE
    client.broker.definitions.purge_queue(client.session, queues[1])
    assert client.broker.memory_bytes == 0


def test_publishers_are_blocked_above_the_limit_and_freed_well_below_it() -> None:
    broker = make_broker(memory_bytes_max=10 * SIZE, run_bytes=0)
    client = Client(broker)
    queue = client.declare()
    blocked = []
    for number in range(11):
        client.publish(queue, number)
        broker.end_turn()
        blocked.append(broker.blocked)
    assert blocked == [False] * 10 + [True], "the limit itself is allowed"
    blocked = []
    for _ in range(3):
        broker.get(client.channel, queue, True)
        broker.end_turn()
        blocked.append(broker.blocked)
    assert blocked == [True, False, False], "so that it does not go on and off at every message"


def test_get_tells_what_is_left_and_takes_in_order() -> None:
    client = Client(Broker())
    broker, queue = client.broker, client.declare()
    assert broker.get(client.channel, queue, False) is None
    client.publish(queue, 1, 2, 3)
    first = broker.get(client.channel, queue, False)
    second = broker.get(client.channel, queue, True)
    assert first is not None and second is not None
    told = [(got.tag, got.redelivered, got.remaining) for got in (first, second)]
    assert told == [(1, False, 2), (2, False, 1)]
    assert [int(got.run.message(got.i)[:8]) for got in (first, second)] == [1, 2]
    client.settle(1, requeue=True)
    again = broker.get(client.channel, queue, False)
    assert again is not None and (again.tag, again.redelivered) == (3, True)
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 2"):
        client.settle(2)
    check(broker)


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("tag", [0, 2, 3, 7])
def test_unknown_tags(tag: int, multiple: bool) -> None:
    """0 with `multiple` means all, also when there are none; everything else has to be known."""
    client = Client(Broker())
    queue = client.declare()
    client.consume(queue)
    client.publish(queue, 1, 2, 3, 4)
    client.broker.end_turn()
    client.settle(2, 3)
    if tag == 0 and multiple:
        client.settle_until(0)
        client.settle_until(0)
        assert client.channel.ledger.total == 0
        return
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {tag}"):
        client.broker.settle(client.channel, tag, tag, multiple, False)
    assert client.channel.ledger.total == 2


def test_requeued_messages_come_again_in_their_old_order() -> None:
    client = Client(Broker())
    queue = client.declare()
    for tag in "ab":
        client.consume(queue, tag)
    client.publish(queue, *range(6))
    client.broker.end_turn()
    client.heard.deliveries.clear()
    client.settle(3)
    client.settle_until(0, requeue=True)
    client.broker.end_turn()
    assert [(number, again) for _, _, number, again in client.heard.deliveries] == [
        (number, True) for number in (0, 1, 3, 4, 5)
    ]
    check(client.broker)


def test_recover_requeues_what_is_unsettled() -> None:
    client = Client(Broker())
    queue = client.declare()
    client.consume(queue)
    client.publish(queue, 1, 2)
    client.broker.end_turn()
    client.settle(1)
    client.broker.recover(client.channel)
    client.broker.end_turn()
    assert client.heard.take_numbers() == [1, 2, 2]


def test_closing_a_session_gives_back_what_it_had() -> None:
    broker = Broker()
    leaver, other = Client(broker, "leaver"), Client(broker, "other")
    queue = other.declare()
    mine = leaver.declare("mine", exclusive=True)
    brief = leaver.declare("brief", auto_delete=True)
    leaver.consume(queue)
    leaver.consume(brief, "b")
    leaver.publish(mine, 1)
    other.publish(queue, 1, 2)
    other.publish(brief, 3)
    broker.end_turn()
    broker.close_session(leaver.session)
    assert (mine.deleted, brief.deleted, queue.ready_count) == (True, True, 2)
    assert set(broker.vhosts["/"].queues) == {"q"}
    other.consume(queue)
    broker.end_turn()
    assert [delivery[2:] for delivery in other.heard.deliveries] == [(1, True), (2, True)]
    assert leaver.heard.told == [], "nobody is told of its own end"
    check(broker)


def test_consumers_are_told_when_their_queue_goes() -> None:
    broker = Broker()
    owner, other = Client(broker, "owner"), Client(broker, "other")
    queue = owner.declare()
    other.consume(queue, "a")
    owner.consume(queue, "b")
    broker.definitions.drop_queue(queue)
    broker.end_turn()
    assert other.heard.take() == [("cancelled", 1, "a")]
    assert owner.heard.take() == [("cancelled", 1, "b")]
    assert not other.channel.consumers


def test_deliveries_of_a_deleted_queue_can_still_be_settled() -> None:
    client = Client(Broker())
    queue = client.declare()
    client.consume(queue)
    client.publish(queue, 1, 2, 3)
    client.broker.end_turn()
    client.broker.definitions.drop_queue(queue)
    client.settle(1)
    client.settle_until(0, requeue=True)
    assert client.broker.memory_bytes == 0
    check(client.broker)


def test_who_may_consume() -> None:
    client = Client(make_broker(consumers_per_channel_max=2))
    queue, other = client.declare(), client.declare("other")
    client.consume(queue, exclusive=True)
    for error, target, tag, exclusive in (
        (NotAllowed, other, "c", False),
        (AccessRefused, queue, "d", False),
        (AccessRefused, queue, "d", True),
    ):
        with pytest.raises(error):
            client.consume(target, tag, exclusive=exclusive)
    client.consume(other, "d")
    with pytest.raises(AccessRefused, match="in exclusive use"):
        client.broker.cancel(client.channel, "c")
        client.consume(other, "e", exclusive=True)
    client.consume(queue, "e")
    with pytest.raises(NotAllowed, match=r"reached maximum \(2\)"):
        client.consume(queue, "f")
    assert not client.broker.cancel(client.channel, "nobody")
    check(client.broker)


def test_what_is_kept_across_a_restart_is_recorded() -> None:
    client = Client(Broker())
    durable = client.declare("durable", durable=True)
    brief = client.declare("brief")
    mine = client.declare("mine", durable=True, exclusive=True)
    client.broker.end_turn()
    run = make_run([1, 2, 3], persistent=True)
    client.broker.publish(client.channel, run, (durable, brief, mine))
    client.publish(durable, 4)
    client.publish(brief, 5, persistent=True)
    (published,) = records(client.broker)
    assert isinstance(published, Published)
    assert (published.places, published.data) == ([(durable.id, 0)], run.data)
    for queue in (durable, brief, mine):
        client.consume(queue, queue.name)
    assert records(client.broker) == []
    client.settle(2)
    client.settle_until(0)
    (settled,) = records(client.broker)
    assert settled == Settled(durable.id, [(1, 1, 1), (0, 1, 1), (2, 1, 1)])


def test_settlements_of_every_kind_are_recorded() -> None:
    client = Client(Broker())
    queue = client.declare("q", durable=True)
    client.publish(queue, *range(6), persistent=True)
    client.broker.end_turn()
    client.broker.get(client.channel, queue, True)
    client.broker.get(client.channel, queue, False)
    client.settle(2, requeue=True)
    assert records(client.broker) == [Settled(queue.id, [(0, 1, 1)])]
    consumer = client.consume(queue, no_ack=True)
    assert consumer.limit == 0
    assert records(client.broker) == [Settled(queue.id, [(1, 1, 1), (2, 4, 1)])]


def test_slices_of_a_round_robin_are_recorded_with_their_step() -> None:
    broker = Broker()
    one, two = Client(broker, "one"), Client(broker, "two")
    queue = one.declare("q", durable=True)
    for client in (one, two):
        client.consume(queue)
    one.publish(queue, *range(6), persistent=True)
    broker.end_turn()
    two.settle(1, 3)
    assert records(broker) == [Settled(queue.id, [(1, 3, 2)])]


def test_mandatory_messages_that_lead_nowhere_come_back() -> None:
    client = Client(Broker())
    routes = (Route("", "a", (), mandatory=True), Route("", "b", ()))
    data = b"".join(b"%08d" % i for i in range(4))
    client.broker.publish(client.channel, Run(data, 4, 8, None, routes, b"\0\1\1\0"), ())
    gone = client.declare("gone")
    client.broker.definitions.drop_queue(gone)
    client.broker.publish(client.channel, Run(data[:8], 1, 8, None, routes[:1]), (gone,))
    assert client.heard.take() == [("returned", 1, 0), ("returned", 1, 3), ("returned", 1, 0)]
    assert client.broker.memory_bytes == 0


def test_small_messages_that_come_one_at_a_time_count_with_what_they_cost() -> None:
    broker = make_broker(memory_bytes_max=10_000, run_bytes=1_000)
    client = Client(broker)
    queue = client.declare()
    for i in range(9):
        client.publish(queue, i)
    broker.end_turn()
    assert not broker.blocked
    client.publish(queue, 9)
    broker.end_turn()
    assert broker.blocked


def test_a_transaction_holds_so_many_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mansio.core.broker.OPEN_BYTES_MAX", 3 * SIZE)
    client = Client(make_broker())
    queue = client.declare()
    client.broker.select_tx(client.channel)
    client.publish(queue, 1, 2, 3)
    with pytest.raises(PreconditionFailed, match="commit more often"):
        client.publish(queue, 4)
    client.broker.commit(client.channel)
    assert queue.ready_count == 3


def test_transactions_too_large_for_one_entry_stay_whole_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mansio.core.journal.PART_BYTES_MAX", 3 * SIZE)
    broker = make_broker()
    clients = [Client(broker, name) for name in "abc"]
    queues = [
        client.declare(name, durable=True) for client, name in zip(clients, "abc", strict=True)
    ]
    for client, queue in zip(clients, queues, strict=True):
        client.publish(queue, 0, persistent=True)
        broker.get(client.channel, queue, no_ack=False)
    broker.end_turn()
    assert broker.journal.breaks == []
    for client, queue, count in zip(clients, queues, (1, 2, 5), strict=True):
        broker.select_tx(client.channel)
        for number in range(1, 1 + count):
            client.publish(queue, number, persistent=True)
        client.settle(1)
    for client in clients:
        broker.commit(client.channel)
    Client(broker, "d").publish(queues[0], 2, persistent=True)
    said = records(broker)
    breaks = broker.journal.breaks
    parts = [
        [type(record).__name__[0] + str(_queue_of(record)) for record in said[start:stop]]
        for start, stop in zip([0, *breaks], [*breaks, len(said)], strict=True)
    ]
    a, b, c = (str(queue.id) for queue in queues)
    assert parts == [
        ["P" + a, "P" + b, "P" + b, "S" + a, "S" + b],
        ["P" + c] * 5 + ["S" + c],
        ["P" + a],
    ]
    owners = [number for number, owner in broker.journal.owners if isinstance(owner, Run)]
    assert [type(said[number]) for number in owners] == [Published] * 9
    broker.end_turn()
    assert broker.journal.breaks == []


def _queue_of(record: Published | Settled) -> int:
    return record.places[0][0] if isinstance(record, Published) else record.queue
