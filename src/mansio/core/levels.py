"""Priorities of one queue: a lane of ready messages for each level, of which the highest that is not empty counts.

    lanes[0] … lanes[max]      the queue's `ready` is always one of them: what is delivered or dropped comes from there

Positions rise within a level. A message without a priority is of level 0; one above the highest level is of that
(RabbitMQ 3.10.8). A queue may get its levels, or lose them, while there are messages in it: what counts of those is the
priority that their run was known to have when it came, which is 0 where no queue on its way had levels.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from mansio.core.run import Run, Span


class Levels:
    """The lanes of one queue, from 0 to `highest`. What they hold is counted by the queue."""

    __slots__ = ("lanes",)

    def __init__(self, highest: int) -> None:
        self.lanes = [deque[Span]() for _ in range(highest + 1)]

    @property
    def highest(self) -> int:
        """The highest level."""
        return len(self.lanes) - 1

    def head(self) -> deque[Span]:
        """The lane that counts."""
        for lane in reversed(self.lanes):
            if lane:
                return lane
        return self.lanes[0]

    def lane(self, run: Run) -> deque[Span]:
        """Where the messages of a run belong."""
        return self.lanes[min(run.priority, len(self.lanes) - 1)]

    def spans(self) -> Iterator[Span]:
        """All of them, in the order in which they would be delivered."""
        for lane in reversed(self.lanes):
            yield from lane

    def last(self) -> deque[Span]:
        """The lane whose last message would be delivered last of all; there is something."""
        return next(lane for lane in self.lanes if lane)

    def newest(self) -> Span:
        """What came last of all; there is something."""
        return max((lane[-1] for lane in self.lanes if lane), key=_end)

    def divide(self, spans: Iterable[Span]) -> list[tuple[deque[Span], list[Span]]]:
        """Spans by the lane to which they belong."""
        by_lane: dict[int, tuple[deque[Span], list[Span]]] = {}
        for span in spans:
            lane = self.lane(span.run)
            by_lane.setdefault(id(lane), (lane, []))[1].append(span)
        return list(by_lane.values())


def _end(span: Span) -> int:
    return span.base + span.stop
