"""Messages with the header `x-delay` as the oracle knows them: held back, and routed when they are due, not before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mansio.codec.amqp_values import Table
from tests.sim.model import NOBODY, Channel, Spot, Violation
from tests.sim.topology import Entry, Queue
from tests.sim.wire import ID_BYTES, Message

STORE = "delayed messages"
"""How the log names where they are."""
Key = tuple[bytes, bytes]
"""The header payload that a message is held with, and the beginning of its body."""


@dataclass(slots=True, eq=False)
class Held:
    """A delayed message. `position`: its place in the store now; `ident`: the first one that it had."""

    message: Message
    due_ms: int
    ident: int
    position: int

    def __repr__(self) -> str:
        return f"{self.message}, delayed until {self.due_ms}"

    @property
    def order(self) -> tuple[int, int]:
        return self.due_ms, self.ident


def delay_of(headers: Table) -> int:
    """What `x-delay` asks for in ms; 0: nothing."""
    value: Any = headers.get("x-delay")
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if type(value) is int and value > 0 else 0


def spent(headers: Table) -> Table:
    """These headers once the message was held back."""
    if not delay_of(headers):
        return headers
    value: Any = headers["x-delay"]
    return {**headers, "x-delay": f"-{value}" if isinstance(value, str) else -value}


def key_of(message: Message) -> Key:
    return message.kept, message.body[:ID_BYTES]


class Store:
    """What is held back. The broker says where it has put a message, the oracle whether it is one."""

    def __init__(self) -> None:
        self.held: dict[Key, Held] = {}
        self.placed: dict[Key, int] = {}
        """Positions of what has come into the broker's store, and nothing has explained yet."""
        self._queue = Queue(STORE, True, False, None, {}, 0)
        self._last: dict[tuple[Channel, str, str], int] = {}
        """Between messages with different exchanges or keys there is no order."""

    def on_stored(self, key: Key, position: int) -> None:
        """The broker has put a message there."""
        if key in self.held:
            self.held[key].position = position
        else:
            self.placed[key] = position

    def hold(self, channel: Channel, message: Message, now_ms: int) -> list[Spot]:
        """A client has published it, or committed that; what has to be in the log."""
        key = key_of(message)
        position = self.placed.pop(key, None)
        if position is None:
            raise Violation(f"{message!r} is not held back")
        way = channel, message.exchange, message.key
        if position <= self._last.get(way, -1):
            raise Violation(f"{message!r} is held back at {position}, out of order")
        self._last[way] = position
        self.held[key] = Held(message, now_ms + message.delay_ms, position, position)
        return [(self._queue, Entry(position, message, -1, NOBODY, 0))] * message.persistent

    def fire(self, key: Key, now_ms: int) -> Held:
        """The broker has taken a message out."""
        held = self.held.pop(key, None)
        if held is None:
            raise Violation(f"{key} is taken out of the store, and was not there")
        if held.due_ms > now_ms:
            raise Violation(f"{held} is taken out at {now_ms}")
        earlier = min(self.held.values(), key=lambda each: each.order, default=held)
        if earlier.order < held.order:
            raise Violation(f"{held} is taken out before {earlier}")
        return held

    def place(self, held: Held) -> tuple[str, int, int]:
        """How the log names it."""
        return self._queue.place(held.position)

    def check_idle(self, now_ms: int) -> None:
        """The broker has nothing left to do."""
        for held in self.held.values():
            if held.due_ms <= now_ms:
                raise Violation(f"{held} is still held back at {now_ms}")

    def restart(self) -> None:
        """Nothing is held back but what `bring_back` tells of next."""
        self.held.clear()
        self.placed.clear()
        self._last.clear()

    def bring_back(self, message: Message, due_ms: int, ident: int, position: int) -> None:
        """The log has this."""
        self.held[key_of(message)] = Held(message, due_ms, ident, position)
