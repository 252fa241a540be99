"""A short form of `make sim`, and the proof that it finds bugs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest

from tests.sim.cli import main, run
from tests.sim.planted import PLANTED, Planted, find
from tests.sim.planted_zmtp import with_peers

SEEDS = 40
STEPS = 300
SEEDS_MAX = 250
"""A planted bug has to be found within so many."""


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_worlds_pass(first: int) -> None:
    for seed in range(first, first + 10):
        result = run(seed, STEPS)
        assert not result.error, f"python -m tests.sim --seed {seed} --steps {STEPS} -v"


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_worlds_with_peers_pass(first: int) -> None:
    for seed in range(first, first + 10):
        with with_peers(nullcontext()):
            result = run(seed, STEPS)
        assert not result.error, f"seed {seed}, in worlds as those of `with_peers`"


def test_a_seed_decides_everything() -> None:
    first, again = run(7, STEPS), run(7, STEPS)
    assert first == again
    assert first.digest != run(8, STEPS).digest


def test_a_world_whose_letters_multiply_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.network.LETTERS_MAX", 0)
    results = [run(seed, STEPS) for seed in range(5)]
    assert any(result.left for result in results)
    assert not any(result.error for result in results)


@pytest.mark.parametrize("checking", [True, False], ids=["checked", "oracle-alone"])
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name.replace(" ", "-"))
def test_planted_bug_is_found(bug: Planted, checking: bool) -> None:
    found = find(bug, range(SEEDS_MAX), partial(run, steps=bug.steps, checking=checking))
    assert found is not None


def test_a_failing_seed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    bug = PLANTED[0]
    with bug.plant():
        assert main(["--seeds", "0:100", "--steps", "200", "--failures", "1"]) == 1
    shown = capsys.readouterr().out
    assert "python -m tests.sim --seed" in shown
    assert "1 failed" in shown
