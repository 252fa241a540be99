"""The oracle's own exchanges, queues and bindings: obvious, not fast, and sharing nothing with the Broker."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mansio.codec.amqp_values import Table
from tests.sim.choices import CHOOSERS, EXPRESSIONS, Choices, Target, Way, place_of
from tests.sim.wire import Message

if TYPE_CHECKING:
    from tests.sim.model import Channel, Connection, Consumer

PREDECLARED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.topic": "topic",
}

NO_STORE = "x-recent-history-no-store"


@dataclass(slots=True, eq=False)
class Entry:
    """A message in one queue. `position`: its place among all that the queue ever had."""

    position: int
    message: Message
    turn: int
    publisher: Channel
    number: int
    """Of the publish on its channel, 0 without confirms, or COMMITTED."""
    delivered: bool = False

    def __lt__(self, other: Entry) -> bool:
        return self.position < other.position


@dataclass(slots=True, eq=False)
class Queue:
    """`incarnation`: how many durable queues of this name there were before, which is how the log tells them apart."""

    name: str
    durable: bool
    auto_delete: bool
    owner: Connection | None
    arguments: Table
    incarnation: int
    length_max: int | None = None
    bytes_max: int | None = None
    rejects: bool = False
    strategy: str = "round-robin"
    single: bool = False
    timeout_ms: int | None = None
    active: Consumer | None = None
    """The one that gets everything, if there is to be a single one."""
    deleted: bool = False
    hidden: bool = False
    """It holds what an exchange remembers."""
    ready: list[Entry] = field(default_factory=list)
    in_flight: int = 0
    fresh: int = 0
    """Entries that came since its bounds were last enforced."""
    next_position: int = 0
    consumers: list[Consumer] = field(default_factory=list)
    by_number: dict[int, Entry] = field(default_factory=dict)
    """Ready entries by the number of their message."""
    taken: list[Entry] = field(default_factory=list)
    """Entries that were delivered in this turn, still in `ready`."""

    @property
    def logged(self) -> bool:
        return self.durable and self.owner is None

    def place(self, position: int) -> tuple[str, int, int]:
        """How a message of this queue is named in the log."""
        return self.name, self.incarnation, position

    def append(self, message: Message, turn: int, publisher: Channel, number: int) -> Entry:
        entry = Entry(self.next_position, message, turn, publisher, number)
        self.next_position += 1
        self.ready.append(entry)
        self.by_number[message.number] = entry
        self.fresh += 1
        return entry

    def put_back(self, entry: Entry) -> None:
        insort(self.ready, entry)
        self.by_number[entry.message.number] = entry

    def take_head(self) -> Entry:
        entry = self.ready.pop(0)
        del self.by_number[entry.message.number]
        return entry

    def take_tail(self) -> Entry:
        entry = self.ready.pop()
        del self.by_number[entry.message.number]
        return entry

    @property
    def too_much(self) -> bool:
        """More is ready than the queue's bounds allow."""
        if self.length_max is not None and len(self.ready) > self.length_max:
            return True
        if self.bytes_max is None:
            return False
        return sum(len(entry.message.body) for entry in self.ready) > self.bytes_max

    def excess(self) -> int:
        """How many have to go from the front."""
        ready = list(self.ready)
        while self.too_much:
            self.ready.pop(0)
        count = len(ready) - len(self.ready)
        self.ready[:] = ready
        return count

    def clear(self) -> int:
        count = len(self.ready)
        self.ready.clear()
        self.by_number.clear()
        return count


@dataclass(slots=True, eq=False)
class Binding:
    """To a queue or to an exchange, by name."""

    to_queue: bool
    destination: str
    key: str
    arguments: Table

    @property
    def identity(self) -> tuple[bool, str, str, str]:
        return self.to_queue, self.destination, self.key, repr(sorted(self.arguments.items()))


@dataclass(slots=True, eq=False)
class Exchange:
    """`bindings`: those that begin here."""

    name: str
    type: str
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Table = field(default_factory=dict)
    bindings: dict[tuple[bool, str, str, str], Binding] = field(default_factory=dict)
    history: Queue | None = None


def history_of(name: str) -> str:
    """The name of the queue that holds what this exchange remembers."""
    return f"history of {name}"


class Topology:
    """Exchanges and queues by name."""

    def __init__(self) -> None:
        self.exchanges = {name: Exchange(name, type) for name, type in PREDECLARED.items()}
        self.exchanges["amq.rabbitmq.trace"] = Exchange(
            "amq.rabbitmq.trace", "topic", internal=True
        )
        self.queues: dict[str, Queue] = {}
        self.declared: dict[str, int] = {}
        """How many durable queues of a name there have been."""
        self.choices = Choices()
        self.restoring = False
        """Nothing goes by itself: the log names whatever went."""

    def add_queue(
        self,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: Connection | None,
        arguments: Table,
    ) -> Queue:
        queue = Queue(name, durable, auto_delete, owner, arguments, self.declared.get(name, 0))
        length_max = arguments.get("x-max-length")
        bytes_max = arguments.get("x-max-length-bytes")
        queue.length_max = length_max if isinstance(length_max, int) else None
        queue.bytes_max = bytes_max if isinstance(bytes_max, int) else None
        queue.single = arguments.get("x-single-active-consumer") is True
        queue.strategy = str(arguments.get("x-dispatch-strategy", "round-robin"))
        timeout_ms = arguments.get("x-consumer-timeout")
        queue.timeout_ms = timeout_ms if isinstance(timeout_ms, int) else None
        queue.rejects = arguments.get("x-overflow") == "reject-publish"
        if queue.logged:
            self.declared[name] = queue.incarnation + 1
        self.queues[name] = queue
        return queue

    def add_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.name] = exchange
        if exchange.type == "x-recent-history":
            length = exchange.arguments.get("x-recent-history-length", 20)
            arguments: Table = {"x-max-length": length}
            history = self.add_queue(
                history_of(exchange.name), exchange.durable, False, None, arguments
            )
            history.hidden = True
            exchange.history = history
            del self.queues[history.name]

    def all_queues(self) -> list[Queue]:
        """Those that clients can name, and those that hold what exchanges remember."""
        found = [each.history for each in self.exchanges.values() if each.history is not None]
        return [*self.queues.values(), *found]

    def remove_queue(self, name: str) -> None:
        del self.queues[name]
        self._unbind_all(True, name)

    def remove_exchange(self, name: str) -> None:
        gone = self.exchanges.pop(name)
        if gone.history is not None:
            gone.history.deleted = True
            gone.history.clear()
        self._unbind_all(False, name)

    def unbind(self, source: Exchange, binding: Binding) -> None:
        """Removes a binding, and with it an auto-delete source that has no other."""
        if source.bindings.pop(binding.identity, None) is None:
            return
        unused = source.auto_delete and not source.bindings and not self.restoring
        if unused and source.name in self.exchanges:
            self.remove_exchange(source.name)

    def _unbind_all(self, to_queue: bool, name: str) -> None:
        for source in list(self.exchanges.values()):
            for binding in list(source.bindings.values()):
                if binding.to_queue == to_queue and binding.destination == name:
                    self.unbind(source, binding)

    def route(self, message: Message, names: set[str] | None) -> list[Queue] | None:
        """Every queue that the message reaches, once; where there is a choice, those of these names.

        None if no choice leads to them.
        """
        way = Way()
        fitting: list[list[Queue]] = []
        while True:
            queues = self._follow(message, way)
            if not way.choices:
                return queues
            if {queue.name for queue in queues} == names:
                fitting.append(queues)
                made = list(way.choices)
            if not way.advance():
                break
        if len(fitting) == 1:  # else nobody knows which way it went
            self.choices.remember(made)
        return fitting[0] if fitting else None

    def _follow(self, message: Message, way: Way) -> list[Queue]:
        keys = [message.key, *message.copies]
        found: dict[str, Queue] = {}
        histories: list[Queue] = []
        seen = [message.exchange]
        for name in seen:
            exchange = self.exchanges[name]
            if exchange.history is not None and message.headers.get(NO_STORE) is not True:
                histories.append(exchange.history)
            targets = self._targets(exchange, keys, message, way)
            alternate = exchange.arguments.get("alternate-exchange")
            if not targets and isinstance(alternate, str) and alternate in self.exchanges:
                targets = [(False, alternate)]
            for to_queue, target in targets:
                if to_queue:
                    found[target] = self.queues[target]
                elif target not in seen:
                    seen.append(target)
        return [*found.values(), *histories]

    def _targets(
        self, exchange: Exchange, keys: list[str], message: Message, way: Way
    ) -> list[Target]:
        if exchange.name == "":
            return [(True, key) for key in keys if key in self.queues]
        bindings = [(each.to_queue, each.destination) for each in exchange.bindings.values()]
        if exchange.type in CHOOSERS:
            identities = tuple(exchange.bindings)
            place = place_of(exchange.name, exchange.type, identities, exchange.arguments, message)
            return way.choose(self.choices.options(place, bindings), place)
        return [
            (binding.to_queue, binding.destination)
            for binding in exchange.bindings.values()
            if any(matches(exchange.type, binding, key, message) for key in keys)
        ]


def matches(kind: str, binding: Binding, key: str, message: Message) -> bool:
    """Whether a binding of an exchange of this type lets the message through."""
    headers = message.headers
    if kind in ("fanout", "x-recent-history"):
        return True
    if kind == "x-content":
        text = binding.arguments.get("x-match-expression", binding.key)
        return EXPRESSIONS[str(text)](message)
    if kind == "direct":
        return binding.key == key
    if kind == "topic":
        return matches_topic(words(binding.key), words(key))
    how = binding.arguments.get("x-match", "all")
    pattern = {
        name: value
        for name, value in binding.arguments.items()
        if name != "x-match" and (str(how).endswith("-with-x") or not name.startswith("x-"))
    }
    agree = [
        name in headers
        and (value is None or (type(headers[name]) is type(value) and headers[name] == value))
        for name, value in pattern.items()
    ]
    return any(agree) if str(how).startswith("any") else all(agree)


def words(key: str) -> list[str]:
    return key.split(".") if key else []


def matches_topic(pattern: list[str], key: list[str]) -> bool:
    """`*` is one word, `#` any number of them; the empty key has no word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(matches_topic(pattern[1:], key[i:]) for i in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and matches_topic(pattern[1:], key[1:])
