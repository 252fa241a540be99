"""Declaring, binding and deleting: the Broker's commands on its topology, each with its record."""

from typing import TYPE_CHECKING, Any

from mansio.core.admission import check_binding, check_exchange, check_new_queue, check_source
from mansio.core.arming import arm
from mansio.core.deferred import Deferred
from mansio.core.equivalence import describe
from mansio.core.errors import PreconditionFailed, unsupported
from mansio.core.exchange_types import check_exchange_type
from mansio.core.group import SOURCE, Group
from mansio.core.history import RECENT_HISTORY, History, replay
from mansio.core.names import (
    QUARANTINE,
    REPLY_TO,
    check_not_default,
    check_not_reserved,
    check_not_system,
    clean,
)
from mansio.core.queue import Queue
from mansio.core.queue_arguments import check_queue_arguments, check_replicated
from mansio.core.records import encode_topology
from mansio.core.routing import Arguments, Binding, Exchange
from mansio.core.stream import Stream
from mansio.core.stream_arguments import OFFSET, offset_of
from mansio.core.topology_records import PREDECLARED, binding_fields, exchange_fields, queue_fields
from mansio.core.vacancy import adopt

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.session import Session
    from mansio.core.topology import VHost


class Definitions:
    """Exchanges, queues and bindings of all virtual hosts, as clients change them."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.next_queue_id = 1  # ids are never used again

    def take_id(self) -> int:
        """A name in the log for something that holds messages; never the same again."""
        id = self.next_queue_id
        self.next_queue_id += 1
        return id

    def observed(self, session: "Session") -> None:
        """The session is told that something exists, or is gone, which may not be durable yet."""
        self._broker.confirms.observed(session)

    def vhost(self, session: "Session") -> "VHost":
        return self._broker.vhosts[session.vhost]

    # -- exchanges

    def declare_exchange(
        self,
        session: "Session",
        name: str,
        type: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Arguments,
    ) -> None:
        """exchange.declare, not passive."""
        name = clean(name)
        host = self.vhost(session)
        check_exchange_type(type)
        check_exchange(host, session, name, arguments)
        made = host.declare_exchange(name, type, durable, auto_delete, internal, arguments)
        if made is not None and type == RECENT_HISTORY:
            made.history = History(self.next_queue_id, session.vhost, made)
            self.next_queue_id += 1
        if made is None:
            self.observed(session)
        elif durable:
            self._write("declare exchange", session.vhost, session, **exchange_fields(made))

    def keep_exchange(self, session: "Session", name: str, type: str) -> None:
        """Declares a durable exchange of the broker's own, which needs no permission, where there is none."""
        host = self.vhost(session)
        if name in host.exchanges:
            return
        made = host.declare_exchange(name, type, True, False, False, {})
        if made is not None:
            self._write("declare exchange", host.name, session, **exchange_fields(made))

    def check_exchange(self, session: "Session", name: str) -> None:
        """exchange.declare, passive."""
        check_not_default(name)
        self.vhost(session).exchange(name)
        self.observed(session)

    def delete_exchange(self, session: "Session", name: str, if_unused: bool) -> None:
        """exchange.delete; one that does not exist is gone already."""
        name = clean(name)
        check_not_default(name)
        check_not_system(name, session.vhost)
        session.rights.check_configure("exchange", name)
        gone = self.vhost(session).delete_exchange(name, if_unused)
        if gone is None:
            self.observed(session)
        else:
            self._dropped(gone, session.vhost, session)
        self._write_dropped(self.vhost(session))

    def history(self, session: "Session", name: str) -> History | None:
        """What the exchange of this name remembers, if there is one that does."""
        found = self.vhost(session).exchanges.get(name)
        return found.history if found is not None else None

    # -- bindings

    def bind_queue(
        self, session: "Session", name: str, source: str, key: str, arguments: Arguments
    ) -> None:
        """queue.bind; NotFound names the exchange first when both are missing."""
        host, name, source = self.vhost(session), clean(name), clean(source)
        check_binding(host, session, "queue", name, source, key)
        host.exchange(source)
        self._bound(session, host.bind(source, host.queue(name, session), key, arguments))

    def unbind_queue(
        self, session: "Session", name: str, source: str, key: str, arguments: Arguments
    ) -> None:
        """queue.unbind; what does not exist is gone already."""
        host, name, source = self.vhost(session), clean(name), clean(source)
        check_binding(host, session, "queue", name, source, key)
        queue = host.queues.get(name)
        if queue is not None:
            self._unbound(session, host.unbind(source, queue, key, arguments))

    def bind_exchange(
        self, session: "Session", destination: str, source: str, key: str, arguments: Arguments
    ) -> None:
        """exchange.bind; NotFound names the source first when both are missing."""
        host, destination, source = self.vhost(session), clean(destination), clean(source)
        check_binding(host, session, "exchange", destination, source, key)
        host.exchange(source)
        self._bound(session, host.bind(source, host.exchange(destination), key, arguments))

    def unbind_exchange(
        self, session: "Session", destination: str, source: str, key: str, arguments: Arguments
    ) -> None:
        """exchange.unbind; what does not exist is gone already."""
        host, destination, source = self.vhost(session), clean(destination), clean(source)
        check_binding(host, session, "exchange", destination, source, key)
        target = host.exchanges.get(destination)
        if target is not None:
            self._unbound(session, host.unbind(source, target, key, arguments))

    def _bound(self, session: "Session", binding: Binding | None) -> None:
        if binding is None:
            self.observed(session)
            return
        if binding.durable:
            self._write("bind", session.vhost, session, **binding_fields(binding))
        replay(self._broker, session.vhost, binding)

    def _unbound(self, session: "Session", binding: Binding | None) -> None:
        if binding is None:
            self.observed(session)
        elif binding.durable:
            self._write("unbind", session.vhost, session, **binding_fields(binding))
        self._write_dropped(self.vhost(session))

    def _write_dropped(self, host: "VHost") -> None:
        """Exchanges that went with their last binding, which may have been one that is not in the log."""
        for exchange in host.take_dropped():
            self._dropped(exchange, host.name, None)

    def drop_exchanges(self, host: "VHost") -> None:
        """All of a virtual host that is to go, and with them what they remember."""
        for exchange in list(host.exchanges.values()):
            if exchange.name not in PREDECLARED:
                del host.exchanges[exchange.name]
                self._dropped(exchange, host.name, None)

    def _dropped(self, exchange: Exchange, vhost: str, session: "Session | None") -> None:
        """An exchange is gone, and with it what it remembers."""
        if exchange.history is not None:
            exchange.history.deleted = True
            self._broker.settling.drop_ready(exchange.history)
        if exchange.feed is not None:
            self._broker.feeds.dropped(exchange)
        if exchange.durable:
            self._write("delete exchange", vhost, session, name=exchange.name)

    # -- queues

    def queue(self, session: "Session", name: str) -> Queue:
        """The queue of this name, which the session may use; NotFound, ResourceLocked."""
        return self.vhost(session).queue(name, session)

    def check_queue(self, session: "Session", name: str) -> Queue:
        """queue.declare, passive."""
        queue = self.queue(session, name)
        self._asked(session, queue)
        return queue

    def _asked(self, session: "Session", queue: Queue) -> None:
        """The session is told what is in a queue that there is; that counts as use."""
        self._broker.bring_up_to_date(queue)
        self.observed(session)
        if queue.lease is not None:
            queue.lease.used()

    def exists(self, session: "Session", name: str) -> bool:
        """Whether there is a queue of this name, whoever may use it."""
        return name in self.vhost(session).queues

    def declare_queue(
        self,
        session: "Session",
        name: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Arguments,
        generated: bool = False,
        hidden: bool = False,
    ) -> Queue:
        """queue.declare, not passive; `generated` names are the server's own and may be reserved ones, `hidden` queues
        need no permission."""
        host = self.vhost(session)
        if not generated:
            name = clean(name)
            check_not_reserved("queue", name, host.name)
        if not hidden:
            session.rights.check_configure("queue", name)
        owner = session if exclusive else None
        found = host.queues.get(name)
        if found is not None and found.vacancy is not None:
            alike = durable and not exclusive and not auto_delete
            found = adopt(self._broker, session, found, alike, arguments)
        if found is not None:
            host.check_same_queue(found, owner, durable, auto_delete, arguments)
            self._asked(session, found)
            return found
        if not hidden:
            check_new_queue(host, session, name, arguments)
        check_queue_arguments(name, host.name, arguments)
        check_replicated(name, host.name, durable, exclusive, auto_delete, generated, arguments)
        check_source(session, arguments)
        source = self._source(host, name, arguments)
        queue = self.make_queue(
            self.take_id(), host.name, name, durable, auto_delete, owner, arguments
        )
        if isinstance(queue, Group) and source is not None:
            begin = offset_of(source, arguments.get(OFFSET), self._broker.now_ms)
            self._broker.streams.join(queue, source, begin)
        host.add_queue(queue)
        if owner is not None:
            session.owned[name] = queue
        if queue.logged:
            self._write("declare queue", host.name, session, **queue_fields(queue))
        return queue

    def make_queue(
        self,
        id: int,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: "Session | None",
        arguments: Arguments,
    ) -> Queue:
        """A queue as its arguments and the policies that match it ask for, which nobody knows of yet."""
        kind = Queue
        if arguments.get("x-queue-type") == "stream":
            kind = Stream
        elif SOURCE in arguments:
            kind = Group
        queue = kind(id, vhost, name, durable, auto_delete, owner, arguments)
        if self._broker.forgetful and not queue.keeps:  # of streams see `Streams.write`
            queue.logged = False
        self._broker.streams.made(queue)
        if queue.rules.retry is not None:
            queue.deferred = Deferred(self._broker, queue)
        arm(self._broker, queue)
        self._broker.policies.apply(queue)
        return queue

    def _source(self, host: "VHost", name: str, arguments: Arguments) -> Stream | None:
        """The stream that is to feed a queue with these arguments; None for a queue of its own."""
        if SOURCE not in arguments:
            return None
        source = host.queues.get(arguments[SOURCE])
        if not isinstance(source, Stream):
            resource = describe("queue", name, host.name)
            raise PreconditionFailed(
                f"invalid arg '{SOURCE}' for {resource}: no stream '{arguments[SOURCE]}'"
            )
        return source

    def keep_quarantine(self, vhost: str) -> None:
        """Declares the queue for messages that were given back too often, where there is none."""
        host = self._broker.vhosts[vhost]
        if QUARANTINE in host.queues:
            return
        queue = self.make_queue(self.take_id(), vhost, QUARANTINE, True, False, None, {})
        host.add_queue(queue)
        self._write("declare queue", vhost, None, **queue_fields(queue))

    def purge_queue(self, session: "Session", queue: Queue) -> int:
        """Settles every message that is ready or deferred; answers how many. Unsupported for a stream."""
        if queue.keeps:
            raise unsupported("queue.purge", queue)
        self._broker.bring_up_to_date(queue)
        count = self._broker.settling.drop_ready(queue)
        if count and queue.logged:
            self._broker.confirms.changed(session)
        return count

    def delete_queue(
        self, session: "Session", queue: Queue, if_unused: bool, if_empty: bool
    ) -> int:
        """Deletes it and answers how many ready messages went with it; PreconditionFailed when in use or not empty.

        A stream goes in any case (RabbitMQ 3.10.8): clients ask for both without thinking of streams.
        """
        if self._broker.lists.gathered:
            self._broker.lists.flush()
        self._broker.bring_up_to_date(queue)
        if queue.keeps:
            self.drop_queue(queue, session)
            return 0
        resource = describe("queue", queue.name, queue.vhost)
        if if_unused and queue.consumers:
            raise PreconditionFailed(f"{resource} in use")
        deferred = 0 if queue.deferred is None else queue.deferred.count
        if if_empty and queue.ready_count + deferred:
            raise PreconditionFailed(f"{resource} not empty")
        return self.drop_queue(queue, session)

    def drop_queue(self, queue: Queue, session: "Session | None" = None) -> int:
        """Deletes it without conditions, for a session or by itself, and tells its consumers."""
        queue.deleted = True
        if isinstance(queue, Stream):
            for group in list(queue.groups):  # there is nothing that they could get any more
                self.drop_queue(group)
        count = self._broker.settling.drop_ready(queue)
        # What is in flight is told of in the entry with which it goes.
        self._broker.journal.begin(0)
        self._broker.receipts.deleted(queue)
        self._broker.vhosts[queue.vhost].remove_queue(queue)
        if queue.owner is not None:
            queue.owner.owned.pop(queue.name, None)
        for consumer in list(queue.consumers):
            channel = consumer.channel
            self._broker.cancel(channel, consumer.tag)
            self._broker.tell_cancelled(channel, consumer.tag)
        self._broker.streams.gone(queue)
        if queue.logged:
            self._write("delete queue", queue.vhost, session, name=queue.name, id=queue.id)
        self._broker.journal.end()
        self._write_dropped(self._broker.vhosts[queue.vhost])
        return count

    def declare_reply_queue(self, session: "Session", token: str) -> Queue:
        """The hidden queue behind one consumer of amq.rabbitmq.reply-to."""
        return self.declare_queue(
            session, f"{REPLY_TO}.{token}", False, True, True, {}, generated=True, hidden=True
        )

    def _write(self, do: str, vhost: str, session: "Session | None", **fields: Any) -> None:
        """A record; `session`: who is to hear of the change only when it is durable."""
        if session is not None:
            self._broker.confirms.changed(session)
        self._broker.journal.write(encode_topology({"do": do, "vhost": vhost, **fields}))
