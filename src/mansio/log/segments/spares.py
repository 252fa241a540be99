"""Files that wait to become segments: the reserve for a full disk, and the fast way to a new segment.

A file whose blocks were written before takes a durable write in less time than a new one.
"""

from __future__ import annotations

import errno
from typing import Final

from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import segment_name, spare_name

SPARES_MAX: Final = 2
"""Beside the segment that is written to, so that a drained log keeps three files. They are made anew when there are
fewer: room for what is under way when the disk is full."""

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What says that there is no room."""


class Spares:
    """Numbers are never used twice, for segments and spares alike."""

    __slots__ = ("_doomed", "_files", "_names", "_number", "segment_bytes")

    def __init__(self, files: Files, names: list[str], number_max: int, segment_bytes: int) -> None:
        """`names`: the spares that are there. `number_max`: the highest number that was used."""
        self.segment_bytes = segment_bytes
        self._files = files
        self._number = number_max
        self._names: list[str] = []
        self._doomed: list[str] = []  # to be removed, one at a time: it takes milliseconds
        sizes = files.sizes()
        for name in names:
            if sizes[name] == segment_bytes and len(self._names) < SPARES_MAX:
                self._names.append(name)
            else:
                self._doomed.append(name)

    def __len__(self) -> int:
        return len(self._names)

    def take_number(self) -> int:
        """The next number."""
        self._number += 1
        return self._number

    def start_segment(self, number: int, capacity: int) -> File:
        """A file of this capacity, under the name of a segment. Errors: OSError."""
        name = segment_name(number)
        if capacity != self.segment_bytes or not self._names:
            return self._create_large(name, capacity)
        spare = self._names.pop()
        self._files.rename(spare, name)
        return self._files.open(name)

    def make(self) -> None:
        """Add a new file. Errors: OSError."""
        name = spare_name(self.take_number())
        self._create(name, self.segment_bytes).close()
        self._names.insert(0, name)

    def retire(self, name: str, size: int) -> None:
        """Keep a file that is no segment any more for later, or discard it. Errors: OSError."""
        if size == self.segment_bytes and len(self._names) < SPARES_MAX:
            spare = spare_name(self.take_number())
            self._files.rename(name, spare)
            self._names.append(spare)
        else:
            self._doomed.append(name)

    def discard(self, name: str) -> None:
        """Remove a file some time."""
        self._doomed.append(name)

    def remove_one(self) -> bool:
        """Remove one file that was discarded; answers whether there are more."""
        if self._doomed:
            try:
                self._files.unlink(self._doomed.pop())
            except OSError:
                pass  # the next start finds it again
        return bool(self._doomed)

    def _create_large(self, name: str, size: int) -> File:
        """A new file, for whose sake spares are given up."""
        try:
            return self._create(name, size)
        except OSError as error:
            if error.errno not in FULL or not self._names:
                raise
        self._doomed += self._names
        self._names.clear()
        return self._create(name, size)

    def _create(self, name: str, size: int) -> File:
        try:
            return self._files.create(name, size)
        except OSError as error:
            if error.errno not in FULL or not self._doomed:
                raise
        while self.remove_one():
            pass
        return self._files.create(name, size)
