"""Receipts as the oracle knows them: what is told of each end of a message that asks for that, and to which queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import Table
from tests.sim.letters import properties_of
from tests.sim.model import Model, Place, Violation
from tests.sim.wire import Message

if TYPE_CHECKING:
    from tests.sim.topology import Entry, Queue

TYPE = "mansio.receipt"
ACKED, REJECTED, EXPIRED, DROPPED = "acked", "rejected", "expired", "dropped"
DEAD_LETTERED, UNROUTED, REPEATED = "dead-lettered", "unrouted", "duplicate"


@dataclass(slots=True, eq=False)
class Owed:
    """A receipt that has to come into its target now. `source`: where the log has what it tells of."""

    message: Message
    target: str
    properties: Properties
    source: Place | None

    def __repr__(self) -> str:
        return f"{self.properties.headers} to {self.target} of {self.message}"

    def is_(self, target: str, header: bytes) -> bool:
        """Whether the broker has said this there."""
        return self.target == target and properties_of(header) == self.properties

    def receipt(self, header: bytes) -> Message:
        """As it is delivered."""
        receipt = Message(self.message.number, "", self.target, b"", b"", header)
        receipt.headers = self.properties.headers or {}
        receipt.persistent = self.message.persistent
        return receipt


def asked_of(properties: Properties) -> tuple[str, str | None] | None:
    """Where receipts of a message go, and what they refer to; None: it asks for none."""
    if (properties.headers or {}).get("x-receipt") is not True or not properties.reply_to:
        return None
    return properties.reply_to, properties.correlation_id or properties.message_id


def owed_of(message: Message, source: Place | None, outcome: str, **about: Any) -> Owed | None:
    """What a receipt says; None if the message asks for none. `about`: queue, consumer, ms, deliveries."""
    if message.asks_receipt is None:
        return None
    target, reference = message.asks_receipt
    headers: Table = {"x-receipt-outcome": outcome, "x-receipt-ms": 0, "x-receipt-deliveries": 0}
    headers |= {f"x-receipt-{name}": value for name, value in about.items() if value is not None}
    properties = Properties(headers=headers, correlation_id=reference, type=TYPE)
    properties.delivery_mode = 2 if message.persistent else 1
    return Owed(message, target, properties, source)


class Receipts(Model):
    """The part of the model that knows what is owed."""

    def __init__(self) -> None:
        super().__init__()
        self.owed: list[Owed] = []

    def pump(self, looking: bool = False) -> None:
        """See `Moves`."""
        raise NotImplementedError

    def end(self, queue: Queue, entry: Entry, outcome: str, consumer: str | None = None) -> None:
        """A message is done with in a queue; `consumer`: whose it was then."""
        if not entry.asks:
            return
        entry.asks = False
        place = queue.place(entry.position) if entry.message.persistent and queue.logged else None
        self._owe(
            owed_of(
                entry.message,
                place,
                outcome,
                queue=queue.name,
                consumer=consumer,
                ms=self.now_ms - entry.arrived_ms,
                deliveries=entry.handed,
            )
        )

    def go_nowhere(
        self,
        message: Message,
        outcome: str = UNROUTED,
        queue: Queue | None = None,
        source: Place | None = None,
    ) -> None:
        """A message came to no queue, or not to this one."""
        name = None if queue is None else queue.name
        self._owe(owed_of(message, source, outcome, queue=name))

    def _owe(self, owed: Owed | None) -> None:
        if owed is not None and self.gets_receipts(owed.target):
            self.owed.append(owed)
            self.pump()

    def gets_receipts(self, name: str) -> bool:
        """Whether there is such a queue, other than one that only its stream feeds."""
        queue = self.topology.queues.get(name)
        return queue is not None and queue.group is None

    def take_owed(self, target: str, header: bytes) -> Owed | None:
        """What this receipt is, if it is owed."""
        for i, each in enumerate(self.owed):
            if each.is_(target, header):
                return self.owed.pop(i)
        return None

    def check_told(self) -> None:
        """A phase has ended: nothing is owed any more."""
        if self.owed:
            raise Violation(f"nobody is told {self.owed}")
