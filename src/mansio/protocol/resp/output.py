"""What a Redis client is told: replies and pushes in one row, held back where they wait for the log.

replies, pushes ─► _out ──data_to_send──► the socket
                    │ gates: up to there it may leave; one for each turn in which something was changed
                    └ handed over: what must be taken back if it does not leave
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mansio.codec.resp_quick import Common, Entry, Quick
from mansio.core.dispatch import Consumer
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel
from mansio.protocol.resp import errors
from mansio.protocol.resp.reply import encode_error, encode_rare

UNREAD_BYTES_MAX: Final = 16 << 20
"""Replies that a client has not read before its commands wait for it, as at all fronts."""
PUSHED_BYTES_MAX: Final = 32 << 20
"""Messages of channels that wait for a client that does not read before its connection ends, as redis-server has it:
client-output-buffer-limit pubsub 32mb 8mb 60."""
PUSHED_BYTES_LONG: Final = 8 << 20
PUSHED_LONG_NS: Final = 60_000_000_000

OFF, SKIP, SKIP_NEXT = 1, 2, 4
"""What CLIENT REPLY has asked for: no replies, none to this command, none to the next one."""


class Output(Quick):
    """The part of a connection that speaks; also what the Broker tells it (`core.session.Outbox`)."""

    def __init__(
        self, announce: list[Any], now_ns: int, common: Common, entries: dict[bytes, Entry]
    ) -> None:
        super().__init__(announce, now_ns, common, entries, encode_rare)
        self.unflushed: deque[tuple[int, Callable[[], None]]] = deque()
        self._finishing: str | None = None  # why it ends as soon as all is said
        self._pushed_bytes = 0  # of pushes that may wait
        self._crowded_ns = -1  # since when these are many; -1: they are not

    def end(self, reason: str) -> None:
        """The connection is over."""
        raise NotImplementedError

    # -- words

    def push(self, data: bytes) -> None:
        """What it has not asked for: a message of a channel, a line of MONITOR. One that does not read is let go."""
        if self._gates or not self.writable:
            self._pushed_bytes += len(data)
            if self._pushed_bytes > PUSHED_BYTES_LONG:
                if self._crowded_ns < 0:
                    self._crowded_ns = self.now_ns
                self._look_for_crowd()
        else:
            self._pushed_bytes = 0
            self._crowded_ns = -1
        self.send_raw(data)

    def _look_for_crowd(self) -> None:
        long = self._crowded_ns >= 0 and self.now_ns - self._crowded_ns > PUSHED_LONG_NS
        if long or self._pushed_bytes > PUSHED_BYTES_MAX:
            size = self._pushed_bytes >> 20
            self._out.clear()
            self._gates.clear()
            self.end(f"it does not read: {size} MiB of messages wait for it")

    def take_free(self) -> list[bytes | memoryview]:
        """See `Quick`."""
        free = self._gates[0]
        out = self._out[:free]
        if free:
            del self._out[:free]
            self._gates = deque(gate - free for gate in self._gates)
        return out

    # -- what waits

    def hand_over(self, take_back: Callable[[], None], ahead: int = 0) -> None:
        """The client has been told, just now or `ahead` pieces from here, of something that leaves the broker with this
        reply: `take_back` is called if the connection ends before the reply has left."""
        self.unflushed.append((self._taken + len(self._out) + ahead, take_back))

    def flushed(self) -> None:
        """See `Front`."""
        while self.unflushed and self.unflushed[0][0] <= self._taken:
            self.unflushed.popleft()

    @property
    def gated(self) -> bool:
        """Whether what is said waits for the log."""
        return bool(self._gates)

    def release(self, ok: bool) -> None:
        """See `Outbox`."""
        if ok and self._gates:
            self._gates.popleft()
            self.wake()
            if self._finishing is not None and not self._gates:
                self.end(self._finishing)
        elif self._gates:
            del self._out[self._gates[0] :]
            self._gates.clear()
            self.send_raw(encode_error(errors.NOT_STORED))
            self.end("the log could not be written")

    # -- what a client without consumers is not told

    def deliver(
        self,
        consumer: Consumer,
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        """See `Outbox`."""
        raise NotImplementedError("a Redis client has no consumers")

    def returned(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`: nothing is mandatory."""

    def duplicate(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        """See `Outbox`: nothing is mandatory."""

    def cancelled(self, channel: Channel, consumer_tag: str) -> None:
        """See `Outbox`: there are no consumers."""

    def confirmed(self, channel: Channel, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Outbox`: the channel does not confirm."""

    def refused(self, channel: Channel, upto: int) -> None:
        """See `Outbox`: the channel does not confirm."""

    def committed(self, channel: Channel, ok: bool, partly: bool) -> None:
        """See `Outbox`: there are no transactions of this kind."""
