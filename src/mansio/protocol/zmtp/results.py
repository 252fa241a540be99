"""What a worker has made of a task, on its way to whoever waits for it: a client of any protocol that set reply_to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mansio.codec.amqp_properties import Properties
from mansio.core.names import DEFAULT_EXCHANGE
from mansio.core.routing import Route
from mansio.core.session import Session
from mansio.protocol.zmtp.messages import body_and_parts, make

if TYPE_CHECKING:
    from mansio.core.broker import Broker

PARTIAL: Final = "x-zmq-partial"
"""The header, true, of a result behind which more of the same request will come (PARTIAL of 18/MDP)."""


def is_partial(properties: Properties) -> bool:
    """Whether a result is only a part of the answer."""
    return (properties.headers or {}).get(PARTIAL) is True


def answer(
    broker: "Broker",
    session: Session,
    request: Properties,
    frames: Sequence[bytes],
    content_type: str | None = None,
    partial: bool = False,
) -> bool:
    """Publishes a worker's result to the queue that its request's reply_to names; whether there is one.

    AccessRefused for who may not publish to the default exchange.

    It is in the queue before this returns: what is settled behind it in the same turn is in the same entry of the log.
    It lives as long as the request would: a transient request has a transient result.
    """
    if not request.reply_to:
        return False
    session.rights.check_write("exchange", DEFAULT_EXCHANGE)
    queue = broker.vhosts[session.vhost].queues.get(request.reply_to)
    if queue is None or queue.deleted or queue.fed:
        return False
    body, headers = body_and_parts(frames)
    if partial:
        headers[PARTIAL] = True
    properties = Properties(
        content_type=content_type,
        headers=headers or None,
        delivery_mode=2 if request.delivery_mode == 2 else 1,
        correlation_id=request.correlation_id or request.message_id,
    )
    run = make(body, properties, Route("", queue.name, (queue,)), broker.letters)
    broker.intake.put(run, (queue,))
    return True
