"""Confirms, transactions and settlements on the wire."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.talk import Message, Talker, World, name_of, publish_frames


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
