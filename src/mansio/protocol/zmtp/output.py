"""What a ZeroMQ peer is told: frames in order, held back where they wait for the log.

messages, commands ─► _out ──data_to_send──► the socket
                       │ gates: up to there it may leave; one for each turn in which something was changed
                       └ handed over: what must be taken back if it does not leave
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from mansio.codec.zmtp import encode_command, encode_message


class Output:
    """The part of a connection that speaks."""

    def __init__(self, announce: list[Any], now_ns: int) -> None:
        self.now_ns = now_ns
        """When something was last received, or the last tick."""
        self.writable = True
        """Whether what was said gets away."""
        self.said_bytes = 0
        """Since it is connected."""
        self.unflushed: deque[tuple[int, Callable[[], None]]] = deque()
        self._announce = announce
        self._announced = False
        self._out: list[bytes | memoryview] = []
        self._gates: deque[int] = deque()  # pieces of it in front of each gate; see `hold`
        self._finishing: str | None = None  # why it ends as soon as all is said
        self._taken = 0  # pieces of output that were handed out
        self._seal: Callable[[bytes], bytes] | None = None
        self._clear = 0  # pieces in front of the first that is sealed

    def end(self, reason: str) -> None:
        """The connection is over."""
        raise NotImplementedError

    # -- words

    def seal_from_here(self, seal: Callable[[bytes], bytes]) -> None:
        """What is said from now on goes through this, in the order in which it leaves."""
        self._seal = seal
        self._clear = self._taken + len(self._out)

    def send(self, frames: list[bytes]) -> None:
        """One message to the peer; it leaves at the end of the turn."""
        self.send_raw(encode_message(frames))

    def send_raw(self, data: bytes | memoryview) -> None:
        """Whole messages that are encoded already, as by `codec.zmtp.encode_bodies`."""
        self._out.append(data)
        self.said_bytes += len(data)
        if not (self._announced or self._gates):  # behind a gate it is `release` that wakes
            self._announced = True
            self._announce.append(self)

    def send_command(self, name: bytes, data: bytes = b"") -> None:
        """A command that need not wait for what is held back; never in the middle of a message, which leaves whole."""
        command = encode_command(name, data)
        if self._gates:
            at = self._gates[0]
            self._out.insert(at, command)
            self._gates = deque(gate + 1 for gate in self._gates)
            self.unflushed = deque(
                (upto + (upto > self._taken + at), take_back) for upto, take_back in self.unflushed
            )
            self.wake()
        else:
            self.send_raw(command)

    def wake(self) -> None:
        """Makes the server look at this connection at the end of the turn."""
        if not self._announced:
            self._announced = True
            self._announce.append(self)

    def data_to_send(self) -> list[bytes | memoryview]:
        """See `Front`."""
        self._announced = False
        if not self._gates:
            out, self._out = self._out, []
        else:
            free = self._gates[0]
            out = self._out[:free]
            if free:
                del self._out[:free]
                self._gates = deque(gate - free for gate in self._gates)
        before = self._taken
        self._taken += len(out)
        return out if self._seal is None else self._sealed_of(out, max(self._clear - before, 0))

    def _sealed_of(self, out: list[bytes | memoryview], clear: int) -> list[bytes | memoryview]:
        if self._seal is None or clear >= len(out):
            return out
        return [*out[:clear], self._seal(b"".join(out[clear:]))]

    # -- what waits

    def hand_over(self, take_back: Callable[[], None]) -> None:
        """The peer has been told, just now, of something that leaves the broker with this: `take_back` is called if the
        connection ends before it has left for the kernel."""
        self.unflushed.append((self._taken + len(self._out), take_back))

    def flushed(self) -> None:
        """See `Front`."""
        while self.unflushed and self.unflushed[0][0] <= self._taken:
            self.unflushed.popleft()

    @property
    def speaking(self) -> bool:
        """Whether something was said that the server has not taken yet."""
        return bool(self._out)

    @property
    def gated(self) -> bool:
        """Whether what is said waits for the log."""
        return bool(self._gates)

    def hold(self) -> None:
        """See `Outbox`: a gate, behind which everything waits that is said from now on."""
        self._gates.append(len(self._out))

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
            self.end("the log could not be written")

    def finish(self, reason: str) -> None:
        """The connection is over once what has been said may leave; `reason` is for the log."""
        if not self._gates:
            self.end(reason)
        elif self._finishing is None:
            self._finishing = reason
