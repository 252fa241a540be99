"""Messages with an `x-delay` header: any exchange holds them back for so many milliseconds before it routes them.

Once they are held the header is negated, as RabbitMQ's plugin does: whoever publishes them again, with the headers that
they came with, is not held back again.
"""

import re
from array import array
from typing import TYPE_CHECKING, Any, Final

from mansio.codec.amqp_fields import Fields
from mansio.codec.amqp_properties import property_spans
from mansio.codec.amqp_values import table_spans
from mansio.core.delay_packing import ROUTES_MAX, mix
from mansio.core.held import Held
from mansio.core.marks import Marks
from mansio.core.routing import Route

if TYPE_CHECKING:
    from mansio.protocol.amqp.channel import AmqpChannel
    from mansio.protocol.amqp.traits import Traits

X_DELAY: Final = "x-delay"
DELAY_MAX_MS: Final = 1 << 62
"""Longer delays end then, in 146 million years."""
_SIGNED: Final = {b"b": 1, b"s": 2, b"I": 4, b"l": 8}
"""Sizes of the types of a field table that have a sign."""
_VALUE_AT: Final = 1 + len(X_DELAY) + 1


def delay_ms(headers: "dict[str, Any] | None") -> int:
    """How long a message with these headers is held back; 0 without a delay, or with one that is no positive number.

    A number may also come as text, as in newer versions of RabbitMQ's plugin.
    """
    value = headers.get(X_DELAY) if headers else None
    if isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return 0
    return min(value, DELAY_MAX_MS)


def spend_delay(properties: bytes, delay: int) -> bytes:
    """The same properties with the header negated; every other byte stays, and so does its type if it has a sign."""
    fields = Fields(properties)
    entry = fields.entries[X_DELAY]
    head, value = entry[:_VALUE_AT], entry[_VALUE_AT:]
    size = _SIGNED.get(head[-1:])
    if size is not None:
        negated = -int.from_bytes(value, "big", signed=True)
        fields.entries[X_DELAY] = head + negated.to_bytes(size, "big", signed=True)
    else:
        fields.set(X_DELAY, str(-delay) if head[-1:] == b"S" else -delay)
    return fields.encode()


_ENTRY: Final = b"\x07" + X_DELAY.encode()
_SIGNED_BY_CODE: Final = {kind[0]: size for kind, size in _SIGNED.items()}


def split_delay(properties: bytes) -> tuple[bytes, bytes, bytes] | None:
    """What looks like an x-delay entry of a signed type: the bytes before, of, and behind its value. It is one if
    `splits_at_delay` says so of these properties, or of others that are the same but for the value."""
    at = properties.find(_ENTRY) + _VALUE_AT
    if at < _VALUE_AT or at > len(properties):
        return None
    size = _SIGNED_BY_CODE.get(properties[at - 1])
    if size is None or at + size > len(properties):
        return None
    return properties[:at], properties[at : at + size], properties[at + size :]


def splits_at_delay(properties: bytes, parts: tuple[bytes, bytes, bytes]) -> bool:
    """Whether the parts are those of the header that acts, and not of something that only looks like it."""
    start, stop = property_spans(properties, 0, len(properties))["headers"]
    for name, first, last in table_spans(properties, start, stop):
        if name == X_DELAY:
            return last == len(parts[0]) + len(parts[1]) and last - first == _VALUE_AT + len(
                parts[1]
            )
    return False


_NOWHERE: Final = Route("", "", ())


class Batch:
    """Delayed messages of one channel that follow each other, on their way to the Broker as few runs as they make."""

    def __init__(self, channel: "AmqpChannel") -> None:
        self._channel = channel
        self._kind: tuple[bool, int, int | None] = (False, 0, None)
        self._contents: list[bytes] = []
        self._delays: list[int] = []
        self._routes: list[Route] = []
        self._distinct: set[Route] = set()
        self._last: Route | None = None  # of a message that was added, and how it is kept
        self._kept = _NOWHERE

    def add(self, content: bytes, route: Route, traits: "Traits") -> None:
        """A message: its header and body frames, as they are to be kept, and how it was published."""
        kind = traits[:3]
        if route is not self._last:
            self._last = route
            delays = self._channel.broker.delays(self._channel.core.session.vhost)
            self._kept = delays.route(route.exchange, route.routing_key)
        kept = self._kept
        if kind != self._kind or (len(self._distinct) == ROUTES_MAX and kept not in self._distinct):
            self.flush()
            self._kind = kind
        self._contents.append(content)
        self._delays.append(traits.delay_ms)
        self._routes.append(kept)
        self._distinct.add(kept)

    def flush(self, route: Route | None = None, marks: Marks | None = None) -> None:
        """Everything that was added goes to the Broker. `marks`: of a message whose `route` remembers ids."""
        if not self._contents:
            return
        persistent, priority, expiration_ms = self._kind
        run = mix(self._contents, self._routes, persistent)
        run.priority, run.expiration_ms = priority, expiration_ms
        delays = self._delays
        same = delays.count(delays[0]) == len(delays)
        run.held = Held(run, delays[0] if same else array("Q", delays))
        if route is not None and marks is not None:
            run.marks = marks
            kept = Route(route.exchange, route.routing_key, (), mandatory=route.mandatory)
            kept.frame_max = run.routes[0].frame_max
            kept.window, kept.window_durable = route.window, route.window_durable
            run.routes = (kept,)
        self._contents, self._delays, self._routes = [], [], []
        self._distinct.clear()
        self._channel.broker.publish(self._channel.core, run, ())
