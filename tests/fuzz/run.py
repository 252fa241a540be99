"""Runs fuzz targets one after another and says what came of it: used by `make fuzz`.

    python tests/fuzz/run.py --seconds 60 --target all [--seed N]

With atheris installed every target runs in a process of its own, guided by coverage, on the corpus
in tests/fuzz/corpus; what it finds lies in tests/fuzz/crashes. Without atheris the same targets
run on blind mutations. Exit code 1 when something was found. Python 3.11 has atheris from PyPI.
"""

from __future__ import annotations

import argparse
import importlib
import re
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import harness

HERE = harness.HERE
ROOT = HERE.parents[1]
TARGETS = ("values", "methods", "scan", "connection", "resp", "zmtp", "zmtp_front")
GRACE_S = 120
_RSS = re.compile(r"rss: (\d+)Mb")
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


def have_atheris() -> bool:
    try:
        importlib.import_module("atheris")
    except ImportError:
        return False
    return True


def guided(name: str, seconds: int, seed: int) -> bool:
    """Fuzzes one target under atheris; True when nothing was found."""
    command = [
        sys.executable,
        str(HERE / f"fuzz_{name}.py"),
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + GRACE_S,
        check=False,
    )
    memory = [int(found) for found in _RSS.findall(done.stdout)] or [0]
    runs = _RUNS.search(done.stdout)
    report(name, seed, int(runs[1]) if runs else 0, memory[0], memory[-1], "atheris")
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-60:]))
    return done.returncode == 0


def blind(name: str, seconds: int, seed: int) -> bool:
    """Runs one target on mutations of its seeds, without coverage; True when nothing was found."""
    target = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    first = rss_mib()
    runs = 0
    stop = time.monotonic() + seconds
    for data in harness.inputs(target, seed):
        try:
            target.run(data)
        except Exception:
            traceback.print_exc()
            path = harness.CRASHES / f"{name}-seed-{seed}-run-{runs}"
            harness.CRASHES.mkdir(exist_ok=True)
            path.write_bytes(data)
            print(f"{name}: found after {runs} executions: {path}")
            return False
        runs += 1
        if time.monotonic() > stop:
            break
    report(name, seed, runs, first, rss_mib(), "blind")
    return True


def rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def report(name: str, seed: int, runs: int, first: int, last: int, how: str) -> None:
    print(f"{name}: seed {seed}, {runs} executions, RSS {first} -> {last} MiB ({how})", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz Mansio's parsers and state machines.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--seed", type=int, default=0, help="0: the clock decides")
    options = parser.parse_args()
    seed = options.seed or int(time.time())
    names = TARGETS if options.target == "all" else (options.target,)
    one = guided if have_atheris() else blind
    results = [one(name, options.seconds, seed) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
