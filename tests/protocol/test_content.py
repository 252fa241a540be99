"""Contents: put together from frames in every split, handed on as they came, and changed where they have to be."""

import itertools
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import WHOLE_BYTES_MAX
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.core.limits import TURN_BYTES
from mansio.core.packing import join
from tests.protocol.talk import Message, Talker, World, publish_frames

PROPERTIES = Properties(
    content_type="text/plain",
    headers={"a": [1, "two", None], "b": {"c": True}},
    delivery_mode=2,
    priority=4,
    correlation_id="id",
    reply_to="back",
    message_id="m",
    timestamp=1,
    type="t",
    app_id="app",
)


def pair(**limits: Any) -> tuple[World, Talker]:
    """A client with the queue q."""
    world = World(**limits)
    talker = world.client(channels=2)
    talker.send(1, m.QueueDeclare("q"))
    talker.hear()
    return world, talker


def get(talker: Talker, queue: str = "q") -> Message:
    (item,) = talker.call(1, m.BasicGet(queue, no_ack=True))
    assert isinstance(item, Message), item
    return item


def pieces_of(body: bytes) -> list[list[bytes]]:
    """Every way to cut it into body frames."""
    ways = []
    for marks in itertools.product([False, True], repeat=len(body) - 1):
        cuts = [0, *(i + 1 for i, mark in enumerate(marks) if mark), len(body)]
        ways.append([body[a:b] for a, b in itertools.pairwise(cuts)])
    return ways


def test_a_body_in_every_way_to_cut_it() -> None:
    world, talker = pair()
    header = encode_header_payload(6, PROPERTIES)
    for pieces in pieces_of(b"abcdef"):
        data = m.method_frame(1, m.BasicPublish("", "q")) + m.frame(2, 1, header)
        data += b"".join(m.frame(3, 1, piece) for piece in pieces)
        for step in (1, 7, len(data)):
            for at in range(0, len(data), step):
                talker.send_bytes(data[at : at + step])
            got = get(talker)
            assert (got.header, got.body) == (header, b"abcdef")
    assert world.broker.memory_bytes == 0


def runs(world: World) -> list[int]:
    """Sizes of the runs that are ready in q."""
    return [span.run.count for span in world.broker.vhosts["/"].queues["q"].ready]


def test_after_a_large_content_publishes_come_in_runs_again() -> None:
    world, talker = pair()
    talker.publish(1, "q", bytes(200_000))
    talker.send_bytes(publish_frames(1, "q") * 5)
    assert runs(world) == [1, 5]


def test_after_a_content_that_was_refused_publishes_come_in_runs_again() -> None:
    world, talker = pair(message_bytes_max=1000)
    talker.publish(1, "q", bytes(2000))
    assert talker.hear()[-1][1].reply_code == 406
    talker.send_bytes(publish_frames(2, "q") * 5)
    assert runs(world) == [5]


@pytest.mark.parametrize("limit", [0, 100, 200_000])
def test_the_largest_message(limit: int) -> None:
    world, talker = pair(message_bytes_max=limit)
    for size in (limit, limit + 1):
        talker.publish(1, "q", bytes(size))
    ((_, close),) = talker.hear()
    text = f"message size {limit + 1} is larger than configured max size {limit}"
    assert (close.NAME, close.reply_text) == ("channel.close", f"PRECONDITION_FAILED - {text}")
    assert runs(world) == [1]


@pytest.mark.parametrize("pieces", [[b"", b"abc"], [b"a", b"", b"bc"], [b"abc", b""]])
def test_empty_body_frames_are_let_through_where_a_body_is_due(pieces: list[bytes]) -> None:
    _, talker = pair()
    data = m.method_frame(1, m.BasicPublish("", "q"))
    data += m.frame(2, 1, encode_header_payload(3, Properties()))
    talker.send_bytes(data + b"".join(m.frame(3, 1, piece) for piece in pieces))
    if pieces[-1]:
        assert get(talker).body == b"abc"
    else:
        assert talker.names() == ["connection.close"], "nothing was due any more"


def test_frames_of_two_channels_mixed() -> None:
    _, talker = pair()
    one, two = publish_frames(1, "q", b"one"), publish_frames(2, "q", b"two!")
    split = [18, len(one) - 11]
    parts = [
        [data[: split[0]], data[split[0] : -len(end) - 8], data[-len(end) - 8 :]]
        for data, end in ((one, b"one"), (two, b"two!"))
    ]
    beat = m.frame(8, 0, b"")
    for order in ("001011", "010101", "011001", "100110", "110001"):
        at = [0, 0]
        for which in map(int, order):
            talker.send_bytes(parts[which][at[which]] + beat)
            at[which] += 1
        assert {get(talker).body, get(talker).body} == {b"one", b"two!"}
        talker.send(2, m.BasicQos(prefetch_count=1))
        assert talker.names() == ["basic.qos-ok"], "commands go on beside contents"


@pytest.mark.parametrize("size", [WHOLE_BYTES_MAX - 100, WHOLE_BYTES_MAX, 3 * WHOLE_BYTES_MAX + 1])
def test_large_bodies(size: int) -> None:
    world, talker = pair()
    body = bytes(i % 251 for i in range(size))
    talker.publish(1, "q", body, properties=PROPERTIES)
    queue = world.broker.vhosts["/"].queues["q"]
    assert queue.ready_count == 1 and queue.ready[0].run.persistent
    talker.send(2, m.BasicConsume("q", "c", no_ack=True))
    world.turn()
    messages = [item for _, item in talker.hear() if isinstance(item, Message)]
    assert [message.body for message in messages] == [body]
    assert messages[0].properties == PROPERTIES


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 20_000, 200_000])
@pytest.mark.parametrize("redelivered", [False, True])
def test_a_consumer_with_smaller_frames(size: int, redelivered: bool) -> None:
    world, talker = pair()
    small = world.client(frame_max=4096)
    body = bytes(i % 251 for i in range(size))
    talker.publish(1, "q", body, properties=PROPERTIES)
    talker.send_bytes(publish_frames(1, "q", body) * 2)
    if redelivered:
        talker.send(1, *[m.BasicGet("q")] * 3, m.BasicNack(0, True, True))
    small.send(1, m.BasicConsume("q", "c"))
    got: list[Message] = []
    for _ in range(4):
        world.turn()
        got += [item for _, item in small.hear() if isinstance(item, Message)]
    assert [message.body for message in got] == [body] * 3
    assert [message.method.delivery_tag for message in got] == [1, 2, 3]
    assert {message.method.redelivered for message in got} == {redelivered}
    assert max([*got[0].frames, 0]) <= 4088
    assert got[0].properties == PROPERTIES and got[1].properties == Properties()
    assert got[0].method.consumer_tag == "c" and got[0].method.routing_key == "q"


def test_a_publisher_with_smaller_frames_is_handed_on_as_it_came() -> None:
    world = World()
    small, large = world.client(frame_max=4096), world.client()
    small.send(1, m.QueueDeclare("q"))
    small.publish(1, "q", bytes(10_000), frame_max=4096)
    large.send(1, m.BasicConsume("q", "c"))
    world.turn()
    (message,) = [item for _, item in large.hear() if isinstance(item, Message)]
    assert message.frames == [4088, 4088, 1824]


def test_a_run_of_what_came_at_different_times_from_different_clients() -> None:
    """One route was used already, with small frames; the other one comes from the log, and has large ones."""
    world = World()
    small, large, reader = (
        world.client(frame_max=4096),
        world.client(),
        world.client(frame_max=4096),
    )
    small.send(1, m.QueueDeclare("q"))
    small.publish(1, "q", b"small", frame_max=4096)
    large.publish(1, "q", bytes(10_000))
    queue = world.broker.vhosts["/"].queues["q"]
    runs = [span.run for span in queue.take_all()]
    runs[1].routes[0].fresh = None
    for run in runs:
        world.broker.settling.release(run)
        run.ids = 0  # as if they were entries of a stream
    packed = join(runs)
    world.broker.settling.hold(packed, 1)
    queue.append(packed)
    reader.send(1, m.BasicConsume("q", "c"))
    world.turn()
    got = [item for _, item in reader.hear() if isinstance(item, Message)]
    assert [message.body for message in got] == [b"small", bytes(10_000)]


@pytest.mark.parametrize("mandatory", [True, False])
def test_large_messages_that_lead_nowhere(mandatory: bool) -> None:
    _, talker = pair()
    body = bytes(300_000)
    talker.publish(1, "nowhere", body, mandatory=mandatory)
    heard = [item for _, item in talker.hear()]
    assert [message.body for message in heard] == ([body] if mandatory else [])
    assert not mandatory or heard[0].method == m.BasicReturn(312, "NO_ROUTE", "", "nowhere")


def test_a_delivery_per_queue_and_key() -> None:
    _, talker = pair()
    talker.send(1, m.QueueDeclare("r"))
    for key in ("x", "y"):
        talker.send(1, m.QueueBind("q", "amq.direct", key))
    talker.send(1, m.QueueBind("r", "amq.direct", "x"))
    for key in "xyxy":
        talker.publish(1, key, key.encode(), exchange="amq.direct")
    talker.send(1, m.BasicConsume("q", "q"), m.BasicConsume("r", "r"))
    talker.world.turn()
    got = [item for _, item in talker.hear() if isinstance(item, Message)]
    told = [(item.method.consumer_tag, item.method.routing_key, item.body) for item in got]
    assert told == [
        ("q", "x", b"x"), ("q", "y", b"y"), ("q", "x", b"x"), ("q", "y", b"y"),
        ("r", "x", b"x"), ("r", "x", b"x"),
    ]  # fmt: skip


# -- properties that change what happens


def headers_of(message: Message) -> Any:
    return message.properties.headers


def test_cc_and_bcc_add_routing_keys_and_bcc_is_taken_out() -> None:
    _, talker = pair()
    for name in ("cc", "bcc"):
        talker.call(1, m.QueueDeclare(name))
    headers = {"CC": ["cc", "q", "nowhere"], "x": 1, "BCC": ["bcc"]}
    talker.publish(1, "q", b"copy", properties=Properties(headers=headers, app_id="a"))
    for name in ("q", "cc", "bcc"):
        got = get(talker, name)
        assert (got.body, got.method.routing_key, got.method.message_count) == (b"copy", "q", 0)
        assert headers_of(got) == {"CC": ["cc", "q", "nowhere"], "x": 1}
        assert got.properties.app_id == "a"


def test_cc_of_a_large_message_that_came_frame_by_frame() -> None:
    _, talker = pair()
    talker.publish(1, "nowhere", bytes(200_000), properties=Properties(headers={"BCC": ["q"]}))
    got = get(talker)
    assert (len(got.body), headers_of(got)) == (200_000, {})


def test_headers_exchanges_route_message_by_message() -> None:
    """Also beside routes that lead to the same queue without looking at headers."""
    _, talker = pair()
    talker.call(1, m.QueueBind("q", "amq.headers", arguments={"x": 1}))
    talker.call(1, m.QueueBind("q", "amq.fanout"))
    sent = [
        ("amq.headers", 1, b"yes"),
        ("amq.fanout", 2, b"fanout"),
        ("amq.headers", 2, b"no"),
        ("amq.fanout", 1, b"fanout too"),
        ("amq.headers", 1, b"yes too"),
    ]
    for _ in range(2):
        data = b"".join(
            publish_frames(1, "", body, Properties(headers={"x": x}), exchange=exchange)
            for exchange, x, body in sent
        )
        talker.send_bytes(data)
        got = [get(talker).body for _ in range(4)]
        assert got == [b"yes", b"fanout", b"fanout too", b"yes too"]
        assert talker.call(1, m.BasicGet("q"))[0].NAME == "basic.get-empty"


@pytest.mark.parametrize("value", ["0", "100", "+5", "315360000000"])
def test_an_expiration_that_is_one(value: str) -> None:
    world, talker = pair()
    talker.call(1, m.BasicConsume("q", "c", no_ack=True))
    talker.publish(1, "q", properties=Properties(expiration=value))
    world.turn()
    (message,) = [item for _, item in talker.hear() if isinstance(item, Message)]
    assert message.properties.expiration == value


def test_the_users_own_id() -> None:
    _, talker = pair()
    talker.publish(1, "q", properties=Properties(user_id="guest"))
    assert get(talker).properties.user_id == "guest"


def test_direct_reply_to_there_and_back() -> None:
    world, requester = pair()
    responder = world.client()
    requester.send(2, m.BasicConsume("amq.rabbitmq.reply-to", "replies", no_ack=True))
    assert requester.names() == ["basic.consume-ok"]
    properties = Properties(reply_to="amq.rabbitmq.reply-to", correlation_id="7", headers={"a": 1})
    requester.publish(2, "q", b"question", properties=properties)
    request = get(responder)
    address = request.properties.reply_to
    assert address is not None and address.startswith("amq.rabbitmq.reply-to.")
    assert (request.body, request.properties.correlation_id) == (b"question", "7")
    assert headers_of(request) == {"a": 1}
    (alive,) = responder.call(1, m.QueueDeclare(address, passive=True))
    assert alive.NAME == "queue.declare-ok"
    responder.publish(1, address, b"answer")
    world.turn()
    (reply,) = [item for _, item in requester.hear()]
    assert (reply.body, reply.method.consumer_tag) == (b"answer", "replies")
    requester.send(2, m.BasicCancel("replies"))
    responder.publish(1, address, b"too late", mandatory=True)
    world.turn()
    assert [item.method.NAME for _, item in responder.hear()] == ["basic.return"]
    (gone,) = responder.call(1, m.QueueDeclare(address, passive=True))
    assert gone.reply_code == 404


def test_without_its_consumer_nobody_has_a_reply_address() -> None:
    _, talker = pair()
    consume = m.BasicConsume("amq.rabbitmq.reply-to", "a", no_ack=True)
    talker.send(1, consume, m.BasicCancel("a"))
    talker.hear()
    talker.publish(1, "q", properties=Properties(reply_to="amq.rabbitmq.reply-to"))
    assert talker.hear()[0][1].reply_code == 406


def test_a_second_reply_consumer_needs_the_first_to_go() -> None:
    _, talker = pair()
    consume = m.BasicConsume("amq.rabbitmq.reply-to", "a", no_ack=True)
    talker.send(1, consume, m.BasicCancel("a"), consume)
    assert talker.names() == ["basic.consume-ok", "basic.cancel-ok", "basic.consume-ok"]
    talker.send(1, m.BasicConsume("amq.rabbitmq.reply-to", "b", no_ack=True))
    assert talker.hear()[0][1].reply_code == 406


def test_a_turn_holds_no_more_than_its_share_of_large_messages() -> None:
    world, talker = pair()
    for _ in range(20):
        talker.publish(1, "q", bytes(100_000))
    talker.send(1, m.BasicConsume("q", "c", no_ack=True))
    talker.hear()
    world.turn()
    assert TURN_BYTES <= len(talker.raw()) < TURN_BYTES + 101_000
