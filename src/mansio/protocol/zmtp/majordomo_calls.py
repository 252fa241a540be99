"""What Majordomo clients have asked for, and the way of the answers back to them.

    REQUEST ──► the service's queue, with reply_to and correlation_id ──► a worker of any protocol
    REPLY, PARTIAL, FINAL ◄── the connection's own hidden queue ◄── its answer

The request waits for a worker as long as `majordomo_expiry_ms` says, in the log, and nobody hears when that is over:
clients ask again, as the guide's do. A client of 0.1 gets an answer that came in parts as one.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.core.deadlines import NEVER_MS
from mansio.core.queue import Queue
from mansio.core.run import Run
from mansio.protocol.zmtp import majordomo_frames as frames
from mansio.protocol.zmtp.majordomo_frames import Asked
from mansio.protocol.zmtp.messages import frames_of, properties_of
from mansio.protocol.zmtp.requests import Requests
from mansio.protocol.zmtp.results import is_partial
from mansio.protocol.zmtp.statuses import TOO_MANY, Refused

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

OPEN_MAX: Final = 1 << 20
"""Requests of one connection without an answer, of some 400 bytes each here; more are refused with 429. One of the
guide's clients sends 100,000 before it reads the first answer: to stop reading from it would stop it for good."""


class _Call(NamedTuple):
    prefix: list[bytes]
    header: bytes
    service: bytes
    until_ms: int
    """Nobody can be at work on it any more then."""


class MajordomoCalls:
    """Those of one connection."""

    def __init__(self, connection: "ZmtpConnection", requests: Requests) -> None:
        self._connection = connection
        self._requests = requests
        self._open: dict[str, _Call] = {}  # by correlation id, the oldest first
        self._parts: dict[str, list[bytes]] = {}  # of answers to clients that want them whole
        self._number = 0
        self._inbox: Queue | None = None

    def ask(self, prefix: list[bytes], header: bytes, asked: Asked) -> None:
        """A request for a service. Refused, BrokerError, MustWait: nothing is done."""
        if len(self._open) >= OPEN_MAX:
            raise Refused(TOO_MANY, f"{OPEN_MAX} requests wait for their answers")
        key = str(self._number + 1)
        expiry_ms = self._connection.settings.majordomo_expiry_ms
        inbox = self._require_inbox()
        queue = self._requests.put(asked.service, asked.body, inbox, key, expiry_ms)
        self._number += 1
        broker = self._connection.broker
        patience_ms = broker.overdue.consumer_timeout_ms(queue, None) or NEVER_MS
        until_ms = broker.now_ms + expiry_ms + patience_ms
        self._open[key] = _Call(prefix, header, asked.service, until_ms)

    def _require_inbox(self) -> str:
        connection = self._connection
        assert connection.session is not None
        if self._inbox is None or self._inbox.deleted:
            broker, token = connection.broker, connection.token()
            self._inbox = broker.definitions.declare_reply_queue(connection.session, token)
            tag = f"majordomo-{token}"
            consumer = broker.consume(connection.channel, self._inbox, tag, True, True, {})
            consumer.wire = self
        return self._inbox.name

    def deliver(self, run: Run, i: int, tag: int, redelivered: bool) -> None:
        """An answer has come, or a part of one."""
        properties = properties_of(run, i)
        key = properties.correlation_id or ""
        call = self._open.get(key)
        if call is None:
            return
        body = frames_of(run, i)
        partial = is_partial(properties)
        if not partial:
            del self._open[key]
            body = self._parts.pop(key, []) + body
        elif call.header == frames.CLIENT_1:
            self._parts.setdefault(key, []).extend(body)
            return
        message = frames.reply(call.header, call.service, body, partial)
        self._connection.send([*call.prefix, *message])

    def tick(self) -> None:
        """Forgets requests that have expired, or had to be acknowledged since."""
        now_ms = self._connection.broker.now_ms
        while self._open:
            key, call = next(iter(self._open.items()))
            if call.until_ms > now_ms:
                break
            del self._open[key]
            self._parts.pop(key, None)
