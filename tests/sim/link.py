"""One connection's bytes on their way, both ways. They arrive in pieces of any size, or never."""

from __future__ import annotations

from collections import deque

from mansio.codec import amqp_methods as m
from tests.sim.wire import Item, Message

Command = tuple[int, m.Method, Message | None]
"""(channel, method, content)."""

SETTLEMENTS = (m.BasicAck, m.BasicNack, m.BasicReject)


class Link:
    """To the broker, bytes with the commands that are complete at a certain byte; to the client, whole items."""

    def __init__(self) -> None:
        self.cut = False
        """Nothing will arrive any more, at either end."""
        self.up = bytearray()
        self.down_bytes = 0
        self._fed = 0
        self._queued = 0
        self._commands: deque[tuple[int, Command]] = deque()
        self._down: deque[tuple[int, Item]] = deque()
        self._read = 0
        self._made = 0

    def send(self, data: bytes, command: Command | None) -> None:
        """The client writes; with the last byte the command is complete."""
        self.up += data
        self._queued += len(data)
        if command is not None:
            self._commands.append((self._queued, command))

    def before_others(self, n: int) -> int:
        """Of the next `n` bytes those up to the end of the first publishes of more than one channel.

        Their order is seen when they have arrived, and what follows may depend on it.
        """
        channels: set[int] = set()
        last = 0
        for end, (channel, method, message) in self._commands:
            if end > self._fed + n:
                break
            if message is not None:
                channels.add(channel)
            elif not isinstance(method, SETTLEMENTS):
                if len(channels) > 1:
                    return last - self._fed
                channels.clear()
            last = end
        return n

    def take_up(self, n: int) -> bytes:
        """The next `n` bytes for the broker."""
        data = bytes(self.up[:n])
        del self.up[:n]
        self._fed += len(data)
        return data

    def take_done(self, left: int) -> list[Command]:
        """The commands that are complete with all bytes that were taken but for the last `left` ones."""
        done: list[Command] = []
        while self._commands and self._commands[0][0] <= self._fed - left:
            done.append(self._commands.popleft()[1])
        return done

    def take_count(self, count: int) -> list[Command]:
        """The next so many commands: the broker has said that it is done with them."""
        return [self._commands.popleft()[1] for _ in range(count)]

    def put_down(self, items: list[Item]) -> None:
        """The broker has written these."""
        for item in items:
            self._made += item.size
            self._down.append((self._made, item))
            self.down_bytes += item.size

    def take_down(self, n: int) -> list[Item]:
        """The client reads `n` bytes: the items that they complete."""
        n = min(n, self.down_bytes)
        self.down_bytes -= n
        self._read += n
        items = []
        while self._down and self._down[0][0] <= self._read:
            items.append(self._down.popleft()[1])
        return items
