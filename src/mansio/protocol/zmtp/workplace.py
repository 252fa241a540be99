"""A place at a queue: a worker gets one message of it at a time, and the next one when it has answered.

open ──► a consumer with a prefetch of 1 ──deliver──► the worker's hands
answer ──► the result goes where the message says, in one entry of the log with its acknowledgement
leave ──► what was not answered goes back to the queue, for another worker
"""

from typing import TYPE_CHECKING, Protocol

from mansio.codec.amqp_properties import Properties
from mansio.core.dispatch import Consumer
from mansio.core.errors import BrokerError
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.protocol.zmtp import results, titanic_store
from mansio.protocol.zmtp.addresses import Addresses
from mansio.protocol.zmtp.messages import frames_of, properties_of
from mansio.protocol.zmtp.targets import Targets

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Hands(Protocol):
    """A worker, as its place sees it."""

    def give(self, address: bytes, body: list[bytes]) -> None:
        """A message to work on; the answer is to name the address."""


def note(connection: "ZmtpConnection", what: str) -> None:
    """A line for the log about a worker, to whom its protocol cannot say it."""
    connection.broker.notices.append(f"worker {connection.peer.name}: {what}")


class Workplace:
    """One worker's place."""

    __slots__ = (
        "_addresses",
        "_connection",
        "_consumer",
        "_delivery",
        "_hands",
        "_parts",
        "_request",
        "_skipping",
        "_tag",
        "_targets",
    )

    def __init__(
        self, connection: "ZmtpConnection", targets: Targets, tag: str, hands: Hands
    ) -> None:
        """`tag`: of the consumer, another one for each place of a connection."""
        self._connection = connection
        self._addresses = Addresses(connection.token())
        self._targets = targets
        self._tag = tag
        self._hands = hands
        self._consumer: Consumer | None = None
        self._delivery = 0  # the tag of what the worker has; 0: nothing
        self._request = Properties()  # of that
        self._parts: list[bytes] = []  # of the answer, where that is kept whole
        self._skipping = False  # nobody wants it: it is settled as soon as it is delivered

    @property
    def busy(self) -> bool:
        """Whether the worker has something to answer."""
        return self._delivery > 0

    def open(self, name: bytes) -> None:
        """Takes the place at the queue of this name, which is declared if there is none; BrokerError, Refused."""
        connection = self._connection
        queue = self._targets.to_read(name, declare=True)
        consumer = connection.broker.consume(connection.channel, queue, self._tag, False, False, {})
        consumer.limit = 1
        consumer.wire = self
        self._consumer = consumer

    def deliver(self, run: Run, i: int, tag: int, redelivered: bool) -> None:
        """The queue has something for the worker."""
        self._delivery = tag
        self._request = properties_of(run, i)
        if titanic_store.is_closed(self._connection, self._request.reply_to or ""):
            self._skipping = True  # while it is being delivered it cannot be settled
            self._connection.broker.resumed.append(self._connection)
            return
        self._hands.give(self._addresses.of(tag), frames_of(run, i))

    def answer(self, address: bytes, body: list[bytes], partial: bool = False) -> bool:
        """What the worker has made of it, or, if `partial`, a part of that; False for an address that it was not given,
        or gave back."""
        if not self._delivery or address != self._addresses.of(self._delivery):
            return False
        if partial and titanic_store.is_place(self._request.reply_to or ""):
            self._parts += body
            return True
        connection = self._connection
        assert connection.session is not None
        whole = [*self._parts, *body]
        try:
            results.answer(
                connection.broker, connection.session, self._request, whole, partial=partial
            )
        except BrokerError as error:
            note(connection, f"an answer is dropped: {error.text}")
        if not partial:
            self._settle(Outcome.ACCEPT)
        return True

    def give_back(self) -> None:
        """What the worker has goes back to the queue."""
        if self._delivery:
            self._settle(Outcome.REQUEUE)

    def leave(self) -> None:
        """The worker goes."""
        if self._consumer is not None:
            self._connection.broker.cancel(self._connection.channel, self._tag)
            self._consumer = None
        self.give_back()

    def lost(self) -> None:
        """The broker has cancelled the consumer: its queue is gone, or the worker was too late."""
        self._consumer = None

    def go_on(self) -> None:
        """Behind a turn in which something was delivered that is to be skipped."""
        if self._skipping and self._delivery:
            self._settle(Outcome.ACCEPT)

    def _settle(self, outcome: Outcome) -> None:
        tag, self._delivery = self._delivery, 0
        self._parts = []
        self._skipping = False
        connection = self._connection
        connection.broker.settle(connection.channel, tag, tag, False, outcome)
