"""Wrong passwords beside a well-behaved client: is it still served as before?

A paced client (5,000 messages a second, latency measured) runs in turns undisturbed and beside 100 logins a second with
wrong passwords: of one user and of users that there are not, from one address or from a new address each time. The same
number of connections that do not log in shows what connecting alone costs. Verdict: p99 changes by less than 20 %.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import load, machine, peers, procfs, report, wire
from bench.run import prepare_process, say

RATE = 5000
ATTEMPTS_PER_S = 100
P99_RATIO_MAX = 1.2
DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
KINDS = {
    "calm": "nobody else",
    "connect": "100 connections a second that end before they log in",
    "one address": "100 logins a second from one address",
    "many addresses": "100 logins a second, each from another address",
}


@dataclass(slots=True)
class Outcome:
    """Latencies in microseconds and the broker's CPU in percent of a core, run by run, by kind of disturbance."""

    p50_us: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    p99_us: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    cpu_percent: dict[str, list[float]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )
    ends: dict[str, dict[str, int]] = field(default_factory=dict)

    def ratio(self, kind: str) -> float:
        """Median p99 over the undisturbed one."""
        return median(self.p99_us[kind]) / median(self.p99_us["calm"])


async def attempt(port: int, number: int, kind: str, counts: Counter[str]) -> None:
    """One login that must fail, or a connection that does not try."""
    address = "127.0.0.1"
    if kind == "many addresses":
        address = f"127.{1 + number // 62500 % 250}.{1 + number // 250 % 250}.{1 + number % 250}"
    user = "guest" if number % 2 else f"user{number}"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    except OSError:
        counts["not accepted"] += 1
        return
    try:
        async with asyncio.timeout(15):
            writer.write(wire.PROTOCOL_HEADER)
            await reader.readexactly(7)
            if kind != "connect":
                writer.write(wire.start_ok(user, f"wrong {number}"))
                while await reader.read(4096):
                    pass
        counts["connected" if kind == "connect" else "refused"] += 1
    except TimeoutError:
        counts["no answer"] += 1
    except (OSError, asyncio.IncompleteReadError):
        counts["refused"] += 1
    finally:
        writer.transport.abort()


async def attack(port: int, seconds: float, kind: str) -> Counter[str]:
    """ATTEMPTS_PER_S logins a second, evenly spread."""
    counts: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()
    begin = time.monotonic()
    for number in range(int(seconds * ATTEMPTS_PER_S)):
        await asyncio.sleep(max(0.0, begin + number / ATTEMPTS_PER_S - time.monotonic()))
        task = asyncio.create_task(attempt(port, number, kind, counts))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    counts["unanswered at the end"] += len(tasks)
    for task in tasks:
        task.cancel()
    return counts


def start_attack(port: int, seconds: float, kind: str) -> subprocess.Popen[str]:
    """The attackers, in a process of their own at a low priority; what they met with is on its stdout."""
    line = [sys.executable, "-m", "bench.logins", "--attack", str(port), str(seconds), kind]
    return subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        text=True,
        cwd=load.HERE.parent,
        preexec_fn=procfs.yield_to_others,
    )


def run_once(peer: peers.Peer, kind: str, seconds: float, outcome: Outcome) -> None:
    """The paced client beside one kind of disturbance. Errors: LoadError."""
    attackers = None if kind == "calm" else start_attack(peer.port, seconds + 1.5, kind)
    try:
        if attackers is not None:
            time.sleep(1.0)
        before = procfs.cpu_s(peer.pids())
        result = load.run(
            peer.port,
            (),
            ("--autoack", "--rate", str(RATE), "--duration", f"{seconds:g}",
             "--prefix", "calm", "--purge", "--delete", "--verify"),
        )  # fmt: skip
        used = procfs.cpu_s(peer.pids()) - before
        if not result["ok"]:
            raise load.LoadError("the well-behaved client lost messages")
        if attackers is not None:
            text, _ = attackers.communicate(timeout=60)
            outcome.ends[kind] = json.loads(text)
    except subprocess.TimeoutExpired:
        raise load.LoadError("the attackers did not end") from None
    finally:
        if attackers is not None:
            attackers.kill()
            attackers.wait()
    outcome.p50_us[kind].append(float(result["latency_us"]["p50"]))
    outcome.p99_us[kind].append(float(result["latency_us"]["p99"]))
    outcome.cpu_percent[kind].append(100 * used / seconds)


def render(outcomes: dict[str, Outcome]) -> str:
    """A table of medians."""
    rows = []
    for name, outcome in outcomes.items():
        for kind, meaning in KINDS.items():
            cells = [f"{median(outcome.p50_us[kind]):,.0f}", f"{median(outcome.p99_us[kind]):,.0f}"]
            cells += [f"{outcome.ratio(kind):.2f}", f"{median(outcome.cpu_percent[kind]):.0f} %"]
            ends = ", ".join(f"{n} {what}" for what, n in outcome.ends.get(kind, {}).items() if n)
            rows.append([name, meaning, *cells, ends])
    head = ("", f"beside {RATE:,} msg/s", "p50 µs", "p99 µs", "×", "CPU of the broker", "ends")
    return report.table(head, rows, range(2, 6)) + "\n"


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bench.logins", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--rounds", type=int, default=5, help="of runs of each kind, in turns (5)")
    parser.add_argument("--peer", choices=("mansio", "rabbitmq"), action="append")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write the raw results here")
    parser.add_argument("--attack", nargs=3, metavar=("PORT", "SECONDS", "KIND"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Exit status: 0 Mansio meets the target, 1 it misses, 2 no result."""
    chosen = options(arguments)
    if chosen.attack:
        port, seconds, kind = chosen.attack
        print(json.dumps(asyncio.run(attack(int(port), float(seconds), kind))))
        return 0
    prepare_process()
    outcomes: dict[str, Outcome] = {}
    try:
        load.build()
        for name in chosen.peer or ["mansio"]:
            outcome = outcomes[name] = Outcome()
            with peers.PEERS[name]() as peer:
                run_once(peer, "calm", 1.0, Outcome())
                for _ in range(chosen.rounds):
                    for kind in KINDS:
                        run_once(peer, kind, chosen.seconds, outcome)
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"logins: {error}")
        return 2
    text = render(outcomes)
    print(text)
    facts = machine.facts()
    if chosen.json:
        raw = {"facts": facts, "outcomes": {name: asdict(one) for name, one in outcomes.items()}}
        chosen.json.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    if chosen.write:
        line = report.facts_list({key: facts[key] for key in ("Date", "Machine", "Python")})
        section = f"{line}\n- Command: `python -m bench.logins`\n\n{text}"
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "logins", section))
    ours = outcomes.get("mansio")
    kinds = ("one address", "many addresses")
    return int(ours is not None and any(ours.ratio(kind) > P99_RATIO_MAX for kind in kinds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
