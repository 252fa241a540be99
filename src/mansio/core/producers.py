"""Which messages of numbered producers a stream has: one that is published again is stored once.

A producer names itself in the header `x-producer` and numbers its messages, rising, in `x-publishing-id`. The stream
remembers the highest number of each: what is not above it has come already. That is known after a restart as well.
"""

from typing import Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.deduplication import Window

MARK: Final = "\0"
"""Between the name of a producer and its number, in the id of a message."""

PRODUCERS_MAX: Final = 65_536
"""Producers that one stream remembers, about 15 MiB; the one that was not heard for longest is forgotten."""


def producer_id(name: str, number: int) -> str:
    """The id of a message."""
    return f"{name}{MARK}{number}"


def _numbered(id: str) -> tuple[str, int] | None:
    """The producer and number of a message; None for an id of another kind, which clients may make up as they like."""
    name, mark, number = id.rpartition(MARK)
    return (name, int(number)) if mark and number.isascii() and number.isdigit() else None


class Producers(Window):
    """Producers by name, and until which number their messages are there."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        super().__init__(None, PRODUCERS_MAX)
        self.numbers: dict[str, int] = {}

    def knows(self, id: str, now_ms: int) -> bool:
        found = _numbered(id)
        return found is not None and found[1] <= self.numbers.get(found[0], -1)

    def remember(self, id: str, until_ms: int, kept: bool, now_ms: int = 0) -> None:
        found = _numbered(id)
        if found is None:
            return
        name, number = found
        self.numbers[name] = max(number, self.numbers.pop(name, -1))
        if len(self.numbers) > self.size:
            del self.numbers[next(iter(self.numbers))]

    def forget(self, id: str) -> None:
        """Nothing that a stream took is refused afterwards."""

    def kept(self, now_ms: int) -> list[tuple[str, int]]:
        return [(producer_id(name, number), NEVER_MS) for name, number in self.numbers.items()]
