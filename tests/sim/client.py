"""A client as it sees itself: what it has asked for, what it was told, what it has to settle.

It knows only what has arrived. It never breaks the protocol, but it pipelines everything it may.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Table
from mansio.protocol.amqp.connection import PROTOCOL_HEADER
from tests.sim.link import Link
from tests.sim.wire import Item, Message, publish_frames

if TYPE_CHECKING:
    from tests.sim.producing import Producer

HEARTBEAT_FRAME = m.frame(m.FRAME_HEARTBEAT, 0, b"")


class ClientChannel:
    """A channel that the client has opened."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        """It may be used; False once a close was sent or has come."""
        self.asked_close = False
        self.silent = False
        """Nothing is sent until the close has come that was provoked."""
        self.unacked: dict[int, None] = {}
        self.readers: set[str] = set()
        """Consumer tags of streams."""
        self.kept: set[int] = set()
        """Tags of what came from streams: it cannot be given back."""
        self.settled: list[int] = []
        """Some tags that were settled for good."""
        self.recovering = 0
        """basic.recover that are not answered: deliveries before the answer are void."""
        self.consumers: dict[str, bool] = {}
        """Consumer tags that were asked for, with no-ack."""
        self.modes: dict[str, bool] = {}
        self.confirming = False
        self.published = 0
        """How many publishes wait, or have waited, for a confirm."""
        self.produced: dict[int, tuple[Producer, int]] = {}
        """What producers have published that wait for one, by number of the publish."""
        self.tx = False
        self.tx_settled: list[int] = []
        self.gets: deque[bool] = deque()
        """The basic.get that are not answered, with no-ack."""


class Client:
    """One connection of one client."""

    def __init__(self, name: str, rng: Random) -> None:
        self.name = name
        self.link = Link()
        self.rng = rng
        self.state = "starting"  # open, closing, closed
        self.frame_max = rng.choice((131_072, 131_072, 131_072, 4096, 9000))
        self.heartbeat_s = rng.choice((0, 0, 0, 10, 60))
        self.channels: dict[int, ClientChannel] = {}
        self.publishing_on = 0
        """The channel of the last publish, if nothing else was sent behind it."""
        self.alive = True
        """It sends heartbeats."""
        self.blocked = False
        self.login = ("guest", "guest", "/")
        """User, password and virtual host."""
        self.is_told = False
        """That its login was refused."""
        self.link.send(PROTOCOL_HEADER, (0, m.ConnectionStart(), None))

    @property
    def silent(self) -> bool:
        return any(channel.silent for channel in self.channels.values())

    def usable(self) -> list[ClientChannel]:
        """Channels on which something may be sent now."""
        if self.state != "open" or self.silent:
            return []
        return [channel for channel in self.channels.values() if channel.open]

    def send(self, channel: int, method: m.Method) -> None:
        """Sends a method."""
        self.publishing_on = 0
        self.link.send(m.method_frame(channel, method), (channel, method, None))

    def publish(
        self, channel: int, message: Message, cuts: Sequence[int] = (), cross: bool = False
    ) -> None:
        """Sends a message. Between channels there is no order; unless `cross`, a heartbeat makes one."""
        if self.publishing_on not in (0, channel) and not cross:
            self.link.send(HEARTBEAT_FRAME, None)
        self.publishing_on = channel
        self.channels[channel].published += self.channels[channel].confirming
        frames = publish_frames(channel, message, self.frame_max, cuts)
        self.link.send(frames, (channel, m.BasicPublish(), message))

    def open_channel(self) -> ClientChannel | None:
        """Opens a channel with a free number."""
        number = next((i for i in range(1, 6) if i not in self.channels), 0)
        if not number:
            return None
        channel = self.channels[number] = ClientChannel(number)
        self.send(number, m.ChannelOpen())
        return channel

    def close_channel(self, channel: ClientChannel) -> None:
        channel.open = False
        channel.asked_close = True
        self.send(channel.number, m.ChannelClose(200, "bye"))

    def close(self) -> None:
        self.state = "closing"
        self.send(0, m.ConnectionClose(200, "bye"))

    # -- what arrives

    def on_item(self, item: Item) -> None:
        """Something from the broker."""
        method = item.method
        if isinstance(method, str):
            return
        if item.channel == 0:
            self._on_connection(method)
            return
        channel = self.channels[item.channel]
        if isinstance(method, m.BasicDeliver):
            if method.consumer_tag in channel.readers:
                channel.kept.add(method.delivery_tag)
            if not channel.modes[method.consumer_tag] and not channel.recovering:
                channel.unacked[method.delivery_tag] = None
        elif isinstance(method, m.BasicGetOk):
            if not channel.gets.popleft() and not channel.recovering:
                channel.unacked[method.delivery_tag] = None
        elif isinstance(method, m.BasicGetEmpty):
            channel.gets.popleft()
        elif isinstance(method, (m.BasicAck, m.BasicNack)):
            self._on_confirm(channel, method)
        elif isinstance(method, m.BasicRecoverOk):
            channel.recovering -= 1
        elif isinstance(method, m.BasicCancel):
            channel.consumers.pop(method.consumer_tag, None)
        elif isinstance(method, m.ChannelClose):
            self._on_channel_close(channel)
        elif isinstance(method, m.ChannelCloseOk):
            del self.channels[item.channel]

    def _on_confirm(self, channel: ClientChannel, method: m.BasicAck | m.BasicNack) -> None:
        tag = method.delivery_tag
        for each in [each for each in channel.produced if each == tag or method.multiple]:
            if each <= tag:
                producer, number = channel.produced.pop(each)
                producer.confirmed(number, isinstance(method, m.BasicAck))

    def _on_channel_close(self, channel: ClientChannel) -> None:
        if self.state in ("open", "closing"):
            self.send(channel.number, m.ChannelCloseOk())
        channel.open = False
        channel.silent = False
        if not channel.asked_close:
            del self.channels[channel.number]

    def _on_connection(self, method: m.Method) -> None:
        if isinstance(method, m.ConnectionStart):
            capabilities: Table = {
                "consumer_cancel_notify": self.rng.random() < 0.7,
                "connection.blocked": self.rng.random() < 0.5,
            }
            if self.is_told:
                capabilities["authentication_failure_close"] = True
            properties: Table = {"capabilities": capabilities}
            response = "\0{}\0{}".format(*self.login).encode()
            self.send(0, m.ConnectionStartOk(properties, "PLAIN", response))
        elif isinstance(method, m.ConnectionTune):
            self.send(0, m.ConnectionTuneOk(2047, self.frame_max, self.heartbeat_s))
            self.send(0, m.ConnectionOpen(self.login[2]))
        elif isinstance(method, m.ConnectionOpenOk):
            self.state = "open"
        elif isinstance(method, m.ConnectionClose):
            self.send(0, m.ConnectionCloseOk())
            self.state = "closed"
        elif isinstance(method, m.ConnectionCloseOk):
            self.state = "closed"
        elif isinstance(method, m.ConnectionBlocked):
            self.blocked = True
        elif isinstance(method, m.ConnectionUnblocked):
            self.blocked = False

    # -- settling

    def settle(self, channel: ClientChannel, tag: int, how: str, multiple: bool) -> None:
        """`how`: ack, nack, requeue, reject, reject-requeue."""
        if multiple:
            gone = [each for each in channel.unacked if each <= tag or tag == 0]
        else:
            gone = [tag]
        for each in gone:
            del channel.unacked[each]
        if channel.tx:
            channel.tx_settled += gone
        else:
            channel.settled[20:] = gone
        if how == "ack":
            method: m.Method = m.BasicAck(tag, multiple)
        elif how.startswith("reject"):
            method = m.BasicReject(tag, how == "reject-requeue")
        else:
            method = m.BasicNack(tag, multiple, how == "requeue")
        before, self.publishing_on = self.publishing_on, 0
        self.send(channel.number, method)
        self.publishing_on = before  # settlements do not end a group

    def get(self, channel: ClientChannel, queue: str, no_ack: bool) -> None:
        channel.gets.append(no_ack)
        self.send(channel.number, m.BasicGet(queue, no_ack))

    def consume(
        self, channel: ClientChannel, method: m.BasicConsume, reading: bool = False
    ) -> None:
        if reading:
            channel.readers.add(method.consumer_tag)
        channel.consumers[method.consumer_tag] = channel.modes[method.consumer_tag] = method.no_ack
        self.send(channel.number, method)

    def recover(self, channel: ClientChannel) -> None:
        if self.rng.random() < 0.1:
            self.send(channel.number, m.BasicRecoverAsync(True))
        channel.unacked.clear()
        channel.recovering += 1
        self.send(channel.number, m.BasicRecover(True))

    def commit(self, channel: ClientChannel) -> None:
        channel.tx_settled.clear()
        self.send(channel.number, m.TxCommit())

    def roll_back(self, channel: ClientChannel) -> None:
        for tag in channel.tx_settled:
            channel.unacked[tag] = None
        channel.tx_settled.clear()
        self.send(channel.number, m.TxRollback())
