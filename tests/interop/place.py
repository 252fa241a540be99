"""Where a section is played: how to connect there, and how time passes."""

from __future__ import annotations

import time
from typing import Protocol

from tests.interop.wire import Wire


class Place(Protocol):
    """A broker and its clock."""

    def dial(self) -> Wire:
        """A new connection."""

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""

    def now_seconds(self) -> int:
        """The broker's clock: Unix time."""


class Sockets:
    """A broker that listens on a TCP port; time is the world's."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def dial(self) -> Wire:
        """A new connection."""
        return Wire(self.host, self.port)

    def wait(self, milliseconds: int) -> None:
        """Sleep."""
        time.sleep(milliseconds / 1000)

    def now_seconds(self) -> int:
        """The time of this machine."""
        return int(time.time())
