"""What the oracle expects of methods that declare, bind and delete."""

from __future__ import annotations

from collections import deque

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import Table
from tests.sim.choices import EXPRESSIONS
from tests.sim.ends import Ends
from tests.sim.model import Channel, Refused
from tests.sim.profile import SPECIAL, STANDARD
from tests.sim.receipts import DROPPED
from tests.sim.streams import OFFSET
from tests.sim.topology import PREDECLARED, Binding, Exchange, Queue
from tests.sim.wire import Message

WEIGHTS = ("1", "2", "5")
Reply = tuple[m.Method] | tuple[m.Method, Message, int] | None
"""What the broker answers, with its content and how often that was given back."""


class Definitions(Ends):
    """The part of the commands that is about exchanges, queues and bindings."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: deque[str] = deque()
        """Random name parts that the broker has drawn and the model has not used yet."""
        self.meant: dict[int, tuple[m.Method, Queue]] = {}
        """Expected queue.declare-ok of this phase, by their ids, with the queue that each is about."""

    # -- names

    def _exchange(self, name: str) -> Exchange:
        found = self.topology.exchanges.get(name)
        if found is None:
            raise Refused(404)
        return found

    def _named(self, name: str) -> Exchange:
        if name == "":
            raise Refused(403)
        return self._exchange(name)

    def _queue(self, channel: Channel, name: str) -> Queue:
        found = self.topology.queues.get(name or channel.last_queue)
        if found is None:
            raise Refused(404)
        if found.owner is not None and found.owner is not channel.connection:
            raise Refused(405)
        return found

    # -- exchanges

    def exchange_declare(self, channel: Channel, method: m.ExchangeDeclare) -> Reply:
        name, reply = method.exchange, (m.ExchangeDeclareOk(),)
        if method.passive:
            self._named(name)
            return reply
        if method.type not in STANDARD + SPECIAL:
            raise Refused(503)
        if name == "":
            raise Refused(403)
        found = self.topology.exchanges.get(name)
        if found is None:
            if name.startswith("amq."):
                raise Refused(403)
            if not isinstance(method.arguments.get("alternate-exchange", ""), str):
                raise Refused(406)
            self.topology.add_exchange(
                Exchange(
                    name,
                    method.type,
                    method.durable,
                    method.auto_delete,
                    method.internal,
                    method.arguments,
                )
            )
            return reply
        same = (
            found.type == method.type
            and found.durable == method.durable
            and found.auto_delete == method.auto_delete
            and found.internal == method.internal
            and _same(found.arguments, method.arguments, "alternate-exchange")
        )
        if not same:
            raise Refused(406)
        return reply

    def exchange_delete(self, channel: Channel, method: m.ExchangeDelete) -> Reply:
        name = method.exchange
        if name == "":
            raise Refused(403)
        found = self.topology.exchanges.get(name)
        if found is not None:
            if name in PREDECLARED:
                raise Refused(403)
            if method.if_unused and found.bindings:
                raise Refused(406)
            self.topology.remove_exchange(name)
        return (m.ExchangeDeleteOk(),)

    def exchange_bind(self, channel: Channel, method: m.ExchangeBind) -> Reply:
        if "" in (method.source, method.destination):
            raise Refused(403)
        source = self._exchange(method.source)
        self._exchange(method.destination)
        binding = Binding(False, method.destination, method.routing_key, method.arguments)
        _check_binding(source, binding)
        source.bindings.setdefault(binding.identity, binding)
        return (m.ExchangeBindOk(),)

    def exchange_unbind(self, channel: Channel, method: m.ExchangeUnbind) -> Reply:
        if "" in (method.source, method.destination):
            raise Refused(403)
        binding = Binding(False, method.destination, method.routing_key, method.arguments)
        self._unbind(method.source, binding)
        return (m.ExchangeUnbindOk(),)

    def _unbind(self, name: str, binding: Binding) -> None:
        """What there is not is gone already."""
        source = self.topology.exchanges.get(name)
        if source is not None:
            self.topology.unbind(source, binding)

    # -- queues

    def queue_declare(self, channel: Channel, method: m.QueueDeclare) -> Reply:
        if method.passive:
            queue = self._queue(channel, method.queue)
            self.inquire(queue)
        else:
            queue = self._declare(channel, method)
        queue.used_ms = self.now_ms
        channel.last_queue = queue.name
        reply = m.QueueDeclareOk(queue.name, len(queue.ready), len(queue.consumers))
        self.meant[id(reply)] = reply, queue
        return (reply,)

    def _declare(self, channel: Channel, method: m.QueueDeclare) -> Queue:
        name = method.queue or f"amq.gen-{self.tokens.popleft()}"
        owner = channel.connection if method.exclusive else None
        if method.queue.startswith("amq."):
            raise Refused(403)
        found = self.topology.queues.get(name)
        if found is None:
            if method.arguments.get("x-queue-type") in ("quorum", "stream"):
                if not (method.durable and method.queue):
                    raise Refused(406)
            self._check_source(method.arguments)
            found = self.topology.add_queue(
                name, method.durable, method.auto_delete, owner, method.arguments
            )
            if owner is not None:
                owner.owned[name] = found
            self._join(found)
            return found
        if found.owner is not owner:
            raise Refused(405)
        same = (
            (found.durable == method.durable or owner is not None)
            and found.auto_delete == method.auto_delete
            and _same(found.arguments, method.arguments, "x-max-length")
            and _same(found.arguments, method.arguments, "x-max-length-bytes")
            and _same(found.arguments, method.arguments, "x-overflow")
            and _same(found.arguments, method.arguments, "x-consumer-timeout")
            and _same(found.arguments, method.arguments, "x-single-active-consumer")
            and _same(found.arguments, method.arguments, "x-dispatch-strategy", "round-robin")
        )
        if not same:
            raise Refused(406)
        self.inquire(found)
        return found

    def _check_source(self, arguments: Table) -> None:
        name = arguments.get("x-stream")
        if name is not None:
            source = self.topology.queues.get(str(name))
            if source is None or source.stream is None:
                raise Refused(406)

    def _join(self, queue: Queue) -> None:
        if queue.group is not None and queue.group.source.stream is not None:
            self.pump()
            self.join_rota(queue)
            asked = queue.arguments.get(OFFSET)
            self.join(queue, queue.group.source.stream.begin(asked, self.now_ms))

    def queue_bind(self, channel: Channel, method: m.QueueBind) -> Reply:
        if not (method.queue or channel.last_queue):
            raise Refused(404)
        source = self._named(method.exchange)
        queue = self._queue(channel, method.queue)
        if queue.group is not None:
            raise Refused(406)
        key = method.routing_key
        if not method.queue and not key:
            key = queue.name
        binding = Binding(True, queue.name, key, method.arguments)
        _check_binding(source, binding)
        if binding.identity not in source.bindings:
            source.bindings[binding.identity] = binding
            self.recall(source, queue)
        return (m.QueueBindOk(),)

    def queue_unbind(self, channel: Channel, method: m.QueueUnbind) -> Reply:
        name = method.queue or channel.last_queue
        if not name:
            raise Refused(404)
        if method.exchange == "":
            raise Refused(403)
        self._unbind(method.exchange, Binding(True, name, method.routing_key, method.arguments))
        return (m.QueueUnbindOk(),)

    def queue_purge(self, channel: Channel, method: m.QueuePurge) -> Reply:
        queue = self._queue(channel, method.queue)
        if queue.stream is not None:
            raise Refused(540)
        self.inquire(queue)
        waiting = queue.waiting()
        count = queue.clear()
        for entry in waiting:
            self.end(queue, entry, DROPPED)
        return (m.QueuePurgeOk(count),)

    def queue_delete(self, channel: Channel, method: m.QueueDelete) -> Reply:
        name = method.queue or channel.last_queue
        if not name:
            raise Refused(404)
        if name not in self.topology.queues:
            return (m.QueueDeleteOk(0),)
        queue = self._queue(channel, name)
        self.inquire(queue)
        in_use = method.if_unused and queue.consumers
        if queue.stream is None and (
            in_use or (method.if_empty and (queue.ready or queue.deferred))
        ):
            raise Refused(406)
        count = self.drop_queue(queue)
        return (m.QueueDeleteOk(count if queue.stream is None else 0),)


def _same(one: Table, other: Table, key: str, default: str | None = None) -> bool:
    return repr(one.get(key, default)) == repr(other.get(key, default))


def _check_binding(source: Exchange, binding: Binding) -> None:
    weight = source.type != "x-consistent-hash" or binding.key in WEIGHTS
    local = source.type != "x-local-random" or (not binding.key and binding.to_queue)
    expression = binding.arguments.get("x-match-expression", binding.key)
    if not weight or not local or (source.type == "x-content" and expression not in EXPRESSIONS):
        raise Refused(406)
