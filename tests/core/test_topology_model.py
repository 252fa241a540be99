"""A virtual host under random changes, against a plain model."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.broker import Broker
from mansio.core.check import check
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
