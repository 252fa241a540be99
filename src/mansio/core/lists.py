"""Lists are queues: what Redis clients do at both ends of one.

    left  [ 4 ][ 3 ][ 2 ][ 1 ]  right        LPUSH ─► appended      RPOP ─► takes the front: what consumers get next
           └ the queue's end   └ its front    RPUSH ─► put in front  LPOP ─► takes what came last

With `head_left` the front is on the left. Only what is ready is in the list; what is in flight is not. What is done
with a list is a publish or a settlement, or both in one entry of the log: so AMQP clients, consumers, records and
restarts see nothing new but positions below 0.
"""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mansio.core import cuts
from mansio.core.dead_letters import EXPIRED
from mansio.core.equivalence import describe
from mansio.core.errors import PreconditionFailed
from mansio.core.expiry import Expiry
from mansio.core.keyspace import WrongKind
from mansio.core.queue import Queue
from mansio.core.recall import Recall
from mansio.core.routing import Route
from mansio.core.run import Run, Span
from mansio.core.stream_keys import MADE_BY
from mansio.core.vacancy import declare_list, make_list

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Channel, Session
    from mansio.core.waiters import Line


class Gathered:
    """What was pushed to the end of one queue in this turn by clients with the same rights, which become one run."""

    __slots__ = ("before", "pressing", "queue", "size_bytes", "values")

    def __init__(self, queue: Queue, pressing: bool) -> None:
        self.queue = queue
        self.before = queue.ready_count
        self.pressing = pressing  # whoever pushes there should slow down
        self.values: list[bytes] = []
        self.size_bytes = 0  # reserved for them in the log


class Lists:
    """The Broker's queues as lists. `left`: which end is meant."""

    def __init__(self, broker: "Broker") -> None:
        self.gathered: dict[Any, Gathered] = {}
        """By what pushes have in common. Whoever looks at a list, but to push, calls `flush` before."""
        self._gathering: dict[Queue, Any] = {}  # the keys of these
        self.ready: dict[Line, None] = {}
        """Something came into the queues of these, in this order, whatever has become of it since; whoever drives a
        front has `waiting.serve` called."""
        self._broker = broker

    # -- which queue

    def find(self, session: "Session", name: str) -> Queue | None:
        """The list of this name, as far as there is a queue; WrongKind, ResourceLocked."""
        queue = self._broker.vhosts[session.vhost].queues.get(name)
        if queue is None:
            return None
        if queue.keeps or queue.fed:
            raise WrongKind(f"{describe('queue', name, queue.vhost)} is no list")
        if queue.owner is not None:
            raise self._broker.vhosts[session.vhost].locked(name)
        return queue

    def target(self, session: "Session", name: str, head_left: bool) -> Queue:
        """Where a push goes; it is made if there is none. A stream that was declared takes what is appended."""
        queue = self._broker.vhosts[session.vhost].queues.get(name)
        if queue is not None and queue.keeps and MADE_BY not in queue.arguments:
            return queue
        queue = self.find(session, name)
        if queue is None:
            queue = declare_list(self._broker, session, name, head_left)
        return queue

    def up_to_date(self, queue: Queue) -> bool:
        """What has expired at its ends goes, as far as it can go now; whether that is all."""
        self._broker.bring_up_to_date(queue)
        expiry = queue.expiry
        if expiry is None:
            return True
        return expiry.after() and self._drop_expired_last(queue, expiry)

    def _drop_expired_last(self, queue: Queue, expiry: Expiry) -> bool:
        broker = self._broker
        while queue.ready_count and expiry.of((span := queue.last()).run) <= broker.now_ms:
            if not broker.dead_letters.can_take(queue, span):
                return False
            count = span.stop - span.start
            broker.dead_letters.drop(queue, queue.take_last(count), EXPIRED)
            broker.counts.expired += count
        return True

    def length(self, queue: Queue) -> int:
        """How many elements it has."""
        if queue.dirty or queue.expiry is not None:
            self.up_to_date(queue)
        return queue.ready_count

    # -- in

    def push(
        self, queue: Queue, values: list[bytes], left: bool, channel: "Channel | None" = None
    ) -> int:
        """Puts values to one end, one after the other; how many elements there are then. PreconditionFailed: it is
        full and refuses them; nothing has changed."""
        if queue in self._gathering:
            self._flush_one(queue)
        front = queue.head_left is left and not queue.keeps
        if front:
            values = values[::-1]
        run = self._broker.letters.contents(values, Route("", queue.name, (queue,)))
        self.check_room(queue, run)
        self.enter(queue, run, front, channel)
        if queue.bound is not None and queue.waiters is None:
            self._broker.bring_up_to_date(queue)
        return queue.ready_count

    def gather(self, key: Any, queue: Queue, left: bool) -> Gathered | None:
        """Pushes with this key, see `gathered`, go on to a queue that is no stream; None where each has to be a run of
        its own."""
        if queue.head_left is left or queue.bound is not None or queue.waiters is not None:
            return None
        if queue in self._gathering:
            self._flush_one(queue)
        pressing = queue.crowded or self._broker.journal.behind
        found = self.gathered[key] = Gathered(queue, pressing)
        self._gathering[queue] = key
        return found

    @property
    def awaited(self) -> bool:
        """Whether somebody may get something of what was gathered."""
        return any(queue.consumers for queue in self._gathering)

    def flush(self) -> None:
        """What was gathered goes to the queues."""
        for queue in list(self._gathering):
            self._flush_one(queue)

    def _flush_one(self, queue: Queue) -> None:
        gathered = self.gathered.pop(self._gathering.pop(queue))
        self._broker.journal.room_bytes += gathered.size_bytes
        if gathered.values:
            route = Route("", queue.name, (queue,))
            self.enter(queue, self._broker.letters.contents(gathered.values, route), False)

    def check_room(self, queue: Queue, run: Run) -> None:
        """PreconditionFailed where the queue is full and refuses the run."""
        bound = queue.bound
        if bound is None or not bound.reject:
            return
        self._broker.bring_up_to_date(queue)
        if not bound.takes(queue, run):
            raise PreconditionFailed(f"{describe('queue', queue.name, queue.vhost)} is full")

    def enter(self, queue: Queue, run: Run, front: bool, channel: "Channel | None" = None) -> None:
        """A run goes to one end of a queue."""
        if front:
            self.put_in_front(queue, run)
        else:
            self._broker.intake.put(run, (queue,), channel)
        if queue.waiters is not None:
            self.ready[queue.waiters] = None

    def put_in_front(self, queue: Queue, run: Run) -> None:
        """A run is what is delivered next. It keeps the time at which it came, if it has one."""
        broker = self._broker
        run.arrived_ms = run.arrived_ms or broker.now_ms
        broker.settling.hold(run, 1)
        base = queue.prepend(run)
        if queue.bound is not None:
            queue.bound.arrived(run, base, None)
        self.entered(queue, run, base)

    def entered(self, queue: Queue, run: Run, base: int) -> None:
        """A run, which is held, has got places from `base` on."""
        broker = self._broker
        if run.expiration_ms is not None and queue.expiry is None:
            queue.expiry = Expiry(broker, queue)
        if run.persistent and queue.logged:
            run.places = ((queue.id, base),)
            broker.journal.publish(run)
        if broker.paging.budget_bytes:
            broker.paging.arrived(run, (queue,))
        broker.dispatcher.touch(queue)

    # -- out

    def look(self, queue: Queue, left: bool, n: int) -> list[Span]:
        """The first elements at one end, at most `n`, which stay there; the spans in the queue's order."""
        if (queue.dirty or queue.expiry is not None) and not self.up_to_date(queue):
            return []
        count = queue.ready_count
        n = min(n, count)
        if queue.head_left is left:
            return cuts.view(queue, 0, n)
        return cuts.view(queue, count - n, count)

    def at_hand(self, queue: Queue, left: bool, n: int) -> int:
        """How many elements at one end are in memory, at most `n`; what is not is asked for if that is the first one,
        and the queue is looked at again then."""
        head = queue.head_left is left
        if n == 1 and (queue.ready[0] if head else queue.last()).run.data:
            return 1
        found = 0
        for span in queue.spans() if head else cuts.backwards(queue):
            if not span.run.data:
                break
            found += span.stop - span.start
            if found >= n:
                return n
        if not found:
            loading = self._broker.paging.loading
            run = queue.ready[0].run if head else queue.last().run
            if run not in loading.unreadable and loading.wake_by(run, queue):
                loading.want(run)
        return found

    def take(self, queue: Queue, left: bool, n: int) -> list[Span]:
        """Takes as many for good as `look` has found; the spans in the order in which they were taken, each to be read
        backwards unless it is from the front."""
        taken = cuts.take(queue, queue.head_left is left, n)
        settling = self._broker.settling
        for span in taken:
            first, count = span.base + span.start, span.stop - span.start
            settling.settled(queue, span.run, first, count, 1)
            settling.counts.delivered += count
            if span.redelivered:
                settling.counts.redelivered += count
        if queue.expiry is not None:
            queue.expiry.after()
        return taken

    def take_one(self, queue: Queue, left: bool) -> Span:
        """The same for one element, which is there."""
        taken = queue.take_head(1) if queue.head_left is left else queue.take_last(1)
        settling = self._broker.settling
        settling.settled(queue, taken.run, taken.base + taken.start, 1, 1)
        counts = settling.counts
        counts.delivered += 1
        if taken.redelivered:
            counts.redelivered += 1
        if queue.expiry is not None:
            queue.expiry.after()
        return taken

    def values(
        self, queue: Queue, left: bool, spans: Sequence[Span], recall: Recall
    ) -> list[bytes]:
        """The bodies of what `look` has found, from that end on; MustWait."""
        bodies = self._broker.letters.bodies
        found = [body for part in recall.see_all(spans, bodies) for body in part]
        if queue.head_left is not left:
            found.reverse()
        return found

    # -- in between

    def slice(self, queue: Queue, start: int, stop: int) -> list[Span]:
        """Elements [start, stop) from the left, which stay there; the spans in the queue's order."""
        count = self.length(queue)
        start, stop = max(start, 0), min(stop, count)
        if not queue.head_left:
            start, stop = count - stop, count - start
        return cuts.view(queue, start, stop)

    def clear(self, queue: Queue) -> None:
        """Drops all elements; the queue stays."""
        self._broker.settling.drop_ready(queue)

    # -- from one to another

    def move(
        self,
        source: Queue,
        from_left: bool,
        target: Queue,
        to_left: bool,
        channel: "Channel | None",
        recall: Recall,
    ) -> bytes | None:
        """Takes an element of one list and puts it, with its properties, to an end of another, or of the same; its
        body. None: there is nothing. MustWait, PreconditionFailed."""
        spans = self.look(source, from_left, 1)
        if not spans:
            return None
        span = spans[0]
        body: bytes = recall.see_all(spans, self._broker.letters.bodies)[0][0]
        if not span.run.data:
            recall.ask([span.run])  # it was there before, and its properties are needed, too
        moved = self._readdressed(span.run, span.start, target)
        self.check_room(target, moved)
        journal = self._broker.journal
        journal.begin(moved.data_bytes)
        self.take(source, from_left, 1)
        self.enter(target, moved, target.head_left is to_left and not target.keeps, channel)
        journal.end()
        return body

    def _readdressed(self, run: Run, i: int, target: Queue) -> Run:
        """Message `i` of a run as if it had been published to this queue."""
        moved = run.part(i, i + 1)
        old = moved.route(0)
        route = Route("", target.name, (target,), channel=old.channel, skip=old.skip)
        route.frame_max = old.frame_max
        moved.routes, moved.which = (route,), None
        moved.arrived_ms = 0
        return moved

    def hand_back(self, vhost: str, name: str, left: bool, spans: Sequence[Span]) -> None:
        """What was taken there last, but has reached nobody, is put to the same end again."""
        host = self._broker.vhosts.get(vhost)
        if host is None:
            return
        queue = host.queues.get(name)
        if queue is None:
            queue = make_list(self._broker, vhost, name, left)
        if queue.keeps or queue.fed:
            return
        front = queue.head_left is left
        for span in reversed(spans):
            run = span.run.part(span.start, span.stop)
            self.enter(queue, run, front)
            lane = queue.ready if queue.levels is None else queue.levels.lane(run)
            lane[0 if front else -1].redelivered = True


def matcher(broker: "Broker", value: bytes) -> Any:
    """For `Recall`: whether each message has this body, as an array of 1 and 0."""
    bodies = broker.letters.bodies

    def look(run: Run, start: int, stop: int) -> Sequence[int]:
        return array("b", [body == value for body in bodies(run, start, stop)])

    return look
