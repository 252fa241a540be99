"""Publishers and consumers of the load. Each role runs until its connection is lost or the world stops."""

from __future__ import annotations

import asyncio
from random import Random

from mansio.codec import amqp_methods as m
from tests.torture.bodies import draw_size
from tests.torture.session import Held, Outgoing, Sender, Session, World
from tests.torture.topology import (
    LOOSE,
    SHARED_GROUPS,
    STEADY,
    STREAMS,
    WORKERS,
    names,
)

DEPTH_MAX = 4000
"""Publishers leave a queue alone that has about so many messages."""
ENTRY_BYTES_MAX = 16 << 10
"""Of messages to streams, but for some to those without retention."""
LARGE_SHARE = 0.002
WINDOWS = (1, 20, 200, 1000)
PREFETCHES = (1, 10, 100, 1000)
TRANSIENT_SHARE = 0.15


def has_room(world: World, queues: int) -> bool:
    """Whether these queues are to get more."""
    for name in names(queues):
        most = STREAMS[name].depth_max if name in STREAMS else DEPTH_MAX
        if most and world.depth[name] > most:
            return False
    return True


def draw_entry_size(rng: Random, queues: int) -> int:
    """The size of a message that may go to streams."""
    size = draw_size(rng)
    streams = [STREAMS[name] for name in names(queues) if name in STREAMS]
    if any(stream.bytes_max for stream in streams):
        return min(size, ENTRY_BYTES_MAX)
    return min(size, ENTRY_BYTES_MAX) if streams and rng.random() >= LARGE_SHARE else size


def draw_messages(world: World, rng: Random, count: int) -> list[Outgoing]:
    """Up to `count` messages to queues that have room for them."""
    messages: list[Outgoing] = []
    routes = world.routes
    exchange, key, queues = rng.choice(routes)
    for _ in range(count):
        if rng.random() < 0.1:
            exchange, key, queues = rng.choice(routes)
        if has_room(world, queues):
            persistent = rng.random() >= TRANSIENT_SHARE
            size = draw_entry_size(rng, queues)
            messages.append((exchange, key, queues, persistent, size))
    return messages


async def publish(world: World, rng: Random, confirms: bool) -> None:
    """Publishes in bursts, on one or two channels."""
    while not world.stopping:
        session = await Session.open(world)
        connection = session.connection
        senders = [await Sender.open(session, confirms) for _ in range(rng.choice((1, 1, 2)))]
        window, pause = rng.choice(WINDOWS), rng.choice((0.0, 0.001, 0.01))
        for _ in range(rng.choice((20, 200, 10_000))):
            if world.stopping:
                break
            sender = rng.choice(senders)
            while len(sender.unconfirmed) >= window:
                connection.changed.clear()
                await connection.wait(connection.changed)
            await connection.wait(connection.writable)
            await connection.wait(connection.unblocked)
            room = window - len(sender.unconfirmed) if confirms else 100
            sender.send(draw_messages(world, rng, min(room, rng.randrange(1, 100))))
            await asyncio.sleep(pause)
        await leave(session, world, rng)


async def leave(session: Session, world: World, rng: Random, *held: Held) -> None:
    """End a connection, with all manners or without."""
    if world.polite or world.stopping or rng.random() < 0.5:
        for each in held:
            each.requeue(list(each.tags))
        await session.ask(session.connection.close())
    else:
        session.connection.abort()


class Consumer:
    """Takes from one or two queues or groups and does with the messages whatever one may do."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng

    async def run(self) -> None:
        """Connection after connection."""
        while not self.world.stopping:
            await self._connection()

    async def _connection(self) -> None:
        rng, world = self.rng, self.world
        session = await Session.open(world)
        marks = await Sender.open(session, True)
        held = await self._open(session)
        pause = rng.choice((0.0, 0.002, 0.01))
        for _ in range(rng.choice((20, 200, 10_000))):
            if world.stopping:
                break
            await asyncio.sleep(pause)
            await session.connection.wait(session.connection.writable)
            x = rng.random()
            if x < 0.05:
                marks.mark()
            elif x < 0.07:
                prefetch = rng.choice(PREFETCHES)
                await session.ask(held.channel.call(m.BasicQos(0, prefetch), m.BasicQosOk))
            elif x < 0.08:
                await held.close_channel()
                held = await self._open(session)
            elif x < 0.09:
                await self._recover(held)
            elif held.tags:
                self._settle(held)
        if world.stopping:
            await marks.settle()
        await leave(session, world, rng, held)

    async def _open(self, session: Session) -> Held:
        rng = self.rng
        held = Held(session, await session.channel())
        await held.channel.call(m.BasicQos(0, rng.choice(PREFETCHES)), m.BasicQosOk)
        for queue in self.draw_queues():
            await held.consume(queue)
        return held

    def draw_queues(self) -> list[str]:
        """Where to take from."""
        queues = (*STEADY, *SHARED_GROUPS) if self.world.streams else STEADY
        return self.rng.sample(queues, self.rng.choice((1, 1, 2)))

    async def _recover(self, held: Held) -> None:
        """Give all back by basic.recover, with no consumer there, so that nothing comes meanwhile."""
        queues = list(held.consumers.values())
        for tag in list(held.consumers):
            await held.cancel(tag)
        held.requeue(list(held.tags))
        await held.session.ask(held.channel.call(m.BasicRecover(True), m.BasicRecoverOk))
        for queue in queues:
            await held.consume(queue)

    def _settle(self, held: Held) -> None:
        """Acks mostly; requeues and rejects some."""
        rng, channel, tags = self.rng, held.channel, list(held.tags)
        x = rng.random()
        upto = rng.randrange(len(tags)) if x < 0.3 else len(tags) - 1
        if x < 0.6:
            held.settle(tags[: upto + 1])
            channel.send(m.BasicAck(tags[upto], True))
        elif x < 0.85:
            chosen = [tag for tag in tags if rng.random() < 0.5]
            held.settle(chosen)
            for tag in chosen:
                channel.send(m.BasicAck(tag))
        elif x < 0.9:
            part = tags[: rng.randrange(1, 10)]
            held.requeue(part)
            channel.send(m.BasicNack(part[-1], True, True))
        elif x < 0.95:
            tag = rng.choice(tags)
            held.requeue([tag])
            channel.send(m.BasicReject(tag, True))
        else:
            tag = rng.choice(tags)
            held.settle([tag])
            channel.send(m.BasicReject(tag, False) if x < 0.98 else m.BasicNack(tag, False, False))


class Member(Consumer):
    """Takes from all partitions of a group, which it is a member of."""

    def draw_queues(self) -> list[str]:
        """See `Consumer`."""
        return self.rng.sample(WORKERS, len(WORKERS))


async def be_loose(world: World, rng: Random) -> None:
    """Consumes without acknowledgements from the queue that owes nothing, and purges it."""
    session = await Session.open(world)
    held = Held(session, await session.channel())
    while not world.stopping:
        tag = await held.consume(LOOSE, no_ack=True)
        await asyncio.sleep(rng.uniform(0, 0.1))
        await held.cancel(tag)
        await asyncio.sleep(rng.uniform(0, 0.1))
        if rng.random() < 0.5:
            session.journal("purged", session.number, LOOSE)
            await session.ask(held.channel.call(m.QueuePurge(LOOSE), m.QueuePurgeOk))
            world.depth[LOOSE] = 0
    await session.ask(session.connection.close())
