"""Clients that wait until something is in a list: who gets what comes, and when.

    BRPOP a b ──nothing there──► a waiter in the lines of both keys ──► served, timed out or cancelled: out of both

A *line* is of a key, whether there is a queue of that name or not; the queue knows it as `waiters`. It is served behind
each command that has put something into a list (`Waiting.serve`), and by the dispatcher when an AMQP client has, or
when messages come back. Who has waited longest is served first; a consumer with room waits since it last got something
here, so that consumers and waiters take turns. A queue whose consumers have priorities, a single active one or another
strategy serves those first.
"""

from typing import TYPE_CHECKING, Protocol

from mansio.core.dispatch import Consumer, give_head, has_head

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.session import Session


class Server(Protocol):
    """The front's part of a waiter."""

    def serve(self, queue: "Queue") -> bool:
        """Takes what the client wants of this queue, in which something is ready, and answers the client; False: what
        it needs has to be read first, and the queue is looked at again then."""


class Waiter:
    """A client that waits for one of these keys, in this order."""

    __slots__ = ("keys", "number", "server", "session")

    def __init__(self, session: "Session", keys: list[str], server: Server) -> None:
        self.session = session
        self.keys = list(dict.fromkeys(keys))
        self.server = server
        self.number = 0  # those that came before have lower ones


class Line:
    """Who waits for one key, in order. `served`: when consumers of its queue last got something beside waiters."""

    __slots__ = ("_waiting", "key", "queues", "served", "waiters")

    def __init__(self, waiting: "Waiting", queues: "dict[str, Queue]", key: str) -> None:
        self._waiting = waiting
        self.queues = queues  # of its virtual host
        self.key = key
        self.waiters: dict[Waiter, None] = {}
        self.served: dict[Consumer, int] = {}

    def serve(self, queue: "Queue") -> None:
        """Hands out what is ready as long as somebody waits here."""
        if queue.owner is not None or queue.fed or queue.keeps:
            return
        if queue.sharing is not None and queue.dirty:
            return  # by the dispatcher, behind its consumers
        while self.waiters and queue.ready_count:
            if queue.expiry is not None and not queue.expiry.head_lives():
                return
            waiter = next(iter(self.waiters))
            if self._serve_consumer(queue, waiter.number):
                continue
            if not waiter.server.serve(queue):
                break
            self._waiting.leave(waiter)

    def _serve_consumer(self, queue: "Queue", before: int) -> bool:
        """Gives the first message to the consumer that waits longest, if that is since before this number."""
        if not queue.consumers or queue.sharing is not None or not has_head(queue):
            return False
        each = queue.ready[0].run.bytes_each()
        served = self.served
        found: Consumer | None = None
        for consumer in queue.consumers:
            since = served.get(consumer, 0)
            if since < before and consumer.room(each) > 0:
                found, before = consumer, since
        if found is None:
            return False
        if len(served) > 2 * len(queue.consumers):
            self.served = served = {each: served.get(each, 0) for each in queue.consumers}
        served[found] = self._waiting.next_number()
        give_head(queue, found, 1, each, self._waiting.broker.settling)
        return True


class Waiting:
    """All waiters of one broker."""

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self._number = 0

    def next_number(self) -> int:
        """Of whoever begins to wait now."""
        self._number += 1
        return self._number

    def join(self, waiter: Waiter) -> None:
        """It waits from now on, behind all others."""
        waiter.number = self.next_number()
        host = self.broker.vhosts[waiter.session.vhost]
        for key in waiter.keys:
            line = host.lines.get(key)
            if line is None:
                line = host.lines[key] = Line(self, host.queues, key)
                queue = host.queues.get(key)
                if queue is not None:
                    queue.waiters = line
            line.waiters[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """It waits no more."""
        host = self.broker.vhosts.get(waiter.session.vhost)
        for key in waiter.keys if host is not None else ():
            assert host is not None
            line = host.lines.get(key)
            if line is None or line.waiters.pop(waiter, waiter) is waiter or line.waiters:
                continue
            del host.lines[key]
            queue = host.queues.get(key)
            if queue is not None:
                queue.waiters = None

    def serve(self) -> None:
        """A command is done that has put something into lists: who waits for that is served, and whoever waits for what
        that in turn puts somewhere. Keys come in the order in which something was put there first, as in Redis, though
        it may have been deleted since."""
        lists = self.broker.lists
        if lists.gathered:
            lists.flush()  # who is served may put something behind it
        while lists.ready:
            lines = list(lists.ready)
            lists.ready.clear()
            for line in lines:
                queue = line.queues.get(line.key)
                if queue is not None:
                    line.serve(queue)
