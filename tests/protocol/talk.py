"""Helpers for tests of the AMQP front: a broker without sockets, and clients that talk to it in methods."""

from typing import Any, NamedTuple

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.draws import Draws
from mansio.core.limits import Limits
from mansio.core.matching import Means
from mansio.protocol.amqp.connection import PROTOCOL_HEADER, AmqpConnection
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.amqp.states import State
from mansio.protocol.base import Peer
from mansio.protocol.expressions import Expressions
from tests.logins import AtOnce

S = 1_000_000_000
CAPABLE = {
    "capabilities": dict.fromkeys(
        ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"], True
    )
}


class Message(NamedTuple):
    """A method that carried a content, as a client sees it."""

    method: Any
    header: bytes
    body: bytes
    frames: list[int]
    """Sizes of the payloads of its body frames."""

    @property
    def properties(self) -> Properties:
        return decode_properties(self.header, 12, len(self.header))


def publish_frames(
    channel: int,
    key: str,
    body: bytes = b"hello",
    properties: Properties | None = None,
    frame_max: int = 131_072,
    **method: Any,
) -> bytes:
    """basic.publish as a client sends it; to the default exchange unless `exchange` is given."""
    fields: dict[str, Any] = {"exchange": "", "routing_key": key} | method
    parts = [
        m.method_frame(channel, m.BasicPublish(**fields)),
        m.frame(2, channel, encode_header_payload(len(body), properties or Properties())),
    ]
    step = frame_max - 8
    parts += [m.frame(3, channel, body[i : i + step]) for i in range(0, len(body), step)]
    return b"".join(parts)


class World:
    """One broker and what a server does around it: turns, a log that is durable when told, a clock."""

    def __init__(self, **limits: Any) -> None:
        means = Means(Draws(0), Expressions().compile)
        self.broker = Broker(Limits(**limits), AmqpLetters(131_072), means)
        self.users = AtOnce(self.broker)
        self.announced: list[AmqpConnection] = []
        self.now_ns = 0
        self.ticket = 0
        self._tokens = 0

    def token(self) -> str:
        self._tokens += 1
        return f"token{self._tokens}"

    def talker(self, loopback: bool = True, certificate_user: str | None = None) -> "Talker":
        """A client that has not said anything yet."""
        return Talker(self, loopback, certificate_user)

    def client(self, channels: int = 1, **how: Any) -> "Talker":
        """A client with an open connection and open channels 1 to `channels`."""
        talker = self.talker()
        talker.open(**how)
        for number in range(1, channels + 1):
            talker.send(number, m.ChannelOpen())
        talker.hear()
        return talker

    def turn(self, durable: bool = True) -> None:
        self.broker.end_turn()
        self.ticket += 1
        self.broker.seal(self.ticket)
        if durable:
            self.broker.durable(self.ticket)
        check(self.broker)


class Talker:
    """One client. What it hears is kept as (channel, method) or (channel, Message)."""

    def __init__(self, world: World, loopback: bool, certificate_user: str | None = None) -> None:
        self.world = world
        peer = Peer("127.0.0.1:1 -> 127.0.0.1:5672", loopback, "127.0.0.1", certificate_user)
        self.front = AmqpConnection(
            world.broker, world.users, peer, world.token, world.announced, world.now_ns
        )
        self.rest = b""

    def open(
        self,
        frame_max: int = 131_072,
        channel_max: int = 2047,
        heartbeat: int = 0,
        properties: dict[str, Any] | None = None,
    ) -> None:
        start_ok = m.ConnectionStartOk(CAPABLE if properties is None else properties)
        start_ok.response = b"\0guest\0guest"
        self.send_bytes(PROTOCOL_HEADER)
        self.send(0, start_ok)
        self.send(0, m.ConnectionTuneOk(channel_max, frame_max, heartbeat))
        self.send(0, m.ConnectionOpen("/"))
        assert self.front.state is State.OPEN
        self.hear()

    def send_bytes(self, data: bytes) -> None:
        self.front.receive_data(data, self.world.now_ns)

    def send(self, channel: int, *methods: m.Method) -> None:
        self.send_bytes(b"".join(m.method_frame(channel, method) for method in methods))

    def publish(self, channel: int, key: str, body: bytes = b"hello", **how: Any) -> None:
        self.send_bytes(publish_frames(channel, key, body, **how))

    def call(self, channel: int, *methods: m.Method) -> list[Any]:
        """Sends, ends the turn, and answers what came back on the channel."""
        self.send(channel, *methods)
        self.world.turn()
        return [item for number, item in self.hear() if number == channel]

    def raw(self) -> bytes:
        """Bytes for the client, written as the server would: then it may be sent more."""
        data = b"".join(self.front.data_to_send())
        if self.front in self.world.announced:
            self.world.announced.remove(self.front)
        if self.front.session is not None:
            self.world.broker.grant(self.front.session)
        return data

    def hear(self) -> list[tuple[int, Any]]:
        """Everything since the last call."""
        data = self.rest + self.raw()
        heard: list[tuple[int, Any]] = []
        if data.startswith(b"AMQP"):
            heard.append((-1, data[:8]))
            data = data[8:]
        content: dict[int, tuple[Any, bytes, list[bytes], int]] = {}
        while data:
            kind, channel = data[0], int.from_bytes(data[1:3], "big")
            size = int.from_bytes(data[3:7], "big")
            payload, data = data[7 : 7 + size], data[7 + size :]
            assert data[:1] == b"\xce"
            data = data[1:]
            assert size + 8 <= self.front.frame_max
            if kind == 8:
                heard.append((channel, "heartbeat"))
                continue
            if kind == 1:
                method = m.decode_method(payload)
                if method.CONTENT:
                    content[channel] = (method, b"", [], -1)
                else:
                    assert channel not in content, "a method in the middle of a content"
                    heard.append((channel, method))
                continue
            method, header, bodies, left = content.pop(channel)
            if kind == 2:
                assert left < 0
                header, left = payload, int.from_bytes(payload[4:12], "big")
            else:
                assert 0 < size <= left
                bodies.append(payload)
                left -= size
            if left:
                content[channel] = (method, header, bodies, left)
            else:
                sizes = [len(body) for body in bodies]
                heard.append((channel, Message(method, header, b"".join(bodies), sizes)))
        assert not content
        return heard

    def names(self) -> list[str]:
        """Names of the methods heard since the last call."""
        return [name_of(item) for _, item in self.hear()]

    def bodies(self) -> list[bytes]:
        return [item.body for _, item in self.hear() if isinstance(item, Message)]


def name_of(item: Any) -> str:
    if isinstance(item, (str, bytes)):
        return str(item)
    return str(item.method.NAME if isinstance(item, Message) else item.NAME)
