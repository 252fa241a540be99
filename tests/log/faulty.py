"""A log for the simulation: synchronous, on a virtual clock, with faults drawn from one seed.

`FaultyLog` is a handle on a MemoryStore. An append starts now and ends later: `advance` to
`next_ns()` and take what has ended. `Committer` drives a GroupCommit on it as the server does on a
real log. Neither reads a clock nor has a source of randomness of its own.

What can happen to an append (`Faults`):

    done      lands and returns its seq at the due time
    landed    lands at the due time, but raises Unavailable
    lost      does not land, raises Unavailable at the due time
    late      raises Unavailable at the due time, and lands later
    full      raises Full; so does every append that starts before the room is back

What is behind an append that did not land finds another tail, and is Fenced. Where several are under way, `late` is
`lost`: engines for which that would matter let nothing land behind an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from mansio.log.base import Bounds, Fenced, Full, LogError, Unavailable
from mansio.log.commit_states import State
from mansio.log.group_commit import GroupCommit
from mansio.log.memory import MemoryStore

RETRY_NS = 1_000_000
"""How long Committer waits before it asks a full or unreachable log again."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances from 0 to 1, the rest of an append's is `done`; times in virtual ns (from, to)."""

    append_ns: tuple[int, int] = (200_000, 1_000_000)
    late_ns: tuple[int, int] = (1_000, 10_000_000)
    full_ns: tuple[int, int] = (1_000_000, 50_000_000)
    landed: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    full: float = 0.0
    unreadable: float = 0.0
    """The chance that reading the tail raises Unavailable."""


NO_FAULTS = Faults()
ROUGH = Faults(landed=0.1, lost=0.1, late=0.1, full=0.05, unreadable=0.3)


@dataclass(slots=True)
class _Append:
    entry: bytes
    expected_seq: int
    outcome: str


class FaultyLog:
    """One owner's handle. Give the same store to the next one to play a restart or a rival."""

    def __init__(
        self, rng: Random, store: MemoryStore, faults: Faults = NO_FAULTS, depth: int = 1
    ) -> None:
        """`depth`: how many appends may be under way."""
        self.store = store
        self.depth = depth
        self._rng = rng
        self._faults = faults
        self._owner = (0, 0)
        self._appends: list[tuple[int, int, _Append]] = []  # a heap by (due, order of start)
        self._started = 0
        self._due_ns = 0
        self._full_until_ns = -1

    def open(self, epoch: int, nonce: int = 0) -> int:
        """As Log.open, at once and without faults."""
        seq = self.store.open(epoch, nonce)
        self._owner = (epoch, nonce)
        return seq

    def start_append(self, entry: bytes, expected_seq: int, now_ns: int) -> None:
        """Log.append is called at now_ns; `advance` gives its end. Appends end in order."""
        outcome = self._draw_outcome(now_ns)
        self._due_ns = max(self._due_ns, now_ns + self._rng.randint(*self._faults.append_ns))
        self._push(self._due_ns, _Append(entry, expected_seq, outcome))

    def next_ns(self) -> int | None:
        """When something is due, in virtual ns; None if nothing is under way."""
        return self._appends[0][0] if self._appends else None

    def advance(self, now_ns: int) -> list[int | LogError]:
        """Let everything happen that is due; return the appends' results in order."""
        results: list[int | LogError] = []
        while self._appends and self._appends[0][0] <= now_ns:
            due_ns, _, append = heappop(self._appends)
            result = self._end(append, due_ns)
            if result is not None:
                results.append(result)
        return results

    def tail(self) -> tuple[Bounds, bytes | None]:
        """Log.bounds and the whole last entry, None if it was trimmed. May raise Unavailable."""
        if self._rng.random() < self._faults.unreadable:
            raise Unavailable("simulated: the tail cannot be read")
        bounds = self.store.bounds()
        return bounds, self.store.entries.get(bounds.last_seq)

    def crash(self) -> None:
        """The owner dies: of the appends under way, in order, none, some or all land."""
        for _, _, append in sorted(self._appends, key=lambda item: item[1]):
            if append.outcome in ("full", "lost") or self._rng.random() < 0.5:
                break
            self._land(append)
        self._appends.clear()

    def _draw_outcome(self, now_ns: int) -> str:
        if now_ns < self._full_until_ns:
            return "full"
        draw = self._rng.random()
        for outcome in ("landed", "lost", "late", "full"):
            chance: float = getattr(self._faults, outcome)
            if draw < chance:
                if outcome == "full":
                    self._full_until_ns = now_ns + self._rng.randint(*self._faults.full_ns)
                return outcome
            draw -= chance
        return "done"

    def _end(self, append: _Append, due_ns: int) -> int | LogError | None:
        if append.outcome == "full":
            return Full("simulated: no room")
        if append.outcome == "late" and self.depth == 1:
            later = _Append(append.entry, append.expected_seq, "behind the owner's back")
            self._push(due_ns + self._rng.randint(*self._faults.late_ns), later)
        if append.outcome in ("late", "lost"):
            return Unavailable("simulated: no answer")
        result = self._land(append)
        if append.outcome == "behind the owner's back":
            return None
        return Unavailable("simulated: no answer") if append.outcome == "landed" else result

    def _land(self, append: _Append) -> int | LogError:
        try:
            return self.store.append(self._owner, append.entry, append.expected_seq)
        except Fenced as error:
            return error

    def _push(self, due_ns: int, append: _Append) -> None:
        self._started += 1
        heappush(self._appends, (due_ns, self._started, append))


class Committer:
    """Drives a GroupCommit: call `step` after every turn and at `next_ns()`."""

    def __init__(self, commit: GroupCommit, log: FaultyLog) -> None:
        self.commit = commit
        self.log = log
        self._retry_ns: int | None = None
        self._under_way = 0
        self._error: LogError | None = None  # of an append, while others are under way

    def step(self, now_ns: int) -> int:
        """Do everything that is due at now_ns; return the highest durable ticket."""
        commit = self.commit
        for result in self.log.advance(now_ns):
            self._under_way -= 1
            if isinstance(result, int) and self._error is None:
                commit.appended(result)
                continue
            if not isinstance(result, int):
                self._error = self._error or result
            if self._error is not None and not self._under_way:
                error, self._error = self._error, None
                self._fail(error, now_ns)
        if self._retry_ns is not None and self._retry_ns <= now_ns:
            self._retry_ns = None
            if commit.state is State.BLOCKED:
                commit.retry()
            else:
                self._read_tail(now_ns)
        while self._error is None and (taken := commit.take()) is not None:
            self._under_way += 1
            self.log.start_append(*taken, now_ns)
        return commit.durable

    def next_ns(self) -> int | None:
        """When `step` has something to do; None while the log has nothing to do."""
        times = [at for at in (self.log.next_ns(), self._retry_ns) if at is not None]
        return min(times, default=None)

    def _fail(self, error: LogError, now_ns: int) -> None:
        state = self.commit.failed(error)
        if state is State.UNKNOWN:
            self._read_tail(now_ns)
        elif state is State.BLOCKED:
            self._retry_ns = now_ns + RETRY_NS

    def _read_tail(self, now_ns: int) -> None:
        try:
            bounds, entry = self.log.tail()
        except Unavailable as error:
            self.commit.failed(error)
            self._retry_ns = now_ns + RETRY_NS
        else:
            self.commit.tail_read(bounds.last_seq, entry)
