"""Which rights each operation needs: all of them, none that is not named here, and nothing happens without them.

What RabbitMQ answers, and in which order it asks, is in tests/testdata/amqp/permissions.txt and topic_rights.txt.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.rights import EVERYTHING, Permission, TopicPermission
from mansio.core.topology_records import take_snapshot
from tests.protocol.talk import Message, Talker, World, name_of

Need = tuple[str, str, str]
CONFIGURE, WRITE, READ = "configure", "write", "read"
NOTHING = Permission("", "", "")
DURABLE = {"x-queue-type": "stream"}


class Operation(NamedTuple):
    """What a client sends, and which rights it needs, as (right, kind, name), in the order in which they are asked."""

    title: str
    needs: tuple[Need, ...]
    send: Callable[[Talker], list[Any]]


def call(title: str, method: m.Method, *needs: Need) -> Operation:
    return Operation(title, needs, lambda talker: talker.call(1, method))


def publish(title: str, *needs: Need, exchange: str = "x", **properties: Any) -> Operation:
    def send(talker: Talker) -> list[Any]:
        talker.publish(1, "key", properties=Properties(**properties), exchange=exchange)
        return talker.call(1)

    return Operation(title, needs, send)


QUEUE, EXCHANGE = "queue", "exchange"
INTO_Q, FROM_X = (WRITE, QUEUE, "q"), (READ, EXCHANGE, "x")
INTO_Y = (WRITE, EXCHANGE, "y")
INTO_X = (WRITE, EXCHANGE, "x")
NEW_X, NEW_Q = (CONFIGURE, EXCHANGE, "new"), (CONFIGURE, QUEUE, "new")

OPERATIONS = [
    call("declare an exchange", m.ExchangeDeclare("new", "fanout"), NEW_X),
    call("declare one that is there", m.ExchangeDeclare("x", "topic"), (CONFIGURE, EXCHANGE, "x")),
    call(
        "declare an exchange with an alternate",
        m.ExchangeDeclare("new", "fanout", arguments={"alternate-exchange": "y"}),
        NEW_X, (READ, EXCHANGE, "new"), INTO_Y,
    ),
    call("ask for an exchange", m.ExchangeDeclare("x", passive=True)),
    call("delete an exchange", m.ExchangeDelete("x"), (CONFIGURE, EXCHANGE, "x")),
    call("delete none", m.ExchangeDelete("new"), NEW_X),
    call("bind an exchange", m.ExchangeBind("y", "x", "k"), INTO_Y, FROM_X),
    call("unbind an exchange", m.ExchangeUnbind("y", "x", "bound"), INTO_Y, FROM_X),
    call("declare a queue", m.QueueDeclare("new"), NEW_Q),
    call("declare a queue that is there", m.QueueDeclare("q"), (CONFIGURE, QUEUE, "q")),
    call(
        "declare a queue with dead letters",
        m.QueueDeclare("new", arguments={"x-dead-letter-exchange": "y"}),
        NEW_Q, (READ, QUEUE, "new"), INTO_Y,
    ),
    call(
        "declare a queue with dead letters to the default exchange",
        m.QueueDeclare("new", arguments={"x-dead-letter-exchange": ""}),
        NEW_Q, (READ, QUEUE, "new"), (WRITE, EXCHANGE, "amq.default"),
    ),
    call(
        "declare a group of a stream",
        m.QueueDeclare("new", durable=True, arguments={"x-stream": "s"}),
        NEW_Q, (READ, QUEUE, "s"),
    ),
    call("declare a stream", m.QueueDeclare("new", durable=True, arguments=DURABLE), NEW_Q),
    call("ask for a queue", m.QueueDeclare("q", passive=True)),
    call("bind a queue", m.QueueBind("q", "x", "k"), INTO_Q, FROM_X),
    call("unbind a queue", m.QueueUnbind("q", "x", "bound"), INTO_Q, FROM_X),
    call("purge", m.QueuePurge("q"), (READ, QUEUE, "q")),
    call("delete a queue", m.QueueDelete("q"), (CONFIGURE, QUEUE, "q")),
    call("consume", m.BasicConsume("q", "tag"), (READ, QUEUE, "q")),
    call("get", m.BasicGet("q"), (READ, QUEUE, "q")),
    call("ask by direct reply-to", m.BasicConsume("amq.rabbitmq.reply-to", "tag", no_ack=True)),
    publish("publish", INTO_X),
    publish("publish to queues", (WRITE, EXCHANGE, "amq.default"), exchange=""),
    publish("publish with copies", INTO_X, headers={"CC": ["a"], "BCC": ["b"]}),
    publish("publish for later", INTO_X, headers={"x-delay": 5}),
    publish(
        "publish with a receipt",
        INTO_X, (WRITE, EXCHANGE, "amq.default"),
        headers={"x-receipt": True}, reply_to="q",
    ),
    call("prefetch", m.BasicQos(prefetch_count=3)),
    call("recover", m.BasicRecover()),
    call("select confirms", m.ConfirmSelect()),
    call("select transactions", m.TxSelect()),
]  # fmt: skip
BY_TITLE = [pytest.param(each, id=each.title) for each in OPERATIONS]
REFUSALS = [
    pytest.param(each, missing, id=f"{each.title}, without {' '.join(missing)}")
    for each in OPERATIONS
    for missing in each.needs
]


def scene() -> tuple[World, Talker]:
    """Exchanges `x` and `y`, of which one is bound to the other, a queue `q` with a message, and a stream `s`."""
    world = World()
    talker = world.client()
    talker.call(
        1,
        m.ExchangeDeclare("x", "topic"),
        m.ExchangeDeclare("y", "fanout"),
        m.ExchangeBind("y", "x", "bound"),
        m.QueueDeclare("q"),
        m.QueueBind("q", "x", "bound"),
        m.QueueDeclare("s", durable=True, arguments=DURABLE),
    )
    talker.publish(1, "q")
    talker.call(1)
    return world, talker


def permission(needs: tuple[Need, ...]) -> Permission:
    """These rights and no others."""

    def pattern(right: str) -> str:
        names = [name.replace(".", "[.]") for each, _, name in needs if each == right]
        return f"^({'|'.join(names)})$" if names else ""

    return Permission(pattern(CONFIGURE), pattern(WRITE), pattern(READ))


def permit(world: World, rights: Permission) -> None:
    world.broker.administration.permit("guest", "/", rights)


def closed(heard: list[Any]) -> list[tuple[int, str]]:
    return [
        (each.reply_code, each.reply_text) for each in heard if isinstance(each, m.ChannelClose)
    ]


@pytest.mark.parametrize("operation", BY_TITLE)
def test_what_is_named_is_enough(operation: Operation) -> None:
    world, talker = scene()
    permit(world, permission(operation.needs))
    assert not closed(operation.send(talker))


@pytest.mark.parametrize(("operation", "missing"), REFUSALS)
def test_nothing_of_it_can_be_missing(operation: Operation, missing: Need) -> None:
    world, talker = scene()
    others = tuple(each for each in operation.needs if each != missing)
    permit(world, permission(others))
    before = take_snapshot(world.broker), world.broker.vhosts["/"].queues["q"].ready_count
    _, kind, name = missing
    assert closed(operation.send(talker)) == [
        (403, f"ACCESS_REFUSED - access to {kind} '{name}' in vhost '/' refused for user 'guest'")
    ]
    after = take_snapshot(world.broker), world.broker.vhosts["/"].queues["q"].ready_count
    assert after == before


@pytest.mark.parametrize("operation", [each for each in BY_TITLE if each.values[0].needs])
def test_the_first_that_is_missing_is_named(operation: Operation) -> None:
    world, talker = scene()
    permit(world, NOTHING)
    _, kind, name = operation.needs[0]
    ((code, text),) = closed(operation.send(talker))
    assert (code, f"{kind} '{name}'" in text) == (403, True)


@pytest.mark.parametrize(
    "properties",
    [{"headers": {"CC": ["bad"]}}, {"headers": {"BCC": ["bad"]}},
     {"headers": {"CC": ["bad"], "x-delay": 5}}],
    ids=["CC", "BCC", "delayed"],
)  # fmt: skip
def test_copies_need_the_topic_permission_as_well(properties: dict[str, Any]) -> None:
    world, talker = scene()
    world.broker.administration.permit_topic("guest", "/", "x", TopicPermission("^good", ""))
    talker.publish(1, "good", exchange="x", properties=Properties(**properties))
    ((code, text),) = closed(talker.call(1))
    assert code == 403
    assert "access to topic 'bad' in exchange 'x'" in text


def test_a_refusal_holds_for_one_channel_only() -> None:
    world, talker = scene()
    talker.send(2, m.ChannelOpen())
    talker.call(2, m.BasicConsume("q", "tag"))
    permit(world, NOTHING)
    assert closed(talker.call(1, m.QueueDeclare("new")))
    permit(world, EVERYTHING)
    talker.publish(2, "q", b"more")
    world.turn()
    assert [name_of(item) for _, item in talker.hear()] == ["basic.deliver"]


def test_a_message_that_is_let_in_may_go_where_its_publisher_may_not() -> None:
    world, talker = scene()
    talker.call(1, m.ExchangeDeclare("inner", "fanout"), m.ExchangeBind("inner", "x", "#"))
    talker.call(1, m.QueueDeclare("far"), m.QueueBind("far", "inner"))
    permit(world, Permission("", "^x$", "^far$"))
    talker.publish(1, "key", exchange="x")
    (got,) = [item for item in talker.call(1, m.BasicGet("far")) if isinstance(item, Message)]
    assert got.body == b"hello"
