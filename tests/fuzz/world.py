"""A Broker with clients on AMQP fronts, a clock and a log, all driven from outside.

Every client reads what its front says: whole frames, contents as announced, delivery tags without
a gap, nothing after the end.
"""

from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import CodecError
from mansio.core import records
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.limits import Limits
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.core.session import Channel
from mansio.protocol.amqp.connection import AmqpConnection
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.protocol.base import Peer
from tests.logins import AtOnce

CLIENTS = 3
FRAME_MAX, SMALL_FRAME_MAX = 8192, 4096  # what is offered, and what some clients want
NO_ACK_TAG = "t1"  # consumers with this tag do not acknowledge


class Client:
    """One front, what is fed into it, and a reader of what it says."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        peer = Peer(f"127.0.0.1:{number} -> 127.0.0.1:5672", True)
        self.front = AmqpConnection(
            world.broker, world.users, peer, world.token, world.speaking, world.now_ns
        )
        self.frames = 0
        self.content_left: int | None = None  # None: no content is due; -1: its header is
        self.content_channel = 0
        self.over = False
        self.tags: dict[int, int] = {}  # the last delivery tag of each channel
        self.open: dict[int, list[int]] = {}  # delivery tags that are not settled
        self.in_tx: set[int] = set()  # channels in tx mode
        self.answers: list[bytes] = []  # what a well-behaved client sends next

    def receive(self, data: bytes) -> None:
        """Bytes from the peer, when the server would read them."""
        if self.front.closed or self.front.paused:
            return
        self.front.receive_data(data, self.world.now_ns)
        limit = max(FRAME_MAX, 131_072) + FRAME_MAX
        assert len(self.front.tail) <= limit, len(self.front.tail)

    def hear(self) -> None:
        """Takes what the front has to say: whole frames, contents as announced."""
        raw = b"".join(self.front.data_to_send())
        assert not (raw and self.over), "a closed front speaks"
        self.over = self.front.closed
        if raw.startswith(b"AMQP"):
            assert raw == b"AMQP\0\0\x09\x01" and self.over
            return
        at = 0
        while at < len(raw):
            kind, channel = raw[at], int.from_bytes(raw[at + 1 : at + 3], "big")
            size = int.from_bytes(raw[at + 3 : at + 7], "big")
            assert size + 8 <= self.front.frame_max
            assert at + size + 8 <= len(raw) and raw[at + 7 + size] == 0xCE
            self.frame(kind, channel, raw[at + 7 : at + 7 + size])
            at += size + 8
        assert self.content_left is None, "a content is cut off"

    def frame(self, kind: int, channel: int, payload: bytes) -> None:
        """Checks one frame of the front."""
        self.frames += 1
        if self.content_left is not None:
            assert channel == self.content_channel
            if self.content_left < 0:
                assert kind == m.FRAME_HEADER and payload[:4] == b"\0\x3c\0\0"
                self.content_left = int.from_bytes(payload[4:12], "big")
            else:
                assert kind == m.FRAME_BODY and 0 < len(payload) <= self.content_left
                self.content_left -= len(payload)
            if not self.content_left:
                self.content_left = None
            return
        if kind == m.FRAME_HEARTBEAT:
            assert channel == 0 and not payload
            return
        assert kind == m.FRAME_METHOD
        method = read_method(payload)
        if method.CONTENT:
            self.content_left, self.content_channel = -1, channel
        assert (channel == 0) == (method.ID >> 16 == 10)
        self.remember(channel, method)

    def remember(self, channel: int, method: m.Method) -> None:
        """What a client must know of what it heard."""
        if isinstance(method, (m.BasicDeliver, m.BasicGetOk)):
            assert method.delivery_tag == self.tags.get(channel, 0) + 1
            self.tags[channel] = method.delivery_tag
            if not isinstance(method, m.BasicDeliver) or method.consumer_tag != NO_ACK_TAG:
                self.open.setdefault(channel, []).append(method.delivery_tag)
        elif isinstance(method, m.ChannelClose):
            self.forget(channel)
            self.answers += [
                m.method_frame(channel, m.ChannelCloseOk()),
                m.method_frame(channel, m.ChannelOpen()),
            ]
        elif isinstance(method, m.TxSelectOk):
            self.in_tx.add(channel)
        elif isinstance(method, m.ChannelOpenOk):
            self.forget(channel)
        elif isinstance(method, m.ConnectionClose):
            self.answers = [m.method_frame(0, m.ConnectionCloseOk())]

    def forget(self, channel: int) -> None:
        """The channel's deliveries are nobody's any more."""
        self.tags.pop(channel, None)
        self.open.pop(channel, None)
        self.in_tx.discard(channel)

    def settle(self, channel: int, bits: int, multiple: bool) -> int:
        """A tag to settle: mostly one that is open, none twice; 0 and multiple do no harm."""
        tags = self.open.get(channel)
        if not tags or bits >= 240:
            return 0 if multiple else max(0, self.tags.get(channel, 0) + 2 - bits % 8)
        at = (bits >> 4) % len(tags)
        tag = tags[at]
        del tags[0 if multiple else at : at + 1]
        return tag

    def answer(self) -> None:
        """Sends what is expected of a client."""
        answers, self.answers = self.answers, []
        self.receive(b"".join(answers))


def read_method(payload: bytes) -> m.Method:
    """A method of the front. Only the text of a close may hold bytes that are no text: names that
    the client published to, which RabbitMQ 3.10.8 hands back as they were, too."""
    try:
        return m.decode_method(payload)
    except CodecError as error:
        assert error.text == "Malformed UTF-8 in shortstr"
        close = m.METHODS[int.from_bytes(payload[:4], "big")]
        assert close in (m.ChannelClose, m.ConnectionClose)
        return close()


class CheckedBroker(Broker):
    """Sees to it that what a front remembers of a route is still true."""

    def publish(self, channel: Channel, run: Run, queues: tuple[Queue, ...]) -> None:
        host = self.vhosts[channel.session.vhost]
        for route in run.routes:
            found, by_content = host.route(
                host.publishable(route.exchange), [route.routing_key], None
            )
            assert by_content == route.by_content
            if len(run.routes) > 1 or queues is route.queues:
                assert {queue.id for queue in found} == {queue.id for queue in queues}
        super().publish(channel, run, queues)


class World:
    """A Broker with its clients and a log that answers when the input says so."""

    def __init__(self) -> None:
        limits = Limits(
            frame_max=FRAME_MAX,
            channel_max=8,
            message_bytes_max=20_000,
            memory_bytes_max=200_000,
            parked_bytes_max=50_000,
            consumers_per_channel_max=5,
        )
        self.broker = CheckedBroker(limits, AmqpLetters(limits.frame_max))
        self.users = AtOnce(self.broker)
        self.speaking: list[Any] = []
        self.now_ns = 0
        self.tokens = 0
        self.ticket = 0
        self.durable = 0
        self.numbers = 0
        self.clients = [self.client() for _ in range(CLIENTS)]

    def token(self) -> str:
        self.tokens += 1
        return f"token{self.tokens}"

    def client(self) -> Client:
        self.numbers += 1
        return Client(self, self.numbers)

    def end_turn(self) -> None:
        """As server/turn.py does it."""
        found = self.broker.end_turn()
        for record in found:
            records.decode(b"".join(record))
        self.ticket += 1
        self.broker.seal(self.ticket)
        self.write()

    def answer(self, ok: bool) -> None:
        """The log has written everything, or never will."""
        if self.durable < self.ticket:
            self.durable = self.ticket
            (self.broker.durable if ok else self.broker.failed)(self.ticket)
            self.write()

    def write(self) -> None:
        for client in self.clients:
            client.hear()
            if client.front.session is not None:
                self.broker.grant(client.front.session)
        self.speaking.clear()
        if not self.broker.blocked:
            for client in self.clients:
                if client.front.blocked or client.front.paused:
                    client.front.unblock()

    def settle_down(self) -> None:
        """Everything that is still to be done is done, and nobody leaves anything behind."""
        for client in self.clients:
            client.front.set_writable(True)
        for _ in range(10_000):
            self.end_turn()
            self.answer(True)
            if not self.broker.unfinished:
                break
        else:
            raise AssertionError("the Broker does not come to rest")
        for client in self.clients:
            client.front.receive_eof()
            client.hear()
        self.end_turn()
        self.answer(True)
        check(self.broker)
        assert not self.broker.sessions and not self.broker.waiting
