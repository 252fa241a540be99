"""Publishers that are held for a moment: they are ahead of the consumers, or of the log."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mansio.core.journal import Journal

if TYPE_CHECKING:
    from mansio.server.connection import Connection

HOLD_S: Final = 0.002
"""How long a publisher to a crowded queue is held at most, so that a consumer that is stuck cannot stop it."""


class Brake:
    """The connections that are not read from meanwhile."""

    def __init__(self, journal: Journal, is_behind: Callable[[], bool]) -> None:
        """`is_behind`: whether the log has more to write than it should."""
        self._journal = journal
        self._is_behind = is_behind
        self._held: list[Connection] = []

    def hold(self, connection: "Connection") -> None:
        """It is read from again when a consumer can take more and the log is not behind, or soon."""
        if not self._held:
            asyncio.get_running_loop().call_later(HOLD_S, self.release)
        self._held.append(connection)

    def release(self) -> None:
        """Reads again from those that were held."""
        if self._journal.behind:
            self._journal.behind = self._is_behind()
            if self._held and self._journal.behind:
                asyncio.get_running_loop().call_later(HOLD_S, self.release)
                return
        held, self._held = self._held, []
        for connection in held:
            connection.resume_reading()
