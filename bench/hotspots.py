"""Where the broker's time goes: one scenario under a profiler.

    python -m bench.hotspots SCENARIO                  cProfile: Python functions (slows them down)
    python -m bench.hotspots SCENARIO --tool perf      perf: C functions, the kernel's among them
    python -m bench.hotspots SCENARIO --tool py-spy    py-spy: Python lines, by sampling

cProfile sees nothing inside the compiled codec; `--pure` shows its functions as Python.
perf and py-spy have to be installed, and may need privileges.
"""

import argparse
import pstats
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

if not __package__:  # called by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import contenders, load, peers
from bench.contenders import CONTENDERS
from bench.run import prepare_process, say
from bench.scenarios import SCENARIOS, Scenario

WARM_UP_S = 1.0


class Profiled(peers.Mansio):
    """Mansio under cProfile; the profile is written when it stops."""

    output: ClassVar[Path]

    def command(self) -> list[str]:
        interpreter, *rest = super().command()
        return [interpreter, "-m", "cProfile", "-o", str(self.output), *rest]


def with_cprofile(scenario: Scenario, seconds: float, lines: int, pure: bool) -> None:
    """Print the functions that took most time themselves."""
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        Profiled.output, Profiled.pure = Path(folder, "profile"), pure
        with Profiled() as peer:
            contenders.run(CONTENDERS["mansio"], peer, scenario, seconds)
        statistics = pstats.Stats(str(Profiled.output))
        statistics.strip_dirs().sort_stats("tottime").print_stats(lines)


def with_sampler(tool: str, scenario: Scenario, seconds: float, lines: int, pure: bool) -> None:
    """Attach perf or py-spy to the running broker and print what it found."""
    program = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
    if program is None:
        raise load.LoadError(f"{tool} is not installed")
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        found = str(Path(folder, "samples"))
        with (peers.PureMansio if pure else peers.Mansio)() as peer:
            contenders.run(CONTENDERS["mansio"], peer, scenario, WARM_UP_S)
            pid = str(peer.pids()[0])
            attached = {
                "perf": [program, "record", "-g", "-q", "-o", found, "-p", pid],
                "py-spy": [program, "record", "-n", "-f", "raw", "-o", found, "-p", pid,
                           "-d", f"{seconds:.0f}"],
            }[tool]  # fmt: skip
            sampler = subprocess.Popen(attached, stdout=subprocess.DEVNULL)
            try:
                contenders.run(CONTENDERS["mansio"], peer, scenario, seconds)
            finally:
                sampler.terminate() if tool == "perf" else None
                sampler.wait()
        if tool == "perf":
            shown = [program, "report", "-i", found, "--stdio", "--no-children", "-g", "none"]
            text = subprocess.run(shown, capture_output=True, text=True, check=False).stdout
            rows = [line for line in text.splitlines() if line and not line.startswith("#")]
        else:
            rows = innermost(Path(found).read_text())
        print("\n".join(rows[:lines]))


def innermost(folded: str) -> list[str]:
    """Share of samples by innermost frame, from py-spy's folded stacks, the largest first."""
    counts: dict[str, int] = {}
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        leaf = stack.rpartition(";")[2]
        counts[leaf] = counts.get(leaf, 0) + int(count)
    total = sum(counts.values()) or 1
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    return [f"{100 * count / total:5.1f} %  {leaf}" for leaf, count in ranked]


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 2 when it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="bench.hotspots", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scenario", choices=[s.name for s in SCENARIOS])
    parser.add_argument("--tool", choices=("cprofile", "perf", "py-spy"), default="cprofile")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--pure", action="store_true", help="the codec as plain Python")
    chosen = parser.parse_args(arguments)
    scenario = next(s for s in SCENARIOS if s.name == chosen.scenario)
    pure = chosen.pure or scenario.pure
    prepare_process()
    try:
        load.build()
        if chosen.tool == "cprofile":
            with_cprofile(scenario, chosen.seconds, chosen.lines, pure)
        else:
            with_sampler(chosen.tool, scenario, chosen.seconds, chosen.lines, pure)
    except (peers.PeerError, load.LoadError, OSError) as error:
        say(f"hotspots: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
