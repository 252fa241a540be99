"""What a connection does once it is open: one role for each kind of peer. The wire is `connection.py`."""

from typing import TYPE_CHECKING, ClassVar

from mansio.core.dispatch import Consumer
from mansio.core.routing import Route
from mansio.core.run import Run

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Role:
    """The verbs of all roles; a role has those that concern it, the others do nothing.

    What a peer does wrong is never raised: it gets a status, or `connection.finish` ends it. But for `__init__`: a
    BrokerError there refuses the handshake.
    """

    socket_type: ClassVar[str]
    """What we are to the peer, as READY says it."""
    apart: ClassVar[bool] = True
    """Messages of one frame come to `receive` as lists, as all others do; False: to `receive_bodies`."""

    patient: ClassVar[bool] = False
    """Whether a peer may be silent for long while it is busy, and is not asked whether it is still there."""

    def __init__(self, connection: "ZmtpConnection") -> None:
        self.connection = connection

    def receive(self, messages: list[list[bytes]]) -> int:
        """Whole messages, in order; how many were taken. When these are fewer, the rest comes again behind
        `connection.go_on_reading`, and nothing is read until then."""
        return len(messages)

    def receive_bodies(self, bodies: list[bytes]) -> int:
        """The same of messages that have one frame each."""
        return self.receive([[body] for body in bodies])

    def subscribe(self, prefix: bytes) -> None:
        """A SUB peer wants messages that begin like this; once for each time that it says so."""

    def cancel(self, prefix: bytes) -> None:
        """It does not want them any more."""

    def ponged(self, context: bytes) -> None:
        """The peer has answered a PING that had this context."""

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
        raise NotImplementedError(f"{type(self).__name__} has no consumers")

    def confirmed(self, upto: int, rejected: list[tuple[int, int]]) -> None:
        """See `Outbox`."""

    def refused(self, upto: int) -> None:
        """See `Outbox`."""

    def returned(self, run: Run, i: int, route: Route) -> None:
        """See `Outbox`."""

    def cancelled(self, consumer_tag: str) -> None:
        """See `Outbox`."""

    def tick(self, now_ns: int) -> None:
        """Does what is due, a few times a second."""

    def go_on(self) -> None:
        """What was waited for may be there, such as messages that were read from the log."""

    def writable(self, yes: bool) -> None:
        """Whether what is sent gets away."""

    def closed(self) -> None:
        """The peer is gone; its session is still there, for the last time."""
