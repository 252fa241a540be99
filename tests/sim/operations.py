"""What clients do in a step: one function per kind of operation, chosen by weight and by the taste of the world."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Value
from tests.sim.client import Client, ClientChannel
from tests.sim.producing import Producer, produced_next
from tests.sim.profile import Profile
from tests.sim.publishing import Shape, make_message, make_shape, number_shape
from tests.sim.reading import Reading
from tests.sim.repeats import PRODUCER
from tests.sim.wire import REPLY_TO

if TYPE_CHECKING:
    from tests.sim.world import World

REJECTING = ("nack", "reject", "reject", "requeue")
HOWS = ("ack", "ack", "ack", "ack", "nack", "requeue", "reject", "reject-requeue")


class Operations(Reading):
    """Draws the next operation of a client and lets it do that."""

    def __init__(self, world: World, rng: Random, profile: Profile) -> None:
        super().__init__(world, rng, profile)
        self.published = 0
        self._tags = 0
        self.producers = [Producer(*each) for each in profile.producers]
        self._numbers: dict[Value, int] = {}
        self.hows = HOWS + REJECTING * profile.rejecting
        weights = [weight * profile.taste.get(taste, 1.0) for weight, taste, _ in OPERATIONS]
        self._weights = list(accumulate(weights))
        self._operations = [operation for _, _, operation in OPERATIONS]

    def step(self, client: Client) -> str:
        """The client does something; the name of it, '' for nothing."""
        channels = client.usable()
        if not channels:
            if client.state == "open" and not client.silent and client.open_channel() is not None:
                return "open_channel"
            return ""
        operation = self.rng.choices(self._operations, cum_weights=self._weights)[0]
        if not self.world.oracle.topology.queues and not self.mistaken():
            operation = Operations.declare_queue
        operation(self, client, self.rng.choice(channels))
        return operation.__name__

    def begin(self, client: Client) -> None:
        """A client that has just connected opens channels for its purposes."""
        rng, taste = self.rng, self.profile.taste
        for _ in range(rng.randint(1, self.profile.channels)):
            channel = client.open_channel()
            if channel is None:
                return
            if rng.random() < 0.4 * taste["qos"]:
                self.qos(client, channel)
            if rng.random() < 0.3 * taste["confirm"]:
                self.confirm(client, channel)
            elif rng.random() < 0.15 * taste["tx"]:
                self.transact(client, channel)
            if not self.world.oracle.topology.queues:
                for _ in self.profile.queues:
                    self.declare_exchange(client, channel)
                    self.declare_queue(client, channel)
                if self.profile.partitioned:
                    self.declare_team(client, channel)
            elif rng.random() < 0.5 * taste["consume"]:
                self.consume(client, channel)

    # -- publishing

    def publish(self, client: Client, channel: ClientChannel) -> None:
        self._publish_on(client, [channel])

    def publish_across(self, client: Client, channel: ClientChannel) -> None:
        """Several channels publish to the same places, their frames mixed."""
        self._publish_on(client, client.usable())

    def _publish_on(self, client: Client, channels: list[ClientChannel]) -> None:
        rng = self.rng
        known = list(self.world.oracle.topology.queues)
        routes = [self._route(known) for _ in range(rng.choice((1, 1, 2, 3)))]
        shapes = [make_shape(rng, self.profile, known) for _ in range(rng.choice((1, 1, 2)))]
        count = rng.choice((1, 1, 2, 3, 5, 8, 20))
        if any(shape.size > 500 for shape in shapes):
            count = min(count, 2)
        for _ in range(count):
            exchange, key, mandatory = rng.choice(routes) if len(routes) > 1 else routes[0]
            shape = rng.choice(shapes) if len(shapes) > 1 else shapes[0]
            channel = rng.choice(channels) if len(channels) > 1 else channels[0]
            self._publish_one(client, channel, exchange, key, mandatory, shape)

    def _route(self, known: list[str]) -> tuple[str, str, bool]:
        rng = self.rng
        mandatory = rng.random() < 0.2 * self.profile.taste["mandatory"]
        if known and rng.random() < 0.5:
            queue = self.world.oracle.topology.queues[rng.choice(known)]
            if queue.group is not None and rng.random() < 0.9:
                queue = queue.group.source
            return "", queue.name, mandatory
        keys = self.profile.keys
        if self.mistaken():
            return self.exchange().name, rng.choice(keys), mandatory
        exchanges = self.world.oracle.topology.exchanges
        busy = [name for name, each in exchanges.items() if each.bindings and not each.internal]
        if busy and rng.random() < 0.9:
            return rng.choice(busy), rng.choice(keys), mandatory
        return rng.choice(("", "amq.topic")), rng.choice(keys), mandatory

    def _publish_one(
        self,
        client: Client,
        channel: ClientChannel,
        exchange: str,
        key: str,
        mandatory: bool,
        shape: Shape,
    ) -> None:
        self.published += 1
        if shape.producer:
            number_shape(shape, self._number(shape))
        message = make_message(self.published, shape, exchange, key, mandatory)
        self.world.oracle.add_message(message)
        cuts: list[int] = []
        if shape.size and self.rng.random() < 0.03:
            cuts = [self.rng.randint(0, shape.size) for _ in range(self.rng.randint(1, 3))]
        cross = self.profile.cross and self.rng.random() < 0.95
        client.publish(channel.number, message, cuts, cross)

    def _number(self, shape: Shape) -> Value:
        """What somebody gives to a message who numbers without much care."""
        name = (shape.properties.headers or {})[PRODUCER]
        last = self._numbers.get(name, 0)
        number = produced_next(self.rng, last)
        if type(number) is int and last < number < last + 100:
            self._numbers[name] = number
        return number

    def produce(self, client: Client, channel: ClientChannel) -> None:
        """Somebody goes on who numbers what he publishes, and publishes again what may not have come."""
        if not self.producers:
            self.publish(client, channel)
            return
        rng, producer = self.rng, self.rng.choice(self.producers)
        again: list[int] = []
        if not self._has_line(producer):
            if channel.tx or rng.random() < 0.2:
                self.publish(client, channel)
                return
            if not channel.confirming:
                self.confirm(client, channel)
            producer.client, producer.channel = client, channel
            again = list(producer.open)
        elif rng.random() < 0.1:
            again = list(producer.open)
        for number in (*again, *producer.go_on(rng.choice((0, 1, 1, 2, 5)))):
            self._produce_one(producer, number)

    def _has_line(self, producer: Producer) -> bool:
        """Whether it goes on where it has published before; a frozen line is given up, and what is on it may come."""
        channel = producer.channel
        party = next((p for p in self.world.parties if p.client is producer.client), None)
        if party is None or channel is None or (party.frozen and self.rng.random() < 0.5):
            return False
        return channel in party.client.usable()

    def _produce_one(self, producer: Producer, number: int) -> None:
        client, channel = producer.client, producer.channel
        assert client is not None and channel is not None
        shape = producer.shape(self.rng, number)
        self._publish_one(client, channel, "", producer.stream, self.rng.random() < 0.2, shape)
        channel.produced[channel.published] = producer, number

    # -- settling

    def settle(self, client: Client, channel: ClientChannel) -> None:
        """One tag, or all tags up to one."""
        if channel.recovering or not channel.unacked:
            self.fetch_or_publish(client, channel)
            return
        rng, taste = self.rng, self.profile.taste
        tags = list(channel.unacked)
        how = rng.choice(self.hows)
        if how.endswith("requeue") and rng.random() > taste["requeue"]:
            how = "ack"
        multiple = not how.startswith("reject") and rng.random() < 0.4 * taste["multiple"]
        tag = rng.choice(tags) if rng.random() < 0.6 else tags[0]
        gone = [each for each in tags if each <= tag] if multiple else [tag]
        if how != "ack" and not self.may_refuse(channel, gone):
            how = "ack"
        if multiple and rng.random() < 0.05 and not channel.readers:
            client.settle(channel, 0, how, True)
            client.recover(channel)  # it also settled deliveries that are still on their way here
        else:
            client.settle(channel, tag, how, multiple)

    def settle_row(self, client: Client, channel: ClientChannel) -> None:
        """Some tags one by one, in order or not."""
        if channel.recovering or not channel.unacked:
            self.fetch_or_publish(client, channel)
            return
        rng = self.rng
        tags = sorted(channel.unacked)
        at = rng.randint(0, len(tags) - 1)
        tags = tags[at : at + rng.randint(1, 20)]
        if rng.random() < 0.3:
            rng.shuffle(tags)
        elif rng.random() < 0.3:
            tags = tags[::2]
        how = rng.choice(self.hows)
        if how.endswith("requeue") and rng.random() > self.profile.taste["requeue"]:
            how = "ack"
        if how != "ack" and not self.may_refuse(channel, tags):
            how = "ack"
        for tag in tags:
            client.settle(channel, tag, how, False)

    def settle_wrongly(self, client: Client, channel: ClientChannel) -> None:
        """A tag that is settled already, or was never given; the client then waits for its punishment."""
        rng = self.rng
        tag, multiple = 0, False
        if channel.settled and not channel.recovering and rng.random() < 0.7:
            tag = rng.choice(channel.settled)
            if tag - 1 in channel.unacked:
                client.settle(channel, tag - 1, "ack", False)
            multiple = rng.random() < 0.3
        elif rng.random() < 0.5:
            tag, multiple = 1_000_000, rng.random() < 0.5
        channel.silent = True
        client.send(channel.number, m.BasicAck(tag, multiple))

    def err(self, client: Client, channel: ClientChannel) -> None:
        """Something that makes no sense."""
        methods: list[m.Method] = [
            m.ExchangeDelete("amq.direct"),
            m.ExchangeDelete(""),
            m.ExchangeDeclare("x0", arguments={"alternate-exchange": 5}),
            m.ExchangeDeclare("", passive=True),
            m.ExchangeDeclare("amq.mine"),
            m.QueueDeclare("amq.mine"),
            m.QueueBind("q0", ""),
            m.QueueUnbind("q0", ""),
            m.ExchangeBind("", "amq.direct"),
            m.ExchangeBind("nothing", "amq.direct"),
            m.ExchangeUnbind("nothing", "amq.direct"),
            m.QueueUnbind("nothing", "amq.direct"),
            m.BasicConsume("nothing", "c0"),
        ]
        if not channel.tx:
            methods += [m.TxCommit(), m.TxRollback()]
        client.send(channel.number, self.rng.choice(methods))

    def recover(self, client: Client, channel: ClientChannel) -> None:
        if not channel.readers or self.mistaken():
            client.recover(channel)

    # -- consuming

    def idle(self, client: Client, channel: ClientChannel) -> None:
        self.publish(client, channel)

    def fetch_or_publish(self, client: Client, channel: ClientChannel) -> None:
        if channel.consumers or self.rng.random() < 0.5:
            self.publish(client, channel)
        else:
            self.consume(client, channel)

    def consume_replies(self, client: Client, channel: ClientChannel) -> None:
        self._tags += 1
        no_ack = not self.mistaken()
        client.consume(channel, m.BasicConsume(REPLY_TO, f"reply{self._tags}", no_ack=no_ack))

    def consume(self, client: Client, channel: ClientChannel) -> None:
        rng = self.rng
        if len(channel.consumers) >= 3 and rng.random() < 0.9:
            self.publish(client, channel)
            return
        name = self.known_queue()
        if name in self.streams():
            self.read_stream(client, channel, name)
            return
        self._tags += 1
        tag = f"c{self._tags}"
        if channel.consumers and rng.random() < 0.01 * self.profile.taste["mistake"]:
            tag = rng.choice(list(channel.consumers))
            method = m.BasicConsume(name, tag, no_ack=channel.modes[tag])
            client.send(channel.number, method)
            return
        method = m.BasicConsume(name, tag)
        method.no_ack = rng.random() < 0.2
        method.exclusive = rng.random() < 0.05
        method.no_wait = self.no_wait()
        if rng.random() < 0.4 * self.profile.taste["priority"]:
            method.arguments["x-priority"] = rng.choice((-1, 1, 1, 2))
        if rng.random() < 0.4 * self.profile.taste["priority"]:
            method.arguments["x-weight"] = 0 if self.mistaken() else rng.choice((1, 2, 5, 100))
        if rng.random() < 0.1 * self.profile.taste["timeout"]:
            method.arguments["x-consumer-timeout"] = rng.choice((0, 10, 100, 1000))
        client.consume(channel, method)

    def join_team(self, client: Client, channel: ClientChannel) -> None:
        """A member of a partitioned group: it consumes from all partitions, or from most."""
        rng, queues = self.rng, self.world.oracle.topology.queues.values()
        names = [each.name for each in queues if each.group is not None and each.group.rota]
        if not names and self.profile.partitioned:
            self.declare_team(client, channel)
        if not names or (len(channel.consumers) >= 3 and rng.random() < 0.8):
            self.publish(client, channel)
            return
        if rng.random() < 0.8:
            client.send(channel.number, m.BasicQos(0, rng.choice((1, 2, 5, 20)), False))
        no_ack = rng.random() < 0.05
        for name in names:
            if rng.random() < 0.9:
                self._tags += 1
                method = m.BasicConsume(name, f"m{self._tags}", no_ack=no_ack)
                if rng.random() < 0.1 * self.profile.taste["timeout"]:
                    method.arguments["x-consumer-timeout"] = rng.choice((0, 10, 100, 1000))
                client.consume(channel, method)

    def cancel(self, client: Client, channel: ClientChannel) -> None:
        tag = self.rng.choice([*channel.consumers, "nobody"])
        channel.consumers.pop(tag, None)
        client.send(channel.number, m.BasicCancel(tag, self.no_wait()))

    def get(self, client: Client, channel: ClientChannel) -> None:
        client.get(channel, self.known_plain(), self.rng.random() < 0.3)

    def qos(self, client: Client, channel: ClientChannel) -> None:
        count = self.rng.choice((0, 1, 1, 2, 3, 5, 10, 20))
        whole = self.rng.random() < 0.3
        client.send(channel.number, m.BasicQos(0, count, whole))

    def flow(self, client: Client, channel: ClientChannel) -> None:
        client.send(channel.number, m.ChannelFlow(True))

    # -- channels, confirms, transactions

    def open_channel(self, client: Client, channel: ClientChannel) -> None:
        if len(client.channels) < self.profile.channels:
            client.open_channel()
        else:
            self.publish(client, channel)

    def close_channel(self, client: Client, channel: ClientChannel) -> None:
        client.close_channel(channel)

    def close(self, client: Client, channel: ClientChannel) -> None:
        client.close()

    def confirm(self, client: Client, channel: ClientChannel) -> None:
        if channel.tx and not self.mistaken():
            client.commit(channel)
            return
        channel.confirming = True
        client.send(channel.number, m.ConfirmSelect(self.no_wait()))

    def transact(self, client: Client, channel: ClientChannel) -> None:
        if channel.tx:
            if self.rng.random() < 0.7:
                client.commit(channel)
            else:
                client.roll_back(channel)
        elif not channel.confirming or self.mistaken():
            channel.tx = not channel.confirming
            client.send(channel.number, m.TxSelect())


OPERATIONS: tuple[tuple[float, str, Callable[[Operations, Client, ClientChannel], None]], ...] = (
    (25, "", Operations.publish),
    (5, "", Operations.publish_across),
    (4, "produce", Operations.produce),
    (20, "", Operations.settle),
    (16, "", Operations.settle_row),
    (0.15, "mistake", Operations.settle_wrongly),
    (0.15, "mistake", Operations.err),
    (1, "recover", Operations.recover),
    (5, "consume", Operations.consume),
    (0.4, "reply", Operations.consume_replies),
    (3, "read", Operations.read),
    (3, "team", Operations.join_team),
    (2, "cancel", Operations.cancel),
    (5, "get", Operations.get),
    (3, "qos", Operations.qos),
    (0.2, "", Operations.flow),
    (3, "", Operations.declare_queue),
    (2, "topology", Operations.bind),
    (1, "topology", Operations.unbind),
    (1, "topology", Operations.recall),
    (1, "topology", Operations.bind_exchange),
    (1.5, "topology", Operations.declare_exchange),
    (0.5, "delete", Operations.delete_exchange),
    (0.5, "delete", Operations.delete_queue),
    (0.7, "delete", Operations.purge),
    (2, "", Operations.open_channel),
    (0.7, "close", Operations.close_channel),
    (0.2, "close", Operations.close),
    (1.5, "confirm", Operations.confirm),
    (3, "tx", Operations.transact),
)
"""(weight, taste, operation)."""
