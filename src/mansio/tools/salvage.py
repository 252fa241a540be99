"""Copies what can be read of a damaged log into a new one: `mansio log salvage`.

    pass 1   gaps, topology (patchwork.py)
    pass 2   STARTED, SNAPSHOT │ publishes and settlements of the 1st entry │ … of the 2nd │ …

Turns stay whole, and get new seqs. Nothing is said of what had been delivered, so that everything which comes back is
marked as redelivered: among it may be what was settled in a gap.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from mansio import __version__
from mansio.core import records
from mansio.core.item_records import ITEMS
from mansio.core.records import COUNTED, PUBLISH, SETTLE, STARTED
from mansio.log.base import LogError
from mansio.log.directory import DataDirectory, LockedError
from mansio.log.entry import Record, encode_entry
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.store import SegmentStore
from mansio.tools.patchwork import Patchwork
from mansio.tools.pieces import Gap
from mansio.tools.progress import Progress
from mansio.tools.reading import Found, read_log
from mansio.tools.survey import Survey, survey
from mansio.tools.target import Target
from mansio.tools.verify import check

EPOCH: Final = 1


class SalvageError(LogError):
    """The copy cannot be used, and why."""


class Salvage:
    """What was found in the log. `topology`: the record that says all of it."""

    def __init__(self, seen: Survey) -> None:
        """Reads it all. Errors: Moved, OSError."""
        self.gaps = list(seen.gaps)
        self.entries = 0
        self._seen = seen
        patchwork = Patchwork()
        progress = Progress("reading", sum(piece.end for piece in seen.pieces))
        for item in read_log(seen):
            if isinstance(item, Gap):
                self.gaps.append(item)
                continue
            progress.add(item.size)
            self.entries += 1
            for record in [] if item.stale else item.entry.records:
                try:
                    patchwork.take(records.decode(record))
                except records.Damaged as error:
                    self.gaps.append(_senseless(item, error))
        self.topology = records.encode_topology(patchwork.snapshot())
        self.notes = patchwork.notes

    def write(self, store: SegmentStore) -> None:
        """Write a new log. Errors: LogError, OSError."""
        seq = store.open(EPOCH, nonce := secrets.randbits(64))
        started = {"do": STARTED, "version": __version__, "new": False}
        first: list[Record] = [records.encode_topology(started), self.topology]
        seq = store.append(encode_entry(EPOCH, nonce, seq, first))
        for kept in self._kept():
            seq = store.append(encode_entry(EPOCH, nonce, seq, kept))
        store.sync()

    def _kept(self) -> Iterator[list[Record]]:
        progress = Progress("writing", sum(piece.end for piece in self._seen.pieces))
        for item in read_log(self._seen):
            if isinstance(item, Gap) or item.stale:
                continue
            progress.add(item.size)
            kept: list[Record] = [each for each in item.entry.records if _is_kept(each)]
            if kept:
                yield kept


def salvage(source: Path, target_path: Path, out: TextIO = sys.stdout) -> int:
    """Copy what can be read into a new data directory, and print what cannot. Answers the exit code, 0.

    Errors: LockedError if a broker uses the source; LogError, OSError. Then there is no target.
    """
    used, pid = DataDirectory(source).holder()
    if used:
        raise LockedError(source, pid)
    seen = survey(source)
    with Target(target_path, source) as target:
        found = Salvage(seen)
        settings = StoreSettings(
            segment_bytes=_segment_bytes(seen), sync="never", disk_free_min_bytes=0
        )
        store = SegmentStore(target.files, settings, lambda: secrets.randbits(64))
        try:
            found.write(store)
        finally:
            store.close()
        written = check(target_path, made=False)
        if written.gaps:
            raise SalvageError(f"the copy cannot be read: {written.gaps[0]}")
        target.finish()
    _print(found, source, target_path, out)
    return 0


def _print(found: Salvage, source: Path, target: Path, out: TextIO) -> None:
    for gap in found.gaps:
        print(f"skipped: {gap}", file=out)
    for note in found.notes:
        print(f"changed: {note}", file=out)
    lost, size = sum(gap.entries for gap in found.gaps), sum(gap.size for gap in found.gaps)
    print(f"{found.entries} entries of {source} are in {target}", file=out)
    if lost or size:
        print(
            f"Skipped: {size} bytes with {lost} of the entries. The messages in them are lost, and so are the"
            " settlements in them: messages that were settled may come back, marked as redelivered.",
            file=out,
        )
    else:
        print("Nothing was skipped.", file=out)
    print(f"Start a broker on it with `mansio serve --data-dir {target}`.", file=out)


def _segment_bytes(seen: Survey) -> int:
    """As in the source, where only single large entries have larger segments."""
    sizes = [piece.header.capacity for piece in seen.pieces if piece.header]
    return min(sizes, default=StoreSettings().segment_bytes)


def _is_kept(record: bytes) -> bool:
    """Publishes, settlements and items that make sense, and what consumers gave back; the topology is written as a
    whole."""
    if record[0] not in (PUBLISH, SETTLE, COUNTED, ITEMS):
        return False
    try:
        records.decode(record)
    except records.Damaged:
        return False
    return True


def _senseless(item: Found, error: records.Damaged) -> Gap:
    what = f"a record of entry {item.seq} means nothing: {error}"
    return Gap(item.name, item.offset, 0, 1, 0, what)
