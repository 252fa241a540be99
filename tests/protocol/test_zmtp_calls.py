"""Calls between peers and workers of every protocol: answers, timeouts, rejections, ends."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.protocol.zmtp.calling import CALLS_MAX
from mansio.protocol.zmtp.results import PARTIAL
from tests.protocol.talk import Message, Talker
from tests.protocol.zmtp_talk import World, ZmtpPeer


@pytest.fixture
def world() -> World:
    return World()


def call(peer: ZmtpPeer, *frames: bytes, timeout: bytes = b"5000", queue: bytes = b"q") -> None:
    """Sends a CALL and ends the turn: nothing is heard yet."""
    peer.send([b"", b"CALL", queue, timeout, *(frames or (b"work",))])
    peer.world.turn()
    assert peer.hear() == []


def take(worker: ZmtpPeer) -> bytes:
    """The tag of the next task of q."""
    reply = worker.ask(b"GET", b"q")
    assert reply[0] == b"200"
    return reply[1]


def heard(peer: ZmtpPeer) -> list[list[bytes]]:
    """What a REQ has heard, without its empty frames."""
    peer.world.turn()
    return [reply[1:] for reply in peer.hear()]


def declare(world: World, name: str, **arguments: Any) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    table = {key.replace("_", "-"): value for key, value in arguments.items()}
    world.broker.definitions.declare_queue(amqp.front.session, name, True, False, False, table)


def test_a_call_is_answered_by_a_zeromq_worker(world: World) -> None:
    client, worker = world.peer(), world.peer()
    call(client, b"one", b'{"type": "t"}', b"two")
    _, tag, _, first, props, second = worker.ask(b"GET", b"q")
    assert (first, second) == (b"one", b"two")
    assert b'"type": "t"' in props and b'"expiration": "5000"' in props
    assert worker.ask(b"ACK", tag, b"three", b"", b"four") == [b"200"]
    assert heard(client) == [[b"200", b"three", b"", b"four"]]
    world.pass_ms(6000)
    assert heard(client) == []


def test_next_answers_too(world: World) -> None:
    client, worker = world.peer(), world.peer()
    call(client)
    tag = worker.ask(b"NEXT", b"q")[1]
    worker.send([b"", b"NEXT", b"q", tag, b"done"])
    world.turn()
    assert heard(client) == [[b"200", b"done"]]
    assert heard(worker) == []
    call(client)
    assert heard(worker)[0][3] == b"work"


def test_an_amqp_worker_answers_a_zeromq_client(world: World) -> None:
    client, amqp = world.peer(), world.client()
    call(client)
    _, message = amqp.call(1, m.BasicConsume(queue="q", consumer_tag="c"))
    assert isinstance(message, Message) and message.body == b"work"
    asked = message.properties
    assert asked.reply_to and asked.correlation_id and asked.expiration == "5000"
    amqp.publish(
        1, asked.reply_to, b"done", properties=Properties(correlation_id=asked.correlation_id)
    )
    assert heard(client) == [[b"200", b"done"]]


def test_a_worker_may_acknowledge_before_it_answers(world: World) -> None:
    client, amqp = world.peer(), world.client()
    call(client)
    (message,) = amqp.call(1, m.BasicGet(queue="q"))
    amqp.send(1, m.BasicAck(message.method.delivery_tag))
    assert heard(client) == []
    asked = message.properties
    how = Properties(correlation_id=asked.correlation_id)
    amqp.publish(1, asked.reply_to, b"done", properties=how)
    assert heard(client) == [[b"200", b"done"]]


def test_a_zeromq_worker_answers_an_amqp_client(world: World) -> None:
    worker, amqp = world.peer(), world.client()
    amqp.call(1, m.QueueDeclare(queue="q"))
    amqp.call(1, m.BasicConsume(queue="amq.rabbitmq.reply-to", consumer_tag="r", no_ack=True))
    amqp.publish(
        1,
        "q",
        b"work",
        properties=Properties(reply_to="amq.rabbitmq.reply-to", correlation_id="c7"),
    )
    world.turn()
    assert worker.ask(b"ACK", take(worker), b"done") == [b"200"]
    ((_, message),) = amqp.hear()
    assert (message.body, message.properties.correlation_id) == (b"done", "c7")


def test_a_result_and_the_ack_are_one_entry_of_the_log(world: World) -> None:
    declare(world, "results")
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"work", b'{"reply_to": "results", "message_id": "m"}')
    tag = take(peer)
    peer.send([b"", b"ACK", tag, b"done"])
    records = world.broker.end_turn()
    assert len(records) == 2 and not world.broker.journal.breaks
    world.turn()
    assert heard(peer) == [[b"200"]]
    _, _, _, body, props = peer.ask(b"GET", b"results")
    assert body == b"done"
    assert b'"correlation_id": "m"' in props and b'"delivery_mode": 2' in props


def test_no_answer_in_time(world: World) -> None:
    client, worker = world.peer(), world.peer()
    late = [b"408", b"nobody has answered in time"]
    call(client, timeout=b"100")
    world.pass_ms(100)
    assert heard(client) == [late]
    assert worker.ask(b"GET", b"q") == [b"204"]  # it has expired with its call
    call(client, timeout=b"100")
    tag = take(worker)
    world.pass_ms(100)
    assert heard(client) == [late]
    assert worker.ask(b"ACK", tag, b"too late") == [b"200"]
    assert heard(client) == []


def test_the_default_timeout(world: World) -> None:
    client = world.peer()
    call(client, timeout=b"")
    world.pass_ms(29_999)
    assert heard(client) == []
    world.pass_ms(1)
    assert heard(client)[0][0] == b"408"


def test_an_expiration_of_its_own_is_told_when_it_is_over(world: World) -> None:
    client = world.peer()
    call(client, b"work", b'{"expiration": 50}')
    world.pass_ms(50)
    assert heard(client) == [[b"408", b"nobody has answered in time"]]
    call(client, b"work", b'{"expiration": 99000}', timeout=b"50")
    world.pass_ms(50)
    assert heard(client) == [[b"408", b"nobody has answered in time"]]
    assert client.ask(b"LEN", b"q")[1] == b"0"


def test_a_worker_rejects(world: World) -> None:
    client, worker, amqp = world.peer(), world.peer(), world.client()
    rejected = [[b"500", b"a worker has rejected it"]]
    call(client)
    assert worker.ask(b"NACK", take(worker), b"0") == [b"200"]
    assert heard(client) == rejected
    call(client)
    got = amqp.call(1, m.BasicGet(queue="q"))
    amqp.send(1, m.BasicReject(got[0].method.delivery_tag, requeue=False))
    assert heard(client) == rejected
    call(client)
    assert worker.ask(b"NACK", take(worker)) == [b"200"]
    assert heard(client) == []
    assert worker.ask(b"ACK", take(worker), b"done") == [b"200"]
    assert heard(client) == [[b"200", b"done"]]


def test_a_task_that_is_dropped(world: World) -> None:
    client, amqp = world.peer(), world.client()
    call(client)
    amqp.call(1, m.QueuePurge(queue="q"))
    assert heard(client) == [[b"500", b"the task was dropped"]]


def test_a_full_queue(world: World) -> None:
    declare(world, "q", x_max_length=0, x_overflow="reject-publish")
    client = world.peer()
    assert client.ask(b"CALL", b"q", b"1000", b"work") == [b"507", b"the queue is full"]
    world.pass_ms(2000)
    assert heard(client) == []


def test_a_log_that_fails(world: World) -> None:
    client = world.peer()
    client.ask(b"PUT", b"q", b"x")
    client.send([b"", b"CALL", b"q", b"1000", b"work"])
    world.turn(durable=False)
    world.log(ok=False)
    assert [reply[1] for reply in client.hear()] == [b"500"]


def test_answers_that_nobody_waits_for_are_dropped(world: World) -> None:
    client, amqp = world.peer("DEALER"), world.client()
    client.send(
        [b"1", b"", b"CALL", b"q", b"5000", b"a"], [b"2", b"", b"CALL", b"q", b"5000", b"b"]
    )
    world.turn()
    _, *messages = amqp.call(1, m.BasicConsume(queue="q", consumer_tag="c"))
    first, second = (message.properties for message in messages)
    for properties in (second, second, Properties(), Properties(correlation_id="99"), first):
        how = Properties(correlation_id=properties.correlation_id)
        amqp.publish(1, first.reply_to or "", b"done", properties=how)
    world.turn()
    assert client.hear() == [[b"2", b"", b"200", b"done"], [b"1", b"", b"200", b"done"]]


def test_an_answer_that_comes_bit_by_bit_is_one_reply(world: World) -> None:
    client, amqp = world.peer(), world.client()
    call(client)
    message = amqp.call(1, m.BasicGet(queue="q"))[0]
    asked = message.properties
    for body, headers in ((b"a", {PARTIAL: True}), (b"b", {PARTIAL: True}), (b"c", None)):
        how = Properties(correlation_id=asked.correlation_id, headers=headers)
        amqp.publish(1, asked.reply_to, body, properties=how)
    assert heard(client) == [[b"200", b"a", b"b", b"c"]]


def test_the_end_of_a_worker_gives_the_call_to_another(world: World) -> None:
    client, worker, other = world.peer(), world.peer(), world.peer()
    call(client)
    take(worker)
    worker.eof()
    world.turn()
    reply = other.ask(b"GET", b"q")
    assert reply[2] == b"1"
    other.ask(b"ACK", reply[1], b"done")
    assert heard(client) == [[b"200", b"done"]]


def test_the_end_of_a_caller_leaves_nothing_behind(world: World) -> None:
    client, worker = world.peer(), world.peer()
    call(client)
    tag = take(worker)
    client.eof()
    world.turn()
    assert worker.ask(b"ACK", tag, b"done") == [b"200"]
    assert list(world.broker.vhosts["/"].queues) == ["q"]
    assert world.broker.deadlines.next_ms > world.now_ms
    world.pass_ms(10_000)


def test_whoever_loses_its_answers_is_told(world: World) -> None:
    client, amqp = world.peer(), world.client()
    call(client)
    assert amqp.front.session is not None
    queues = world.broker.vhosts["/"].queues
    hidden = next(queue for name, queue in queues.items() if name.startswith("amq."))
    world.broker.definitions.drop_queue(hidden)
    assert heard(client) == [[b"500", b"the queue of the answers was deleted"]]
    call(client)
    worker = world.peer()
    for _ in range(2):
        worker.ask(b"ACK", take(worker), b"done")
    assert heard(client) == [[b"200", b"done"]]


def test_calls_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mansio.protocol.zmtp.calling.CALLS_MAX", 2)
    client = world.peer("DEALER")
    client.send(*([b"CALL", b"q", b"5000", b"x"] for _ in range(3)))
    world.turn()
    assert [reply[0] for reply in client.hear()] == [b"429"]
    assert CALLS_MAX > 1000


def test_timers_of_calls_that_are_over_are_forgotten(world: World) -> None:
    client, worker = world.peer("DEALER"), world.peer("DEALER")
    for _ in range(10):
        client.send(*([b"CALL", b"q", b"60000", b"x"] for _ in range(50)))
        worker.send(*([b"GET", b"q", b"1000"] for _ in range(50)))
        world.turn()
        worker.send(*([b"ACK", reply[1], b"done"] for reply in worker.hear()))
        world.turn()
        assert len(client.hear()) + len(world_turn(world, client)) == 50
        worker.hear()
    timers = client.front.role._timers  # type: ignore[union-attr]
    assert len(timers) < 200


def world_turn(world: World, peer: ZmtpPeer) -> list[list[bytes]]:
    world.turn()
    return peer.hear()


def test_amqp_rpc_is_not_disturbed(world: World) -> None:
    caller: Talker = world.client()
    worker = world.peer()
    caller.call(1, m.QueueDeclare(queue="q"))
    caller.publish(1, "q", b"work", properties=Properties(reply_to="gone", correlation_id="1"))
    world.turn()
    assert worker.ask(b"ACK", take(worker), b"done") == [b"200"]
    caller.publish(1, "q", b"work")
    world.turn()
    assert worker.ask(b"ACK", take(worker), b"done") == [b"200"]
    assert "gone" not in world.broker.vhosts["/"].queues
