"""Changes of the topology, with what has to be written down before and after."""

from __future__ import annotations

from collections.abc import Awaitable

from mansio.codec import amqp_methods as m
from tests.torture.session import Session
from tests.torture.topology import (
    ALL_GROUPS,
    ALL_STREAMS,
    CHURN_EXCHANGES,
    binding_entity,
    queue_entity,
)
from tests.torture.wire import Channel

Seen = dict[str, bool]


async def change(
    session: Session, call: Awaitable[object], effects: Seen, emptied: tuple[str, ...] = ()
) -> Seen:
    """One change, written down before and after; its effects. `call`: its coroutine."""
    number = session.world.number()
    session.journal("changing", session.number, number, effects, emptied)
    await call
    if not session.connection.lost:
        session.journal("changed", session.number, number)
    return effects


async def declare_stream(session: Session, channel: Channel, stream: str) -> Seen:
    """Where there is none."""
    session.journal("fresh", stream)
    arguments = ALL_STREAMS[stream].arguments
    call = channel.call(m.QueueDeclare(stream, durable=True, arguments=arguments), m.QueueDeclareOk)
    return await change(session, call, {queue_entity(stream): True})


async def declare_group(session: Session, channel: Channel, group: str, begin: int | str) -> Seen:
    """Where there is none, to begin at an offset, `first` or `next`."""
    session.journal("forming", group, begin)
    arguments = ALL_GROUPS[group].arguments(begin)
    call = channel.call(m.QueueDeclare(group, durable=True, arguments=arguments), m.QueueDeclareOk)
    effects = await change(session, call, {queue_entity(group): True})
    if not session.connection.lost:
        session.journal("formed", group)
    return effects


def fed_by(queue: str) -> tuple[str, ...]:
    """The groups of a stream."""
    return tuple(name for name, group in ALL_GROUPS.items() if group.stream == queue)


async def delete(session: Session, channel: Channel, queue: str) -> Seen:
    """A queue, with its churn bindings, and with the groups that it feeds."""
    gone = (queue, *fed_by(queue))
    effects = {queue_entity(name): False for name in gone}
    effects |= {binding_entity(exchange, queue): False for exchange in CHURN_EXCHANGES}
    call = channel.call(m.QueueDelete(queue), m.QueueDeleteOk)
    return await change(session, call, effects, gone)
