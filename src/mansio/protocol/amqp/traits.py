"""What of a message's properties matters to queues, looked up by the bytes of the properties, since most are alike."""

from typing import Final, NamedTuple

from mansio.codec.amqp_content import properties_of
from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import CodecError
from mansio.core.names import REPLY_TO
from mansio.protocol.amqp.content import expiration_ms
from mansio.protocol.amqp.delaying import delay_ms, spend_delay, split_delay, splits_at_delay
from mansio.protocol.amqp.marks import RECEIPT
from mansio.protocol.amqp.replies import Refusal

_MEMO_MAX: Final = 1024
_ACTING_HEADERS: Final = frozenset(("CC", "BCC", RECEIPT))
"""Headers by which a message is more than its bytes."""


class Traits(NamedTuple):
    """What messages of a run have in common."""

    persistent: bool
    priority: int
    expiration_ms: int | None
    delay_ms: int = 0
    """How long they are held back before they are routed; 0: they are not."""
    properties: bytes = b""
    """What their properties are then, if they are held back."""


def kind_of(found: Properties) -> tuple[bool, int, int | None]:
    """The first three of `Traits`; Refusal for an expiration that is no time."""
    lifetime = None if found.expiration is None else expiration_ms(found.expiration)
    return found.delivery_mode == 2, found.priority or 0, lifetime


_UNKNOWN: Final = Traits(False, -1, None)


class TraitsMemo:
    """Traits of the messages that came last over one connection."""

    def __init__(self) -> None:
        self._known: dict[bytes, Traits | None] = {}
        self._but_for_delay: dict[tuple[bytes, bytes], Traits] = {}
        """By what lies before and behind the value of x-delay: most often they differ in that alone."""

    def of(self, message: bytes, skip: int) -> Traits | None:
        """Of a message whose header frame lies at `skip`; None when there is more to it, or something is wrong."""
        properties = properties_of(message, skip)
        traits = self._known.get(properties, _UNKNOWN)
        if traits is not _UNKNOWN:
            return traits
        parts = split_delay(properties)
        if parts is None:
            return self._learn(properties)
        before, value, behind = parts
        like = self._but_for_delay.get((before, behind))
        delay = int.from_bytes(value, "big", signed=True)
        if like is None or delay <= 0:
            return self._learn(properties)
        spent = before + (-delay).to_bytes(len(value), "big", signed=True) + behind
        return Traits(like.persistent, like.priority, like.expiration_ms, delay, spent)

    def _learn(self, properties: bytes) -> Traits | None:
        if len(self._known) >= _MEMO_MAX:
            self._known.clear()
        traits = self._known[properties] = _look(properties)
        if traits is not None and traits.delay_ms:
            parts = split_delay(properties)
            if parts is not None and splits_at_delay(properties, parts):
                if len(self._but_for_delay) >= _MEMO_MAX:
                    self._but_for_delay.clear()
                self._but_for_delay[parts[0], parts[2]] = traits
        return traits


def _look(properties: bytes) -> Traits | None:
    try:
        found = decode_properties(properties, 0, len(properties))
        if found.user_id is not None or found.reply_to == REPLY_TO:
            return None
        if found.headers and not _ACTING_HEADERS.isdisjoint(found.headers):
            return None
        if found.delivery_mode not in (None, 1, 2):
            return None
        kind = kind_of(found)
        delay = delay_ms(found.headers)
        if not delay:
            return Traits(*kind)
        return Traits(*kind, delay, spend_delay(properties, delay))
    except (CodecError, Refusal):
        return None
