"""What AMQP messages ask of the broker beside being delivered, by their headers: see `core.marks`."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mansio.codec.amqp_properties import Properties
from mansio.core.limits import TIME_MAX_MS
from mansio.core.marks import Marks
from mansio.core.producers import producer_id
from mansio.core.routing import Route

if TYPE_CHECKING:
    from mansio.core.queue import Queue

RECEIPT: Final = "x-receipt"
"""The header that asks for a receipt."""

ID_CHARS_MAX: Final = 128
"""Of an id that is remembered as it is; of a longer one its digest is, so that headers cannot fill the memory."""


class Unique(NamedTuple):
    """The id that a message must not share with others, and how long it wants that to be remembered, in ms."""

    id: str
    ttl_ms: int | None


def asks_for_receipt(properties: Properties) -> bool:
    """Whether the broker is to publish to where this message says: the queue that reply-to names."""
    return bool(properties.reply_to and (properties.headers or {}).get(RECEIPT) is True)


def marks_of(properties: Properties, route: Route, queues: "tuple[Queue, ...]") -> Marks | None:
    """Of a message that goes to these queues; None when there is nothing to it."""
    unique = route.window is not None or any(queue.dedup is not None for queue in queues)
    return _marks(properties, unique)


def marks_of_moved(properties: Properties) -> Marks | None:
    """The same of a message that the broker publishes by itself, whoever it goes to."""
    return _marks(properties, True)


def _marks(properties: Properties, unique: bool) -> Marks | None:
    found = unique_of(properties.headers or {}) if unique else None
    marks = Marks() if found is None else Marks(*found)
    if asks_for_receipt(properties):
        marks.reply_to = properties.reply_to
        marks.correlation = properties.correlation_id or properties.message_id
    return None if marks.id is None and marks.reply_to is None else marks


def _numbered(headers: Mapping[str, Any]) -> str | None:
    """The id of a message that its producer has numbered, see `core.producers`."""
    name, number = headers.get("x-producer"), headers.get("x-publishing-id")
    if not isinstance(name, str) or isinstance(number, bool) or not isinstance(number, int):
        return None
    return producer_id(_short(name), number) if number >= 0 else None


def _short(id: str) -> str:
    if len(id) <= ID_CHARS_MAX:
        return id
    return "sha256:" + sha256(id.encode("utf-8", "surrogateescape")).hexdigest()


def unique_of(headers: Mapping[str, Any]) -> Unique | None:
    """What the headers say of it. Ids that are not texts count by their texts, and long ones by a digest."""
    id = headers.get("x-deduplication-header")
    if id is None:
        numbered = _numbered(headers)
        return None if numbered is None else Unique(numbered, None)
    if not isinstance(id, str):
        id = str(id).lower() if isinstance(id, bool) else str(id)
    ttl_ms = headers.get("x-cache-ttl")
    if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int) or not 0 <= ttl_ms <= TIME_MAX_MS:
        ttl_ms = None
    return Unique(_short(id), ttl_ms)
