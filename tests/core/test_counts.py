"""What the broker counts for its metrics: each message once, whatever happens to it."""

import pytest

from mansio.core.broker import Broker
from mansio.core.confirms import _covered
from mansio.core.routing import Route
from mansio.core.run import Run
from tests.core.play import Client, make_run, outcome


def numbers(broker: Broker) -> dict[str, int]:
    """What was counted, but for what is 0."""
    counts = broker.counts
    found = {name: getattr(counts, name) for name in (*counts.__slots__, "published")}
    for name in (
        "logins",
        "logins_refused",
        "sessions_opened",
        "channels_opened",
        "channels_closed",
    ):
        del found[name]
    return {name: number for name, number in found.items() if number}


def test_a_message_in_two_queues_is_published_once_and_delivered_twice() -> None:
    broker = Broker()
    client = Client(broker)
    queues = (client.declare("a"), client.declare("b"))
    client.consume(queues[0], "a")
    client.consume(queues[1], "b", no_ack=True)
    broker.publish(client.channel, make_run([1, 2, 3]), queues)
    broker.end_turn()
    assert numbers(broker) == {"routed": 3, "published": 3, "delivered": 6}
    broker.settle(client.channel, 1, 2, True, outcome(False))
    assert broker.counts.acknowledged == 2


def test_delivered_again() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    client.publish(queue, 1, 2, 3)
    client.consume(queue)
    broker.end_turn()
    broker.settle(client.channel, 1, 2, False, outcome(True))
    broker.end_turn()
    broker.cancel(client.channel, "c")
    broker.settle(client.channel, 4, 4, False, outcome(True))
    assert broker.get(client.channel, queue, True) is not None
    assert numbers(broker) == {"routed": 3, "published": 3, "delivered": 6, "redelivered": 3}


def test_what_leads_to_no_queue_is_returned_or_dropped() -> None:
    broker = Broker()
    client = Client(broker)
    routes = (Route("", "x", (), mandatory=True), Route("", "y", ()))
    data = make_run([1, 2, 3, 4, 5]).data
    run = Run(data, 5, len(data) // 5, None, routes, bytes([0, 1, 1, 0, 1]))
    broker.publish(client.channel, run, ())
    broker.publish(client.channel, make_run([6]), ())
    assert numbers(broker) == {"returned": 2, "dropped": 4, "published": 6}


def test_settlements_of_a_queue_that_is_gone_are_no_acknowledgements() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    client.publish(queue, 1, 2, 3)
    client.consume(queue)
    broker.end_turn()
    broker.settle(client.channel, 1, 1, False, False)
    broker.definitions.drop_queue(queue)
    broker.close_session(client.session)
    assert broker.counts.acknowledged == 1
    assert (broker.counts.channels_opened, broker.counts.channels_closed) == (1, 1)


def test_a_transaction_counts_when_it_is_committed() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    broker.select_tx(client.channel)
    client.publish(queue, 1)
    broker.rollback(client.channel)
    client.publish(queue, 2, 3)
    assert numbers(broker) == {}
    broker.commit(client.channel)
    assert numbers(broker) == {"routed": 2, "published": 2}


@pytest.mark.parametrize("ok", [True, False])
def test_confirmed_is_what_was_durable_and_not_rejected(ok: bool) -> None:
    broker = Broker()
    client = Client(broker)
    client.channel.confirming = True
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}
    queues = (client.declare("a", arguments=full), client.declare("b", arguments=full))
    for ticket in (1, 2):
        broker.publish(client.channel, make_run([1, 2, 3, 4, 5]), queues)
        broker.end_turn()
        broker.seal(ticket)
    (broker.durable if ok else broker.failed)(2)
    assert broker.counts.confirmed == (2 if ok else 0)


@pytest.mark.parametrize(
    ("ranges", "count"),
    [([], 0), ([(1, 1)], 1), ([(4, 6), (4, 6)], 3), ([(5, 9), (1, 2), (2, 6)], 9)],
)
def test_ranges_that_overlap_are_counted_once(ranges: list[tuple[int, int]], count: int) -> None:
    assert _covered(ranges) == count
