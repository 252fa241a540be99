"""Sockets of libzmq that live through the ends of brokers: whoever has not been answered in time makes a new one.

libzmq connects again by itself, and sends a new broker what it could not send the old one. So before a broker is
started again, every pirate has to have read all that the old one has said: it `saw` the end.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import zmq

from tests.resp_client import HOST

LOOK_MS: Final = 20
SEEN_S_MAX: Final = 20.0


class Stopped(Exception):
    """The round is over."""


class Fleet:
    """All pirates of one round."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.context: zmq.Context[Any] = zmq.Context()
        self.stopping = False
        self._ends = 0
        self._seen: dict[Pirate, int] = {}
        self._lock = threading.Lock()

    def look(self) -> int:
        """To be called before a pirate looks for a reply; see `saw`."""
        return self._ends

    def saw(self, pirate: Pirate, ends: int) -> None:
        """There was nothing to read, `ends` before that."""
        with self._lock:
            self._seen[pirate] = ends

    def left(self, pirate: Pirate) -> None:
        """It does not come again."""
        with self._lock:
            self._seen.pop(pirate, None)

    def broker_ended(self) -> bool:
        """Waits until all have read what it has said; whether they have."""
        self._ends += 1
        deadline = time.monotonic() + SEEN_S_MAX
        while time.monotonic() < deadline:
            with self._lock:
                if all(ends >= self._ends for ends in self._seen.values()):
                    return True
            time.sleep(0.005)
        return False

    def close(self) -> None:
        """All have left."""
        self.context.destroy(linger=0)


class Pirate:
    """A REQ. Use it as a context manager, whose body ends with Stopped."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._socket: Any = None

    def __enter__(self) -> Pirate:
        self.fleet.saw(self, self.fleet.look())
        return self

    def __exit__(self, *exc: object) -> None:
        self.hang_up()
        self.fleet.left(self)

    def ask(self, patience_s: float, *frames: bytes) -> list[bytes] | None:
        """A request and its reply; None: it did not come in time. Stopped."""
        if self._socket is None:
            self._socket = self.fleet.context.socket(zmq.REQ)
            self._socket.connect(f"tcp://{HOST}:{self.fleet.port}")
        self._socket.send_multipart(frames)
        deadline = time.monotonic() + patience_s
        while True:
            ends = self.fleet.look()
            if self._socket.poll(LOOK_MS):
                reply: list[bytes] = self._socket.recv_multipart()
                return reply
            self.fleet.saw(self, ends)
            if self.fleet.stopping:
                raise Stopped
            if time.monotonic() > deadline:
                return None

    def hang_up(self) -> None:
        """Whatever is under way is not heard any more."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None
