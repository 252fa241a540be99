"""How many durable writes a broker asks the kernel for, counted by perf.

perf counts the system calls fsync, fdatasync, msync, sync and syncfs, and of pwritev2 those with
RWF_DSYNC or RWF_SYNC, of all threads of the broker's processes and of what these start. It only
counts in the kernel, so the broker runs at its usual speed. Not seen: files opened with O_DSYNC or
O_SYNC, and io_uring. Needs perf, and the right to use tracepoints (root, or perf_event_paranoid -1).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.load import LoadError, Result, result_of

CALLS = ("fsync", "fdatasync", "msync", "sync", "syncfs")
FLAGGED = "syscalls:sys_enter_pwritev2"
DURABLE_FLAGS = "flags & 6"  # RWF_DSYNC | RWF_SYNC


def perf_line(pids: Sequence[int], output: Path, line: Sequence[str]) -> list[str]:
    """The command that runs `line` and counts for `pids` meanwhile."""
    events = ",".join(f"syscalls:sys_enter_{name}" for name in CALLS)
    return [
        *("perf", "stat", "-x", ",", "-o", str(output), "-p", ",".join(map(str, pids))),
        *("-e", events, "-e", FLAGGED, "--filter", DURABLE_FLAGS, "--", *line),
    ]


def total(text: str) -> int:
    """The sum of all events in perf's output with commas. Errors: ValueError without any."""
    rows = [line.split(",") for line in text.splitlines() if ",syscalls:" in line]
    if not rows:
        raise ValueError("perf counted nothing")
    return sum(int(row[0]) for row in rows)


def maybe_reason() -> str | None:
    """Why durable writes cannot be counted here; None if they can."""
    if shutil.which("perf") is None:
        return "perf is not installed"
    with tempfile.TemporaryDirectory(prefix="bench-perf-") as folder:
        line = perf_line([1], Path(folder, "counts"), ["true"])
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    return "perf may not count system calls here" if done.returncode else None


def per_million(pids: Sequence[int], line: Sequence[str]) -> tuple[float, Result]:
    """Durable writes per million published messages while a generator runs, and its result.

    Errors: LoadError.
    """
    with tempfile.TemporaryDirectory(prefix="bench-perf-") as folder:
        output = Path(folder, "counts")
        result = result_of(perf_line(pids, output, line))
        try:
            count = total(output.read_text())
        except (OSError, ValueError) as error:
            raise LoadError(f"durable writes cannot be counted: {error}") from None
    return count * 1e6 / max(1, int(result["published"])), result
