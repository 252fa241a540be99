"""Delayed messages: a run of them, when each is due, and which are still there.

    due      one time for all of the run, or one for each message; Unix times in ms
    ids      by which clients know them: their positions in the store, unless they were moved together from other runs
    order    numbers of messages, the earliest first; None while all that are left follow each other
             gone │ at: the next one … the last one

A message costs 8 bytes here, 12 if its run is not in the order in which it falls due, and 8 more once it was moved.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mansio.core.routing import Route
from mansio.core.run import Range, Run

TIME_MAX_MS = (1 << 63) - 1
"""What a time may be at most; a longer delay ends then."""

Key = tuple[int, int]
"""(when the next message of a run is due, its id): the order in which messages come out."""


class Delayed(NamedTuple):
    """A message that waits for its time."""

    id: int
    """Unique in its virtual host, for ever."""
    exchange: str
    key: str
    due_ms: int
    """Unix time."""
    bytes: int
    """Its size with its properties; while it is paged out, the mean of those that are stored with it."""


class Held:
    """The delayed messages of one run. `base`: the position of the first one in the store, -1 before it has one."""

    __slots__ = ("at", "base", "due", "ids", "loose", "near", "order", "run", "which")

    def __init__(self, run: Run, due: "int | array[int]", ids: "array[int] | None" = None) -> None:
        self.run = run
        self.base = -1
        self.due = due
        self.ids = ids
        self.which = run.which  # also while the run is paged out
        self.order: array[int] | None = None
        self.at = 0
        self.near = False
        self.loose = False  # to be moved together with others
        if not isinstance(due, int):
            self.keep(range(run.count))

    def start(self, base: int, now_ms: int) -> None:
        """It takes its places in the store: what were delays become times."""
        self.base = base
        if isinstance(self.due, int):
            self.due = min(now_ms + self.due, TIME_MAX_MS)
        else:
            self.due = array("Q", [min(now_ms + delay, TIME_MAX_MS) for delay in self.due])

    def keep(self, numbers: Sequence[int]) -> None:
        """Only these are there, in rising order."""
        self.at = 0
        due = self.due
        if not isinstance(due, int):
            numbers = sorted(numbers, key=due.__getitem__)
        count = self.run.count
        if len(numbers) == count and (
            isinstance(numbers, range) or all(i == n for i, n in enumerate(numbers))
        ):
            self.order = None
        else:
            self.order = array("I", numbers)

    @property
    def left(self) -> int:
        """How many are still there."""
        return (self.run.count if self.order is None else len(self.order)) - self.at

    @property
    def mixed(self) -> bool:
        """Whether they fall due at different times."""
        return not isinstance(self.due, int)

    def numbers(self) -> Sequence[int]:
        """Which are still there, the earliest first."""
        if self.order is None:
            return range(self.at, self.run.count)
        return self.order[self.at :]

    def due_ms(self, i: int) -> int:
        """When message `i` of the run is due."""
        return self.due if isinstance(self.due, int) else self.due[i]

    def id(self, i: int) -> int:
        """The id of message `i` of the run."""
        return self.base + i if self.ids is None else self.ids[i]

    def route(self, i: int) -> Route:
        """As that of the run, also while that is paged out."""
        return self.run.routes[self.which[i] if self.which is not None else 0]

    def key(self) -> Key:
        """Of the next one; there is one."""
        i = self.at if self.order is None else self.order[self.at]
        return self.due_ms(i), self.id(i)

    def take(self, until: Key, most: int) -> Sequence[int]:
        """Takes those that come before `until`, as the next one does, at most so many."""
        at = self.at
        stop = at + min(most, self.left)
        order, due = self.order, self.due
        if isinstance(due, int) and due < until[0]:
            end = stop
        else:
            end = at + 1
            while end < stop:
                i = end if order is None else order[end]
                if (self.due_ms(i), self.id(i)) >= until:
                    break
                end += 1
        self.at = end
        return range(at, end) if order is None else order[at:end]

    def find(self, id: int) -> int:
        """The number of the message with this id, -1 if it is not there."""
        if self.ids is None:
            i = id - self.base
            return i if 0 <= i < self.run.count and i in self.numbers() else -1
        try:
            i = self.ids.index(id)
        except ValueError:
            return -1
        return i if i in self.numbers() else -1

    def drop(self, i: int) -> None:
        """Message `i` is not there any more."""
        self.keep(sorted(n for n in self.numbers() if n != i))

    def empty(self) -> Sequence[int]:
        """Takes all that are there."""
        numbers = self.numbers()
        self.at += len(numbers)
        return numbers

    def gone(self) -> list[Range]:
        """Positions of those that are not there any more."""
        missing = set(range(self.run.count))
        missing.difference_update(self.numbers())
        return self.ranges(sorted(missing))

    def ranges(self, numbers: Iterable[int]) -> list[Range]:
        """Positions of messages, in as few ranges as their order makes."""
        base = self.base
        if isinstance(numbers, range):
            return [(base + numbers.start, len(numbers), 1)] if numbers else []
        found: list[Range] = []
        first = count = 0
        for i in numbers:
            if count and i == first + count:
                count += 1
                continue
            if count:
                found.append((base + first, count, 1))
            first, count = i, 1
        if count:
            found.append((base + first, count, 1))
        return found

    def table(self) -> "array[int]":
        """Times, and ids if they are not positions, as a publish record has them."""
        if self.ids is None:
            return array("Q", (self.due,)) if isinstance(self.due, int) else self.due
        times = array("Q", [self.due_ms(i) for i in range(self.run.count)])
        return times + self.ids


def from_table(run: Run, base: int, table: "array[int]") -> Held:
    """What `table` has said."""
    if len(table) == 2 * run.count:
        held = Held(run, table[: run.count], table[run.count :])
    else:
        held = Held(run, table[0] if len(table) == 1 else table)
    held.base = base
    return held
