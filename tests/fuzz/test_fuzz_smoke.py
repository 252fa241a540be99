"""A few thousand executions of each fuzz target with fixed seeds, without atheris."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import (
    fuzz_connection,
    fuzz_methods,
    fuzz_resp,
    fuzz_scan,
    fuzz_values,
    fuzz_zmtp,
    fuzz_zmtp_front,
    harness,
)
from tests.fuzz.story import plain
from tests.fuzz.streams import publish

TARGETS = {
    target.NAME: (target, executions)
    for target, executions in (
        (fuzz_values, 4000),
        (fuzz_methods, 4000),
        (fuzz_scan, 1000),
        (fuzz_connection, 400),
        (fuzz_resp, 3000),
        (fuzz_zmtp, 3000),
        (fuzz_zmtp_front, 40),
    )
}
RUN = Path(__file__).with_name("run.py")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_target(name: str, seed: int) -> None:
    target, executions = TARGETS[name]
    for data in itertools.islice(harness.inputs(target, seed), executions):
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"input of fuzz_{name}: {data!r}")
            raise


def test_a_target_that_fails_is_noticed() -> None:
    """The scanner's oracle tells a scanner that loses a message."""

    class Forgetful(fuzz_scan.Reader):
        def run(self, item: object) -> None:
            """Loses it."""

    stream = publish(harness.Choices(bytes(12)))
    honest, forgetful = fuzz_scan.Reader(fuzz_scan.PURE), Forgetful(fuzz_scan.PURE)
    honest.receive(stream, b"")
    forgetful.receive(stream, b"")
    assert honest.story.plain() == plain(stream).plain()
    assert forgetful.story.plain() != plain(stream).plain()


def test_mutations_depend_on_the_seed_alone() -> None:
    def some(seed: int) -> list[bytes]:
        return list(itertools.islice(harness.inputs(fuzz_values, seed), 50))

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert all(len(data) <= harness.INPUT_BYTES_MAX for data in some(1))
    long = harness.mutate(random.Random(1), [bytes(harness.INPUT_BYTES_MAX)] * 2)
    assert len(long) <= harness.INPUT_BYTES_MAX


def test_the_runner_reports_executions_and_memory() -> None:
    command = [sys.executable, str(RUN), "--seconds", "1", "--target", "values", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    assert words[:3] == ["values:", "seed", "7,"]
    assert int(words[3]) > 100
    assert "RSS" in words
