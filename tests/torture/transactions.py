"""Clients that take messages, publish others and acknowledge, all in one transaction."""

from __future__ import annotations

import asyncio
from random import Random

from mansio.codec import amqp_methods as m
from tests.torture.roles import draw_entry_size, has_room, leave
from tests.torture.session import Held, Outgoing, Sender, Session, World
from tests.torture.topology import SHARED_GROUPS, STEADY, STREAMS, mask

ACKS_MAX = 20
PUBLISHES_MAX = 10


async def transact(world: World, rng: Random) -> None:
    """Transaction after transaction on one channel; some are rolled back, some left open."""
    while not world.stopping:
        session = await Session.open(world)
        channel = await session.channel()
        await channel.call(m.TxSelect(), m.TxSelectOk)
        held, sender = Held(session, channel), Sender(session, channel, False)
        await channel.call(m.BasicQos(0, 2 * ACKS_MAX), m.BasicQosOk)
        queues = (*STEADY, *SHARED_GROUPS) if world.streams else STEADY
        for queue in rng.sample(queues, 2):
            await held.consume(queue)
        for _ in range(rng.choice((20, 10_000))):
            if world.stopping:
                break
            await session.connection.wait(session.connection.writable)
            await _transaction(world, rng, held, sender)
            if session.connection.lost:
                break
            await asyncio.sleep(rng.choice((0.0, 0.002, 0.01)))
        if not session.connection.lost:
            await leave(session, world, rng, held)


async def _transaction(world: World, rng: Random, held: Held, sender: Sender) -> None:
    session, channel, tx = held.session, held.channel, world.number()
    messages = _draw(world, rng)
    tags = rng.sample(list(held.tags), min(len(held.tags), rng.randrange(ACKS_MAX)))
    if not messages and not tags:
        return
    half = rng.randrange(len(messages) + 1)
    sender.send(messages[:half], tx)
    if rng.random() < 0.2:
        await asyncio.sleep(0)
    kept = {tag: held.tags[tag] for tag in tags}
    held.settle(tags, tx)
    for tag in tags:
        channel.send(m.BasicAck(tag))
    sender.send(messages[half:], tx)
    x = rng.random()
    if x < 0.85:
        session.journal("commit", tx)
        await channel.call(m.TxCommit(), m.TxCommitOk)
        session.journal("committed", tx)
    elif x < 0.97 or world.polite:
        session.journal("rolled_back", tx)
        await channel.call(m.TxRollback(), m.TxRollbackOk)
        held.tags = kept | held.tags
    else:
        session.connection.abort()


def _draw(world: World, rng: Random) -> list[Outgoing]:
    """Messages to several queues and streams; transient ones too, which nobody misses but in streams."""
    queues = (*STEADY, *STREAMS) if world.streams else STEADY
    room = [queue for queue in queues if has_room(world, mask(queue))]
    messages: list[Outgoing] = []
    for _ in range(rng.randrange(PUBLISHES_MAX) if room else 0):
        queue = rng.choice(room)
        persistent = rng.random() < 0.9
        size = min(draw_entry_size(rng, mask(queue)), 100 << 10)
        messages.append(("", queue, mask(queue), persistent, size))
    return messages
