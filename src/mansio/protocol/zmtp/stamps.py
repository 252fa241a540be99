"""Properties that many messages have in common: what they are as bytes, and what queues make of them.

A client that sends properties sends most often the same ones again. Those that only say how a message is kept are
looked at once; then messages with them go in rows as if they had none. Whatever else asks the broker for something is
published by itself: delays, copies, ids that are to be remembered, receipts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.codec.amqp_content import FRAMING_BYTES, body_frames, content_frames, properties_of
from mansio.core.errors import BrokerError
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run, make_run
from mansio.protocol.zmtp.json_values import parse_properties
from mansio.protocol.zmtp.statuses import Refused

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

KNOWN_MAX: Final = 256
"""Texts that a connection remembers; then they are forgotten and looked at again."""
TEXT_BYTES_MAX: Final = 1024


class Stamp(NamedTuple):
    """Of messages that are alike."""

    properties: bytes
    """Flag word and fields."""
    persistent: bool
    priority: int
    expiration_ms: int | None


class Stamps:
    """Those that one peer uses."""

    def __init__(self, connection: "ZmtpConnection") -> None:
        self._connection = connection
        self._known: dict[bytes, Stamp | None] = {}

    def of(self, text: bytes) -> Stamp | None:
        """Of properties as a JSON text; None where there is more to them, or they are none."""
        if not text:
            return None
        if text in self._known:
            return self._known[text]
        if len(text) > TEXT_BYTES_MAX:
            return None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        stamp = self._known[text] = self._look(text)
        return stamp

    def _look(self, text: bytes) -> Stamp | None:
        connection = self._connection
        letters, session = connection.broker.letters, connection.session
        assert session is not None
        try:
            properties = parse_properties(text)
            frames = content_frames(b"", properties, 0, letters.frame_max)
            wishes = letters.wishes(frames, session.rights.user)
        except (Refused, BrokerError):
            return None
        if wishes.delay_ms or wishes.copies or wishes.marks is not None:
            return None
        if properties.message_id is not None:  # an id, where the queue looks at ids
            return None
        raw = properties_of(frames)
        return Stamp(raw, wishes.persistent, wishes.priority, wishes.expiration_ms)


def stamped(bodies: Sequence[bytes], stamp: Stamp, queue: Queue, frame_max: int) -> Run:
    """Messages with these bodies and this stamp as one run for a queue."""
    properties = stamp.properties
    size = (12 + len(properties)).to_bytes(4, "big")
    head = b"\x02\0\0" + size + b"\0\x3c\0\0"
    tail = properties + b"\xce"
    room = frame_max - FRAMING_BYTES
    frames: list[bytes] = []
    for body in bodies:
        count = len(body)
        header = head + count.to_bytes(8, "big") + tail
        if 0 < count <= room:
            frames.append(b"%b\x03\0\0%b%b\xce" % (header, count.to_bytes(4, "big"), body))
        else:
            frames.append(b"".join([header, *body_frames(body, 0, frame_max)]))
    route = Route("", queue.name, (queue,))
    route.frame_max = frame_max
    run = make_run(frames, route, stamp.persistent)
    run.priority, run.expiration_ms = stamp.priority, stamp.expiration_ms
    return run
