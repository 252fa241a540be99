"""Peers that reply, REP or ROUTER: workers that need no protocol at all. They get tasks one at a time.

    queue ──► address '' task… ──► the worker     queue ◄── back, if the connection ends before the reply
                                     │
    reply_to ◄── address '' reply… ──┴──► the task is acknowledged, in the same entry of the log

The reply is the acknowledgement, and the answer for whoever waits for one: a CALL, or an AMQP client that has set
reply_to. A reply that begins with "ERR " may mean that the task has failed, see `wishes`.

A REP socket shows nothing of the address, and sends it in front of the reply. So one that was disconnected in the
middle of a task, which others have by now, and replies to it over its next connection, has not replied to what it has
got there: that reply is dropped. What has no address is a reply to what the worker has.
"""

from typing import TYPE_CHECKING, Final

from mansio.codec.amqp_properties import Properties
from mansio.codec.zmtp import MORE
from mansio.codec.zmtp_runs import encode_run
from mansio.core.dispatch import Consumer
from mansio.core.equivalence import describe
from mansio.core.errors import AccessRefused, PreconditionFailed
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.protocol.zmtp.addresses import Addresses, is_address
from mansio.protocol.zmtp.giving import CONSUMER_TAG
from mansio.protocol.zmtp.messages import PARTS_MAX, decoded, raw_properties
from mansio.protocol.zmtp.putting import MESSAGE_BYTES
from mansio.protocol.zmtp.results import answer
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.wishes import errors_of, queue_of

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

ERROR: Final = b"ERR "
_EMPTY: Final = bytes((MORE, 0))
_OUTCOMES: Final = {
    "reply": Outcome.ACCEPT,
    "reject": Outcome.REJECT,
    "requeue": Outcome.REQUEUE,
}


class Asking(Role):
    """What one worker is asked."""

    socket_type = "DEALER"

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        broker, channel = connection.broker, connection.channel
        self._on_error = _OUTCOMES[errors_of(connection.metadata)]
        queue = queue_of(connection)
        channel.session.rights.check_read("queue", queue.name)
        if queue.keeps:
            resource = describe("queue", queue.name, queue.vhost)
            text = f"{resource} is a stream: workers take from a group of it (x-stream)"
            raise PreconditionFailed(text)
        broker.set_prefetch(channel, 1, False)
        self._consumer = broker.consume(channel, queue, CONSUMER_TAG, False, False, {})
        self._addresses = Addresses(connection.token())
        self._tag = 0  # of the task that the worker has; 0: it has none
        self._address = b""  # of this task
        self._properties = b""  # of this task

    def deliver(
        self,
        consumer: Consumer,
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        """See `Outbox`."""
        skips = tuple([route.skip for route in run.routes])
        self._address = self._addresses.of(tag)
        heads = (bytes((MORE, len(self._address))) + self._address + _EMPTY,) * len(skips)
        data = encode_run(
            run.data, run.stride, run.ends, skips, run.which, heads, None, start, 1, 1
        )
        self._tag = tag
        self._properties = raw_properties(run, start)
        self.connection.send_raw(data)

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`: replies."""
        for n, frames in enumerate(messages):
            if len(frames) > 2 and is_address(frames[0]) and not frames[1]:
                if not self._tag or frames[0] != self._address:
                    self._drop()
                    continue
                del frames[0]
            if not self._tag:
                self.connection.finish("it has replied to nothing")
                break
            reply = frames[1:] if len(frames) > 1 and not frames[0] else frames
            if len(reply) > PARTS_MAX:
                self.connection.finish(f"a reply of more than {PARTS_MAX} frames")
                break
            if not self._settle(reply):
                return n
        return len(messages)

    def _drop(self) -> None:
        name = self.connection.peer.name
        text = f"{name}: a late reply is dropped: others have got its task since it was connected"
        self.connection.broker.notices.append(text)

    def _settle(self, frames: list[bytes]) -> bool:
        """What a task has come to; False: the log has no room for the answer now, and nothing has changed."""
        broker, channel = self.connection.broker, self.connection.channel
        tag = self._tag
        outcome = self._on_error if frames[0].startswith(ERROR) else Outcome.ACCEPT
        if outcome is Outcome.ACCEPT and not self._answer(decoded(self._properties), frames):
            return False
        broker.settle(channel, tag, tag, False, outcome)
        self._tag = 0
        return True

    def _answer(self, request: Properties, frames: list[bytes]) -> bool:
        """Publishes a reply for whoever waits; False: see `_settle`. A shortage of memory is no reason to wait: what
        would end it is acknowledged behind the answer."""
        if not request.reply_to:
            return True
        connection = self.connection
        broker, session = connection.broker, connection.channel.session
        queue = broker.vhosts[session.vhost].queues.get(request.reply_to)
        if queue is not None and queue.logged:
            size = sum(map(len, frames)) + MESSAGE_BYTES * len(frames)
            if not broker.journal.has_room(size) and not connection.room(size):
                return False
        try:
            answer(broker, session, request, frames)
        except AccessRefused as error:
            text = f"{connection.peer.name}: its replies reach nobody: {error.text}"
            broker.notices.append(text)
        return True

    def cancelled(self, consumer_tag: str) -> None:
        """See `Role`: the queue is gone, or the worker took too long."""
        queue = self._consumer.queue
        resource = describe("queue", queue.name, queue.vhost)
        if queue.deleted:
            self.connection.finish(f"{resource} is deleted")
        else:
            self.connection.finish(f"it did not reply in time to a task of {resource}")
