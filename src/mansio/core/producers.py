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


class Producers(Window):
    """Producers by name, and until which number their messages are there."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        super().__init__(None, PRODUCERS_MAX)
        self.numbers: dict[str, int] = {}

    def knows(self, id: str, now_ms: int) -> bool:
        name, mark, number = id.rpartition(MARK)
        return bool(mark) and int(number) <= self.numbers.get(name, -1)

    def remember(self, id: str, until_ms: int, kept: bool, now_ms: int = 0) -> None:
        name, mark, number = id.rpartition(MARK)
        if not mark:
            return
        self.numbers[name] = max(int(number), self.numbers.pop(name, -1))
        if len(self.numbers) > self.size:
            del self.numbers[next(iter(self.numbers))]

    def forget(self, id: str) -> None:
        """Nothing that a stream took is refused afterwards."""

    def kept(self, now_ms: int) -> list[tuple[str, int]]:
        return [(producer_id(name, number), NEVER_MS) for name, number in self.numbers.items()]
