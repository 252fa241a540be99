"""The client that declares what stays, looks at what is there, and empties it."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from tests.torture.changes import Seen, change, declare_group, declare_stream, delete
from tests.torture.session import Held, Sender, Session, World
from tests.torture.stream_roles import Follower
from tests.torture.topology import (
    ALL_GROUPS,
    ALL_STREAMS,
    BINDINGS,
    BOUND,
    CHURN,
    CHURN_EXCHANGES,
    EXCHANGES,
    GROUPS,
    MARKS,
    MEASURES,
    PARTITION_KEYS,
    PARTITIONS,
    QUEUES,
    STEADY_QUEUES,
    STREAMS,
    binding_entity,
    exchange_entity,
    mask,
    queue_entity,
)
from tests.torture.wire import Channel, ChannelClosed

NOT_FOUND = 404
READ_S_MAX = 30.0
"""No more of a stream for so long: there is nothing more, whatever its length says."""
RENEW_SHARE = 0.2


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
        if queue not in STREAMS:
            await channel.call(m.QueueBind(queue, exchange, key), m.QueueBindOk)
    for stream in STREAMS:
        await _declare(session, channel, stream)
    await _find_partitions(session)
    sender.mark()
    await sender.settle()
    await session.connection.close()


async def _declare(session: Session, channel: Channel, stream: str) -> Seen:
    """A steady stream with its bindings and groups, where there is none."""
    seen = await declare_stream(session, channel, stream)
    for exchange, queue, key in BINDINGS:
        if queue == stream:
            await channel.call(m.QueueBind(queue, exchange, key), m.QueueBindOk)
    for group, about in GROUPS.items():
        if about.stream == stream:
            seen |= await declare_group(session, channel, group, "first")
    return seen


async def _find_partitions(session: Session) -> None:
    """Send a message by each key of the partitions, and see where it comes: from now on all go there.

    Then they are declared anew, so that nothing is in them.
    """
    channel = await session.channel()
    before = await _lengths(channel)
    for key in PARTITION_KEYS:
        channel.publish("p.hash", key, b"", True)
        while (now := await _lengths(channel)) == before:
            await asyncio.sleep(0)
        (stream,) = (name for name in PARTITIONS if now[name] > before[name])
        before = now
        session.world.partitions.append(("p.hash", key, mask(stream)))
    for stream in PARTITIONS:
        await delete(session, channel, stream)
        await _declare(session, channel, stream)
    await channel.close()


async def _lengths(channel: Channel) -> dict[str, int]:
    return {name: await _length(channel, name) for name in PARTITIONS}


async def _length(channel: Channel, queue: str) -> int:
    found = await channel.call(m.QueueDeclare(queue, passive=True), m.QueueDeclareOk)
    return int(found.message_count)


async def look(world: World) -> Seen:
    """Look at everything that may be there, and at the lengths of queues. Nobody else is connected."""
    session = await Session.open(world)
    channel = await session.channel()
    seen: Seen = {}
    for queue in QUEUES:
        try:
            count = await _length(channel, queue)
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            seen[queue_entity(queue)] = False
            channel = await session.channel()
        else:
            seen[queue_entity(queue)] = True
            world.journal("counted", queue, count)
            world.depth[queue] = count
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
        for queue in BOUND:
            name = binding_entity(exchange, queue)
            seen[name] = False
            if seen[exchange_entity(exchange)] and seen[queue_entity(queue)]:
                message = (exchange, queue, mask(queue), True, 100)
                sender.send([message], mandatory=True)
                probes[sender.sent] = name
    await sender.settle()
    for number, name in probes.items():
        seen[name] = number not in returned


async def drain(world: World, there: Seen, rng: Random | None = None) -> None:
    """Empty every queue and group, read every stream, make that durable, and say so.

    `rng`: where there was a load on streams; some are declared anew, and `there` is brought up to date.
    """
    session = await Session.open(world)
    sender = await Sender.open(session, True)
    horizon = sender.number
    if rng is not None:
        sender.mark()  # when this is confirmed, groups have all that has come to their streams before
        await sender.settle()
    for queue in (*STEADY_QUEUES, *CHURN, *ALL_GROUPS):
        if there[queue_entity(queue)]:
            await _drain_queue(session, queue)
    for stream in ALL_STREAMS:
        if there[queue_entity(stream)]:
            await _read_stream(session, stream)
    sender.mark()
    await sender.settle()
    await _drain_queue(session, MARKS)
    world.journal("drained", horizon)
    if rng is not None:
        await _renew(session, sender.channel, there, rng)
        sender.mark()
        await sender.settle()
    world.depth.clear()
    await session.ask(session.connection.close())


async def _drain_queue(session: Session, queue: str) -> None:
    held = Held(session, await session.channel())
    await held.channel.call(m.BasicQos(0, 1000), m.BasicQosOk)
    await held.consume(queue, strict=True)
    empty = 0
    while empty < 2:
        count = await _length(held.channel, queue)
        empty = empty + 1 if not count and not held.tags else 0
        if held.tags:
            tags = list(held.tags)
            held.settle(tags)
            held.channel.send(m.BasicAck(tags[-1], True))
    await held.close_channel()


async def _read_stream(session: Session, stream: str) -> None:
    """From the first entry to the last."""
    follower = await Follower.open(session, 1000)
    count = await _length(follower.channel, stream)
    reader = await follower.begin(stream, "first")
    try:
        while follower.count < count:
            async with asyncio.timeout(READ_S_MAX):
                await follower.more()
            follower.credit()
    except TimeoutError:
        pass  # the oracle will say what is missing
    session.journal("whole", reader, count)
    await session.ask(follower.channel.close())


async def _renew(session: Session, channel: Channel, there: Seen, rng: Random) -> None:
    """Delete streams that are long, and some others, with their groups, and declare them again."""
    world = session.world
    for name, stream in STREAMS.items():
        long = stream.depth_max and world.depth[name] > stream.depth_max // 2
        if not long and rng.random() >= RENEW_SHARE:
            continue
        there |= await delete(session, channel, name)
        there |= await _declare(session, channel, name)
        for place in [place for place in world.bookmarks if place[1] == name]:
            del world.bookmarks[place]
        if name == MEASURES:
            world.producers.clear()
