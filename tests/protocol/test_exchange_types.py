"""Exchanges that look at more than the routing key, as a client sees them."""

from collections import Counter
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.talk import Message, Talker, World

CONTENT = "x-match-expression"


def pair(type: str, *queues: str, **arguments: Any) -> tuple[World, Talker]:
    """A client with the exchange x and these queues."""
    world = World()
    talker = world.client()
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    talker.send(1, m.ExchangeDeclare("x", type, arguments=named))
    talker.send(1, *(m.QueueDeclare(name) for name in queues))
    talker.hear()
    return world, talker


def publish(talker: Talker, body: bytes, key: str = "", **properties: Any) -> None:
    talker.publish(1, key, body, exchange="x", properties=Properties(**properties), mandatory=True)


def drain(talker: Talker, queue: str) -> list[bytes]:
    found = []
    while True:
        *_, item = talker.call(1, m.BasicGet(queue, no_ack=True))  # maybe behind returns
        if not isinstance(item, Message):
            return found
        found.append(item.body)


def refused(talker: Talker, method: m.Method) -> str:
    """The reason for which a method closes the channel, which is opened again."""
    (closed,) = talker.call(1, method)
    assert isinstance(closed, m.ChannelClose), closed
    assert closed.reply_code == 406
    talker.send(1, m.ChannelCloseOk(), m.ChannelOpen())
    talker.hear()
    return closed.reply_text


def test_an_expression_decides() -> None:
    _, talker = pair("x-content", "big", "eu", "rest", alternate_exchange="amq.fanout")
    for queue, text in (("big", "body.total > 100"), ("eu", 'headers.region == "eu"')):
        bind = m.QueueBind(queue, "x", arguments={CONTENT: text})
        assert talker.call(1, bind)[0].NAME == "queue.bind-ok"
    talker.call(1, m.QueueBind("rest", "amq.fanout"))
    publish(talker, b'{"total": 500}', headers={"region": "eu"})
    publish(talker, b'{"total": 5}', headers={"region": "eu"})
    publish(talker, b'{"total": 101}')
    publish(talker, b"no json", headers={"region": "us"})
    publish(talker, b'{"total": "many"}')
    assert drain(talker, "big") == [b'{"total": 500}', b'{"total": 101}']
    assert drain(talker, "eu") == [b'{"total": 500}', b'{"total": 5}']
    assert drain(talker, "rest") == [b"no json", b'{"total": "many"}']


def test_what_matches_nothing_is_returned() -> None:
    _, talker = pair("x-content", "q")
    talker.call(1, m.QueueBind("q", "x", arguments={CONTENT: "body.a == 1"}))
    publish(talker, b"{}")
    (item,) = [item for _, item in talker.hear()]
    assert (item.method.NAME, item.body) == ("basic.return", b"{}")


def test_the_key_is_the_expression_where_there_is_no_argument() -> None:
    _, talker = pair("x-content", "q")
    talker.call(1, m.QueueBind("q", "x", 'properties.type == "order"'))
    publish(talker, b"1", type="order")
    publish(talker, b"2", type="invoice")
    assert drain(talker, "q") == [b"1"]
    talker.call(1, m.QueueUnbind("q", "x", 'properties.type == "order"'))
    publish(talker, b"3", type="order")
    assert drain(talker, "q") == []


def test_the_argument_counts_before_the_key() -> None:
    _, talker = pair("x-content", "q")
    bind = m.QueueBind("q", "x", "no expression, just a name", arguments={CONTENT: "true"})
    assert talker.call(1, bind)[0].NAME == "queue.bind-ok"
    publish(talker, b"1", key="k")
    assert drain(talker, "q") == [b"1"]


@pytest.mark.parametrize(
    ("key", "arguments", "reason"),
    [
        ("", {}, "PRECONDITION_FAILED - invalid expression: it is empty"),
        ("", {CONTENT: 5}, "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-match-expression'"),
        (
            "",
            {CONTENT: "body.total >"},
            "PRECONDITION_FAILED - invalid expression: line 1, column 13: Syntax error: mismatched input '<EOF>'",
        ),
        (
            "",
            {CONTENT: "order.total > 1"},
            "PRECONDITION_FAILED - invalid expression: line 1, column 6: undeclared reference to 'order.total'",
        ),
    ],
)  # fmt: skip
def test_an_expression_that_makes_no_sense_is_refused_when_it_is_bound(
    key: str, arguments: dict[str, Any], reason: str
) -> None:
    _, talker = pair("x-content", "q")
    assert refused(talker, m.QueueBind("q", "x", key, arguments=arguments)) == reason
    assert refused(talker, m.ExchangeBind("amq.fanout", "x", key, arguments=arguments)) == reason
    publish(talker, b"{}")
    assert "basic.return" in talker.names()


def test_one_message_goes_to_a_queue_once_and_equal_expressions_may_be_bound_often() -> None:
    _, talker = pair("x-content", "q", "r")
    for queue, key in (("q", "a"), ("q", "b"), ("r", "a")):
        talker.call(1, m.QueueBind(queue, "x", key, arguments={CONTENT: "body.a == 1"}))
    publish(talker, b'{"a": 1}')
    assert drain(talker, "q") == drain(talker, "r") == [b'{"a": 1}']
    talker.call(1, m.QueueUnbind("q", "x", "a", {CONTENT: "body.a == 1"}))
    publish(talker, b'{"a": 1}')
    assert drain(talker, "q") == [b'{"a": 1}'], "another binding of it is left"


def test_a_large_message_and_one_with_copies_are_looked_at_as_well() -> None:
    _, talker = pair("x-content", "q")
    talker.call(
        1, m.QueueBind("q", "x", arguments={CONTENT: 'headers.CC[0] == "k" && body.a == 1'})
    )
    body = b'{"a": 1' + b" " * 50_000 + b"}"
    publish(talker, body, headers={"CC": ["k"]})
    assert drain(talker, "q") == [body]


def test_a_hash_of_a_header_keeps_messages_together() -> None:
    queues = ("a", "b", "c")
    _, talker = pair("x-consistent-hash", *queues, hash_header="customer")
    for queue in queues:
        talker.call(1, m.QueueBind(queue, "x", "1"))
    for i in range(300):
        publish(talker, b"%d" % (i % 30), key=f"key {i}", headers={"customer": i % 30})
    found = {queue: Counter(drain(talker, queue)) for queue in queues}
    assert sum(sum(counts.values()) for counts in found.values()) == 300
    assert all(found.values()), "every queue has some"
    assert all(set(counts.values()) == {10} for counts in found.values()), "each customer one queue"


def test_chance_takes_each_message_by_itself_also_in_one_row() -> None:
    queues = ("a", "b")
    _, talker = pair("x-random", *queues)
    for queue in queues:
        talker.call(1, m.QueueBind(queue, "x", "key"))
    for _ in range(100):
        publish(talker, b"same")
    counts = [len(drain(talker, queue)) for queue in queues]
    assert sum(counts) == 100 and min(counts) > 25


def test_a_queue_that_is_bound_later_gets_what_was_published_before() -> None:
    _, talker = pair("x-recent-history", "q", x_recent_history_length=2)
    for body in (b"1", b"2", b"3"):
        publish(talker, body)
    assert [item.method.NAME for _, item in talker.hear()] == ["basic.return"] * 3
    talker.call(1, m.QueueBind("q", "x"))
    assert drain(talker, "q") == [b"2", b"3"]


def test_a_headers_exchange_may_stand_behind_one_that_remembers() -> None:
    _, talker = pair("x-recent-history", "q")
    talker.call(1, m.QueueBind("q", "amq.headers", arguments={"a": 1}))
    for body, a in ((b"1", 1), (b"2", 2)):
        publish(talker, body, headers={"a": a})
    talker.call(1, m.ExchangeBind("amq.headers", "x"))
    assert drain(talker, "q") == [b"1"]


def test_dead_letters_are_looked_at_as_well() -> None:
    _, talker = pair("x-content", "rich", "poor")
    for queue, text in (("rich", "body.total > 100"), ("poor", "body.total <= 100")):
        talker.call(1, m.QueueBind(queue, "x", arguments={CONTENT: text}))
    talker.call(1, m.QueueDeclare("q", arguments={"x-dead-letter-exchange": "x"}))
    for body in (b'{"total": 500}', b'{"total": 5}'):
        talker.publish(1, "q", body)
        (got,) = talker.call(1, m.BasicGet("q"))
        talker.call(1, m.BasicReject(got.method.delivery_tag, requeue=False))
    assert drain(talker, "rich") == [b'{"total": 500}']
    assert drain(talker, "poor") == [b'{"total": 5}']


def test_what_is_remembered_does_not_expire_and_lives_on_in_the_queue_that_gets_it() -> None:
    world, talker = pair("x-recent-history", "q", "r")
    publish(talker, b"short", expiration="1000")
    world.broker.now_ms += 5000
    talker.call(1, m.QueueBind("q", "x"))
    assert drain(talker, "q") == [b"short"]
    talker.call(1, m.QueueBind("r", "x"))
    world.turn()
    world.broker.now_ms += 1001
    world.turn()
    assert drain(talker, "r") == []
