"""Readers of streams, who go on where they were, and producers that number their messages and send them again."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import encode_table
from tests.torture.bodies import make_body, read_body
from tests.torture.roles import WINDOWS, draw_entry_size, leave
from tests.torture.session import Producer, Session, World
from tests.torture.topology import MEASURES, STREAMS, mask
from tests.torture.wire import Channel, offset_in

PREFETCHES = (1, 10, 100, 1000)
ANONYMOUS_SHARE = 0.35
CUT_SHARE = 0.02
LOOK_S = 0.001
AGAIN_SHARE = 0.3


class Follower:
    """A reader of one stream. `place`: the offset at which it goes on; `count`: of the entries that it got.

    `tags`: of what it got and has not acknowledged.
    """

    def __init__(self, session: Session, channel: Channel) -> None:
        self.session = session
        self.channel = channel
        self.place = 0
        self.count = 0
        self.tags: list[int] = []
        self._reader = 0
        channel.on_deliver = self._delivered

    @classmethod
    async def open(cls, session: Session, prefetch: int) -> Follower:
        """On a channel of its own. Lost."""
        channel = await session.channel()
        await channel.call(m.BasicQos(0, prefetch), m.BasicQosOk)
        return cls(session, channel)

    async def begin(self, stream: str, begin: int | str) -> int:
        """Read from an offset, the `first` entry, the `last` ones or the `next` one on; the number of the reader."""
        session = self.session
        self._reader = session.world.number()
        session.journal("reading", session.number, self._reader, stream, begin)
        method = m.BasicConsume(stream, str(self._reader), arguments={"x-stream-offset": begin})
        await self.channel.call(method, m.BasicConsumeOk)
        return self._reader

    async def end(self) -> None:
        """Read no more; what is on its way still comes."""
        await self.channel.call(m.BasicCancel(str(self._reader)), m.BasicCancelOk)

    async def more(self) -> None:
        """Until something came. Lost."""
        while not self.tags:
            await asyncio.sleep(LOOK_S)
            await self.session.connection.wait(self.session.connection.writable)

    def credit(self, count: int | None = None) -> None:
        """Acknowledge so many, all if None."""
        taken, self.tags = self.tags[:count], [] if count is None else self.tags[count:]
        if taken:
            self.channel.send(m.BasicAck(taken[-1], True))

    def _delivered(self, method: Any, body: bytes) -> None:
        offset = offset_in(self.channel.header)
        publisher, number, size, crc = read_body(body)
        entry = (offset, publisher, number, method.redelivered, size, crc)
        self.session.journal("read", self._reader, [entry])
        self.place = offset + 1
        self.count += 1
        self.tags.append(method.delivery_tag)


async def follow(world: World, rng: Random, name: int) -> None:
    """Reads streams, mostly where the reader of this name was before; others may read from there at the same time."""
    while not world.stopping:
        session = await Session.open(world)
        for _ in range(rng.choice((1, 2, 10))):
            follower = await Follower.open(session, rng.choice(PREFETCHES))
            await _follow(world, rng, name, follower)
            if world.stopping:
                break
            if rng.random() < 0.5:
                await session.ask(follower.channel.close())
        await leave(session, world, rng)


async def _follow(world: World, rng: Random, name: int, follower: Follower) -> None:
    stream = rng.choice(list(STREAMS))
    known = rng.random() >= ANONYMOUS_SHARE
    place = world.bookmarks.get((name, stream), 0)
    begin = (
        place if known else rng.choice(("first", "last", "next", "next", rng.randrange(place + 1)))
    )
    follower.place = place
    await follower.begin(stream, begin)
    pause = rng.choice((0.0, 0.002, 0.01))
    try:
        for _ in range(rng.choice((5, 50, 1000))):
            if world.stopping:
                break
            await asyncio.sleep(pause)
            await follower.session.connection.wait(follower.session.connection.writable)
            follower.credit(None if rng.random() < 0.7 else rng.randrange(len(follower.tags) + 1))
        await follower.end()
    finally:  # also where the broker was killed
        if known:
            world.bookmarks[name, stream] = follower.place


async def produce(world: World, rng: Random, name: int) -> None:
    """Numbers its messages, and sends again what was not confirmed, and some of what was; or all by two channels."""
    while not world.stopping:
        session = await Session.open(world)
        producer = world.producers.setdefault(name, Producer(world.number()))
        senders = [await Numbering.open(session, producer) for _ in range(rng.choice((1, 1, 2)))]
        for sender in senders:
            sender.send_again(rng)
        window, pause = rng.choice(WINDOWS), rng.choice((0.0, 0.001, 0.01))
        while not world.stopping:
            for sender in senders:
                await sender.wait_for_room(window)
            room = window - max(len(sender.tags) for sender in senders)
            messages = senders[0].draw(rng, min(room, rng.randrange(1, 50)))
            for sender in senders:
                sender.send(messages)
            await asyncio.sleep(pause)
            if rng.random() < CUT_SHARE:
                break
        if world.stopping:
            for sender in senders:
                await sender.wait_for_room(1)
        await leave(session, world, rng)


class Numbering:
    """A channel on which a producer sends. `tags`: delivery tag → number of what awaits its confirm here."""

    def __init__(self, session: Session, channel: Channel, producer: Producer) -> None:
        self.session = session
        self.channel = channel
        self.producer = producer
        self.tags: dict[int, int] = {}
        self._sent = 0
        self._publisher = session.world.number()
        session.journal("publisher", session.number, self._publisher, True)
        channel.on_confirm = self._confirmed

    @classmethod
    async def open(cls, session: Session, producer: Producer) -> Numbering:
        """In confirm mode. Lost."""
        channel = await session.channel()
        await channel.call(m.ConfirmSelect(), m.ConfirmSelectOk)
        return cls(session, channel, producer)

    def send_again(self, rng: Random) -> None:
        """What was not confirmed, and before it maybe the last that was."""
        producer = self.producer
        again = list(producer.confirmed) if rng.random() < AGAIN_SHARE else []
        self.send([*again, *producer.unconfirmed.items()])

    def draw(self, rng: Random, count: int) -> list[tuple[int, int]]:
        """The next messages: numbers and sizes."""
        producer, messages = self.producer, []
        for _ in range(count):
            producer.last += 1
            messages.append((producer.last, draw_entry_size(rng, mask(MEASURES))))
        producer.unconfirmed.update(messages)
        return messages

    def send(self, messages: list[tuple[int, int]]) -> None:
        """Numbers and sizes, rising. Lost."""
        notes, sends = [], []
        name = f"producer {self.producer.number}"
        for number, size in messages:
            self._sent += 1
            body, crc = make_body(self.producer.number, number, size)
            notes.append((self._sent, self.producer.number, number, size, crc))
            sends.append((body, encode_table({"x-producer": name, "x-publishing-id": number})))
            self.tags[self._sent] = number
        self.session.journal("numbered", self._publisher, MEASURES, notes)
        for body, headers in sends:
            self.channel.publish("", MEASURES, body, True, headers=headers)

    async def wait_for_room(self, window: int) -> None:
        """Until less than this many messages await their confirms. Lost."""
        connection = self.session.connection
        while len(self.tags) >= window:
            connection.changed.clear()
            await connection.wait(connection.changed)
        await connection.wait(connection.writable)
        await connection.wait(connection.unblocked)

    def _confirmed(self, tag: int, multiple: bool, ok: bool) -> None:
        self.session.journal("confirmed", self._publisher, tag, multiple, ok)
        for each in [each for each in self.tags if each <= tag] if multiple else [tag]:
            number = self.tags.pop(each)
            if ok and number in self.producer.unconfirmed:
                size = self.producer.unconfirmed.pop(number)
                self.producer.confirmed.append((number, size))
