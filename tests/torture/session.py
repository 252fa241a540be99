"""A client connection that keeps the journal: what every role of the load is made of."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from mansio.codec import amqp_methods as m
from tests.torture.bodies import make_body, read_body
from tests.torture.journal import Journal
from tests.torture.topology import ALL_GROUPS, MARKS, ROUTES, STREAM_ROUTES, mask, names
from tests.torture.wire import Channel, Connection, offset_in

Reply = TypeVar("Reply")
Outgoing = tuple[str, str, int, bool, int]
"""A message to send: (exchange, routing key, set of queues, persistent, size)"""
Route = tuple[str, str, int]
"""(exchange, routing key, set of queues)"""


class Producer:
    """One that numbers its messages. `unconfirmed`: number → size, of those to be sent again; `confirmed`: the last of
    the others."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.last = 0
        self.unconfirmed: dict[int, int] = {}
        self.confirmed: deque[tuple[int, int]] = deque(maxlen=20)


class World:
    """What the clients share. `depth`: about how many messages each queue has. `partitions`: routes to them.

    `bookmarks`: by reader and stream, the offset at which it goes on. `producers`: those that number their messages.
    `streams`: whether streams and groups are part of the load. `stopping`: no more work. `polite`: no connection is
    cut, because there will be no restart that forgets it.
    """

    def __init__(self, journal: Journal, port: int) -> None:
        self.journal = journal
        self.port = port
        self.depth: Counter[str] = Counter()
        self.partitions: list[Route] = []
        self.bookmarks: dict[tuple[int, str], int] = {}
        self.producers: dict[int, Producer] = {}
        self.streams = True
        self.stopping = False
        self.polite = False
        self.faults: list[str] = []
        self._number = 0

    @property
    def routes(self) -> Sequence[Route]:
        """Where to publish."""
        return (*ROUTES, *STREAM_ROUTES, *self.partitions) if self.streams else ROUTES

    def number(self) -> int:
        """The next number for a connection, publisher, producer, reader, question, change or transaction."""
        self._number += 1
        return self._number


class Session:
    """One connection and its name in the journal."""

    def __init__(self, world: World, connection: Connection) -> None:
        self.world = world
        self.journal = world.journal
        self.connection = connection
        self.number = world.number()
        self.journal("opened", self.number)
        connection.on_end = self._ended
        if connection.lost:
            self._ended()

    @classmethod
    async def open(cls, world: World) -> Session:
        """Lost, OSError, TimeoutError."""
        return cls(world, await Connection.open(world.port))

    def _ended(self) -> None:
        self.journal("ended", self.number)
        if self.connection.fault is not None:
            self.world.faults.append(f"connection {self.number}: {self.connection.fault!r}")

    async def ask(self, request: Awaitable[Reply]) -> Reply:
        """Await a request whose reply shows that all before it was processed. It must not have been sent yet."""
        question = self.world.number()
        self.journal("asked", self.number, question)
        reply = await request
        if not self.connection.lost:
            self.journal("answered", self.number, question)
        return reply

    async def channel(self) -> Channel:
        """Open a channel."""
        return await self.connection.channel()


class Sender:
    """A channel that publishes. `unconfirmed`: numbers without an answer."""

    def __init__(self, session: Session, channel: Channel, confirms: bool) -> None:
        self.session = session
        self.channel = channel
        self.confirms = confirms
        self.number = session.world.number()
        self.sent = 0
        self.unconfirmed: dict[int, None] = {}
        session.journal("publisher", session.number, self.number, confirms)
        channel.on_confirm = self._confirmed

    @classmethod
    async def open(cls, session: Session, confirms: bool) -> Sender:
        """On a channel of its own, in confirm mode if wanted."""
        channel = await session.channel()
        if confirms:
            await channel.call(m.ConfirmSelect(), m.ConfirmSelectOk)
        return cls(session, channel, confirms)

    def send(self, messages: Iterable[Outgoing], tx: int = 0, mandatory: bool = False) -> None:
        """Write them down, then send them. Lost."""
        notes, sends = [], []
        depth = self.session.world.depth
        for exchange, key, queues, persistent, size in messages:
            self.sent += 1
            body, crc = make_body(self.number, self.sent, size)
            notes.append((self.sent, queues, persistent, size, crc))
            sends.append((exchange, key, body, persistent, mandatory))
            if self.confirms:
                self.unconfirmed[self.sent] = None
            for name in names(queues):
                depth[name] += 1
        self.session.journal("sent", self.number, tx, notes)
        for exchange, key, body, persistent, mandatory in sends:
            self.channel.publish(exchange, key, body, persistent, mandatory)

    def mark(self) -> None:
        """Send a message whose confirm proves that what this connection has sent before it is durable."""
        self.send([("", MARKS, mask(MARKS), True, 64)])

    async def settle(self) -> None:
        """Until every message is confirmed. Lost."""
        connection = self.session.connection
        while self.unconfirmed:
            connection.changed.clear()
            await connection.wait(connection.changed)

    def _confirmed(self, tag: int, multiple: bool, ok: bool) -> None:
        self.session.journal("confirmed", self.number, tag, multiple, ok)
        if multiple:
            for number in [number for number in self.unconfirmed if number <= tag]:
                del self.unconfirmed[number]
        else:
            self.unconfirmed.pop(tag, None)


class Held:
    """Deliveries of one channel that are not settled: tag → (queue, publisher, number).

    `consumers`: tag → queue.
    """

    def __init__(self, session: Session, channel: Channel) -> None:
        self.session = session
        self.channel = channel
        self.tags: dict[int, tuple[str, int, int]] = {}
        self.consumers: dict[str, str] = {}
        self._readers: dict[str, tuple[int, str, bool]] = {}
        channel.on_deliver = self._delivered

    def read(self, queue: str, strict: bool = False, no_ack: bool = False) -> str:
        """Write down that a consumer begins; its tag."""
        reader = self.session.world.number()
        self.session.journal("consuming", self.session.number, reader, queue, strict)
        self._readers[str(reader)] = (reader, queue, no_ack)
        return str(reader)

    async def consume(self, queue: str, no_ack: bool = False, strict: bool = False) -> str:
        """Start a consumer; its tag. Lost, ChannelClosed."""
        tag = self.read(queue, strict, no_ack)
        method = m.BasicConsume(queue, tag, False, no_ack)
        await self.session.ask(self.channel.call(method, m.BasicConsumeOk))
        self.consumers[tag] = queue
        return tag

    async def cancel(self, tag: str) -> None:
        """End a consumer; what it got stays held. Lost."""
        await self.session.ask(self.channel.call(m.BasicCancel(tag), m.BasicCancelOk))
        del self.consumers[tag]

    async def get(self, reader: str) -> bool:
        """basic.get; False if the queue was empty."""
        method = m.BasicGet(self._readers[reader][1])
        self.channel.on_get = partial(self._got, reader)
        reply = await self.session.ask(self.channel.call(method, m.BasicGetOk, m.BasicGetEmpty))
        return isinstance(reply, m.BasicGetOk)

    def _got(self, reader: str, method: Any, body: bytes) -> None:
        self._take(reader, method.delivery_tag, method.redelivered, body)

    def _delivered(self, method: Any, body: bytes) -> None:
        self._take(method.consumer_tag, method.delivery_tag, method.redelivered, body)

    def _take(self, tag: str, delivery_tag: int, redelivered: bool, body: bytes) -> None:
        reader, queue, no_ack = self._readers[tag]
        publisher, number, size, crc = read_body(body)
        if queue in ALL_GROUPS:
            entry = (offset_in(self.channel.header), publisher, number, redelivered, size, crc)
            self.session.journal("read", reader, [entry])
        else:
            message = (publisher, number, redelivered, size, crc)
            self.session.journal("received", reader, [message])
        if no_ack:
            self.session.journal("settled", self.session.number, 0, queue, [(publisher, number)])
            self.session.world.depth[queue] -= 1
        else:
            self.tags[delivery_tag] = (queue, publisher, number)

    def settle(self, tags: Iterable[int], tx: int = 0) -> None:
        """Write down that these are about to be settled."""
        self._note("settled", tags, tx)

    def requeue(self, tags: Iterable[int]) -> None:
        """Write down that these are about to be given back."""
        self._note("requeued", tags)

    def _note(self, event: str, tags: Iterable[int], *tx: int) -> None:
        by_queue: dict[str, list[tuple[int, int]]] = {}
        for tag in tags:
            queue, publisher, number = self.tags.pop(tag)
            by_queue.setdefault(queue, []).append((publisher, number))
        for queue, keys in by_queue.items():
            if event == "settled":
                self.session.world.depth[queue] -= len(keys)
            self.session.journal(event, self.session.number, *tx, queue, keys)

    async def close_channel(self) -> None:
        """Close the channel with all it holds. Lost."""
        self.requeue(list(self.tags))
        await self.session.ask(self.channel.close())
