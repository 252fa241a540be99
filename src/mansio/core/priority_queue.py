"""A queue with priorities: one deque of ready messages for each level, of which the highest that is not empty counts.

    levels[0] … levels[max]      `ready` is always one of them: what is delivered, or dropped, comes from there

Positions rise within a level. A message without a priority is of level 0; one above the highest level is of that
(RabbitMQ 3.10.8).
"""

from collections import deque
from collections.abc import Iterator, Sequence

from mansio.core.queue import Queue, merge
from mansio.core.run import Run, Span


class PriorityQueue(Queue):
    """A queue that was declared with `x-max-priority`."""

    __slots__ = ("levels",)

    def _prepare(self) -> None:
        """See `Queue`."""
        self.levels = [self.ready, *(deque[Span]() for _ in range(self.rules.levels))]

    def level(self, run: Run) -> int:
        """Where the messages of a run belong."""
        return min(run.priority, len(self.levels) - 1)

    def spans(self) -> Iterator[Span]:
        """See `Queue`."""
        for level in reversed(self.levels):
            yield from level

    def lanes(self) -> Sequence[deque[Span]]:
        """See `Queue`."""
        return self.levels

    def put(self, span: Span) -> None:
        """See `Queue`."""
        self.levels[self.level(span.run)].append(span)
        self._look()

    def take_head(self, n: int) -> Span:
        """See `Queue`."""
        span = super().take_head(n)
        if not self.ready:
            self._look()
        return span

    def newest(self) -> Span:
        """See `Queue`."""
        return max((level[-1] for level in self.levels if level), key=_end)

    def take_tail(self, n: int) -> Span:
        """See `Queue`."""
        self.ready = self.levels[self.level(self.newest().run)]
        span = super().take_tail(n)
        self._look()
        return span

    def put_back(self, spans: list[Span]) -> None:
        """See `Queue`."""
        by_level: dict[int, list[Span]] = {}
        for span in spans:
            by_level.setdefault(self.level(span.run), []).append(span)
        for level, its_own in by_level.items():
            merge(self.levels[level], its_own)
        self._look()

    def take_all(self) -> list[Span]:
        """See `Queue`."""
        spans = list(self.spans())
        for level in self.levels:
            level.clear()
        self.ready_count = 0
        self._look()
        return spans

    def _look(self) -> None:
        """Finds the level that counts."""
        for level in reversed(self.levels):
            if level:
                self.ready = level
                return
        self.ready = self.levels[0]


def _end(span: Span) -> int:
    return span.base + span.stop
