"""`python -m tests.torture.redis`: kills a broker under Redis clients again and again; did it lose anything?

Needs a redis-server, which tells what the state must be.
"""

from __future__ import annotations

import argparse
import sys
from random import SystemRandom

from tests.differential.servers import Mansio
from tests.torture.redis_rounds import OPTIONS, RedisTorture, Report


def summary(report: Report) -> str:
    """What happened, in a few lines."""
    kinds = ", ".join(f"{name} {count}" for name, count in report.kinds.most_common())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()))
    return (
        f"torture: {report.rounds} rounds with Redis clients ({kinds})\n"
        f"torture: {counts}\n"
        f"torture: {len(report.findings)} findings"
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.redis", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, help="fresh where it is not given")
    parser.add_argument("broker", nargs="*", help="options for the broker, behind --")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 32)
    print(f"torture: seed {seed}, {options.rounds} rounds with Redis clients", flush=True)
    server = Mansio(durable=True, options=(*OPTIONS, *options.broker))
    with RedisTorture(server, seed) as torture:
        report = torture.run(options.rounds)
    print("\n".join([*report.findings, summary(report)]))
    if report.findings:
        print(f"    python -m tests.torture.redis --seed {seed} --rounds {options.rounds}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
