"""What a command reads that may need more messages than there is memory for at a time.

see(span) ──in memory──► looked at ──► remembered, as soon as something else is not
     └──paged out──► asked for, MustWait ──► the command is executed again, and knows what it has seen
"""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mansio.core.errors import MustWait, PreconditionFailed
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.loading import Loading

SEEN_BYTES_MAX: Final = 256 << 20
"""What one command may remember of messages that are paged out; beyond that it is refused."""
AHEAD_BYTES: Final = 4 << 20
"""What is asked for at once."""

Look = Callable[[Run, int, int], Sequence[Any]]
"""What of messages [start, stop) of a run is to be known, for each."""


class Recall:
    """What one command, of a front that is woken for it (`waiter`), has seen so far."""

    __slots__ = ("_loading", "_seen", "_seen_bytes", "_waiter")

    def __init__(self, loading: "Loading", waiter: Any) -> None:
        self._loading = loading
        self._waiter = waiter
        self._seen: dict[Run, tuple[int, Sequence[Any]]] = {}
        self._seen_bytes = 0

    def see(self, span: Span, look: Look) -> Sequence[Any] | None:
        """What was asked of these messages; None where they have to be read first."""
        run, start, stop = span.run, span.start, span.stop
        seen = self._seen.get(run)
        if seen is not None and seen[0] <= start and stop <= seen[0] + len(seen[1]):
            return seen[1][start - seen[0] : stop - seen[0]]
        if not run.data:
            return None
        return look(run, start, stop)

    def see_all(self, spans: Sequence[Span], look: Look) -> list[Sequence[Any]]:
        """The same of several; MustWait until all of them have been seen. PreconditionFailed: one cannot be read, or
        they are too many."""
        found: list[Sequence[Any]] = []
        absent: list[Run] = []
        for span in spans:
            seen = self.see(span, look)
            if seen is None:
                absent.append(span.run)
            else:
                found.append(seen)
        if absent:
            for span in spans:
                self.remember(span, look)
            self.ask(absent)
        return found

    def remember(self, span: Span, look: Look) -> None:
        """They may be paged out before the command is executed again."""
        if span.run in self._seen or not span.run.data:
            return
        seen = look(span.run, span.start, span.stop)
        self._seen[span.run] = span.start, seen
        self._seen_bytes += span.run.data_bytes if not isinstance(seen, array) else len(seen)
        if self._seen_bytes > SEEN_BYTES_MAX:
            raise PreconditionFailed("too many messages that are paged out: ask for less at a time")

    def ask(self, absent: Sequence[Run]) -> NoReturn:
        """Raises MustWait until the first of these have been read."""
        loading = self._loading
        room = AHEAD_BYTES
        last = absent[0]
        for run in absent:
            if run in loading.unreadable:
                raise PreconditionFailed("a message cannot be read: damaged")
            if room <= 0:
                break
            loading.want(run)
            room -= run.data_bytes
            last = run
        loading.wake(last, self._waiter)
        raise MustWait
