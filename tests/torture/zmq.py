"""`python -m tests.torture.zmq`: kills a broker under ZeroMQ clients again and again; did it lose anything?"""

from __future__ import annotations

import argparse
import sys
from random import SystemRandom

from tests.torture.zmq_rounds import Report, ZmqTorture

PROGRESS_ROUNDS = 20


def summary(report: Report) -> str:
    """What happened, in a few lines."""
    kinds = ", ".join(f"{name} {count}" for name, count in report.kinds.most_common())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()))
    return (
        f"torture: {report.rounds} rounds with ZeroMQ clients, {report.starts} starts ({kinds})\n"
        f"torture: {counts}\n"
        f"torture: {len(report.findings)} findings"
    )


def progress(report: Report) -> None:
    """A line now and then."""
    if report.rounds % PROGRESS_ROUNDS == 0:
        print(f"torture: {report.rounds} rounds, {report.starts} starts", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.zmq", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, help="fresh where it is not given")
    parser.add_argument("broker", nargs="*", help="options for the broker, behind --")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 32)
    print(f"torture: seed {seed}, {options.rounds} rounds with ZeroMQ clients", flush=True)
    with ZmqTorture(seed, tuple(options.broker)) as torture:
        report = torture.run(options.rounds, progress)
    print("\n".join([*report.findings, summary(report)]))
    if report.findings:
        print(f"    python -m tests.torture.zmq --seed {seed} --rounds {options.rounds}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
