"""What happens over time: heartbeats, blocking, clients that do not read, goodbyes."""

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.limits import TURN_BYTES
from mansio.protocol.amqp.states import State
from tests.protocol.talk import S, World

# -- heartbeats


def test_heartbeats_are_sent_when_nothing_else_was() -> None:
    world = World()
    talker = world.client(heartbeat=10)
    for second, expected in ((4, 0), (5, 1), (6, 0), (9, 0), (10, 1)):
        world.now_ns = second * S
        talker.front.received_ns = world.now_ns
        talker.front.tick(world.now_ns)
        assert talker.hear() == [(0, "heartbeat")] * expected
    talker.send(1, m.BasicQos())
    talker.hear()
    world.now_ns = 14 * S
    talker.front.tick(world.now_ns)
    assert talker.hear() == []


def test_heartbeats_do_not_wait_for_the_log() -> None:
    world = World()
    talker = world.client(heartbeat=10)
    talker.send(1, m.BasicQos(), m.QueueDeclare("q", durable=True), m.BasicQos())
    world.turn(durable=False)
    world.now_ns = 5 * S
    talker.front.tick(world.now_ns)
    assert talker.names() == ["basic.qos-ok", "heartbeat"]
    world.broker.durable(world.ticket)
    assert talker.names() == ["queue.declare-ok", "basic.qos-ok"]


def test_a_silent_peer_is_given_up_after_twice_the_time() -> None:
    world = World()
    talker = world.client(heartbeat=10)
    talker.front.tick(20 * S)
    assert not talker.front.closed
    world.now_ns = 20 * S
    talker.send_bytes(m.frame(8, 0, b"")[:1])
    talker.front.tick(40 * S)
    assert not talker.front.closed, "any byte counts"
    talker.raw()
    talker.front.tick(40 * S + 1)
    assert talker.front.closed and talker.raw() == b""
    assert talker.front.close_reason == "missed heartbeats from client, timeout: 10s"
    assert not world.broker.sessions


def test_no_heartbeats_when_none_were_agreed_upon() -> None:
    talker = World().client(heartbeat=0)
    talker.front.tick(10_000 * S)
    assert not talker.front.closed and talker.raw() == b""


def test_heartbeats_of_a_peer_that_was_not_read_from_are_not_missed() -> None:
    world = World(memory_bytes_max=10)
    talker = world.client(heartbeat=10)
    talker.send(1, m.QueueDeclare("q"))
    talker.publish(1, "q")
    world.turn()
    talker.publish(1, "q")
    assert talker.front.paused
    talker.front.tick(100 * S)
    assert not talker.front.closed
    talker.front.unblock()
    talker.front.tick(101 * S)
    assert not talker.front.closed, "what it sent lies unread in the socket"
    talker.front.tick(121 * S)
    assert talker.front.closed


# -- memory


def test_publishers_are_told_and_paused_and_told_again() -> None:
    world = World(memory_bytes_max=100)
    talker, other = world.client(), world.client()
    talker.send(1, m.QueueDeclare("q"))
    talker.publish(1, "q", bytes(200))
    world.turn()
    talker.hear()
    assert world.broker.blocked and not talker.front.paused, "it has not published since"
    talker.send(1, m.BasicQos())
    assert talker.names() == ["basic.qos-ok"]
    talker.publish(1, "q", b"one more")
    talker.publish(1, "q", b"on its way")
    assert talker.names() == ["connection.blocked"]
    assert (talker.front.paused, talker.front.blocked) == (True, True)
    assert (other.front.paused, other.front.blocked) == (False, False)
    talker.front.unblock()
    assert talker.names() == ["connection.unblocked"]
    assert (talker.front.paused, talker.front.blocked) == (False, False)
    talker.front.unblock()
    assert talker.names() == []
    assert world.broker.vhosts["/"].queues["q"].ready_count == 3, "nothing is lost"


def test_a_client_that_does_not_know_of_blocking_is_not_told() -> None:
    world = World(memory_bytes_max=100)
    talker = world.client(properties={})
    talker.send(1, m.QueueDeclare("q"))
    talker.publish(1, "q", bytes(200))
    world.turn()
    talker.hear()
    talker.publish(1, "q")
    assert (talker.names(), talker.front.paused) == ([], True)
    talker.front.unblock()
    assert talker.names() == []


def test_who_has_something_to_acknowledge_is_read_from_up_to_a_limit() -> None:
    world = World(memory_bytes_max=100, parked_bytes_max=1000)
    talker = world.client()
    talker.send(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
    talker.publish(1, "q", bytes(200))
    world.turn()
    talker.hear()
    talker.publish(1, "q", bytes(200))
    assert not talker.front.paused
    talker.send(1, m.BasicAck(1))
    talker.publish(1, "q", bytes(1000))
    assert talker.front.paused


# -- clients that do not read


@pytest.mark.parametrize("size", [10, 100_000])
def test_deliveries_to_a_client_that_does_not_read_have_a_bound(size: int) -> None:
    world = World()
    publisher, consumer = world.client(), world.client()
    publisher.send(1, m.QueueDeclare("q"))
    consumer.send(1, m.BasicConsume("q", "c", no_ack=True))
    consumer.hear()
    consumer.front.set_writable(False)
    for _ in range(10):
        publisher.publish(1, "q", bytes(size))
        world.turn()
    assert consumer.front.data_to_send() == []
    consumer.front.set_writable(True)
    world.turn()
    got = len(consumer.bodies())
    while world.broker.unfinished:
        world.turn()
        got += len(consumer.bodies())
    assert got == 10


def test_an_outbox_that_is_not_emptied_gets_one_turns_share() -> None:
    world = World()
    publisher, consumer = world.client(), world.client()
    publisher.send(1, m.QueueDeclare("q"))
    consumer.send(1, m.BasicConsume("q", "c", no_ack=True))
    consumer.hear()
    for _ in range(100):
        publisher.publish(1, "q", bytes(10_000))
        world.turn()
    assert TURN_BYTES <= sum(map(len, consumer.front.data_to_send())) < TURN_BYTES + 11_000


# -- goodbyes


def test_shutdown_says_why_and_waits() -> None:
    world = World()
    talker = world.client()
    talker.front.shutdown(320, "broker forced connection closure with reason 'shutdown'")
    ((_, close),) = talker.hear()
    assert (close.reply_code, close.reply_text) == (
        320,
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
    )
    assert talker.front.state is State.CLOSING and not world.broker.sessions
    talker.front.shutdown(320, "again")
    assert talker.hear() == []
    talker.send(0, m.ConnectionCloseOk())
    assert talker.front.closed


def test_a_peer_that_never_answers_our_close_is_given_up() -> None:
    world = World(handshake_ns=10 * S)
    talker = world.client()
    talker.front.tick(5 * S)
    talker.front.shutdown(320, "bye")
    talker.hear()
    talker.front.tick(15 * S - 1)
    assert not talker.front.closed
    talker.front.tick(15 * S)
    assert talker.front.closed and talker.front.close_reason == "CONNECTION_FORCED - bye"


def test_before_the_handshake_is_over_shutdown_just_ends() -> None:
    talker = World().talker()
    talker.front.shutdown(320, "bye")
    assert talker.front.closed and talker.raw() == b""


def test_output_is_announced_once_until_it_is_taken() -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.BasicQos(), m.BasicQos())
    assert world.announced == [talker.front]
    talker.hear()
    assert world.announced == []
    talker.front.receive_eof()
    assert world.announced == [talker.front], "the server has to look at it to close the socket"


@pytest.mark.parametrize("shutdown", [True, False], ids=["shutdown", "client"])
def test_a_connection_that_ends_is_not_told_what_is_not_durable(shutdown: bool) -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.QueueDeclare("q", durable=True))
    if shutdown:
        talker.front.shutdown(320, "bye")
    else:
        talker.send(0, m.ConnectionClose(200, "bye", 0, 0))
    world.turn(durable=False)
    assert talker.names() == ["connection.close" if shutdown else "connection.close-ok"]
    world.broker.durable(world.ticket)
    assert talker.names() == []


def test_a_purge_is_told_when_it_is_durable() -> None:
    world = World()
    client = world.client()
    client.call(1, m.QueueDeclare("q", durable=True))
    client.send(1, m.QueuePurge("q"))
    world.turn(durable=False)
    assert client.names() == ["queue.purge-ok"], "there was nothing to settle"
    client.publish(1, "q", properties=Properties(delivery_mode=2))
    world.turn()
    client.send(1, m.QueuePurge("q"))
    world.turn(durable=False)
    assert client.names() == []
    world.broker.durable(world.ticket)
    assert client.names() == ["queue.purge-ok"]


def test_that_something_is_gone_is_told_when_that_is_durable() -> None:
    world = World()
    one, two = world.client(), world.client()
    one.send(1, m.QueueDeclare("q", durable=True), m.ExchangeDeclare("x", "fanout", durable=True))
    one.call(1, m.QueueBind("q", "x"))
    gone = [
        (m.QueueUnbind("q", "x"), "queue.unbind-ok"),
        (m.QueueDelete("q"), "queue.delete-ok"),
        (m.ExchangeDelete("x"), "exchange.delete-ok"),
    ]
    for method, answer in gone:
        one.send(1, method)
        two.send(1, method)
        world.turn(durable=False)
        assert one.names() == two.names() == []
        world.broker.durable(world.ticket)
        assert one.names() == two.names() == [answer]
