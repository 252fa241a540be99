"""Lists that nobody has declared: queues that Redis clients make by pushing or by waiting.

    LPUSH, BRPOP ──► made, durable ──queue.declare──► a queue as any other, that stays
                       └──► empty and unused for a while ──► gone

To Redis clients an empty one does not exist, but AMQP clients may publish to it. It does not go as soon as it is empty:
a list that is filled and emptied all the time would write its definition into the log each time.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.admission import check_new_queue
from mansio.core.deadlines import NEVER_MS
from mansio.core.field_values import Arguments
from mansio.core.names import check_key_name
from mansio.core.records import encode_topology, pack_table
from mansio.core.topology_records import queue_fields

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.session import Session

VACANT_MS: Final = 10_000
"""Between two looks: a list goes that was empty and unused at two in a row, without a message in between."""


class Vacancy:
    """Looks after one queue that nobody has declared."""

    __slots__ = ("_broker", "_last", "_queue", "deadline_ms")

    def __init__(self, broker: "Broker", queue: "Queue") -> None:
        self.deadline_ms = NEVER_MS
        self._broker = broker
        self._queue = queue
        self._last: tuple[int, int] | None = None  # its positions when it was empty and unused
        broker.deadlines.at(broker.now_ms + VACANT_MS, self)

    @property
    def vacant(self) -> bool:
        """Whether nothing is in the queue, and nobody uses it but those who wait for messages."""
        queue = self._queue
        deferred = 0 if queue.deferred is None else queue.deferred.count
        in_use = queue.ready_count or queue.in_flight or deferred
        return not (in_use or queue.consumers or queue.bindings)

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        queue = self._queue
        if queue.vacancy is not self or queue.deleted:
            return
        now = (queue.next_position, queue.low_position)
        if queue.waiters is not None or not self.vacant:
            self._last = None
        elif self._last == now:
            self._broker.definitions.drop_queue(queue)
            return
        else:
            self._last = now
        self._broker.deadlines.at(now_ms + VACANT_MS, self)


def declare_list(broker: "Broker", session: "Session", name: str, head_left: bool) -> "Queue":
    """A new queue that nobody has declared; AccessRefused, PreconditionFailed."""
    host = broker.vhosts[session.vhost]
    check_key_name("list", name, host.name)
    session.rights.check_configure("queue", name)
    check_new_queue(host, session, name, {})
    return make_list(broker, host.name, name, head_left, session)


def make_list(
    broker: "Broker", vhost: str, name: str, head_left: bool, session: "Session | None" = None
) -> "Queue":
    """The same without questions; `session`: who is to hear of it only when it is durable."""
    definitions = broker.definitions
    queue = definitions.make_queue(definitions.take_id(), vhost, name, True, False, None, {})
    queue.head_left = head_left
    queue.vacancy = Vacancy(broker, queue)
    broker.vhosts[vhost].add_queue(queue)
    _write(broker, session, {"do": "declare queue", "vhost": vhost, **queue_fields(queue)})
    return queue


def adopt(
    broker: "Broker", session: "Session", queue: "Queue", alike: bool, arguments: Arguments
) -> "Queue | None":
    """queue.declare of a list that nobody has declared so far: it stays from now on. None where it was vacant, and is
    to be made as it is asked for; `alike`: that differs in arguments only, if at all."""
    head = "left" if queue.head_left else "right"
    if alike and arguments in ({}, {"x-head": head}):
        queue.vacancy = None
        queue.arguments = dict(arguments)
        broker.policies.apply(queue)
        change = {"do": "adopt queue", "vhost": queue.vhost, "name": queue.name}
        _write(broker, session, change | {"arguments": pack_table(arguments)})
    elif queue.vacancy is not None and queue.vacancy.vacant:
        broker.definitions.drop_queue(queue, session)
        return None
    return queue


def _write(broker: "Broker", session: "Session | None", change: dict[str, Any]) -> None:
    if session is not None:
        broker.confirms.changed(session)
    broker.journal.write(encode_topology(change))
