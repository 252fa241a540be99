"""What is in a data directory: `mansio log info`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from mansio.core import records
from mansio.core.group import SOURCE, Group
from mansio.core.queue import Queue
from mansio.log.directory import DataDirectory
from mansio.log.segments.layout import VERSION, parse_name
from mansio.tools.pieces import Gap, Moved
from mansio.tools.progress import Progress
from mansio.tools.reading import read_log
from mansio.tools.survey import TRIES_MAX, Survey, survey
from mansio.tools.tally import Tally

LABEL_WIDTH = 12


class Facts:
    """What reading a log has shown. `damage`: the first thing that is wrong with it."""

    def __init__(self, seen: Survey) -> None:
        """Reads it all. Errors: Moved, OSError."""
        self.tally = Tally()
        self.entries = 0
        self.bytes = 0
        self.first_seq, self.last_seq = 0, 0
        self.epoch, self.starts = 0, 0
        self.damage = str(seen.damage) if seen.damage else ""
        for gap in seen.gaps:
            self.damage = self.damage or str(gap)
        progress = Progress("reading", sum(piece.end for piece in seen.pieces))
        for item in read_log(seen):
            if isinstance(item, Gap):
                self.damage = self.damage or str(item)
                continue
            progress.add(item.size)
            self.entries += 1
            self.bytes += item.size
            self.first_seq = self.first_seq or item.seq
            self.last_seq = item.seq
            self.epoch = max(self.epoch, item.entry.epoch)
            self.starts += item.entry.fence
            if item.stale:
                continue
            try:
                for record in item.entry.records:
                    self.tally.take(record)
            except records.Damaged as error:
                self.damage = self.damage or f"entry {item.seq}: {error}"


def info(path: Path, out: TextIO = sys.stdout) -> int:
    """Print what is in a data directory, in use or not. Answers the exit code: 1 if it is damaged.

    Errors: LogError, OSError.
    """
    for _ in range(TRIES_MAX):
        seen = survey(path)
        try:
            facts = Facts(seen)
        except Moved:
            continue
        _print(path, seen, facts, out)
        return 1 if facts.damage else 0
    raise Moved(f"{path} changes all the time")


def _print(path: Path, seen: Survey, facts: Facts, out: TextIO) -> None:
    used, pid = DataDirectory(path).holder()
    sizes = seen.files.sizes()
    named = [name for name in sizes if parse_name(name)]
    spares = [name for name in named if name.startswith("spare-")]
    taken = sum(sizes.get(name, 0) for name in named)

    def line(label: str, text: str) -> None:
        print(f"{label:<{LABEL_WIDTH}} {text}", file=out)

    line("directory", str(path))
    line("format", str(VERSION))
    line("in use", "no" if not used else "yes" if pid is None else f"yes, by process {pid}")
    line("files", f"{len(seen.pieces)} segments, {len(spares)} spares, {size_text(taken)}")
    line("entries", f"{facts.entries}, seq {facts.first_seq} to {facts.last_seq}")
    line("bytes", f"{facts.bytes} in entries ({size_text(facts.bytes)})")
    line("epoch", f"{facts.epoch}, {facts.starts} starts of a broker in the log")
    if used:
        stop = "a broker is running"
    else:
        stop = "in order" if facts.tally.clean else "not in order: killed, a crash, or a copy"
    line("last stop", stop)
    if seen.found and seen.found.cut and not used:
        name, offset, size = seen.found.cut
        line("torn end", f"{size} bytes from byte {offset} of {name}, which nobody was told of")
    line("damage", facts.damage or "none")
    counts = facts.tally.counts()
    queues = {
        (host.name, name): queue
        for host in facts.tally.broker.vhosts.values()
        for name, queue in host.queues.items()
    }
    own = [count for key, count in counts.items() if not queues[key].fed]
    live = sum(count.live for count in own)
    settled = sum(count.settled for count in own)
    line("messages", f"{live} live, {settled} settled, in {len(own)} queues")
    for vhost, count in sorted(facts.tally.delayed().items()):
        line("delayed", f"{count} live, in vhost {vhost}")
    if counts:
        print(f"\n{'live':>12} {'settled':>12}  queue", file=out)
    for (vhost, name), each in sorted(counts.items()):
        kind = _kind(queues[vhost, name])
        print(f"{each.live:>12} {each.settled:>12}  {vhost} {name}{kind}", file=out)


def _kind(queue: Queue) -> str:
    """What a queue is that is more than one."""
    if isinstance(queue, Group):
        return f" (group of {queue.arguments[SOURCE]})"
    return " (stream)" if queue.keeps else ""


def size_text(size: int) -> str:
    """Bytes for people: 0 B, 512 KiB, 1.5 GiB."""
    if size < 1024:
        return f"{size} B"
    value, units = size / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.{0 if value >= 100 else 1}f} {units[0]}"
