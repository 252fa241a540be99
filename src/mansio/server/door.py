"""Between a connection that logs in and who checks it: when there is an answer, the connection goes on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mansio.protocol.base import Credentials, Peer, Verdict

if TYPE_CHECKING:
    from mansio.server.connection import Connection
    from mansio.server.turn import Turn


class Door:
    """An `Authenticator` for one connection, which goes on when it has an answer."""

    def __init__(self, turn: "Turn", connection: "Connection") -> None:
        self._turn = turn
        self._connection = connection
        self.stranger = True

    def begin(self, credentials: Credentials, peer: Peer, done: Callable[[Verdict], None]) -> None:
        """See `Authenticator`."""

        def answered(verdict: Verdict) -> None:
            if verdict.user is not None:
                self._let_in(peer)
            done(verdict)
            self._connection.go_on()
            self._turn.schedule()

        self._turn.authenticator.begin(credentials, peer, answered)

    def _let_in(self, peer: Peer) -> None:
        """The password was right. The peer may be gone by then."""
        if self.stranger and self._connection in self._turn.connections:
            self.stranger = False
            self._turn.visitors.logged_in(peer.address)
            self._connection.let_in()
