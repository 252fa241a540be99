"""A ZeroMQ peer without libzmq: a blocking socket that says ZMTP 3.1, so that what has been sent and heard is known.

libzmq keeps what could not be sent for the next broker that comes, and reads ahead; this does neither. When the broker
is gone there is an OSError.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from typing import Final

from tests.resp_client import HOST

CONNECT_S_MAX: Final = 10.0
SILENCE_S_MAX: Final = 60.0
RECEIVE_BYTES: Final = 1 << 18
MORE, LONG, COMMAND = 1, 2, 4
_GREETING: Final = b"\xff\0\0\0\0\0\0\0\x01\x7f\3\1" + b"NULL".ljust(20, b"\0") + bytes(32)


def frame(flags: int, body: bytes) -> bytes:
    """As it is on the wire."""
    if len(body) > 255:
        return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body
    return bytes((flags, len(body))) + body


def message(frames: list[bytes]) -> bytes:
    """All its frames."""
    last = len(frames) - 1
    return b"".join(frame(MORE if n < last else 0, body) for n, body in enumerate(frames))


class RawPeer:
    """One connection of a REQ or DEALER."""

    def __init__(self, port: int, socket_type: str = "DEALER") -> None:
        """Connects, as soon as somebody listens there, and shakes hands. OSError."""
        self._socket = _connect(port)
        self._socket.settimeout(SILENCE_S_MAX)
        self._data = bytearray()
        self._frames: list[bytes] = []
        self._heard: deque[list[bytes]] = deque()
        try:
            name = socket_type.encode()
            ready = b"\5READY\x0bSocket-Type" + len(name).to_bytes(4, "big") + name
            self._socket.sendall(_GREETING + frame(COMMAND, ready))
            while len(self._data) < len(_GREETING):
                self._read()
            del self._data[: len(_GREETING)]
        except OSError:
            self.close()
            raise

    def send(self, *messages: list[bytes]) -> None:
        """All at once."""
        self._socket.sendall(b"".join(map(message, messages)))

    def receive(self) -> list[bytes]:
        """The next message. OSError: none will come."""
        while not self._heard:
            self._parse()
            if not self._heard:
                self._read()
        return self._heard.popleft()

    def has_message(self) -> bool:
        """Whether `receive` need not wait, as far as is known."""
        while not self._heard and select.select([self._socket], [], [], 0)[0]:
            self._read()
            self._parse()
        return bool(self._heard)

    def ask(self, *frames: bytes) -> list[bytes]:
        """A request and its reply, of which there must be no others under way; as REQ does it."""
        self.send([b"", *frames])
        empty, *reply = self.receive()
        assert empty == b"", (empty, reply)
        return reply

    def close(self) -> None:
        """Without a word, as when a process is killed."""
        self._socket.close()

    def _read(self) -> None:
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the broker has closed the connection")
        self._data += data

    def _parse(self) -> None:
        data, at = self._data, 0
        while len(data) - at >= 2:
            flags, size, start = data[at], data[at + 1], at + 2
            if flags & LONG:
                if len(data) - at < 9:
                    break
                size, start = int.from_bytes(data[at + 1 : at + 9], "big"), at + 9
            if start + size > len(data):
                break
            body, at = bytes(data[start : start + size]), start + size
            if flags & COMMAND:
                if body[:5] == b"\4PING":
                    self._socket.sendall(frame(COMMAND, b"\4PONG" + body[7:]))
                continue
            self._frames.append(body)
            if not flags & MORE:
                self._heard.append(self._frames)
                self._frames = []
        del data[:at]


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + CONNECT_S_MAX
    while True:
        try:
            return socket.create_connection((HOST, port), SILENCE_S_MAX)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
