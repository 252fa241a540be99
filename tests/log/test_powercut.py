"""A slice of the power cuts, and that they would find a log that does not sync."""

from __future__ import annotations

import pytest

from mansio.log.base import LogError
from mansio.log.segments.tip import Tip
from tests.log.powercut import Life, policy


def failures(seeds: range, honest: bool = True) -> int:
    count = 0
    for seed in seeds:
        try:
            Life(seed, "always", honest).run()
        except (AssertionError, LogError):
            count += 1
    return count


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_nothing_confirmed_is_lost(first: int) -> None:
    starts = 0
    for seed in range(first, first + 20):
        life = Life(seed, policy(seed))
        life.run()
        starts += life.starts
    assert starts > 40


def test_a_disk_that_ignores_syncs_is_noticed() -> None:
    assert failures(range(10), honest=False) >= 5


def test_a_store_that_does_not_sync_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Tip.write

    def write_lazily(self: Tip, *args: object, **options: object) -> None:
        self._durable = False
        write(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Tip, "write", write_lazily)
    assert failures(range(10)) >= 5
