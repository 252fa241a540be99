"""Calls: a task whose reply is what a worker has made of it, over whichever protocol that worker comes.

    CALL ─► the queue, with reply_to and correlation_id ─► a worker ─► its result ─► our hidden queue ─► the reply
              │ rejected, or dropped: 500     │ expired: 408
              └──────────── a receipt of the broker, into the same hidden queue

The task expires with the call's timeout, so nobody works on what nobody waits for. When the broker has ended since, the
task is still there until then, if it was stored; its result finds nobody.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from mansio.codec.amqp_properties import Properties
from mansio.core.limits import TIME_MAX_MS
from mansio.core.marks import EXPIRED, REJECTED, Marks
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.protocol.zmtp.messages import frames_of, properties_of
from mansio.protocol.zmtp.pending import Pending
from mansio.protocol.zmtp.putting import Putting
from mansio.protocol.zmtp.replying import Reply
from mansio.protocol.zmtp.results import is_partial
from mansio.protocol.zmtp.statuses import FAILED, FULL, ILL_FORMED, LATE, TOO_MANY, Refused
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.timers import Timer, Timers

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

CALLS_MAX: Final = 65_536
"""Of one connection that wait for their answers; more are refused with 429. Each takes about 1 KiB here."""
_OUTCOME: Final = "x-receipt-outcome"
_RECEIPT: Final = "mansio.receipt"
_TEXTS: Final = {FULL: "the queue is full", FAILED: "it could not be stored"}


class _Call:
    """One that waits."""

    __slots__ = ("parts", "reply", "timer")

    def __init__(self, reply: Reply, timer: Timer) -> None:
        self.reply = reply
        self.timer = timer
        self.parts: list[bytes] = []  # of an answer that comes bit by bit


class Calls:
    """Those of one connection."""

    def __init__(
        self,
        connection: "ZmtpConnection",
        targets: Targets,
        putting: Putting,
        pending: Pending,
        timers: Timers,
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._putting = putting
        self._pending = pending
        self._timers = timers
        self._waiting: dict[str, _Call] = {}  # by correlation id
        self._number = 0
        self._queue: Queue | None = None
        self._consumer_tag = ""

    def __len__(self) -> int:
        return len(self._waiting)

    def call(
        self,
        reply: Reply,
        name: bytes,
        frames: Sequence[bytes],
        properties: Properties,
        timeout_ms: int,
    ) -> None:
        """Puts a task into the queue of this name; the reply follows. MustWait, BrokerError, Refused."""
        if not 0 < timeout_ms <= TIME_MAX_MS:
            raise Refused(ILL_FORMED, f"a timeout is from 1 to {TIME_MAX_MS} ms")
        if properties.reply_to is not None or properties.correlation_id is not None:
            raise Refused(ILL_FORMED, "a call has a reply_to and a correlation_id of its own")
        if len(self._waiting) >= CALLS_MAX:
            raise Refused(TOO_MANY, f"{CALLS_MAX} calls wait for their answers")
        queue = self._targets.to_publish(name)
        if queue.keeps:
            raise Refused(ILL_FORMED, f"queue '{queue.name}' is a stream, where nobody answers")
        self._number += 1
        key = str(self._number)
        properties.reply_to = self._reply_to()
        properties.correlation_id = key
        if properties.expiration is None or int(properties.expiration) > timeout_ms:
            properties.expiration = str(timeout_ms)
        marks = Marks(reply_to=properties.reply_to, correlation=key)
        marks.quiet = True
        self._putting.publish(queue, frames, properties, marks)
        timer = self._timers.after(
            timeout_ms, partial(self._fail, key, LATE, "nobody has answered in time")
        )
        self._waiting[key] = _Call(reply, timer)
        self._pending.add(1, partial(self._told, key))

    def _reply_to(self) -> str:
        """The name of the hidden queue that answers come to."""
        queue, connection = self._queue, self._connection
        if queue is None or queue.deleted:
            assert connection.session is not None
            broker, token = connection.broker, connection.token()
            queue = broker.definitions.declare_reply_queue(connection.session, token)
            self._consumer_tag = tag = f"calls-{token}"
            consumer = broker.consume(connection.channel, queue, tag, True, True, {})
            consumer.wire = self
            self._queue = queue
        return queue.name

    def _told(self, key: str, status: int, lost: Sequence[int]) -> None:
        """The task is stored, or not."""
        if lost:
            self._fail(key, status, _TEXTS[status])

    def _fail(self, key: str, status: int, text: str) -> None:
        call = self._waiting.pop(key, None)
        if call is not None:
            call.timer.stop()
            call.reply.failed(status, text)

    # -- what comes into the hidden queue

    def deliver(self, run: Run, i: int, tag: int, redelivered: bool) -> None:
        """An answer, or a receipt of the broker."""
        properties = properties_of(run, i)
        key = properties.correlation_id or ""
        call = self._waiting.get(key)
        if call is None:
            return
        if properties.type == _RECEIPT and properties.headers and _OUTCOME in properties.headers:
            self._ended(key, properties.headers[_OUTCOME])
            return
        call.parts += frames_of(run, i)
        if not is_partial(properties):
            del self._waiting[key]
            call.timer.stop()
            call.reply.answered(call.parts, properties)

    def cancelled(self, consumer_tag: str) -> None:
        """See `Outbox`: if it was that of the hidden queue, no answer can come any more."""
        if consumer_tag != self._consumer_tag:
            return
        for key in list(self._waiting):
            self._fail(key, FAILED, "the queue of the answers was deleted")

    def _ended(self, key: str, outcome: object) -> None:
        """Nobody will answer."""
        if outcome == EXPIRED:
            self._fail(key, LATE, "nobody has answered in time")
        elif outcome == REJECTED:
            self._fail(key, FAILED, "a worker has rejected it")
        else:
            self._fail(key, FAILED, f"the task was {outcome}")
