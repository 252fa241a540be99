"""check(broker) notices when any of the structures that belong together is changed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mansio.core.broker import Broker
from mansio.core.check import InvariantBroken, check
from mansio.core.dispatch import Consumer
from mansio.core.queue import Queue
from mansio.core.session import Channel
from tests.sim.world import World


def queues(broker: Broker) -> Iterator[Queue]:
    yield from broker.vhosts["/"].queues.values()


def channels(broker: Broker) -> Iterator[Channel]:
    for session in broker.sessions:
        yield from session.channels.values()


def consumer(broker: Broker) -> Consumer:
    return next(each for channel in channels(broker) for each in channel.consumers.values())


def busy(broker: Broker) -> Channel:
    return next(channel for channel in channels(broker) if channel.ledger.total)


def full(broker: Broker) -> Queue:
    return next(queue for queue in queues(broker) if queue.ready)


def is_rich(broker: Broker) -> bool:
    """Whether there is something of everything that is changed below."""
    return (
        any(queue.ready for queue in queues(broker))
        and any(queue.bindings for queue in queues(broker))
        and any(channel.ledger.total for channel in channels(broker))
        and any(channel.consumers for channel in channels(broker))
    )


@pytest.fixture
def world() -> World:
    """A world whose broker is in the middle of a busy life."""
    for seed in range(100):
        world = World(seed)
        with world.profile.constants():
            for _ in range(300):
                world.step()
                if is_rich(world.server.broker):
                    return world
    pytest.fail("no world had something of everything")


def lose_binding(broker: Broker) -> None:
    queue = next(queue for queue in queues(broker) if queue.bindings)
    queue.bindings.popitem()


def lose_match(broker: Broker) -> None:
    queue = next(queue for queue in queues(broker) if queue.bindings)
    binding = next(iter(queue.bindings.values()))
    binding.source.matcher.remove(binding)


def add(name: str) -> Callable[[object], None]:
    def change(thing: object) -> None:
        setattr(thing, name, getattr(thing, name) + 1)

    return change


CHANGES: dict[str, Callable[[Broker], object]] = {
    "ready count": lambda b: add("ready_count")(full(b)),
    "in flight": lambda b: add("in_flight")(full(b)),
    "live": lambda b: add("live")(full(b).ready[0].run),
    "memory": lambda b: add("resident_bytes")(b.paging),
    "span": lambda b: setattr(full(b).ready[0], "base", 1 << 40),
    "position": lambda b: setattr(full(b), "next_position", 0),
    "order": lambda b: full(b).ready.append(full(b).ready[0]),
    "ledger": lambda b: add("total")(busy(b).ledger),
    "left": lambda b: add("left")(next(iter(busy(b).ledger))),
    "tag": lambda b: setattr(busy(b), "next_tag", 1),
    "channel's unsettled": lambda b: add("unsettled")(busy(b)),
    "consumer's unsettled": lambda b: add("unsettled")(consumer(b)),
    "consumer": lambda b: consumer(b).queue.consumers.remove(consumer(b)),
    "exclusive": lambda b: setattr(consumer(b).queue, "exclusive_consumer", True),
    "owner": lambda b: setattr(full(b), "owner", busy(b).session),
    "deleted": lambda b: setattr(full(b), "deleted", True),
    "dirty": lambda b: setattr(full(b), "dirty", not full(b).dirty),
    "sealed": lambda b: setattr(busy(b), "sealed", busy(b).published + 1),
    "not busy": lambda b: (b.confirms.committed(busy(b)), setattr(b.confirms, "busy", False)),
    "closed": lambda b: setattr(busy(b).session, "closed", True),
    "allowance": lambda b: setattr(busy(b).session, "allowance", 1 << 40),
    "binding": lose_binding,
    "matcher": lose_match,
}


@pytest.mark.parametrize("what", CHANGES)
def test_change_is_noticed(world: World, what: str) -> None:
    broker, turn_bytes = world.server.broker, world.profile.turn_bytes
    check(broker, turn_bytes=turn_bytes)
    CHANGES[what](broker)
    with pytest.raises(InvariantBroken):
        check(broker, turn_bytes=turn_bytes)
