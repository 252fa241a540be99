"""Exchanges, bindings, and the routes that are found by them. How each type chooses: `exchange_types.py`."""

from typing import TYPE_CHECKING, Any

from mansio.core.exchange_types import MATCHERS
from mansio.core.field_values import NO_HEADERS, Arguments, freeze
from mansio.core.matching import NO_MEANS, Means

if TYPE_CHECKING:
    from mansio.core.deduplication import Window
    from mansio.core.feed import Feed
    from mansio.core.history import History
    from mansio.core.queue import Queue

__all__ = ["NO_HEADERS", "Arguments", "Binding", "Exchange", "Route", "freeze"]


class Exchange:
    """A named exchange; `bindings` are those that it is the source of, in order of creation.

    `history`: what `x-recent-history` remembers, a queue that only the exchange itself knows. `feed`: who is told at
    once, without a queue; None where nobody is.
    """

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "dedup",
        "durable",
        "feed",
        "history",
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
        means: Means = NO_MEANS,
    ) -> None:
        """PreconditionFailed for arguments that make no sense with this type."""
        self.name = name
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.alternate: str | None = arguments.get("alternate-exchange")
        self.bindings: dict[Any, Binding] = {}
        self.matcher = MATCHERS[type](arguments, means)
        self.feed: Feed | None = None
        self.history: History | None = None
        self.dedup: Window | None = None  # it takes messages with the same id once; see `VHost`


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
        return self.source.durable and self.destination.lasting

    @property
    def to_exchange(self) -> bool:
        """Whether it leads to an exchange, and not to a queue."""
        return isinstance(self.destination, Exchange)

    def identity(self) -> Any:
        """What makes two bindings of one source the same: destination, key and arguments."""
        return self.to_exchange, self.destination.name, self.key, freeze(self.arguments)


class Route:
    """Where one publish method frame leads; remembered by the connection until the topology changes.

    `group`: (channel, queue id) of the queues: runs of several channels are never joined. `by_content`: a headers
    exchange is on the way, so every message is routed by itself and `group` holds all that may be reached. `looked_at`:
    each message has to be looked at, for that or because a queue asks for its priority or its id; `levels`: up to which
    priority all queues tell messages apart, 0 if one of them has a bound. `window`: what the exchange remembers, if it
    does. `streams`: how many of the queues are streams. `whole`: its messages begin with their topics, of which the
    routing key is only a part; feeds look at their bodies.

    `fresh` and `again` belong to the front: what it needs to encode a delivery.
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
        "in_order",
        "levels",
        "looked_at",
        "mandatory",
        "queues",
        "routing_key",
        "skip",
        "streams",
        "whole",
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
        self.levels = min(
            (queue.rules.levels if queue.bound is None else 0 for queue in queues), default=0
        )
        self.window: Window | None = None
        self.window_durable = False
        self.deduplicates = any(queue.dedup is not None for queue in queues)
        """Whether somebody on the way asks for the ids of messages."""
        # A client that settles a message may publish its id again.
        self.in_order = self.deduplicates
        self.looked_at = (
            by_content or self.deduplicates or any(queue.rules.levels for queue in queues)
        )
        self.streams = sum(queue.keeps for queue in queues)
        self.mandatory = mandatory
        self.channel = channel
        self.skip = skip
        self.whole = False
        self.frame_max = 0  # largest frame of the messages published with it
        self.fresh: Any = None
        self.again: Any = None

    def remember_in(self, exchange: Exchange) -> None:
        """Messages go by way of this exchange first."""
        if exchange.dedup is not None:
            self.window, self.window_durable = exchange.dedup, exchange.durable
            self.deduplicates = self.looked_at = True
