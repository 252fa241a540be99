"""ZMTP bytes as the simulated peers write and read them: messages and commands, and what the peers ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mansio.codec.amqp_properties import Properties

GREETING_BYTES = 64
GREETING, MESSAGE = "greeting", "message"
MORE, LONG, COMMAND = 1, 2, 4
HELLO = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL" + bytes(16 + 32)
"""The greeting of a peer, as libzmq 4.3.5 says it."""


@dataclass(slots=True, eq=False)
class ZItem:
    """What the broker says; `kind`: greeting, message, or the name of a command, whose data are its only frame.
    `size`: in bytes."""

    kind: str
    frames: list[bytes]
    size: int


@dataclass(slots=True, eq=False)
class Request:
    """What a peer wants; `verb`: HELLO for its handshake, PONG, TASK for a message that is no verb, PUSH, REPLY of a
    worker, or one of `verbs`."""

    verb: str
    envelope: list[bytes] = field(default_factory=list)
    queue: str = ""
    wait_ms: int = 0
    tag: str = ""
    requeue: bool = True
    result: list[bytes] = field(default_factory=list)
    result_number: int = 0
    address: bytes = b""
    """What a REPLY says of the task that it is a reply to; empty: nothing."""
    errors: str = "reply"
    """What becomes of the task, if the reply says that it has failed."""
    properties: Properties | None = None
    """Of what it puts, as the peer says them; None: none."""
    context: bytes = b""
    """Of a PONG."""
    prefetch: int = 0
    """What a PULL peer asks for in its handshake."""

    def __repr__(self) -> str:
        about = f"{self.tag} {self.wait_ms or ''}".strip()
        return f"{self.verb} {self.queue} {about} as {self.envelope}"


class ZParser:
    """Puts what the broker says together to items; all of it comes in whole frames."""

    def __init__(self) -> None:
        self._greeting = GREETING_BYTES
        self._frames: list[bytes] = []
        self._size = 0

    def parse(self, data: bytes) -> list[ZItem]:
        """The items that are complete. ValueError for anything that is not right."""
        items: list[ZItem] = []
        n = min(len(data), self._greeting)
        if n:
            self._greeting -= n
            items.append(ZItem(GREETING, [data[:n]], n))
        for flags, body, size in frames_in(data, n):
            if flags & COMMAND:
                name = body[1 : 1 + body[0]].decode()
                items.append(ZItem(name, [body[1 + body[0] :]], size))
                continue
            self._frames.append(body)
            self._size += size
            if not flags & MORE:
                items.append(ZItem(MESSAGE, self._frames, self._size))
                self._frames, self._size = [], 0
        return items

    @property
    def inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._frames)


def frames_in(data: bytes, at: int) -> Iterator[tuple[int, bytes, int]]:
    """(flags, body, size with its head) of each frame from there on."""
    while at < len(data):
        flags = data[at]
        start = at + (9 if flags & LONG else 2)
        size = int.from_bytes(data[at + 1 : start], "big")
        if flags >= 8 or start + size > len(data):
            raise ValueError(f"a frame with flags {flags} of {size} bytes at {at} of {len(data)}")
        yield flags, data[start : start + size], start + size - at
        at = start + size
