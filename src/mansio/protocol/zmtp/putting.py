"""Messages that a peer puts into queues, and who hears that they are safe.

PUTs in a row to one queue ─► one run ─► broker.publish ─► pending ──durable──► all their replies at once
PUT with properties ─► broker.posting: delays, copies, ids, receipts as for AMQP publishers
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mansio.codec.amqp_content import FRAMING_BYTES, content_frames
from mansio.codec.amqp_properties import Properties
from mansio.codec.zmtp import encode_messages
from mansio.core.errors import MustWait
from mansio.core.marks import Marks
from mansio.core.names import REPLY_TO
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import make_run
from mansio.protocol.zmtp.messages import PARTS_MAX, body_and_parts
from mansio.protocol.zmtp.pending import Pending
from mansio.protocol.zmtp.replying import JsonTaskReply, Reply, TaskReply, VerbReply
from mansio.protocol.zmtp.stamps import Stamp, stamped
from mansio.protocol.zmtp.statuses import FAILED, FULL, SHORT, TOO_LARGE, Refused
from mansio.protocol.zmtp.targets import Targets

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

MESSAGE_BYTES: Final = 64
"""What the log takes for a message beside its body, at most, where it has no properties of its own."""
_PERSISTENT: Final = 2
_DEDUPLICATION: Final = "x-deduplication-header"
_TEXTS: Final = {FULL: "the queue is full", FAILED: "it could not be stored"}

Style = type[VerbReply | TaskReply]
"""How the members of a row are to be answered."""


class Putting:
    """What one peer puts into queues."""

    def __init__(self, connection: "ZmtpConnection", targets: Targets, pending: Pending) -> None:
        self._connection = connection
        self._targets = targets
        self._pending = pending

    def check_room(self, size_bytes: int) -> None:
        """Whether so much may be published now: Refused, or MustWait where the log is only busy."""
        broker = self._connection.broker
        if broker.low_on_memory:
            raise Refused(SHORT, "the broker is short of memory")
        if broker.low_on_disk:
            raise Refused(FULL, "the broker is short of disk space")
        if not self._connection.room(size_bytes):
            raise MustWait

    def put_row(
        self,
        name: bytes,
        bodies: list[bytes],
        envelopes: list[list[bytes]],
        style: Style,
        stamp: Stamp | None,
    ) -> None:
        """Bodies for one queue, each from a request of its own. MustWait: none was taken; BrokerError, Refused."""
        connection = self._connection
        broker = connection.broker
        queue = self._targets.to_publish(name)
        each = MESSAGE_BYTES if stamp is None else MESSAGE_BYTES + len(stamp.properties)
        self.check_room(sum(map(len, bodies)) + each * len(bodies))
        first = queue.next_position
        if stamp is None:
            run = broker.letters.contents(bodies, Route("", queue.name, (queue,)))
        else:
            run = stamped(bodies, stamp, queue, broker.letters.frame_max)
        waits = (run.persistent and not broker.forgetful) or _decides(queue)
        channel = connection.channel
        channel.confirming = waits
        broker.publish(channel, run, (queue,))
        channel.confirming = True
        row = _Row(connection, envelopes, first, style)
        if waits:
            self._pending.add(len(bodies), row.told)
        else:
            row.told(0, ())

    def put(
        self, reply: Reply, name: bytes, frames: Sequence[bytes], properties: Properties
    ) -> None:
        """One message of these frames, at least one. Errors as above."""
        queue = self._targets.to_publish(name)
        if queue.dedup is not None and properties.message_id is not None:
            headers = {_DEDUPLICATION: properties.message_id, **(properties.headers or {})}
            properties.headers = headers
        before = queue.next_position
        queues = self.publish(queue, frames, properties)
        id = before if queue.next_position > before else ""

        def told(status: int, lost: Sequence[int]) -> None:
            if lost:
                reply.failed(status, _TEXTS[status])
            else:
                reply.done(id=id)

        if properties.delivery_mode == 1 and not any(map(_decides, queues)):
            told(0, ())
        else:
            self._pending.add(1, told)

    def publish(
        self,
        queue: Queue,
        frames: Sequence[bytes],
        properties: Properties,
        marks: Marks | None = None,
    ) -> tuple[Queue, ...]:
        """Publishes one message; the queues that it is in, none while it is delayed. Errors as above. `marks`: see
        `Posting.post`."""
        connection = self._connection
        broker = connection.broker
        asks = properties.headers or properties.user_id or properties.reply_to == REPLY_TO
        content = self._content(frames, properties)
        if asks:
            return broker.posting.post(connection.channel, "", queue.name, content, marks)
        route = Route("", queue.name, (queue,))
        route.frame_max = broker.letters.frame_max
        run = make_run([content], route, properties.delivery_mode == _PERSISTENT)
        run.priority = properties.priority or 0
        run.expiration_ms = None if properties.expiration is None else int(properties.expiration)
        run.marks = marks
        broker.publish(connection.channel, run, route.queues)
        return route.queues

    def spread(
        self, exchange: str, key: str, frames: Sequence[bytes], properties: Properties
    ) -> None:
        """Publishes one message to an exchange. Errors as above."""
        connection = self._connection
        content = self._content(frames, properties)
        connection.broker.posting.post(connection.channel, exchange, key, content)

    def _content(self, frames: Sequence[bytes], properties: Properties) -> bytes:
        """A message as runs hold it, for which there is room."""
        if len(frames) > PARTS_MAX:
            raise Refused(TOO_LARGE, f"a message has at most {PARTS_MAX} frames")
        body, headers = body_and_parts(frames)
        if headers:
            properties.headers = {**(properties.headers or {}), **headers}
        frame_max = self._connection.broker.letters.frame_max
        content = content_frames(body, properties, 0, frame_max)
        if int.from_bytes(content[3:7], "big") + FRAMING_BYTES > frame_max:
            raise Refused(TOO_LARGE, f"properties have at most {frame_max} bytes")
        self.check_room(2 * len(content) + MESSAGE_BYTES)  # a stream has a copy of its own
        return content


def _decides(queue: Queue) -> bool:
    """Whether the queue says only later what becomes of a message that is not to be stored."""
    return queue.keeps or (queue.bound is not None and queue.bound.reject)


class _Row:
    """Publishes that came in a row."""

    __slots__ = ("_connection", "_envelopes", "_first", "_style")

    def __init__(
        self,
        connection: "ZmtpConnection",
        envelopes: list[list[bytes]],
        first: int,
        style: Style,
    ) -> None:
        """`first`: the position of the first one in its queue, by which the peer hears of it."""
        self._connection = connection
        self._envelopes = envelopes
        self._first = first
        self._style = style

    def told(self, status: int, lost: Sequence[int]) -> None:
        """See `Told`."""
        if lost:
            self._tell_each(status, set(lost))
            return
        replies: Any
        numbered = enumerate(self._envelopes, self._first)
        if self._style is VerbReply:
            replies = [[*envelope, b"200", b"%d" % id] for id, envelope in numbered]
        elif self._style is TaskReply:
            replies = [[*envelope, b"200 %d" % id] for id, envelope in numbered]
        else:
            assert self._style is JsonTaskReply
            replies = [[*envelope, b'{"status": 200, "id": %d}' % id] for id, envelope in numbered]
        self._connection.send_raw(encode_messages(replies))

    def _tell_each(self, status: int, lost: set[int]) -> None:
        for i, envelope in enumerate(self._envelopes):
            reply = self._style(self._connection, envelope)
            if i in lost:
                reply.failed(status, _TEXTS[status])
            else:
                reply.done(id=self._first + i)
