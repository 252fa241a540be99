"""Workers of the guide's load-balancing and pirate patterns: they say that they are ready, and get requests.

    REQ      '' READY                          the first message of the connection, and nothing else in it
             '' \\x01                           the same, as the Simple Pirate says it
    DEALER   \\x01                              Paranoid Pirate (6/PPP), which has no empty frame in front

    request  ['']  address '' body…            the address is to be given back
    reply    ['']  address '' body…            and the worker is ready for the next one

A socket that is connected again, and knows nothing of it, goes on with a reply to an earlier request, or with a
heartbeat: it is ready, as for the guide's brokers, and the reply is dropped, since others have that request by now. So
a connection is a worker's or a client's by its first message; one whose first task is just these bytes says so in
its metadata, X-Role: client. A worker works for the queue that X-Queue names, or for the default one.

Paranoid Pirates send \\x02 every second, and hear it: one that is idle and silent for three gets nothing until it says
something again. One that is busy may be so for as long as it likes, as in the guide's queue.
"""

from typing import TYPE_CHECKING, Final

from mansio.core.errors import BrokerError
from mansio.protocol.zmtp.addresses import is_address
from mansio.protocol.zmtp.statuses import Refused
from mansio.protocol.zmtp.targets import Targets
from mansio.protocol.zmtp.workplace import Workplace, note

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection

TAG: Final = "pirate"
"""Of its consumer."""
READY: Final = (b"READY", b"\x01")
BEAT: Final = b"\x02"
BEAT_NS: Final = 1_000_000_000
"""Between two heartbeats of either side (6/PPP, and the guide's ppqueue and ppworker)."""
LIVENESS: Final = 3


def is_ready(connection: "ZmtpConnection", first: list[bytes]) -> bool:
    """Whether this message, the first one of a connection, makes it a worker's."""
    if connection.metadata.get("x-role", b"").lower() == b"client":
        return False
    if len(first) == 2 and not first[0]:
        return first[1] in READY
    if len(first) == 1:
        return first[0] in (READY[1], BEAT) and connection.socket_type == "DEALER"
    return _is_late_reply(first[1:] if not first[0] else first)


def _is_late_reply(message: list[bytes]) -> bool:
    return len(message) > 2 and is_address(message[0]) and not message[1]


class Pirate:
    """One such worker, for as long as its connection is there."""

    def __init__(self, connection: "ZmtpConnection", targets: Targets, first: list[bytes]) -> None:
        """`first`: what it has said."""
        self._connection = connection
        self._prefix = [] if first[0] else first[:1]
        self._beats = not self._prefix
        self._place = Workplace(connection, targets, TAG, self)
        self._absent = True
        self._heard_ns = self._said_ns = connection.now_ns
        self._open()

    def hear(self, message: list[bytes]) -> None:
        """What else it says: a reply, a heartbeat, or that it is ready though it has something to do."""
        self._heard_ns = self._connection.now_ns
        if self._absent:
            self._open()
        size = len(self._prefix)
        rest = message[size:]
        if message[:size] != self._prefix or not rest:
            self._connection.finish("no reply of a worker")
        elif len(rest) == 1:
            if rest[0] in READY:
                self._place.give_back()
            elif not (self._beats and rest[0] == BEAT):
                self._connection.finish("no reply of a worker")
        elif rest[1] or not is_address(rest[0]):
            self._connection.finish("a reply without the address of its request")
        else:
            self._place.answer(rest[0], rest[2:] or [b""])

    def tick(self, now_ns: int) -> None:
        """Heartbeats of both sides, a few times a second."""
        if not self._beats:
            return
        if now_ns - self._said_ns >= BEAT_NS:
            self._say([BEAT])
        if self._place.busy or self._connection.waiting:
            self._heard_ns = now_ns
        elif not self._absent and now_ns - self._heard_ns >= BEAT_NS * LIVENESS:
            self._absent = True
            self._place.leave()

    def lose(self) -> None:
        """Its queue is gone, or it was too late."""
        self._absent = True
        self._place.lost()
        self._connection.finish("the queue that it works for is gone, or it was too late")

    def go_on(self) -> None:
        """See `Workplace`."""
        self._place.go_on()

    # -- what its place at the queue tells

    def give(self, address: bytes, body: list[bytes]) -> None:
        """See `Hands`."""
        self._say([*self._prefix, address, b"", *body])

    def _open(self) -> None:
        connection = self._connection
        try:
            self._place.open(b"")
        except (BrokerError, Refused) as error:
            note(connection, f"it is not let in: {error.text}")
            connection.finish(error.text)
        else:
            self._absent = False

    def _say(self, message: list[bytes]) -> None:
        self._said_ns = self._connection.now_ns
        self._connection.send(message)
