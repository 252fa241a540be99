"""Peers that PUBlish: what they say goes to an exchange, zmq.topic unless X-Exchange names another one.

    [topic, body…]    the routing key is the topic, and the body what follows
    [frame]           the body is the frame, and the routing key its first word, up to a space; so are messages whose
                      topic has more than 255 bytes, which is what a routing key may have. SUB peers choose by the
                      whole frame, and get what was sent; AMQP clients choose by the word

A PUB socket drops what does not leave: so it does while the broker is short of memory or disk, and is not read from.
"""

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.codec.resp import encode_contents as encode_bodies
from mansio.codec.zmtp import encode_message
from mansio.codec.zmtp_runs import encode_contents
from mansio.core.equivalence import describe
from mansio.core.errors import AccessRefused, BrokerError, NotFound, PreconditionFailed
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.protocol.zmtp.messages import PARTS_MAX
from mansio.protocol.zmtp.putting import MESSAGE_BYTES
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.wishes import exchange_of, wants_persistence

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

ROUTES_MAX: Final = 4096
"""Routes that a peer remembers; then they are forgotten and looked up again."""
KEY_BYTES_MAX: Final = 255
RUN_ROUTES_MAX: Final = 255
"""Of one run: their numbers are bytes."""
_NOWHERE: Final = Route("", "", ())


class _Gathered:
    """Messages that lead to the same queues."""

    __slots__ = ("messages", "numbers", "queues", "routes")

    def __init__(self, queues: tuple[Queue, ...]) -> None:
        self.queues = queues
        self.messages: list[list[bytes]] = []
        self.numbers = bytearray()  # of their routes
        self.routes: list[Route] = []


class _Place(NamedTuple):
    """Where messages of one topic go."""

    add: Callable[[list[bytes]], None]
    add_number: Callable[[int], None]
    number: int


class Hearing(Role):
    """What one publisher says."""

    socket_type = "XSUB"
    apart = False

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        self._persistent = wants_persistence(connection.metadata)
        self._exchange = exchange_of(connection)
        session = connection.session
        assert session is not None
        self._host = connection.broker.vhosts[session.vhost]
        session.rights.check_write("exchange", self._exchange)
        exchange = self._host.exchange(self._exchange)
        if exchange.matcher.by_content:
            resource = describe("exchange", exchange.name, self._host.name)
            raise PreconditionFailed(
                f"{resource} of type {exchange.type} routes by more than topics"
            )
        self._routes: dict[tuple[bytes, bool], Route | None] = {}
        self._version = -1
        self._refused = False
        self._gathered: dict[tuple[Queue, ...], _Gathered] = {}  # of different queues, each
        if connection.minor:
            connection.send_command(b"SUBSCRIBE", b"")
        else:
            connection.send_raw(encode_message([b"\x01"]))

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`."""
        size = sum(map(len, chain.from_iterable(messages)))
        if not self._may_publish(size + MESSAGE_BYTES * len(messages)):
            return 0
        if max(map(len, messages)) > PARTS_MAX:
            self.connection.finish(f"a message of more than {PARTS_MAX} frames")
            return 0
        places: dict[bytes, _Place] = {}
        for frames in messages:
            topic = frames[0]
            place = places.get(topic)
            if place is None:
                if len(topic) > KEY_BYTES_MAX:
                    self._flush(places)
                    self._publish_whole([frames])
                    continue
                place = places[topic] = self._find_place(topic, places)
            place.add(frames)
            place.add_number(place.number)
        self._flush(places)
        return len(messages)

    def receive_bodies(self, bodies: list[bytes]) -> int:
        """See `Role`."""
        if not self._may_publish(sum(map(len, bodies)) + MESSAGE_BYTES * len(bodies)):
            return 0
        self._publish_whole([[body] for body in bodies])
        return len(bodies)

    def _may_publish(self, size: int) -> bool:
        """Whether there is room; from here on routes are up to date."""
        if not self.connection.room(size if self._persistent else 0):
            return False
        if self._version != self._host.version:
            self._routes.clear()
            self._version = self._host.version
        return True

    # -- routes

    def _learn(self, topic: bytes, whole: bool) -> Route | None:
        """The route of a topic; None where the user may not publish with it, or the exchange is gone."""
        connection = self.connection
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        try:
            route = self._find_route(topic, whole)
        except AccessRefused as error:
            route = None
            if not self._refused:
                self._refused = True
                connection.broker.notices.append(f"{connection.peer.name}: {error.text}")
        except BrokerError as error:
            connection.finish(error.text)
            return None
        self._routes[topic, whole] = route
        return route

    def _find_route(self, topic: bytes, whole: bool) -> Route:
        connection = self.connection
        broker, session = connection.broker, connection.session
        assert session is not None
        key = topic.decode("utf-8", "surrogateescape")
        try:
            route = broker.route(session.rights, self._exchange, key, False, 0, 0)
        except NotFound:
            exchange_of(connection)  # makes that of its own again
            self._version = self._host.version
            route = broker.route(session.rights, self._exchange, key, False, 0, 0)
        if whole:
            route.whole = True
            feed = self._host.exchanges[self._exchange].feed
            if feed is not None and feed not in route.queues and feed.may_want(key):
                route.queues = (*route.queues, feed)
        route.frame_max = broker.letters.frame_max
        return route

    # -- runs

    def _find_place(self, topic: bytes, places: dict[bytes, _Place]) -> _Place:
        """Where messages of a topic are put together that has not come in this row. Order holds in each queue."""
        key = (topic, False)
        route = self._routes[key] if key in self._routes else self._learn(topic, False)
        if route is None:
            route = _NOWHERE
        queues = route.queues
        found = self._gathered.get(queues)
        if found is None or len(found.routes) == RUN_ROUTES_MAX:
            if any(not set(queues).isdisjoint(others) for others in self._gathered):
                self._flush(places)
            found = self._gathered[queues] = _Gathered(queues)
        if queues or not found.routes:  # what leads nowhere is only counted
            found.routes.append(route)
        return _Place(found.messages.append, found.numbers.append, len(found.routes) - 1)

    def _flush(self, places: dict[bytes, _Place]) -> None:
        """Publishes what was gathered; its places are no more."""
        broker = self.connection.broker
        for each in self._gathered.values():
            messages = each.messages
            if not each.queues:
                broker.counts.dropped += len(messages)
                continue
            frame_max = broker.letters.frame_max
            if set(map(len, messages)) == {2}:
                bodies = [frames[1] for frames in messages]
                data, stride, ends = encode_bodies(bodies, self._persistent, frame_max)
            else:
                data, stride, ends = encode_contents(messages, 1, self._persistent, frame_max)
            which = bytes(each.numbers) if len(each.routes) > 1 else None
            routes = tuple(each.routes)
            run = Run(data, len(messages), stride, ends, routes, which, self._persistent)
            broker.publish(self.connection.channel, run, each.queues)
        self._gathered.clear()
        places.clear()

    def _publish_whole(self, messages: list[list[bytes]]) -> None:
        """Messages that begin with their topics, in rows of the same first word."""
        row: list[list[bytes]] = []
        last: Route | None = None
        for frames in messages:
            word = frames[0].partition(b" ")[0][:KEY_BYTES_MAX]
            key = (word, True)
            route = self._routes[key] if key in self._routes else self._learn(word, True)
            if self.connection.closed:
                return
            if route is not last:
                self._put_row(last, row)
                row, last = [], route
            row.append(frames)
        self._put_row(last, row)

    def _put_row(self, route: Route | None, messages: list[list[bytes]]) -> None:
        if not messages:
            return
        broker = self.connection.broker
        if route is None or not route.queues:
            broker.counts.dropped += len(messages)
            return
        data, stride, ends = encode_contents(
            messages, 0, self._persistent, broker.letters.frame_max
        )
        run = Run(data, len(messages), stride, ends, (route,), None, self._persistent)
        broker.publish(self.connection.channel, run, route.queues)
