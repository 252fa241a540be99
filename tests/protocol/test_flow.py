"""What happens over time: heartbeats, blocking, clients that do not read, confirms, transactions, goodbyes."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.limits import TURN_BYTES
from mansio.protocol.amqp.states import State
from tests.protocol.talk import Message, S, Talker, World, name_of, publish_frames


def confirming(world: World) -> Talker:
    talker = world.client(channels=2)
    talker.send(1, m.QueueDeclare("q"), m.ConfirmSelect())
    talker.hear()
    return talker


def acks(talker: Talker) -> list[tuple[str, int, bool]]:
    """(method, tag, multiple) of the confirms heard."""
    found = []
    for _, item in talker.hear():
        assert isinstance(item, (m.BasicAck, m.BasicNack)), item
        found.append((item.NAME, item.delivery_tag, item.multiple))
    return found


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


# -- confirms


def test_confirms_name_the_last_publish_of_the_turn() -> None:
    world = World()
    talker = confirming(world)
    talker.publish(1, "q")
    world.turn()
    assert acks(talker) == [("basic.ack", 1, False)]
    for _ in range(3):
        talker.publish(1, "q")
    talker.publish(1, "nowhere")
    world.turn()
    assert acks(talker) == [("basic.ack", 5, True)]
    world.turn()
    assert acks(talker) == []


def test_every_channel_counts_its_own_publishes() -> None:
    """Also when both publish to the same queue in the same bytes."""
    world = World()
    talker = confirming(world)
    talker.send(2, m.ConfirmSelect())
    talker.hear()
    for _ in range(2):
        talker.send_bytes(
            publish_frames(1, "q") + publish_frames(2, "q") + publish_frames(1, "q")
            + publish_frames(2, "nowhere") + publish_frames(1, "nowhere")
        )  # fmt: skip
        world.turn()
    told = [(number, item.delivery_tag) for number, item in talker.hear()]
    assert told == [(1, 3), (2, 2), (1, 6), (2, 4)]


def test_confirms_wait_for_the_log() -> None:
    world = World()
    talker = confirming(world)
    talker.publish(1, "q")
    world.turn(durable=False)
    talker.publish(1, "q")
    world.turn(durable=False)
    assert acks(talker) == []
    world.broker.durable(world.ticket - 1)
    assert acks(talker) == [("basic.ack", 1, False)]
    world.broker.failed(world.ticket)
    assert acks(talker) == [("basic.nack", 2, False)]


def test_a_closed_channel_is_never_confirmed_to() -> None:
    world = World()
    talker = confirming(world)
    talker.publish(1, "q")
    world.turn(durable=False)
    talker.send(1, m.ChannelClose(), m.ChannelOpen())
    assert talker.names() == ["channel.close-ok", "channel.open-ok"]
    world.broker.durable(world.ticket)
    assert talker.hear() == []


def test_a_full_queue_rejects_by_number() -> None:
    world = World()
    talker = confirming(world)
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    talker.call(1, m.QueueDeclare("full", arguments=full))
    talker.send_bytes(
        b"".join(publish_frames(1, key) for key in ("q", "full", "q", "full", "full", "q"))
    )
    world.turn()
    assert acks(talker) == [
        ("basic.ack", 3, True),
        ("basic.nack", 5, True),
        ("basic.ack", 6, False),
    ]


@pytest.mark.parametrize("confirm", [True, False])
def test_a_return_comes_before_its_confirm(confirm: bool) -> None:
    world = World()
    talker = confirming(world) if confirm else world.client()
    properties = Properties(app_id="a")
    talker.send_bytes(
        publish_frames(1, "nowhere", b"back", properties, mandatory=True)
        + publish_frames(1, "elsewhere")
    )
    world.turn()
    heard = [item for _, item in talker.hear()]
    assert [name_of(item) for item in heard] == ["basic.return", "basic.ack"][: 1 + confirm]
    assert heard[0].method == m.BasicReturn(312, "NO_ROUTE", "", "nowhere")
    assert (heard[0].body, heard[0].properties) == (b"back", properties)


# -- transactions


def test_a_transaction_on_the_wire() -> None:
    world = World()
    talker = world.client(channels=2)
    talker.send(1, m.QueueDeclare("q"), m.TxSelect())
    talker.publish(1, "q", b"one")
    assert talker.names() == ["queue.declare-ok", "tx.select-ok"]
    (empty,) = talker.call(2, m.BasicGet("q"))
    assert empty.NAME == "basic.get-empty"
    talker.send(1, m.TxCommit())
    world.turn(durable=False)
    assert talker.names() == [], "commit-ok means that it is durable"
    world.broker.durable(world.ticket)
    assert talker.names() == ["tx.commit-ok"]
    (got,) = talker.call(2, m.BasicGet("q"))
    assert got.body == b"one"


def test_a_rollback_on_the_wire() -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.QueueDeclare("q"))
    for number in range(3):
        talker.publish(1, "q", b"%d" % number)
    talker.send(1, m.BasicConsume("q", "c"), m.TxSelect())
    world.turn()
    talker.hear()
    talker.send(1, m.BasicAck(2), m.BasicReject(3, False))
    talker.publish(1, "q", b"never")
    assert [item.NAME for item in talker.call(1, m.TxRollback())] == ["tx.rollback-ok"]
    talker.send(1, m.BasicAck(3, multiple=True))
    assert [item.NAME for item in talker.call(1, m.TxCommit())] == ["tx.commit-ok"]
    assert world.broker.memory_bytes == 0


def test_a_commit_that_was_lost_closes() -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.TxSelect(), m.TxCommit())
    world.turn(durable=False)
    talker.hear()
    world.broker.failed(world.ticket)
    ((_, close),) = talker.hear()
    assert (close.NAME, close.reply_code) == ("connection.close", 506)


# -- settling on the wire


@pytest.mark.parametrize(
    ("methods", "left"),
    [
        ([m.BasicAck(1), m.BasicAck(2), m.BasicAck(3)], []),
        ([m.BasicAck(3, multiple=True)], []),
        ([m.BasicAck(0, multiple=True)], []),
        ([m.BasicNack(2, False, False)], [1, 3]),
        ([m.BasicNack(2, True, False)], [3]),
        ([m.BasicReject(3, False)], [1, 2]),
        ([m.BasicReject(2, False), m.BasicReject(3, False)], [1]),
        ([m.BasicNack(3, True, False)], []),
        ([m.BasicAck(2), m.BasicNack(3, True, True)], [1, 3]),
        ([m.BasicRecoverAsync(True)], [1, 2, 3]),
    ],
)
def test_what_is_left_after_settling(methods: list[Any], left: list[int]) -> None:
    world = World()
    talker, other = world.client(), world.client()
    talker.send(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
    for number in (1, 2, 3):
        talker.publish(1, "q", b"%d" % number)
    world.turn()
    talker.hear()
    talker.send(1, *methods)
    talker.front.receive_eof()
    other.send(1, m.BasicConsume("q", "c"))
    world.turn()
    got = [item for _, item in other.hear() if isinstance(item, Message)]
    assert [int(message.body) for message in got] == left
    assert all(message.method.redelivered for message in got)


def test_bits_that_mean_nothing_in_an_ack_mean_nothing() -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
    talker.publish(1, "q")
    world.turn()
    frame = bytearray(m.method_frame(1, m.BasicAck(1)))
    frame[-2] = 0xFE
    talker.send_bytes(bytes(frame))
    assert world.broker.memory_bytes == 0


def test_cancel_stops_deliveries_and_keeps_what_is_in_flight() -> None:
    world = World()
    talker = world.client()
    talker.send(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
    talker.publish(1, "q")
    world.turn()
    talker.hear()
    talker.publish(1, "q")
    talker.send(1, m.BasicCancel("c"))
    world.turn()
    assert talker.names() == ["basic.cancel-ok"]
    assert talker.call(1, m.BasicAck(1)) == []
    assert world.broker.vhosts["/"].queues["q"].ready_count == 1


def test_consumers_of_a_deleted_queue_are_told_if_they_understand() -> None:
    world = World()
    talker, old = world.client(), world.client(properties={})
    talker.send(1, m.QueueDeclare("q"), m.BasicConsume("q", "mine"))
    old.send(1, m.BasicConsume("q", "theirs"))
    for each in (talker, old):
        each.hear()
    names = [item.NAME for item in talker.call(1, m.QueueDelete("q"))]
    assert names == ["queue.delete-ok", "basic.cancel"]
    assert old.names() == []


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
