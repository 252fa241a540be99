"""How long a client's command waits for something: one deadline for each client, however many commands have waited."""

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS
from mansio.protocol.resp.arguments import INT_MAX, real
from mansio.protocol.resp.errors import CommandError

if TYPE_CHECKING:
    from mansio.core.broker import Broker

NO_TIMEOUT: Final = "ERR timeout is not a float or out of range"
NEGATIVE: Final = "ERR timeout is negative"


def until_ms(text: bytes, now_ms: int) -> int:
    """When a timeout in seconds from now is over, Unix time in ms; NEVER_MS for 0."""
    seconds = _hexadecimal(text)
    if seconds is None:
        seconds = real(text, NO_TIMEOUT)
    if (
        abs(seconds) * 1000 >= INT_MAX
    ):  # redis-server 7.0.15 has no other word for what does not fit
        raise CommandError(NEGATIVE)
    timeout_ms = ceil(seconds * 1000)
    if timeout_ms < 0:
        raise CommandError(NEGATIVE)
    return min(now_ms + timeout_ms, NEVER_MS) if timeout_ms else NEVER_MS


def _hexadecimal(text: bytes) -> float | None:
    """A number such as 0x1p-1, as strtold of the C library reads it; None if it is none."""
    if b"x" not in text.lower() or text != text.strip():
        return None
    try:
        return float.fromhex(text.decode("ascii"))
    except (ValueError, OverflowError):
        return None


class Patience:
    """Calls once when a command has waited for so long."""

    __slots__ = ("_broker", "_late", "_until_ms", "deadline_ms")

    def __init__(self, broker: "Broker") -> None:
        self.deadline_ms = NEVER_MS
        self._broker = broker
        self._until_ms = NEVER_MS
        self._late: Callable[[], None] | None = None

    def begin(self, until_ms: int, late: Callable[[], None]) -> None:
        """Calls `late` at this time; NEVER_MS: it does not."""
        self._until_ms, self._late = until_ms, late
        self._broker.deadlines.at(until_ms, self)

    def end(self) -> None:
        """The command does not wait any more."""
        self._until_ms, self._late = NEVER_MS, None

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        if self._until_ms > now_ms:
            self._broker.deadlines.at(self._until_ms, self)
        elif self._late is not None:
            late = self._late
            self.end()
            late()
