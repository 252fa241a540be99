"""Where a section is played: how to connect there, and how time passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from tests.interop.control import Control
from tests.interop.wire import Wire


class Place(Protocol):
    """A broker and its clock."""

    def dial(self) -> Wire:
        """A new connection."""

    def wait(self, milliseconds: int) -> None:
        """Let time pass."""

    def now_seconds(self) -> int:
        """The broker's clock: Unix time."""

    def control(self, words: Sequence[str]) -> None:
        """What an operator does, in the words of rabbitmqctl; raises AssertionError when it is refused."""


class Sockets:
    """A broker that listens on a TCP port; time is the world's.

    management_port is that of RabbitMQ's HTTP API, which operators' commands go to; 0 when there is none.
    """

    def __init__(self, host: str, port: int, management_port: int = 0) -> None:
        self.host, self.port = host, port
        self.management_port = management_port

    def dial(self) -> Wire:
        """A new connection."""
        return Wire(self.host, self.port)

    def wait(self, milliseconds: int) -> None:
        """Sleep."""
        time.sleep(milliseconds / 1000)

    def now_seconds(self) -> int:
        """The time of this machine."""
        return int(time.time())

    def control(self, words: Sequence[str]) -> None:
        """Over the HTTP API."""
        assert self.management_port, "no operator's commands without the port of the HTTP API"
        Control(self.host, self.management_port).do(words)
