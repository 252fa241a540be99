"""A list that is copied: messages with their properties, in the same order, as new ones of another queue."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from mansio.core.recall import Recall
from mansio.core.routing import Route
from mansio.core.run import Run, make_run
from mansio.core.vacancy import make_list

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue

Element = tuple[bytes, tuple[int, int, int | None, int]]
"""(header and body frames, what the messages of one run have in common)."""


def elements(run: Run, start: int, stop: int) -> Sequence[Element]:
    """For `Recall`: what is copied of messages."""
    found: list[Element] = []
    for i in range(start, stop):
        route = run.route(i)
        alike = (route.channel, route.frame_max, run.expiration_ms, run.priority)
        found.append((run.content(i), alike))
    return found


def read_list(broker: "Broker", queue: "Queue", recall: Recall) -> list[Element]:
    """All that is ready in a queue, in its order; MustWait."""
    spans = broker.lists.slice(queue, 0, queue.ready_count)
    return [element for part in recall.see_all(spans, elements) for element in part]


def write_list(
    broker: "Broker", vhost: str, name: str, found: list[Element], head_left: bool
) -> None:
    """Puts them into the queue of this name, which is made if there is none. `head_left`: of where they were read."""
    target = broker.vhosts[vhost].queues.get(name)
    if target is None:
        target = make_list(broker, vhost, name, head_left)
    if target.head_left is not head_left:
        found = found[::-1]
    for (channel, frame_max, expiration_ms, priority), group in groupby(found, itemgetter(1)):
        route = Route("", name, (target,), channel=channel)
        route.frame_max = frame_max
        run = make_run([frames for frames, _ in group], route, True)
        run.expiration_ms, run.priority = expiration_ms, priority
        broker.lists.enter(target, run, False)
