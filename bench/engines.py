"""Compares stores of the embedded log: commits, latency, CPU, and space given back.

    .venv/bin/python -m bench.engines [--dir DIR] [--seconds S]

Both stores run in a process of their own behind the same socket, as in the broker. One entry is under way at a
time, as in the broker. CPU is that of both processes together. "raw" is one durable write of the same bytes in
this process, without a log: the floor.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import procfs
from mansio.log.embedded import EmbeddedLog, Engine
from mansio.log.entry import encode_entry
from mansio.log.process import StoreProcess
from mansio.log.segments.settings import StoreSettings

BODY_BYTES = 256
GROUPS = (1, 100, 1000)
TRIM_BYTES = 400 << 20
KEPT_BYTES = 40 << 20
"""What a log holds while messages come and go: it is trimmed behind that."""


@dataclass(frozen=True, slots=True)
class Commits:
    """`group`: messages in an entry. Times in µs."""

    group: int
    commits_s: float
    p50_us: float
    p99_us: float
    cpu_us: float

    def row(self, name: str) -> str:
        """One line of the table."""
        return (
            f"{name:18} {self.group:6} {self.commits_s:10.0f} {self.commits_s * self.group:12.0f} "
            f"{self.p50_us:8.0f} {self.p99_us:8.0f} {self.cpu_us:8.2f}"
        )


class SqliteEngine(Engine):
    """An Engine with SQLite behind it."""

    def __init__(self, path: Path) -> None:
        from bench.sqlite_store import SqliteProcess

        super().__init__(path)
        self.process: StoreProcess = SqliteProcess(self.directory.segments, StoreSettings())


async def commits(
    log: EmbeddedLog, seq: int, group: int, seconds: float, kept_bytes: int
) -> tuple[int, Commits]:
    """Append for some seconds, and trim what is further back than kept_bytes."""
    pids = procfs.tree(os.getpid())
    records = [os.urandom(BODY_BYTES) for _ in range(group)]
    times: list[int] = []
    kept = kept_bytes // (group * (BODY_BYTES + 4) + 100)
    cpu_s = procfs.cpu_s(pids)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if len(times) % (kept // 4) == kept // 4 - 1:
            await log.trim(seq - kept)
        entry = encode_entry(1, 7, seq, records)
        start_ns = time.perf_counter_ns()
        seq = await log.append(entry, seq)
        times.append(time.perf_counter_ns() - start_ns)
    took = time.perf_counter() - began
    cpu_s = procfs.cpu_s(pids) - cpu_s
    count = len(times)
    p50, p99 = percentiles(times)
    return seq, Commits(group, count / took, p50, p99, cpu_s * 1e6 / count / group)


async def measure(name: str, log: EmbeddedLog, seconds: float) -> None:
    """Every line of one engine."""
    await log.start()
    seq = await log.open(1, 7)
    for group in GROUPS:
        seq, _ = await commits(log, seq, group, seconds / 4, KEPT_BYTES)
        seq, result = await commits(log, seq, group, seconds, KEPT_BYTES)
        print(result.row(name))
    seq, result = await commits(log, seq, GROUPS[-1], seconds, 1 << 40)
    print(result.row(f"{name}, growing"))
    await log.trim(seq)
    records = [os.urandom(BODY_BYTES) for _ in range(1000)]
    entry = b""
    for _ in range(TRIM_BYTES // (1000 * BODY_BYTES)):
        entry = encode_entry(1, 7, seq, records)
        seq = await log.append(entry, seq)
    before = (await log.space()).used_bytes
    began = time.perf_counter()
    await log.trim(seq)
    took = time.perf_counter() - began
    after = (await log.space()).used_bytes
    while after != (after := (await log.space()).used_bytes):  # files are removed one at a time
        pass
    print(f"{name:18} trim: {before >> 20} MiB in {took * 1e3:.1f} ms, {after >> 20} MiB are left")
    await log.close()


def raw(path: Path, seconds: float) -> None:
    """Durable writes into a file that was written before."""
    for group in GROUPS:
        data = encode_entry(1, 7, 1, [os.urandom(BODY_BYTES)] * group)
        for name in ("pwritev RWF_DSYNC", "pwrite + fdatasync"):
            fd = os.open(path / "raw", os.O_RDWR | os.O_CREAT)
            for at in range(64):
                os.pwrite(fd, bytes(1 << 20), at << 20)
            os.fsync(fd)
            times: list[int] = []
            offset = 0
            began = time.perf_counter()
            while time.perf_counter() - began < seconds / 4:
                start_ns = time.perf_counter_ns()
                if "DSYNC" in name:
                    os.pwritev(fd, [data], offset, os.RWF_DSYNC)
                else:
                    os.pwrite(fd, data, offset)
                    os.fdatasync(fd)
                times.append(time.perf_counter_ns() - start_ns)
                offset = (offset + len(data)) % (63 << 20)
            os.close(fd)
            p50, p99 = percentiles(times)
            print(f"raw {len(data):8} bytes, {name:19} p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    (path / "raw").unlink()


def percentiles(times_ns: list[int]) -> tuple[float, float]:
    """(p50, p99) in µs."""
    times_ns.sort()
    return times_ns[len(times_ns) // 2] / 1e3, times_ns[int(len(times_ns) * 0.99)] / 1e3


async def run(base: Path, seconds: float) -> None:
    """Measure both engines."""
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    raw(base, seconds)
    print("engine             msgs/e  commits/s   messages/s   p50 µs   p99 µs  CPU µs/message")
    await measure("segments", EmbeddedLog(base / "segments"), seconds)
    engine = SqliteEngine(base / "sqlite")
    await measure("sqlite", EmbeddedLog(base / "sqlite", engine=engine), seconds)
    await engine.close()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to be measured")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="mansio-engines-", dir=args.dir))
    try:
        uvloop.run(run(base, args.seconds))
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
