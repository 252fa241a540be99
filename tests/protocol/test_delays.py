"""The x-delay header, on any exchange: held back, then routed, with the header negated."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import DELAYED, PERSISTENT, RUN, SPECIAL, Scan
from mansio.codec.amqp_properties import Properties
from mansio.core.check import check
from mansio.core.routing import Route
from mansio.protocol.amqp.delaying import DELAY_MAX_MS
from tests.protocol.talk import Message, Talker, World, name_of, publish_frames


@pytest.fixture
def world() -> World:
    world = World()
    world.broker.now_ms = 1_000_000
    return world


def delayed(delay: Any, **how: Any) -> Properties:
    headers = {"x-delay": delay} | how.pop("headers", {})
    return Properties(headers=headers, **how)


def wait(world: World, ms: int) -> None:
    world.broker.now_ms += ms
    world.turn()
    while world.broker.deadlines.next_ms <= world.broker.now_ms:
        world.turn()


def get(client: Talker, queue: str = "q") -> Message | None:
    (answer,) = client.call(1, m.BasicGet(queue=queue, no_ack=True))
    return answer if isinstance(answer, Message) else None


def declare(client: Talker, *queues: str) -> None:
    for queue in queues:
        client.call(1, m.QueueDeclare(queue))


@pytest.mark.parametrize("delay", [5, 200, 70_000, 1 << 40, "5000"])
def test_comes_with_the_header_negated(world: World, delay: Any) -> None:
    client = world.client()
    declare(client, "q")
    properties = delayed(delay, headers={"other": "x-delay"}, message_id="m", priority=3)
    client.publish(1, "q", b"later", properties=properties)
    wait(world, int(delay) - 1)
    assert get(client) is None
    wait(world, 1)
    message = get(client)
    assert message is not None and message.body == b"later"
    found = message.properties
    negated = str(-int(delay)) if isinstance(delay, str) else -delay
    assert found.headers == {"x-delay": negated, "other": "x-delay"}
    assert (found.message_id, found.priority) == ("m", 3)
    client.publish(1, "q", b"again", properties=found)
    assert get(client) is not None, "published again with its headers it is not held back"


@pytest.mark.parametrize("delay", [0, -5, True, None, 1.5, "", "soon", "-3", [5], {"n": 5}, b"5"])
def test_not_held_back_without_a_positive_number(world: World, delay: Any) -> None:
    client = world.client()
    declare(client, "q")
    client.publish(1, "q", properties=delayed(delay))
    message = get(client)
    assert message is not None and message.properties.headers == {"x-delay": delay}


def test_only_the_header_itself_counts(world: World) -> None:
    client = world.client()
    declare(client, "q")
    client.publish(1, "q", properties=Properties(headers={"t": {"x-delay": 5}, "X-Delay": 5}))
    client.publish(1, "q", properties=Properties(message_id="\x07x-delayI\0\0\1\1"))
    assert get(client) is not None and get(client) is not None


def test_what_only_looks_like_the_header_is_left_alone(world: World) -> None:
    client = world.client()
    declare(client, "q")
    looks = "\x07x-delayI\0\0\0\x09"
    for delay in (100, 200, 300):
        properties = Properties(content_type=looks, headers={"x-delay": delay})
        client.publish(1, "q", properties=properties)
    wait(world, 150)
    message = get(client)
    assert message is not None and message.properties.content_type == looks
    assert message.properties.headers == {"x-delay": -100} and get(client) is None


def test_neither_does_it_stand_for_the_header(world: World) -> None:
    """Messages that differ in it alone, as others do in their delays."""
    client = world.client()
    declare(client, "q")
    for n in (7, 8, 9):
        properties = Properties(
            content_type=f"\x07x-delayI\0\0\0{chr(n)}", headers={"x-delay": 100}
        )
        client.publish(1, "q", properties=properties)
        world.turn()
    assert {each.due_ms for each in world.broker.delays("/")} == {1_000_100}


def test_delays_that_differ_make_one_run(world: World) -> None:
    client = world.client()
    declare(client, "q", "r")
    frames = [
        publish_frames(1, "qr"[i % 2], b"%d" % i, properties=delayed(1000 - i)) for i in range(50)
    ]
    client.send_bytes(b"".join(frames))
    world.turn()
    store = world.broker.delays("/")
    assert store.count == 50 and len({id(held) for _, _, held in (*store.near, *store.far)}) <= 3
    wait(world, 1000)
    for queue, first in (("q", 48), ("r", 49)):
        bodies = [message.body for _ in range(25) if (message := get(client, queue))]
        assert bodies == [b"%d" % i for i in range(first, -1, -2)]


def test_confirmed_when_it_is_durable(world: World) -> None:
    client = world.client()
    client.call(1, m.ConfirmSelect())
    client.publish(1, "q", properties=delayed(1000, delivery_mode=2))
    world.turn(durable=False)
    assert client.names() == []
    world.turn()
    assert client.names() == ["basic.ack"]


def test_mandatory_says_nothing_at_all(world: World) -> None:
    client = world.client()
    client.call(1, m.ConfirmSelect())
    client.publish(1, "nobody", properties=delayed(1000), mandatory=True)
    world.turn()
    assert client.names() == ["basic.ack"]
    wait(world, 1000)
    assert client.names() == [] and world.broker.counts.dropped == 1


def test_the_exchange_has_to_exist(world: World) -> None:
    client = world.client()
    client.publish(1, "q", properties=delayed(1000), exchange="missing")
    world.turn()
    assert client.names() == ["channel.close"]


def test_copies_go_where_they_should_when_it_is_due(world: World) -> None:
    client = world.client()
    declare(client, "q", "cc", "bcc")
    headers = {"CC": ["cc"], "BCC": ["bcc"], "n": 1}
    client.publish(1, "q", properties=delayed(100, headers=headers, delivery_mode=2))
    world.turn()
    assert get(client) is None
    wait(world, 100)
    for queue in ("q", "cc", "bcc"):
        message = get(client, queue)
        assert message is not None
        assert message.properties.headers == {"x-delay": -100, "CC": ["cc"], "n": 1}


def test_headers_are_matched_when_it_is_due(world: World) -> None:
    client = world.client()
    declare(client, "q", "r")
    for queue, kind in (("q", "a"), ("r", "b")):
        bind = m.QueueBind(queue=queue, exchange="amq.headers", arguments={"kind": kind})
        client.call(1, bind)
    for kind in "ab":
        properties = delayed(100, headers={"kind": kind})
        client.publish(1, "", kind.encode(), properties=properties, exchange="amq.headers")
    wait(world, 100)
    for queue, body in (("q", b"a"), ("r", b"b")):
        message = get(client, queue)
        assert message is not None and message.body == body and get(client, queue) is None


def test_expiration_and_priority_begin_when_it_is_due(world: World) -> None:
    client = world.client()
    declare(client, "q")
    client.call(1, m.QueueDeclare("p", arguments={"x-max-priority": 5}))
    client.publish(1, "q", properties=delayed(100, expiration="50"))
    for priority in (1, 4):
        client.publish(1, "p", b"%d" % priority, properties=delayed(100, priority=priority))
    wait(world, 100)
    assert world.broker.vhosts["/"].queues["q"].ready_count == 1
    wait(world, 50)
    assert get(client) is None
    assert [get(client, "p").body for _ in range(2)] == [b"4", b"1"]  # type: ignore[union-attr]


def test_large_and_put_together_frame_by_frame(world: World) -> None:
    client = world.client()
    declare(client, "q")
    body = bytes(range(256)) * 2000
    client.publish(1, "q", body, properties=delayed(100))
    world.turn()
    assert get(client) is None
    wait(world, 100)
    message = get(client)
    assert message is not None and message.body == body


def test_in_a_transaction_the_delay_begins_at_the_commit(world: World) -> None:
    client = world.client()
    declare(client, "q")
    client.call(1, m.TxSelect())
    client.publish(1, "q", properties=delayed(100))
    wait(world, 100)
    assert name_of(client.call(1, m.TxCommit())[0]) == "tx.commit-ok"
    wait(world, 99)
    assert get(client) is None
    wait(world, 1)
    assert get(client) is not None


def test_between_others_numbers_of_confirms_stay_right(world: World) -> None:
    client = world.client()
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    client.call(1, m.QueueDeclare("full", arguments=arguments))
    client.call(1, m.ConfirmSelect())
    frames = [
        publish_frames(1, "full"),
        publish_frames(1, "full", properties=delayed(1000)),
        publish_frames(1, "full"),
    ]
    client.send_bytes(b"".join(frames))
    world.turn()
    told = [(name_of(item), item.delivery_tag) for _, item in client.hear()]
    assert ("basic.nack", 3) in told and told[-1][0] in ("basic.ack", "basic.nack")
    assert not any(name == "basic.nack" and tag != 3 for name, tag in told)


def test_delays_of_ages(world: World) -> None:
    client = world.client()
    declare(client, "q")
    client.publish(1, "q", properties=delayed((1 << 63) - 1))
    client.publish(1, "q", properties=delayed("9" * 20))
    world.turn()
    assert {each.due_ms for each in world.broker.delays("/")} == {1_000_000 + DELAY_MAX_MS}
    check(world.broker)


@pytest.mark.parametrize(
    ("headers", "flags"),
    [
        ({"x-delay": 5}, DELAYED),
        ({"a": 1, "x-delay": "5"}, DELAYED),
        ({"x-delax": 5, "y-delay": 5, "x-delay2": 1}, 0),
        ({"x-receipt": True}, SPECIAL),
        ({"x-receipd": True}, 0),
        ({"x-delay": 5, "CC": ["a"]}, SPECIAL),
        ({"t": {"x-delay": 5, "x-receipt": True}}, 0),
    ],
)
@pytest.mark.parametrize("mode", [None, 2])
def test_flags_of_the_scanner(headers: Any, flags: int, mode: int | None) -> None:
    route = Route("", "q", ())
    out: list[Any] = []
    frame = publish_frames(1, "q", properties=Properties(headers=headers, delivery_mode=mode))
    publish = frame[: frame.index(b"\xce") + 1]
    Scan(131_072).scan(bytearray(frame), 0, len(frame), {publish: route}, out)
    ((kind, *_, found),) = out
    assert kind == RUN
    assert found == (flags if flags & SPECIAL else flags | (PERSISTENT if mode == 2 else 0))


def test_the_plugins_type_of_exchange_routes_as_the_type_it_names(world: World) -> None:
    client = world.client()
    declare(client, "q", "r")
    arguments = {"x-delayed-type": "topic"}
    client.call(1, m.ExchangeDeclare("x", "x-delayed-message", arguments=arguments))
    client.call(1, m.QueueBind(queue="q", exchange="x", routing_key="a.*"))
    client.publish(1, "a.b", b"later", properties=delayed(100), exchange="x")
    client.publish(1, "a.c", b"now", exchange="x")
    client.publish(1, "b.c", b"nowhere", exchange="x")
    assert get(client).body == b"now"  # type: ignore[union-attr]
    assert get(client) is None
    wait(world, 100)
    assert get(client).body == b"later"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": "nonsense"}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": 5}, "'x-delayed-type' must be an existing exchange type"),
        (
            {"x-delayed-type": "x-delayed-message"},
            "'x-delayed-message' can't be used for 'x-delayed-type'",
        ),
    ],
)
def test_the_type_it_names_has_to_exist(world: World, arguments: Any, text: str) -> None:
    client = world.client()
    declare = m.ExchangeDeclare("x", "x-delayed-message", arguments=arguments)
    (closed,) = client.call(1, declare)
    assert (closed.reply_code, closed.reply_text) == (
        406,
        f"PRECONDITION_FAILED - Invalid argument, {text}",
    )


def test_declared_again_it_has_to_name_the_same_type(world: World) -> None:
    client = world.client()
    for kind, name in (("topic", "exchange.declare-ok"), ("fanout", "channel.close")):
        arguments = {"x-delayed-type": kind}
        (answer,) = client.call(1, m.ExchangeDeclare("x", "x-delayed-message", arguments=arguments))
        assert name_of(answer) == name


def test_a_receipt_comes_when_it_is_settled(world: World) -> None:
    client = world.client()
    declare(client, "q", "answers")
    headers = {"x-receipt": True}
    client.publish(1, "q", properties=delayed(100, headers=headers, reply_to="answers"))
    wait(world, 99)
    assert get(client) is None and get(client, "answers") is None
    wait(world, 1)
    assert get(client) is not None
    receipt = get(client, "answers")
    assert receipt is not None and receipt.properties.headers["x-receipt-outcome"] == "acked"  # type: ignore[index]
    client.publish(1, "nobody", properties=delayed(100, headers=headers, reply_to="answers"))
    wait(world, 100)
    receipt = get(client, "answers")
    assert receipt is not None and receipt.properties.headers["x-receipt-outcome"] == "unrouted"  # type: ignore[index]


def test_a_receipt_is_asked_for_at_the_very_end_of_the_properties(world: World) -> None:
    client = world.client()
    declare(client, "q", "r")
    client.publish(
        1, "q", properties=delayed(100, headers={"a": 1, "x-receipt": True}, reply_to="r")
    )
    wait(world, 100)
    assert get(client) is not None and get(client, "r") is not None


def test_a_receipt_says_that_the_exchange_is_gone(world: World) -> None:
    client = world.client()
    declare(client, "answers")
    client.call(1, m.ExchangeDeclare("x", "fanout"))
    properties = delayed(100, headers={"x-receipt": True}, reply_to="answers")
    client.publish(1, "", properties=properties, exchange="x")
    client.call(1, m.ExchangeDelete("x"))
    wait(world, 100)
    receipt = get(client, "answers")
    assert receipt is not None and receipt.properties.headers["x-receipt-outcome"] == "unrouted"  # type: ignore[index]
    assert world.broker.counts.dropped == len(world.broker.notices) == 1


def test_an_exchange_that_deduplicates_takes_one(world: World) -> None:
    client = world.client()
    declare(client, "q")
    arguments = {"x-message-deduplication": True, "x-cache-size": 10}
    client.call(1, m.ExchangeDeclare("x", "fanout", durable=True, arguments=arguments))
    client.call(1, m.QueueBind(queue="q", exchange="x"))
    for _ in range(3):
        headers = {"x-deduplication-header": "id"}
        properties = delayed(100, headers=headers, delivery_mode=2)
        client.publish(1, "", properties=properties, exchange="x")
        world.turn()
    assert world.broker.delays("/").count == 1
    assert (world.broker.counts.duplicates, world.broker.counts.published) == (2, 3)
    wait(world, 100)
    assert get(client) is not None and get(client) is None


def test_what_a_deduplicating_queue_gets_late_is_held_but_not_refused(world: World) -> None:
    client = world.client()
    client.call(1, m.QueueDeclare("q", arguments={"x-message-deduplication": True}))
    headers = {"x-deduplication-header": "id"}
    for _ in range(2):
        client.publish(1, "q", properties=delayed(100, headers=headers))
    wait(world, 100)
    client.publish(1, "q", properties=Properties(headers=headers))
    world.turn()
    assert world.broker.vhosts["/"].queues["q"].ready_count == 2
