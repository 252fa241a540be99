"""Mansio beside Redis: redis-benchmark on both in turns, in memory and with every write synced.

50 clients, 100 B and 1 KiB, one request at a time and 16; workers that wait in BRPOP are driven by bench/redisload.c.
The generators have what the servers leave of the cores.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import disk, load, machine, peers, procfs, redis_cases, report
from bench.redis_cases import CLIENTS, DATA, LONG_LIST, Cell, Measured
from bench.run import QUIET, prepare_process, say

DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
RUN_LIMIT_S = 120.0
WARM_UP = {1: 4_000, 16: 16_000}  # requests, by pipeline: they also tell how many a run takes
STORED_BYTES_MAX = 150 << 20  # of one run
FILL_PIPELINE, FILLERS = 100, 4


class RedisMansio(peers.Mansio):
    """With its port for Redis clients, and the log in memory."""

    serve: ClassVar[tuple[str, ...]] = ("--in-memory",)
    redis_port = 0

    def prepare(self) -> None:
        super().prepare()
        self.redis_port = peers.free_port()

    def command(self) -> list[str]:
        return [*super().command(), "--redis-port", str(self.redis_port)]


class PureRedisMansio(RedisMansio):
    """The same with the codec as plain Python."""

    name = "mansio-pure"
    pure = True


class DurableRedisMansio(RedisMansio):
    """With the log on disk, and synced before the reply."""

    name = "mansio-always"
    serve = ("--sync", "always")


TITLES = {
    "redis": "redis-server",
    "redis-always": "redis-server",
    "mansio": "Mansio",
    "mansio-pure": "Mansio, codec in plain Python",
    "mansio-always": "Mansio",
}
SETTINGS: dict[str, tuple[type[peers.Peer], ...]] = {
    "memory": (peers.Redis, RedisMansio, PureRedisMansio),
    "durable": (peers.DurableRedis, DurableRedisMansio),
}
"""Who is compared with the first one."""
HEADS = {
    "memory": "Nothing on the disk: `--save '' --appendonly no` and `--in-memory`.",
    "durable": "Every write synced before its reply: `--appendonly yes --appendfsync always`"
    " and `--sync always`.",
}

Found = dict[str, dict[Cell, list[Measured]]]


@dataclass(slots=True)
class Outcome:
    """Of one setting; what others took of the machine, and how long it was measured, in seconds."""

    found: Found = field(default_factory=dict)
    span_s: float = 0.0
    others_s: float = 0.0


def port_of(peer: peers.Peer) -> int:
    """Where it listens for Redis clients."""
    return peer.redis_port if isinstance(peer, RedisMansio) else peer.port


class Line:
    """A connection for what is not measured: commands in, replies out (RESP2, no nesting)."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), RUN_LIMIT_S)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str) -> str:
        """The first line of the reply. Errors: LoadError for an error."""
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        self._socket.sendall("".join(parts).encode())
        line = self._file.readline().decode().strip()
        if not line or line[0] == "-":
            raise load.LoadError(f"{' '.join(words)[:80]}: {line or 'connection closed'}")
        self._skip(line)
        return line

    def _skip(self, line: str) -> None:
        if line[0] == "$" and int(line[1:]) >= 0:
            self._file.read(int(line[1:]) + 2)
        for _ in range(int(line[1:]) if line[0] == "*" else 0):
            self._skip(self._file.readline().decode().strip())

    def close(self) -> None:
        """The end."""
        self._file.close()
        self._socket.close()


@contextmanager
def listening(port: int) -> Iterator[None]:
    """A subscriber that reads all and looks at nothing."""
    sock = socket.create_connection(("127.0.0.1", port), RUN_LIMIT_S)
    sock.sendall(b"SUBSCRIBE bench:channel\r\n")
    sock.recv(4096)

    def read() -> None:
        buffer = bytearray(1 << 20)
        with suppress(OSError):
            while sock.recv_into(buffer):
                pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        sock.close()


def benchmark(port: int, words: Sequence[str], requests: int, pipeline: int, clients: int) -> str:
    """What redis-benchmark prints. Errors: LoadError."""
    line = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(clients)]
    line += ["-n", str(requests), "-P", str(pipeline), "--csv", *words]
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False,
            preexec_fn=procfs.yield_to_others,
        )  # fmt: skip
    except FileNotFoundError:
        raise load.LoadError("there is no redis-benchmark (Debian: redis-tools)") from None
    except subprocess.TimeoutExpired:
        raise load.LoadError(f"no end: {' '.join(line)[:200]}") from None
    if done.returncode:
        raise load.LoadError(f"{done.stderr.strip()[:300]} ({' '.join(line)[:200]})")
    return done.stdout


def one_run(peer: peers.Peer, cell: Cell, requests: int, outcome: Outcome | None) -> Measured:
    """One run, and its measurement. Errors: LoadError."""
    port, line = port_of(peer), Line(port_of(peer))
    line.ask("FLUSHALL")
    disk.settle()
    with ExitStack() as stack:
        stack.callback(line.close)
        words = [word.replace(DATA, "x" * cell.size) for word in cell.case.words]
        _prepare(line, port, cell, requests, stack)
        before = procfs.cpu_s(peer.pids())
        machine_s, own_s, begin = procfs.machine_s(), _own_s(), time.perf_counter()
        text = benchmark(port, words, requests, cell.pipeline, CLIENTS)
        span = time.perf_counter() - begin
        used = procfs.cpu_s(peer.pids()) - before
        if outcome is not None:
            outcome.span_s += span
            busy = procfs.machine_s() - machine_s
            outcome.others_s += max(0.0, busy - used - (_own_s() - own_s))
        _check(line, cell, requests)
        line.ask("FLUSHALL")
    rate, p50, p99 = redis_cases.parse_csv(text)
    return Measured(rate, used / requests * 1e6, p50, p99)


def _prepare(line: Line, port: int, cell: Cell, requests: int, stack: ExitStack) -> None:
    """What the case needs, and that the command is understood at all."""
    data = "x" * cell.size
    if cell.case.before == "value":
        line.ask("SET", "bench:key", data)
    elif cell.case.before == "list":
        for _ in range(LONG_LIST):
            line.ask("LPUSH", "bench:list", data)
    elif cell.case.before == "filled":
        benchmark(port, ("LPUSH", "bench:list", data), requests, FILL_PIPELINE, FILLERS)
    elif cell.case.before == "listener":
        stack.enter_context(listening(port))
    else:
        line.ask(*(word.replace(DATA, "x") for word in cell.case.words))
        line.ask("FLUSHALL")


def _check(line: Line, cell: Cell, requests: int) -> None:
    """What was written is there, and what was taken is not. Errors: LoadError."""
    if not cell.case.measure:
        return
    reply = line.ask(cell.case.measure, cell.case.words[1])
    expected = 0 if cell.case.before == "filled" else requests
    # The last round of a pipeline is sent whole, also of the one that filled the list.
    more = max(cell.pipeline * CLIENTS, FILL_PIPELINE * FILLERS)
    if not expected <= int(reply[1:]) <= expected + more:
        raise load.LoadError(f"{cell.title()}: {reply} instead of {expected}")


def _own_s() -> float:
    """CPU time of this process and of those it waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(each)[:2]) for each in whose)


def workers_run(peer: peers.Peer, cell: Cell, seconds: float, outcome: Outcome | None) -> Measured:
    """Producers and workers. Errors: LoadError."""
    disk.settle()
    asks = ("--size", str(cell.size), "--duration", f"{seconds:g}", "--key", "bench:work")
    line = load.command(port_of(peer), peer.pids(), asks, load.REDIS_PROGRAM)
    result: dict[str, Any] = load.result_of(line)
    if not result["ok"]:
        raise load.LoadError(f"{peer.name}: {cell.title()}: elements lost or repeated: {result}")
    if outcome is not None:
        outcome.span_s += result["wall_s"]
        outcome.others_s += result["other_cpu_s"] + result["steal_s"]
    times = [result["latency_us"][name] / 1e3 for name in ("p50", "p99")]
    return Measured(result["con_per_s"], result["broker_cpu_us_per_msg"], *times)


def measure(
    kinds: Sequence[type[peers.Peer]], cells: Sequence[Cell], rounds: int, seconds: float
) -> Outcome:
    """All cells, in turns. Errors: LoadError, PeerError, OSError."""
    outcome = Outcome({kind.name: {} for kind in kinds})
    with ExitStack() as stack:
        started = [stack.enter_context(kind()) for kind in kinds]
        for cell in cells:
            requests = {}
            for peer in started:
                if not cell.case.workers:
                    warm = one_run(peer, cell, WARM_UP[cell.pipeline], None)
                    most = STORED_BYTES_MAX // cell.size if cell.case.writes else 1 << 30
                    requests[peer.name] = max(1000, min(most, int(warm.per_s * seconds)))
            for _ in range(rounds):
                for peer in started:
                    runs = outcome.found[peer.name].setdefault(cell, [])
                    if cell.case.workers:
                        runs.append(workers_run(peer, cell, seconds, outcome))
                    else:
                        runs.append(one_run(peer, cell, requests[peer.name], outcome))
            say(progress(cell, outcome.found))
    return outcome


def progress(cell: Cell, found: Found) -> str:
    """A line about a cell that is done."""
    rates = (f"{name} {redis_cases.middle(runs[cell]).per_s:,.0f}" for name, runs in found.items())
    return f"redis: {cell.title()}, -P {cell.pipeline}: {', '.join(rates)} req/s"


def render(outcomes: dict[str, Outcome]) -> str:
    """The tables."""
    parts = []
    for setting, outcome in outcomes.items():
        durable = setting == "durable"
        parts.append(HEADS[setting])
        for pipeline in redis_cases.PIPELINES:
            order = [
                cell for cell in redis_cases.cells(durable)
                if cell.pipeline == pipeline and any(cell in each for each in outcome.found.values())
            ]  # fmt: skip
            if order:
                often = "one request at a time" if pipeline == 1 else f"{pipeline} at a time"
                parts.append(f"{CLIENTS} clients, {often}:")
                parts.append(redis_cases.table(order, outcome.found, TITLES, durable))
    return "\n\n".join(parts) + "\n"


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bench.redis", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run, about (1)")
    parser.add_argument("--rounds", type=int, default=5, help="of runs of each kind, in turns (5)")
    parser.add_argument("--setting", choices=tuple(SETTINGS), action="append")
    parser.add_argument("--only", action="append", metavar="WORD", help="cases that contain it")
    parser.add_argument("--pipeline", type=int, choices=redis_cases.PIPELINES)
    parser.add_argument("--no-pure", action="store_true", help="without the codec in plain Python")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write the raw results here")
    return parser.parse_args(arguments)


def chosen_cells(chosen: argparse.Namespace, durable: bool) -> list[Cell]:
    """What the command line leaves."""
    words = [word.lower() for word in chosen.only or [""]]
    return [
        cell for cell in redis_cases.cells(durable)
        if any(word in cell.title().lower() for word in words)
        and chosen.pipeline in (None, cell.pipeline)
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit status: 0 nothing missed, 1 something missed, 2 there is no result."""
    chosen = options(arguments)
    prepare_process()
    outcomes: dict[str, Outcome] = {}
    try:
        if shutil.which("redis-benchmark") is None:
            raise load.LoadError("there is no redis-benchmark (Debian: apt install redis-tools)")
        load.build()
        for setting in chosen.setting or SETTINGS:
            kinds = [
                kind for kind in SETTINGS[setting] if not (chosen.no_pure and "pure" in kind.name)
            ]
            cells = chosen_cells(chosen, setting == "durable")
            outcomes[setting] = measure(kinds, cells, chosen.rounds, chosen.seconds)
    except (peers.PeerError, load.LoadError, OSError, ValueError) as error:
        say(f"redis: {error}")
        return 2
    text = told(outcomes)
    print(text)
    if chosen.json:
        raw = {
            setting: {
                name: [asdict(cell) | {"runs": [asdict(run) for run in runs]} for cell, runs in each.items()]
                for name, each in outcome.found.items()
            }
            for setting, outcome in outcomes.items()
        }  # fmt: skip
        chosen.json.write_text(
            json.dumps({"facts": machine.facts(), "results": raw}, indent=1) + "\n"
        )
    if chosen.write:
        facts = machine.facts()
        known = {key: facts[key] for key in ("Date", "Machine", "Python", "uvloop", "Cython")}
        known |= {
            "redis-server": version_text(),
            "Command": f"`python -m bench.redis {' '.join(arguments)}`",
        }
        section = f"{report.facts_list(known)}\n{text}"
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "redis", section))
    durables = {"memory": False, "durable": True}
    wrong = any(redis_cases.missed(one.found, durables[name]) for name, one in outcomes.items())
    return 1 if wrong else 0


def told(outcomes: dict[str, Outcome]) -> str:
    """Disturbance and tables."""
    span = sum(outcome.span_s for outcome in outcomes.values()) * (os.cpu_count() or 1)
    share = sum(outcome.others_s for outcome in outcomes.values()) / span if span else 0.0
    warning = "; too much for firm figures" if share > QUIET else ""
    line = f"- Disturbance: others, the kernel's threads among them, took {share:.0%} of the CPU time{warning}"
    return f"{line}\n\n{render(outcomes)}"


def version_text() -> str:
    """What redis-server calls itself."""
    done = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True, check=False
    )
    words = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
    return f"{words.get('v', '?')} ({words.get('malloc', '?')})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
