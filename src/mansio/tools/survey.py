"""What there is to read in a data directory, judged as a broker's start would judge it. Changes nothing.

    DIR ──► recover() ──► it ends here ──────► pieces, each with its exact end      (a broker starts)
                     └──► Damaged ──► rubble ► pieces, as good as they can be guessed (it does not)

A directory in use is read safely: what lies before the end that was found does not change any more, and a segment
that is trimmed while it is read is noticed (`Moved`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mansio.log.base import Damaged
from mansio.log.directory import DataDirectory, DirectoryError
from mansio.log.segments.files import DiskFiles
from mansio.log.segments.layout import parse_name
from mansio.log.segments.recovery import Recovered, recover
from mansio.tools.pieces import Gap, Moved, Piece, file_faults
from mansio.tools.rubble import rubble

TRIES_MAX: Final = 100
"""Looks at a log that grows and is trimmed meanwhile, before giving up."""


@dataclass(slots=True)
class Survey:
    """`found`: what a broker's start finds, None if it would not start because of `damage`.

    `pieces`: in the order of the log. `gaps`: what is known to be amiss before any entry is read. `synced`: entries up
    to this one were durable once. `floor`: the first entry that is kept.
    """

    files: DiskFiles
    found: Recovered | None = None
    damage: Damaged | None = None
    pieces: list[Piece] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    synced: int = 0
    floor: int = 0


def survey(path: Path, made: bool | None = None) -> Survey:
    """Look at a data directory, in use or not. `made`: was a log made in it? None: FORMAT tells.

    Errors: DirectoryError if it is none, or has no log; NewerFormat; Moved if it changes all the time; OSError.
    """
    directory = DataDirectory(path)
    seen = Survey(DiskFiles(directory.segments))
    if not directory.segments.is_dir():
        raise DirectoryError(f"{path} is not a data directory: it has no folder `log`")
    try:
        if made is None:
            made = directory.check_format()
    except DirectoryError as error:
        made = True
        seen.gaps.append(Gap("FORMAT", 0, 0, 1, 0, str(error)))
    if not made and not any(map(parse_name, seen.files.sizes())):
        raise DirectoryError(f"there is no log in {path}")
    for _ in range(TRIES_MAX):
        try:
            _look(seen, directory, fresh=not made)
            return seen
        except (FileNotFoundError, Moved):
            continue
    raise Moved(f"{path} changes all the time")


def _look(seen: Survey, directory: DataDirectory, fresh: bool) -> None:
    found = _recover(seen, directory, fresh)
    if isinstance(found, Damaged):
        left = rubble(seen.files)
        pieces, gaps = left.pieces, left.gaps
        seen.damage, seen.synced, seen.floor = found, left.synced, left.floor
    else:
        gaps = []
        pieces = [
            Piece(each.name, head, head.stamp, head.prev_seq, each.end, each.last_seq, exact=True)
            for each in found.chain for head in (each.header,)
        ]  # fmt: skip
        seen.found, seen.synced, seen.floor = found, found.synced, found.floor
    for piece in pieces:
        gaps += file_faults(seen.files, piece)
    seen.pieces = pieces
    seen.gaps += gaps


def _recover(seen: Survey, directory: DataDirectory, fresh: bool) -> Recovered | Damaged:
    """As recovery.recover. While a broker writes, its last write may look like damage: damage is what looks the same
    once more."""
    before: Damaged | None = None
    for _ in range(TRIES_MAX):
        try:
            return recover(seen.files, fresh)
        except Damaged as error:
            if (before and before.args == error.args) or not directory.holder()[0]:
                return error
            before = error
    raise Moved(f"{directory.path} changes all the time")
