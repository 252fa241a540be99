"""What the connections of Redis clients share: who they are, who watches, and what was counted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mansio.codec.resp_quick import Common
from mansio.core.broker import Broker
from mansio.core.deadlines import NEVER_MS
from mansio.protocol.resp.command import ADMIN, WRITE, Command
from mansio.protocol.resp.errors import MustWait

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection


class Clients(Common):
    """All of one broker, by id. Ids rise and are never used again."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker.lists.gathered, broker.lists.ready, broker.streams.watching.stirred)
        self.connected = 0
        """How many clients have ever come."""
        self.sessions = 0
        """How many of those that are there are somebody, in a database."""
        self.settings: dict[str, str] = {}
        """What CONFIG SET has set."""
        self.deadline_ms = NEVER_MS  # see `Deadlines`
        self._broker = broker
        self._clients: dict[int, RespConnection] = {}
        self._monitors: dict[RespConnection, None] = {}
        self._paused_until_ms = 0
        self._paused_all = False
        self._held: list[RespConnection] = []

    def __iter__(self) -> "Iterator[RespConnection]":
        return iter(list(self._clients.values()))

    def __len__(self) -> int:
        return len(self._clients)

    def get(self, number: int) -> "RespConnection | None":
        """The client with this id."""
        return self._clients.get(number)

    def add(self, client: "RespConnection") -> int:
        """A client has come: its id."""
        self.connected += 1
        self._clients[self.connected] = client
        return self.connected

    def remove(self, client: "RespConnection") -> None:
        """It is gone."""
        self._clients.pop(client.id, None)
        self.stop_monitor(client)

    # -- MONITOR

    def monitor(self, client: "RespConnection") -> None:
        """It is told of all commands from now on."""
        self._monitors[client] = None
        self.watching = True

    def is_monitor(self, client: "RespConnection") -> bool:
        """Whether it watches."""
        return client in self._monitors

    def stop_monitor(self, client: "RespConnection") -> None:
        """It watches no more."""
        if self._monitors.pop(client, 0) is None:
            self._look()

    def tell_monitors(self, client: Any, command: Command, args: list[bytes]) -> None:
        """A client has executed a command. What concerns the server is not shown, and passwords are not."""
        if self._monitors and not command.flags & ADMIN:
            line = self._line(client, hide_passwords(command.name, args))
            for monitor in list(self._monitors):
                monitor.push(line)

    def _line(self, client: Any, args: list[bytes]) -> bytes:
        s, ms = divmod(self._broker.now_ms, 1000)
        where = client.address
        words = b" ".join([quote(arg) for arg in args])
        return b"+%d.%06d [%d %b] %b\r\n" % (s, ms * 1000, client.database, where.encode(), words)

    # -- CLIENT PAUSE

    def check_pause(self, client: Any, command: Command) -> None:
        """MustWait as long as clients are paused, those that write or all."""
        if self._paused_until_ms > self._broker.now_ms:
            if self._paused_all or command.flags & WRITE or command.name == "exec":
                self._held.append(client)
                raise MustWait

    def pause(self, until_ms: int, everything: bool) -> None:
        """Commands that write, or all, wait until then. What was paused before stays so at least as long."""
        paused = self._paused_until_ms > self._broker.now_ms
        self._paused_until_ms = max(until_ms, self._paused_until_ms)
        self._paused_all = everything or (paused and self._paused_all)
        self._broker.deadlines.at(self._paused_until_ms, self)
        self._look()

    def go_on(self) -> None:
        """Nobody is paused any more."""
        self._paused_until_ms = 0
        self._paused_all = False
        self._look()
        held, self._held = self._held, []
        self._broker.resumed += [client for client in held if not client.closed]

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        if now_ms >= self._paused_until_ms:
            self.go_on()
        else:
            self._broker.deadlines.at(self._paused_until_ms, self)

    def _look(self) -> None:
        self.watching = bool(self._monitors or self._paused_until_ms)


def clients_of(broker: Broker) -> Clients:
    """Those of this broker."""
    found: Any = broker.redis
    if found is None:
        found = broker.redis = Clients(broker)
    return found  # type: ignore[no-any-return]


def hide_passwords(name: str, args: list[bytes]) -> list[bytes]:
    """The arguments of a command as others may see them."""
    if name == "auth":
        return args[:1] + [b"(redacted)"] * (len(args) - 1)
    if name == "hello":
        for i in range(2, len(args) - 2):
            if args[i].upper() == b"AUTH":
                return [*args[: i + 1], b"(redacted)", b"(redacted)", *args[i + 3 :]]
    return args


_ESCAPES = {10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b", 34: b'\\"', 92: b"\\\\"}


def quote(text: bytes) -> bytes:
    """Within double quotes, as redis-server writes what is not printable (sdscatrepr)."""
    if text.isascii() and text.decode().isprintable() and b'"' not in text and b"\\" not in text:
        return b'"%b"' % text
    parts = [
        _ESCAPES.get(byte) or (bytes((byte,)) if 32 <= byte < 127 else b"\\x%02x" % byte)
        for byte in text
    ]
    return b'"%b"' % b"".join(parts)
