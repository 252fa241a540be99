"""Lines about work that takes long."""

import io
import sys

import pytest

from mansio.tools import progress
from mansio.tools.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_when_it_is_time_and_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    work = Progress("copying", 50 << 20)
    for _ in range(5):
        now[0] += 1
        work.add(10 << 20)
    first = "mansio: copying: 20 of 50 MiB, 10 MiB/s\n"
    assert screen.getvalue() == first + "mansio: copying: 40 of 50 MiB, 10 MiB/s\n"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    silent = Progress("copying")
    now[0] += 10
    silent.add(1)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
