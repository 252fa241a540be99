"""Exchanges and how they choose: bindings in, destinations out (specification 3.1.3; headers as in RabbitMQ 3.10.8)."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mansio.core.deduplication import Window
    from mansio.core.queue import Queue

Arguments = Mapping[str, Any]
NO_HEADERS: Arguments = {}


class Exchange:
    """A named exchange; `bindings` are those that it is the source of, in order of creation."""

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "dedup",
        "durable",
        "internal",
        "matcher",
        "name",
        "type",
    )

    def __init__(
        self,
        name: str,
        type: str,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = NO_HEADERS,
    ) -> None:
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.alternate: str | None = arguments.get("alternate-exchange")
        self.bindings: dict[Any, Binding] = {}
        self.dedup: Window | None = None  # it takes messages with the same id once; see `VHost`
        self.matcher: Matcher = MATCHERS[type]()


class Binding:
    """`source` sends what matches `key` and `arguments` to `destination`."""

    __slots__ = ("arguments", "destination", "key", "source")

    def __init__(
        self, source: Exchange, destination: "Exchange | Queue", key: str, arguments: Arguments
    ) -> None:
        self.source = source
        self.destination = destination
        self.key = key
        self.arguments = arguments

    @property
    def durable(self) -> bool:
        """Whether it outlives a restart: both ends have to."""
        if isinstance(self.destination, Exchange):
            return self.source.durable and self.destination.durable
        return self.source.durable and self.destination.logged

    def identity(self) -> Any:
        """What makes two bindings of one source the same: destination, key and arguments."""
        kind = isinstance(self.destination, Exchange)
        return kind, self.destination.name, self.key, freeze(self.arguments)


def freeze(value: Any) -> Any:
    """A hashable form of a field table's value in which True differs from 1, and 1 from 1.0."""
    if isinstance(value, Mapping):
        return "F", tuple(sorted((key, freeze(item)) for key, item in value.items()))
    if isinstance(value, list):
        return "A", tuple(freeze(item) for item in value)
    return type(value).__name__, value if value.__hash__ else repr(value)


class Route:
    """Where one publish method frame leads; remembered by the connection until the topology changes.

    `group`: (channel, queue id) of the queues: runs of several channels are never joined. `by_content`: a headers
    exchange is on the way, so every message is routed by itself and `group` holds all that may be reached. `looked_at`:
    each message has to be looked at, for that or because a queue asks for its priority or its id; `sorts`: every queue
    asks for priorities and has no bound. `window`: what the exchange remembers, if it does. `fresh` and `again` belong
    to the front: what it needs to encode a delivery.
    """

    __slots__ = (
        "again",
        "by_content",
        "channel",
        "deduplicates",
        "exchange",
        "frame_max",
        "fresh",
        "group",
        "looked_at",
        "mandatory",
        "queues",
        "routing_key",
        "skip",
        "sorts",
        "window",
        "window_durable",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        queues: "tuple[Queue, ...]",
        by_content: bool = False,
        mandatory: bool = False,
        channel: int = 0,
        skip: int = 0,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.queues = queues
        # Another channel's publishes never join a run: confirms count by channel, and no order holds between channels.
        self.group = frozenset([(channel, queue.id) for queue in queues] or [(channel, 0)])
        self.by_content = by_content
        self.sorts = bool(queues) and all(
            queue.rules.levels and queue.bound is None for queue in queues
        )
        self.window: Window | None = None
        self.window_durable = False
        self.deduplicates = any(queue.dedup is not None for queue in queues)
        """Whether somebody on the way asks for the ids of messages."""
        self.looked_at = (
            by_content or self.deduplicates or any(queue.rules.levels for queue in queues)
        )
        self.mandatory = mandatory
        self.channel = channel
        self.skip = skip
        self.frame_max = 0  # largest frame of the messages published with it
        self.fresh: Any = None
        self.again: Any = None

    def remember_in(self, exchange: Exchange) -> None:
        """Messages go by way of this exchange first."""
        if exchange.dedup is not None:
            self.window, self.window_durable = exchange.dedup, exchange.durable
            self.deduplicates = self.looked_at = True


class Matcher(Protocol):
    """How one type of exchange chooses among its bindings."""

    def add(self, binding: Binding) -> None: ...

    def remove(self, binding: Binding) -> None: ...

    def match(self, key: str, headers: Arguments) -> Iterable[Binding]: ...


class DirectMatcher:
    """Bindings whose key equals the routing key."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Binding]] = {}

    def add(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, []).append(binding)

    def remove(self, binding: Binding) -> None:
        bindings = self._by_key[binding.key]
        bindings.remove(binding)
        if not bindings:
            del self._by_key[binding.key]

    def match(self, key: str, headers: Arguments) -> Iterable[Binding]:
        return self._by_key.get(key, ())


class FanoutMatcher:
    """Every binding."""

    def __init__(self) -> None:
        self._bindings: dict[int, Binding] = {}

    def add(self, binding: Binding) -> None:
        self._bindings[id(binding)] = binding

    def remove(self, binding: Binding) -> None:
        del self._bindings[id(binding)]

    def match(self, key: str, headers: Arguments) -> Iterable[Binding]:
        return self._bindings.values()


class _Node:
    """A word of topic patterns: what ends here and what follows."""

    __slots__ = ("ends", "next")

    def __init__(self) -> None:
        self.ends: list[Binding] = []
        self.next: dict[str, _Node] = {}


class TopicMatcher:
    """Patterns of words between dots: `*` is one word, `#` any number of them, in a tree by words."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, binding: Binding) -> None:
        node = self._root
        for word in _words(binding.key):
            node = node.next.setdefault(word, _Node())
        node.ends.append(binding)

    def remove(self, binding: Binding) -> None:
        path = [self._root]
        words = _words(binding.key)
        for word in words:
            path.append(path[-1].next[word])
        path[-1].ends.remove(binding)
        for i in range(len(words) - 1, -1, -1):
            node = path[i + 1]
            if not node.ends and not node.next:
                del path[i].next[words[i]]

    def match(self, key: str, headers: Arguments) -> Iterable[Binding]:
        words = _words(key)
        found: dict[int, Binding] = {}
        seen: set[tuple[int, int]] = set()
        todo = [(self._root, 0)]
        while todo:
            node, i = todo.pop()
            if (
                id(node),
                i,
            ) in seen:  # '#' meets itself again and again: each place is visited once
                continue
            seen.add((id(node), i))
            if i == len(words):
                found.update((id(binding), binding) for binding in node.ends)
            elif exact := node.next.get(words[i]):
                todo.append((exact, i + 1))
            if i < len(words) and (star := node.next.get("*")):
                todo.append((star, i + 1))
            if many := node.next.get("#"):
                todo.extend((many, j) for j in range(i, len(words) + 1))
        return found.values()


def _words(key: str) -> list[str]:
    """Words between dots; an empty key has none (RabbitMQ 3.10.8 observed)."""
    return key.split(".") if key else []


_WITH_X = ("all-with-x", "any-with-x")


class HeadersMatcher:
    """Bindings whose arguments agree with the message's headers, all or any; `x-…` only count with `…-with-x`."""

    def __init__(self) -> None:
        self._bindings: dict[int, tuple[Binding, bool, list[tuple[str, Any]]]] = {}

    def add(self, binding: Binding) -> None:
        how = binding.arguments.get("x-match", "all")
        with_x = how in _WITH_X
        pattern = [
            (key, value)
            for key, value in binding.arguments.items()
            if key != "x-match" and (with_x or not key.startswith("x-"))
        ]
        self._bindings[id(binding)] = (binding, how in ("any", "any-with-x"), pattern)

    def remove(self, binding: Binding) -> None:
        del self._bindings[id(binding)]

    def match(self, key: str, headers: Arguments) -> Iterable[Binding]:
        for binding, any_is_enough, pattern in self._bindings.values():
            agree = (_agrees(name, value, headers) for name, value in pattern)
            if any(agree) if any_is_enough else all(agree):
                yield binding


def _agrees(name: str, value: Any, headers: Arguments) -> bool:
    if name not in headers:
        return False
    other = headers[name]
    if value is None:  # a void value asks for presence
        return True
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, Decimal) != isinstance(other, Decimal):
        return False
    return bool(
        _text(value) == _text(other)
    )  # numbers by value, whatever their type (RabbitMQ 3.10.8 observed)


def _text(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


MATCHERS: dict[str, Callable[[], Matcher]] = {
    "direct": DirectMatcher,
    "fanout": FanoutMatcher,
    "topic": TopicMatcher,
    "headers": HeadersMatcher,
}
EXCHANGE_TYPES = tuple(MATCHERS)
