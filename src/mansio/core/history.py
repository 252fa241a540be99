"""What an `x-recent-history` exchange remembers: its last messages, for whoever is bound to it later.

    publish ──► bound queues, and the history ──► more than its length: the oldest go
    bind    ──► copies of what it holds, oldest first, to the new destination

It is a queue like any other, bounded, that no client can name. So what is persistent in that of a durable exchange is
in the log and outlives a restart (RabbitMQ's plugin forgets it), and it is carried, counted and settled as elsewhere.
Its messages are always in memory, but for those that came back from the log and that no binding has asked for yet.
"""

from typing import TYPE_CHECKING, ClassVar, Final

from mansio.core.matchers import HISTORY_LENGTH, HISTORY_LENGTH_DEFAULT
from mansio.core.queue import Queue
from mansio.core.routing import Binding, Exchange
from mansio.core.run import Run, make_run
from mansio.core.view import View

if TYPE_CHECKING:
    from mansio.core.broker import Broker

RECENT_HISTORY: Final = "x-recent-history"
NO_STORE: Final = "x-recent-history-no-store"
"""A message whose header of this name is true is not remembered."""


class History(Queue):
    """The last messages of an exchange; it has no consumers."""

    __slots__ = ("length",)
    hidden: ClassVar[bool] = True

    def __init__(self, id: int, vhost: str, exchange: Exchange) -> None:
        length = exchange.arguments.get(HISTORY_LENGTH, HISTORY_LENGTH_DEFAULT)
        super().__init__(
            id,
            vhost,
            f"history of {exchange.name}",
            durable=exchange.durable,
            arguments={"x-max-length": length},
        )
        self.length = length

    def recall(self) -> list[Run]:
        """Its messages, oldest first, each as a run of its own that shares the bytes; not those that cannot be read."""
        found: list[Run] = []
        for span in self.ready:
            run = span.run
            if run.data:
                found += [_copy(run, i) for i in range(span.start, span.stop)]
        return found[-self.length :]


def _copy(run: Run, i: int) -> Run:
    copy = make_run([run.message(i)], run.route(i), run.persistent)
    copy.priority, copy.expiration_ms = run.priority, run.expiration_ms
    return copy


def stores(view: View | None) -> bool:
    """Whether a message is to be remembered; True where it is not known."""
    return view is None or view.headers.get(NO_STORE) is not True


def replay(broker: "Broker", vhost: str, binding: Binding) -> None:
    """A new binding of an exchange that remembers: its destination gets what that holds."""
    history = binding.source.history
    if history is None:
        return
    target = binding.destination
    for run in history.recall():
        queues = [target] if isinstance(target, Queue) else _reached(broker, vhost, target, run)
        if queues:
            if any(queue.dedup is not None for queue in queues):
                marks = broker.letters.marks(run, 0)
                run.marks = None if marks is None else marks.only_id()
            broker.intake.put(run, tuple(queues))


def _reached(broker: "Broker", vhost: str, exchange: Exchange, run: Run) -> list[Queue]:
    route = run.routes[0]
    view = broker.letters.view(run.content(0), route.exchange, route.routing_key)
    queues, _ = broker.vhosts[vhost].route(exchange, [route.routing_key], view)
    return queues
