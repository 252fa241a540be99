"""Mansio beside servers written with pyzmq: round trips of a REQ socket, what a PUSH socket gets rid of, and PUTs over
a DEALER socket with 1,000 on the way.

Clients and servers are processes of their own; all of them share the cores.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

import zmq

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import disk, load, machine, peers, procfs, report
from bench.run import prepare_process, say
from bench.zeromq_ends import socket_of

DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
LIMIT_S = 120.0
SIZE = 100
WINDOW = 1000
PUSHED = 300_000
PUT = 200_000
QUEUE = "bench"


class ZmqMansio(peers.Mansio):
    """With its port for ZeroMQ clients, and the log in memory."""

    serve: ClassVar[tuple[str, ...]] = ("--in-memory",)
    zmq_port = 0

    def prepare(self) -> None:
        super().prepare()
        while (port := peers.free_port()) == self.port:
            pass
        self.zmq_port = port

    def command(self) -> list[str]:
        return [*super().command(), "--zmq-port", str(self.zmq_port)]


class DurableZmqMansio(ZmqMansio):
    """With the log on disk, and synced before the reply."""

    name = "mansio-always"
    serve = ("--sync", "always")


class PyzmqPeer(peers.Peer):
    """A server of bench/zeromq_ends.py."""

    end: ClassVar[str]
    zmq_port = 0

    def command(self) -> list[str]:
        self.zmq_port = self.port
        return [sys.executable, "-m", "bench.zeromq_ends", self.end, str(self.port)]

    def greet(self) -> None:
        """It listens."""
        socket.create_connection(("127.0.0.1", self.port), 1).close()


class Router(PyzmqPeer):
    name = "pyzmq"
    end = "router"


class AsyncioRouter(PyzmqPeer):
    name = "zmq.asyncio"
    end = "asyncio-router"


class Pull(PyzmqPeer):
    name = "pyzmq"
    end = "pull"


class AsyncioPull(PyzmqPeer):
    name = "zmq.asyncio"
    end = "asyncio-pull"


@dataclass(slots=True)
class Measured:
    """One run. CPU of the server in microseconds per message; latencies where each message was waited for."""

    per_s: float
    cpu_us: float
    p50_us: float = 0.0
    p99_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: who runs it with which frames, and what is asked: a rate, or ratios to the others."""

    name: str
    kind: str
    peer: str
    words: tuple[str, ...] = ()
    per_s: float = 0.0
    ratios: tuple[tuple[str, float], ...] = ()


ECHO = "REQ, one after the other: echo"
PUSH = f"PUSH, {SIZE} B"
BODY = "x" * SIZE
CASES = (
    Case(ECHO, "req", "pyzmq", (BODY,)),
    Case(ECHO, "req", "zmq.asyncio", (BODY,)),
    Case("REQ: PING", "req", "mansio", ("PING", BODY), 0, (("pyzmq", 1.0), ("zmq.asyncio", 3.0))),
    Case("REQ: a task, in memory", "req", "mansio", (BODY,), 0, (("pyzmq", 1.0), ("zmq.asyncio", 3.0))),
    Case("REQ: a task, durable", "req", "mansio-always", (BODY,)),
    Case(PUSH, "push", "pyzmq"),
    Case(PUSH, "push", "zmq.asyncio"),
    Case(PUSH + ", in memory", "push", "mansio", (), 300_000),
    Case(PUSH + ", durable queue", "push", "mansio-always"),
    Case(f"PUT by DEALER, window {WINDOW}, in memory", "put", "mansio"),
    Case(f"PUT by DEALER, window {WINDOW}, durable", "put", "mansio-always"),
    Case("the same, generator without pyzmq", "raw-put", "mansio-always", (), 100_000),
)  # fmt: skip


def client(peer: PyzmqPeer | ZmqMansio, *words: str) -> tuple[dict[str, float], float]:
    """Runs a client: what it says, and the server's CPU seconds. Errors: LoadError."""
    line = [sys.executable, "-m", "bench.zeromq_ends", words[0], str(peer.zmq_port), *words[1:]]
    before = procfs.cpu_s(peer.pids())
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=load.HERE.parent
    )
    if done.returncode:
        raise load.LoadError(f"{' '.join(line[3:])}: {done.stderr.strip()[-300:]}")
    result: dict[str, float] = json.loads(done.stdout)
    return result, procfs.cpu_s(peer.pids()) - before


def round_trips(peer: PyzmqPeer | ZmqMansio, words: tuple[str, ...], seconds: float) -> Measured:
    """A REQ socket."""
    result, used = client(peer, "req", f"{seconds:g}", *words)
    count = result["count"]
    rate = count / result["seconds"]
    return Measured(rate, used / count * 1e6, result["p50_us"], result["p99_us"])


def pushed(peer: PyzmqPeer | ZmqMansio) -> Measured:
    """A PUSH socket, until the server has everything. Errors: LoadError."""
    mansio = isinstance(peer, ZmqMansio)
    asking = socket_of(zmq.REQ, peer.zmq_port + (0 if mansio else 1))
    question = [b"LEN", QUEUE.encode()] if mansio else [b"200"]

    def there() -> int:
        asking.send_multipart(question)
        reply: list[bytes] = asking.recv_multipart()
        return 0 if reply[0] == b"404" else int(reply[1])

    disk.settle()
    before = procfs.cpu_s(peer.pids())
    line = [sys.executable, "-m", "bench.zeromq_ends", "push", str(peer.zmq_port)]
    line += [str(PUSHED), str(SIZE), QUEUE]
    sending = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=load.HERE.parent)
    try:
        limit = time.monotonic() + LIMIT_S
        while (count := there()) < PUSHED:
            if time.monotonic() > limit:
                raise load.LoadError(f"{count} of {PUSHED} messages after {LIMIT_S:g} s")
            time.sleep(0.005)
        end = time.monotonic()
        text, _ = sending.communicate(timeout=LIMIT_S)
    finally:
        sending.kill()
        sending.wait()
        asking.close()
    used = procfs.cpu_s(peer.pids()) - before
    return Measured(PUSHED / (end - json.loads(text)["begin"]), used / PUSHED * 1e6)


def put(peer: PyzmqPeer | ZmqMansio, kind: str) -> Measured:
    """A DEALER socket."""
    disk.settle()
    result, used = client(peer, kind, str(PUT), str(WINDOW), str(SIZE), QUEUE)
    return Measured(result["count"] / result["seconds"], used / result["count"] * 1e6)


def run_once(case: Case, peer: PyzmqPeer | ZmqMansio, seconds: float) -> Measured:
    """One run of a case. Errors: LoadError."""
    if case.kind == "req":
        return round_trips(peer, case.words, seconds)
    return pushed(peer) if case.kind == "push" else put(peer, case.kind)


KINDS: dict[tuple[str, bool], type[PyzmqPeer] | type[ZmqMansio]] = {
    ("pyzmq", False): Router,
    ("zmq.asyncio", False): AsyncioRouter,
    ("pyzmq", True): Pull,
    ("zmq.asyncio", True): AsyncioPull,
}
"""By name, and whether it is pushed to."""


def peer_of(case: Case) -> PyzmqPeer | ZmqMansio:
    """The server of a case, not started; a fresh one for each run, so that no queue is long from the run before."""
    kind = KINDS.get((case.peer, case.kind == "push"))
    if kind is None:
        kind = ZmqMansio if case.peer == "mansio" else DurableZmqMansio
    return kind()


def measure(cases: list[Case], rounds: int, seconds: float) -> dict[Case, list[Measured]]:
    """All cases, in turns. Errors: LoadError, PeerError, OSError."""
    found: dict[Case, list[Measured]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            with ExitStack() as stack:
                peer = stack.enter_context(peer_of(case))
                assert isinstance(peer, PyzmqPeer | ZmqMansio)
                found[case].append(run_once(case, peer, seconds))
    return found


def rate_of(runs: list[Measured]) -> float:
    """The median."""
    return median(run.per_s for run in runs)


def verdict(case: Case, found: dict[Case, list[Measured]]) -> str:
    """What is asked of a case, and whether it is met; empty: nothing is asked, or nothing was measured."""
    parts = []
    rate = rate_of(found[case])
    if case.per_s:
        parts.append((f"≥ {case.per_s:,.0f}/s", rate >= case.per_s))
    for other, least in case.ratios:
        others = [each for each in found if each.name == ECHO and each.peer == other]
        if others:
            ratio = rate / rate_of(found[others[0]])
            parts.append((f"{ratio:.2f} × {other} (≥ {least:g})", ratio >= least))
    return "; ".join(text + (": met" if met else ": **missed**") for text, met in parts)


def render(found: dict[Case, list[Measured]]) -> str:
    """A table of medians."""
    rows = []
    for case, runs in found.items():
        middle = {
            name: median(getattr(run, name) for run in runs)
            for name in ("cpu_us", "p50_us", "p99_us")
        }
        times = [f"{middle[name]:,.0f}" if middle[name] else "" for name in ("p50_us", "p99_us")]
        cells = [f"{rate_of(runs):,.0f}", f"{middle['cpu_us']:.2f}", *times]
        rows.append([case.name, TITLES[case.peer], *cells, verdict(case, found)])
    head = ("", "server", "per s", "CPU µs each", "p50 µs", "p99 µs", "asked")
    return report.table(head, rows, range(2, 6)) + "\n"


TITLES = {
    "pyzmq": "pyzmq, blocking",
    "zmq.asyncio": "zmq.asyncio",
    "mansio": "Mansio",
    "mansio-always": "Mansio, synced",
}


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bench.zeromq", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each REQ run (2)")
    parser.add_argument("--rounds", type=int, default=5, help="of runs of each kind, in turns (5)")
    parser.add_argument("--only", action="append", metavar="WORD", help="cases that contain it")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write the raw results here")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Exit status: 0 nothing missed, 1 something missed, 2 there is no result."""
    chosen = options(arguments)
    prepare_process()
    words = [word.lower() for word in chosen.only or [""]]
    cases = [case for case in CASES if any(word in case.name.lower() for word in words)]
    try:
        found = measure(cases, chosen.rounds, chosen.seconds)
    except (peers.PeerError, load.LoadError, OSError, zmq.ZMQError) as error:
        say(f"zeromq: {error}")
        return 2
    text = render(found)
    print(text)
    facts = machine.facts()
    if chosen.json:
        raw = [asdict(case) | {"runs": [asdict(run) for run in found[case]]} for case in cases]
        chosen.json.write_text(json.dumps({"facts": facts, "results": raw}, indent=1) + "\n")
    if chosen.write:
        known = {key: facts[key] for key in ("Date", "Machine", "Python", "uvloop", "Cython")}
        known |= {
            "pyzmq": f"{zmq.__version__}, libzmq {zmq.zmq_version()}",
            "Command": f"`python -m bench.zeromq {' '.join(arguments)}`",
        }
        section = f"{report.facts_list(known)}\n{text}"
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "zeromq", section))
    return int(any("missed" in verdict(case, found) for case in cases))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
