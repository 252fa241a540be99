"""Files that wait to become segments: the reserve for a full disk, and the fast way to a new segment.

A file whose blocks were written before takes a durable write in less time than a new one.
"""

from __future__ import annotations

from typing import Final

from mansio.log.segments.files import File, Files
from mansio.log.segments.layout import segment_name, spare_name

SPARES_MAX: Final = 2
"""Beside the segment that is written to, so that a drained log keeps three files."""
SPARES_MIN: Final = 1
"""Made anew when there are fewer: room for what is under way when the disk is full."""


class Spares:
    """Numbers are never used twice, for segments and spares alike."""

    __slots__ = ("_files", "_names", "_number", "segment_bytes")

    def __init__(self, files: Files, names: list[str], number_max: int, segment_bytes: int) -> None:
        self.segment_bytes = segment_bytes
        self._files = files
        self._number = number_max
        self._names: list[str] = []
        sizes = files.sizes()
        for name in names:
            if sizes[name] == segment_bytes and len(self._names) < SPARES_MAX:
                self._names.append(name)
            else:
                files.unlink(name)

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
            return self._files.create(name, capacity)
        spare = self._names.pop()
        self._files.rename(spare, name)
        return self._files.open(name)

    def make(self) -> None:
        """Add a new file. Errors: OSError."""
        name = spare_name(self.take_number())
        self._files.create(name, self.segment_bytes).close()
        self._names.insert(0, name)

    def retire(self, name: str, size: int) -> None:
        """Keep a file that is no segment any more for later, or remove it. Errors: OSError."""
        if size == self.segment_bytes and len(self._names) < SPARES_MAX:
            spare = spare_name(self.take_number())
            self._files.rename(name, spare)
            self._names.append(spare)
        else:
            self._files.unlink(name)
