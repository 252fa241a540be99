"""A slice of the bit flips."""

from __future__ import annotations

import pytest

from tests.log.bitflips import FlippedLog, Wrong, run


@pytest.mark.parametrize("seed", range(6))
def test_flips_are_harmless_or_reported(seed: int) -> None:
    counts = run([seed], 60)
    assert counts["damaged"] > 10
    assert counts["complete"] > 0


def test_a_wrong_entry_would_be_noticed() -> None:
    log = FlippedLog(0)
    seq = next(iter(sorted(log.entries)[-5:]))
    log.entries[seq] = [b"something else"]
    with pytest.raises(Wrong, match=f"entry {seq} is not"):
        log.check(next(iter(log.files)), 1000)
