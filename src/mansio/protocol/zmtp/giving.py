"""Peers that PULL: they get the messages of one queue, in turn with all its other consumers.

    queue ──► frames, and a PING behind some of them ──► the peer's system ──► its socket ──► PONG
              └─────────────── at most X-Prefetch messages ──────────────────────────────────┘ acknowledged

A PULL socket cannot say that it has done something, so a message is done with when the peer's socket has taken it: that
answers a PING only behind the messages in front of it, and not while it is full (ZMQ_RCVHWM). So little is on its way
to a peer that is slow, and others get the rest. Each message is given once: what was on its way to a peer that is gone
is lost, as is what its socket had taken; a crash of the broker brings back what was not acknowledged. Peers
that know no PING (version 3.0) are done with what was written to them.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.codec.zmtp import encode_command
from mansio.codec.zmtp_runs import encode_run
from mansio.core.dispatch import Consumer
from mansio.core.equivalence import describe
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.wishes import prefetch_of, queue_of

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

PREFETCH: Final = 1000
"""Messages on their way to a peer, as the high-water marks of libzmq's sockets are."""
PREFETCH_MAX: Final = 1_000_000
PINGS: Final = 4
"""In so many parts a prefetch is acknowledged: while one is on its way back, the next ones are on their way there."""

CONSUMER_TAG: Final = "zmq"
_NO_TTL: Final = b"\0\0"


class Giving(Role):
    """What one peer pulls."""

    socket_type = "PUSH"
    patient = True

    def __init__(self, connection: "ZmtpConnection") -> None:
        super().__init__(connection)
        broker, channel = connection.broker, connection.channel
        prefetch = prefetch_of(connection.metadata, PREFETCH, PREFETCH_MAX)
        queue = queue_of(connection)
        channel.session.rights.check_read("queue", queue.name)
        self._part = max(prefetch // PINGS, 1)
        self._unasked = 0  # messages since the last PING
        self._last = 0  # their last tag
        broker.set_prefetch(channel, prefetch, False)
        arguments: dict[str, Any] = {"x-consumer-timeout": 0}
        written = connection.minor == 0
        self._consumer = broker.consume(channel, queue, CONSUMER_TAG, written, False, arguments)

    def receive(self, messages: list[list[bytes]]) -> int:
        """See `Role`: it has nothing to say."""
        return len(messages)

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
        heads = (b"",) * len(skips)
        written = consumer.no_ack
        while count:
            part = count if written else min(count, self._part - self._unasked)
            data = encode_run(
                run.data, run.stride, run.ends, skips, run.which, heads, None, start, part, step
            )
            self.connection.send_raw(data)
            start += part * step
            count -= part
            if not written:
                tag += part
                self._last = tag - 1
                self._unasked += part
                if self._unasked == self._part:
                    self._ask()

    def _ask(self) -> None:
        """Behind all that was sent so far."""
        self._unasked = 0
        self.connection.send_raw(encode_command(b"PING", _NO_TTL + self._last.to_bytes(8, "big")))

    def ponged(self, context: bytes) -> None:
        """See `Role`: the peer's socket has taken what came before."""
        broker, channel = self.connection.broker, self.connection.channel
        tag = int.from_bytes(context, "big")
        if channel.ledger.knows(tag):
            broker.settle(channel, 0, tag, True, Outcome.ACCEPT)

    def tick(self, now_ns: int) -> None:
        """See `Role`: what came one by one is acknowledged now and then."""
        if self._unasked:
            self._ask()

    def cancelled(self, consumer_tag: str) -> None:
        """See `Role`."""
        queue = self._consumer.queue
        self.connection.finish(f"{describe('queue', queue.name, queue.vhost)} is deleted")

    def closed(self) -> None:
        """See `Role`: nobody knows what of it has come to the peer, and nothing is given twice."""
        channel = self.connection.channel
        if channel.ledger.total:
            self.connection.broker.settle(channel, 0, 0, True, Outcome.ACCEPT)
