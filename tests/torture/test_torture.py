"""The short forms of the torture, with real broker processes; the long ones are make torture, disk-full and backlog."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import SystemRandom

import pytest

from tests.torture.backlog import Backlog
from tests.torture.cli import summary
from tests.torture.disk_full import SHAPES, CannotMount
from tests.torture.disk_full import run as run_disk_full
from tests.torture.rounds import Torture

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

ROUNDS = 20
SEEDS_MAX = 1 << 32


def test_nothing_is_lost_in_twenty_kills(tmp_path: Path) -> None:
    seed = SystemRandom().randrange(SEEDS_MAX)
    with Torture(tmp_path / "torture", seed, kill_s_max=0.3) as torture:
        report = torture.run(ROUNDS)
    print(f"seed {seed}\n{summary(report)}")
    assert not report.findings, "\n".join([f"seed {seed}", *report.findings])
    assert report.rounds == ROUNDS
    assert report.counts["drains"] and report.counts["received"]
    assert report.counts["entries read"] and report.counts["group entries received first"]


def test_a_broker_that_keeps_nothing_is_found_out(tmp_path: Path) -> None:
    with Torture(tmp_path / "torture", 1, {"kill": 1}, options=("--in-memory",)) as torture:
        report = torture.run(3)
    assert any("LOST" in finding or "TOPOLOGY" in finding for finding in report.findings)
    assert report.rounds < 3 or report.findings


@pytest.mark.parametrize("shape", SHAPES)
def test_a_full_disk_loses_nothing(shape: str) -> None:
    try:
        outcome, wrong = run_disk_full(SHAPES[shape])
    except CannotMount as error:
        pytest.skip(f"no small filesystem: {error}")
    assert not wrong, "\n".join([str(outcome), *wrong])
    assert outcome.counts["confirmed"] and outcome.counts["drains"] == 3


@pytest.mark.skipif(not shutil.which("cc"), reason="the load generator needs a C compiler")
def test_a_backlog_comes_out_as_it_went_in(tmp_path: Path) -> None:
    figures = Backlog(tmp_path, 100_000, ("--memory-budget", "16MiB")).run()
    assert not figures.faults
    assert figures.drained_mib < figures.full_mib + 1
