"""What a command reads that may need more messages than there is memory for at a time.

see(span) ──in memory──► looked at ──► remembered, as soon as something else is not
     └──paged out──► asked for, MustWait ──► the command is executed again, and knows what it has seen

Commands of a transaction have to find all that they need in memory at the same time: what was read for them is kept
there until it is executed, as far as that may be.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mansio.core.errors import MustWait, PreconditionFailed
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.loading import Loading
    from mansio.core.paging import Paging

SEEN_BYTES_MAX: Final = 256 << 20
"""What one command may remember of messages that are paged out; beyond that it is refused."""
AHEAD_BYTES: Final = 4 << 20
"""What is asked for at once."""

KEPT_SHARE: Final = 2
"""What one transaction may keep in memory: this part of the budget, or KEPT_BYTES if that is more."""
KEPT_BYTES: Final = 8 << 20
KEPT_STEPS: Final = 8
"""Of what is left of it a command gets this part at a time: it may find what it looks for."""

Look = Callable[[Run, int, int], Sequence[Any]]
"""What of messages [start, stop) of a run is to be known, for each."""


class TooMuch(PreconditionFailed):
    """A transaction needs more messages that are paged out than may be kept for it."""


class Kept:
    """What stays in memory until a transaction is executed. `reach`: how far into a list, or behind what a group has
    read, the commands go that were looked at so far; `room_bytes`: what may be kept beside what is; `changes`: whether
    it changes something, so that a command may look elsewhere than it would now."""

    __slots__ = ("_paging", "_runs", "changes", "reach", "room_bytes")

    def __init__(self, paging: "Paging", changes: bool) -> None:
        self.changes = changes
        self.room_bytes = max(paging.budget_bytes // KEPT_SHARE, KEPT_BYTES)
        self.reach: dict[Any, int] = {}
        self._paging = paging
        self._runs: dict[Run, None] = {}

    def go_on(self, where: Any, count: int) -> int:
        """A command goes on by so many from where others have come; how far they all go."""
        self.reach[where] = reach = self.reach.get(where, 0) + count
        return reach

    def add(self, absent: Sequence[Run]) -> Sequence[Run]:
        """The first of these runs, which are needed one after the other, stay as soon as they are there; answers them.
        TooMuch."""
        room = self.room_bytes // KEPT_STEPS
        for i, run in enumerate(absent):
            if run in self._runs:
                continue
            if run.data_bytes > (self.room_bytes if not i else room):
                if i:
                    return absent[:i]
                raise TooMuch("too many messages that are paged out for one transaction")
            room -= run.data_bytes
            self.room_bytes -= run.data_bytes
            self._runs[run] = None
            self._paging.keep(run)
        return absent

    def let_go(self) -> None:
        """The transaction is over."""
        runs, self._runs = self._runs, {}
        for run in runs:
            self._paging.let_go(run)


class Recall:
    """What one command, of a front that is woken for it (`waiter`), has seen so far. `kept`: of its transaction."""

    __slots__ = ("_kept", "_loading", "_seen", "_seen_bytes", "_waiter")

    def __init__(self, loading: "Loading", waiter: Any, kept: Kept | None = None) -> None:
        self._kept = kept
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
        if span.run in self._seen or not span.run.data or self._kept is not None:
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
        if self._kept is not None and last not in loading.unreadable:
            absent = self._kept.add(absent)
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
