"""The oracle's own exchanges, queues and bindings: obvious, not fast, and sharing nothing with the Broker."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mansio.codec.amqp_values import Table
from tests.sim.choices import CHOOSERS, EXPRESSIONS, Choices, Target, Way, place_of
from tests.sim.policies import PolicySet
from tests.sim.repeats import Follower, Seen, Window, make_window
from tests.sim.retries import Waiting
from tests.sim.streams import Group, Stream, ask_stream, make_group, make_stream
from tests.sim.wire import Message

if TYPE_CHECKING:
    from tests.sim.model import Channel, Connection, Consumer

QUORUM_LIMIT = 20
PRODUCERS_MAX = 65_536
QUARANTINE = "mansio.quarantine"
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
    """Of the publish on its channel: 0 without confirms, or COMMITTED."""
    delivered: bool = False
    arrived_ms: int = 0
    priority: int = 0
    """As far as the broker knew it when it came: 0 where no queue on its way asked for it."""
    level: int = 0
    """The same, as far as its queue has that."""
    expires_ms: int | None = None
    deliveries: int = 0
    """How often it was given back, in a queue that counts."""
    due: tuple[int, int] = (0, 0)
    """When it was to be ready again, the last time that this was counted: not before and not behind; 0: at once."""
    seen: tuple[tuple[Window, Seen], ...] = ()
    """What remembers its id, and as what."""
    followers: list[Follower] = field(default_factory=list)
    """Publishes that were not taken since the queue has this one."""
    asks: bool = False
    """Its end in this queue has to be told."""
    handed: int = 0
    """How often it was delivered, without what a crash has interrupted."""
    accepted: bool = False
    """Its queue may refuse it no more: that does something else since."""
    returned: int = 0
    """How often it came back, in a queue that does not count that, if its end has to be told."""

    def __repr__(self) -> str:
        return f"{self.message} at {self.position}"

    @property
    def order(self) -> tuple[int, int]:
        """Its place among what is ready."""
        return -self.level, self.position

    def __lt__(self, other: Entry) -> bool:
        return self.order < other.order


@dataclass(slots=True, eq=False)
class Queue:
    """`incarnation`: how many durable queues of this name there were before, which is how the log tells them apart."""

    name: str
    durable: bool
    auto_delete: bool
    owner: Connection | None
    arguments: Table
    incarnation: int
    asked: Table = field(default_factory=dict)
    """What it has to do: its arguments, with what policies say."""
    length_max: int | None = None
    bytes_max: int | None = None
    unmeasured: bool = False
    """A policy has bounded its bytes: what is paged out is read for that first."""
    rejects: bool = False
    strategy: str = "round-robin"
    single: bool = False
    timeout_ms: int | None = None
    active: Consumer | None = None
    """The one that gets everything, if there is to be a single one."""
    ttl_ms: int | None = None
    lease_ms: int | None = None
    """How long it may be unused."""
    letters_to: str | None = None
    letter_key: str | None = None
    letters_refused: bool = False
    levels: int = 0
    counts: bool = False
    """How often its messages were given back is counted."""
    limit: int = -1
    """How often they may be; below 0: any number of times."""
    retry: dict[str, Any] | None = None
    """When what clients give back is tried again; None: at once."""
    deferred: list[Waiting] = field(default_factory=list)
    unique: bool = False
    """It takes no message that has the id of another one that it has."""
    window: Window | None = None
    """It takes no message with an id that this knows."""
    used_ms: int = 0
    last_put: dict[int, int] = field(default_factory=dict)
    """By level: the highest position that a client has published."""
    last_letter: int = -1
    enforced: bool = False
    """Its bound was enforced in this turn: nothing may be delivered from it any more."""
    deleted: bool = False
    hidden: bool = False
    """It holds what an exchange remembers."""
    stream: Stream | None = None
    group: Group | None = None
    ready: list[Entry] = field(default_factory=list)
    in_flight: int = 0
    fresh: int = 0
    """Entries that came since its bounds were last enforced."""
    next_position: int = 0
    consumers: list[Consumer] = field(default_factory=list)
    by_message: dict[Message, list[Entry]] = field(default_factory=dict)
    """Ready entries that are not delivered in this turn, by their message."""
    taken: list[Entry] = field(default_factory=list)
    """Entries that were delivered in this turn, still in `ready`."""

    def __repr__(self) -> str:
        return f"queue {self.name}"

    @property
    def logged(self) -> bool:
        return self.durable and self.owner is None

    def place(self, position: int) -> tuple[str, int, int]:
        """How a message of this queue is named in the log."""
        return self.name, self.incarnation, position

    def append(self, entry: Entry) -> None:
        """Puts a message where the broker says that it went, at the end or not far from there."""
        self.next_position = max(self.next_position, entry.position + 1)
        self.put_back(entry)
        self.fresh += 1

    def make_entry(
        self,
        message: Message,
        position: int,
        turn: int,
        publisher: Channel,
        number: int,
        now_ms: int,
        priority: int,
    ) -> Entry:
        """A message as this queue keeps it; `priority`: as far as it is known."""
        entry = Entry(position, message, turn, publisher, number, arrived_ms=now_ms)
        entry.priority = priority
        self.sort(entry)
        entry.asks = message.asks_receipt is not None and not self.hidden
        return entry

    def sort(self, entry: Entry) -> None:
        """What the rules of the queue make of a message: its level, and its end."""
        entry.level = min(entry.priority, self.levels)
        times = [ms for ms in (self.ttl_ms, entry.message.expiration_ms) if ms is not None]
        if self.hidden:
            times.clear()
        entry.expires_ms = entry.arrived_ms + min(times) if times else None

    def put_back(self, entry: Entry) -> None:
        insort(self.ready, entry)
        self.by_message.setdefault(entry.message, []).append(entry)

    def take(self, message: Message) -> Entry | None:
        """The first entry of this message that is ready, and was not taken in this turn."""
        entries = self.by_message.get(message)
        if not entries:
            return None
        entry = min(entries)
        self._forget(entry)
        return entry

    def take_head(self) -> Entry:
        entry = self.ready.pop(0)
        self._forget(entry)
        return entry

    def newest(self) -> Entry:
        """What came last of what is ready."""
        return max(self.ready, key=lambda entry: entry.position)

    def remove(self, entry: Entry) -> None:
        """It is not ready any more."""
        self.ready.remove(entry)
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        entries = self.by_message[entry.message]
        entries.remove(entry)
        if not entries:
            del self.by_message[entry.message]

    def head_expired(self, now_ms: int) -> bool:
        """Whether what would be delivered next may not be any more."""
        if not self.ready:
            return False
        expires_ms = self.ready[0].expires_ms
        return expires_ms is not None and expires_ms <= now_ms

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

    def waiting(self) -> list[Entry]:
        """What is ready or deferred."""
        return [*self.ready, *(each.entry for each in self.deferred)]

    def clear(self) -> int:
        """Empties it; how many there were, without those in flight."""
        count = len(self.ready) + len(self.deferred)
        self.ready.clear()
        self.deferred.clear()
        self.by_message.clear()
        return count


def ask(queue: Queue, asked: Any) -> None:
    """From now on the queue has to do this. What is in it is not looked at."""
    queue.asked = asked
    length_max, bytes_max = asked.get("x-max-length"), asked.get("x-max-length-bytes")
    queue.length_max = length_max if isinstance(length_max, int) else None
    if queue.stream is None:
        queue.bytes_max = bytes_max if isinstance(bytes_max, int) else None
        queue.unmeasured = "x-max-length-bytes" in asked.keys() - queue.arguments.keys()
    else:
        ask_stream(queue.stream, asked)
    timeout_ms = asked.get("x-consumer-timeout")
    queue.timeout_ms = timeout_ms if isinstance(timeout_ms, int) else None
    overflow = asked.get("x-overflow")
    queue.rejects = overflow in ("reject-publish", "reject-publish-dlx")
    queue.letters_refused = overflow == "reject-publish-dlx"
    queue.ttl_ms = asked.get("x-message-ttl")
    queue.lease_ms = asked.get("x-expires")
    queue.letters_to = asked.get("x-dead-letter-exchange")
    queue.letter_key = asked.get("x-dead-letter-routing-key")
    queue.levels = asked.get("x-max-priority", 0)
    queue.retry = asked.get("x-retry")
    if asked.get("x-queue-type") == "quorum":
        usual = QUORUM_LIMIT if queue.retry is None else -1
        queue.limit = asked.get("x-delivery-limit", usual)
        queue.counts = queue.retry is None or queue.limit >= 0


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
    window: Window | None = None


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
        self.producers_max = PRODUCERS_MAX
        """So many producers a stream remembers."""
        self.policies = PolicySet()
        self.restoring = False
        """Nothing goes by itself: the log names whatever went."""

    def add_queue(
        self,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: Connection | None,
        arguments: Table,
        hidden: bool = False,
    ) -> Queue:
        queue = Queue(name, durable, auto_delete, owner, arguments, self.declared.get(name, 0))
        queue.stream = make_stream(queue, arguments, self.producers_max)
        queue.group = make_group(self.queues, queue, arguments)
        queue.single = arguments.get("x-single-active-consumer") is True
        queue.strategy = str(arguments.get("x-dispatch-strategy", "round-robin"))
        if queue.stream is None:
            queue.window = make_window(arguments, queue.logged)
            if "x-cache-ttl" not in arguments:
                queue.unique, queue.window = queue.window is not None, None
        ask(queue, arguments if hidden else self.policies.asked(name, arguments))
        if queue.logged:
            self.declared[name] = queue.incarnation + 1
        self.queues[name] = queue
        return queue

    def add_exchange(self, exchange: Exchange) -> None:
        self.exchanges[exchange.name] = exchange
        exchange.window = make_window(exchange.arguments, exchange.durable)
        if exchange.type == "x-recent-history":
            length = exchange.arguments.get("x-recent-history-length", 20)
            arguments: Table = {"x-max-length": length}
            history = self.add_queue(
                history_of(exchange.name), exchange.durable, False, None, arguments, hidden=True
            )
            history.hidden = True
            exchange.history = history
            del self.queues[history.name]

    def all_queues(self) -> list[Queue]:
        """Those that clients can name, and those that hold what exchanges remember."""
        found = [each.history for each in self.exchanges.values() if each.history is not None]
        return [*self.queues.values(), *found]

    def find(self, name: str) -> Queue | None:
        """A queue of this name, also one that holds what an exchange remembers."""
        found = self.queues.get(name)
        if found is None:
            found = next((each for each in self.all_queues() if each.name == name), None)
        return found

    def remove_queue(self, name: str) -> None:
        queue = self.queues.pop(name)
        if queue.group is not None and queue.group.source.stream is not None:
            queue.group.source.stream.groups.remove(queue)
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
            alternate = self.policies.alternate(exchange.name, exchange.arguments)
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
            known = self.queues
            return [(True, key) for key in keys if key in known and known[key].group is None]
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
