"""Entries that Redis clients have added to a stream in this turn, and that are not a run yet.

What follows each other becomes one run: at the end of the turn, or when somebody looks at the stream before.
"""

from typing import Final, NamedTuple

BATCH_BYTES_MAX: Final = 512 << 10
"""At this size it becomes a run: about what a busy stream has in one."""


class Trim(NamedTuple):
    """What is to go in front: all but `least` entries (MAXLEN), or those with ids below it (MINID).

    `exact` False: only whole nodes of `entries.NODE` entries, and no more than `most` entries; 0: any number.
    """

    by_id: bool
    least: int
    exact: bool
    most: int


class Batch:
    """`frames`: of each entry, with its offset; `ids`: theirs; `trim`: what is to go when they are there."""

    __slots__ = ("data_bytes", "frames", "ids", "trim")

    def __init__(self, trim: Trim | None) -> None:
        self.frames: list[bytes] = []
        self.ids: list[int] = []
        self.data_bytes = 0
        self.trim = trim
