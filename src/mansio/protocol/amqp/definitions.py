"""Methods of classes exchange and queue: declaring, binding, purging and deleting (specification 1.6, 1.7)."""

from typing import TYPE_CHECKING

from mansio.codec import amqp_methods as m
from mansio.core.equivalence import describe
from mansio.core.errors import NotFound
from mansio.core.names import REPLY_TO, clean
from mansio.core.queue import Queue
from mansio.core.session import Channel
from mansio.protocol.amqp.replies import NOT_FOUND, Refusal

if TYPE_CHECKING:
    from mansio.protocol.amqp.connection import AmqpConnection


class DefinitionMethods:
    """The part of a channel that changes exchanges, queues and bindings; errors are BrokerError and Refusal."""

    def __init__(self, connection: "AmqpConnection", core: Channel) -> None:
        self.connection = connection
        self.broker = connection.broker
        self.core = core
        self.number = core.number
        self._last_queue = ""  # the one that an empty queue name means

    def reply(self, method: m.Method) -> None:
        """A method frame to the client."""
        self.connection.send_method(self.number, method)

    def on_exchange_declare(self, method: m.ExchangeDeclare) -> None:
        name = method.exchange
        if method.passive:
            self.broker.definitions.check_exchange(self.core.session, name)
        else:
            self.broker.definitions.declare_exchange(
                self.core.session,
                name,
                method.type,
                method.durable,
                method.auto_delete,
                method.internal,
                method.arguments,
            )
        if not method.no_wait:
            self.reply(m.ExchangeDeclareOk())

    def on_exchange_delete(self, method: m.ExchangeDelete) -> None:
        self.broker.definitions.delete_exchange(
            self.core.session, method.exchange, method.if_unused
        )
        if not method.no_wait:
            self.reply(m.ExchangeDeleteOk())

    def on_exchange_bind(self, method: m.ExchangeBind) -> None:
        if self._must_recall(clean(method.source)):
            return
        self.broker.definitions.bind_exchange(
            self.core.session,
            method.destination,
            method.source,
            method.routing_key,
            method.arguments,
        )
        if not method.no_wait:
            self.reply(m.ExchangeBindOk())

    def _must_recall(self, exchange: str) -> bool:
        """Whether a binding has to wait: what the exchange remembers is read from the log first."""
        history = self.broker.definitions.history(self.core.session, exchange)
        if history is None:
            return False
        loading = self.broker.paging.loading
        self.connection.waiting = loading.must_wait_for_all(history, self.connection)
        return self.connection.waiting

    def on_exchange_unbind(self, method: m.ExchangeUnbind) -> None:
        self.broker.definitions.unbind_exchange(
            self.core.session,
            method.destination,
            method.source,
            method.routing_key,
            method.arguments,
        )
        if not method.no_wait:
            self.reply(m.ExchangeUnbindOk())

    def _queue_name(self, name: str, method: int) -> str:
        """The last queue that this channel declared stands for an empty name (specification 1.7.2.3.2)."""
        if name:
            return name
        if not self._last_queue:
            raise Refusal(NOT_FOUND, "no previously declared queue", method)
        return self._last_queue

    def readable(self, name: str, method: int) -> Queue:
        """The queue that a method names, whose messages it takes; AccessRefused, NotFound, ResourceLocked."""
        session = self.core.session
        name = self._queue_name(name, method)
        session.rights.check_read("queue", name)
        return self.broker.definitions.queue(session, name)

    def on_queue_declare(self, method: m.QueueDeclare) -> None:
        if method.queue.startswith(REPLY_TO):
            self._declare_reply_address(method)
            return
        definitions, session = self.broker.definitions, self.core.session
        if method.passive:
            queue = definitions.check_queue(session, clean(method.queue))
        else:
            generated = not method.queue
            name = f"amq.gen-{self.connection.token()}" if generated else method.queue
            queue = definitions.declare_queue(
                session,
                name,
                method.durable,
                method.exclusive,
                method.auto_delete,
                method.arguments,
                generated,
            )
        self._last_queue = queue.name
        if not method.no_wait:
            self.reply(m.QueueDeclareOk(queue.name, queue.ready_count, len(queue.consumers)))

    def _declare_reply_address(self, method: m.QueueDeclare) -> None:
        """Asks whether the consumer of a direct reply address still listens (RabbitMQ, direct reply-to)."""
        name = method.queue
        if name != REPLY_TO and not self.broker.definitions.exists(self.core.session, name):
            raise NotFound(f"no {describe('queue', name, self.core.session.vhost)}")
        if not method.no_wait:
            self.reply(m.QueueDeclareOk(name, 0, 1))

    def on_queue_bind(self, method: m.QueueBind) -> None:
        name = self._queue_name(method.queue, method.ID)
        key = method.routing_key
        if not method.queue and not key:
            key = name
        if self._must_recall(clean(method.exchange)):
            return
        self.broker.definitions.bind_queue(
            self.core.session, name, method.exchange, key, method.arguments
        )
        if not method.no_wait:
            self.reply(m.QueueBindOk())

    def on_queue_unbind(self, method: m.QueueUnbind) -> None:
        name = self._queue_name(method.queue, method.ID)
        self.broker.definitions.unbind_queue(
            self.core.session, name, method.exchange, method.routing_key, method.arguments
        )
        self.reply(m.QueueUnbindOk())

    def on_queue_purge(self, method: m.QueuePurge) -> None:
        queue = self.readable(method.queue, method.ID)
        count = self.broker.definitions.purge_queue(self.core.session, queue)
        if not method.no_wait:
            self.reply(m.QueuePurgeOk(count))

    def on_queue_delete(self, method: m.QueueDelete) -> None:
        name = clean(self._queue_name(method.queue, method.ID))
        definitions = self.broker.definitions
        self.core.session.rights.check_configure("queue", name)
        count = 0
        if not definitions.exists(self.core.session, name):  # gone already, which is no error
            definitions.observed(self.core.session)
        else:
            queue = definitions.queue(self.core.session, name)
            count = definitions.delete_queue(
                self.core.session, queue, method.if_unused, method.if_empty
            )
        if not method.no_wait:
            self.reply(m.QueueDeleteOk(count))
