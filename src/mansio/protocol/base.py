"""The verbs of every front. A front has no socket, no clock and no task; it never raises for what a peer did."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from mansio.core.session import Outbox, Session


class Peer(NamedTuple):
    """Who is at the other end. `name` as RabbitMQ writes it: '127.0.0.1:50123 -> 127.0.0.1:5672'."""

    name: str
    loopback: bool
    address: str = ""
    """Without the port."""
    certificate_user: str | None = None
    """The user that its certificate stands for, "" if there is no name in it; None: it has presented none."""


class Credentials(NamedTuple):
    """What a peer says of itself, and how; `password` None: its certificate has said who it is."""

    user: str
    password: str | None
    mechanism: str


class Verdict(NamedTuple):
    """What became of a login; `user` None: refused, and `reason` says why: for the log, peers do not hear it."""

    user: str | None
    reason: str = ""
    passing: bool = False
    """It was not looked at, for want of time: the next one may be."""


class Authenticator(Protocol):
    """Who checks logins."""

    def begin(self, credentials: Credentials, peer: Peer, done: Callable[[Verdict], None]) -> None:
        """Calls `done` once, now or later, also when the peer is gone by then."""


class Front(Outbox, Protocol):
    """One connection of some protocol.

    Output is announced by putting the front into the list of fronts that it was made with (`announce`), once until
    `data_to_send` has been called.
    """

    protocol: str
    """What it speaks, in small letters, for metrics."""
    session: Session | None
    """None as long as it is not open: then it is a stranger's, looked at rarely and read from in small pieces."""
    user: str
    """Who the peer is, for the log."""
    received_ns: int
    """When something was last heard of the peer."""
    tail: bytes
    """Bytes that were received and are not complete yet, 128 KiB at most: what is larger a front keeps itself."""
    closed: bool
    """The connection is over: write what `data_to_send` gives, then close."""
    lingers: bool
    """With `closed`: the peer is to close first, since it still has something to read or to be told."""
    close_reason: str
    """Why the connection ended, for the log; empty if that was in order."""
    paused: bool
    """Nothing more should be read for now: the broker is short of memory or disk and this peer publishes."""
    waiting: bool
    """Nothing more is taken from `tail` for now, see `go_on`: a message that the peer asked for is read first, or what
    it published before waits for room in the log."""

    @property
    def unflushed(self) -> Sequence[Any]:
        """What must be taken back unless the bytes that tell of it leave for the kernel; as long as there is something,
        the front is told by `flushed`."""

    @property
    def gated(self) -> bool:
        """Whether something of what it says waits for the log."""

    @property
    def deaf(self) -> bool:
        """Whether it is not read from since it waits for something, and only for as long as the peer is there."""

    @property
    def blocked(self) -> bool:
        """Whether the peer was told that it is held back, for want of memory or disk."""

    def receive_buffer(self, buf: bytearray, end: int, now_ns: int) -> None:
        """`buf[:end]` holds `tail` and behind it what has arrived; what is left over becomes the new `tail`."""

    def receive_data(self, data: bytes, now_ns: int) -> None:
        """The same for callers that have no buffer to share."""

    def go_on(self, now_ns: int) -> None:
        """What it waited for may be there: `tail` is looked at again."""

    def receive_eof(self) -> None:
        """The peer is gone."""

    def data_to_send(self) -> list[bytes | memoryview]:
        """Takes what is to be written, in order."""

    def flushed(self) -> None:
        """All that `data_to_send` has given so far has left for the kernel. When the connection breaks before,
        `receive_eof` comes instead."""

    def may_go_on(self) -> bool:
        """Whether a `paused` one may be read from again, since it was written to."""

    def set_writable(self, writable: bool) -> None:
        """Whether what was written gets away; while it does not, nothing is delivered."""

    def tick(self, now_ns: int) -> None:
        """Does what is due: heartbeats, and giving up on a silent peer."""

    def unblock(self) -> None:
        """The broker has memory or disk again, maybe not enough: what waits goes on as far as there is room."""

    def shutdown(self, code: int, text: str) -> None:
        """Says goodbye, with this reply code and text where the protocol has such things."""

    def end(self, reason: str) -> None:
        """Ends without a further word; `reason` is for the log."""
