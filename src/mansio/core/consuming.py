"""The part of the Broker that consumers deal with: subscribing, cancelling, basic.get and prefetch."""

from mansio.core.dead_letters import DeadLetters
from mansio.core.definitions import Definitions
from mansio.core.dispatch import Consumer, Dispatcher
from mansio.core.draws import Draws
from mansio.core.errors import AccessRefused, NotAllowed, unsupported
from mansio.core.group import Group
from mansio.core.inflight import Flight
from mansio.core.letters import Letters
from mansio.core.limits import TURN_BYTES, Limits
from mansio.core.overdue import Overdue
from mansio.core.queue import Queue
from mansio.core.queue_arguments import check_consumer_arguments
from mansio.core.routing import Arguments
from mansio.core.run import Run
from mansio.core.session import Channel, Session
from mansio.core.settling import Settling
from mansio.core.sharing import Sharing, needs_sharing
from mansio.core.stream import Reader, Stream
from mansio.core.stream_arguments import OFFSET, offset_of
from mansio.core.streams import Streams


class Got:
    """The answer to basic.get: message `i` of `run`, with its tag and the number of messages still ready behind it."""

    __slots__ = ("i", "redelivered", "remaining", "run", "tag")

    def __init__(self, run: Run, i: int, tag: int, redelivered: bool, remaining: int) -> None:
        self.run = run
        self.i = i
        self.tag = tag
        self.redelivered = redelivered
        self.remaining = remaining


class Consuming:
    """See broker.py, which has the rest."""

    letters: Letters
    limits: Limits
    dead_letters: DeadLetters
    definitions: Definitions
    dispatcher: Dispatcher
    settling: Settling
    draws: Draws
    overdue: Overdue
    streams: Streams
    now_ms: int

    def __init__(self) -> None:
        self._cancelled: list[tuple[Channel, str]] = []

    def check_tag(self, channel: Channel, tag: str) -> None:
        """NotAllowed for a tag in use, whatever else is wrong."""
        if tag in channel.consumers:
            raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")

    def check_shared(self, queue: Queue) -> None:
        """AccessRefused where a consumer has the queue for itself."""
        if queue.exclusive_consumer:
            raise _in_use(queue)

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
        self.check_tag(channel, tag)
        if len(channel.consumers) >= self.limits.consumers_per_channel_max:
            raise NotAllowed(
                f"reached maximum ({self.limits.consumers_per_channel_max}) of consumers per channel"
            )
        check_consumer_arguments(queue, arguments)
        if isinstance(queue, Stream):
            self.streams.check_consumer(queue, channel, no_ack)
            exclusive = False  # accepted, without effect (RabbitMQ 3.10.8)
        single = queue.arguments.get("x-single-active-consumer") is True
        self.check_shared(queue)
        if exclusive and (queue.consumers or single):
            raise _in_use(queue)
        consumer = Consumer(tag, channel, queue, no_ack, exclusive, arguments)
        channel.consumers[tag] = consumer
        queue.consumers.append(consumer)
        queue.exclusive_consumer = exclusive
        queue.had_consumer = True
        if isinstance(queue, Stream):
            consumer.reader = Reader(offset_of(queue, arguments.get(OFFSET), self.now_ms))
        elif queue.sharing is not None:
            queue.sharing.add(consumer)
        elif needs_sharing(queue, consumer):
            queue.sharing = Sharing(queue, self.draws)
        if isinstance(queue, Group) and queue.rota is not None:
            self._touch(queue.rota.subscribe(queue, consumer))
        consumer.timeout_ms = self.overdue.consumer_timeout_ms(queue, consumer)
        self.overdue.watch(channel, consumer.timeout_ms)
        self.dispatcher.touch(queue)
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
        if queue.sharing is not None:
            self._share_without(queue, consumer, queue.sharing)
        if isinstance(queue, Group) and queue.rota is not None:
            self._touch(queue.rota.unsubscribe(queue, consumer))
        if queue.lease is not None:
            queue.lease.used()
        if queue.auto_delete and not queue.consumers and not queue.deleted:
            self.definitions.drop_queue(queue)
        return True

    def _touch(self, queues: list[Group]) -> None:
        """Partitions that have changed hands."""
        for queue in queues:
            self.dispatcher.touch(queue)

    def _share_without(self, queue: Queue, consumer: Consumer, sharing: Sharing) -> None:
        """Others may have waited for this consumer."""
        sharing.remove(consumer)
        if not queue.consumers:
            queue.sharing = None
        self.dispatcher.touch(queue)

    def tell_cancelled(self, channel: Channel, tag: str) -> None:
        """A consumer is gone, not by its client's wish; that hears of it behind the replies of this turn."""
        self._cancelled.append((channel, tag))

    def _tell_cancelled(self) -> None:
        cancelled, self._cancelled = self._cancelled, []
        for channel, tag in cancelled:
            if channel.is_open:
                channel.session.outbox.cancelled(channel, tag)

    def before_get(self, queue: Queue) -> bool:
        """What is not to be had any more goes, and the first message may be one that has to be read before `get`.

        False for now: so much has expired that it cannot all go in this turn. Unsupported for a stream.
        """
        if queue.keeps:
            raise unsupported("basic.get", queue)
        self.bring_up_to_date(queue)
        return queue.expiry is None or queue.expiry.after()

    def get(self, channel: Channel, queue: Queue, no_ack: bool) -> Got | None:
        """Takes the first message, or None. Behind `before_get` it must not be paged out, see `Loading.must_wait`."""
        if queue.lease is not None:
            queue.lease.used()
        if not self.before_get(queue) or not queue.ready_count:
            return None
        span = queue.take_head(1)
        tag = channel.next_tag
        channel.next_tag = tag + 1
        if no_ack:
            self.settling.settled(queue, span.run, span.base + span.start, 1, 1)
        else:
            run, i, now_ms = span.run, span.start, self.now_ms
            flight = Flight(tag, 1, None, queue, run, i, 1, span.base, span.deliveries, now_ms)
            channel.ledger.add(flight)
            queue.in_flight += 1
            self.overdue.watch(channel, self.overdue.consumer_timeout_ms(queue, None))
        self.settling.counts.delivered += 1
        self.settling.counts.redelivered += span.redelivered
        if queue.expiry is not None:
            queue.expiry.after()  # what is behind it is not counted if it has expired
        run, i = span.run, span.start
        if span.deliveries or queue.rules.quorum:  # there, 0 is told as well (RabbitMQ 3.10.8)
            run, i = self.letters.counted(run, i, span.deliveries), 0
        return Got(run, i, tag, span.redelivered, queue.ready_count)

    def bring_up_to_date(self, queue: Queue) -> None:
        """Somebody asks what is in the queue: what goes at the end of the turn, unless a consumer takes it, is not."""
        if queue.dirty and not queue.consumers:
            if queue.bound is not None:
                queue.bound.enforce(queue, self.dead_letters)
            if queue.expiry is not None:
                queue.expiry.after()

    def set_prefetch(self, channel: Channel, count: int, whole_channel: bool) -> None:
        """basic.qos: for consumers to come, or for the whole channel (RabbitMQ's meaning of `global`)."""
        if whole_channel:
            channel.limit = count
        else:
            channel.new_consumer_limit = count
            channel.limit = 0  # lifts one of the whole channel (RabbitMQ 3.10.8 observed)
        self.dispatcher.touch_consumed(channel)

    def set_active(self, channel: Channel, active: bool) -> None:
        """channel.flow: whether the channel's consumers are delivered to."""
        channel.active = active
        self.dispatcher.touch_consumed(channel)

    # -- flow

    def set_writable(self, session: Session, writable: bool) -> None:
        """Whether the session's peer takes what it is sent."""
        session.writable = writable
        if writable:
            self.grant(session)
            return
        session.allowance = 0
        for queue in session.starved.values():
            if queue.sharing is not None:  # others may have waited for this session's consumers
                self.dispatcher.touch(queue)

    def grant(self, session: Session) -> None:
        """A new turn's allowance for a session; what it had to wait for is handed out in this turn."""
        if not session.writable:
            return
        session.allowance = TURN_BYTES
        if session.starved:
            for queue in session.starved.values():
                self.dispatcher.touch(queue)
            session.starved.clear()


def _in_use(queue: Queue) -> AccessRefused:
    text = f"queue '{queue.name}' in vhost '{queue.vhost}' in exclusive use"
    return AccessRefused(text, passing=True)
