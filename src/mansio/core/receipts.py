"""Receipts: a message says what became of another one, to the queue that its publisher named. See docs/receipts.md.

    published with x-receipt and reply-to ──► in n queues ──► settled in one ──► a receipt, in the same entry of the log
                                          └─► in none ──► a receipt at once                        (n times)

A receipt is a message as any other that is published to the default exchange, but it never asks for a receipt itself.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mansio.core.marks import ACKED, DROPPED, Marks

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.inflight import Piece
    from mansio.core.queue import Queue
    from mansio.core.run import Run


class Receipt(NamedTuple):
    """What a receipt says."""

    outcome: str
    correlation: str | None
    persistent: bool
    age_ms: int
    """From the arrival of the message to its end."""
    queue: str | None = None
    """None: it came to no queue."""
    consumer: str | None = None
    """Tag of the consumer that had it then."""
    deliveries: int = 0
    """How often it was delivered."""


class Receipts:
    """Sends receipts. Called only for messages with marks."""

    def __init__(self, broker: "Broker") -> None:
        self.owed = 0  # by all queues
        self._broker = broker

    def arrived(self, marks: Marks, queues: "tuple[Queue, ...]") -> None:
        """A message has come into these queues."""
        if marks.reply_to is not None:
            marks.owed = {queue.id for queue in queues if not queue.hidden}
            self.owed += len(marks.owed)

    def settled(
        self, queue: "Queue", run: "Run", outcome: str, consumer: str | None, flown: bool
    ) -> None:
        """A message is done with in a queue; `flown`: it had been delivered just before."""
        marks = run.marks
        if marks is None or queue.id not in marks.owed:
            return
        marks.owed.discard(queue.id)
        self.owed -= 1
        if marks.quiet and outcome == ACKED:
            return
        if consumer is None and marks.holders is not None:
            consumer = marks.holders.get(queue.id)
        deliveries = (marks.returns or {}).get(queue.id, 0) + flown
        self.send(queue.vhost, run, outcome, queue, consumer, deliveries)

    def send(
        self,
        vhost: str,
        run: "Run",
        outcome: str,
        queue: "Queue | None" = None,
        consumer: str | None = None,
        deliveries: int = 0,
    ) -> None:
        """Tells what became of a message, if it asks for that; without a queue, of one that came nowhere."""
        broker = self._broker
        marks = run.marks
        if marks is None or marks.reply_to is None:
            return
        target = broker.vhosts[vhost].queues.get(marks.reply_to)
        if target is None or target.deleted or target.fed:
            broker.counts.dropped += 1
            return
        age_ms = max(broker.now_ms - run.arrived_ms, 0) if run.arrived_ms else 0
        name = None if queue is None else queue.name
        told = Receipt(
            outcome, marks.correlation, run.persistent, age_ms, name, consumer, deliveries
        )
        broker.counts.receipts += 1
        broker.intake.put(broker.letters.receipt(told, marks.reply_to), (target,))

    def deleted(self, queue: "Queue") -> None:
        """A queue is gone: what was delivered from it is not there any more, even if it is acknowledged later."""
        if not self.owed or not queue.in_flight:
            return
        for piece in self._in_flight(queue):
            tag = None if piece.consumer is None else piece.consumer.tag
            self.settled(queue, piece.run, DROPPED, tag, True)

    def _in_flight(self, queue: "Queue") -> "Iterator[Piece]":
        broker = self._broker
        for session in broker.sessions:
            for channel in session.channels.values():
                for flight in channel.ledger:
                    if flight.queue is queue:
                        yield flight
                for pieces, _ in channel.tx.settled if channel.tx is not None else ():
                    yield from (piece for piece in pieces if piece.queue is queue)
        yield from (piece for piece in broker.dead_letters.held_back() if piece.queue is queue)
