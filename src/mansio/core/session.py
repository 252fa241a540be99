"""What the Broker knows of a connection: its channels, what it may be sent, and where effects for it go."""

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from mansio.core.inflight import Ledger, Piece
from mansio.core.limits import TURN_BYTES
from mansio.core.rights import Rights
from mansio.core.routing import Route
from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.core.dispatch import Consumer
    from mansio.core.queue import Queue


class Outbox(Protocol):
    """Effects for one connection, called by the Broker; the front encodes them, the server writes them later."""

    def deliver(
        self,
        consumer: "Consumer",
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        """`count` messages of `run` to `consumer`, with delivery tags from `tag`."""

    def returned(self, channel: "Channel", run: Run, i: int, route: Route) -> None:
        """Message `i` of `run` was mandatory and led to no queue."""

    def duplicate(self, channel: "Channel", run: Run, i: int, route: Route) -> None:
        """Message `i` of `run` was mandatory and came to no queue, since it had come before."""

    def cancelled(self, channel: "Channel", consumer_tag: str) -> None:
        """The consumer is gone because its queue is."""

    def confirmed(self, channel: "Channel", upto: int, rejected: list[tuple[int, int]]) -> None:
        """Publishes up to number `upto` are durable where they have to be, but for ranges that full queues rejected."""

    def refused(self, channel: "Channel", upto: int) -> None:
        """Publishes up to number `upto` that are not confirmed yet could not be made durable."""

    def committed(self, channel: "Channel", ok: bool, partly: bool) -> None:
        """The transaction is durable, or could not be made so; `partly`: but for messages that full queues refused."""

    def expelled(self, why: str) -> None:
        """The user or virtual host of the connection is deleted: it ends."""

    def hold(self) -> None:
        """The connection changed what is durable: what it is told from here on waits for `release`, once for each."""

    def release(self, ok: bool) -> None:
        """The change is durable, or could not be made so."""


class Outcome(Enum):
    """What a client says of a delivery."""

    ACCEPT = "ack"
    REJECT = "reject"
    """It is not to be delivered again: it goes to the queue's dead-letter exchange, if there is one."""
    REQUEUE = "requeue"


class Transaction:
    """What a channel in tx mode has done since the last commit or rollback."""

    __slots__ = ("bytes", "publishes", "settled")

    def __init__(self) -> None:
        self.publishes: list[tuple[Run, tuple[Queue, ...]]] = []
        self.bytes = 0  # of these
        self.settled: list[tuple[list[Piece], Outcome]] = []


class Channel:
    """One channel of a session."""

    __slots__ = (
        "active",
        "confirming",
        "consumers",
        "extends",
        "ledger",
        "limit",
        "new_consumer_limit",
        "next_tag",
        "number",
        "published",
        "regrouped",
        "rejected",
        "safe",
        "session",
        "sealed",
        "tx",
        "tx_refused",
        "unsettled",
        "wire",
    )

    def __init__(self, session: "Session", number: int) -> None:
        self.session = session
        self.number = number
        self.consumers: dict[str, Consumer] = {}
        self.ledger = Ledger()
        self.next_tag = 1
        self.limit = (
            0  # unsettled deliveries of the whole channel (basic.qos global); 0 is no limit
        )
        self.new_consumer_limit = 0
        self.unsettled = (
            0  # what counts against `limit`: deliveries to consumers, not those of basic.get
        )
        self.active = True  # channel.flow
        self.extends = False  # some of its deliveries have got more time
        self.confirming = False
        self.published = 0  # since confirm.select
        self.regrouped = False  # they are counted in another order than they came in
        self.rejected: list[
            tuple[int, int]
        ] = []  # of these, in this turn, by queues that are full: [first, last]
        self.sealed = 0  # of these, handed to a turn
        self.safe = 0  # of these, the first ones: their fate is told, or they led to no queue
        self.tx: Transaction | None = None
        self.tx_refused = False  # a full queue has rejected a message of a commit
        self.wire: Any = None  # the front's own view of the channel

    @property
    def is_open(self) -> bool:
        """False once it is closed, also when its number is in use again."""
        return self.session.channels.get(self.number) is self


class Session:
    """One connection, of the user whose `rights` these are.

    `allowance` is what it may still be sent in this turn, in bytes; 0 while it does not read.
    """

    __slots__ = (
        "allowance",
        "channels",
        "closed",
        "name",
        "outbox",
        "owned",
        "pressing",
        "rights",
        "starved",
        "user",
        "vhost",
        "writable",
    )

    def __init__(self, outbox: Outbox, rights: Rights, name: str) -> None:
        self.outbox = outbox
        self.rights = rights
        self.user = rights.user.name
        self.vhost = rights.vhost
        self.name = name
        self.channels: dict[int, Channel] = {}
        self.owned: dict[str, Queue] = {}  # exclusive queues
        self.allowance = TURN_BYTES
        self.writable = True
        self.starved: dict[int, Queue] = {}  # queues that had more for it than its allowance
        self.closed = False
        self.pressing = False  # it published to a crowded queue since this was last looked at
