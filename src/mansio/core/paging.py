"""Which messages are in memory. Beyond the budget runs are paged out: their bytes go, their records stay in a log.

    arrived ──► held back ──placed──► may go ──page_out──► paged out ──► Loading reads it before it is needed
                  │ not durable yet    ▲                                     │
                  │                    └─────────────────loaded──────────────┘
                  └ transient: may go at once, by way of the *spool*, a log that nobody replays

What may go is counted for one queue of each run. It goes from the deep end of the queue with the most, and every queue
keeps a window: what it hands out next, or has handed out last. All this costs some steps for a run, none for a message.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mansio.core.limits import Limits
from mansio.core.loading import Loading
from mansio.core.records import Parts, encode_publish
from mansio.core.retention import Retention
from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.core.dispatch import Dispatcher
    from mansio.core.queue import Queue

WINDOW_BYTES: Final = 8 << 20
"""What a queue keeps in memory, if all queues together then keep no more than half of the budget; half of it is read
ahead, and so the next part is on its way while a quarter of it is handed out."""


class Pages:
    """Runs of a queue that are in memory and may go: those that were read back on the left, new ones on the right.

    `most_bytes`: a bound of its own, beside the budget of all; 0 for none. `oldest_first`: what came, or was read, last
    goes last, as its readers want it; otherwise what is handed out last goes first.
    """

    __slots__ = ("data_bytes", "held", "mark", "most_bytes", "oldest_first")

    def __init__(self, most_bytes: int = 0, oldest_first: bool = False) -> None:
        self.most_bytes = most_bytes
        self.oldest_first = oldest_first
        self.held: OrderedDict[Run, None] = OrderedDict()
        self.data_bytes = 0
        self.mark: int | None = None  # once the queue's head is there, more is read ahead


class Paging:
    """Keeps account of the bytes of messages, and keeps them within the budget. Sizes in bytes."""

    def __init__(self, limits: Limits, dispatcher: "Dispatcher") -> None:
        self.budget_bytes = limits.page_bytes
        self.resident_bytes = 0
        self.loading = Loading(self, dispatcher)
        self.spool = Retention(limits, replayed=False)
        self.spooling = False  # there is a spool; whoever has one says so
        self._filled: dict[Pages, None] = {}  # those that hold something
        self._kept: dict[Run, int] = {}  # those that must not go, and how many want them
        self._victims: list[Pages] = []
        self._leaving: dict[Run, None] = {}  # on their way into the spool
        self.leaving_bytes = 0
        self._unspooled: list[Run] = []

    @property
    def window_bytes(self) -> int:
        """What each queue may keep in memory."""
        return min(WINDOW_BYTES, self.budget_bytes // (2 * (len(self._filled) or 1)))

    # -- runs come and go

    def pages(self, queue: "Queue") -> Pages:
        """What of a queue may go."""
        pages = queue.pages
        if pages is None:
            pages = queue.pages = Pages()
        return pages

    def arrived(self, run: Run, queues: "Sequence[Queue]") -> None:
        """A run has come into these queues, and is in the log soon if it has places there."""
        if queues[-1].hidden:
            for queue in queues:
                if queue.hidden:
                    self.keep(run)
        self.arrived_at(run, self.pages(max(queues, key=_depth)))

    def arrived_at(self, run: Run, home: Pages) -> None:
        """The same for a run that no queue holds."""
        run.home = home
        if self.spooling and not run.places:
            self._hold(run)
            self._bound(home)

    def placed(self, run: Run) -> None:
        """The run has a record that is durable, or durable in another place now."""
        home = run.home
        if home is not None and run.data and run not in home.held and run not in self._leaving:
            self._hold(run)
            self._bound(home)

    def loaded(self, run: Run) -> None:
        """The run has its bytes again."""
        assert run.home is not None
        self.resident_bytes += run.data_bytes
        self._hold(run)
        if run not in self._kept:
            run.home.held.move_to_end(run, last=run.home.oldest_first)
        self._bound(run.home, run)

    def keep(self, run: Run) -> None:
        """It stays in memory, or does once it has been read, until it is let go as often."""
        self._kept[run] = self._kept.get(run, 0) + 1

    def let_go(self, run: Run) -> None:
        """Somebody does not want it any more."""
        wanted = self._kept.pop(run, 0) - 1
        if wanted > 0:
            self._kept[run] = wanted
        elif run.live and run.data and run.home is not None:
            if run.bucket is not None or (self.spooling and not run.places):
                self._hold(run)

    def need(self, run: Run) -> None:
        """The run is needed soon: it is read, or goes after all others of its home."""
        if not run.data:
            self.loading.want(run)
        elif run.home is not None and run in run.home.held:
            run.home.held.move_to_end(run, last=False)

    def settled(self, run: Run) -> None:
        """A run is settled everywhere."""
        self.resident_bytes -= len(run.data)
        if run.bucket is not None and not run.places:
            self.spool.settled(run)
        home = run.home
        if home is None:
            return
        if run in home.held:
            del home.held[run]
            self._let_go(home, run)
        elif run in self._leaving:
            self._left(run)
        elif not run.data:
            self.loading.forget(run)

    def _hold(self, run: Run) -> None:
        if run in self._kept:
            return
        home = run.home
        assert home is not None
        if not home.held:
            self._filled[home] = None
        home.held[run] = None
        home.data_bytes += run.data_bytes

    def _let_go(self, home: Pages, run: Run) -> None:
        home.data_bytes -= run.data_bytes
        if not home.held:
            del self._filled[home]

    # -- out

    def page_out(self) -> None:
        """At the end of a turn: what is too much goes, as far as it may."""
        excess = self.resident_bytes - self.leaving_bytes - self.budget_bytes
        while excess > 0:
            pages = self._victim()
            if pages is None:
                return
            excess -= self._page_out_of(pages)

    def _bound(self, pages: Pages, needed: Run | None = None) -> None:
        """What is too much in these pages goes, also within the budget; not what was read just now, however large."""
        while pages.data_bytes > pages.most_bytes > 0:
            if next(reversed(pages.held)) is needed:
                return
            self._page_out_of(pages)

    def _page_out_of(self, pages: Pages) -> int:
        """A run goes; how many bytes it has."""
        run, _ = pages.held.popitem(last=not pages.oldest_first)
        self._let_go(pages, run)
        if run.bucket is not None:
            self._drop(run)
        else:
            self._leaving[run] = None
            self.leaving_bytes += run.data_bytes
            self._unspooled.append(run)
        return run.data_bytes

    def _victim(self) -> Pages | None:
        window = self.window_bytes
        victims = self._victims
        for _ in range(2):
            while victims:
                if victims[-1].data_bytes > window:
                    return victims[-1]
                victims.pop()
            victims += sorted(
                [pages for pages in self._filled if pages.data_bytes > window], key=_data_bytes
            )
        return None

    def _drop(self, run: Run) -> None:
        self.resident_bytes -= run.data_bytes
        run.page_out()

    # -- the spool

    def take_spooled(self) -> tuple[list[Parts], list[tuple[int, Any]]]:
        """Records for the spool, and whose they are."""
        runs, self._unspooled = [run for run in self._unspooled if run.live], []
        carried, absent = self.spool.take_carried()
        for run in absent:
            self.loading.want(run)
        runs += [run for run in carried if isinstance(run, Run)]
        return [encode_publish(run, ()) for run in runs], list(enumerate(runs))

    def spooled(self, seq: int, size: int, placed: Iterable[tuple[Any, int, int, int]]) -> int:
        """Entry `seq` of the spool is written, see `Journal.placed`; answers up to where the spool may be cut."""
        self.spool.entry(seq, size)
        for run, *place in placed:
            self.spool.place(run, *place)
            if run in self._leaving:
                self._left(run)
                if run.live:
                    self._drop(run)
        return self.spool.cut()

    def spool_lost(self) -> None:
        """Nothing can be written to the spool any more: what is transient stays in memory."""
        self.spooling = False
        for home in list(self._filled):
            for run in [run for run in home.held if run.bucket is None]:
                del home.held[run]
                self._let_go(home, run)
        self._leaving.clear()
        self.leaving_bytes = 0
        self._unspooled.clear()

    def _left(self, run: Run) -> None:
        del self._leaving[run]
        self.leaving_bytes -= run.data_bytes


def _depth(queue: "Queue") -> int:
    return queue.ready_count


def _data_bytes(pages: Pages) -> int:
    return pages.data_bytes
