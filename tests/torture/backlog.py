"""A deep backlog: millions of persistent messages in one queue, a kill -9, a restart, and all of them out again.

python -m tests.torture.backlog                    10 million messages of 256 bytes (make backlog)
python -m tests.torture.backlog --count 200000     a short one, whose rates say little

Memory is that of the broker and its children together, sampled all the time. Rates of publishing are taken from the
queue's length, which is asked for several times a second.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import load, wire
from bench.procfs import rss_mib, tree
from tests.torture.broker import Broker
from tests.torture.disk_full import used_mib

COUNT = 10_000_000
SIZE_BYTES = 256
PREFIX = "backlog"
QUEUE = f"{PREFIX}.q.00000"
PUBLISHERS = 2
CONSUMERS = 2
SAMPLE_S = 0.1
DISK_S_MAX = 30.0
RSS_MIB_MAX = 400.0
END_SHARE_MIN = 0.8
RESTART_S_MAX = 25.0
DRAIN_PER_S_MIN = 300_000.0
DISK_MIB_MAX = 64.0


class Memory(threading.Thread):
    """Samples the resident memory of a broker and its children. `peak_mib`: the most since it was last reset."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self._broker = broker
        self._ended = threading.Event()

    def run(self) -> None:
        """Until `end`."""
        while not self._ended.wait(SAMPLE_S):
            if self._broker.running:
                self.peak_mib = max(self.peak_mib, rss_mib(tree(self._broker.pid)))

    def take_mib(self) -> float:
        """The peak since the last call."""
        peak, self.peak_mib = self.peak_mib, 0.0
        return peak

    def end(self) -> None:
        """No more samples."""
        self._ended.set()
        self.join()


class QueueLength:
    """Asks for the length of the queue, on a connection of its own."""

    def __init__(self, port: int) -> None:
        self._sock = wire.connect(port)
        self._ask = wire.method(1, 50, 10, b"\0\0" + wire.short(QUEUE) + b"\x01" + bytes(4))

    def __call__(self) -> int:
        """Messages that are ready."""
        self._sock.sendall(self._ask)
        class_id, method_id, arguments = wire.read_method(self._sock)
        if (class_id, method_id) != (50, 11):
            raise ConnectionError(f"method {class_id}.{method_id} instead of queue.declare-ok")
        ready: int = struct.unpack_from(">I", arguments, 1 + arguments[0])[0]
        return ready

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


def rate_between(samples: list[tuple[float, int]], low: float, high: float) -> float:
    """Messages a second while a count rose from `low` to `high`, taken from (seconds, count) samples; 0 if too few."""
    inside = [(when, count) for when, count in samples if low <= count <= high]
    if len(inside) < 2 or inside[-1][0] == inside[0][0]:
        return 0.0
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


@dataclass(slots=True)
class Figures:
    """What was measured; `faults`: what must not be, whatever the machine."""

    count: int
    publish_per_s: float = 0.0
    first_per_s: float = 0.0
    last_per_s: float = 0.0
    publish_rss_mib: float = 0.0
    full_mib: float = 0.0
    restart_s: float = 0.0
    restart_rss_mib: float = 0.0
    drain_per_s: float = 0.0
    drain_rss_mib: float = 0.0
    drained_mib: float = 0.0
    faults: list[str] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str, str, bool]]:
        """(what, figure, bound, whether it is kept)"""
        enough = self.first_per_s > 0 < self.last_per_s  # else it was too quick to be measured
        share = self.last_per_s / self.first_per_s if enough else 1.0
        rss = f"<= {RSS_MIB_MAX:.0f} MiB"
        return [
            ("publish", f"{self.publish_per_s:,.0f} msg/s", "", True),
            ("  first tenth", f"{self.first_per_s:,.0f} msg/s", "", True),
            (
                "  last tenth",
                f"{self.last_per_s:,.0f} msg/s, {share:.0%} of the first",
                f">= {END_SHARE_MIN:.0%}" if enough else "",
                share >= END_SHARE_MIN,
            ),
            _memory("  memory", self.publish_rss_mib, rss),
            ("  disk when full", f"{self.full_mib:,.0f} MiB", "", True),
            (
                "restart to serving",
                f"{self.restart_s:.1f} s",
                f"<= {RESTART_S_MAX:.0f} s",
                self.restart_s <= RESTART_S_MAX,
            ),
            _memory("  memory", self.restart_rss_mib, rss),
            (
                "drain",
                f"{self.drain_per_s:,.0f} msg/s",
                f">= {DRAIN_PER_S_MIN:,.0f}",
                self.drain_per_s >= DRAIN_PER_S_MIN,
            ),
            _memory("  memory", self.drain_rss_mib, rss),
            (
                "  disk afterwards",
                f"{self.drained_mib:.1f} MiB",
                f"< {DISK_MIB_MAX:.0f} MiB",
                self.drained_mib < DISK_MIB_MAX,
            ),
        ]


def _memory(name: str, mib: float, bound: str) -> tuple[str, str, str, bool]:
    return name, f"{mib:.0f} MiB at most", bound, mib <= RSS_MIB_MAX


class Backlog:
    """One run in a folder."""

    def __init__(self, folder: Path, count: int, options: tuple[str, ...] = ()) -> None:
        """`options`: for the broker, beside --data-dir and --port."""
        self._data = folder / "data"
        self.broker = Broker(self._data, folder / "broker.log", options)
        self.figures = Figures(count)
        self._memory = Memory(self.broker)

    def run(self) -> Figures:
        """All of it. Errors: StartFailed, load.LoadError."""
        load.build()
        self.broker.start()
        self._memory.start()
        try:
            self._publish()
            self._restart()
            self._drain()
        finally:
            self._memory.end()
            self.broker.kill(group=True)
        return self.figures

    def _publish(self) -> None:
        figures = self.figures
        samples: list[tuple[float, int]] = []
        length: list[QueueLength] = []

        def sample() -> None:
            if not length:
                length.append(QueueLength(self.broker.port))
            try:
                samples.append((time.monotonic(), length[0]()))
            except ConnectionError:  # the queue is not there yet
                length.pop().close()

        arguments = ("--publishers", PUBLISHERS, "--consumers", 0, "--persistent", "--durable")
        result = self._load(sample, *arguments, "--confirm", 1000)
        figures.publish_per_s = result["pub_per_s"]
        figures.publish_rss_mib = self._memory.take_mib()
        figures.full_mib = used_mib(self._data)
        tenth = figures.count / 10
        figures.first_per_s = rate_between(samples, 0, tenth)
        figures.last_per_s = rate_between(samples, figures.count - tenth, figures.count)
        self._expect("confirmed", result["confirmed"], figures.count)

    def _restart(self) -> None:
        self.broker.kill()
        self.figures.restart_s = self.broker.start()
        self.figures.restart_rss_mib = self._memory.take_mib()
        length = QueueLength(self.broker.port)
        self._expect("there after the restart", length(), self.figures.count)
        length.close()

    def _drain(self) -> None:
        figures = self.figures
        arguments = ("--publishers", 0, "--consumers", CONSUMERS, "--no-setup", "--durable")
        result = self._load(lambda: None, *arguments, "--prefetch", 1000, "--verify")
        figures.drain_per_s = result["con_per_s"]
        figures.drain_rss_mib = self._memory.take_mib()
        self._expect("consumed", result["consumed"], figures.count)
        for what in ("lost", "dup", "damaged", "reordered"):
            self._expect(what, result[what], 0)
        deadline = time.monotonic() + DISK_S_MAX
        figures.drained_mib = used_mib(self._data)
        while figures.drained_mib >= DISK_MIB_MAX and time.monotonic() < deadline:
            time.sleep(SAMPLE_S)
            figures.drained_mib = used_mib(self._data)

    def _load(self, meanwhile: Callable[[], None], *words: str | int) -> dict[str, Any]:
        """Run amqpload, calling `meanwhile` several times a second."""
        arguments = [*map(str, words), "--prefix", PREFIX, "--queues", "1"]
        arguments += ["--count", str(self.figures.count), "--size", str(SIZE_BYTES)]
        line = load.command(self.broker.port, tree(self.broker.pid), arguments)
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None:
            time.sleep(SAMPLE_S)
            meanwhile()
        out, errors = process.communicate()
        if process.returncode not in (0, 2, 3):
            raise load.LoadError(f"{errors.strip()} ({' '.join(line)})\n{self.broker.log_tail()}")
        result: dict[str, Any] = json.loads(out)
        return result

    def _expect(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            self.figures.faults.append(f"{what}: {found:,} messages instead of {wanted:,}")


def main() -> int:
    """Exit code 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.backlog")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--dir", type=Path, help="an empty folder for the data (a temporary one)")
    parser.add_argument("broker", nargs="*", help="options for the broker, behind --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mansio-backlog-") as name:
        folder = options.dir or Path(name)
        print(f"backlog: {options.count:,} persistent messages of {SIZE_BYTES} B in {folder}")
        figures = Backlog(folder, options.count, tuple(options.broker)).run()
    for what, figure, bound, kept in figures.rows():
        verdict = ("passed" if kept else "FAILED") if bound else ""
        print(f"{what:22} {figure:32} {bound:14} {verdict}".rstrip())
    for fault in figures.faults:
        print(f"FAILED: {fault}")
    return 0 if all(row[3] for row in figures.rows()) and not figures.faults else 1


if __name__ == "__main__":
    sys.exit(main())
