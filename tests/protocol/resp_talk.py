"""Helpers for tests of the Redis front: a broker without sockets, and clients that talk to it in commands."""

from typing import Any

from mansio.protocol.base import Peer
from mansio.protocol.resp.connection import RespConnection
from tests.protocol import talk

MS = 1_000_000
START_MS = 1_700_000_000_000
Word = str | bytes | int | float


class Error(str):
    """An error reply, its prefix included."""


class Text(str):
    """A verbatim string of RESP3."""


class Pushed(list[Any]):
    """What came out of band in RESP3."""


class NullArray:
    """See `NULL_ARRAY`."""

    def __repr__(self) -> str:
        return "NULL_ARRAY"


NULL_ARRAY = NullArray()
"""`*-1` of RESP2; the null of RESP3, like `$-1`, is None."""


def command(*words: Word) -> bytes:
    """A command as clients send it: an array of bulk strings."""
    parts = [_octets(word) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def _octets(word: Word) -> bytes:
    if isinstance(word, bytes):
        return word
    return (word if isinstance(word, str) else repr(word)).encode("utf-8", "surrogateescape")


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One reply of RESP2 or RESP3 and the position behind it; IndexError if it is not whole.

    Simple strings are str, bulk strings bytes, numbers int or float; maps are dicts, sets are lists in their order.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise IndexError("not whole")
    sign, text = data[at : at + 1], data[at + 1 : end]
    at = end + 2
    match sign:
        case b"+":
            return text.decode("utf-8", "surrogateescape"), at
        case b"-":
            return Error(text.decode("utf-8", "surrogateescape")), at
        case b":":
            return int(text), at
        case b"," | b"(":
            return (float(text) if sign == b"," else int(text)), at
        case b"#":
            return text == b"t", at
        case b"_":
            return None, at
        case b"$" | b"=":
            return _bulk(data, at, int(text), sign == b"=")
        case b"*" | b"~" | b">" | b"%":
            return _items(data, at, int(text), sign)
    raise AssertionError(f"no reply begins with {sign!r}")


def _bulk(data: bytes, at: int, size: int, verbatim: bool) -> tuple[Any, int]:
    if size < 0:
        return None, at
    if len(data) < at + size + 2:
        raise IndexError("not whole")
    body = data[at : at + size]
    assert data[at + size : at + size + 2] == b"\r\n"
    return (Text(body[4:].decode()) if verbatim else body), at + size + 2


def _items(data: bytes, at: int, count: int, sign: bytes) -> tuple[Any, int]:
    if count < 0:
        return NULL_ARRAY, at
    items: list[Any] = []
    for _ in range(count * 2 if sign == b"%" else count):
        item, at = decode(data, at)
        items.append(item)
    if sign == b"%":
        return dict(zip(items[::2], items[1::2], strict=True)), at
    return (Pushed(items) if sign == b">" else items), at


class World(talk.World):
    """One broker and what a server does around it; AMQP clients come from `client` and `talker`, Redis ones from
    `redis`. Time stands still at `now_ms` (Unix time) but for `pass_ms`."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.broker.now_ms = START_MS
        self.talkers: list[RedisTalker] = []

    @property
    def now_ms(self) -> int:
        return self.broker.now_ms

    def redis(self, proto: int = 2, loopback: bool = True, **how: Any) -> "RedisTalker":
        """A client that is somebody already, in database 0, unless it is not of this machine. `how`: arguments of
        RespConnection."""
        talker = RedisTalker(self, loopback, **how)
        self.talkers.append(talker)
        if proto == 3:
            talker.call("HELLO", 3)
        return talker

    def pass_ms(self, ms: int) -> None:
        """Lets time pass, then ends the turn: what is due happens."""
        self.now_ns += ms * MS
        self.broker.now_ms += ms
        self.turn()

    def turn(self, durable: bool = True) -> None:
        """Ends the turn. Without `durable` the log has not written it: see `log`."""
        super().turn(durable)
        while self.broker.resumed:
            self.go_on()
            super().turn(durable)

    def go_on(self) -> None:
        """Clients whose command has waited look at what came behind it."""
        resumed, self.broker.resumed = self.broker.resumed, []
        for front in resumed:
            front.go_on(self.now_ns)

    def log(self, ok: bool = True) -> None:
        """All turns so far are durable, or never will be."""
        (self.broker.durable if ok else self.broker.failed)(self.ticket)


class RedisTalker:
    """One client. What it is sent is kept until it hears it."""

    def __init__(
        self, world: World, loopback: bool = True, certificate_user: str | None = None, **how: Any
    ) -> None:
        self.world = world
        name = f"127.0.0.1:{len(world.talkers) + 1} -> 127.0.0.1:6379"
        peer = Peer(name, loopback, "127.0.0.1", certificate_user)
        announced: list[Any] = world.announced
        self.front = RespConnection(world.broker, world.users, peer, announced, world.now_ns, **how)
        self.rest = b""

    def send_bytes(self, data: bytes) -> None:
        self.front.receive_data(data, self.world.now_ns)

    def send(self, *words: Word) -> None:
        """One command; the turn goes on."""
        self.send_bytes(command(*words))

    def call(self, *words: Word) -> Any:
        """Sends a command, ends the turn and answers the only reply that came."""
        self.send(*words)
        self.world.turn()
        replies = self.hear()
        assert len(replies) == 1, replies
        return replies[0]

    def ask(self, line: str) -> Any:
        """`call` with the words of a line."""
        return self.call(*line.split())

    def pipeline(self, *lines: str) -> list[Any]:
        """All commands in one packet; ends the turn and answers all replies."""
        self.send_bytes(b"".join(command(*line.split()) for line in lines))
        self.world.turn()
        return self.hear()

    def eof(self) -> None:
        """The client is gone."""
        self.front.receive_eof()
        self.front.data_to_send()

    def raw(self) -> bytes:
        """Bytes for the client since the last call."""
        data = b"".join(self.front.data_to_send())
        announced: list[Any] = self.world.announced
        if self.front in announced:
            announced.remove(self.front)
        return data

    def hear(self) -> list[Any]:
        """Every whole reply since the last call."""
        data, at = self.rest + self.raw(), 0
        heard: list[Any] = []
        while at < len(data):
            try:
                reply, at = decode(data, at)
            except IndexError:
                break
            heard.append(reply)
        self.rest = data[at:]
        return heard
