"""How a directory in use is judged: what looks like damage only once was a write under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from mansio.log.base import Damaged
from mansio.tools import survey as module
from mansio.tools.survey import survey
from tests.tools.logs import LogMaker, gaps


@pytest.mark.parametrize(
    ("offsets", "in_use", "damage"),
    [([10], True, None), ([10, 20, 30], True, None), ([10, 20, 20], True, 20), ([10], False, 10)],
)
def test_damage_is_what_looks_the_same_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    offsets: list[int],
    in_use: bool,
    damage: int | None,
) -> None:
    maker = LogMaker(tmp_path)
    if not in_use:
        maker.close()
    original, left = module.recover, list(offsets)

    def looked(*arguments: object) -> object:
        if left:
            raise Damaged("looks odd", left.pop(0), "a file")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "recover", looked)
    found = survey(tmp_path).damage
    assert (found.offset if found else None) == damage
    assert left == []
    if in_use:
        maker.close()


def test_a_file_that_goes_away_during_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = LogMaker(tmp_path)
    maker.close()
    original, count = module.file_faults, 0

    def gone(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 1:
            raise module.Moved("trimmed")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "file_faults", gone)
    assert gaps(tmp_path) == []
    assert count == 2
