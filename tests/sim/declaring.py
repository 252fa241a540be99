"""What clients do to exchanges, queues and bindings."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Table
from tests.sim.choices import EXPRESSIONS
from tests.sim.client import Client, ClientChannel
from tests.sim.definitions import WEIGHTS
from tests.sim.profile import SPREAD, ExchangeSpec, Profile, QueueSpec
from tests.sim.publishing import make_headers

if TYPE_CHECKING:
    from tests.sim.world import World


class Declaring:
    """The part of the operations that is about topology, and the names that all of them use."""

    def __init__(self, world: World, rng: Random, profile: Profile) -> None:
        self.world = world
        self.rng = rng
        self.profile = profile

    # -- names

    def queue(self) -> QueueSpec:
        return self.rng.choice(self.profile.queues)

    def exchange(self) -> ExchangeSpec:
        return self.rng.choice(self.profile.exchanges)

    def known_queue(self) -> str:
        """A queue that there is, or nearly always."""
        known = list(self.world.oracle.topology.queues)
        if self.mistaken():
            return self.rng.choice((self.queue().name, ""))
        return self.rng.choice(known) if known else self.queue().name

    def known_exchange(self) -> str:
        sources = self.profile.sources
        if not self.mistaken():
            known = self.world.oracle.topology.exchanges
            sources = [name for name in sources if name in known]
        return self.rng.choice(sources)

    def no_wait(self) -> bool:
        return self.rng.random() < 0.15 * self.profile.taste["no_wait"]

    def mistaken(self) -> bool:
        return self.rng.random() < 0.02 * self.profile.taste["mistake"]

    # -- topology

    def declare_queue(self, client: Client, channel: ClientChannel) -> None:
        spec, rng = self._spec(), self.rng
        method = m.QueueDeclare(
            spec.name,
            False,
            spec.durable,
            spec.exclusive,
            spec.auto_delete,
            self.no_wait(),
            self._queue_arguments(spec),
        )
        draw = rng.random()
        if draw < 0.1:
            method.passive = True
        elif draw < 0.15:
            method.queue, method.no_wait = "", False
        elif self.mistaken():
            method.durable = not method.durable
        elif self.mistaken():
            method.queue = "amq.mine"
        client.send(channel.number, method)
        if rng.random() < 0.7 and method.queue and "x-stream" not in spec.arguments:
            self._bind(client, channel, method.queue)

    def declare_team(self, client: Client, channel: ClientChannel) -> None:
        """Partitions, what spreads messages over them, and the group that works on them."""
        spread = next(each for each in self.profile.exchanges if each.name == SPREAD)
        method = m.ExchangeDeclare(SPREAD, spread.type, durable=True, arguments=spread.arguments)
        client.send(channel.number, method)
        for spec in self.profile.queues:
            if spec.name.startswith("s"):
                self._declare(client, channel, spec)
                weight = self.rng.choice(WEIGHTS)
                client.send(channel.number, m.QueueBind(spec.name, SPREAD, weight))
        for spec in self.profile.queues:
            if "x-stream-group" in spec.arguments:
                self._declare(client, channel, spec)

    def _declare(self, client: Client, channel: ClientChannel, spec: QueueSpec) -> None:
        method = m.QueueDeclare(spec.name, durable=spec.durable, auto_delete=spec.auto_delete)
        method.arguments = self._queue_arguments(spec)
        client.send(channel.number, method)

    def _spec(self) -> QueueSpec:
        """A queue to declare: before a group its stream."""
        spec = self.queue()
        source = spec.arguments.get("x-stream", spec.name)
        if source in self.world.oracle.topology.queues or self.mistaken():
            return spec
        return next(each for each in self.profile.queues if each.name == source)

    def _queue_arguments(self, spec: QueueSpec) -> Table:
        source = spec.arguments.get("x-stream")
        return spec.arguments if source is None else spec.arguments | self.offset(str(source))

    def known_plain(self) -> str:
        """A queue that there is, and nearly always none that keeps its messages."""
        raise NotImplementedError

    def offset(self, name: str) -> Table:
        """The argument that says where to begin to read a stream, if anything does."""
        raise NotImplementedError

    def bind(self, client: Client, channel: ClientChannel) -> None:
        queue = self.known_queue()
        known = self.world.oracle.topology.queues.get(queue)
        fed = known is not None and known.group is not None
        if queue.startswith("amq.gen-") or (fed and not self.mistaken()):
            self.recall(client, channel)
        else:
            self._bind(client, channel, queue)

    def recall(self, client: Client, channel: ClientChannel) -> None:
        """A queue of its own for what an exchange remembers. Nothing else leads there: no message comes twice."""
        known = self.world.oracle.topology.exchanges
        names = [name for name in self.profile.sources if self._remembers(name)]
        names = [name for name in names if name in known] or names
        if not names:
            return
        durable = self.rng.random() < 0.6
        declare = m.QueueDeclare("", durable=durable)
        if self.rng.random() < self.profile.repeating:
            declare.arguments = {"x-message-deduplication": True}
        client.send(channel.number, declare)
        key = self.rng.choice(self.profile.keys)
        client.send(channel.number, m.QueueBind("", self.rng.choice(names), key))

    def _remembers(self, name: str) -> bool:
        """Whether it is declared as, or known to be, an exchange that remembers."""
        known = self.world.oracle.topology.exchanges.get(name)
        types = [each.type for each in self.profile.exchanges if each.name == name]
        return "x-recent-history" in types or (
            known is not None and known.type == "x-recent-history"
        )

    def _bind(self, client: Client, channel: ClientChannel, queue: str) -> None:
        exchange = self.known_exchange()
        if queue.startswith("s") and SPREAD in self.world.oracle.topology.exchanges:
            exchange = SPREAD if self.rng.random() < 0.7 else exchange
        if self._remembers(exchange):
            return
        client.send(
            channel.number,
            m.QueueBind(
                queue, exchange, self._key(exchange), self.no_wait(), self._arguments(exchange)
            ),
        )

    def _key(self, exchange: str) -> str:
        known = self.world.oracle.topology.exchanges.get(exchange)
        type = known.type if known is not None else ""
        if type == "x-consistent-hash" and not self.mistaken():
            return self.rng.choice(WEIGHTS)
        if type == "x-local-random" and not self.mistaken():
            return ""
        return self.rng.choice(self.profile.patterns if type == "topic" else self.profile.keys)

    def _arguments(self, exchange: str) -> Table:
        known = self.world.oracle.topology.exchanges.get(exchange)
        if known is not None and known.type == "x-content" and not self.mistaken():
            return {"x-match-expression": self.rng.choice(list(EXPRESSIONS))}
        if known is None or known.type != "headers":
            return {}
        arguments = make_headers(self.rng)
        if self.rng.random() < 0.2:
            arguments["h"] = None
        if self.rng.random() < 0.6:
            arguments["x-match"] = self.rng.choice(("all", "any", "all-with-x", "any-with-x"))
        return arguments

    def unbind(self, client: Client, channel: ClientChannel) -> None:
        exchanges = [
            each for each in self.world.oracle.topology.exchanges.values() if each.bindings
        ]
        if not exchanges:
            self.bind(client, channel)
            return
        source = self.rng.choice(exchanges)
        binding = self.rng.choice(list(source.bindings.values()))
        method: m.Method
        if binding.to_queue:
            method = m.QueueUnbind(binding.destination, source.name, binding.key, binding.arguments)
        else:
            method = m.ExchangeUnbind(
                binding.destination, source.name, binding.key, self.no_wait(), binding.arguments
            )
        client.send(channel.number, method)

    def bind_exchange(self, client: Client, channel: ClientChannel) -> None:
        source, target = self.known_exchange(), self.known_exchange()
        if self._remembers(source):
            return
        method = m.ExchangeBind(
            target, source, self._key(source), self.no_wait(), self._arguments(source)
        )
        client.send(channel.number, method)

    def declare_exchange(self, client: Client, channel: ClientChannel) -> None:
        spec = self.exchange()
        method = m.ExchangeDeclare(
            spec.name,
            spec.type,
            False,
            spec.durable,
            spec.auto_delete,
            spec.internal,
            self.no_wait(),
            spec.arguments,
        )
        if self.rng.random() < 0.05:
            method.passive = True
        elif self.mistaken():
            method.type = self.rng.choice(("direct", "topic", "nonsense"))
        client.send(channel.number, method)

    def delete_exchange(self, client: Client, channel: ClientChannel) -> None:
        name = self.exchange().name
        client.send(channel.number, m.ExchangeDelete(name, self.rng.random() < 0.2, self.no_wait()))

    def delete_queue(self, client: Client, channel: ClientChannel) -> None:
        method = m.QueueDelete(self.known_queue(), no_wait=self.no_wait())
        method.if_unused = self.mistaken()
        method.if_empty = self.mistaken()
        client.send(channel.number, method)

    def purge(self, client: Client, channel: ClientChannel) -> None:
        client.send(channel.number, m.QueuePurge(self.known_plain(), self.no_wait()))
