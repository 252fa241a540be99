"""Acknowledgement timeouts as the oracle sees them: nothing is taken back too early, or much too late."""

from __future__ import annotations

from mansio.core import overdue
from tests.sim.ends import Ends
from tests.sim.model import LATE, Channel, Connection, Violation


def give_back(model: Ends, channel: Channel, tag: str, name: str) -> None:
    """The broker takes back what a consumer has not settled, and cancels it then, see `cancel`; or what basic.get
    fetched from a queue."""
    what = f"{channel.connection.name} channel {channel.number}: {tag or 'basic.get'} of {name}"
    now_ms = model.now_ms
    held = [channel.unacked[number] for number in sorted(channel.unacked)]
    held = [each for each in held if each.queue.name == name]
    if tag:
        held = [each for each in held if each.consumer is not None and each.consumer.tag == tag]
    else:
        held = [each for each in held if each.consumer is None and 0 < each.due_ms() <= now_ms]
    late = next((each for each in held if 0 < each.due_ms() <= now_ms), None)
    if late is None:
        raise Violation(f"{what}: nothing is late")
    # Another queue, or consumer, may have had the name before, and its deliveries are given back by themselves.
    held = [each for each in held if each.queue is late.queue and each.consumer is late.consumer]
    for each in held:
        del channel.unacked[each.tag]
        channel.withdrawn.add(each.tag)
    model.leaving = late.consumer if channel.consumers.get(tag) is late.consumer else None
    model.requeue(held, LATE)


def cancel(model: Ends) -> None:
    """The broker has taken back what a consumer has not settled, and cancelled it."""
    consumer, model.leaving = model.leaving, None
    if consumer is not None:
        if consumer.tag in consumer.channel.consumers:
            model.cancel(consumer)
        model.cancelled.append((consumer.channel, consumer.tag))


def check_in_time(connection: Connection, now_ms: int) -> None:
    """A turn has ended: nothing may be there that is long overdue."""
    for channel in connection.channels.values():
        for each in channel.unacked.values():
            patience_ms = max(each.timeout_ms // 16, overdue.GRAIN_MS[0])
            if 0 < each.due_ms() < now_ms - patience_ms:
                raise Violation(
                    f"{connection.name} channel {channel.number}: delivery {each.tag} of {each.queue.name} "
                    f"is {now_ms - each.due_ms()} ms late"
                )
