"""`make bench`: every scenario on Mansio and RabbitMQ in turn, medians, docs/benchmarks.md.

Scenarios alternate between the peers within each round, because the speed of a machine drifts.
"""

import argparse
import json
import os
import resource
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import footprint, load, machine, peers, report
from bench.footprint import Footprint
from bench.peers import Peer
from bench.scenarios import SCENARIOS, Sample, Scenario, disturbance, medians, sample_of

DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
RESULTS = load.HERE / "results"
WARM_UP_S = 1.0
OPEN_FILES = 65536
QUIET = 0.05  # what other processes may take of the machine before the report warns
FOOTPRINT = "footprint"


@dataclass(slots=True)
class Options:
    """The command line."""

    only: list[str]
    rounds: int
    quick: bool
    peer: str
    pure: bool
    no_write: bool
    write: bool
    json: Path | None

    def names(self) -> list[str]:
        """The kinds of peers to compare."""
        ours = "mansio-pure" if self.pure else "mansio"
        return {"mansio": [ours], "rabbitmq": ["rabbitmq"], "both": [ours, "rabbitmq"]}[self.peer]

    def scenarios(self) -> list[Scenario]:
        """The scenarios to run."""
        chosen = [s for s in SCENARIOS if not self.only or s.name in self.only]
        if self.peer == "rabbitmq" or self.pure:
            chosen = [s for s in chosen if not s.pure]
        return chosen

    def wants_footprint(self) -> bool:
        """Whether start time and memory are measured."""
        return not self.only or FOOTPRINT in self.only

    def writes(self) -> bool:
        """Whether the document is written: for a full run, or when asked to."""
        full = not (self.only or self.quick or self.pure or self.peer != "both")
        return self.write or (full and not self.no_write)


def options(arguments: list[str]) -> Options:
    """Parse the command line."""
    names = [s.name for s in SCENARIOS] + [FOOTPRINT]
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=names, metavar="NAME",
                        help=f"only this, may be repeated: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="runs per scenario and peer (3)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--peer", choices=("mansio", "rabbitmq", "both"), default="both")
    parser.add_argument("--pure", action="store_true", help="Mansio without the compiled codec")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md alone")
    parser.add_argument("--write", action="store_true", help="write it after a partial run too")
    parser.add_argument("--json", type=Path, help="write the raw results here as well")
    return Options(**vars(parser.parse_args(arguments)))


def say(text: str) -> None:
    """Progress, for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Results:
    """Everything that was measured."""

    facts: dict[str, str]
    raw: dict[str, dict[str, list[load.Result]]] = field(default_factory=dict)
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    footprints: dict[str, Footprint] = field(default_factory=dict)

    def add(self, scenario: Scenario, peer: str, result: load.Result) -> Sample:
        """Keep one run."""
        sample = sample_of(result, scenario.copies)
        self.raw.setdefault(scenario.name, {}).setdefault(peer, []).append(result)
        self.samples.setdefault(scenario.name, {}).setdefault(peer, []).append(sample)
        return sample

    def line(self, scenario: Scenario) -> report.Line:
        """The medians of one scenario."""
        found = self.samples.get(scenario.name, {})
        ours = found.get("mansio") or found.get("mansio-pure")
        theirs = found.get("rabbitmq")
        return report.Line(
            scenario, medians(ours) if ours else None, medians(theirs) if theirs else None
        )

    def disturbance_text(self) -> str:
        """How busy the machine was with other things."""
        every = [run for by_peer in self.raw.values() for runs in by_peer.values() for run in runs]
        share = disturbance(every, os.cpu_count() or 1)
        warning = "; too much for firm figures" if share > QUIET else ""
        return f"other processes and the hypervisor took {share:.0%} of the CPU time{warning}"

    def as_json(self) -> str:
        """Raw results and medians."""
        middle = {
            name: {peer: asdict(medians(rows)) for peer, rows in by_peer.items()}
            for name, by_peer in self.samples.items()
        }
        prints = {name: one.as_dict() for name, one in self.footprints.items()}
        whole = {"facts": self.facts, "medians": middle, "footprint": prints, "runs": self.raw}
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def run_once(peer: Peer, scenario: Scenario, seconds: float) -> load.Result:
    """One run of one scenario on one running peer. Errors: LoadError."""
    own = ("--duration", f"{seconds:g}", "--prefix", scenario.name, "--purge", "--delete")
    return load.run(peer.port, peer.pids(), (*scenario.load, *own, "--verify"))


def run_scenario(peers_up: list[Peer], scenario: Scenario, chosen: Options, to: Results) -> None:
    """Warm every peer up, then let them take turns. Errors: LoadError."""
    takers = [p for p in peers_up if (p.name == "mansio-pure") == (scenario.pure or chosen.pure)
              or p.name == "rabbitmq"]  # fmt: skip
    seconds = 1.0 if chosen.quick else scenario.seconds
    for peer in takers:
        run_once(peer, scenario, 0.3 if chosen.quick else WARM_UP_S)
    for _ in range(1 if chosen.quick else chosen.rounds):
        for peer in takers:
            sample = to.add(scenario, peer.name, run_once(peer, scenario, seconds))
            say(
                f"{scenario.name:14} {peer.name:12} {report.rate_text(sample.per_s):>8}/s "
                f"{report.cpu_text(sample.cpu_us):>6} µs  p50 {sample.p50_us:,.0f} "
                f"p99 {sample.p99_us:,.0f} µs  generator {sample.generator_us:.2f} µs"
                + ("" if sample.ok else "  CHECKS FAILED")
            )


def measure_footprints(chosen: Options, to: Results) -> None:
    """Start time and memory of each kind of peer, on processes of its own."""
    for name in chosen.names():
        say(f"{FOOTPRINT}: {name}")
        starts = 2 if name == "rabbitmq" or chosen.quick else 5
        to.footprints[name.removesuffix("-pure")] = footprint.measure(peers.PEERS[name], starts)


def peer_facts(peers_up: list[Peer], chosen: Options) -> dict[str, str]:
    """Versions of the brokers themselves."""
    facts = {}
    for peer in peers_up:
        if peer.name == "rabbitmq":
            facts["RabbitMQ"] = f"{peer.version}, {peer.platform}, classic queues"
        elif "Mansio" not in facts:
            form = "compiled" if machine.codec_is_compiled(chosen.pure) else "plain Python"
            facts["Mansio"] = f"{machine.mansio_text()}, codec {form}, log in memory"
    return facts


def measure(chosen: Options) -> Results:
    """All of it. Errors: PeerError, LoadError."""
    load.build()
    results = Results(machine.facts())
    if chosen.wants_footprint():
        measure_footprints(chosen, results)
    scenarios = chosen.scenarios()
    names = chosen.names()
    if any(s.pure for s in scenarios):
        names = ["mansio-pure", *names]
    if scenarios and all(s.pure for s in scenarios):
        names = [name for name in names if name != "mansio"]
    with peers.running(names if scenarios or not results.footprints else names[-1:]) as up:
        results.facts |= peer_facts(up, chosen)
        for scenario in scenarios:
            run_scenario(up, scenario, chosen, results)
    results.facts["Disturbance"] = results.disturbance_text()
    return results


def finish(chosen: Options, results: Results, arguments: list[str]) -> bool:
    """Print and write what was found; answers whether no target was missed."""
    lines = [results.line(scenario) for scenario in chosen.scenarios()]
    reproduce = "make bench" + (f" ARGS='{' '.join(arguments)}'" if arguments else "")
    text = report.render(results.facts, lines, results.footprints, reproduce)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    for path in (RESULTS / time.strftime("run-%Y%m%d-%H%M%S.json"), chosen.json):
        if path is not None:
            path.write_text(results.as_json())
            say(f"raw results: {path}")
    if chosen.writes():
        DOCUMENT.write_text(report.replace_section(DOCUMENT.read_text(), "results", text))
        say(f"written: {DOCUMENT}")
    return report.all_met(lines, results.footprints.get("mansio"))


def prepare_process() -> None:
    """Room for a thousand sockets here and in the brokers, and a tidy end on SIGTERM."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))


def main(arguments: list[str]) -> int:
    """Exit status: 0 no target missed, 1 something missed, 2 could not be measured."""
    chosen = options(arguments)
    prepare_process()
    try:
        results = measure(chosen)
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"bench: {error}")
        return 2
    return 0 if finish(chosen, results, arguments) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
