"""A line now and then about work that takes long, for who looks on: nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Final

PROGRESS_S: Final = 2.0
"""Between two lines, and before the first."""


class Progress:
    """How far something is, in bytes; `verb` says what is done with them."""

    def __init__(self, verb: str, total: int = 0) -> None:
        self.total = total
        self._verb = verb
        self._done = 0
        self._started = self._told = time.monotonic()
        self._shown = sys.stderr.isatty()

    def add(self, size: int) -> None:
        """So many more bytes are done."""
        self._done += size
        if not self._shown:
            return
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        rate = self._done / (now - self._started)
        of = f" of {self.total >> 20}" if self.total else ""
        text = f"{self._verb}: {self._done >> 20}{of} MiB, {int(rate) >> 20} MiB/s"
        print(f"mansio: {text}", file=sys.stderr, flush=True)
