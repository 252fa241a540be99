"""SQLite as the store of an embedded log, to be measured beside the segments: one row for each entry.

It does what SegmentStore does for a single owner, behind the same process and the same protocol. WAL,
synchronous=FULL: a commit is durable when it returns. Not for use: see docs/ARCHITECTURE.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mansio.log import child
from mansio.log.base import Bounds, Missing, Space
from mansio.log.entry import Bytes, Lineage, encode_fence
from mansio.log.process import StoreProcess
from mansio.log.segments.settings import StoreSettings


class SqliteStore:
    """A log in one table."""

    low = False
    room_bytes = 1 << 40
    unsynced = False
    cut = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lineage = Lineage()
        db = self._db = sqlite3.connect(path / "log.sqlite", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, entry BLOB)")

    def open(self, epoch: int, nonce: int) -> int:
        """As Log.open."""
        fence = encode_fence(epoch, nonce, self._lineage.last_seq)
        return self.append_parts(len(fence), fence, ())

    def append_parts(self, size: int, first: Bytes, rest: Iterable[Bytes]) -> int:
        """As SegmentStore.append_parts."""
        entry = first if len(first) == size else b"".join([first, *map(bytes, rest)])
        seq = self._lineage.last_seq + 1
        self._db.execute("INSERT INTO log VALUES (?, ?)", (seq, entry))
        self._lineage.admit(seq, bytes(entry[:40]))
        return seq

    def read(self, seq: int, offset: int, length: int) -> bytes:
        """As Log.read."""
        row = self._db.execute("SELECT entry FROM log WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise Missing(f"there is no seq {seq}")
        entry: bytes = row[0]
        return entry[offset : offset + length]

    def trim(self, epoch: int, upto_seq: int) -> None:
        """As Log.trim."""
        self._db.execute("DELETE FROM log WHERE seq <= ?", (upto_seq,))

    def bounds(self) -> Bounds:
        """As Log.bounds."""
        first = self._db.execute("SELECT min(seq) FROM log").fetchone()[0]
        return Bounds(first or self._lineage.last_seq + 1, self._lineage.last_seq, 1)

    def space(self) -> Space:
        """As Log.space."""
        used = sum(file.stat().st_size for file in self._path.iterdir())
        return Space(False, 0, used, 1)

    def tend(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class SqliteProcess(StoreProcess):
    """StoreProcess with a SqliteStore."""

    program = (
        f"import sys; sys.path[:0] = [sys.argv[1], {str(Path(__file__).parent.parent)!r}]; "
        "from bench.sqlite_store import main; main(sys.argv[2])"
    )


def main(argument: str) -> None:
    """As child.main."""
    given: dict[str, Any] = json.loads(argument)
    settings = StoreSettings(**given["settings"])
    store: Any = SqliteStore  # it has what the server calls
    child.serve(given["socket"], settings, lambda: store(Path(given["path"])))
