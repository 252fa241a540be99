"""Helpers for tests of the ZeroMQ front: a broker without sockets, and peers that talk to it in messages.

    world = World()
    req = world.peer("REQ")                          a peer behind its handshake
    assert req.call(b"", b"PUT", b"q", b"x") == [b"", b"200"]
    pull = world.peer("PULL", {"X-Queue": b"q"})
    world.turn()
    assert pull.hear() == [[b"x"]]

AMQP clients come from `world.client()`, Redis clients from `world.redis()`: all meet in one broker.
"""

from typing import Any, NamedTuple

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.base import Peer
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.protocol.zmtp.metadata import decode_metadata, encode_metadata
from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol import resp_talk

LOGIN = (b"guest", b"guest")
SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"


def greeting(mechanism: str = "NULL", version: tuple[int, int] = (3, 1)) -> bytes:
    """The 64 bytes of a client, as libzmq 4.3.5 says them."""
    return SIGNATURE + bytes(version) + mechanism.encode().ljust(20, b"\0") + bytes(32)


def hello(user: bytes, password: bytes) -> bytes:
    """PLAIN's first command."""
    data = bytes((len(user),)) + user + bytes((len(password),)) + password
    return encode_command(b"HELLO", data)


class Command(NamedTuple):
    """A command that a peer has heard."""

    name: bytes
    data: bytes


class World(resp_talk.World):
    """One broker and what a server does around it; time stands still but for `pass_ms`."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.sockets: list[ZmtpPeer] = []

    def socket(
        self,
        socket_type: str = "REQ",
        loopback: bool = True,
        settings: ZmtpSettings | None = None,
    ) -> "ZmtpPeer":
        """A peer that has not said anything yet."""
        peer = ZmtpPeer(self, socket_type, loopback, settings)
        self.sockets.append(peer)
        return peer

    def peer(
        self,
        socket_type: str = "REQ",
        metadata: dict[str, bytes] | None = None,
        login: tuple[bytes, bytes] | None = None,
        version: tuple[int, int] = (3, 1),
        **how: Any,
    ) -> "ZmtpPeer":
        """A peer whose handshake is over. `login`: user and password, with PLAIN; `settings`: see ZmtpSettings."""
        peer = self.socket(socket_type, **how)
        peer.open(metadata, login, version)
        return peer


class ZmtpPeer:
    """One peer. What it is sent is kept until it hears it."""

    def __init__(
        self, world: World, socket_type: str, loopback: bool, settings: ZmtpSettings | None
    ) -> None:
        self.world = world
        self.socket_type = socket_type
        name = f"127.0.0.1:{len(world.sockets) + 1} -> 127.0.0.1:5555"
        announced: list[Any] = world.announced
        self.front = ZmtpConnection(
            world.broker,
            world.users,
            Peer(name, loopback, "127.0.0.1"),
            world.token,
            announced,
            world.now_ns,
            settings,
        )
        self.greeting = b""
        """What the broker has said before its first frame: 64 bytes in the end."""
        self.metadata: dict[str, bytes] = {}
        """What the broker has said of itself in READY, with names in small letters."""
        self.commands: list[Command] = []
        """Those that came since the last `take_commands`; PONG, PING, SUBSCRIBE …"""
        self._rest = b""
        self._frames: list[bytes] = []

    @property
    def closed(self) -> bool:
        """Whether the broker has ended the connection."""
        return self.front.closed

    @property
    def reason(self) -> str:
        """Why, for the log; empty if that was in order."""
        return self.front.close_reason

    # -- the handshake

    def open(
        self,
        metadata: dict[str, bytes] | None = None,
        login: tuple[bytes, bytes] | None = None,
        version: tuple[int, int] = (3, 1),
    ) -> None:
        """The whole handshake; must succeed."""
        properties = {"Socket-Type": self.socket_type.encode()} | (metadata or {})
        if self.socket_type in ("REQ", "DEALER", "ROUTER"):
            properties.setdefault("Identity", b"")
        data = encode_metadata(properties)
        if login is None:
            self.send_bytes(greeting("NULL", version) + encode_command(b"READY", data))
        else:
            self.send_bytes(greeting("PLAIN", version) + hello(*login))
            assert self.take_commands() == [Command(b"WELCOME", b"")], self.reason
            self.send_bytes(encode_command(b"INITIATE", data))
        ready, *self.commands = self.take_commands()
        assert ready.name == b"READY", (ready, self.reason)
        self.metadata = decode_metadata(ready.data) or {}
        assert len(self.greeting) == 64 and not self.closed, self.reason

    # -- speaking

    def send_bytes(self, data: bytes, size: int = 0) -> None:
        """As one read of the broker's, or in reads of `size` bytes. While the broker does not read, they stay in the
        network, and arrive when it does."""
        for at in range(0, len(data), size or len(data) or 1):
            self.front.receive_data(data[at : at + (size or len(data))], self.world.now_ns)
            while self.world.broker.resumed:
                self.world.go_on()

    def send(self, *messages: list[bytes]) -> None:
        """Messages, all in one read; the turn goes on."""
        self.send_bytes(b"".join(map(encode_message, messages)))

    def command(self, name: bytes, data: bytes = b"") -> None:
        """One command."""
        self.send_bytes(encode_command(name, data))

    def subscribe(self, prefix: bytes) -> None:
        """As libzmq does: a command to peers of version 3.1, a message to those of 3.0."""
        if self.front.minor:
            self.command(b"SUBSCRIBE", prefix)
        else:
            self.send([b"\x01" + prefix])

    def cancel(self, prefix: bytes) -> None:
        """See `subscribe`."""
        if self.front.minor:
            self.command(b"CANCEL", prefix)
        else:
            self.send([b"\x00" + prefix])

    def eof(self) -> None:
        """The peer is gone."""
        self.front.receive_eof()
        self.front.data_to_send()

    # -- hearing

    def raw(self) -> bytes:
        """Bytes for the peer since the last call, written as the server would: then it may be sent more, and what was
        handed over has left."""
        data = b"".join(self.front.data_to_send())
        announced: list[Any] = self.world.announced
        if self.front in announced:
            announced.remove(self.front)
        if self.front.session is not None:
            self.world.broker.grant(self.front.session)
        self.front.flushed()
        return data

    def hear(self) -> list[list[bytes]]:
        """Every whole message since the last call. Commands are kept apart."""
        data = self._rest + self.raw()
        if len(self.greeting) < 64:
            data = self.greeting + data
            self.greeting, data = data[:64], data[64:]
        heard: list[list[bytes]] = []
        at = 0
        while len(data) - at >= 2:
            flags, size, start = data[at], data[at + 1], at + 2
            if flags & 2:
                size, start = int.from_bytes(data[at + 1 : at + 9], "big"), at + 9
            if start + size > len(data):
                break
            assert flags < 8, f"flags {flags}"
            body, at = data[start : start + size], start + size
            if flags & 4:
                assert not flags & 1 and not self._frames, "a command in the middle of a message"
                self.commands.append(Command(body[1 : 1 + body[0]], body[1 + body[0] :]))
                continue
            self._frames.append(body)
            if not flags & 1:
                heard.append(self._frames)
                self._frames = []
        self._rest = data[at:]
        return heard

    def call(self, *frames: bytes) -> list[bytes]:
        """Sends one message, ends the turn and answers the only one that came."""
        self.send(list(frames))
        self.world.turn()
        heard = self.hear()
        assert len(heard) == 1, (heard, self.reason)
        return heard[0]

    def ask(self, *frames: bytes) -> list[bytes]:
        """`call` as REQ does it: with an empty frame in front, that the reply has, too; without it."""
        empty, *reply = self.call(b"", *frames)
        assert empty == b""
        return reply

    def take_commands(self) -> list[Command]:
        """Commands since the last call; messages must not have come."""
        assert self.hear() == []
        commands, self.commands = self.commands, []
        return commands
