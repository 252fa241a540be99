"""Reservations: messages that were fetched to be acknowledged later, by ids that hold on every connection of a user.

    RESERVE ──► in flight on the channel of the connection that asked ──ACK, NACK──► settled, requeued, dead-lettered
                  └──────── that connection ends, or the acknowledgement is late ──► back in its queue

An id is the number of the channel among all, and the delivery tag there.
"""

from typing import TYPE_CHECKING

from mansio.core.inflight import Flight
from mansio.core.session import Channel, Outcome, Session

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.consuming import Got
    from mansio.core.queue import Queue


class Reserving:
    """The Broker's reservations; channels are known from their first one on."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._next = 1
        self._numbers: dict[Channel, int] = {}
        self._channels: dict[int, Channel] = {}

    def reserve(self, channel: Channel, queue: "Queue") -> "tuple[str, Got] | None":
        """The first message of a queue and its id; None: there is none. It must not be paged out."""
        got = self._broker.get(channel, queue, False)
        if got is None:
            return None
        number = self._numbers.get(channel)
        if number is None:
            number = self._numbers[channel] = self._next
            self._channels[number] = channel
            self._next += 1
        return f"{number}-{got.tag}", got

    def settle(self, session: Session, id: str, outcome: Outcome) -> bool:
        """The message of this id is done with, or goes back; whether it was reserved by this user, in this virtual
        host."""
        channel, tag = self._find(session, id)
        if channel is None:
            return False
        before = channel.ledger.total
        self._broker.settle(channel, tag, tag, False, outcome)
        return channel.ledger.total < before

    def extend(self, session: Session, id: str, until_ms: int) -> bool:
        """From now on it has to be settled by then, if it has to be at all; whether it was reserved."""
        channel, tag = self._find(session, id)
        flight = None if channel is None else channel.ledger.flight(tag)
        if channel is None or flight is None:
            return False
        self.extend_flight(channel, flight, until_ms)
        return True

    def extend_flight(self, channel: Channel, flight: Flight, until_ms: int) -> None:
        """The same of a delivery that is in flight on a channel."""
        timeout_ms = self._broker.overdue.timeout_ms(flight)
        flight.since_ms = until_ms - timeout_ms
        channel.extends = True
        self._broker.overdue.watch(channel, timeout_ms)

    def forget(self, channel: Channel) -> None:
        """The channel is closed."""
        number = self._numbers.pop(channel, None)
        if number is not None:
            del self._channels[number]

    def _find(self, session: Session, id: str) -> tuple[Channel | None, int]:
        number, _, tag = id.partition("-")
        if not (number.isascii() and number.isdigit() and tag.isascii() and tag.isdigit()):
            return None, 0
        channel = self._channels.get(int(number[:20]))
        if channel is None or channel.session.rights is not session.rights:
            return None, 0
        return channel if channel.ledger.knows(int(tag[:20])) else None, int(tag[:20])
