"""Queues that ask for more, as clients meet them: order among priorities, and basic.get past what has expired."""

from __future__ import annotations

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.talk import Message, Talker, World, publish_frames


def make(levels: int) -> Talker:
    client = World().client()
    arguments = {"x-max-priority": levels}
    client.call(1, m.QueueDeclare("q", arguments=arguments), m.QueueBind("q", "amq.fanout", "k"))
    return client


@pytest.mark.parametrize("levels", [1, 2, 9])
def test_within_a_priority_messages_stay_in_order_whatever_way_they_took(levels: int) -> None:
    client = make(levels)
    data, sent = b"", []
    for i in range(60):
        priority = (i * 7) % 5
        properties = Properties(priority=priority, delivery_mode=2 if i % 3 else None)
        if i % 4 == 0:
            properties.expiration = "60000"
        exchange, key = ("amq.fanout", "k") if i % 2 else ("", "q")
        data += publish_frames(1, key, b"%02d" % i, properties, exchange=exchange)
        sent.append((-min(priority, levels), b"%02d" % i))
    client.send_bytes(data)
    client.world.turn()
    heard = client.call(1, m.BasicConsume("q", "c", no_ack=True))
    bodies = [item.body for item in heard if isinstance(item, Message)]
    assert bodies == [body for _, body in sorted(sent)]


def test_priorities_that_a_queue_does_not_tell_apart_stay_in_order() -> None:
    client = make(2)
    data = b"".join(
        publish_frames(1, "q", b"%d" % priority, Properties(priority=priority))
        for priority in (2, 5, 9, 2, 5, 1, 9, 1)
    )
    client.send_bytes(data)
    heard = client.call(1, m.BasicConsume("q", "c", no_ack=True))
    bodies = [item.body for item in heard if isinstance(item, Message)]
    assert b"".join(bodies) == b"25925911"


def test_get_waits_for_the_first_message_that_has_not_expired() -> None:
    client = World().client()
    client.call(1, m.QueueDeclare("q"))
    client.publish(1, "q", b"short", properties=Properties(expiration="10"))
    client.publish(1, "q", b"long")
    client.world.turn()
    broker = client.world.broker
    queue = broker.vhosts["/"].queues["q"]
    run = queue.ready[1].run
    data = run.data
    broker.paging.resident_bytes -= run.data_bytes
    run.page_out()
    broker.now_ms += 20
    client.send(1, m.BasicGet("q", True))
    assert client.front.waiting and client.names() == []
    run.data = data
    broker.paging.resident_bytes += run.data_bytes
    broker.paging.loading.forget(run)  # it need not be read any more, and who waits is told
    (front,) = broker.paging.loading.take_woken()
    front.go_on(0)
    client.world.turn()
    assert client.bodies() == [b"long"]


def test_a_dead_letter_does_not_go_round_for_ever_since_it_was_rejected_once() -> None:
    """Two queues that drop what they get to each other. The entries of x-death change their order at every death, so
    that the rejection seems to be in between each time."""
    world = World()
    client = world.client()
    for name, target, more in (
        ("a", "b", {"x-max-length": 0}),
        ("b", "a", {"x-max-length": 0}),
        ("w", "a", {}),
    ):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target} | more
        client.call(1, m.QueueDeclare(name, arguments=arguments))
    client.publish(1, "w")
    client.call(1, m.BasicGet("w"))
    client.send(1, m.BasicReject(1, requeue=False))
    for _ in range(10):
        world.turn()
    assert not world.broker.unfinished
    assert world.broker.counts.dead_lettered == 5
