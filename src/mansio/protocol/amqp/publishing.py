"""What happens to publishes between the scanner and the Broker: routes, and messages that are more than a run."""

from typing import TYPE_CHECKING

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import DELAYED, PERSISTENT, SPECIAL
from mansio.codec.amqp_content import with_properties
from mansio.codec.amqp_properties import Properties
from mansio.core.names import DEFAULT_EXCHANGE, REPLY_TO
from mansio.core.routing import Route
from mansio.core.run import Run, make_run
from mansio.protocol.amqp.content import (
    Assembly,
    Content,
    check_copies,
    copies,
)
from mansio.protocol.amqp.delaying import Batch, delay_ms, spend_delay
from mansio.protocol.amqp.marks import asks_for_receipt, marks_of
from mansio.protocol.amqp.message_view import MessageView
from mansio.protocol.amqp.output import add_tails
from mansio.protocol.amqp.replies import NOT_IMPLEMENTED, PRECONDITION_FAILED, Refusal
from mansio.protocol.amqp.traits import Traits, kind_of
from mansio.protocol.amqp.wishes import check_properties

if TYPE_CHECKING:
    from mansio.core.queue import Queue
    from mansio.protocol.amqp.channel import AmqpChannel

_PUBLISH = m.BasicPublish.ID
_METHOD_HEAD_BYTES = 11  # frame header, class and method id


def make_route(channel: "AmqpChannel", frame: bytes) -> Route:
    """The route of a whole publish method frame; raises what the Broker or the codec has against it."""
    method = m.BasicPublish.decode(frame[:-1], _METHOD_HEAD_BYTES)
    if method.immediate:
        raise Refusal(NOT_IMPLEMENTED, "immediate=true", _PUBLISH)
    route = channel.broker.route(
        channel.core.session.rights,
        method.exchange,
        method.routing_key,
        method.mandatory,
        channel.number,
        len(frame),
    )
    route.frame_max = channel.connection.frame_max
    add_tails(route)
    return route


def publish(channel: "AmqpChannel", run: Run, flags: int) -> None:
    """Hands a run to the Broker, message by message where each goes its own way."""
    route = run.routes[0]
    apart = flags & (SPECIAL | DELAYED) or route.looked_at
    if apart or (run.which is not None and any(each.looked_at for each in run.routes)):
        _publish_each(channel, run)
    else:
        channel.broker.publish(channel.core, run, route.queues)


_Alike = tuple[Route, Traits, list[bytes]]


def _publish_each(channel: "AmqpChannel", run: Run) -> None:
    """Looks at every message: those that follow each other and are alike go to the Broker as one run.

    Where only queues with priorities are reached, others may come between them, of another priority in each queue.
    """
    traits_of = channel.connection.traits.of
    levels = min(route.levels for route in run.routes)
    alike: dict[int, _Alike] = {}  # by priority
    delayed = Batch(channel)
    try:
        for i, message in enumerate(run.messages()):
            route = run.route(i)
            one_by_one = route.by_content or route.deduplicates
            traits = traits_of(message, route.skip) if not one_by_one else None
            if traits is not None and traits.delay_ms:
                _publish_alike(channel, alike)
                content = with_properties(message[route.skip :], traits.properties)
                delayed.add(content, route, traits)
                continue
            delayed.flush()
            if traits is None:
                _publish_alike(channel, alike)
                _publish_one(channel, message, route)
                continue
            priority = min(traits.priority, levels)
            found = alike.get(priority)
            if found is not None and found[0] is route and found[1] == traits:
                found[2].append(message)
                continue
            if found is not None:
                _publish_alike(channel, alike)
            alike[priority] = route, traits, [message]
    finally:
        delayed.flush()
        _publish_alike(channel, alike)


def _publish_alike(channel: "AmqpChannel", alike: dict[int, _Alike]) -> None:
    for route, traits, messages in alike.values():
        run = make_run(messages, route, traits.persistent)
        run.expiration_ms, run.priority = traits.expiration_ms, traits.priority
        channel.broker.publish(channel.core, run, route.queues)
    alike.clear()


def publish_again(channel: "AmqpChannel", run: Run, flags: int) -> None:
    """Hands a run to the Broker by routes that are looked up now, as if each message had only come now."""
    for i in range(run.count):
        message = run.message(i)
        route = make_route(channel, message[: run.route(i).skip])
        publish(channel, make_run([message], route, run.persistent), flags)


def publish_assembled(channel: "AmqpChannel", assembly: Assembly) -> None:
    """Hands a message that was put together frame by frame to the Broker."""
    route = make_route(channel, assembly.method_frame)
    data = assembly.frames(channel.number)
    flags = flags_of(assembly.properties())
    publish(channel, make_run([data], route, False), flags)


def _publish_one(channel: "AmqpChannel", message: bytes, route: Route) -> None:
    """One message whose properties decide where it goes, or what it is turned into."""
    content = Content.parse(message[route.skip :])
    properties = content.properties()
    rights = channel.core.session.rights
    if asks_for_receipt(properties):
        rights.check_write("exchange", DEFAULT_EXCHANGE)
    check_properties(properties, rights.user)
    plain = content
    if properties.reply_to == REPLY_TO:
        properties.reply_to = _reply_address(channel)
        content = content.with_reply_to(properties.reply_to)
    headers = properties.headers or {}
    check_copies(headers)
    keys = copies(headers)
    if keys:
        channel.broker.check_keys(rights, route.exchange, keys)
    if delay_ms(properties.headers):
        _publish_later(channel, content, properties, route)
        return
    if "BCC" in headers:
        content = content.without_header("BCC")
    queues: tuple[Queue, ...] = route.queues
    if keys or route.by_content:
        view = MessageView(content, properties, route.exchange, route.routing_key)
        queues = channel.broker.route_message(
            rights, route.exchange, [route.routing_key, *keys], view
        )
    if content is not plain:
        frames = content.frames(channel.number, channel.connection.frame_max)
        message = message[: route.skip] + frames
    persistent, priority, lifetime = kind_of(properties)
    run = make_run([message], route, persistent)
    run.priority, run.expiration_ms = priority, lifetime
    run.marks = marks_of(properties, route, queues)
    channel.broker.publish(channel.core, run, queues)


def _publish_later(
    channel: "AmqpChannel", content: Content, properties: Properties, route: Route
) -> None:
    """A message that is held back, with all that decides where it goes."""
    delay = delay_ms(properties.headers)
    content = content.with_properties(spend_delay(content.raw_properties, delay))
    batch = Batch(channel)
    frames = content.frames(channel.number, channel.connection.frame_max)
    batch.add(frames, route, Traits(*kind_of(properties), delay))
    if route.window is not None:
        batch.flush(route, marks_of(properties, route, ()))
    else:
        batch.flush()


def _reply_address(channel: "AmqpChannel") -> str:
    """Direct reply-to: what takes the place of the pseudo-queue's name is this channel's own reply queue."""
    if channel.reply_queue is None:
        raise Refusal(PRECONDITION_FAILED, "fast reply consumer does not exist", _PUBLISH)
    return channel.reply_queue.name


def flags_of(properties: Properties) -> int:
    """The scanner's flags for a message that was put together frame by frame: it is looked at by itself."""
    return SPECIAL | (PERSISTENT if properties.delivery_mode == 2 else 0)
