"""A virtual host under random changes against a plain model, and what declaring and deleting allow."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from tests.core.play import Client

EXCHANGES, QUEUES, KEYS = ["e0", "e1", "e2", "e3"], ["q0", "q1", "q2"], ["", "a", "b"]
Binding = tuple[str, str, str, str]  # source, "queue" or "exchange", destination, key


class Model:
    """The same as a VHost, with sets and recursion."""

    def __init__(self) -> None:
        self.exchanges: dict[str, tuple[str, bool, str | None]] = {}  # type, auto-delete, alternate
        self.queues: set[str] = set()
        self.bindings: set[Binding] = set()

    def drop_exchange(self, name: str) -> None:
        del self.exchanges[name]
        for binding in [b for b in self.bindings if b[1:3] == ("exchange", name)]:
            self.drop_binding(binding)
        self.bindings = {b for b in self.bindings if b[0] != name}

    def drop_binding(self, binding: Binding) -> None:
        self.bindings.discard(binding)
        source = binding[0]
        if source in self.exchanges and self.exchanges[source][1]:
            if not any(b[0] == source for b in self.bindings):
                self.drop_exchange(source)

    def drop_queue(self, name: str) -> None:
        self.queues.discard(name)
        for binding in [b for b in self.bindings if b[1:3] == ("queue", name)]:
            self.drop_binding(binding)

    def reach(self, name: str, key: str, seen: set[str]) -> set[str]:
        if name in seen:
            return set()
        seen.add(name)
        type, _, alternate = self.exchanges[name]
        hits = [b for b in self.bindings if b[0] == name and (type == "fanout" or b[3] == key)]
        found = {b[2] for b in hits if b[1] == "queue"}
        further = [b[2] for b in hits if b[1] == "exchange"]
        if not hits and alternate in self.exchanges:
            further = [str(alternate)]
        for target in further:
            found |= self.reach(target, key, seen)
        return found


class Pair:
    """A broker's client and the model, driven side by side."""

    def __init__(self) -> None:
        self.model = Model()
        self.client = Client(Broker())
        self.definitions = self.client.broker.definitions
        self.session = self.client.session

    def declare_exchange(self, name: str, type: str, auto: bool, alternate: str | None) -> None:
        if name not in self.model.exchanges:
            arguments = {} if alternate is None else {"alternate-exchange": alternate}
            self.client.exchange(name, type, auto_delete=auto, arguments=arguments)
            self.model.exchanges[name] = (type, auto, alternate)

    def declare_queue(self, name: str) -> None:
        self.client.declare(name)
        self.model.queues.add(name)

    def delete_exchange(self, name: str) -> None:
        self.definitions.delete_exchange(self.session, name, False)
        if name in self.model.exchanges:
            self.model.drop_exchange(name)

    def delete_queue(self, name: str) -> None:
        if name in self.model.queues:
            self.definitions.drop_queue(self.definitions.queue(self.session, name))
            self.model.drop_queue(name)

    def bind(self, source: str, kind: str, destination: str, key: str, undo: bool) -> None:
        known = self.model.queues if kind == "queue" else self.model.exchanges
        if source not in self.model.exchanges or destination not in known:
            return
        do: Any = getattr(self.definitions, f"{'un' if undo else ''}bind_{kind}")
        do(self.session, destination, source, key, {})
        if not undo:
            self.model.bindings.add((source, kind, destination, key))
        elif (source, kind, destination, key) in self.model.bindings:
            self.model.drop_binding((source, kind, destination, key))

    def check(self) -> None:
        host = self.client.broker.vhosts["/"]
        assert {n for n in host.exchanges if n in EXCHANGES} == set(self.model.exchanges)
        assert set(host.queues) == self.model.queues
        for name in self.model.exchanges:
            for key in KEYS:
                queues, by_content = host.route(host.exchanges[name], [key], None)
                assert len(queues) == len({queue.name for queue in queues}), "each queue once"
                assert {queue.name for queue in queues} == self.model.reach(name, key, set())
                assert not by_content
        check(self.client.broker)


exchange, queue = st.sampled_from(EXCHANGES), st.sampled_from(QUEUES)
ends = st.one_of(st.tuples(st.just("queue"), queue), st.tuples(st.just("exchange"), exchange))
bindings = st.tuples(exchange, ends, st.sampled_from(KEYS), st.sampled_from([False, False, True]))
declarations = st.tuples(
    exchange,
    st.sampled_from(["direct", "fanout"]),
    st.booleans(),
    st.sampled_from([None, None, *EXCHANGES, "gone"]),
)
changes = st.one_of(
    declarations.map(lambda d: ("declare_exchange", *d)),
    st.tuples(st.just("declare_queue"), queue),
    st.tuples(st.just("delete_exchange"), exchange),
    st.tuples(st.just("delete_queue"), queue),
    bindings.map(lambda b: ("bind", b[0], *b[1], *b[2:])),
    bindings.map(lambda b: ("bind", b[0], *b[1], *b[2:])),
)
START = [("declare_exchange", name, "fanout", i > 1, None) for i, name in enumerate(EXCHANGES)]
START += [("declare_queue", name) for name in QUEUES]  # type: ignore[misc]


@settings(max_examples=200)
@given(st.lists(changes, max_size=25))
def test_a_virtual_host_agrees_with_the_model(script: list[tuple[Any, ...]]) -> None:
    pair = Pair()
    for name, *arguments in [*START, *script]:
        getattr(pair, name)(*arguments)
    pair.check()


def test_an_exchange_may_go_before_its_queues() -> None:
    pair = Pair()
    for step in [*START, ("bind", "e0", "queue", "q0", "a", False), ("delete_exchange", "e0")]:
        getattr(pair, step[0])(*step[1:])
    pair.delete_queue("q0")
    pair.check()


def test_exchanges_in_a_circle_are_walked_once() -> None:
    pair = Pair()
    for step in START:
        getattr(pair, step[0])(*step[1:])
    for i in range(3):
        pair.bind(f"e{i}", "exchange", f"e{(i + 1) % 3}", "", False)
        pair.bind(f"e{i}", "exchange", f"e{i}", "", False)
        pair.bind(f"e{i}", "queue", f"q{i}", "", False)
    pair.check()
    assert len(pair.model.reach("e1", "k", set())) == 3


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
    route = client.broker.route("/", "in", "k", False, 1, 0)
    assert route.by_content and {queue.name for queue in route.queues} == {"a", "b"}
    for headers, expected in (({"x": 1}, "a"), ({"x": 2}, "b"), ({}, "b")):
        (found,) = host.route(host.exchanges["in"], ["k"], headers)[0]
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
    refused(NotFound, client.broker.route, "/", "none", "k", False, 1, 0)
    refused(ResourceLocked, definitions.queue, other.session, "mine")
    refused(ResourceLocked, other.declare, "mine")
    refused(ResourceLocked, client.declare, "mine")
    client.exchange("inner", internal=True)
    refused(AccessRefused, client.broker.route, "/", "inner", "k", False, 1, 0)
    assert client.declare("amq.gen-1", generated=True).name == "amq.gen-1"
    check(client.broker)


def test_deleting_under_conditions() -> None:
    client = Client(Broker())
    definitions, session = client.broker.definitions, client.session
    queue = client.declare()
    client.publish(queue, 1, 2)
    refused(PreconditionFailed, definitions.delete_queue, queue, False, True)
    client.consume(queue)
    refused(PreconditionFailed, definitions.delete_queue, queue, True, False)
    client.broker.cancel(client.channel, "c")
    assert definitions.delete_queue(queue, True, False) == 2
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
