"""What one durable write costs on the disk that the brokers write to, without any broker.

A record of 4 KiB is appended and synced, again and again, in three ways; the numbers stand beside
the brokers' confirm latencies of the same run.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.load import Result

RECORD_BYTES = 4096
FILE_BYTES = 64 << 20  # begins again from its start when it is full
RECORD = b"\xa5" * RECORD_BYTES
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}


def forget(path: Path) -> None:
    """Write everything out, and drop what the page cache holds of the files below `path`."""
    settle()
    for file in [each for each in path.rglob("*") if each.is_file()]:
        fd = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


Write = Callable[[int, int], None]  # file descriptor, offset


def folder() -> Path:
    """Where brokers keep their data: TMPDIR, or /var/tmp, which unlike /tmp is no memory disk."""
    return Path(os.environ.get("TMPDIR", "/var/tmp"))


def _mounts() -> list[tuple[str, str, str]]:
    """Mount point, kind of filesystem and device of every mount (proc(5), mountinfo)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, device = after.split()[:2]
        found.append((before.split()[4], kind, device))
    return found


def text() -> str:
    """The filesystem and device behind folder(), as 'ext4 on /dev/vda'."""
    path = folder().resolve()
    parents = {str(path), *map(str, path.parents)}
    point, kind, device = max(
        (mount for mount in _mounts() if mount[0] in parents), key=lambda mount: len(mount[0])
    )
    return f"{kind} on {device}" + (f" ({point})" if point != "/" else "")


def _write_and_fdatasync(fd: int, offset: int) -> None:
    os.pwrite(fd, RECORD, offset)
    os.fdatasync(fd)


def _write_dsync(fd: int, offset: int) -> None:
    os.pwritev(fd, [RECORD], offset, os.RWF_DSYNC)


def _nothing(fd: int) -> None:
    """The file grows with every record."""


def _allocate(fd: int) -> None:
    """The file has its length and blocks, which were never written."""
    os.posix_fallocate(fd, 0, FILE_BYTES)


def _fill(fd: int) -> None:
    """Every block of the file was written before."""
    chunk = bytes(1 << 20)
    for offset in range(0, FILE_BYTES, len(chunk)):
        os.pwrite(fd, chunk, offset)
    os.fsync(fd)


WAYS: dict[str, tuple[str, Callable[[int], None], Write]] = {
    "disk-grow": ("growing file, pwrite and fdatasync", _nothing, _write_and_fdatasync),
    "disk-allocated": ("preallocated file, pwrite and fdatasync", _allocate, _write_and_fdatasync),
    "disk-rewritten": ("file written before, pwritev2 with RWF_DSYNC", _fill, _write_dsync),
}


def probe(way: str, seconds: float) -> Result:
    """Append for so long; answers what a load generator would, latencies in µs. Errors: OSError."""
    _, prepare, write = WAYS[way]
    spans: list[int] = []
    with tempfile.TemporaryFile(dir=folder(), buffering=0) as file:
        fd = file.fileno()
        prepare(fd)
        begin = last = time.perf_counter_ns()
        while last - begin < seconds * 1e9:
            offset = len(spans) * RECORD_BYTES % FILE_BYTES
            write(fd, offset)
            now = time.perf_counter_ns()
            spans.append(now - last)
            last = now
    return _result(spans, (last - begin) / 1e9)


def _result(spans: list[int], wall_s: float) -> Result:
    ranked = sorted(spans)
    at = {name: ranked[int(share * (len(ranked) - 1))] / 1e3 for name, share in QUANTILES.items()}
    return {
        "ok": True, "stalled": False, "cons": 0, "wall_s": wall_s, "published": len(spans),
        "pub_per_s": len(spans) / wall_s, "confirm_us": at, "broker_cpu_us_per_msg": 0.0, "broker_cpu_s": 0.0,
        "self_cpu_us_per_msg": 0.0, "broker_rss_mib": 0.0, "other_cpu_s": 0.0, "steal_s": 0.0,
    }  # fmt: skip


def settle() -> None:
    """Write out what others left in the page cache: it would weigh on the next one's syncs."""
    os.sync()
