"""Requests to services, which are queues: how those of Majordomo and Titanic get there."""

from typing import TYPE_CHECKING

from mansio.codec.amqp_properties import Properties
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.protocol.zmtp.messages import PARTS_MAX, body_and_parts, make
from mansio.protocol.zmtp.putting import Putting
from mansio.protocol.zmtp.statuses import FULL, ILL_FORMED, TOO_LARGE, Refused
from mansio.protocol.zmtp.targets import Targets

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

RECORD_BYTES = 1024
"""More than what a request costs in the log beside its body, and the definitions of the queues that it may need."""


class Requests:
    """Those of one connection."""

    def __init__(self, connection: "ZmtpConnection", targets: Targets, putting: Putting) -> None:
        self._connection = connection
        self._targets = targets
        self._putting = putting

    def put(
        self, service: bytes, body: list[bytes], reply_to: str, key: str, expiration_ms: int
    ) -> Queue:
        """Puts a request, persistent, into the queue of a service; its answer goes to `reply_to`, with the correlation
        id `key`. `expiration_ms`: how long it waits for a worker. Refused, BrokerError, MustWait: nothing is done."""
        if len(body) > PARTS_MAX:
            raise Refused(TOO_LARGE, f"a message has at most {PARTS_MAX} frames")
        self._putting.check_room(sum(map(len, body)) + RECORD_BYTES)
        queue = self._targets.to_publish(service)
        if queue.keeps:
            raise Refused(ILL_FORMED, f"queue '{queue.name}' is a stream, where nobody answers")
        octets, headers = body_and_parts(body)
        properties = Properties(
            headers=headers or None,
            delivery_mode=2,
            correlation_id=key,
            reply_to=reply_to,
            expiration=str(expiration_ms),
        )
        broker = self._connection.broker
        run = make(octets, properties, Route("", queue.name, (queue,)), broker.letters)
        run.expiration_ms = expiration_ms
        bound = queue.bound
        if bound is not None and bound.reject and not bound.takes(queue, run):
            raise Refused(FULL, f"queue '{queue.name}' is full")
        broker.intake.put(run, (queue,))
        return queue
