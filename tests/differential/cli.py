"""Random commands to Redis and to Mansio, and every reply of the one beside that of the other.

    python -m tests.differential --seed 7 --commands 1000000 --resp 3 --families lists,keys,blocking

Where replies differ, the commands that lead there are shrunk and printed, with both replies.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile, zip_longest
from random import Random, SystemRandom
from typing import Final

from tests.differential.families import FAMILIES, TABLES
from tests.differential.runner import Different, Plant, Runner
from tests.differential.scenario import Generator
from tests.differential.servers import CannotStart, Mansio, Redis, Server
from tests.differential.shrink import Play, shrunk
from tests.differential.side import Side, Stuck
from tests.differential.steps import Scenario, shown

SCENARIO: Final = 800
SEEDS_MAX: Final = 1 << 32
TRIES: Final = 400
"""Scenarios that may be played to shrink one."""
DURABLE_TRIES: Final = 100
"""The same where each one starts servers."""
PROGRESS_S: Final = 10.0


@dataclass(slots=True)
class Plan:
    """What is asked for."""

    seed: int
    commands: int
    protocols: tuple[int, ...] = (2, 3)
    families: tuple[str, ...] = FAMILIES
    keep: int = 1
    """After so many differences of different kinds it ends."""
    durable: bool = False
    """Mansio has its log on disk, and is killed and started again behind each scenario."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    commands: int = 0
    scenarios: int = 0
    findings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    excused: dict[str, int] = field(default_factory=dict)
    asked: dict[bytes, int] = field(default_factory=dict)


def compare(
    plan: Plan, redis: Server, mansio: Server, plant: Plant | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:  # fmt: skip
    """Plays scenarios on two running servers until there were enough commands or differences."""
    sides = Side("redis", redis.port), Side("mansio", mansio.port)
    runner = Runner(*sides, plant)
    restarting = (lambda: restart(sides[1], mansio)) if plan.durable else None
    missing = sides[1].lacks(
        {line.name.lower() for lines in TABLES.values() for line in lines if line.name.isupper()}
    )
    outcome = Outcome(missing=sorted(missing))
    generator = Generator(Random(plan.seed), plan.families, plan.protocols, missing)
    kinds: set[tuple[bytes, ...]] = set()
    begin = shown_s = time.monotonic()
    try:
        while runner.commands < plan.commands and len(kinds) < plan.keep:
            scenario = generator.scenario(SCENARIO)
            outcome.scenarios += 1
            runner.restart = restarting
            different = runner.run(scenario)
            if different is not None and different.kind() not in kinds:
                kinds.add(different.kind())
                play, tries = runner.run, TRIES
                if different.at < len(scenario.steps):
                    runner.restart = None
                elif restarting is not None:
                    play, tries = partial(play_anew, runner, mansio), DURABLE_TRIES
                small = shrunk(play, scenario, different, tries)
                report = told(play, small, outcome.scenarios, different)
                outcome.findings.append(report)
                say(report)
            if (now := time.monotonic()) - shown_s > PROGRESS_S:
                shown_s = now
                say(f"differential: {runner.commands} commands, {now - begin:.0f} s")
        for side in sides:
            side.end()
    except Stuck as error:
        outcome.findings.append(f"scenario {outcome.scenarios}: {error}")
        say(outcome.findings[-1])
    finally:
        for side in sides:
            side.close()
    outcome.commands = runner.commands
    outcome.excused, outcome.asked = dict(runner.excused), dict(runner.asked)
    return outcome


def play_anew(runner: Runner, server: Server, scenario: Scenario) -> Different | None:
    """On a server that remembers nothing of other scenarios."""
    restart(runner.mansio, server, empty=True)
    return runner.run(scenario)


def restart(side: Side, server: Server, empty: bool = False) -> str:
    """The server is killed, and comes back with what it had promised to keep; if not, why, and it comes back empty."""
    server.kill()
    if empty:
        server.forget()
    try:
        server.start()
        fault = ""
    except CannotStart as error:
        fault = str(error)
        server.forget()
        server.start()
    side.restarted(server.port)
    return fault


def told(play: Play, scenario: Scenario, number: int, first: Different) -> str:
    """The steps of a shrunk scenario, and the replies that are not the same."""
    different = play(scenario) or first
    protocols = ", ".join(f"{i}: RESP{n}" for i, n in enumerate(scenario.protocols))
    lines = [f"difference in scenario {number} (clients {protocols}):"]
    lines += [f"  {step}" for step in scenario.steps]
    if different is first:
        lines.append("  (it did not come again when this was repeated)")
    lines.append(f"on {different.step}: client {different.client} heard")
    pairs = zip_longest(different.redis, different.mansio, fillvalue=b"")
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    for name, raws in (("Redis ", different.redis), ("Mansio", different.mansio)):
        lines += [f"  {name}: {shown_reply(raw)}" for raw in raws[same : same + 12]]
    return "\n".join(lines)


def shown_reply(raw: bytes) -> str:
    """A reply on one line."""
    text = shown(raw) if len(raw) <= 60 else repr(raw)[1:]
    return text if len(text) < 1500 else f"{text[:1500]}…"


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="fresh where it is not given")
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--resp", type=int, choices=(2, 3), help="else clients of both kinds")
    parser.add_argument("--families", default=",".join(FAMILIES), help="all: %(default)s")
    parser.add_argument("--keep", type=int, default=1, help="go on up to so many differences")
    parser.add_argument("--durable", action="store_true", help="kill -9 behind each scenario")
    parser.add_argument("--against", choices=("mansio", "redis"), default="mansio")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1: there are differences, 2: a server does not start."""
    chosen = options(arguments)
    families = tuple(chosen.families.split(","))
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        print(f"differential: no such family: {', '.join(unknown)}", file=sys.stderr)
        return 2
    plan = Plan(
        seed=SystemRandom().randrange(SEEDS_MAX) if chosen.seed is None else chosen.seed,
        commands=chosen.commands,
        protocols=(chosen.resp,) if chosen.resp else (2, 3),
        families=families,
        keep=chosen.keep,
        durable=chosen.durable,
    )
    print(f"differential: seed {plan.seed}, {plan.commands} commands", flush=True)
    redis, begin = Redis(), time.monotonic()
    other: Server = Redis() if chosen.against == "redis" else Mansio(plan.durable)
    with ExitStack() as stack:
        try:
            for server in (redis, other):
                stack.callback(server.close)
                server.start()
        except CannotStart as error:
            print(f"differential: {error}", file=sys.stderr)
            return 2
        outcome = compare(plan, redis, other, say=lambda text: print(text, flush=True))
        if outcome.findings and "Traceback" in other.output():
            print(other.output()[-4000:])
    return summary(plan, outcome, time.monotonic() - begin)


def summary(plan: Plan, outcome: Outcome, seconds: float) -> int:
    """Says what came of it; the exit code."""
    if outcome.missing:
        print(f"differential: not sent, since Mansio has not: {', '.join(outcome.missing)}")
    for title, count in sorted(outcome.excused.items()):
        print(f"differential: {count} times: {title}")
    print(
        f"differential: {outcome.commands} commands in {outcome.scenarios} scenarios,"
        f" {seconds:.0f} s, {len(outcome.findings)} undocumented differences (seed {plan.seed})"
    )
    return 1 if outcome.findings else 0
