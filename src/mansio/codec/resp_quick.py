"""The quick way through a connection: a buffer that holds one whole command leads to its handler and to one reply.

    buffer ──one command, nothing else goes on──► handler ──► reply, encoded ──► announced for the end of the turn
        └── anything else ──► `receive`, which knows everything

Like resp.py this is both the compiled form (types in `resp_quick.pxd`) and the fallback. It is the part of
`protocol.resp.connection` that a client pays for with each command: as plain Python half of what a PING costs.
"""

from collections import deque
from typing import Any

from mansio.codec.resp import Scan, encode_reply


class Raw:
    """A reply that was encoded elsewhere."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class NoReply:
    """See `NO_REPLY`."""


NO_REPLY = NoReply()
"""The command has answered by itself, or will: it waits for something."""

Entry = tuple[Any, int, int, int, bool, Any]
"""A command that is executed at once: (handler, least and most arguments, the flags for which replies wait for the
log, whether it adds to what was gathered, the command itself)."""


class Common:
    """What all connections share, as far as each command looks at it."""

    def __init__(self, gathered: Any, ready: Any, stirred: Any) -> None:
        """Each of these is empty unless something has to be done: what was gathered of pushes, lists and streams for
        which somebody waits and where something has come."""
        self.commands = 0
        """How many were executed."""
        self.watching = False
        """Whether somebody watches what clients do, or they are paused."""
        self.gathered: dict[Any, Any] = gathered
        self.ready: dict[Any, Any] = ready
        self.stirred: dict[Any, Any] = stirred


class Quick:
    """The base of a connection; the rest of it is asked where something is unusual."""

    def __init__(
        self,
        announce: list[Any],
        now_ns: int,
        common: Common,
        entries: dict[bytes, Entry],
        rare: Any,
    ) -> None:
        """`entries`: by the names of commands; `rare`: see `encode_reply`."""
        self.common = common
        self.now_ns = self.received_ns = now_ns
        self.tail = b""
        self.closed = self.waiting = False
        self.blocking = False  # a command waits for something; see `block`
        self.unusual = True
        """Whether more is to be looked at than the command: see `_execute_unusual`."""
        self.proto = 2
        self.last_command: Any = None
        self.writable = True
        self.said_bytes = 0
        """Since it is connected."""
        self.unread_bytes = 0
        """What was said since the client does not read."""
        self._scan = Scan()
        self._entries = entries
        self._rare = rare
        self._waits_for_log = False
        self._pending: deque[Any] = deque()
        self._announce = announce
        self._announced = False
        self._out: list[bytes | memoryview] = []
        self._gates: deque[int] = deque()
        self._taken = 0  # pieces of output that were handed out

    # -- the rest of it

    def receive(self, buf: bytearray, end: int) -> None:
        """All that may be in `buf[:end]`."""
        raise NotImplementedError

    def execute_one(self, args: list[bytes]) -> None:
        """A command that has no entry, or not with so many arguments."""
        raise NotImplementedError

    def wait_for_log(self, flags: int) -> None:
        """What is said from here on waits until the log has what was changed."""
        raise NotImplementedError

    def failed(self, error: Exception, args: list[bytes]) -> Any:
        """The reply to a command whose handler has raised this; None: it is executed again later."""
        raise NotImplementedError

    def flush(self) -> None:
        """What was gathered of pushes goes to the lists."""
        raise NotImplementedError

    def serve(self) -> None:
        """Those who wait get what has come."""
        raise NotImplementedError

    def take_free(self) -> list[bytes | memoryview]:
        """Takes what is in front of the first gate."""
        raise NotImplementedError

    # -- in

    def receive_buffer(self, buf: bytearray, end: int, now_ns: int) -> None:
        """See `Front`."""
        self.received_ns = self.now_ns = now_ns
        if (
            self.unusual
            or self.blocking
            or self.waiting
            or self.unread_bytes
            or self.common.watching
            or self._pending
        ):
            self.receive(buf, end)
            return
        args = self._scan.one(buf, end)
        if args is None:
            self.receive(buf, end)
            return
        self.tail = b""
        entry = self._entries.get(args[0])
        if entry is None:
            self.execute_one(args)
            return
        handler, least, most, flags, gathers, command = entry
        if len(args) < least or len(args) > most:
            self.execute_one(args)
            return
        self._execute(handler, args, flags, gathers, command)

    def _execute(
        self, handler: Any, args: list[bytes], flags: int, gathers: bool, command: Any
    ) -> None:
        common = self.common
        self.last_command = command
        if common.gathered and not gathers:
            self.flush()
        try:
            if flags and self._waits_for_log:
                self.wait_for_log(flags)
            reply = handler(self, args)
        except Exception as error:
            reply = self.failed(error, args)
            if reply is None:
                return
        common.commands += 1
        if type(reply) is Raw:
            raw: Raw = reply
            self._say(raw.data)
        elif reply is not NO_REPLY and not self.closed:
            self._say(encode_reply(reply, self.proto, self._rare))
        if common.ready or common.stirred:
            self.serve()

    # -- out

    def send_raw(self, data: bytes) -> None:
        """Whole replies to the client."""
        self._say(data)

    def _say(self, data: Any) -> None:
        self._out.append(data)
        self.said_bytes += len(data)
        if not (self._announced or self._gates):  # behind a gate it is `release` that wakes
            self._announced = True
            self._announce.append(self)

    def wake(self) -> None:
        """Makes the server look at this connection at the end of the turn."""
        if not self._announced:
            self._announced = True
            self._announce.append(self)

    def data_to_send(self) -> list[bytes | memoryview]:
        """See `Front`."""
        self._announced = False
        if self._gates:
            out = self.take_free()
        else:
            out = self._out
            self._out = []
        self._taken += len(out)
        if not self.writable:
            self.unread_bytes += sum(map(len, out))
        return out

    def hold(self) -> None:
        """See `Outbox`."""
        self._gates.append(len(self._out))
