"""The command line of the torture. See `__main__.py`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom
from statistics import median

from tests.torture.judge import judge_file
from tests.torture.rounds import Report, Torture

PROGRESS_S = 10.0


def summary(report: Report) -> str:
    """What happened, in a few lines."""
    starts = sorted(report.starts_s) or [0.0]
    kinds = ", ".join(f"{name} {count}" for name, count in report.kinds.most_common())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(report.counts.items()))
    return (
        f"torture: {report.rounds} rounds ({kinds})\n"
        f"torture: {counts}\n"
        f"torture: {len(starts)} starts, median {median(starts):.3f} s, longest {starts[-1]:.3f} s\n"
        f"torture: {len(report.findings)} findings"
    )


class Progress:
    """A line now and then."""

    def __init__(self) -> None:
        self._begun = self._shown = time.monotonic()

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._shown > PROGRESS_S:
            self._shown = now
            sent, received = report.counts.get("sent", 0), report.counts.get("received", 0)
            print(
                f"torture: {report.rounds} rounds, {now - self._begun:.0f} s, {sent} sent,"
                f" {received} received, last start {report.starts_s[-1]:.3f} s",
                flush=True,
            )


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, help="fresh where it is not given")
    parser.add_argument("--dir", type=Path, help="where data, log and journal go, and stay")
    parser.add_argument(
        "--replies-prove-nothing",
        action="store_true",
        help="do not expect that declare-ok and its like mean durable",
    )
    parser.add_argument("--judge", type=Path, metavar="JOURNAL", help="judge a kept journal again")
    parser.add_argument("broker", nargs="*", help="options for the broker, behind --")
    options = parser.parse_args(arguments)
    proof = not options.replies_prove_nothing
    if options.judge is not None:
        findings, counts = judge_file(options.judge, proof)
        print("\n".join([*findings, f"torture: {counts}", f"torture: {len(findings)} findings"]))
        return 1 if findings else 0
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 32)
    folder = options.dir or Path(tempfile.mkdtemp(prefix="mansio-torture-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    print(f"torture: seed {seed}, {options.rounds} rounds, in {folder}", flush=True)
    with Torture(folder, seed, reply_is_proof=proof, options=tuple(options.broker)) as torture:
        report = torture.run(options.rounds, Progress())
    for finding in report.findings:
        print(finding)
    print(summary(report))
    if report.findings:
        print(f"torture: data, broker.log and journal.bin are in {folder}")
        print(f"    python -m tests.torture --seed {seed} --rounds {options.rounds}")
        return 1
    if options.dir is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
