"""What of a message's properties matters to queues, looked up by the bytes of the properties, since most are alike."""

from typing import Final, NamedTuple

from mansio.codec.amqp_properties import decode_properties
from mansio.codec.amqp_values import CodecError
from mansio.core.names import REPLY_TO
from mansio.protocol.amqp.content import FRAME_HEAD_BYTES, HEADER_FIXED_BYTES, expiration_ms
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


class TraitsMemo:
    """Traits of the messages that came last over one connection."""

    def __init__(self) -> None:
        self._known: dict[bytes, Traits | None] = {}

    def of(self, message: bytes, skip: int) -> Traits | None:
        """Of a message whose header frame lies at `skip`; None when there is more to it, or something is wrong."""
        at = skip + FRAME_HEAD_BYTES
        stop = at + int.from_bytes(message[skip + 3 : at], "big")
        properties = message[at + HEADER_FIXED_BYTES : stop]
        try:
            return self._known[properties]
        except KeyError:
            if len(self._known) >= _MEMO_MAX:
                self._known.clear()
            traits = self._known[properties] = _look(properties)
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
        lifetime = None if found.expiration is None else expiration_ms(found.expiration)
    except (CodecError, Refusal):
        return None
    return Traits(found.delivery_mode == 2, found.priority or 0, lifetime)
