"""The Broker: commands go in, effects go to sessions' outboxes, records come out, confirms wait for the log.

A *turn* is what happens between two calls of `end_turn`: the server applies every command that has arrived, then takes
the turn's effects at once:

    publish, settle, consume …  ──►  end_turn()  ──►  deliveries in outboxes (may leave at once)
                                                 ──►  records (go to the log as one entry)
                                                 ──►  seal(ticket): what waits for that entry
    log: entry is durable       ──►  durable(ticket): confirms and tx.commit-ok leave
    log: entry was lost for good ─►  failed(ticket): nacks leave

The Broker raises `BrokerError` for what a client may not do, before anything has changed. It never raises otherwise.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from mansio.core.definitions import Definitions
from mansio.core.dispatch import Consumer, dispatch
from mansio.core.errors import AccessRefused, NotAllowed, PreconditionFailed
from mansio.core.inflight import Flight, Piece
from mansio.core.limits import OPEN_RUNS_MAX, TURN_BYTES, Limits
from mansio.core.queue import Queue
from mansio.core.records import Parts, encode_publish, encode_settle
from mansio.core.routing import Arguments, Route
from mansio.core.run import Run, Span
from mansio.core.session import Channel, Outbox, Session, Transaction
from mansio.core.topology import VHost


class Got:
    """The answer to basic.get: message `i` of `run`, with its tag and the number of messages still ready behind it."""

    __slots__ = ("i", "redelivered", "remaining", "run", "tag")

    def __init__(self, run: Run, i: int, tag: int, redelivered: bool, remaining: int) -> None:
        self.run = run
        self.i = i
        self.tag = tag
        self.redelivered = redelivered
        self.remaining = remaining


class Broker:
    """All state of one broker process."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.vhosts: dict[str, VHost] = {"/": VHost("/")}
        self.sessions: set[Session] = set()
        self.definitions = Definitions(self)
        self.memory_bytes = 0  # of runs that are not settled everywhere
        self.blocked = False  # publishers are to be held back
        self._dirty: list[Queue] = []
        self._records: list[Parts] = []
        self._settles: dict[int, list[tuple[int, int, int]]] = {}
        self._confirming: dict[Channel, None] = {}
        self._committing: list[Channel] = []
        self._waiting: deque[tuple[int, list[tuple[Channel, int]], list[Channel]]] = deque()

    # -- sessions and channels

    def open_session(self, outbox: Outbox, user: str, vhost: str, name: str) -> Session:
        """A connection that has passed its handshake; NotAllowed for an unknown vhost."""
        if vhost not in self.vhosts:
            raise NotAllowed(f"vhost {vhost} not found")
        session = Session(outbox, user, vhost, name)
        self.sessions.add(session)
        return session

    def close_session(self, session: Session) -> None:
        """Ends it: deliveries go back to their queues, exclusive queues go away."""
        for channel in list(session.channels.values()):
            self.close_channel(channel)
        for queue in list(session.owned.values()):
            self.definitions.drop_queue(queue)
        session.closed = True
        session.starved.clear()
        self.sessions.discard(session)

    def open_channel(self, session: Session, number: int) -> Channel:
        """A new channel; the front has checked that the number is free."""
        channel = session.channels[number] = Channel(session, number)
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Ends it: consumers are cancelled, an open transaction is rolled back, deliveries are requeued."""
        self.rollback(channel, close=True)
        for consumer in list(channel.consumers.values()):
            self.cancel(channel, consumer.tag)
        self._requeue(channel.ledger.take_all())
        self._confirming.pop(channel, None)
        channel.session.channels.pop(channel.number, None)

    # -- publishing

    def route(
        self, vhost: str, exchange: str, key: str, mandatory: bool, channel: int, skip: int
    ) -> Route:
        """Where publishes with this exchange and key go; NotFound, AccessRefused. `skip`: bytes of the method frame."""
        host = self.vhosts[vhost]
        queues, by_content = host.route(host.publishable(exchange), [key], None)
        return Route(exchange, key, tuple(queues), by_content, mandatory, channel, skip)

    def route_message(
        self, vhost: str, exchange: str, keys: list[str], headers: Arguments
    ) -> tuple[Queue, ...]:
        """The queues for one message whose headers count or which has CC and BCC keys."""
        host = self.vhosts[vhost]
        return tuple(host.route(host.publishable(exchange), keys, headers)[0])

    def publish(self, channel: Channel, run: Run, queues: tuple[Queue, ...]) -> None:
        """Puts a run into these queues, or, in a transaction, keeps it until the commit."""
        if channel.tx is not None:
            self._check_open_runs(channel)
            channel.tx.publishes.append((run, queues))
            return
        if channel.confirming:
            channel.published += run.count
            self._confirming[channel] = None
        self._enqueue(channel, run, queues)

    def _enqueue(self, channel: Channel, run: Run, queues: tuple[Queue, ...]) -> None:
        live = [queue for queue in queues if not queue.deleted]
        if not live:
            self._return(channel, run)
            return
        run.live = run.count * len(live)
        self.memory_bytes += len(run.data)
        places: list[tuple[int, int]] = []
        for queue in live:
            base = queue.append(run)
            if run.persistent and queue.logged:
                places.append((queue.id, base))
            if not queue.dirty:
                queue.dirty = True
                self._dirty.append(queue)
        if places:
            self._records.append(encode_publish(run, places))

    def _return(self, channel: Channel, run: Run) -> None:
        if not any(route.mandatory for route in run.routes):
            return
        for i in range(run.count):
            route = run.route(i)
            if route.mandatory:
                channel.session.outbox.returned(channel, run, i, route)

    # -- consuming

    def consume(
        self,
        channel: Channel,
        queue: Queue,
        tag: str,
        no_ack: bool,
        exclusive: bool,
        arguments: Arguments,
    ) -> Consumer:
        """Subscribes; NotAllowed for a tag in use, AccessRefused where exclusive use forbids it."""
        if tag in channel.consumers:
            raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
        if len(channel.consumers) >= self.limits.consumers_per_channel_max:
            raise NotAllowed(
                f"reached maximum ({self.limits.consumers_per_channel_max}) of consumers per channel"
            )
        if queue.exclusive_consumer or (exclusive and queue.consumers):
            raise AccessRefused(f"queue '{queue.name}' in vhost '{queue.vhost}' in exclusive use")
        consumer = Consumer(tag, channel, queue, no_ack, exclusive, arguments)
        channel.consumers[tag] = consumer
        queue.consumers.append(consumer)
        queue.exclusive_consumer = exclusive
        queue.had_consumer = True
        self._touch(queue)
        return consumer

    def cancel(self, channel: Channel, tag: str) -> bool:
        """Unsubscribes; deliveries stay in flight. False when there is no such consumer."""
        consumer = channel.consumers.pop(tag, None)
        if consumer is None:
            return False
        queue = consumer.queue
        at = queue.consumers.index(consumer)
        del queue.consumers[at]
        if at < queue.turn:
            queue.turn -= 1
        if consumer.exclusive:
            queue.exclusive_consumer = False
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.definitions.drop_queue(queue)
        return True

    def get(self, channel: Channel, queue: Queue, no_ack: bool) -> Got | None:
        """Takes the first ready message, or None."""
        if not queue.ready_count:
            return None
        span = queue.take_head(1)
        tag = channel.next_tag
        channel.next_tag = tag + 1
        flight = Flight(tag, 1, None, queue, span.run, span.start, 1, span.base)
        if no_ack:
            self.settled(flight)
        else:
            channel.ledger.add(flight)
            queue.in_flight += 1
        return Got(span.run, span.start, tag, span.redelivered, queue.ready_count)

    def set_prefetch(self, channel: Channel, count: int, whole_channel: bool) -> None:
        """basic.qos: for consumers to come, or for the whole channel (RabbitMQ's meaning of `global`)."""
        if whole_channel:
            channel.limit = count
            self._touch_consumed(channel)
        else:
            channel.new_consumer_limit = count

    def set_active(self, channel: Channel, active: bool) -> None:
        """channel.flow: whether the channel's consumers are delivered to."""
        channel.active = active
        if active:
            self._touch_consumed(channel)

    # -- settling

    def settle(
        self, channel: Channel, first: int, last: int, multiple: bool, requeue: bool
    ) -> None:
        """Acks or rejects tags [first, last], or all up to `last`; PreconditionFailed for an unknown tag."""
        unknown = 0
        if not multiple:
            pieces, unknown = channel.ledger.settle(first, last)
        elif last == 0:
            pieces = channel.ledger.take_all()
        elif last > channel.ledger.last_tag() or not channel.ledger.knows(last):
            pieces, unknown = [], last
        else:
            pieces = channel.ledger.settle_until(last)
        if pieces:
            if channel.tx is not None:
                channel.tx.settled.append((pieces, requeue))
            elif requeue:
                self._requeue(pieces)
            else:
                self._accept(pieces)
        if unknown:
            raise PreconditionFailed(f"unknown delivery tag {unknown}")

    def recover(self, channel: Channel) -> None:
        """Requeues every unsettled delivery of the channel."""
        self._requeue(channel.ledger.take_all())

    def settled(self, piece: Piece) -> None:
        """These messages are done with in their queue."""
        run, queue, count = piece.run, piece.queue, piece.count
        run.live -= count
        if not run.live:
            self.memory_bytes -= len(run.data)
        if run.persistent and queue.logged:
            place = (piece.base + piece.start, count, piece.step)
            self._settles.setdefault(queue.id, []).append(place)

    def _accept(self, pieces: Sequence[Piece]) -> None:
        self._drop(pieces)
        for piece in pieces:
            self._credit(piece)

    def _requeue(self, pieces: Sequence[Piece]) -> None:
        by_queue: dict[int, list[Piece]] = {}
        for piece in pieces:
            self._credit(piece)
            by_queue.setdefault(piece.queue.id, []).append(piece)
        for group in by_queue.values():
            queue = group[0].queue
            if queue.deleted:
                self._drop(group)
            else:
                queue.requeue(group)
                self._touch(queue)

    def _drop(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            piece.queue.in_flight -= piece.count
            self.settled(piece)

    def _credit(self, piece: Piece) -> None:
        consumer = piece.consumer
        if consumer is None:
            return
        consumer.unsettled -= piece.count
        consumer.channel.unsettled -= piece.count
        if consumer.channel.limit:
            self._touch_consumed(consumer.channel)
        elif consumer.limit:
            self._touch(consumer.queue)

    def drop_ready(self, queue: Queue) -> int:
        """Purges: settles every ready message; answers how many."""
        count = queue.ready_count
        for span in queue.take_all():
            self.settled(_whole(span, queue))
        return count

    # -- transactions

    def select_tx(self, channel: Channel) -> None:
        """Begins the first transaction of the channel."""
        if channel.tx is None:
            channel.tx = Transaction()

    def commit(self, channel: Channel) -> None:
        """Applies the transaction in this turn, hence in one log entry; the outbox hears `committed` when it is durable."""
        tx = channel.tx
        if tx is None:
            raise PreconditionFailed("channel is not transactional")
        channel.tx = Transaction()
        for run, queues in tx.publishes:
            self._enqueue(channel, run, queues)
        for pieces, requeue in tx.settled:
            if requeue:
                self._requeue(pieces)
            else:
                self._accept(pieces)
        self._committing.append(channel)

    def rollback(self, channel: Channel, close: bool = False) -> None:
        """Forgets publishes; settlements of the transaction become unsettled deliveries again."""
        if channel.tx is None:
            if close:
                return
            raise PreconditionFailed("channel is not transactional")
        for pieces, _ in channel.tx.settled:
            channel.ledger.restore(pieces)
        channel.tx = None if close else Transaction()

    def _check_open_runs(self, channel: Channel) -> None:
        tx = channel.tx
        if tx is not None and len(tx.publishes) + len(tx.settled) >= OPEN_RUNS_MAX:
            raise PreconditionFailed(
                f"transaction holds more than {OPEN_RUNS_MAX} operations; commit more often"
            )

    # -- turns

    def end_turn(self) -> list[Parts]:
        """Hands out what can be delivered; answers the turn's records."""
        dirty, self._dirty = self._dirty, []
        for queue in dirty:
            queue.dirty = False
            if queue.consumers:
                dispatch(queue, self)
        records, self._records = self._records, []
        if self._settles:
            settles, self._settles = self._settles, {}
            records += [encode_settle(queue_id, ranges) for queue_id, ranges in settles.items()]
        self._check_memory()
        return records

    def record(self, parts: Parts) -> None:
        """Adds a record to this turn's."""
        self._records.append(parts)

    def seal(self, ticket: int) -> None:
        """What was published and committed since the last call waits for the log entry `ticket`."""
        if not self._confirming and not self._committing:
            return
        confirms = [(channel, channel.published) for channel in self._confirming]
        for channel, upto in confirms:
            channel.sealed = upto
        self._waiting.append((ticket, confirms, self._committing))
        self._confirming = {}
        self._committing = []

    def durable(self, ticket: int) -> None:
        """Log entries up to `ticket` are durable: their confirms leave."""
        self._release(ticket, True)

    def failed(self, ticket: int) -> None:
        """Log entries up to `ticket` that are not durable by now never will be: their publishes are refused."""
        self._release(ticket, False)

    def _release(self, ticket: int, ok: bool) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= ticket:
            _, confirms, commits = waiting.popleft()
            for channel, upto in confirms:
                if not channel.session.closed:
                    outbox = channel.session.outbox
                    (outbox.confirmed if ok else outbox.refused)(channel, upto)
            for channel in commits:
                if not channel.session.closed:
                    channel.session.outbox.committed(channel, ok)

    @property
    def waiting(self) -> bool:
        """Whether confirms wait for the log."""
        return bool(self._waiting)

    @property
    def unfinished(self) -> bool:
        """Whether the turn has left something to hand out."""
        return bool(self._dirty)

    # -- flow

    def set_writable(self, session: Session, writable: bool) -> None:
        """Whether the session's peer takes what it is sent."""
        session.writable = writable
        if writable:
            self.grant(session)
        else:
            session.allowance = 0

    def grant(self, session: Session) -> None:
        """A new turn's allowance for a session; what it had to wait for is handed out in this turn."""
        if not session.writable:
            return
        session.allowance = TURN_BYTES
        if session.starved:
            for queue in session.starved.values():
                self._touch(queue)
            session.starved.clear()

    def _check_memory(self) -> None:
        limit = self.limits.memory_bytes_max
        if self.blocked:
            self.blocked = self.memory_bytes > limit * 0.9
        else:
            self.blocked = self.memory_bytes > limit

    def _touch(self, queue: Queue) -> None:
        if not queue.dirty and queue.ready_count and not queue.deleted:
            queue.dirty = True
            self._dirty.append(queue)

    def _touch_consumed(self, channel: Channel) -> None:
        for consumer in channel.consumers.values():
            self._touch(consumer.queue)


def _whole(span: Span, queue: Queue) -> Piece:
    return Piece(0, span.stop - span.start, None, queue, span.run, span.start, 1, span.base)
