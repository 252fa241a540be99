"""What the oracle expects of ZeroMQ peers that ask for nothing: they push tasks, are given tasks, or are asked."""

from __future__ import annotations

from mansio.codec import amqp_methods as m
from mansio.protocol.zmtp.messages import PARTS, split
from tests.sim.letters import properties_of
from tests.sim.model import Delivery, Refused
from tests.sim.topology import Entry, Queue
from tests.sim.wire import Message
from tests.sim.zmtp_desk import Desk
from tests.sim.zmtp_wire import MESSAGE, Request, ZItem

TAG = "zmq"


class QuietDesk(Desk):
    """Of a peer that means one queue, and is refused if there is something about that."""

    def open(self, request: Request) -> None:
        try:
            self.begin(request, self._find_queue(self.queue, request))
        except Refused:
            self.oracle.end_connection(self.connection)

    def begin(self, request: Request, queue: Queue) -> None:
        """The handshake is over, but for that: Refused."""
        if queue.owner is not None:
            raise Refused(405)


class PushDesk(QuietDesk):
    """Of a PUSH peer: each message comes into the queue, and none is refused there."""

    def begin(self, request: Request, queue: Queue) -> None:
        """See `QuietDesk`."""
        super().begin(request, queue)
        if queue.group is not None:
            raise Refused(406)

    def apply_more(self, request: Request, message: Message | None) -> None:
        """See `Desk`."""
        assert message is not None
        before = self.oracle.topology.queues.get(message.key)
        try:
            queue = self._find_queue(self.queue, request)
            if queue is not before:
                self.begin(request, queue)
        except Refused:
            self.oracle.end_connection(self.connection)
            return
        self.oracle._publish(self.channel, message)

    def refused(self, entry: Entry) -> None:
        """See `Desk`."""
        self._fail(f"{entry} was pushed, and is dropped")


class GivenDesk(QuietDesk):
    """Of a peer that is given messages without being asked."""

    def _find(self, frames: list[bytes]) -> Entry:
        """What it is: the first of those in the queue that look like this."""
        queue = self.channel.consumers[TAG].queue
        body = b"".join(frames)
        found = [
            (min(entries), message)
            for message, entries in queue.by_message.items()
            if entries and message.body == body and parts_of(message) == frames
        ]
        if not found:
            self._fail(f"{[frame[:20] for frame in frames]} is not in {queue}")
        return self.choose(found)[0]

    def _on_dispatched(self, item: ZItem) -> None:
        if TAG not in self.channel.consumers:
            self._fail(f"it is given {item.frames}, and does not consume")
        entry = self._find(self.bare(item.frames))
        message, tag = entry.message, self.channel.next_tag
        method = m.BasicDeliver(TAG, tag, entry.delivered, message.exchange, message.key)
        consumer = self.channel.consumers[TAG]
        self.oracle.hand_out(self.channel, consumer, method, message, entry.deliveries)

    def bare(self, frames: list[bytes]) -> list[bytes]:
        """Without what stands in front of a message."""
        return frames

    def end_dispatch(self) -> None:
        """See `Desk`."""
        if TAG not in self.channel.consumers and self.connection.state == "open":
            self.leaving = True

    @property
    def is_cancelled(self) -> bool:
        """See `Desk`."""
        return (self.channel, TAG) in self.oracle.cancelled


class PullDesk(GivenDesk):
    """Of a PULL peer: it is done with what its socket has taken, and gets nothing twice."""

    patient = True

    def begin(self, request: Request, queue: Queue) -> None:
        """See `QuietDesk`."""
        super().begin(request, queue)
        self.channel.new_consumer_limit = request.prefetch
        method = m.BasicConsume(queue.name, TAG, arguments={"x-consumer-timeout": 0})
        self.oracle.basic_consume(self.channel, method)

    def on_output(self, items: list[ZItem]) -> None:
        """See `Desk`."""
        for item in items:
            if item.kind == MESSAGE:
                super().on_output([item])
            elif item.kind == "PING" and item.frames[0][2:]:
                upto = int.from_bytes(item.frames[0][2:], "big")
                if upto != self.channel.next_tag - 1:
                    self._fail(f"a PING behind {upto}, not {self.channel.next_tag - 1}")

    def pong(self, request: Request) -> None:
        """See `Desk`."""
        if request.context:
            upto = int.from_bytes(request.context, "big")
            self._accept([tag for tag in sorted(self.channel.unacked) if tag <= upto])

    def _accept(self, tags: list[int]) -> None:
        self.oracle._finish([self.channel.unacked.pop(tag) for tag in tags], "accept")

    def closing(self) -> None:
        """See `Desk`."""
        self._accept(sorted(self.channel.unacked))


class RepDesk(GivenDesk):
    """Of a REP peer: its reply is the acknowledgement, unless it is one to another task."""

    _address = b""

    def begin(self, request: Request, queue: Queue) -> None:
        """See `QuietDesk`."""
        super().begin(request, queue)
        if queue.stream is not None:
            raise Refused(406)
        self.channel.new_consumer_limit = 1
        self.oracle.basic_consume(self.channel, m.BasicConsume(queue.name, TAG))

    def bare(self, frames: list[bytes]) -> list[bytes]:
        """See `GivenDesk`."""
        self._address, *rest = frames
        if not self._address.endswith(b":%d" % self.channel.next_tag) or rest[0]:
            self._fail(f"a task without an address, or a delimiter: {frames}")
        return rest[1:]

    def apply_more(self, request: Request, message: Message | None) -> None:
        """See `Desk`."""
        held = self.channel.unacked
        if request.address and not (held and request.address == self._address):
            return
        lease: Delivery = self.channel.unacked[max(self.channel.unacked)]
        outcome = {"reply": "accept"}.get(request.errors, request.errors)
        if outcome == "accept":
            self._answer(request, lease)
        del self.channel.unacked[lease.tag]
        self.oracle._finish([lease], outcome)


def parts_of(message: Message) -> list[bytes]:
    """Its frames."""
    return split(message.body, (properties_of(message.header).headers or {}).get(PARTS))


DESKS: dict[str, type[Desk]] = {
    "REQ": Desk,
    "DEALER": Desk,
    "PUSH": PushDesk,
    "PULL": PullDesk,
    "REP": RepDesk,
}
