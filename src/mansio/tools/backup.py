"""Copies a data directory that may be in use: `mansio backup`.

    look ──► copy each segment up to the end that was found ──► is it still there? ──► seal, sync, verify, done
     ▲                                                              │ trimmed meanwhile
     └──────────────────────────────────────────────────────────────┘ what is copied already is kept

What lies before the end that was found never changes while its file keeps its name, and everything that was confirmed
before the look lies before it. A file is renamed before it is written to again, so a file that still has its name, and
the header that it had, was copied as it was. Files are never linked: the broker writes to them again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, TextIO

from mansio.log.base import LogError
from mansio.log.segments.layout import FRAME_BYTES, HEADER_BYTES, SEAL, Frame
from mansio.log.segments.segment import Segment
from mansio.tools.info import size_text
from mansio.tools.pieces import Moved, Piece, check_in_place, open_piece
from mansio.tools.progress import Progress
from mansio.tools.survey import TRIES_MAX, Survey, survey
from mansio.tools.target import Target, copy_permissions
from mansio.tools.verify import check

BLOCK_BYTES: Final = 1 << 20


class BackupError(LogError):
    """There is no backup, and why."""


def backup(source: Path, target_path: Path, out: TextIO = sys.stdout) -> int:
    """Copy the data directory `source` to a new one, and verify it. Answers the exit code, 0.

    Errors: LogError, OSError; then there is no target, or it is as empty as before.
    """
    seen = _look(source)
    with Target(target_path, source) as target:
        copy = _Copy(source, target)
        for _ in range(TRIES_MAX):
            try:
                copy.take(seen)
                break
            except Moved:
                seen = _look(source)
        else:
            raise Moved(f"{source} changes all the time")
        copy.seal()
        found = check(target_path, made=False)
        if found.gaps:
            raise _damaged(source, f"{found.gaps[0]}")
        target.finish()
    print(
        f"backup of {source} in {target_path}: {found.entries} entries in {len(copy.segments)} segments,"
        f" {size_text(found.bytes)}, verified",
        file=out,
    )
    return 0


def _look(source: Path) -> Survey:
    seen = survey(source)
    if seen.found is None:
        raise _damaged(source, f"{seen.damage}")
    return seen


def _damaged(source: Path, what: str) -> BackupError:
    return BackupError(
        f"no backup, since the log is damaged: {what}. Look at it with `mansio log verify {source}`, and save the rest"
        f" with `mansio log salvage {source} NEW`"
    )


class _Copy:
    """`segments`: what is copied, oldest first."""

    def __init__(self, source: Path, target: Target) -> None:
        self.segments: list[Segment] = []
        self._log = source / "log"
        self._target = target
        self._ends: dict[str, int] = {}  # bytes that are copied, by name
        self._progress = Progress("copying")

    def take(self, seen: Survey) -> None:
        """Copy what was found and is not copied yet. Errors: Moved, when it is gone; OSError."""
        assert seen.found is not None
        files = self._target.files
        chain = seen.found.chain
        self._progress.total = sum(segment.end for segment in chain)
        for name in self._ends.keys() - {segment.name for segment in chain}:
            files.unlink(name)
            del self._ends[name]
        for segment, piece in zip(chain, seen.pieces, strict=True):
            if self._ends.get(segment.name, 0) < segment.end:
                self._copy(seen, segment, piece)
        self.segments = chain

    def seal(self) -> None:
        """Say behind the last entry that it is whole, so that damage of it is noticed; make all durable."""
        tip = self.segments[-1]
        file = self._target.files.open(tip.name)
        try:
            if tip.end + FRAME_BYTES <= tip.header.capacity:
                frame = Frame(SEAL, 0, tip.header.stamp, tip.last_seq, tip.last_seq, 0)
                file.pwritev([frame.encode()], tip.end, False)
            file.sync()
        finally:
            file.close()
        self._target.files.sync_dir()

    def _copy(self, seen: Survey, segment: Segment, piece: Piece) -> None:
        files, name = self._target.files, segment.name
        offset = self._ends.get(name, 0)
        source = open_piece(seen.files, piece)
        target = files.open(name) if offset else files.create(name, segment.header.capacity)
        try:
            if not offset:
                copy_permissions(self._log / name, self._target.path / "log" / name)
                # The header anew, since one of its two copies may be damaged.
                target.pwritev([segment.header.encode()], 0, False)
                offset = HEADER_BYTES
            while offset < segment.end:
                data = source.pread(min(BLOCK_BYTES, segment.end - offset), offset)
                if not data:
                    raise BackupError(f"{name} is shorter than it was")
                target.pwritev([data], offset, False)
                offset += len(data)
                self._progress.add(len(data))
            target.sync()
            check_in_place(seen.files, piece)
            self._ends[name] = segment.end
        except FileNotFoundError:
            raise Moved(f"{name} is gone") from None
        finally:
            source.close()
            target.close()
            if name not in self._ends:
                os.unlink(self._target.path / "log" / name)
