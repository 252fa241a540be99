"""A virtual host under random changes against a plain model, and what declaring and deleting allow."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import (
    AccessRefused,
    BrokerError,
    InvalidCommand,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from mansio.core.records import decode
from tests.core.play import Client, Message


def test_every_change_of_a_route_changes_the_version() -> None:
    client = Client(Broker())
    host = client.broker.vhosts["/"]
    definitions, session = client.broker.definitions, client.session
    seen = {host.version}

    def changed() -> bool:
        new = host.version not in seen
        seen.add(host.version)
        return new

    client.exchange("e")
    assert changed()
    queue = client.declare("q")
    assert changed()
    client.declare("q")
    assert not changed()
    definitions.bind_queue(session, "q", "e", "k", {})
    assert changed()
    definitions.bind_queue(session, "q", "e", "k", {})
    assert not changed()
    definitions.unbind_queue(session, "q", "e", "other", {})
    assert not changed()
    definitions.unbind_queue(session, "q", "e", "k", {})
    assert changed()
    definitions.drop_queue(queue)
    assert changed()
    definitions.delete_exchange(session, "e", False)
    assert changed()


def test_a_headers_exchange_on_the_way_makes_the_content_decide() -> None:
    client = Client(Broker())
    host = client.broker.vhosts["/"]
    for name, type in (("in", "fanout"), ("h", "headers"), ("spare", "fanout")):
        alternate = {"alternate-exchange": "spare"} if name == "h" else {}
        client.exchange(name, type, arguments=alternate)
    definitions, session = client.broker.definitions, client.session
    definitions.bind_exchange(session, "h", "in", "", {})
    for name, source, arguments in (("a", "h", {"x": 1}), ("b", "spare", {})):
        client.declare(name)
        definitions.bind_queue(session, name, source, "", arguments)
    route = client.broker.route(client.broker.users.rights("guest", "/"), "in", "k", False, 1, 0)
    assert route.by_content and {queue.name for queue in route.queues} == {"a", "b"}
    for headers, expected in (({"x": 1}, "a"), ({"x": 2}, "b"), ({}, "b")):
        (found,) = host.route(host.exchanges["in"], ["k"], Message(headers))[0]
        assert found.name == expected


TRUE_FALSE = "received 'true' but current is 'false'"
LENGTH = "received the value '5' of type 'signedint' but current is none"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"durable": True}, f"'durable' for queue 'q' in vhost '/': {TRUE_FALSE}"),
        ({"auto_delete": True}, f"'auto_delete' for queue 'q' in vhost '/': {TRUE_FALSE}"),
        (
            {"arguments": {"x-max-length": 5}},
            f"'x-max-length' for queue 'q' in vhost '/': {LENGTH}",
        ),
    ],
)
def test_a_queue_that_is_declared_again_must_be_the_same(change: dict[str, Any], text: str) -> None:
    client = Client(Broker())
    assert client.declare() is client.declare()
    assert client.declare(arguments={"x-unknown": 1}), "arguments that mean nothing do not count"
    with pytest.raises(PreconditionFailed) as caught:
        client.declare(**change)
    assert caught.value.text == f"inequivalent arg {text}"


def test_an_exchange_that_is_declared_again_must_be_the_same() -> None:
    client = Client(Broker())
    client.exchange("e", arguments={"alternate-exchange": "a"})
    client.exchange("e", arguments={"alternate-exchange": "a"})
    for type, change in (
        ("fanout", {}),
        ("direct", {"durable": True}),
        ("direct", {"auto_delete": True}),
        ("direct", {"internal": True}),
        ("direct", {"arguments": {"alternate-exchange": "b"}}),
        ("direct", {"arguments": {}}),
    ):
        with pytest.raises(PreconditionFailed, match="inequivalent arg"):
            client.exchange("e", type, **({"arguments": {"alternate-exchange": "a"}} | change))


def refused(error: type[BrokerError], do: Any, *arguments: Any) -> None:
    with pytest.raises(error):
        do(*arguments)


def test_what_nobody_may_do() -> None:
    client = Client(Broker())
    definitions, session = client.broker.definitions, client.session
    other = Client(client.broker, "other")
    client.declare("mine", exclusive=True)
    refused(AccessRefused, client.declare, "amq.mine")
    refused(AccessRefused, client.exchange, "amq.mine")
    refused(AccessRefused, client.exchange, "")
    refused(AccessRefused, definitions.delete_exchange, session, "", False)
    refused(AccessRefused, definitions.delete_exchange, session, "amq.topic", False)
    refused(AccessRefused, definitions.bind_queue, session, "mine", "", "k", {})
    refused(AccessRefused, definitions.bind_exchange, session, "", "amq.topic", "k", {})
    refused(InvalidCommand, client.exchange, "e", "no-such-type")
    refused(NotFound, definitions.check_exchange, session, "none")
    refused(NotFound, definitions.queue, session, "none")
    refused(NotFound, definitions.bind_queue, session, "mine", "none", "k", {})
    refused(NotFound, definitions.bind_exchange, session, "none", "amq.topic", "k", {})
    refused(NotFound, client.broker.route, client.session.rights, "none", "k", False, 1, 0)
    refused(ResourceLocked, definitions.queue, other.session, "mine")
    refused(ResourceLocked, other.declare, "mine")
    refused(ResourceLocked, client.declare, "mine")
    client.exchange("inner", internal=True)
    refused(AccessRefused, client.broker.route, client.session.rights, "inner", "k", False, 1, 0)
    assert client.declare("amq.gen-1", generated=True).name == "amq.gen-1"
    check(client.broker)


def test_deleting_under_conditions() -> None:
    client = Client(Broker())
    definitions, session = client.broker.definitions, client.session
    queue = client.declare()
    client.publish(queue, 1, 2)
    refused(PreconditionFailed, definitions.delete_queue, session, queue, False, True)
    client.consume(queue)
    refused(PreconditionFailed, definitions.delete_queue, session, queue, True, False)
    client.broker.cancel(client.channel, "c")
    assert definitions.delete_queue(session, queue, True, False) == 2
    client.exchange("e")
    client.declare("r")
    definitions.bind_queue(session, "r", "e", "k", {})
    refused(PreconditionFailed, definitions.delete_exchange, session, "e", True)
    definitions.unbind_queue(session, "r", "e", "k", {})
    definitions.delete_exchange(session, "e", True)
    definitions.delete_exchange(session, "e", True)


def test_what_is_durable_is_recorded_and_nothing_else() -> None:
    client = Client(Broker())
    definitions, session = client.broker.definitions, client.session
    client.exchange("e", durable=True)
    client.exchange("brief")
    queue = client.declare("q", durable=True)
    brief = client.declare("brief")
    mine = client.declare("mine", durable=True, exclusive=True)
    for target in (queue, brief, mine):
        for source in ("e", "brief"):
            definitions.bind_queue(session, target.name, source, "k", {"a": 1})
    definitions.unbind_queue(session, "q", "e", "k", {"a": 1})
    for target in (queue, brief, mine):
        definitions.drop_queue(target)
    definitions.delete_exchange(session, "e", False)
    definitions.delete_exchange(session, "brief", False)
    done = [decode(b"".join(record)) for record in client.broker.end_turn()]
    told = [(change["do"], change.get("name") or change["destination"]) for change in done]  # type: ignore[index, union-attr]
    assert told == [
        ("declare exchange", "e"),
        ("declare queue", "q"),
        ("bind", "q"),
        ("unbind", "q"),
        ("delete queue", "q"),
        ("delete exchange", "e"),
    ]
