"""Checks every byte of a log that means something: `mansio log verify`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from mansio.core import records
from mansio.tools.info import size_text
from mansio.tools.pieces import Gap, Moved
from mansio.tools.progress import Progress
from mansio.tools.reading import read_log
from mansio.tools.survey import TRIES_MAX, Survey, survey
from mansio.tools.tally import Tally


@dataclass(slots=True)
class Findings:
    """`gaps`: what is damaged. `starts`: would a broker start on it?"""

    seen: Survey
    gaps: list[Gap] = field(default_factory=list)
    starts: bool = True
    entries: int = 0
    bytes: int = 0


def check(path: Path, made: bool | None = None) -> Findings:
    """Read and check everything, as a broker's start would and more. `made` as in survey.

    Errors: LogError, OSError.
    """
    for _ in range(TRIES_MAX):
        try:
            return _check(survey(path, made))
        except Moved:
            continue
    raise Moved(f"{path} changes all the time")


def verify(path: Path, out: TextIO = sys.stdout) -> int:
    """Check a data directory, in use or not, and print what was found. Answers the exit code: 1 for damage.

    Errors: LogError, OSError.
    """
    found = check(path)
    cut = found.seen.found.cut if found.seen.found else None
    if cut is not None and cut.size:
        print(
            f"torn end: {cut.size} bytes from byte {cut.offset} of {cut.name} are an entry that was being written;"
            " nobody was told of it, and a start cuts it off",
            file=out,
        )
    for gap in found.gaps:
        print(f"damage: {gap}", file=out)
    read = f"{found.entries} entries in {len(found.seen.pieces)} segments, {size_text(found.bytes)}"
    if not found.gaps:
        print(f"no damage: {read}", file=out)
        return 0
    lost = sum(gap.entries for gap in found.gaps)
    print(f"whole: {read}; lost entries: {lost}", file=out)
    if found.starts:
        print("A broker starts on it nevertheless.", file=out)
    else:
        print(
            "A broker does not start on it. Restore a backup, or save the rest with"
            f" `mansio log salvage {path} NEW`.",
            file=out,
        )
    return 1


def _check(seen: Survey) -> Findings:
    found = Findings(seen, list(seen.gaps), starts=seen.damage is None)
    found.starts = found.starts and not any(gap.name == "FORMAT" for gap in seen.gaps)
    tally = Tally()
    readable = True  # do the records make sense together?
    progress = Progress("checking", sum(piece.end for piece in seen.pieces))
    for item in read_log(seen):
        if isinstance(item, Gap):
            found.gaps.append(item)
            found.starts = readable = False
            continue
        progress.add(item.size)
        found.entries += 1
        found.bytes += item.size
        if item.stale:
            continue
        try:
            for record in item.entry.records:
                if readable:
                    tally.take(record)
                else:
                    records.decode(record)
        except records.Damaged as error:
            what = f"entry {item.seq} passes its check, but means nothing: {error}"
            found.gaps.append(Gap(item.name, item.offset, item.size, 1, 0, what))
            found.starts = False
    damage = seen.damage
    if damage is not None and not any(
        gap.name in damage.place and gap.offset <= damage.offset <= gap.offset + gap.size
        for gap in found.gaps
    ):
        found.gaps.append(Gap(damage.place, damage.offset, 0, 1, 0, damage.what))
    return found
