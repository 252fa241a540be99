"""What Redis clients do in the middle of lists: see `lists`.

Positions leave no room between two messages. So where something is put between them, the messages on the shorter side
of it get new positions: they are published again, as they are, and settled where they were, in one entry of the log.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from mansio.core import cuts
from mansio.core.errors import PreconditionFailed
from mansio.core.inflight import Piece
from mansio.core.lists import Lists, matcher
from mansio.core.marks import DROPPED
from mansio.core.queue import Queue
from mansio.core.recall import Look, Recall
from mansio.core.routing import Route
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.broker import Broker

ALL: Final = 1 << 62


class ListEdits:
    """Changes of lists, and looking for values in them."""

    def __init__(self, broker: "Broker", lists: Lists) -> None:
        self._broker = broker
        self._lists = lists

    def find(
        self,
        queue: Queue,
        value: bytes,
        from_left: bool,
        recall: Recall,
        most: int = ALL,
        looked_max: int = ALL,
    ) -> list[int]:
        """The elements with this value, numbered from the left: at most so many, of so many looked at from one end, in
        that order. MustWait, PreconditionFailed."""
        count = self._lists.length(queue)
        forward = queue.head_left is from_left
        look = matcher(self._broker, value)
        spans = queue.spans() if forward else cuts.backwards(queue)
        found: list[int] = []
        at = 0
        for span in spans:
            seen = recall.see(span, look)
            if seen is None:
                self._wait(queue, forward, recall, look)
            for hit in seen if forward else reversed(seen):
                if at >= looked_max or len(found) >= most:
                    return found
                if hit:
                    found.append(at if from_left else count - 1 - at)
                at += 1
        return found

    def _wait(self, queue: Queue, forward: bool, recall: Recall, look: Look) -> NoReturn:
        """Raises MustWait: what is not in memory is read, and what is will have been seen."""
        absent: list[Run] = []
        for span in queue.spans() if forward else cuts.backwards(queue):
            if recall.see(span, look) is None:
                absent.append(span.run)
            recall.remember(span, look)
        recall.ask(absent)

    def remove(self, queue: Queue, value: bytes, count: int, recall: Recall) -> int:
        """Drops elements with this value: `count` from the left, if negative from the right, all for 0; how many.
        MustWait, PreconditionFailed."""
        numbers = self.find(queue, value, count >= 0, recall, abs(count) or ALL)
        if not queue.head_left:
            last = queue.ready_count - 1
            numbers = [last - number for number in numbers]
        numbers.sort()
        if numbers:
            self._drop(queue, cuts.cut(queue, numbers))
        return len(numbers)

    def trim(self, queue: Queue, start: int, stop: int) -> None:
        """Drops all but elements [start, stop) from the left."""
        count = self._lists.length(queue)
        start = min(max(start, 0), count)
        stop = max(min(stop, count), start)
        if not queue.head_left:
            start, stop = count - stop, count - start
        self._drop(queue, cuts.take(queue, False, count - stop))
        self._drop(queue, cuts.take(queue, True, start))

    def _drop(self, queue: Queue, spans: Sequence[Span]) -> None:
        for span in spans:
            self._broker.settling.drop(queue, span, DROPPED)

    # -- between others

    def set(self, queue: Queue, number: int, value: bytes, recall: Recall) -> None:
        """The element of this number from the left, which there is, gets another value. MustWait,
        PreconditionFailed."""
        at = number if queue.head_left else queue.ready_count - 1 - number
        self._replace(queue, at, 1, value, recall)

    def insert(self, queue: Queue, number: int, value: bytes, recall: Recall) -> None:
        """A value is put in front of the element of this number from the left, which there is, or, for the number of
        elements, behind the last one. MustWait, PreconditionFailed."""
        at = number if queue.head_left else queue.ready_count - number
        self._replace(queue, at, 0, value, recall)

    def _replace(self, queue: Queue, at: int, gone: int, value: bytes, recall: Recall) -> None:
        """A value takes the place of `gone` messages from number `at` of the queue's order on, or comes between."""
        count = queue.ready_count
        front, moved = _moved(queue, at, gone)
        self._load(moved, recall)
        broker = self._broker
        run = broker.letters.contents([value], Route("", queue.name, (queue,)))
        run.priority = cuts.view(queue, min(at, count - 1), min(at, count - 1) + 1)[0].run.priority
        if not gone:
            self._lists.check_room(queue, run)
        journal = broker.journal
        journal.begin(run.data_bytes + sum(span.run.data_bytes for span in moved))
        taken = cuts.take(queue, front, at + gone if front else count - at)
        if gone:
            last = taken[-1]
            number = last.stop - 1 if front else last.start
            self._drop(queue, [Span(last.run, number, number + 1, last.base)])
        broker.settling.counts.routed += 1
        self._enter(queue, run, front)
        for span in reversed(moved) if front else moved:
            self._move(queue, span, front)
        journal.end()

    def look_around(self, queue: Queue, number: int, gone: int, recall: Recall) -> None:
        """What `set` (`gone` 1) or `insert` (0) moves is in memory; MustWait, PreconditionFailed."""
        at = number if queue.head_left else queue.ready_count - gone - number
        self._load(_moved(queue, at, gone)[1], recall)

    def _load(self, spans: Sequence[Span], recall: Recall) -> None:
        """All of these are to be in memory at a time."""
        absent = [span.run for span in spans if not span.run.data]
        if absent and sum(span.run.data_bytes for span in spans) > self._broker.paging.window_bytes:
            raise PreconditionFailed("too many messages that are paged out would have to be moved")
        if absent:
            recall.ask(absent)

    def _enter(self, queue: Queue, run: Run, front: bool) -> None:
        run.live = run.count
        run.arrived_ms = run.arrived_ms or self._broker.now_ms
        self._broker.settling.count(run)
        base = queue.prepend(run) if front else queue.append(run)
        if queue.bound is not None and queue.bound.bytes_max is not None:
            run.measure()
        self._lists.entered(queue, run, base)

    def _move(self, queue: Queue, span: Span, front: bool) -> None:
        """Messages that were taken out come back at one end, with all that is known of them."""
        broker = self._broker
        old = span.run
        new = old.part(span.start, span.stop)
        new.marks = old.marks
        count = new.count
        settled = (span.base + span.start, count, 1)
        logged = old.persistent and queue.logged
        if logged and old.live > count:
            broker.settling.note_gone(old, queue.id, settled)
        self._enter(queue, new, front)
        broker.settling.left(old, queue.id, count, (settled,) if logged else ())
        lane = queue.ready if queue.levels is None else queue.levels.lane(new)
        back = lane[0 if front else -1]
        back.redelivered, back.deliveries = span.redelivered, span.deliveries
        if span.deliveries:
            piece = Piece(0, count, None, queue, new, 0, 1, back.base)
            broker.settling.given_back(queue, piece, span.deliveries, 0)


def _moved(queue: Queue, at: int, gone: int) -> tuple[bool, list[Span]]:
    """Whether the front is nearer to a change at this place, and what has to be moved there."""
    count = queue.ready_count
    front = at <= count - at - gone
    return front, cuts.view(queue, 0, at) if front else cuts.view(queue, at + gone, count)
