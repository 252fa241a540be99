"""One Redis client: commands in, replies out, in order. What it says is `output.py`, how its commands are executed is
`executing.py`; here are its bytes, who it is, and its end."""

from typing import Any, Final

from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.keyspace import Keyspace
from mansio.core.rights import Rights
from mansio.core.session import Channel, Session
from mansio.protocol.base import Authenticator, Credentials, Peer, Verdict
from mansio.protocol.resp.executing import Executing
from mansio.protocol.resp.output import UNREAD_BYTES_MAX
from mansio.protocol.resp.reply import NO_REPLY, encode_error
from mansio.protocol.resp.subscriptions import Subscriptions
from mansio.protocol.resp.watching import Watched

DATABASES: Final = ("/", *map(str, range(1, 16)))
"""The virtual hosts of SELECT 0 to 15: number 3 is "3", so that a URL's path means the same in Redis and in AMQP."""

DEFAULT_NAME: Final = "default"
"""The user of a Redis server that has no others."""
PENDING_BYTES_MAX: Final = 65_536
"""What a client that waits may send before it is not read from: until then its end is noticed at once."""


STRANGER_COMMANDS_MAX: Final = 128
"""Commands of a client that has not logged in before its connection ends: each costs some microseconds, and a crowd
that only shouts would take more time than those have who are inside."""


class RespConnection(Executing):
    """The front of one client. See `protocol.base.Front` for its verbs, `core.session.Outbox` for what it is told."""

    protocol = "redis"
    lingers = False

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
        """`databases`: the virtual host of each; `default_user`: who a client of this machine is without AUTH, and who
        AUTH with a password only is; `waits`: replies that tell of changes wait for the log."""
        super().__init__(broker, announce, now_ns, waits)
        self.authenticator = authenticator
        self.peer = peer
        self.databases = databases
        self.default_user = default_user
        self.database = 0
        self.name = b""
        self.library = (b"", b"")  # name and version, as CLIENT SETINFO says
        self.user = ""
        self.session: Session | None = None
        self.channel: Channel | None = None
        self.keys: Keyspace  # of the session
        self.rights: Rights
        self.watched = Watched()
        self.executing = False  # a transaction: nothing may wait
        self.paused = False
        self.close_reason = ""
        self.connected_ns = now_ns
        self.id = self.clients.add(self)
        self.topics = Subscriptions(self)
        self._asked = 0  # by somebody who has not logged in
        self._deadline_ns = now_ns + broker.limits.handshake_ns  # for the login
        self.be_nobody()

    # -- who it is

    @property
    def address(self) -> str:
        """Of the client, with its port."""
        return self.peer.name.partition(" -> ")[0]

    def be_nobody(self) -> None:
        """Back to how it began: the user whom its certificate names, who is looked for first; or the default user, if
        it comes from this machine."""
        self.user, self.database, self.known = "", 0, False
        self._scan.trusted = False
        if self.peer.certificate_user:
            self.leave()
            self.looked()
            self.block(_nothing, NO_REPLY)
            credentials = Credentials(self.peer.certificate_user, None, "EXTERNAL")
            self.authenticator.begin(credentials, self.peer, self._recognized)
        else:
            self._be_default()

    def _recognized(self, verdict: Verdict) -> None:
        if self.closed:
            return
        if verdict.user is not None:
            self.be(verdict.user)
        else:
            self._be_default()
        self.unblock_with(NO_REPLY)

    def _be_default(self) -> None:
        if self.peer.loopback and self.broker.users.find(self.default_user) is not None:
            self.be(self.default_user)
        else:
            self.leave()
        self.looked()

    def be(self, user: str) -> None:
        """The client is this user from now on, in the database where it is if he may be there."""
        self.user, self.known = user, True
        self._scan.trusted = True
        try:
            self.enter(user, self.database)
        except BrokerError:
            self.leave()
            self.looked()  # SELECT may lead to where he may be

    def log_in(self, user: str, password: str, then: Any) -> None:
        """Begins to check a password: `then(accepted)` answers the reply of the command, which waits until then. Who is
        called default is the default user, as clients call him of whom they know the password only."""
        if user == DEFAULT_NAME and self.broker.users.find(user) is None:
            user = self.default_user

        def done(verdict: Verdict) -> None:
            if self.closed:
                return
            accepted = verdict.user is not None
            if verdict.user is not None:
                self.be(verdict.user)
            self.unblock_with(then(accepted))

        self.block(_nothing, NO_REPLY)
        self.authenticator.begin(Credentials(user, password, "PLAIN"), self.peer, done)

    def enter(self, user: str, database: int) -> None:
        """The client is this user, in this database; BrokerError."""
        vhost = self.databases[database]
        session = self.broker.open_session(self, user, vhost, self.peer.name, self.session)
        self.leave()
        self.session = session
        self.clients.sessions += 1
        self.channel = self.broker.open_channel(session, 1)
        self.keys = self.broker.keyspace(session.vhost)
        self.rights = session.rights
        self.user, self.database = user, database
        if not self.writable:
            self.broker.set_writable(session, False)
        if self._gates:  # what the session before was to be told: this turn's entry comes behind those of its turns
            first = self._gates[0]
            self._gates.clear()
            self.broker.confirms.changed(session)
            self._gates[0] = first
        self.looked()

    def leave(self) -> None:
        """The session ends."""
        if self.session is not None:
            self.broker.close_session(self.session)
            self.clients.sessions -= 1
            self.session = self.channel = None

    # -- input

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """See `Front`."""
        buf = bytearray(self.tail)
        buf += data
        self.receive_buffer(buf, len(buf), now_ns)

    def receive(self, buf: bytearray, end: int) -> None:
        """See `Quick`."""
        if self._pending or self.blocking or self.waiting:
            self.tail = bytes(buf[:end])
            self.paused = end > PENDING_BYTES_MAX
        elif self.unusual:
            self._read(buf, 0, end)
        else:
            items: list[Any] = []
            pos = self._scan.scan(buf, 0, end, items)
            self._pending.extend(items)
            self.run()
            if pos < end or self.tail or self.closed:
                self._read(buf, pos, end)

    def _read(self, buf: bytearray, pos: int, end: int) -> None:
        """Executes what the buffer holds from `pos` on, as far as it goes."""
        scan = self._scan
        while pos < end and not (scan.fault or self._pending or self.closed):
            items: list[Any] = []
            new = scan.scan(buf, pos, end, items)
            if new == pos and not items:
                if pos == 0 and (reason := not_redis(bytes(buf[:4]))):
                    self.end(reason)
                break
            pos = new
            self._pending.extend(items)
            self.run()
            if not self.known:
                self._asked += 1
                if self._asked > STRANGER_COMMANDS_MAX and not self.closed:
                    self.finish("it has not logged in, and asks on")
            if self.blocking or self.waiting:
                break
        self.tail = bytes(buf[pos:end]) if pos < end and not self.closed else b""
        if scan.fault:
            self._break_off()

    def _break_off(self) -> None:
        """Behind the last command there are bytes that are none: when all before is answered, the client is told."""
        self.tail = b""
        if not (self._pending or self.blocking or self.waiting or self.closed):
            self.send_raw(encode_error(f"ERR {self._scan.fault}"))
            self.finish(self._scan.fault)

    def go_on(self, now_ns: int) -> None:
        """See `Front`."""
        if self.closed:
            return
        self.now_ns = now_ns
        self.waiting = self.unread_bytes > UNREAD_BYTES_MAX
        self.run()
        if not (self._pending or self.blocking or self.waiting):
            self.paused = False
            if self.tail or self._scan.fault:
                tail = bytearray(self.tail)
                self._read(tail, 0, len(tail))

    # -- the server's looks

    @property
    def deaf(self) -> bool:
        """See `Front`."""
        return self.paused and self.blocking

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
        if writable:
            if self.unread_bytes > UNREAD_BYTES_MAX:
                self.broker.resumed.append(self)
            self.unread_bytes = 0

    def tick(self, now_ns: int) -> None:
        """See `Front`."""
        self.now_ns = now_ns
        if self._crowded_ns >= 0:
            self._look_for_crowd()
        if self.known or self.closed:
            self._deadline_ns = now_ns + self.broker.limits.handshake_ns
        elif now_ns >= self._deadline_ns:
            self.end("it has not logged in in time")

    def unblock(self) -> None:
        """See `Front`."""
        self.broker.journal.waiters.pop(self, None)

    # -- the end

    def receive_eof(self) -> None:
        """See `Front`."""
        self.end(self.close_reason)
        while self.unflushed:
            self.unflushed.pop()[1]()

    def shutdown(self, code: int, text: str) -> None:
        """See `Front`: Redis clients know no goodbye."""
        self.finish("")

    def finish(self, reason: str) -> None:
        """The connection is over once what has been said may leave."""
        if not self._gates:
            self.end(reason)
        elif self._finishing is None:
            self._finishing = reason
            self.give_up()
            self.blocking = True

    def end(self, reason: str) -> None:
        """The connection is over."""
        if self.closed:
            return
        self.close_reason = reason
        self.closed = True
        self.give_up()
        self.broker.journal.waiters.pop(self, None)
        self.topics.drop_all()
        self.transaction = None
        self.watched.clear()
        self.broker.journal.waiters.pop(self, None)
        self.clients.remove(self)
        self.leave()
        self.wake()

    def expelled(self, why: str) -> None:
        """See `Outbox`."""
        self.end(why)


def not_redis(first: bytes) -> str:
    """Why a connection is closed that begins like this; empty if a Redis client might."""
    if first.startswith(b"\x16\x03"):
        return (
            "it speaks TLS, and this port is one without: connect to redis_tls_port, or without it"
        )
    if first == b"AMQP":
        return "it speaks AMQP, and this port is for Redis clients"
    return ""


def _nothing() -> None:
    """A login that nobody waits for any more is answered all the same."""
