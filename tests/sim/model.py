"""The oracle's own picture of the broker: sessions, what is in flight, and what becomes of it.

ready ──delivered──► unacked ──ack, reject──► gone
  ▲                     │  └─ in a transaction: held until commit or rollback
  └──────requeue────────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mansio.codec import amqp_methods as m
from tests.sim.topology import Entry, Exchange, Queue, Topology
from tests.sim.wire import Message

COMMITTED = -1
"""The number of a publish that is part of a transaction."""
Spot = tuple[Queue, Entry]
"""A message in a queue that has to be in the log, or whose settlement has."""


class Violation(AssertionError):
    """The broker did what it must not do, or did not do what it must."""


class Refused(Exception):
    """The model expects the broker to close the channel, or for a hard code the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True, eq=False)
class Consumer:
    """A subscription."""

    tag: str
    channel: Channel
    queue: Queue
    no_ack: bool
    exclusive: bool
    limit: int
    priority: int = 0
    weight: int = 1
    timeout_ms: int = 0
    unsettled: int = 0
    got: int = 0
    """Deliveries of this turn."""

    @property
    def able(self) -> bool:
        """Whether it may be given one more, and its connection takes that."""
        return self.channel.connection.writable and self.channel.room(self)


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that its client has not settled. `consumer` None: it was fetched by basic.get."""

    tag: int
    entry: Entry
    queue: Queue
    consumer: Consumer | None
    since_ms: int = 0
    timeout_ms: int = 0

    def due_ms(self) -> int:
        """When it is to be taken back; 0: never."""
        return self.timeout_ms and self.since_ms + self.timeout_ms


@dataclass(slots=True, eq=False)
class Publish:
    """A publish that waits for its confirm: it has to be in the log in these spots first."""

    needs: list[Spot]
    unrouted: bool = False
    rejected: bool = False


@dataclass(slots=True, eq=False)
class Transaction:
    """What waits for tx.commit."""

    publishes: list[tuple[Message, list[Queue]]] = field(default_factory=list)
    settled: list[tuple[list[Delivery], bool]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Commit:
    """A commit that waits for the log: what has to be published there, and what settled."""

    needs: list[Spot]
    settles: list[Spot]
    refused: bool = False
    """A full queue has refused a message of it."""
    sealed: bool = False
    """The turn in which it came has ended."""


@dataclass(slots=True, eq=False)
class Channel:
    """An open channel, or one that the broker has closed and whose close-ok is due."""

    connection: Connection
    number: int
    closing: bool = False
    active: bool = True
    consumers: dict[str, Consumer] = field(default_factory=dict)
    unacked: dict[int, Delivery] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)
    """Tags of what was taken back because it was not settled in time."""
    next_tag: int = 1
    limit: int = 0
    new_consumer_limit: int = 0
    unsettled: int = 0
    last_queue: str = ""
    confirming: bool = False
    published: int = 0
    pending: dict[int, Publish] = field(default_factory=dict)
    tx: Transaction | None = None
    commits: deque[Commit] = field(default_factory=deque)
    reply_queue: Queue | None = None
    last_first: dict[Queue, int] = field(default_factory=dict)
    """The highest position of each queue that was delivered for the first time on this channel."""

    def room(self, consumer: Consumer) -> bool:
        """Whether the consumer may be given one more, as far as its client is concerned."""
        if not self.active:
            return False
        if consumer.no_ack:
            return True
        if consumer.limit and consumer.unsettled >= consumer.limit:
            return False
        return not (self.limit and self.unsettled >= self.limit)


Expected = tuple[int, m.Method, Message | None]


@dataclass(slots=True, eq=False)
class Connection:
    """A connection, from its protocol header to its end."""

    name: str
    state: str = "header"  # … start, tune, opening, open, closing, closed
    tells_cancel: bool = False
    tells_blocked: bool = False
    heartbeat_s: int = 0
    writable: bool = True
    told_blocked: bool = False
    channels: dict[int, Channel] = field(default_factory=dict)
    owned: dict[str, Queue] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)
    early: dict[int, range] = field(default_factory=dict)
    """By channel, publishes that led to no queue and may be confirmed now, since the channel is closed."""
    returns: list[tuple[int, int]] = field(default_factory=list)
    """(channel, number of the message) that the broker has to return now."""

    def expect(self, channel: int, method: m.Method, message: Message | None = None) -> None:
        """The broker has to send this now."""
        self.expected.append((channel, method, message))


NOBODY = Channel(Connection("nobody"), 0)
"""The publisher of what came from somewhere else: nobody waits for a confirm."""


class Model:
    """State, and the changes to it that more than one command makes."""

    def __init__(self) -> None:
        self.topology = Topology()
        self.connections: list[Connection] = []
        self.turn = 0
        self.now_ms = 0
        self.cancelled: list[tuple[Channel, str]] = []
        """Consumers whose queue went away in this turn."""
        self.fresh: dict[Queue, list[Entry]] = {}
        """What the last commands have put into queues, and nothing else has happened since."""

    # -- publishing

    def enqueue(
        self, channel: Channel, message: Message, queues: list[Queue], number: int
    ) -> list[Spot]:
        """Puts a message into its queues or returns it; what has to be in the log."""
        live = [queue for queue in queues if not queue.deleted]
        if all(queue.hidden for queue in live) and message.mandatory:
            channel.connection.returns.append((channel.number, message.number))
        spots: list[Spot] = []
        for queue in live:
            entry = queue.append(message, self.turn, channel, number)
            self.fresh.setdefault(queue, []).append(entry)
            if message.persistent and queue.logged:
                spots.append((queue, entry))
        return spots

    def recall(self, source: Exchange, queue: Queue) -> None:
        """The queue was bound to an exchange that remembers: it gets what that holds."""
        if source.history is not None:
            for entry in source.history.ready[-(source.history.length_max or 0) :]:
                queue.append(entry.message, self.turn, NOBODY, 0)

    # -- settling

    def accept(self, deliveries: Iterable[Delivery]) -> list[Spot]:
        """These are done with; what of it has to be in the log."""
        spots: list[Spot] = []
        for delivery in deliveries:
            self._credit(delivery)
            queue, entry = delivery.queue, delivery.entry
            if entry.message.persistent and queue.logged and not queue.deleted:
                spots.append((queue, entry))
        return spots

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """These go back to their places; those of a queue that is gone are gone too."""
        for delivery in deliveries:
            self._credit(delivery)
            if not delivery.queue.deleted:
                delivery.queue.put_back(delivery.entry)
        for queue in {id(each.queue): each.queue for each in deliveries}.values():
            if not queue.rejects and not queue.deleted:  # before consumers are served
                for _ in range(queue.excess() - queue.fresh):
                    queue.take_head()

    def enforce_bounds(self, queue: Queue) -> None:
        """What is too much goes: at the end of a turn, or when somebody asks what is there."""
        while queue.too_much:
            if not queue.rejects:
                queue.take_head()
            elif queue.ready[-1].turn == self.turn:
                entry = queue.take_tail()
                pending = entry.publisher.pending.get(entry.number)
                if pending is not None:
                    pending.rejected = True
                for commit in entry.publisher.commits if entry.number == COMMITTED else ():
                    commit.refused = commit.refused or not commit.sealed
            else:
                break
        queue.fresh = 0

    def inquire(self, queue: Queue) -> None:
        """Somebody asks what is in the queue."""
        if not queue.consumers:
            self.enforce_bounds(queue)

    def _credit(self, delivery: Delivery) -> None:
        delivery.queue.in_flight -= 1
        if delivery.consumer is not None:
            delivery.consumer.unsettled -= 1
            delivery.consumer.channel.unsettled -= 1

    def roll_back(self, channel: Channel) -> None:
        """Forgets the publishes of the transaction; its settlements are undone."""
        assert channel.tx is not None
        for deliveries, _ in channel.tx.settled:
            for delivery in deliveries:
                channel.unacked[delivery.tag] = delivery
                delivery.since_ms = self.now_ms
        channel.tx = Transaction()

    def take_unacked(self, channel: Channel) -> list[Delivery]:
        """Takes everything that is not settled, by tag."""
        taken = [channel.unacked[tag] for tag in sorted(channel.unacked)]
        channel.unacked.clear()
        return taken

    # -- ends

    def cancel(self, consumer: Consumer) -> None:
        """Ends a subscription, and an auto-delete queue with its last one."""
        queue = consumer.queue
        del consumer.channel.consumers[consumer.tag]
        queue.consumers.remove(consumer)
        if queue.active is consumer:
            queue.active = max(queue.consumers, key=lambda each: each.priority, default=None)
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.drop_queue(queue)

    def drop_queue(self, queue: Queue) -> int:
        """Deletes a queue; how many ready messages it had."""
        queue.deleted = True
        count = queue.clear()
        self.topology.remove_queue(queue.name)
        if queue.owner is not None:
            del queue.owner.owned[queue.name]
        for consumer in list(queue.consumers):
            self.cancel(consumer)
            self.cancelled.append((consumer.channel, consumer.tag))
        return count

    def end_channel(self, channel: Channel) -> None:
        """Consumers go, deliveries return to their queues, confirms are not waited for any more."""
        if channel.tx is not None:
            self.roll_back(channel)
            channel.tx = None
        for consumer in list(channel.consumers.values()):
            self.cancel(consumer)
        self.requeue(self.take_unacked(channel))
        channel.pending.clear()
        channel.commits.clear()

    def end_session(self, connection: Connection) -> None:
        """All channels end; exclusive queues go away."""
        for channel in connection.channels.values():
            if not channel.closing:
                self.end_channel(channel)
                channel.closing = True
        connection.channels.clear()
        for queue in list(connection.owned.values()):
            self.drop_queue(queue)

    def end_connection(self, connection: Connection) -> None:
        """It is gone, whoever ended it."""
        self.end_session(connection)
        connection.state = "closed"
        if connection in self.connections:
            self.connections.remove(connection)
