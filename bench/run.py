"""`make bench`: every scenario on Mansio and its rivals in turn, medians, docs/benchmarks.md.

The contenders of a scenario take turns within each round, because the speed of a machine drifts.
"""

import argparse
import json
import os
import resource
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import contenders, disk, footprint, load, machine, peers, report, syncs
from bench.contenders import CONTENDERS, Contender
from bench.footprint import Footprint
from bench.peers import Peer
from bench.scenarios import (
    COLD_MESSAGES,
    SCENARIOS,
    Sample,
    Scenario,
    disturbance,
    medians,
    sample_of,
)
from bench.verdicts import Line, all_met

DOCUMENT = load.HERE.parent / "docs" / "benchmarks.md"
RESULTS = load.HERE / "results"
WARM_UP_S = 1.0
COUNTED_S = 1.5  # the run in which durable writes are counted
OPEN_FILES = 65536
QUIET = 0.05  # what other processes may take of the machine before the report warns
FOOTPRINT = "footprint"
DELAYS = "delays"
KINDS = ("all", "mansio", "rabbitmq", "nats")


def peer_kind(name: str) -> str:
    """The kind of a peer as --peer names it."""
    return name.removesuffix("-pure")


@dataclass(slots=True)
class Options:
    """The command line."""

    only: list[str]
    rounds: int
    quick: bool
    peer: str
    pure: bool
    serve: str
    no_write: bool
    write: bool
    json: Path | None

    def takes(self, kind: str) -> bool:
        """Whether contenders of this kind take part."""
        return self.peer in ("all", kind)

    def contenders(self, scenario: Scenario) -> list[Contender]:
        """Who takes turns in this scenario, Mansio first; nobody if only the disk were left."""
        ours = "mansio-pure" if scenario.pure or self.pure else "mansio"
        every = [CONTENDERS[name] for name in (ours, *scenario.rivals)]
        if peers.Nats.maybe_server() is None:
            every = [one for one in every if one.kind != "nats"]
        chosen = [one for one in every if one.kind == "disk" or self.takes(one.kind)]
        return chosen if any(one.peer for one in chosen) else []

    def scenarios(self) -> list[Scenario]:
        """The scenarios to run."""
        chosen = [s for s in SCENARIOS if not self.only or s.name in self.only]
        if self.pure or not self.takes("mansio"):
            chosen = [s for s in chosen if not s.pure]
        return [s for s in chosen if self.contenders(s)]

    def footprints(self) -> list[str]:
        """The peers whose start time and memory are measured."""
        if self.only and FOOTPRINT not in self.only:
            return []
        ours = "mansio-pure" if self.pure else "mansio"
        return [name for name in (ours, "rabbitmq") if self.takes(peer_kind(name))]

    def delays(self) -> str:
        """The peer whose delayed messages are measured, if any: RabbitMQ needs a plugin for them."""
        chosen = self.takes("mansio") and (not self.only or DELAYS in self.only)
        return ("mansio-pure" if self.pure else "mansio") if chosen else ""

    def writes(self) -> bool:
        """Whether the document is written: for a full run, or when asked to."""
        full = not (self.only or self.quick or self.pure or self.peer != "all" or self.serve)
        return self.write or (full and not self.no_write)


def options(arguments: list[str]) -> Options:
    """Parse the command line."""
    names = [s.name for s in SCENARIOS] + [FOOTPRINT, DELAYS]
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=names, metavar="NAME",
                        help=f"only this, may be repeated: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="runs per scenario and peer (3)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--peer", choices=KINDS, default="all")
    parser.add_argument("--pure", action="store_true", help="Mansio without the compiled codec")
    parser.add_argument("--serve", default="", metavar="ARGUMENTS",
                        help="more arguments for `mansio serve`, such as '--sync never'")  # fmt: skip
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
    syncs: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, scenario: Scenario, name: str, result: load.Result) -> Sample:
        """Keep one run of a contender."""
        sample = sample_of(result, scenario.copies)
        self.raw.setdefault(scenario.name, {}).setdefault(name, []).append(result)
        self.samples.setdefault(scenario.name, {}).setdefault(name, []).append(sample)
        return sample

    def line(self, scenario: Scenario) -> Line:
        """The medians of one scenario."""
        found = self.samples.get(scenario.name, {})
        middle = {name: medians(rows) for name, rows in found.items()}
        return Line(scenario, middle, self.syncs.get(scenario.name, {}))

    def disturbance_text(self) -> str:
        """How busy the machine was with other things."""
        every = [
            run
            for by_name in self.raw.values()
            for name, runs in by_name.items()
            for run in runs
            if CONTENDERS[name].peer
        ]
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
        whole = {
            "facts": self.facts, "medians": middle, "footprint": prints,
            "durable_writes_per_million": self.syncs, "runs": self.raw,
        }  # fmt: skip
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def run_scenario(up: Mapping[str, Peer], scenario: Scenario, chosen: Options, to: Results) -> None:
    """Warm every contender up, then let them take turns. Errors: LoadError."""
    takers = chosen.contenders(scenario)
    if scenario.restarts:
        for one in takers:
            run_cold(one, scenario, chosen, to)
        return
    seconds = 1.0 if chosen.quick else scenario.seconds
    for one in takers:
        if one.peer:
            contenders.run(one, up[one.peer], scenario, 0.3 if chosen.quick else WARM_UP_S)
    for _ in range(1 if chosen.quick else chosen.rounds):
        for one in takers:
            result = contenders.run(one, up.get(one.peer), scenario, seconds)
            tell(scenario, one, to.add(scenario, one.name, result))


def tell(scenario: Scenario, one: Contender, sample: Sample) -> None:
    """A line about one run."""
    say(
        f"{scenario.name:14} {one.name:15} {report.rate_text(sample.per_s):>8}/s "
        f"{report.cpu_text(sample.cpu_us):>6} µs  p50 {sample.p50_us:,.0f} "
        f"p99 {sample.p99_us:,.0f} µs  generator {sample.generator_us:.2f} µs  "
        f"{sample.cores:.1%} of a core" + ("" if sample.ok else "  CHECKS FAILED")
    )


def run_cold(one: Contender, scenario: Scenario, chosen: Options, to: Results) -> None:
    """What is read after a restart of a broker of its own, from the disk. Errors: LoadError, PeerError."""
    count = str(COLD_MESSAGES // (16 if chosen.quick else 1))
    with peers.PEERS[one.peer]() as peer:
        before = (*scenario.before, count)
        contenders.expect_ok(load.result_of(contenders.command(one, peer, scenario, *before)))
        for _ in range(1 if chosen.quick else chosen.rounds):
            peer.restart_cold()
            line = contenders.command(one, peer, scenario, *scenario.load, "--count", count)
            tell(scenario, one, to.add(scenario, one.name, load.result_of(line)))


def count_durable_writes(up: Mapping[str, Peer], chosen: Options, to: Results) -> None:
    """Of every contender of the durable scenarios, in runs of their own."""
    scenarios = [one for one in chosen.scenarios() if one.kind == "durable"]
    if not scenarios:
        return
    reason = syncs.maybe_reason()
    to.facts["Durable writes"] = f"not counted: {reason}" if reason else "counted by perf"
    for scenario in scenarios if not reason else ():
        for one in chosen.contenders(scenario):
            try:
                rate = contenders.durable_writes(one, up[one.peer], scenario, COUNTED_S)
            except load.LoadError as error:  # the measurements are worth more
                to.facts["Durable writes"] = f"not counted: {error}"
                say(f"{scenario.name:14} {one.name:15} {error}")
                continue
            to.syncs.setdefault(scenario.name, {})[one.name] = rate
            say(f"{scenario.name:14} {one.name:15} {rate:,.0f} durable writes per million messages")


def measure_footprints(chosen: Options, to: Results) -> None:
    """Start time and memory of each kind of peer, on processes of its own."""
    for name in chosen.footprints():
        say(f"{FOOTPRINT}: {name}")
        starts = 2 if name == "rabbitmq" or chosen.quick else 5
        to.footprints[peer_kind(name)] = footprint.measure(peers.PEERS[name], starts)
    if name := chosen.delays():
        say(f"{DELAYS}: {name}")
        found = footprint.measure_delays(peers.PEERS[name])
        before = to.footprints.get("mansio", Footprint())
        to.footprints["mansio"] = replace(
            before, delays_mib=found.delays_mib, delays_s=found.delays_s
        )


def peer_facts(up: Mapping[str, Peer], chosen: Options) -> dict[str, str]:
    """Versions of the brokers themselves."""
    facts = {}
    for name, peer in up.items():
        if name == "rabbitmq":
            facts["RabbitMQ"] = f"{peer.version}, {peer.platform}, classic queues if not said"
        elif name == "nats":
            facts["NATS"] = f"{peer.version}, {peer.platform}, stream with one replica in files"
        elif "Mansio" not in facts:
            form = "compiled" if machine.codec_is_compiled(chosen.pure) else "plain Python"
            text = f"{machine.mansio_text()}, codec {form}, {peers.Mansio.log_text()}"
            facts["Mansio"] = text
    return facts


def needed_peers(chosen: Options) -> list[str]:
    """The peers of all chosen scenarios, in the order in which they start."""
    wanted = {one.peer for scenario in chosen.scenarios() for one in chosen.contenders(scenario)}
    return [name for name in peers.PEERS if name in wanted]


def measure(chosen: Options) -> Results:
    """All of it. Errors: PeerError, LoadError."""
    load.build()
    results = Results(machine.facts() | {"Disk": disk.text()})
    measure_footprints(chosen, results)
    names = needed_peers(chosen) or list(chosen.footprints()[:1]) or [chosen.delays()]
    with peers.running(names) as up:
        results.facts |= peer_facts(up, chosen)
        for scenario in chosen.scenarios():
            run_scenario(up, scenario, chosen, results)
        count_durable_writes(up, chosen, results)
    if peers.Nats.maybe_server() is None:
        results.facts["NATS"] = "not installed (Debian: apt install nats-server)"
    results.facts["Disturbance"] = results.disturbance_text()
    return results


def finish(chosen: Options, results: Results, arguments: list[str]) -> bool:
    """Print and write what was found; answers whether no target was missed."""
    lines = [results.line(scenario) for scenario in chosen.scenarios()]
    reproduce = "make bench" + (f' ARGS="{shlex.join(arguments)}"' if arguments else "")
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
    return all_met(lines, results.footprints.get("mansio"))


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
    peers.Mansio.serve = tuple(shlex.split(chosen.serve))
    prepare_process()
    try:
        results = measure(chosen)
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"bench: {error}")
        return 2
    return 0 if finish(chosen, results, arguments) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
