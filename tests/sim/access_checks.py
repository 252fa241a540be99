"""Which rights each command of a client needs, in the order in which RabbitMQ 3.10.8 asks.

What is refused for another reason first is left to the rest of the oracle: nothing is asked here then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mansio.codec import amqp_methods as m
from tests.sim.access import CONFIGURE, READ, TOPIC_READ, TOPIC_WRITE, WRITE
from tests.sim.model import Channel, Refused
from tests.sim.profile import SPECIAL, STANDARD
from tests.sim.wire import REPLY_TO, Message

if TYPE_CHECKING:
    from tests.sim.access_oracle import AccessOracle


class Checks:
    """Of one connection."""

    def __init__(self, oracle: AccessOracle, channel: Channel) -> None:
        self.oracle = oracle
        self.channel = channel
        self.user, self.vhost = channel.connection.user, oracle.vhost

    def may(self, which: int, kind: str, name: str) -> None:
        """Refused, if not."""
        self.oracle.access.check(self.user, self.vhost, which, kind, name)

    def may_topic(self, which: int, exchange: str, key: str) -> None:
        """Refused, if the exchange asks for routing keys, and this one is not allowed."""
        found = self.oracle.topology.exchanges.get(exchange)
        if found is not None and found.type == "topic":
            self.oracle.access.check_topic(self.user, self.vhost, which, exchange, key)

    # -- exchanges

    def exchange_declare(self, method: m.ExchangeDeclare) -> None:
        name = method.exchange
        if method.passive or method.type not in STANDARD + SPECIAL or name == "":
            return
        self.may(CONFIGURE, "exchange", name)
        if name in self.oracle.topology.exchanges or name.startswith("amq."):
            return
        alternate = method.arguments.get("alternate-exchange")
        if isinstance(alternate, str):
            self.may(READ, "exchange", name)
            self.may(WRITE, "exchange", alternate)

    def exchange_delete(self, method: m.ExchangeDelete) -> None:
        if method.exchange != "" and not method.exchange.startswith("amq."):
            self.may(CONFIGURE, "exchange", method.exchange)

    def exchange_bind(self, method: m.ExchangeBind | m.ExchangeUnbind) -> None:
        self.may(WRITE, "exchange", method.destination)
        if method.destination != "":
            self._source(method.source, method.routing_key)

    def _source(self, source: str, key: str) -> None:
        if source != "":
            self.may(READ, "exchange", source)
            self.may_topic(TOPIC_READ, source, key)

    # -- queues

    def queue_declare(self, method: m.QueueDeclare) -> None:
        name = method.queue or f"amq.gen-{self.oracle.tokens[0] if self.oracle.tokens else ''}"
        if method.passive or method.queue.startswith("amq."):
            return
        self.may(CONFIGURE, "queue", name)
        queues, arguments = self.oracle.topology.queues, method.arguments
        if name in queues:
            return
        limit = self.oracle.access.vhosts[self.vhost].get("max-queues", -1)
        if 0 <= limit <= len(queues):
            what = f"queue limit in vhost '{self.vhost}' ({limit}) is reached"
            raise Refused(406, f"PRECONDITION_FAILED - cannot declare queue '{name}': {what}")
        if "x-dead-letter-exchange" in arguments:
            self.may(READ, "queue", name)
            self.may(WRITE, "exchange", str(arguments["x-dead-letter-exchange"]))
        kept = arguments.get("x-queue-type") in ("quorum", "stream")
        if kept and not (method.durable and method.queue):
            raise Refused(406)
        if "x-stream" in arguments:
            self.may(READ, "queue", str(arguments["x-stream"]))

    def queue_bind(self, method: m.QueueBind | m.QueueUnbind) -> None:
        name, key = method.queue or self.channel.last_queue, method.routing_key
        if not name:
            return
        if isinstance(method, m.QueueBind) and not method.queue and not key:
            key = name
        self.may(WRITE, "queue", name)
        self._source(method.exchange, key)

    def queue_purge(self, method: m.QueuePurge) -> None:
        self._take_from(method.queue)

    def queue_delete(self, method: m.QueueDelete) -> None:
        name = method.queue or self.channel.last_queue
        if name:
            self.may(CONFIGURE, "queue", name)

    # -- messages

    def basic_get(self, method: m.BasicGet) -> None:
        self._take_from(method.queue)

    def basic_consume(self, method: m.BasicConsume) -> None:
        if method.queue != REPLY_TO and method.consumer_tag not in self.channel.consumers:
            self._take_from(method.queue)

    def _take_from(self, queue: str) -> None:
        name = queue or self.channel.last_queue
        if name:
            self.may(READ, "queue", name)

    def publish(self, message: Message) -> None:
        """To one exchange with any of its keys. A receipt is a message of its own, to the default exchange."""
        self.may(WRITE, "exchange", message.exchange)
        exchange = self.oracle.topology.exchanges.get(message.exchange)
        if exchange is None or exchange.internal:
            return
        self.may_topic(TOPIC_WRITE, message.exchange, message.key)
        if message.asks_receipt is not None:
            self.may(WRITE, "exchange", "")
        lacks_reply = message.asks_reply is not None and self.channel.reply_queue is None
        if lacks_reply or self.oracle.is_forged(self.channel, message):
            return
        for key in message.copies:
            self.may_topic(TOPIC_WRITE, message.exchange, key)


CHECKS: dict[type, Callable[[Checks, Any], None]] = {
    m.ExchangeDeclare: Checks.exchange_declare,
    m.ExchangeDelete: Checks.exchange_delete,
    m.ExchangeBind: Checks.exchange_bind,
    m.ExchangeUnbind: Checks.exchange_bind,
    m.QueueDeclare: Checks.queue_declare,
    m.QueueBind: Checks.queue_bind,
    m.QueueUnbind: Checks.queue_bind,
    m.QueuePurge: Checks.queue_purge,
    m.QueueDelete: Checks.queue_delete,
    m.BasicGet: Checks.basic_get,
    m.BasicConsume: Checks.basic_consume,
}
