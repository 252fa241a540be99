"""The client that declares, binds, fills, reads, purges, unbinds and deletes: queues, a stream, and consumer groups."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from tests.torture.bodies import draw_size
from tests.torture.changes import Seen, change, declare_group, declare_stream, delete, fed_by
from tests.torture.session import Held, Outgoing, Sender, Session, World
from tests.torture.stream_roles import Follower
from tests.torture.topology import (
    BOUND,
    CHURN,
    CHURN_EXCHANGES,
    CHURN_GROUPS,
    CHURN_STREAM,
    binding_entity,
    exchange_entity,
    mask,
    queue_entity,
)

BATCH = 30
BEGIN_MAX = 3000
"""Groups begin at offsets up to this."""
PLACES = (*CHURN, CHURN_STREAM, CHURN_STREAM, *CHURN_GROUPS)


class Churn:
    """Changes the topology. `there`: what it knows to be there."""

    def __init__(self, world: World, rng: Random, there: Seen) -> None:
        self.world = world
        self.rng = rng
        self.there = there

    async def run(self) -> None:
        """On one connection."""
        session = await Session.open(self.world)
        self._session = session
        self._sender = await Sender.open(session, True)
        self._held = Held(session, self._sender.channel)  # one channel: what it does has one order
        while not self.world.stopping:
            queue = self.rng.choice(PLACES)
            if not self.there[queue_entity(queue)]:
                await self._declare(queue)
            elif queue in CHURN_GROUPS:
                await self._use_group(queue)
            else:
                await self._use(queue)
            if self.rng.random() < 0.2:
                await self._sender.settle()
            await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.005)))
        await self._sender.settle()
        self._held.requeue(list(self._held.tags))
        await session.ask(session.connection.close())

    async def _use(self, queue: str) -> None:
        exchange = self.rng.choice(list(CHURN_EXCHANGES))
        x = self.rng.random()
        if x < 0.4:
            self._publish(queue)
        elif x < 0.6:
            await (self._read(queue) if queue == CHURN_STREAM else self._get(queue))
        elif x < 0.68 and queue != CHURN_STREAM:
            await self._purge(queue)
        elif x < 0.78:
            await self._delete(queue)
        elif not self.there[exchange_entity(exchange)]:
            method = m.ExchangeDeclare(exchange, CHURN_EXCHANGES[exchange], durable=True)
            await self._change({exchange_entity(exchange): True}, method, m.ExchangeDeclareOk)
        elif x < 0.82:
            gone = {binding_entity(exchange, name): False for name in BOUND}
            effects = {exchange_entity(exchange): False} | gone
            await self._change(effects, m.ExchangeDelete(exchange), m.ExchangeDeleteOk)
        elif not self.there[binding_entity(exchange, queue)]:
            effects = {binding_entity(exchange, queue): True}
            await self._change(effects, m.QueueBind(queue, exchange, queue), m.QueueBindOk)
        elif x < 0.92:
            effects = {binding_entity(exchange, queue): False}
            await self._change(effects, m.QueueUnbind(queue, exchange, queue), m.QueueUnbindOk)

    async def _use_group(self, group: str) -> None:
        x = self.rng.random()
        if x < 0.75:
            await self._get(group)
        elif x < 0.85:
            await self._delete(group)
        elif CHURN_GROUPS[group].stream == CHURN_STREAM:
            await self._sender.settle()  # now it is known what there is
            await self._purge(group)

    def _call(self, method: m.Method, reply: type) -> Any:
        return self._sender.channel.call(method, reply)

    async def _change(self, effects: Seen, method: m.Method, reply: type) -> None:
        self.there |= await change(self._session, self._call(method, reply), effects)

    async def _declare(self, queue: str) -> None:
        session, channel = self._session, self._sender.channel
        if queue == CHURN_STREAM:
            self.there |= await declare_stream(session, channel, queue)
        elif queue not in CHURN_GROUPS:
            method = m.QueueDeclare(queue, durable=True)
            await self._change({queue_entity(queue): True}, method, m.QueueDeclareOk)
        elif self.there[queue_entity(CHURN_GROUPS[queue].stream)]:
            begin = self.rng.choice(("first", "next", self.rng.randrange(BEGIN_MAX)))
            self.there |= await declare_group(session, channel, queue, begin)

    async def _delete(self, queue: str) -> None:
        gone = (queue, *fed_by(queue))
        for tag in [tag for tag, (name, _, _) in self._held.tags.items() if name in gone]:
            del self._held.tags[tag]
        self.there |= await delete(self._session, self._sender.channel, queue)

    async def _purge(self, queue: str) -> None:
        self._session.journal("purged", self._session.number, queue)
        await self._session.ask(self._call(m.QueuePurge(queue), m.QueuePurgeOk))

    async def _read(self, stream: str) -> None:
        """Some of what it has, on a channel beside."""
        follower = await Follower.open(self._session, BATCH)
        await follower.begin(stream, self.rng.choice(("first", "last", self.rng.randrange(BATCH))))
        for _ in range(self.rng.randrange(5)):
            await asyncio.sleep(0.001)
            follower.credit()
        await follower.end()
        await self._session.ask(follower.channel.close())

    def _publish(self, queue: str) -> None:
        bound = [x for x in CHURN_EXCHANGES if self.there[binding_entity(x, queue)]]
        messages: list[Outgoing] = []
        for _ in range(self.rng.randrange(1, BATCH)):
            exchange = self.rng.choice(["", *bound])
            persistent = self.rng.random() < 0.9
            messages.append((exchange, queue, mask(queue), persistent, draw_size(self.rng)))
        self._sender.send(messages)

    async def _get(self, queue: str) -> None:
        """Take some and settle some of them; the others stay in flight."""
        held, channel = self._held, self._held.channel
        reader = held.read(queue)
        for _ in range(self.rng.randrange(1, BATCH)):
            if not await held.get(reader):
                break
        for tag in [tag for tag in held.tags if self.rng.random() < 0.7]:
            if self.rng.random() < 0.9:
                held.settle([tag])
                channel.send(m.BasicAck(tag))
            else:
                held.requeue([tag])
                channel.send(m.BasicReject(tag, True))
