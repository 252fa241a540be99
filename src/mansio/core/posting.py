"""Single messages that a front has written itself, published as an AMQP client's would be: `Broker.publish` is for runs
of which the front knows all that there is to know.

    frames ──letters.wishes──► what it asks for ──► delayed │ routed by its key and copies ──► publish
"""

from typing import TYPE_CHECKING

from mansio.core.delay_packing import mix
from mansio.core.held import Held
from mansio.core.letters import Wishes
from mansio.core.marks import Marks
from mansio.core.names import DEFAULT_EXCHANGE
from mansio.core.routing import Route
from mansio.core.run import make_run

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.session import Channel


class Posting:
    """Publishes messages one by one."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def post(
        self,
        channel: "Channel",
        exchange: str,
        key: str,
        frames: bytes,
        marks: Marks | None = None,
    ) -> "tuple[Queue, ...]":
        """The queues that the message is for, none while it is delayed. `frames`: as runs hold it, without a publish
        method frame; `marks`: takes the place of what it says of receipts.

        AccessRefused, NotFound for the exchange, PreconditionFailed for properties that make no sense.
        """
        broker, rights = self._broker, channel.session.rights
        route = broker.route(rights, exchange, key, False, 0, 0)
        route.frame_max = broker.letters.frame_max
        wishes = broker.letters.wishes(frames, rights.user)
        asked = wishes.marks
        if asked is not None and asked.reply_to is not None:
            rights.check_write("exchange", DEFAULT_EXCHANGE)
        if wishes.copies:
            broker.check_keys(rights, exchange, wishes.copies)
        if wishes.delay_ms:
            self._hold(channel, route, wishes)
            return ()
        queues = route.queues
        if wishes.copies or route.by_content:
            view = broker.letters.view(wishes.frames, exchange, key)
            queues = broker.route_message(rights, exchange, [key, *wishes.copies], view)
        run = make_run([wishes.frames], route, wishes.persistent)
        run.priority, run.expiration_ms = wishes.priority, wishes.expiration_ms
        run.marks = _marks(asked, marks, route, queues)
        broker.publish(channel, run, queues)
        return queues

    def _hold(self, channel: "Channel", route: Route, wishes: Wishes) -> None:
        """It is published when its time has come; an exchange that remembers ids looks at it now."""
        broker = self._broker
        kept = broker.delays(channel.session.vhost).route(route.exchange, route.routing_key)
        run = mix([wishes.frames], [kept], wishes.persistent)
        run.priority, run.expiration_ms = wishes.priority, wishes.expiration_ms
        run.held = Held(run, wishes.delay_ms)
        if route.window is not None and wishes.marks is not None:
            run.marks = wishes.marks
            run.routes = (route,)
        broker.publish(channel, run, ())


def _marks(
    asked: Marks | None, given: Marks | None, route: Route, queues: "tuple[Queue, ...]"
) -> Marks | None:
    """Of a message that goes to these queues; None when there is nothing to it."""
    id = ttl_ms = None
    if asked is not None and (
        route.window is not None or any(queue.dedup is not None for queue in queues)
    ):
        id, ttl_ms = asked.id, asked.ttl_ms
    marks = given or asked
    if marks is None or (id is None and marks.reply_to is None):
        return None
    found = Marks(id, ttl_ms, marks.reply_to, marks.correlation)
    found.quiet = marks.quiet
    return found
