"""Deliveries that are not acknowledged in time: they go back to their queue, and their consumer is cancelled.

    delivered ──not settled within the timeout──► requeued, marked as redelivered; the consumer is cancelled,
                                                  its channel stays open and forgives late acknowledgements

The timeout in milliseconds is the consumer's `x-consumer-timeout`, else the queue's (which a policy may change at any
time, also for what is delivered), else the broker's; 0 is off.
RabbitMQ closes the channel instead, with all its other consumers. What came by basic.get goes back alone.

    channel with a consumer ──► Watch of its timeout's size ──► deadlines ──► due: looks at the channel's old flights

No delivery pays for this beyond the time that its flight keeps. A watch looks as soon as the oldest delivery of its
channels may be late, or, if there is none, after its least timeout: what is delivered meanwhile cannot be late by then.
"""

from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.equivalence import describe
from mansio.core.inflight import Piece
from mansio.core.settling import TIMED_OUT

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.dispatch import Consumer
    from mansio.core.queue import Queue
    from mansio.core.session import Channel

GRAIN_MS: Final = (100, 60_000)
"""Least and largest pause between two looks; in between it is 1/16 of the timeout. So late a timeout may strike, beside
the time of a turn. (RabbitMQ looks once a minute.)"""


class Watch:
    """All channels with timeouts from `least_ms`, a power of two, to less than twice that."""

    __slots__ = ("_overdue", "channels", "deadline_ms", "least_ms")

    def __init__(self, overdue: "Overdue", least_ms: int) -> None:
        self._overdue = overdue
        self.least_ms = least_ms
        self.channels: dict[Channel, None] = {}
        self.deadline_ms = NEVER_MS

    def due(self, now_ms: int) -> None:
        """Looks at all channels; gives back what is late."""
        next_ms = now_ms + self.least_ms
        for channel in list(self.channels):
            oldest_ms = self._look(channel, now_ms)
            if oldest_ms:
                next_ms = min(next_ms, oldest_ms)
            elif not any(
                self.holds(consumer.timeout_ms) for consumer in channel.consumers.values()
            ):
                self.channels.pop(channel, None)
        if self.channels:
            pause_ms = min(max(self.least_ms // 16, GRAIN_MS[0]), GRAIN_MS[1])
            self._overdue.look_at(self, max(next_ms, now_ms + pause_ms))
        else:
            self._overdue.drop(self)

    def holds(self, timeout_ms: int) -> bool:
        """Whether a timeout is one of those that this watch is for."""
        return self.least_ms <= timeout_ms < 2 * self.least_ms

    def _look(self, channel: "Channel", now_ms: int) -> int:
        """Gives back what is late; answers when the next delivery of the channel may be, 0 if there is none."""
        late: dict[Consumer | Queue, int] = {}  # those of basic.get by queue
        next_ms = 0
        for flight in channel.ledger:
            due_ms = flight.since_ms + self._overdue.timeout_ms(flight)
            young = now_ms - flight.since_ms < self.least_ms
            if young:
                due_ms = flight.since_ms + self.least_ms
            elif not self.holds(due_ms - flight.since_ms):
                continue
            elif due_ms <= now_ms:
                late.setdefault(flight.consumer or flight.queue, now_ms - flight.since_ms)
                continue
            next_ms = min(next_ms or due_ms, due_ms)
            if young and channel.tx is None and not channel.extends:
                break  # so are those behind it, but where a rollback has brought some back
        for whose, age_ms in late.items():
            self._overdue.give_back(channel, whose, age_ms)
        return next_ms


class Overdue:
    """The acknowledgement timeouts of one broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._watches: dict[int, Watch] = {}  # by least_ms

    def consumer_timeout_ms(self, queue: "Queue", consumer: "Consumer | None") -> int:
        """The timeout of a consumer, or, for None, of what basic.get fetches from the queue; 0 is off."""
        default: int = queue.asked.get(
            "x-consumer-timeout", self._broker.limits.consumer_timeout_ms
        )
        if consumer is None:
            return default
        own: int = consumer.arguments.get("x-consumer-timeout", default)
        return 0 if consumer.no_ack else own

    def timeout_ms(self, piece: Piece) -> int:
        """The timeout of one delivery; 0 is off."""
        if piece.consumer is not None:
            return piece.consumer.timeout_ms
        return self.consumer_timeout_ms(piece.queue, None)

    def watch(self, channel: "Channel", timeout_ms: int) -> None:
        """From now on the channel may get deliveries that have this timeout."""
        if timeout_ms <= 0:
            return
        least_ms = _least_ms(timeout_ms)
        watch = self._watches.get(least_ms)
        if watch is None:
            watch = self._watches[least_ms] = Watch(self, least_ms)
            self.look_at(watch, self._broker.now_ms + least_ms)
        watch.channels[channel] = None

    def restored(self, channel: "Channel", pieces: list[Piece]) -> None:
        """Deliveries are unsettled again, maybe after their consumer has gone."""
        for timeout_ms in {self.timeout_ms(piece) for piece in pieces}:
            self.watch(channel, timeout_ms)

    def rearmed(self, queue: "Queue") -> None:
        """The timeout of a queue has changed: it holds for its consumers, and for what was fetched from it."""
        for consumer in queue.consumers:
            consumer.timeout_ms = self.consumer_timeout_ms(queue, consumer)
            self._look_now(consumer.channel, consumer.timeout_ms)
        timeout_ms = self.consumer_timeout_ms(queue, None)
        for session in self._broker.sessions:
            for channel in session.channels.values():
                if any(each.queue is queue and each.consumer is None for each in channel.ledger):
                    self._look_now(channel, timeout_ms)

    def _look_now(self, channel: "Channel", timeout_ms: int) -> None:
        """The channel has deliveries that have got this timeout, and may be late already."""
        self.watch(channel, timeout_ms)
        if timeout_ms > 0:
            self.look_at(self._watches[_least_ms(timeout_ms)], self._broker.now_ms)

    def look_at(self, watch: Watch, when_ms: int) -> None:
        """The watch looks at its channels at this time."""
        self._broker.deadlines.at(when_ms, watch)

    def drop(self, watch: Watch) -> None:
        """The watch has nothing to look at."""
        del self._watches[watch.least_ms]

    def forget(self, channel: "Channel") -> None:
        """The channel is closed."""
        for watch in self._watches.values():
            watch.channels.pop(channel, None)

    def give_back(self, channel: "Channel", whose: "Consumer | Queue", age_ms: int) -> None:
        """Requeues all that a consumer has not settled, and cancels it; or what was fetched from a queue by basic.get
        and is as late. `age_ms`: of the oldest of it."""
        broker = self._broker
        flights = [
            flight for flight in channel.ledger if (flight.consumer or flight.queue) is whose
        ]
        queue = flights[0].queue
        consumer = flights[0].consumer
        if consumer is None:
            until_ms = broker.now_ms - self.timeout_ms(flights[0])
            flights = [flight for flight in flights if flight.since_ms <= until_ms]
        count = sum(flight.left for flight in flights)
        broker.settling.requeue(channel.ledger.withdraw(flights), TIMED_OUT)
        who = "basic.get"
        if consumer is not None:
            who = f"consumer '{consumer.tag}'"
            if channel.consumers.get(consumer.tag) is consumer:
                broker.cancel(channel, consumer.tag)
                broker.tell_cancelled(channel, consumer.tag)
                who += ", cancelled,"
        broker.notices.append(
            f"{describe('queue', queue.name, queue.vhost)}: {who} on channel {channel.number} of "
            f"{channel.session.name} did not acknowledge in time: {count} requeued, delivered up to "
            f"{age_ms / 1000:.1f} s ago"
        )


def _least_ms(timeout_ms: int) -> int:
    """Of the watch for such timeouts: the power of two that is not more."""
    return 1 << timeout_ms.bit_length() - 1
