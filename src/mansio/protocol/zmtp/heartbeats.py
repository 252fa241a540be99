"""Whether a peer is still there (RFC 37, 4.4).

its PING ──► our PONG with the context; the time to live says how long it means to be silent at most
silence  ──► our PING, if it matters whether it is there ──► anything it says, or the end
"""

from enum import Enum, auto
from typing import Final

from mansio.core.limits import NS

ASK_NS: Final = 10 * NS
"""How long a peer may be silent before it is asked."""
GONE_NS: Final = 30 * NS
"""And before it is given up."""
CONTEXT_BYTES_MAX: Final = 16
TTL_NS: Final = NS // 10
"""The unit of times to live."""


class Look(Enum):
    """What is to be done."""

    NOTHING = auto()
    ASK = auto()
    GONE = auto()


class Heartbeats:
    """Of one connection."""

    def __init__(self) -> None:
        self.pinged = False
        """Whether the peer sends PINGs."""
        self._ttl_ns = 0
        self._asked = False  # since it was heard last
        self._late = False  # at the last look

    def on_ping(self, data: bytes) -> bytes | None:
        """The context for the answer, of at most 16 bytes; None: this is no PING."""
        if not 2 <= len(data) <= 2 + CONTEXT_BYTES_MAX:
            return None
        self.pinged = True
        self._ttl_ns = int.from_bytes(data[:2], "big") * TTL_NS
        return data[2:]

    def question(self) -> bytes:
        """The data of our PING: a time to live, and no context."""
        return (GONE_NS // TTL_NS).to_bytes(2, "big")

    def heard(self) -> None:
        """It was heard, or could not be."""
        self._asked = self._late = False

    def look(self, now_ns: int, silent_ns: int, asks: bool) -> Look:
        """What follows from a silence of this length; `asks`: whether it matters. The end comes at the second look that
        finds it due: between the two the loop has read what had arrived while it was busy."""
        limit_ns = GONE_NS if asks and self._asked else 0
        if self._ttl_ns and (not limit_ns or self._ttl_ns < limit_ns):
            limit_ns = self._ttl_ns
        if limit_ns and silent_ns > limit_ns:
            late, self._late = self._late, True
            return Look.GONE if late else Look.NOTHING
        self._late = False
        if silent_ns < ASK_NS:
            self._asked = False
        elif asks and not self._asked:
            self._asked = True
            return Look.ASK
        return Look.NOTHING
