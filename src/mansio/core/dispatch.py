"""Who gets the next message: round-robin, message by message, among the consumers that have credit.

Messages are handed out in slices. With k consumers able to take some, consumer j gets every k-th message of a span, so
that the order is the one of a message-wise round-robin at the cost of one delivery per consumer and span.

A queue whose consumers have priorities, or that asks for a single active one or another strategy, has a `Sharing`
(see sharing.py) which decides; the others pay nothing for that.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from mansio.core.counts import Counts
from mansio.core.inflight import Flight
from mansio.core.letters import Letters
from mansio.core.limits import CROWD_BYTES
from mansio.core.routing import NO_HEADERS, Arguments
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.dead_letters import DeadLetters
    from mansio.core.queue import Queue
    from mansio.core.session import Channel
    from mansio.core.settling import Settling
    from mansio.core.stream import Reader
    from mansio.core.streams import Streams


class Consumer:
    """A subscription. `limit` bounds its unsettled deliveries (prefetch; 0: no limit); `wire` is the front's.

    `priority`: higher ones are served first. `weight` and `mark`: its share and how far it is, see `Weighted`.
    `timeout_ms`: within it a delivery has to be settled, see overdue.py; 0: whenever.
    """

    __slots__ = (
        "arguments",
        "channel",
        "exclusive",
        "limit",
        "mark",
        "no_ack",
        "priority",
        "queue",
        "reader",
        "tag",
        "timeout_ms",
        "unsettled",
        "weight",
        "wire",
    )

    def __init__(
        self,
        tag: str,
        channel: "Channel",
        queue: "Queue",
        no_ack: bool,
        exclusive: bool,
        arguments: Arguments = NO_HEADERS,
    ) -> None:
        self.tag = tag
        self.channel = channel
        self.queue = queue
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.arguments = arguments
        self.limit = channel.new_consumer_limit
        self.unsettled = 0
        self.priority: int = arguments.get("x-priority", 0)
        self.weight: int = arguments.get("x-weight", 1)
        self.mark = 0
        self.timeout_ms = 0
        self.reader: Reader | None = None  # where it is in a stream
        self.wire: Any = None

    def room(self, bytes_each: int) -> int:
        """How many messages of this mean size it may get now."""
        channel = self.channel
        session = channel.session
        if session.allowance <= 0:
            session.starved[self.queue.id] = self.queue
            return 0
        if not channel.active:
            return 0
        room = session.allowance // bytes_each + 1
        if self.no_ack:
            return room
        if self.limit:
            room = min(room, self.limit - self.unsettled)
        if channel.limit and self.reader is None:  # not of streams (RabbitMQ 3.10.8)
            room = min(room, channel.limit - channel.unsettled)
        return room

    @property
    def is_spent(self) -> bool:
        """Whether it has room, and only its connection's allowance is used up: it gets more in the next turn."""
        channel = self.channel
        session = channel.session
        if session.allowance > 0 or not session.writable or not channel.active:
            return False
        if self.no_ack:
            return True
        if self.limit and self.unsettled >= self.limit:
            return False
        return not (channel.limit and channel.unsettled >= channel.limit)


class Ring(Protocol):
    """Consumers that take messages in turn; `turn` is the number of the one that is next. A queue is one."""

    consumers: list[Consumer]
    turn: int


class Settler(Protocol):
    """What dispatching needs to know of settling."""

    counts: Counts
    letters: Letters
    now_ms: int

    def settled(
        self,
        queue: "Queue",
        run: Run,
        position: int,
        count: int,
        step: int,
        consumer: Consumer | None = None,
    ) -> None:
        """These messages are done with: delivered to a consumer that does not acknowledge."""


class Dispatcher:
    """Queues that may have something to hand out; looked at once, at the end of the turn."""

    dead_letters: "DeadLetters"
    """Where messages go that queues drop; this and the next one are set once by the Broker."""
    streams: "Streams"

    def __init__(self, letters: Letters) -> None:
        self.dirty: list[Queue] = []
        self.letters = letters

    @property
    def unfinished(self) -> bool:
        """Whether there are queues to look at."""
        return bool(self.dirty)

    @property
    def awaited(self) -> bool:
        """Whether somebody may get something of these."""
        return any(
            queue.consumers or queue.keeps or queue.waiters is not None for queue in self.dirty
        )

    def touch(self, queue: "Queue") -> None:
        """The queue, or a consumer of it, may be able to go on."""
        if not queue.dirty and queue.ready_count and not queue.deleted:
            queue.dirty = True
            self.dirty.append(queue)

    def touch_consumed(self, channel: "Channel") -> None:
        """Every consumer of the channel may be able to go on."""
        for consumer in channel.consumers.values():
            self.touch(consumer.queue)

    def run(self, settling: "Settling") -> None:
        """Hands out what can be handed out."""
        paging = settling.paging
        dirty, self.dirty = self.dirty, []
        for queue in dirty:
            queue.dirty = False
            if queue.keeps:
                self.streams.dispatch(queue)
                continue
            expiry = queue.expiry
            if expiry is not None and not expiry.before():
                if queue.bound is not None:  # publishers are told in this turn
                    queue.bound.enforce(queue, self.dead_letters)
                continue
            consumers = queue.consumers
            if queue.bound is not None and queue.bound.shut:
                queue.bound.enforce(queue, self.dead_letters)
            if queue.waiters is not None and queue.sharing is None:
                queue.waiters.serve(queue)
            if consumers:
                if queue.sharing is not None:
                    queue.sharing.dispatch(queue, settling)
                elif len(consumers) == 1:
                    dispatch_to_one(queue, consumers[0], settling)
                else:
                    dispatch_in_turn(queue, queue, settling)
                queue.crowded = queue.ready_count > 0 and is_crowded(queue)
                if paging.budget_bytes and queue.ready_count:
                    paging.loading.look(queue)
            if queue.waiters is not None and queue.sharing is not None:
                queue.waiters.serve(queue)
            if queue.bound is not None:
                head = queue.ready[0].run if queue.ready else None
                queue.bound.enforce(queue, self.dead_letters)
                if queue.consumers and queue.ready and queue.ready[0].run is not head:
                    self.touch(queue)  # dispatching may have stopped at what is gone now
            if expiry is not None:
                expiry.after()


def has_head(queue: "Queue") -> bool:
    """Whether there is a message to be handed out next: what has expired in front of it is gone then."""
    if queue.expiry is not None and not queue.expiry.head_lives():
        return False
    return queue.ready_count > 0 and queue.ready[0].run.data != b""


def dispatch_in_turn(queue: "Queue", ring: Ring, settler: Settler) -> None:
    """Hands out ready messages until there are none, nobody has room, or the next one is paged out."""
    while has_head(queue):
        each = queue.ready[0].run.bytes_each()
        able = able_in_turn(ring, each)
        if not able or not give_round(queue, ring, able, each, settler):
            return


def able_in_turn(ring: Ring, each: int) -> list[tuple[Consumer, int]]:
    """Who has room for messages of this mean size, and for how many, from the one on whose turn it is."""
    consumers = ring.consumers
    turn = ring.turn % len(consumers)
    able = [(c, c.room(each)) for c in consumers[turn:] + consumers[:turn]]
    return [(consumer, room) for consumer, room in able if room > 0]


def give_round(
    queue: "Queue",
    ring: Ring,
    able: list[tuple[Consumer, int]],
    each: int,
    settler: Settler,
    rounds_max: int = 1 << 62,
) -> bool:
    """Hands messages of the first span to these consumers, one each or, where it makes no difference, up to
    `rounds_max` each at once; whether anybody got one."""
    consumers = ring.consumers
    waiting = queue.ready[0].stop - queue.ready[0].start
    shared = any(consumer.channel.limit for consumer, _ in able)
    if len({id(consumer.channel) for consumer, _ in able}) < len(able):
        shared = True  # order holds on a channel, whichever consumer it is for (specification 4.7)
    rounds = 0 if shared else min(_rounds(able, waiting, each), rounds_max)
    if rounds < 1:
        given = 0
        for consumer, _ in able[:waiting]:
            if consumer.room(each) > 0:
                give_head(queue, consumer, 1, each, settler)
                ring.turn = consumers.index(consumer) + 1
                given += 1
        return given > 0
    span = queue.take_head(rounds * len(able))
    for offset, (consumer, _) in enumerate(able):
        deliver(queue, consumer, span, offset, rounds, len(able), each, settler)
    ring.turn = consumers.index(able[-1][0]) + 1
    return True


def _rounds(able: list[tuple[Consumer, int]], waiting: int, each: int) -> int:
    """How many messages each may get at once, so that none gets more than it, or its session, has room for."""
    rounds = min(waiting // len(able), min(room for _, room in able))
    if rounds * len(able) * each > min(c.channel.session.allowance for c, _ in able):
        crowd = Counter(consumer.channel.session for consumer, _ in able)
        rounds = min(rounds, *(s.allowance // (each * count) for s, count in crowd.items()))
    return rounds


def is_crowded(queue: "Queue") -> bool:
    """Whether so much is ready, for want of room in the consumers' connections, that publishers should slow down."""
    if queue.ready_count * queue.ready[0].run.bytes_each() < CROWD_BYTES:
        return False
    consumers = queue.consumers if queue.sharing is None else queue.sharing.first
    return all(consumer.channel.session.allowance <= 0 for consumer in consumers)


def dispatch_to_one(queue: "Queue", consumer: Consumer, settler: Settler) -> None:
    """Hands out ready messages until there are none, the consumer has no room, or the next one is paged out."""
    while has_head(queue):
        span = queue.ready[0]
        each = span.run.bytes_each()
        n = min(span.stop - span.start, consumer.room(each))
        if n <= 0:
            return
        give_head(queue, consumer, n, each, settler)


def give_head(queue: "Queue", consumer: Consumer, n: int, each: int, settler: Settler) -> None:
    """Delivers the first `n` messages of the first span, which has at least as many, of mean size `each`."""
    deliver(queue, consumer, queue.take_head(n), 0, n, 1, each, settler)


def deliver(
    queue: "Queue",
    consumer: Consumer,
    span: Span,
    offset: int,
    count: int,
    step: int,
    each: int,
    settler: Settler,
) -> None:
    """Delivers every `step`-th message of `span` from its `offset`-th on, `count` in all, of mean size `each`."""
    channel = consumer.channel
    tag = channel.next_tag
    channel.next_tag = tag + count
    run = span.run
    start = span.start + offset
    session = channel.session
    session.allowance -= count * each
    if span.deliveries:
        for n in range(count):
            counted = settler.letters.counted(run, start + n * step, span.deliveries)
            session.outbox.deliver(consumer, counted, 0, 1, 1, tag + n, True)
    else:
        session.outbox.deliver(consumer, run, start, count, step, tag, span.redelivered)
    settler.counts.delivered += count
    if span.redelivered:
        settler.counts.redelivered += count
    if consumer.no_ack:
        settler.settled(queue, run, span.base + start, count, step, consumer)
        return
    channel.ledger.add(
        Flight(
            tag,
            count,
            consumer,
            queue,
            run,
            start,
            step,
            span.base,
            span.deliveries,
            settler.now_ms,
        )
    )
    channel.unsettled += count
    consumer.unsettled += count
    queue.in_flight += count
