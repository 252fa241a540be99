"""The command line of the simulation. See `__main__.py`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import SystemRandom

from tests.sim.network import Note, Storm
from tests.sim.planted import PLANTED, find
from tests.sim.world import World

STEPS = 500
FRESH = 1000
PROGRESS_S = 5.0


@dataclass(slots=True)
class Result:
    """How one seed went; `error` is '' if nothing was wrong. `digest`: of every byte that the broker sent. `left`: its
    letters began to multiply, and that was its end."""

    seed: int
    digest: int
    messages: int
    error: str = ""
    left: bool = False


def run(seed: int, steps: int, note: Note | None = None, checking: bool = True) -> Result:
    """Lets one world live and end."""
    world = World(seed, note, checking)
    error, left = "", False
    try:
        with world.profile.constants():
            for _ in range(steps):
                world.step()
            world.finish()
    except Storm:
        left = True
    except Exception as exception:  # whatever it is, it is a bug of ours
        where = traceback.extract_tb(exception.__traceback__)[-1]
        place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
        error = f"step {world.steps}, {type(exception).__name__} at {place}: {exception}"
        if note is not None:
            traceback.print_exc()
    return Result(seed, world.server.digest, world.operations.published, error, left)


def run_all(seeds: range, steps: int, jobs: int) -> Iterator[Result]:
    """One result for each seed, in the order in which they end."""
    if jobs == 1:
        yield from (run(seed, steps) for seed in seeds)
        return
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(run, steps=steps), seeds, 8)


def report(seeds: range, steps: int, jobs: int, failures_max: int) -> int:
    """Runs the seeds, prints failures as they come and a line at the end; 1 if there were any."""
    started = shown = time.monotonic()
    done = failed = left = messages = 0
    for result in run_all(seeds, steps, jobs):
        done += 1
        messages += result.messages
        left += result.left
        if result.error:
            failed += 1
            print(f"seed {result.seed}: {result.error}")
            print(f"    python -m tests.sim --seed {result.seed} --steps {steps} -v")
            if failed >= failures_max:
                break
        now = time.monotonic()
        if now - shown > PROGRESS_S:
            shown = now
            rate = done / (now - started)
            print(f"sim: {done} of {len(seeds)} seeds, {rate:.1f} a second", flush=True)
    seconds = time.monotonic() - started
    print(
        f"sim: {done} seeds ({seeds.start}:{seeds.stop}) of {steps} steps, {failed} failed, {left} left, "
        f"{messages} messages, {seconds:.0f} s, {done / seconds:.1f} seeds a second"
    )
    return 1 if failed else 0


def report_planted(seeds: int, steps: int) -> int:
    """Shows that each planted bug is found, by all that looks, and by the oracle alone."""
    missed = 0
    for bug in PLANTED:
        for checking in (True, False):
            started = time.monotonic()
            found = find(bug, range(seeds), partial(run, steps=steps, checking=checking))
            who = "with check(broker)" if checking else "by the oracle alone"
            took = f"{time.monotonic() - started:.1f} s"
            if found is None:
                missed += 1
                print(f"{bug.name}, {who}: NOT FOUND in {seeds} seeds, {took}")
            else:
                print(f"{bug.name}, {who}: seed {found.seed}, {took}: {found.error[:150]}")
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--seeds", help="run these: FROM:TO")
    parser.add_argument("--count", type=int, default=FRESH, help="how many fresh seeds")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--failures", type=int, default=5, help="stop after so many")
    parser.add_argument("--planted", action="store_true", help="find bugs that are put in")
    parser.add_argument("-v", "--verbose", action="store_true", help="write down what happens")
    options = parser.parse_args(arguments)
    if options.planted:
        return report_planted(100, options.steps)
    if options.seed is not None:
        result = run(options.seed, options.steps, print if options.verbose else None)
        ended = result.error or ("left, letters multiply" if result.left else "passed")
        print(f"seed {result.seed}: {ended}, digest {result.digest:08x}")
        return 1 if result.error else 0
    if options.seeds:
        first, _, last = options.seeds.partition(":")
        seeds = range(int(first), int(last))
    else:
        first = SystemRandom().randrange(1 << 40)
        seeds = range(first, first + options.count)
        print(f"sim: fresh seeds {seeds.start}:{seeds.stop}", flush=True)
    return report(seeds, options.steps, options.jobs, options.failures)


if __name__ == "__main__":
    sys.exit(main())
