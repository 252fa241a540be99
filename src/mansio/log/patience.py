"""Whether to look for the next request again and again, or to sleep until it comes.

A processor that sleeps wakes up late. One who publishes a message, waits until it is confirmed and goes on, waits
50 us of 400 less if the log's process did not sleep meanwhile (measured in a virtual machine with 2 processors); at
1,000 messages a second, where requests come in pairs, it would cost a fifth of a core and save as much.
"""

from typing import Final

SPIN_NS: Final = 250_000
"""How long to look at most."""
SOON_MIN: Final = 2
"""How many requests in a row must have come within that time before it is done."""


class Patience:
    """Learns from how long requests were waited for."""

    __slots__ = ("_soon",)

    def __init__(self) -> None:
        self._soon = 0

    @property
    def spin_ns(self) -> int:
        """How long to look for the next request before sleeping; 0: not at all."""
        return SPIN_NS if self._soon >= SOON_MIN else 0

    def waited(self, ns: int) -> None:
        """The request came after so long, with sleep or without."""
        self._soon = self._soon + 1 if ns < SPIN_NS else 0
