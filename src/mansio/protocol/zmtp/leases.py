"""What workers hold: tasks that were given to them and not settled yet.

    GET queue wait, NEXT ─► a seat: a consumer with a prefetch of 1 ──deliver──► a lease: its tag is the reply's
    ACK, NACK            ─► the seat goes, then the task is settled; a result is published in the same turn
    NEXT queue tag       ─► the task is settled, and its seat waits for the next one

So workers that wait are served in turn with consumers of all protocols, and whatever a queue's arguments ask of its
consumers holds for them. A seat is there as long as its worker waits or works: who does neither is no consumer.

Tags belong to the connection: when it ends, all that is leased goes back, marked as redelivered, and so it does if the
queue's acknowledgement timeout passes. A tag has a token in front, so that one of an earlier connection, or of another
broker, is never taken for one of this.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mansio.core.dispatch import Consumer
from mansio.core.errors import MustWait
from mansio.core.inflight import Flight
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.protocol.zmtp import results
from mansio.protocol.zmtp.messages import PARTS_MAX, decoded, frames_of, raw_properties
from mansio.protocol.zmtp.putting import MESSAGE_BYTES, Putting
from mansio.protocol.zmtp.replying import Reply, Task
from mansio.protocol.zmtp.statuses import EMPTY, GONE, NOT_FOUND, TOO_LARGE, TOO_MANY, Refused
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.timers import Timer, Timers

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

SEATS_MAX: Final = 1000
"""Of one connection: requests that wait, and tasks that came to some. More requests are refused with 429."""
_TAG_CHARS_MAX: Final = 64


class Lease:
    """A task that a worker has. `number`: its delivery tag; `seat`: where it came to, None if nobody had to wait."""

    __slots__ = ("number", "raw_properties", "seat")

    def __init__(self, number: int, raw_properties: bytes, seat: "_Seat | None") -> None:
        self.number = number
        self.raw_properties = raw_properties
        self.seat = seat


class _Seat:
    """A worker's place at a queue. It waits if it has a `reply`, and works if not."""

    __slots__ = ("_leases", "consumer", "number", "reply", "timer")

    def __init__(self, leases: "Leases", consumer: Consumer) -> None:
        self._leases = leases
        self.consumer = consumer
        self.reply: Reply | None = None
        self.timer: Timer | None = None
        self.number = 0
        consumer.limit = 1
        consumer.wire = self

    def deliver(self, run: Run, i: int, tag: int, redelivered: bool) -> None:
        """The queue has something."""
        reply = self.reply
        assert reply is not None
        self._rest()
        self.number = tag
        self._leases.give(reply, run, i, tag, redelivered, self)

    def cancelled(self) -> None:
        """The queue is gone, or the worker was too late."""
        reply, queue = self.reply, self.consumer.queue
        self._rest()
        if reply is not None:
            reply.failed(NOT_FOUND, f"queue '{queue.name}' was deleted")

    def late(self) -> None:
        """Nothing has come."""
        reply = self.reply
        assert reply is not None
        self._rest()
        self._leases.leave(self)
        reply.failed(EMPTY)

    def _rest(self) -> None:
        self.reply = None
        if self.timer is not None:
            self.timer.stop()
            self.timer = None


class Leases:
    """Those of one connection."""

    def __init__(
        self, connection: "ZmtpConnection", targets: Targets, putting: Putting, timers: Timers
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._putting = putting
        self._timers = timers
        self._held: dict[int, Lease] = {}  # by delivery tag
        self._seats: dict[str, _Seat] = {}  # by consumer tag
        self._next_seat = 1
        self._token = ""

    def __len__(self) -> int:
        """How many tasks it has, as far as it knows."""
        return len(self._held)

    # -- taking

    def get(self, reply: Reply, name: bytes, wait_ms: int) -> None:
        """The next task of a queue: at once, or within so many milliseconds. MustWait, BrokerError, Refused."""
        connection = self._connection
        broker = connection.broker
        if wait_ms:
            self._sit_down(reply, self._targets.to_read(name, True), wait_ms)
            return
        queue = self._targets.to_read(name, False)
        broker.before_get(queue)
        if broker.paging.loading.must_wait(queue, connection):
            connection.pause()
            raise MustWait
        got = broker.get(connection.channel, queue, False)
        if got is None:
            reply.failed(EMPTY)
        else:
            self.give(reply, got.run, got.i, got.tag, got.redelivered, None)

    def next(
        self,
        reply: Reply,
        name: bytes,
        tag: str,
        result: Sequence[bytes],
        content_type: str | None = None,
        wait_ms: int = 0,
    ) -> None:
        """The task of this tag, if there is one, is done; then the next one, whenever it comes, or within so many
        milliseconds: with that, it is sure that the other one is not delivered again. Errors as above."""
        queue = self._targets.to_read(name, True)
        if not tag:
            self._sit_down(reply, queue, wait_ms)
            return
        lease = self._find(tag)
        seat = lease.seat
        if seat is None or seat.consumer.queue is not queue:
            self._check_seats()
            self._connection.broker.check_shared(queue)
            self._finish(lease, result, content_type)
            self._hold()
            self._sit_down(reply, queue, wait_ms)
            return
        self._answer(lease, result, content_type)
        self._hold()
        self._wait(seat, reply, wait_ms)
        self._settle(lease, Outcome.ACCEPT)

    def give(
        self, reply: Reply, run: Run, i: int, number: int, redelivered: bool, seat: _Seat | None
    ) -> None:
        """A task is delivered."""
        raw = raw_properties(run, i)
        self._held[number] = Lease(number, raw, seat)
        reply.given(Task(self._tag(number), redelivered, frames_of(run, i), raw))

    def _check_seats(self) -> None:
        if len(self._seats) >= SEATS_MAX:
            raise Refused(TOO_MANY, f"{SEATS_MAX} requests of this connection wait or are at work")

    def _sit_down(self, reply: Reply, queue: Queue, wait_ms: int) -> None:
        self._check_seats()
        connection = self._connection
        tag = f"zmq-{self._next_seat}"
        consumer = connection.broker.consume(connection.channel, queue, tag, False, False, {})
        self._next_seat += 1
        seat = self._seats[tag] = _Seat(self, consumer)
        self._wait(seat, reply, wait_ms)

    def _wait(self, seat: _Seat, reply: Reply, wait_ms: int) -> None:
        seat.reply = reply
        if wait_ms:
            seat.timer = self._timers.after(wait_ms, seat.late)

    # -- settling

    def ack(
        self,
        reply: Reply,
        tag: str,
        result: Sequence[bytes],
        content_type: str | None = None,
    ) -> None:
        """A task is done, and this is its result, if there are any frames: when 200 comes it is not delivered again,
        whatever happens. MustWait, BrokerError, Refused."""
        self._finish(self._find(tag), result, content_type)
        self._hold()
        reply.done()

    def nack(self, reply: Reply, tag: str, requeue: bool) -> None:
        """A task goes back to its queue, or to where that sends what is rejected. Refused."""
        lease = self._find(tag)
        if lease.seat is not None:
            self.leave(lease.seat)
        self._settle(lease, Outcome.REQUEUE if requeue else Outcome.REJECT)
        reply.done()

    def extend(self, reply: Reply, tag: str, ms: int) -> None:
        """A task has so much time from now on, if its time is limited at all. Refused."""
        connection = self._connection
        flight = self._flight(self._find(tag))
        assert flight is not None
        broker = connection.broker
        broker.reserving.extend_flight(connection.channel, flight, broker.now_ms + ms)
        reply.done()

    def _hold(self) -> None:
        """What is said from here on waits until all that was done so far is durable."""
        connection = self._connection
        assert connection.session is not None
        connection.broker.confirms.changed(connection.session)

    def _finish(self, lease: Lease, result: Sequence[bytes], content_type: str | None) -> None:
        self._answer(lease, result, content_type)
        if lease.seat is not None:
            self.leave(lease.seat)
        self._settle(lease, Outcome.ACCEPT)

    def _answer(self, lease: Lease, result: Sequence[bytes], content_type: str | None) -> None:
        """Publishes a result; the acknowledgement follows in the same turn, so both are in one entry of the log."""
        if not result:
            return
        if len(result) > PARTS_MAX:
            raise Refused(TOO_LARGE, f"a message has at most {PARTS_MAX} frames")
        request = decoded(lease.raw_properties)
        if not request.reply_to:
            return
        connection = self._connection
        assert connection.session is not None
        self._putting.check_room(sum(map(len, result)) + MESSAGE_BYTES * len(result))
        results.answer(connection.broker, connection.session, request, result, content_type)

    def _settle(self, lease: Lease, outcome: Outcome) -> None:
        number = lease.number
        del self._held[number]
        self._connection.broker.settle(self._connection.channel, number, number, False, outcome)

    # -- tags

    def _tag(self, number: int) -> str:
        if not self._token:
            self._token = self._connection.token()[:8]
        return f"{self._token}-{number}"

    def _find(self, tag: str) -> Lease:
        """What this connection holds under a tag; Refused."""
        token, _, digits = tag.rpartition("-")
        if (
            token == self._token
            and digits.isascii()
            and digits.isdigit()
            and len(tag) <= _TAG_CHARS_MAX
        ):
            lease = self._held.get(int(digits))
            if lease is not None:
                if self._flight(lease) is not None:
                    return lease
                del self._held[lease.number]
        raise Refused(GONE, "this connection does not hold such a task, or not any more")

    def _flight(self, lease: Lease) -> Flight | None:
        return self._connection.channel.ledger.flight(lease.number)

    # -- seats

    def leave(self, seat: _Seat) -> None:
        """Its worker waits no more, and does not work."""
        connection = self._connection
        del self._seats[seat.consumer.tag]
        connection.broker.cancel(connection.channel, seat.consumer.tag)

    def cancelled(self, consumer_tag: str) -> None:
        """See `Outbox`: a seat was taken away, with what was given there."""
        seat = self._seats.pop(consumer_tag, None)
        if seat is not None:
            self._held.pop(seat.number, None)
            seat.cancelled()

    def prune(self) -> None:
        """Forgets what has gone back to its queue since nobody has settled it in time."""
        ledger = self._connection.channel.ledger
        if len(self._held) > ledger.total:
            self._held = {
                number: lease for number, lease in self._held.items() if ledger.flight(number)
            }
