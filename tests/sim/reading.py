"""What clients do with streams and groups, beside what they do with all queues."""

from __future__ import annotations

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Table, Timestamp
from tests.sim.client import Client, ClientChannel
from tests.sim.declaring import Declaring
from tests.sim.stream_profile import AGES
from tests.sim.streams import OFFSET


class Reading(Declaring):
    """The part of the operations that is about streams."""

    _readers = 0

    def streams(self) -> list[str]:
        """Names of those that there are."""
        queues = self.world.oracle.topology.queues
        return [name for name, queue in queues.items() if queue.stream is not None]

    def known_plain(self) -> str:
        """A queue that there is, and nearly always none that keeps its messages."""
        streams = self.streams()
        names = [name for name in self.world.oracle.topology.queues if name not in streams]
        return self.rng.choice(names) if names and not self.mistaken() else self.known_queue()

    def read(self, client: Client, channel: ClientChannel) -> None:
        """A reader of a stream, from anywhere on."""
        streams = self.streams()
        if not streams:
            self.idle(client, channel)
            return
        self.read_stream(client, channel, self.rng.choice(streams))

    def read_stream(self, client: Client, channel: ClientChannel, name: str) -> None:
        """A reader of this stream."""
        rng = self.rng
        if not self.mistaken():
            client.send(channel.number, m.BasicQos(0, rng.choice((1, 1, 2, 3, 10, 30)), False))
        self._readers += 1
        method = m.BasicConsume(name, f"r{self._readers}")
        method.no_ack, method.no_wait = self.mistaken(), self.no_wait()
        method.exclusive = rng.random() < 0.1
        method.arguments = self.offset(name)
        if self.mistaken():
            method.arguments["x-priority"] = 1
        client.consume(channel, method, reading=True)

    def offset(self, name: str) -> Table:
        """The argument that says where to begin, if anything does."""
        rng = self.rng
        queue = self.world.oracle.topology.queues.get(name)
        stop = queue.next_position if queue is not None else 0
        draw = rng.random()
        if draw < 0.1:
            return {}
        if draw < 0.6:
            return {OFFSET: rng.choice(("first", "first", "last", "next"))}
        if draw < 0.8:
            return {OFFSET: rng.randint(-1, stop + 2)}
        if draw < 0.9:
            return {OFFSET: rng.choice(AGES)}
        return {OFFSET: Timestamp(self.world.oracle.now_ms // 1000 - rng.randint(-1, 20))}

    def may_refuse(self, channel: ClientChannel, tags: list[int]) -> bool:
        """Whether these deliveries may be given back: those of streams may not. Who does waits for the punishment."""
        if channel.kept.isdisjoint(tags):
            return True
        if not self.mistaken():
            return False
        channel.silent = not channel.tx
        return True

    def idle(self, client: Client, channel: ClientChannel) -> None:
        """There is nothing to read."""
        raise NotImplementedError
