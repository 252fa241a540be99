"""What the guide's patterns need of a ROUTER: Majordomo with Titanic, and pirates, each known by its frames.

The role of REQ and DEALER peers shows every message here first; what is not for here is its own.
"""

from typing import TYPE_CHECKING

from mansio.protocol.zmtp.majordomo import Majordomo
from mansio.protocol.zmtp.majordomo_frames import header_at
from mansio.protocol.zmtp.pirates import TAG, Pirate, is_ready
from mansio.protocol.zmtp.putting import Putting
from mansio.protocol.zmtp.targets import Targets

if TYPE_CHECKING:
    from mansio.protocol.zmtp.connection import ZmtpConnection


class Services:
    """Those of one connection. Deliveries to their consumers go to the consumer's `wire`."""

    def __init__(self, connection: "ZmtpConnection", targets: Targets, putting: Putting) -> None:
        self._connection = connection
        self._targets = targets
        self._putting = putting
        self._first = True
        self._pirate: Pirate | None = None
        self._majordomo: Majordomo | None = None

    def takes(self, message: list[bytes]) -> bool:
        """Takes a whole message, its envelope included, if it is for here. MustWait: it is, and not now."""
        first, self._first = self._first, False
        if self._pirate is not None:
            self._pirate.hear(message)
            return True
        if first and is_ready(self._connection, message):
            self._pirate = Pirate(self._connection, self._targets, message)
            return True
        at = header_at(message)
        if at < 0:
            return False
        if self._majordomo is None:
            self._majordomo = Majordomo(self._connection, self._targets, self._putting)
        self._majordomo.receive(message, at)
        return True

    def cancelled(self, consumer_tag: str) -> None:
        """See `Role`."""
        if self._majordomo is not None:
            self._majordomo.cancelled(consumer_tag)
        if self._pirate is not None and consumer_tag == TAG:
            self._pirate.lose()

    def tick(self, now_ns: int) -> None:
        """See `Role`."""
        if self._majordomo is not None:
            self._majordomo.tick(now_ns)
        if self._pirate is not None:
            self._pirate.tick(now_ns)

    def go_on(self) -> None:
        """See `Role`."""
        if self._majordomo is not None:
            self._majordomo.go_on()
        if self._pirate is not None:
            self._pirate.go_on()
