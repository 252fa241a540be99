"""Hostile clients beside a well-behaved one: is it still served, and is the memory given back?

A paced client (1,000 messages a second, latency measured) runs undisturbed, then while hundreds of
connections misbehave at once, in a process of their own at a lower priority. Verdict: its p99
stays within 3 times, and the broker's memory comes back to within 20 MiB.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import load, machine, peers, procfs, report
from bench.attackers import BEHAVIOURS
from bench.run import prepare_process, say

RATE = 1000
P99_RATIO_MAX = 3.0
RSS_GROWTH_MAX_MIB = 20.0
RUNS = 3
CALM_LIMIT_S = 15.0  # for the memory to come back
DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one peer did; latencies in microseconds, memory in MiB, of runs in order."""

    calm_p99_us: list[float]
    control_p99_us: list[float]  # another broker is attacked: what the machine itself adds
    hostile_p99_us: list[float]
    rss_before_mib: float
    rss_during_mib: float
    rss_after_mib: float
    attacks: dict[str, dict[str, int]]  # by behaviour: what its connections met with
    lossless: bool

    def p99_ratio(self) -> float:
        """Median p99 under attack over the undisturbed one."""
        return median(self.hostile_p99_us) / median(self.calm_p99_us)

    def faults(self) -> list[str]:
        """What misses the target; empty when all is well."""
        found = []
        if self.p99_ratio() > P99_RATIO_MAX:
            found.append(f"p99 grew {self.p99_ratio():.1f} times, {P99_RATIO_MAX:g} are allowed")
        growth = self.rss_after_mib - self.rss_before_mib
        if growth > RSS_GROWTH_MAX_MIB:
            found.append(f"{growth:.0f} MiB stay, {RSS_GROWTH_MAX_MIB:g} are allowed")
        if not self.lossless:
            found.append("the well-behaved client lost messages")
        return found


def paced(peer: peers.Peer, seconds: float) -> tuple[float, bool]:
    """p99 in microseconds of a well-behaved client, and whether it got all its messages."""
    load_of_it = ("--autoack", "--rate", str(RATE), "--duration", f"{seconds:g}")
    result = load.run(
        peer.port, (), (*load_of_it, "--prefix", "calm", "--purge", "--delete", "--verify")
    )
    return float(result["latency_us"]["p99"]), bool(result["ok"])


def start_attack(
    port: int, connections: int, seconds: float, behaviours: list[str]
) -> subprocess.Popen[str]:
    """The attackers, in a process of their own; they report on stdout and end by themselves."""
    line = [sys.executable, "-m", "bench.attackers", str(port), str(connections), str(seconds)]
    return subprocess.Popen(
        [*line, *behaviours],
        stdout=subprocess.PIPE,
        text=True,
        cwd=load.HERE.parent,
        preexec_fn=procfs.yield_to_others,
    )


def under_attack(
    client: peers.Peer, target: peers.Peer, connections: int, seconds: float, names: list[str]
) -> tuple[list[tuple[float, bool]], float, dict[str, dict[str, int]]]:
    """Runs of the client while `target` is attacked: runs, highest memory seen, attackers' report.

    Errors: LoadError.
    """
    span = RUNS * (seconds + 1.0)
    attackers = start_attack(target.port, connections, span, names)
    runs, highest = [], 0.0
    try:
        for _ in range(RUNS):
            runs.append(paced(client, seconds))
            highest = max(highest, procfs.rss_mib(target.pids()))
        text, _ = attackers.communicate(timeout=span + 30.0)
    except subprocess.TimeoutExpired:
        raise load.LoadError("the attackers did not end") from None
    finally:
        attackers.kill()
        attackers.wait()
    if not target.pids():
        raise load.LoadError(f"{target.name} died under attack")
    return runs, highest, json.loads(text)


def attack(name: str, connections: int, seconds: float, names: list[str]) -> Outcome:
    """Undisturbed runs, the control, runs under attack, then the memory.

    Errors: LoadError, PeerError.
    """
    with peers.PEERS[name]() as peer:
        paced(peer, 1.0)
        calm = [paced(peer, seconds) for _ in range(RUNS)]
        with peers.PEERS[name]() as other:
            control, _, _ = under_attack(peer, other, connections, seconds, names)
        before = procfs.rss_mib(peer.pids())
        hostile, during, met = under_attack(peer, peer, connections, seconds, names)
        after = wait_for_memory(peer, before + RSS_GROWTH_MAX_MIB / 2)
    return Outcome(
        [p99 for p99, _ in calm],
        [p99 for p99, _ in control],
        [p99 for p99, _ in hostile],
        before,
        during,
        after,
        met,
        all(ok for _, ok in calm + hostile),
    )


def wait_for_memory(peer: peers.Peer, enough_mib: float) -> float:
    """Resident memory once it is low enough, or after CALM_LIMIT_S."""
    end = time.monotonic() + CALM_LIMIT_S
    while True:
        resident = procfs.rss_mib(peer.pids())
        if resident <= enough_mib or time.monotonic() > end:
            return resident
        time.sleep(0.5)


def render(outcomes: dict[str, Outcome], connections: int) -> str:
    """Tables of the result and of what the attackers met with."""
    rows, met = [], []
    for name, one in outcomes.items():
        verdict = "met" if not one.faults() else f"**missed**: {'; '.join(one.faults())}"
        p99s = (one.calm_p99_us, one.control_p99_us, one.hostile_p99_us)
        cells = [f"{median(values):,.0f}" for values in p99s]
        memory = (one.rss_before_mib, one.rss_during_mib, one.rss_after_mib)
        cells += [f"{one.p99_ratio():.2f}", " / ".join(f"{mib:.0f}" for mib in memory)]
        target = f"≤ {P99_RATIO_MAX:g} ×, ≤ {RSS_GROWTH_MAX_MIB:g} MiB more"
        rows.append([name, *cells, target, verdict])
        for behaviour, counts in one.attacks.items():
            told = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
            met.append([behaviour, BEHAVIOURS[behaviour].__doc__ or "", name, told])
    head = ("", "p99 undisturbed µs", "control µs", "attacked µs", "×",
            "RSS MiB before / during / after", "target", "")  # fmt: skip
    first = report.table(head, rows, range(1, 6))
    second = report.table(("behaviour", "what it does", "peer", "outcome"), met, range(0))
    return (
        f"{connections} hostile connections beside one client at {RATE:,} msg/s:\n\n"
        f"{first}\n\n{second}\n"
    )


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="bench.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0, help=f"of each of {RUNS} runs (5)")
    parser.add_argument("--peer", choices=("mansio", "mansio-pure", "rabbitmq"), action="append")
    parser.add_argument("--behaviour", choices=sorted(BEHAVIOURS), action="append")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write the raw results here")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Exit status: 0 Mansio meets the targets (or was not asked), 1 it misses, 2 no result."""
    chosen = options(arguments)
    prepare_process()
    outcomes: dict[str, Outcome] = {}
    try:
        load.build()
        for name in chosen.peer or ["mansio"]:
            outcomes[name] = attack(
                name, chosen.connections, chosen.seconds, chosen.behaviour or list(BEHAVIOURS)
            )
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"hostile: {error}")
        return 2
    text = render(outcomes, chosen.connections)
    print(text)
    facts = machine.facts()
    if chosen.json:
        raw = {"facts": facts, "outcomes": {name: asdict(one) for name, one in outcomes.items()}}
        chosen.json.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    if chosen.write:
        line = report.facts_list({key: facts[key] for key in ("Date", "Machine", "Python")})
        section = f"{line}\n- Command: `python -m bench.hostile`\n\n{text}"
        section = re.sub(r"\n{3,}", "\n\n", section)
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "hostile", section))
    ours = [one for name, one in outcomes.items() if name != "rabbitmq"]
    return 1 if any(one.faults() for one in ours) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
