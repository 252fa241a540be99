"""A ZeroMQ front whose output is seen at the moment it is made, and whose end is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from mansio.codec.zmtp import COMMANDED
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.protocol.zmtp.states import State
from tests.sim.wire import parse_content
from tests.sim.zmtp_wire import ZItem, ZParser

Watch = Callable[[Any, list[Any]], None]


class _Output(list[Any]):
    """What a front has to send."""

    def __init__(self, front: ZmtpFront) -> None:
        self._front = front

    def append(self, data: Any) -> None:
        super().append(data)
        self._front.made(bytes(data))

    def insert(self, index: Any, data: Any) -> None:
        before = sum(map(len, self[:index]))
        super().insert(index, data)
        self._front.squeezed_in(before, bytes(data))

    def __delitem__(self, key: Any) -> None:
        gone = sum(map(len, self[key])) if key.start is not None else 0
        super().__delitem__(key)
        if gone:
            self._front.unmade(gone)


class ZmtpFront(ZmtpConnection):
    """`items`: what has not been written yet; `ended` is told of its end as soon as that has happened."""

    storage_refused = False
    """See `server.Front`: its end is seen as it happens."""

    def __init__(
        self, watch: Watch, unwatch: Watch, ended: Callable[[ZmtpFront], None], *args: Any
    ) -> None:
        super().__init__(*args)
        self.watch, self.unwatch, self.ended = watch, unwatch, ended
        self.items: list[ZItem] = []
        self.made_bytes = 0
        self.log_refused = False
        """It was waiting for a log that is lost."""
        self.meant: deque[bytes] = deque()
        """The header payloads of what it is given: peers are not told all of them, and some messages look alike."""
        self._done = 0
        self._is_in = False
        self._parser = ZParser()
        self._out = _Output(self)

    # -- what has arrived

    def _take(self, role: Any, items: list[Any]) -> list[Any]:
        rest = super()._take(role, items)
        self._done += _count(items) - _count(rest)
        return rest

    def take_done(self) -> int:
        """How many things that the peer has said are done since the last call: its handshake, messages, commands."""
        done, self._done = self._done, 0
        if not self._is_in and (self.state is State.OPEN or self.closed):
            self._is_in = True
            done += 1
        return done

    # -- what is said

    def deliver(
        self, consumer: Any, run: Any, start: int, count: int, step: int, *about: Any
    ) -> None:
        for n in range(count):
            self.meant.append(parse_content(run.content(start + n * step))[0])
        super().deliver(consumer, run, start, count, step, *about)

    def data_to_send(self) -> list[bytes | memoryview]:
        held = bool(self._gates)
        out = super().data_to_send()
        if not held:
            self._out = _Output(self)
        return out

    def release(self, ok: bool) -> None:
        self.log_refused = self.log_refused or (not ok and self.gated)
        super().release(ok)

    def end(self, reason: str) -> None:
        before = self.closed
        super().end(reason)
        if not before:
            self.ended(self)

    def take_items(self, size: int) -> list[ZItem]:
        """What is written now, of so many bytes: all of it, but for what waits for the log."""
        if size != self.made_bytes and not self._gates:
            raise AssertionError(f"{size} bytes are written, {self.made_bytes} were made")
        self.made_bytes -= size
        items: list[ZItem] = []
        while size > 0:
            items.append(self.items.pop(0))
            size -= items[-1].size
        return items

    def made(self, data: bytes) -> None:
        """Whole messages or commands are to be sent."""
        items = self._parser.parse(data)
        if self._parser.inside:
            raise AssertionError("a part of a message is to be sent")
        self.items += items
        self.made_bytes += len(data)
        self.watch(self, items)

    def squeezed_in(self, before: int, data: bytes) -> None:
        """A command is to be sent behind so many bytes of what was made."""
        items = self._parser.parse(data)
        count = 0
        while before > 0:
            before -= self.items[count].size
            count += 1
        self.items[count:count] = items
        self.made_bytes += len(data)
        self.watch(self, items)

    def unmade(self, size: int) -> None:
        """The last so many bytes of what was made are not to be sent after all."""
        self.made_bytes -= size
        gone: list[ZItem] = []
        while size > 0:
            gone.append(self.items.pop())
            size -= gone[-1].size
        self.unwatch(self, gone)


def _count(items: list[Any]) -> int:
    """How many messages and commands they are."""
    return sum(1 if kind == COMMANDED else len(item) for kind, item in items)
