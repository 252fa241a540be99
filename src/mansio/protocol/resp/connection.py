"""One Redis client: commands in, replies out, in order."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mansio.codec.resp import Scan, apart
from mansio.core.broker import Broker
from mansio.core.dispatch import Consumer
from mansio.core.errors import AccessRefused, BrokerError
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel, Session
from mansio.protocol.base import Authenticator, Peer
from mansio.protocol.resp import errors, table
from mansio.protocol.resp.command import NO_AUTH, READ, WRITE, Command
from mansio.protocol.resp.errors import CommandError, MustWait
from mansio.protocol.resp.reply import NO_REPLY, encode, encode_error

DATABASES: Final = ("/", *map(str, range(1, 16)))
"""The virtual hosts of SELECT 0 to 15: number 3 is "3", so that a URL's path means the same in Redis and in AMQP."""

PENDING_BYTES_MAX: Final = 65_536
"""What a client that waits may send before it is not read from: until then its end is noticed at once."""


class RespConnection:
    """The front of one client. See `protocol.base.Front` for its verbs, `core.session.Outbox` for what it is told."""

    protocol = "redis"

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        announce: list[Any],
        now_ns: int,
        databases: tuple[str, ...] = DATABASES,
        default_user: str = "guest",
        waits: bool = True,
    ) -> None:
        """`databases`: the virtual host of each; `default_user`: who a client of this machine is without AUTH; `waits`:
        replies that tell of changes wait for the log."""
        self.broker = broker
        self.authenticator = authenticator
        self.peer = peer
        self.databases = databases
        self.proto = 2
        self.database = 0
        self.name = b""
        self.user = default_user if peer.loopback and broker.users.find(default_user) else ""
        self.session: Session | None = None
        self.channel: Channel | None = None
        self.tail = b""
        self.closed = self.lingers = self.paused = self.waiting = False
        self.close_reason = ""
        self.received_ns = self.now_ns = now_ns
        self.blocking = False  # a command waits for something; see `block`
        self.writable = True
        self._pending: deque[list[bytes]] = deque()
        self._scan = Scan()
        self._announce = announce
        self._announced = False
        self._out: list[bytes | memoryview] = []
        self._gates: deque[int] = deque()
        self._cancel: Callable[[], None] | None = None
        self._waits = waits
        self._deadline_ns = now_ns + broker.limits.handshake_ns  # for the login
        self._taken = 0  # pieces of output that were handed out
        self.unflushed: deque[tuple[int, Callable[[], None]]] = deque()
        if self.user:
            self.enter(self.user, 0)

    # -- sessions

    def enter(self, user: str, database: int) -> None:
        """The client is this user, in this database; BrokerError."""
        session = self.broker.open_session(self, user, self.databases[database], self.peer.name)
        self.leave()
        self.session = session
        self.channel = self.broker.open_channel(session, 1)
        self.user, self.database = user, database

    def leave(self) -> None:
        """The session ends."""
        if self.session is not None:
            self.broker.close_session(self.session)
            self.session = self.channel = None

    def select(self, database: int) -> None:
        """SELECT: another database."""
        if database != self.database:
            self.enter(self.user, database)

    # -- input

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """See `Front`."""
        buf = bytearray(self.tail)
        buf += data
        self.receive_buffer(buf, len(buf), now_ns)

    def receive_buffer(self, buf: bytearray, end: int, now_ns: int) -> None:
        """See `Front`."""
        self.received_ns = self.now_ns = now_ns
        items: list[Any] = []
        pos = self._scan.scan(buf, 0, end, items)
        fault = self._scan.fault
        self.tail = bytes(buf[pos:end])
        for item in items:
            self._pending.extend([item] if type(item) is list else apart(*item))
        self._execute_pending()
        if fault and not self.closed:
            self.send_raw(encode_error(f"ERR {fault}"))
            self.end(fault)
        elif self._pending and sum(map(len, self._pending[0])) + len(self.tail) > PENDING_BYTES_MAX:
            self.paused = True

    def go_on(self, now_ns: int) -> None:
        """See `Front`."""
        self.waiting = False
        self._execute_pending()
        if self.tail and not (self._pending or self.closed):
            self.receive_data(b"", now_ns)

    def _execute_pending(self) -> None:
        pending = self._pending
        while pending and not (self.closed or self.waiting or self.blocking):
            args = pending.popleft()
            try:
                self.execute(args)
            except MustWait:
                pending.appendleft(args)
                self.waiting = True
        if not pending:
            self.paused = False

    def execute(self, args: list[bytes]) -> None:
        """One command. MustWait: it has to be executed again."""
        command = table.find(args[0])
        try:
            reply = self._checked(command, args)
        except CommandError as error:
            reply = error
        except AccessRefused as error:
            reply = CommandError(f"NOPERM {error.text}")
        except BrokerError as error:
            reply = CommandError(f"ERR {error.text}")
        if reply is not NO_REPLY and not self.closed:
            self.send_raw(encode(reply, self.proto))

    def _checked(self, command: Command | None, args: list[bytes]) -> Any:
        if command is None:
            raise unknown_command(args)
        if not command.takes(len(args)):
            raise errors.wrong_number(command.name)
        flags = command.flags
        if self.session is None and not flags & NO_AUTH:
            raise CommandError(errors.NO_AUTH)
        if flags & (WRITE | READ) and self._waits and self.session is not None:
            if flags & WRITE:
                self.broker.confirms.changed(self.session)
            else:
                self.broker.confirms.observed(self.session)
        return command.handler(self, args)

    # -- commands that wait

    def block(self, cancel: Callable[[], None]) -> None:
        """The command that is executed waits: nothing behind it is looked at until `unblock_with`. `cancel`: it is not
        to wait any more, since the client is gone."""
        self.blocking = True
        self._cancel = cancel

    def unblock_with(self, reply: Any) -> None:
        """The command that waits has its reply. What is pending goes on in the next pass."""
        self.blocking = False
        self._cancel = None
        self.send_raw(encode(reply, self.proto))
        self.waiting = bool(self._pending)  # until `go_on`
        if self.waiting:
            self.broker.resumed.append(self)

    # -- output

    def hand_over(self, take_back: Callable[[], None]) -> None:
        """The client has been told, just now, of something that leaves the broker with this reply: `take_back` is
        called if the connection ends before the reply has left."""
        self.unflushed.append((self._taken + len(self._out), take_back))

    def flushed(self) -> None:
        """See `Front`."""
        while self.unflushed and self.unflushed[0][0] <= self._taken:
            self.unflushed.popleft()

    def send_raw(self, data: bytes) -> None:
        """Whole replies to the client."""
        self._out.append(data)
        self.wake()

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
            self._taken += len(out)
            return out
        free = self._gates[0]
        out = self._out[:free]
        del self._out[:free]
        self._taken += free
        self._gates = deque(gate - free for gate in self._gates)
        return out

    @property
    def gated(self) -> bool:
        """Whether what is said waits for the log."""
        return bool(self._gates)

    @property
    def blocked(self) -> bool:
        """Whether it is held back for want of memory or disk: writes are refused instead."""
        return False

    def may_go_on(self) -> bool:
        """Whether it may be read from again."""
        return not self.paused

    def set_writable(self, writable: bool) -> None:
        """See `Front`."""
        self.writable = writable
        if self.session is not None:
            self.broker.set_writable(self.session, writable)

    def tick(self, now_ns: int) -> None:
        """See `Front`."""
        self.now_ns = now_ns
        if self.session is not None or self.closed:
            self._deadline_ns = now_ns + self.broker.limits.handshake_ns
        elif now_ns >= self._deadline_ns:
            self.end("it has not logged in in time")

    def unblock(self) -> None:
        """See `Front`."""

    # -- the end

    def receive_eof(self) -> None:
        """See `Front`."""
        self.end(self.close_reason)
        while self.unflushed:
            self.unflushed.pop()[1]()

    def shutdown(self, code: int, text: str) -> None:
        """See `Front`: Redis clients know no goodbye."""
        self.end("")

    def end(self, reason: str) -> None:
        """The connection is over."""
        if self.closed:
            return
        self.close_reason = reason
        self.closed = True
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._pending.clear()
        self.leave()
        self.wake()

    # -- outbox

    def hold(self) -> None:
        """See `Outbox`."""
        self._gates.append(len(self._out))

    def release(self, ok: bool) -> None:
        """See `Outbox`."""
        if ok and self._gates:
            self._gates.popleft()
            self.wake()
        elif self._gates:
            del self._out[self._gates[0] :]
            self._gates.clear()
            self.send_raw(encode_error(errors.NOT_STORED))
            self.end("the log could not be written")

    def expelled(self, why: str) -> None:
        """See `Outbox`."""
        self.end(why)

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


def unknown_command(args: list[bytes]) -> CommandError:
    """The error for a command that there is not (text of redis-server 7.0.15)."""
    name = args[0][:128].decode("utf-8", "surrogateescape")
    shown = ""
    for each in args[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{each[: 128 - len(shown)].decode('utf-8', 'surrogateescape')}' "
    return CommandError(f"ERR unknown command '{name}', with args beginning with: {shown}")
