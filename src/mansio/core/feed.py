"""What an exchange hands on at once: to listeners that have no queue, for what begins with their prefixes.

    publish ──► routes of the exchange ──► bound queues
                      └─ somebody wants such a key ──► the feed ──end of the turn──► rendered once ──► each listener

A topic is the routing key as bytes. Nothing is kept: a message is for who listens when it comes. A feed is a queue that
no client can name and that is empty after each turn, so a message in it counts as routed, and whoever publishes pays
nothing where nobody listens: the feed is found with the route, which is remembered.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from mansio.core.queue import Queue
from mansio.core.routing import Exchange
from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Session

KNOWN_MAX: Final = 4096
"""Topics of which a feed remembers who wants them; then they are forgotten and found again."""


class Listener(Protocol):
    """Who is told at once. All listeners render alike."""

    def render(self, run: Run, start: int, stop: int, wanted: bytes | None) -> bytes:
        """Messages [start, stop) of a run as they go to every listener. `wanted`: by number of the route, 0 for those
        that are left out."""

    def hear(self, data: bytes, count: int) -> None:
        """So many messages, rendered."""

    def silenced(self, why: str) -> None:
        """There is nothing to be heard any more: the exchange is gone."""


class Feed(Queue):
    """The listeners of one exchange, and what came for them in this turn."""

    __slots__ = ("_feeds", "_known", "_listeners", "_sizes", "exchange")

    def __init__(self, id: int, exchange: Exchange, vhost: str, feeds: "Feeds") -> None:
        super().__init__(id, vhost, f"feed of {exchange.name}")
        self.exchange = exchange
        self.dirty = True  # it is not the dispatcher's
        self._feeds = feeds
        self._listeners: dict[bytes, dict[Listener, None]] = {}  # by prefix
        self._sizes: list[int] = []  # of prefixes, each once, rising
        self._known: dict[bytes, tuple[Listener, ...]] = {}

    def append(self, run: Run) -> int:
        """See `Queue`."""
        if not self.ready_count:
            self._feeds.pending.append(self)
        return super().append(run)

    def add(self, prefix: bytes, listener: Listener) -> bool:
        """It listens from now on; whether nobody had asked for this prefix."""
        self._known.clear()
        listeners = self._listeners.get(prefix)
        if listeners is not None:
            listeners[listener] = None
            return False
        self._listeners[prefix] = {listener: None}
        self._sizes = sorted({len(each) for each in self._listeners})
        return True

    def remove(self, prefix: bytes, listener: Listener) -> bool:
        """It listens no more; whether nobody asks for this prefix now."""
        listeners = self._listeners.get(prefix)
        if listeners is None or listener not in listeners:
            return False
        self._known.clear()
        del listeners[listener]
        if listeners:
            return False
        del self._listeners[prefix]
        self._sizes = sorted({len(each) for each in self._listeners})
        return True

    @property
    def deserted(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    def listeners(self) -> list[Listener]:
        """All of them."""
        return list(dict.fromkeys(each for some in self._listeners.values() for each in some))

    def wants(self, key: str) -> bool:
        """Whether somebody asks for messages with this routing key."""
        return bool(self._find(topic_of(key)))

    def may_want(self, key: str) -> bool:
        """The same for messages of which it is known only that they begin like this."""
        topic = topic_of(key)
        if self._find(topic):
            return True
        return any(prefix.startswith(topic) for prefix in self._listeners)

    def _find(self, topic: bytes) -> tuple[Listener, ...]:
        found = self._known.get(topic)
        if found is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            found = self._known[topic] = self._match(topic)
        return found

    def _match(self, topic: bytes) -> tuple[Listener, ...]:
        found: dict[Listener, None] = {}
        for size in self._sizes:
            if size > len(topic):
                break
            listeners = self._listeners.get(topic[:size])
            if listeners:
                found.update(listeners)
        return tuple(found)

    def hand_out(self, broker: "Broker") -> None:
        """What came in this turn goes to who listens, and is done with."""
        for span in self.take_all():
            run = span.run
            if run.routes[0].whole:
                bodies = broker.letters.bodies(run, span.start, span.stop)
                self._tell_by_body(run, span.start, bodies)
            elif run.which is None:
                self._tell(
                    self._find(topic_of(run.routes[0].routing_key)), run, span.start, span.stop
                )
            else:
                self._tell_by_route(run, run.which, span.start, span.stop)
            count = span.stop - span.start
            broker.settling.settled(self, run, span.base + span.start, count, 1)

    def _tell(
        self,
        listeners: Sequence[Listener],
        run: Run,
        start: int,
        stop: int,
        wanted: bytes | None = None,
    ) -> None:
        if not listeners:
            return
        data = listeners[0].render(run, start, stop, wanted)
        count = stop - start
        if wanted is not None and run.which is not None:
            which = run.which[start:stop]
            count = sum(which.count(number) for number, want in enumerate(wanted) if want)
        for listener in listeners:
            listener.hear(data, count)

    def _tell_by_route(self, run: Run, which: bytes, start: int, stop: int) -> None:
        """Those who want the same messages of the run share the bytes."""
        routes = run.routes
        wanted: dict[Listener, bytearray] = {}
        for number in sorted(set(which[start:stop])):
            for listener in self._find(topic_of(routes[number].routing_key)):
                if listener not in wanted:
                    wanted[listener] = bytearray(len(routes))
                wanted[listener][number] = 1
        alike: dict[bytes, list[Listener]] = {}
        for listener, numbers in wanted.items():
            alike.setdefault(bytes(numbers), []).append(listener)
        for same, listeners in alike.items():
            self._tell(listeners, run, start, stop, same)

    def _tell_by_body(self, run: Run, start: int, bodies: list[bytes]) -> None:
        """Messages whose topic is what they begin with."""
        last: tuple[Listener, ...] = ()
        begin = start
        for i, body in enumerate(bodies, start):
            found = self._match(body)
            if found != last:
                self._tell(last, run, begin, i)
                last, begin = found, i
        self._tell(last, run, begin, start + len(bodies))


def topic_of(key: str) -> bytes:
    """A routing key as bytes."""
    return key.encode("utf-8", "surrogateescape")


class Feeds:
    """All feeds of a broker: an exchange has one as long as somebody listens."""

    def __init__(self, broker: "Broker") -> None:
        self.pending: list[Feed] = []
        """In which something came in this turn."""
        self.dropped_messages = 0
        """Messages for listeners that were too slow, once for each of them."""
        self._broker = broker

    def listen(self, session: "Session", exchange: str, prefix: bytes, listener: Listener) -> None:
        """It gets from now on what is published to the exchange with a key that begins so; NotFound, AccessRefused.

        A permission for topics is asked for what that is, the prefix and anything behind it, which is written as a
        binding key would be: one for "^news$" does not open "news.secret".
        """
        host = self._broker.vhosts[session.vhost]
        found = host.exchange(exchange)
        rights = session.rights
        rights.check_read("exchange", exchange)
        if rights.topics and found.type == "topic":
            rights.check_read_topic(exchange, prefix.decode("utf-8", "surrogateescape") + "#")
        if found.feed is None:
            id = self._broker.definitions.take_id()
            found.feed = Feed(id, found, host.name, self)
        if found.feed.add(prefix, listener):
            host.version += 1

    def leave(self, vhost: str, exchange: str, prefix: bytes, listener: Listener) -> None:
        """It does not any more."""
        host = self._broker.vhosts.get(vhost)
        found = None if host is None else host.exchanges.get(exchange)
        if host is None or found is None or found.feed is None:
            return
        if found.feed.remove(prefix, listener):
            host.version += 1
            if found.feed.deserted:
                found.feed = None

    def dropped(self, exchange: Exchange) -> None:
        """An exchange is gone."""
        feed, exchange.feed = exchange.feed, None
        if feed is not None:
            for listener in feed.listeners():
                listener.silenced(f"exchange '{exchange.name}' is deleted")

    def turned(self) -> None:
        """A turn ends."""
        pending, self.pending = self.pending, []
        for feed in pending:
            feed.hand_out(self._broker)
