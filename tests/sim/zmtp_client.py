"""A ZeroMQ peer as it sees itself: what it has asked for, what it was answered, which tasks it has.

It knows only what has arrived. A REQ waits for each reply, a DEALER does not.
"""

from __future__ import annotations

from random import Random

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.zmtp.metadata import encode_metadata
from tests.sim.link import Link
from tests.sim.wire import Message
from tests.sim.zmtp_wire import HELLO, MESSAGE, Request, ZItem

OPEN_MAX = 12
"""Requests of a DEALER that wait for their replies."""


class ZmtpClient:
    """One connection of one peer. `queue`: its X-Queue."""

    heartbeat_s = 0
    """It sends none by itself."""

    def __init__(
        self, name: str, rng: Random, socket_type: str, queue: str, errors: str = "reply"
    ) -> None:
        """`errors`: its X-Errors."""
        self.name = name
        self.link = Link()
        self.rng = rng
        self.socket_type = socket_type
        self.queue = queue
        self.errors = errors
        self.tasks = 0
        """What a REP has to reply to: 1 or 0."""
        self.address = b""
        """The frame in front of that."""
        self.state = "starting"  # open, closed
        self.waiting: dict[tuple[bytes, ...], Request] = {}
        """What is not answered yet, by envelope."""
        self.leases: dict[str, str] = {}
        """Tags of tasks that are not done, and their queues."""
        self.done: list[str] = []
        """Some tags of those that are."""
        self._count = 0
        metadata = {"Socket-Type": socket_type.encode()}
        if queue:
            metadata["X-Queue"] = queue.encode()
        prefetch = rng.choice((1, 2, 4, 9, 1000))
        if socket_type == "PULL":
            metadata["X-Prefetch"] = b"%d" % prefetch
        if errors != "reply":
            metadata["X-Errors"] = errors.encode()
        ready = encode_command(b"READY", encode_metadata(metadata))
        self._send(HELLO + ready, Request("HELLO", queue=queue, prefetch=prefetch))

    @property
    def able(self) -> bool:
        """Whether it may ask for something now."""
        if self.state != "open":
            return False
        if self.socket_type in ("PUSH", "PULL", "REP"):
            return self.socket_type != "PULL" and (self.socket_type == "PUSH" or self.tasks > 0)
        return len(self.waiting) < (1 if self.socket_type == "REQ" else OPEN_MAX)

    def close(self) -> None:
        """ZeroMQ has no goodbye."""

    def envelope(self) -> list[bytes]:
        """Frames by which it knows a reply."""
        self._count += 1
        if self.socket_type == "REQ" and self.rng.random() < 0.7:
            return [b""]
        if self.socket_type == "DEALER" and self.rng.random() < 0.2:
            return [b"to", b"%d" % self._count, b""]
        return [b"%d" % self._count, b""]

    def ask(self, request: Request, frames: list[bytes], message: Message | None = None) -> None:
        """Sends a request, with what it publishes if it does."""
        if request.envelope:
            self.waiting[tuple(request.envelope)] = request
        self._send(encode_message([*request.envelope, *frames]), request, message)

    def _send(self, data: bytes, request: Request, message: Message | None = None) -> None:
        self.link.send(data, (1, request, message))  # type: ignore[arg-type]

    # -- what arrives

    def on_item(self, item: ZItem) -> None:
        """Something from the broker."""
        if item.kind == "READY":
            self.state = "open"
        elif item.kind == "ERROR":
            self.state = "closed"
        elif item.kind == "PING":
            context = item.frames[0][2:]
            self._send(encode_command(b"PONG", context), Request("PONG", context=context))
        elif item.kind == MESSAGE and self.socket_type in ("PULL", "REP"):
            self.tasks += 1
            self.address = item.frames[0]
        elif item.kind == MESSAGE:
            self._on_reply(item.frames)

    def _on_reply(self, frames: list[bytes]) -> None:
        at = frames.index(b"") + 1
        request = self.waiting.pop(tuple(frames[:at]))
        if request.verb in ("GET", "NEXT") and frames[at] == b"200":
            self.leases[frames[at + 1].decode()] = request.queue
