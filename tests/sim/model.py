"""The oracle's own picture of the broker: sessions, what is in flight, and what becomes of it.

ready ──delivered──► unacked ──ack, reject──► gone
  ▲                     │  └─ in a transaction: held until commit or rollback
  └──────requeue────────┘
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from mansio.codec import amqp_methods as m
from tests.sim.topology import Entry, Queue, Topology
from tests.sim.wire import Message

COMMANDS, DISPATCH, RELEASE, TIME = "commands", "dispatch", "release", "time"
RETURNED, REFUSED, LATE = "returned", "refused", "late"
"""Why deliveries go back: with all others of their channel, by their client's wish, not settled in time."""
COMMITTED = -1
"""The number of a publish that is part of a transaction."""
Place = tuple[str, int, int]
"""(queue, incarnation, position): how the log names a message in a queue."""
Spot = tuple[Queue, Entry]
"""A message in a queue that has to be in the log, or whose settlement has."""


class Violation(AssertionError):
    """The broker did what it must not do, or did not do what it must."""


class Refused(Exception):
    """The model expects the broker to close the channel, or for a hard code the connection."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text


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
    own_timeout_ms: int | None = None
    """The one that it asked for itself."""
    offset: int = -1
    """Where it goes on to read a stream."""
    unsettled: int = 0
    got: int = 0
    """Deliveries of this turn."""
    waits_until_ms: int = 0
    """When it goes by itself; 0: it does not."""

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

    @property
    def holder(self) -> str | None:
        """The tag of its consumer."""
        return None if self.consumer is None else self.consumer.tag

    def due_ms(self) -> int:
        """When it is to be taken back; 0: never."""
        return self.timeout_ms and self.since_ms + self.timeout_ms


@dataclass(slots=True, eq=False)
class Dying:
    """A message that its queue has to write again for a dead-letter exchange."""

    entry: Entry
    queue: Queue
    reason: str
    holder: str | None = None
    """The tag of the consumer that had it."""

    def __repr__(self) -> str:
        return f"{self.entry} of {self.queue}, {self.reason}"


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
    settled: list[tuple[list[Delivery], str]] = field(default_factory=list)
    """With what is to become of them: accept, reject, requeue."""


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
    last_first: dict[tuple[Queue, int], int] = field(default_factory=dict)
    """By queue and level: the highest position that was delivered for the first time on this channel."""
    last_put: dict[tuple[Queue, int], int] = field(default_factory=dict)
    """By queue and level: the highest position that was published on this channel."""

    def room(self, consumer: Consumer) -> bool:
        """Whether the consumer may be given one more, as far as its client is concerned."""
        if not self.active:
            return False
        if consumer.no_ack:
            return True
        if consumer.limit and consumer.unsettled >= consumer.limit:
            return False
        if consumer.queue.stream is not None:
            return True
        return not (self.limit and self.unsettled >= self.limit)


Expected = tuple[int, m.Method, Message | None, int]
"""Channel, method, content, and the count of deliveries in its headers."""


@dataclass(slots=True, eq=False)
class Connection:
    """A connection, from its protocol header to its end."""

    name: str
    state: str = "header"  # … start, tune, opening, open, closing, closed
    user: str = "guest"
    vhost: str = "/"
    opened: int = 0
    """Its place among all that ever were open."""
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
    returns: list[tuple[int, int, int]] = field(default_factory=list)
    """(channel, number of the message, code) that the broker has to return now."""
    desk: Any = None
    """What is expected of it, if it is that of a ZeroMQ peer: a `zmtp_desk.Desk`."""

    def expect(
        self, channel: int, method: m.Method, message: Message | None = None, deliveries: int = 0
    ) -> None:
        """The broker has to send this now."""
        self.expected.append((channel, method, message, deliveries))


NOBODY = Channel(Connection("nobody"), 0)
"""The publisher of what came from somewhere else: nobody waits for a confirm."""


class Model:
    """State. What changes it is in `moves` and `ends`."""

    def __init__(self) -> None:
        self.topology = Topology()
        self.connections: list[Connection] = []
        self.turn = 0
        self.cancelled: list[tuple[Channel, str]] = []
        """Consumers whose queue went away in this turn."""
        self.phase = TIME
        """What the broker is doing now."""
        self.now_ms = 0
        self.cross = False
        """Between channels of a connection there is no order."""
        self.lags = False
        """Messages may be paged out: what has to be read first happens later."""
        self.bounded = False
        """The broker may run short of memory."""
