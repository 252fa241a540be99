"""The client that declares, binds, fills, reads, purges, unbinds and deletes; and the look at what is there."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from tests.torture.bodies import draw_size
from tests.torture.session import Held, Outgoing, Sender, Session, World
from tests.torture.topology import (
    BINDINGS,
    CHURN,
    CHURN_EXCHANGES,
    EXCHANGES,
    MARKS,
    STEADY_QUEUES,
    binding_entity,
    exchange_entity,
    mask,
    queue_entity,
)
from tests.torture.wire import ChannelClosed

Seen = dict[str, bool]
BATCH = 30
NOT_FOUND = 404


async def change(session: Session, call: Any, effects: Seen, emptied: tuple[str, ...] = ()) -> None:
    """One change of the topology, written down before and after. `call`: its coroutine."""
    number = session.world.number()
    session.journal("changing", session.number, number, effects, emptied)
    await call
    if not session.connection.lost:
        session.journal("changed", session.number, number)


async def set_up(world: World) -> None:
    """Declare what stays, and wait until it is durable."""
    session = await Session.open(world)
    sender = await Sender.open(session, True)
    channel = sender.channel
    for queue in STEADY_QUEUES:
        call = channel.call(m.QueueDeclare(queue, durable=True), m.QueueDeclareOk)
        await change(session, call, {queue_entity(queue): True})
    for exchange, kind in EXCHANGES.items():
        method = m.ExchangeDeclare(exchange, kind, durable=True)
        call = channel.call(method, m.ExchangeDeclareOk)
        await change(session, call, {exchange_entity(exchange): True})
    for exchange, queue, key in BINDINGS:
        await channel.call(m.QueueBind(queue, exchange, key), m.QueueBindOk)
    sender.mark()
    await sender.settle()
    await session.connection.close()


async def look(world: World) -> Seen:
    """Look at everything that may be there, and at the lengths of queues. Nobody else is connected."""
    session = await Session.open(world)
    channel = await session.channel()
    seen: Seen = {}
    for queue in (*STEADY_QUEUES, *CHURN):
        try:
            found = await channel.call(m.QueueDeclare(queue, passive=True), m.QueueDeclareOk)
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            seen[queue_entity(queue)] = False
            channel = await session.channel()
        else:
            seen[queue_entity(queue)] = True
            world.journal("counted", queue, found.message_count)
            world.depth[queue] = found.message_count
    for exchange in (*EXCHANGES, *CHURN_EXCHANGES):
        try:
            method = m.ExchangeDeclare(exchange, passive=True)
            await channel.call(method, m.ExchangeDeclareOk)
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            seen[exchange_entity(exchange)] = False
            channel = await session.channel()
        else:
            seen[exchange_entity(exchange)] = True
    await _look_at_bindings(session, seen)
    world.journal("found", seen)
    await session.connection.close()
    return seen


async def _look_at_bindings(session: Session, seen: Seen) -> None:
    """A mandatory message through each binding that may be there comes back if it is not."""
    sender = await Sender.open(session, True)
    returned: list[int] = []

    def on_return(method: Any, body: bytes) -> None:
        number = int.from_bytes(body[4:8], "big")
        returned.append(number)
        session.journal("returned", sender.number, number)

    sender.channel.on_return = on_return
    probes: dict[int, str] = {}
    for exchange in CHURN_EXCHANGES:
        for queue in CHURN:
            name = binding_entity(exchange, queue)
            seen[name] = False
            if seen[exchange_entity(exchange)] and seen[queue_entity(queue)]:
                message = (exchange, queue, mask(queue), True, 100)
                sender.send([message], mandatory=True)
                probes[sender.sent] = name
    await sender.settle()
    for number, name in probes.items():
        seen[name] = number not in returned


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
            queue = self.rng.choice(CHURN)
            if not self.there[queue_entity(queue)]:
                await self._declare(queue)
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
            await self._get(queue)
        elif x < 0.68:
            self._session.journal("purged", self._session.number, queue)
            await self._session.ask(self._call(m.QueuePurge(queue), m.QueuePurgeOk))
        elif x < 0.78:
            await self._delete(queue)
        elif not self.there[exchange_entity(exchange)]:
            method = m.ExchangeDeclare(exchange, CHURN_EXCHANGES[exchange], durable=True)
            await self._change({exchange_entity(exchange): True}, method, m.ExchangeDeclareOk)
        elif x < 0.82:
            gone = {binding_entity(exchange, name): False for name in CHURN}
            effects = {exchange_entity(exchange): False} | gone
            await self._change(effects, m.ExchangeDelete(exchange), m.ExchangeDeleteOk)
        elif not self.there[binding_entity(exchange, queue)]:
            effects = {binding_entity(exchange, queue): True}
            await self._change(effects, m.QueueBind(queue, exchange, queue), m.QueueBindOk)
        elif x < 0.92:
            effects = {binding_entity(exchange, queue): False}
            await self._change(effects, m.QueueUnbind(queue, exchange, queue), m.QueueUnbindOk)

    def _call(self, method: m.Method, reply: type) -> Any:
        return self._sender.channel.call(method, reply)

    async def _change(
        self, effects: Seen, method: m.Method, reply: type, emptied: tuple[str, ...] = ()
    ) -> None:
        await change(self._session, self._call(method, reply), effects, emptied)
        self.there |= effects

    async def _declare(self, queue: str) -> None:
        method = m.QueueDeclare(queue, durable=True)
        await self._change({queue_entity(queue): True}, method, m.QueueDeclareOk)

    async def _delete(self, queue: str) -> None:
        held = [tag for tag, (name, _, _) in self._held.tags.items() if name == queue]
        for tag in held:
            del self._held.tags[tag]
        effects = {queue_entity(queue): False}
        effects |= {binding_entity(exchange, queue): False for exchange in CHURN_EXCHANGES}
        await self._change(effects, m.QueueDelete(queue), m.QueueDeleteOk, (queue,))

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


async def drain(world: World, there: Seen) -> None:
    """Empty every queue, make that durable, and say so."""
    session = await Session.open(world)
    sender = await Sender.open(session, True)
    horizon = sender.number
    queues = [queue for queue in (*STEADY_QUEUES, *CHURN) if there[queue_entity(queue)]]
    for queue in queues:
        await _drain_queue(session, queue)
    sender.mark()
    await sender.settle()
    await _drain_queue(session, MARKS)
    world.depth.clear()
    world.journal("drained", horizon)
    await session.ask(session.connection.close())


async def _drain_queue(session: Session, queue: str) -> None:
    held = Held(session, await session.channel())
    await held.channel.call(m.BasicQos(0, 1000), m.BasicQosOk)
    await held.consume(queue, strict=True)
    empty = 0
    while empty < 2:
        found = await held.channel.call(m.QueueDeclare(queue, passive=True), m.QueueDeclareOk)
        empty = empty + 1 if not found.message_count and not held.tags else 0
        if held.tags:
            tags = list(held.tags)
            held.settle(tags)
            held.channel.send(m.BasicAck(tags[-1], True))
    await held.close_channel()
