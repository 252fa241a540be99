"""Peers that PUSH: what they send are tasks for one queue.

    messages of one buffer ──► one run ──► the queue           nobody is told: a PUSH socket cannot hear
         └─ no room: they stay, and nothing more is read ──► the peer's socket fills up to its high-water mark

There is no room while the broker is short of memory or disk, or while the queue is full and would refuse messages; so
none is dropped here. What an interrupted connection loses is what had not arrived: what is in the peer's socket is sent
again by it behind a reconnect, but for what it had handed to its system. What has arrived is in the queue, and, if it
is persistent and the queue durable, in the log with the next entry.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mansio.codec.resp import encode_contents as encode_bodies
from mansio.codec.zmtp_runs import encode_contents
from mansio.core.equivalence import describe
from mansio.core.errors import BrokerError, PreconditionFailed
from mansio.core.limits import NS
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.protocol.zmtp.messages import PARTS_MAX
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.wishes import queue_of, wants_persistence

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

_Encode = Callable[[int], tuple[bytes, int, bytes | None]]

TOLD_NS: Final = 60 * NS
"""Between two lines that say that a peer waits for a full queue."""


class Taking(Role):
    """What one peer pushes."""

    socket_type = "PULL"
    apart = False

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        self._persistent = wants_persistence(connection.metadata)
        self._route = self._find_route()
        self._waits = False  # for a full queue
        self._told_ns = -TOLD_NS

    def _find_route(self) -> Route:
        connection = self.connection
        queue = queue_of(connection)
        if queue.fed:
            resource = describe("queue", queue.name, queue.vhost)
            raise PreconditionFailed(f"{resource} gets its messages from a stream")
        broker, session = connection.broker, connection.session
        assert session is not None
        route = broker.route(session.rights, "", queue.name, False, 0, 0)
        route.frame_max = broker.letters.frame_max
        return route

    # -- tasks

    def receive_bodies(self, bodies: list[bytes]) -> int:
        """See `Role`."""
        frame_max = self._route.frame_max
        return self._take(
            len(bodies), lambda n: encode_bodies(bodies[:n], self._persistent, frame_max)
        )

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`."""
        if any(len(frames) > PARTS_MAX for frames in messages):
            self.connection.finish(f"a message of more than {PARTS_MAX} frames")
            return 0
        frame_max = self._route.frame_max
        return self._take(
            len(messages), lambda n: encode_contents(messages[:n], 0, self._persistent, frame_max)
        )

    def _take(self, count: int, encode: _Encode) -> int:
        """Puts as many messages into the queue as it has room for: how many."""
        connection = self.connection
        if self._route.queues[0].deleted:
            try:
                self._route = self._find_route()
            except BrokerError as error:
                connection.finish(error.text)
                return 0
        route = self._route
        queue = route.queues[0]
        bound = queue.bound
        most = count
        if bound is not None and bound.reject and bound.count_max is not None:
            most = min(count, bound.count_max - queue.ready_count)
        while most > 0:
            data, stride, ends = encode(most)
            run = Run(data, most, stride, ends, (route,), None, self._persistent)
            if bound is None or not bound.reject or bound.takes(queue, run):
                break
            most //= 2
        if most <= 0:
            self._wait_for(queue)
            return 0
        logged = (self._persistent and queue.logged) or queue.keeps
        if not connection.room(run.data_bytes if logged else 0):
            return 0
        connection.broker.publish(connection.channel, run, route.queues)
        if most < count:
            self._wait_for(queue)
        return most

    # -- full queues

    def _wait_for(self, queue: Queue) -> None:
        self._waits = True
        self.connection.pause()
        if queue.bound is not None:
            queue.bound.wait(self._look_again)

    def _look_again(self) -> None:
        """The queue may have room."""
        if self._waits:
            self._waits = False
            self.connection.go_on_reading()

    def tick(self, now_ns: int) -> None:
        """See `Role`: some ways out of a queue wake nobody."""
        if self._waits:
            queue = self._route.queues[0]
            if now_ns - self._told_ns >= TOLD_NS and queue.bound is not None:
                self._told_ns = now_ns
                resource = describe("queue", queue.name, queue.vhost)
                self.connection.broker.notices.append(
                    f"{self.connection.peer.name} waits: {resource} is full"
                )
            self._look_again()
