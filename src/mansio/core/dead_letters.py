"""Messages that a queue drops: gone for good, or published again to its dead-letter exchange.

    expired, maxlen, rejected, delivery_limit ──► is there an exchange? ──no──► settled
                                                     │ yes
                                                     ▼
                             written again with an x-death header ──► routed ──► put into queues, then settled

Both go into one entry of the log: the message is never lost in between, and is never there twice. A message that is
paged out has to be read first, and one that the log has no room for waits for that; until then it stays where it is:
at the head of its queue, or, when a client has rejected it, among those in flight.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.inflight import Piece
from mansio.core.letters import Death
from mansio.core.marks import DEAD_LETTERED, DROPPED
from mansio.core.names import QUARANTINE

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.loading import Loading
    from mansio.core.queue import Queue
    from mansio.core.run import Run, Span

EXPIRED: Final = "expired"
MAXLEN: Final = "maxlen"
REJECTED: Final = "rejected"
DELIVERY_LIMIT: Final = "delivery_limit"

ROOM_LOOK_MS: Final = 200
"""Between two looks whether the log has room for what waits to be moved."""


class DeadLetters:
    """What becomes of messages that queues drop."""

    def __init__(self, broker: "Broker") -> None:
        self.waiting: dict[Run, list[tuple[Piece, str]]] = {}
        """Deliveries that were rejected but are paged out, by run, with the reason; still in flight."""
        self.postponed: list[tuple[Piece, str]] = []
        """The same of those that the log has no room for."""
        self.deadline_ms = NEVER_MS
        self._blocked: dict[Queue, None] = {}  # their heads wait for room
        self._broker = broker

    def can_take(self, queue: "Queue", span: "Span") -> bool:
        """Whether the first span of the queue can be dropped now: otherwise the queue is looked at again then."""
        if queue.rules.dead_letter_exchange is None:
            return True
        if not span.run.data:
            self._broker.paging.loading.look(queue)
            return False
        if self._has_room(span.run):
            return True
        self._blocked[queue] = None
        self._broker.deadlines.at(self._broker.now_ms + ROOM_LOOK_MS, self)
        return False

    @property
    def loading(self) -> "Loading":
        """Who reads messages that are paged out."""
        return self._broker.paging.loading

    def rearmed(self, queue: "Queue") -> None:
        """The rules of a queue have changed: deliveries that wait to be moved may have nowhere to go any more."""
        if queue.rules.dead_letter_exchange is not None:
            return
        held: list[tuple[Piece, str]] = []
        for waiting in (*self.waiting.values(), self.postponed):
            held += [each for each in waiting if each[0].queue is queue]
            waiting[:] = [each for each in waiting if each[0].queue is not queue]
        for piece, reason in held:
            self.reject([piece], reason)

    def held_back(self) -> Iterator[Piece]:
        """Deliveries that were rejected and are still in flight, for whatever they wait."""
        for waiting in (*self.waiting.values(), self.postponed):
            for piece, _ in waiting:
                yield piece

    def is_blocked(self, queue: "Queue") -> bool:
        """Whether the head of the queue waits for room in the log."""
        return queue in self._blocked

    def due(self, now_ms: int) -> None:
        """See `Timed`: there may be room now."""
        blocked, self._blocked = self._blocked, {}
        for queue in blocked:
            self._broker.dispatcher.touch(queue)
        postponed, self.postponed = self.postponed, []
        for piece, reason in postponed:
            self.reject([piece], reason)

    def _has_room(self, run: "Run") -> bool:
        """A message that moves is in the log twice for a while."""
        return self._broker.journal.has_room(len(run.data) if run.persistent else 0)

    def can_refuse(self, queue: "Queue", span: "Span") -> bool:
        """Whether the newest messages of a full queue can be refused: letters may be paged out already, and stay."""
        rules = queue.rules
        if not rules.letters_refused or rules.dead_letter_exchange is None:
            return True
        return span.run.data != b""

    def drop(self, queue: "Queue", span: "Span", reason: str) -> None:
        """Ready messages that were taken out of their queue, which `can_take` allowed."""
        if queue.rules.dead_letter_exchange is None:
            self._broker.settling.drop(queue, span, EXPIRED if reason == EXPIRED else DROPPED)
            return
        self._broker.journal.begin(0)
        self._publish(queue, span.run, range(span.start, span.stop), reason)
        self._broker.settling.drop(queue, span, DEAD_LETTERED)
        self._broker.journal.end()

    def refuse(self, queue: "Queue", span: "Span") -> None:
        """Messages that came into a full queue in this turn: with `reject-publish-dlx` they are dead-lettered."""
        self._broker.deduplication.refused(queue, span.run)
        if queue.rules.letters_refused:
            self.drop(queue, span, MAXLEN)
        else:
            self._broker.settling.drop(queue, span, DROPPED)

    def reject(self, pieces: Iterable[Piece], reason: str = REJECTED) -> None:
        """Deliveries that nobody wants; of `delivery_limit` also those that no exchange is named for."""
        dropped: list[Piece] = []
        for piece in pieces:
            queue = piece.queue
            lettered = queue.rules.dead_letter_exchange is not None or reason == DELIVERY_LIMIT
            if not lettered or queue.deleted:
                dropped.append(piece)
            elif not piece.run.data:
                self._let_go(piece)
                self._wait(piece, reason)
            elif not self._has_room(piece.run):
                self._let_go(piece)
                self.postponed.append((piece, reason))
                self._broker.deadlines.at(self._broker.now_ms + ROOM_LOOK_MS, self)
            else:
                self._move(piece, reason)
        self._broker.settling.accept(dropped, REJECTED)

    def _move(self, piece: Piece, reason: str) -> None:
        """Publishes deliveries again, and settles them."""
        self._broker.journal.begin(0)
        self._publish(piece.queue, piece.run, _numbers(piece), reason)
        self._broker.settling.accept([piece], DEAD_LETTERED)
        self._broker.journal.end()

    def _let_go(self, piece: Piece) -> None:
        """It has to wait. Its consumer may go on: it has done with it."""
        self._broker.settling.credit(piece)
        marks = piece.run.marks
        if marks is not None and piece.consumer is not None:
            marks.holders = (marks.holders or {}) | {piece.queue.id: piece.consumer.tag}
        piece.consumer = None

    def _wait(self, piece: Piece, reason: str) -> None:
        """It is read first."""
        waiting = self.waiting.get(piece.run)
        if waiting is None:
            waiting = self.waiting[piece.run] = []
            self._broker.paging.loading.call(piece.run, self._loaded)
        waiting.append((piece, reason))

    def _loaded(self, run: "Run") -> None:
        """The bytes of a run are there, or cannot be read, ever."""
        for piece, reason in self.waiting.pop(run, ()):
            queue = piece.queue
            if run.data:
                self.reject([piece], reason)
                continue
            if not queue.deleted:
                self._broker.notices.append(
                    f"{piece.count} messages of queue '{queue.name}' in vhost '{queue.vhost}' that were {reason}"
                    " cannot be read, and are dropped: the log is damaged there"
                )
            self._broker.settling.accept([piece], DROPPED)

    def _publish(self, queue: "Queue", run: "Run", numbers: Sequence[int], reason: str) -> None:
        """Publishes messages of a run again, by way of the exchange; the caller settles them in the same entry."""
        broker = self._broker
        rules = queue.rules
        exchange = rules.dead_letter_exchange
        new_key = rules.dead_letter_key
        goes_anywhere = reason == REJECTED
        if exchange is None:
            exchange, new_key, goes_anywhere = "", QUARANTINE, True
            broker.definitions.keep_quarantine(queue.vhost)
        letters = broker.letters
        time_s = broker.now_ms // 1000
        forwarding = broker.forwarding
        forwarding.begin(queue.vhost, exchange, run.persistent)
        for i in numbers:
            route = run.route(i)
            death = Death(queue.name, reason, route.exchange, route.routing_key, time_s, new_key)
            letter = letters.dead_letter(run, i, death)
            refused = None if goes_anywhere else _cycle(letter.deaths)
            forwarding.add(letter, refused, run.marks)
        forwarding.end()
        broker.counts.dead_lettered += len(numbers)


def _numbers(piece: Piece) -> range:
    return range(piece.start, piece.start + piece.count * piece.step, piece.step)


def _cycle(deaths: Sequence[tuple[str, str, int]]) -> frozenset[str]:
    """Queues that a message has gone round by itself, without anybody rejecting it: it does not go there again.

    The entries change their order, so that a rejection may seem to be in between each time. But what was in a queue
    more often than anybody has rejected it has gone round by itself at least once.
    """
    seen: set[str] = set()
    rejected = 0
    others: dict[str, int] = {}
    for queue, reason, count in deaths:
        if reason == REJECTED:
            rejected += count
            continue
        others[queue] = others.get(queue, 0) + count
        if not rejected:
            seen.add(queue)
    return frozenset(seen | {queue for queue, count in others.items() if count > rejected})
