"""The end of a message's life, or its way back: what settling does to queues, credit, memory and the log."""

from collections.abc import Iterable, Sequence
from typing import Final

from mansio.core.counts import Counts
from mansio.core.dead_letters import DELIVERY_LIMIT, DeadLetters
from mansio.core.deduplication import Deduplication
from mansio.core.dispatch import Consumer, Dispatcher
from mansio.core.group import Group
from mansio.core.inflight import Piece
from mansio.core.marks import ACKED, DROPPED, Marks
from mansio.core.paging import Paging
from mansio.core.queue import Queue
from mansio.core.receipts import Receipts
from mansio.core.records import Parts, encode_counted, encode_settle
from mansio.core.retention import Retention
from mansio.core.run import Range, Return, Run, Span

RETURNED: Final = 0
"""Why messages are requeued: their client gives all back, or the end of its channel does."""
TIMED_OUT: Final = 1
"""Their client did not settle them in time."""
REFUSED: Final = 2
"""Their client has refused them."""
RETURNS_MAX: Final = 64
"""What is remembered of a run's returns, beside two for each message that is left, before what counts no more goes."""


class Settling:
    """Accounts for messages from the moment they are in a queue until they are settled in every one."""

    dead_letters: DeadLetters
    """Where messages go that queues drop; this and the next ones are set once by the Broker."""
    receipts: Receipts
    deduplication: Deduplication

    def __init__(
        self, dispatcher: Dispatcher, retention: Retention, paging: Paging, counts: Counts
    ) -> None:
        self.paging = paging
        self.counts = counts
        self.letters = dispatcher.letters
        self.now_ms = 0  # of this turn; see `Broker.now_ms`
        self.runs = 0  # that are not settled everywhere
        self._dispatcher = dispatcher
        self._retention = retention
        self._ranges: dict[int, list[Range]] = {}  # settled in this turn, by queue id
        self._returns: dict[tuple[int, int, int], list[Range]] = {}
        """Given back in this turn, by queue id, how often by now, and when they are ready again."""

    def hold(self, run: Run, queues: int) -> None:
        """A run enters this many queues."""
        run.live = run.count * queues
        self.counts.routed += run.count
        self.count(run)

    def count(self, run: Run) -> None:
        """A run is there that is not settled everywhere."""
        self.paging.resident_bytes += len(run.data)
        self.runs += 1

    def settled(
        self,
        queue: Queue,
        run: Run,
        position: int,
        count: int,
        step: int,
        consumer: Consumer | None = None,
        outcome: str = ACKED,
        flown: bool = True,
    ) -> None:
        """`count` messages of a queue are done with, from this position in steps of `step`.

        `consumer`: who had them; `flown`: they had been delivered just before.
        """
        if run.marks is not None:
            if run.marks.id is not None:
                self.deduplication.settled(queue, run.marks.id)
            tag = None if consumer is None else consumer.tag
            self.receipts.settled(queue, run, outcome, tag, flown)
        run.live -= count
        if isinstance(queue, Group):
            if queue.settled(run, count) and queue.source is not None:
                self._dispatcher.touch(queue.source)
            if queue.rota is not None and not queue.in_flight:
                self._dispatcher.touch(queue)  # the next member of a group may have waited for it
        if run.persistent and queue.logged:
            settled = (position, count, step)
            self._ranges.setdefault(queue.id, []).append(settled)
            if run.live:
                self.note_gone(run, queue.id, settled)
        if not run.live:
            self.release(run)

    def left(self, run: Run, holder: int, count: int, ranges: Sequence[Range]) -> None:
        """`count` messages of a run are with this holder no more; `ranges`: for the log."""
        run.live -= count
        if ranges:
            self._ranges.setdefault(holder, []).extend(ranges)
        if not run.live:
            self.release(run)

    def cut(self, run: Run, stream: Queue) -> None:
        """A run has left a stream: if it is carried as long as a group has it, that is written again."""
        if run.live:
            self.note_gone(run, stream.id, (run.places[0][1], run.count, 1))

    def note_gone(self, run: Run, queue_id: int, settled: Range) -> None:
        """This has to be written again with the run, as long as it lives."""
        if run.gone is None:
            run.gone = []
        if add_gone(run.gone, queue_id, settled):
            self._retention.told(run)

    def release(self, run: Run) -> None:
        """A run is settled everywhere."""
        self.runs -= 1
        self.paging.settled(run)
        if run.places and run.bucket is not None:
            self._retention.settled(run)

    def accept(self, pieces: Iterable[Piece], outcome: str = ACKED) -> None:
        """Deliveries were acknowledged, or rejected for good."""
        self.counts.acknowledged += self._finish(pieces, outcome)

    def _finish(self, pieces: Iterable[Piece], outcome: str) -> int:
        """Deliveries are done with; answers of how many messages."""
        count = 0
        for piece in pieces:
            queue = piece.queue
            queue.in_flight -= piece.count
            if not queue.keeps:
                first, consumer = piece.base + piece.start, piece.consumer
                self.settled(queue, piece.run, first, piece.count, piece.step, consumer, outcome)
            self.credit(piece)
            count += piece.count
        return count

    def requeue(self, pieces: Sequence[Piece], why: int = RETURNED) -> None:
        """Deliveries go back to their places; those of a queue that is gone go with it."""
        if why == TIMED_OUT:
            self.counts.timed_out += sum(piece.count for piece in pieces)
        by_queue: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_queue.setdefault(piece.queue.id, []).append(piece)
        for group in by_queue.values():
            queue = group[0].queue
            if queue.deleted or queue.keeps:
                self._finish(group, DROPPED)
                continue
            if queue.deferred is not None and why != RETURNED:
                queue.deferred.put_off(group)
                continue
            if queue.rules.counts and why != TIMED_OUT:  # a task that takes long is no failure
                group = self._count_returns(queue, group)
            for piece in group:
                if piece.run.marks is not None:
                    self._mark_return(queue, piece, piece.run.marks)
            queue.requeue(group)
            if queue.bound is not None:
                queue.bound.returned(queue, self.dead_letters)
            for piece in group:
                self.credit(piece)
            self._dispatcher.touch(queue)

    def _count_returns(self, queue: Queue, pieces: list[Piece]) -> list[Piece]:
        """Counts that deliveries were given back; answers those that may be delivered again."""
        limit = queue.rules.delivery_limit
        spent = [piece for piece in pieces if piece.deliveries >= limit >= 0]
        if spent:
            self.dead_letters.reject(spent, DELIVERY_LIMIT)
            pieces = [piece for piece in pieces if piece.deliveries < limit]
        for piece in pieces:
            piece.deliveries += 1
            self.given_back(queue, piece, piece.deliveries, 0)
        return pieces

    def given_back(self, queue: Queue, piece: Piece, deliveries: int, due_ms: int) -> None:
        """Deliveries were given back, for this time; they are ready again then, 0: at once. For the log."""
        run = piece.run
        if not queue.logged or not run.persistent:
            return
        returned = (piece.base + piece.start, piece.count, piece.step)
        self._returns.setdefault((queue.id, deliveries, due_ms), []).append(returned)
        if run.returns is None:
            run.returns = []
        run.returns.append((queue.id, deliveries, due_ms, returned))
        if len(run.returns) > RETURNS_MAX + 2 * run.live:
            run.returns = _last(run.returns)

    def _mark_return(self, queue: Queue, piece: Piece, marks: Marks) -> None:
        """A message that was given back may want to know in the end how often it was delivered."""
        if marks.reply_to is None:
            return
        deliveries = marks.count_return(queue.id)
        if not queue.rules.counts and queue.deferred is None:
            self.given_back(queue, piece, deliveries, 0)

    def drop_ready(self, queue: Queue) -> int:
        """Settles every message that is ready or deferred; answers how many."""
        count = queue.ready_count
        spans = queue.take_all()
        if queue.deferred is not None:
            count += queue.deferred.count
            spans += queue.deferred.take_all()
        for span in spans:
            self.drop(queue, span)
        return count

    def drop(self, queue: Queue, span: Span, outcome: str = DROPPED) -> None:
        """Settles ready messages that were taken out of a queue."""
        first, count = span.base + span.start, span.stop - span.start
        self.settled(queue, span.run, first, count, 1, None, outcome, False)
        if queue.hidden and not (queue.ready and queue.ready[0].run is span.run):
            self.paging.let_go(span.run)

    def take_records(self) -> list[Parts]:
        """Takes the records of what was settled in this turn."""
        records = self.deduplication.take_records()
        if self._returns:
            returns, self._returns = self._returns, {}
            records += [encode_counted(*key, ranges) for key, ranges in returns.items()]
        if self._ranges:
            settled, self._ranges = self._ranges, {}
            records += [encode_settle(queue_id, ranges) for queue_id, ranges in settled.items()]
        return records

    def credit(self, piece: Piece) -> None:
        """Its consumer may be sent another message for it."""
        consumer = piece.consumer
        if consumer is None:
            return
        channel = consumer.channel
        consumer.unsettled -= piece.count
        channel.unsettled -= piece.count
        if channel.limit:
            self._dispatcher.touch_consumed(channel)
        elif consumer.limit or consumer.queue.sharing is not None:  # somebody else may wait for it
            self._dispatcher.touch(consumer.queue)


def add_gone(gone: list[tuple[int, Range]], queue_id: int, settled: Range) -> bool:
    """Notes that messages of a queue are settled, as one range with what was settled just before; whether it is a new
    one."""
    if gone and settled[2] == 1:
        last_id, (first, count, step) = gone[-1]
        if last_id == queue_id and step == 1 and first + count == settled[0]:
            gone[-1] = queue_id, (first, count + settled[1], 1)
            return False
    gone.append((queue_id, settled))
    return True


def _last(returns: list[Return]) -> list[Return]:
    """What counts of these, message by message."""
    found: dict[tuple[int, int], Return] = {}
    for queue, deliveries, due_ms, (first, count, step) in returns:
        for position in range(first, first + count * step, step):
            found[queue, position] = queue, deliveries, due_ms, (position, 1, 1)
    return list(found.values())
