"""The way from the clients, in one process, to the oracle, in another: events as tuples, in blocks.

An event is `(name, arguments …)`: a method of the oracle. A block is a marshalled list of them. The oracle's process
keeps all blocks in a file, each behind its length (u32), from which a run can be judged again.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BLOCK_EVENTS = 200
_LENGTH = struct.Struct(">I")

Event = tuple[Any, ...]


class Journal:
    """Takes events and passes them on in blocks."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._events: list[Event] = []

    def __call__(self, *event: Any) -> None:
        """Takes note of an event."""
        self._events.append(event)
        if len(self._events) >= BLOCK_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Passes on what there is."""
        if self._events:
            self._write(marshal.dumps(self._events))
            self._events = []


def read_block(block: bytes) -> list[Event]:
    """The events of a block."""
    events: list[Event] = marshal.loads(block)
    return events


def write_file(file: Any, block: bytes) -> None:
    """Keeps a block."""
    file.write(_LENGTH.pack(len(block)) + block)


def read_file(path: Path) -> Iterator[Event]:
    """All events of a file."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield from read_block(file.read(_LENGTH.unpack(head)[0]))
