"""Who is connected, by address: nobody may take all the places, least of all before he has logged in."""

from typing import Final

STRANGERS_PER_ADDRESS: Final = 512
"""Connections of one address that have not logged in yet: a fleet that comes back at once, but not a flood."""
STRANGERS_MAX: Final = 4096
"""Such connections of all addresses; each may stay for as long as a handshake may take."""


class Visitors:
    """Connections by address. `per_address_max`: how many one may have in all, 0: any number."""

    def __init__(self, per_address_max: int = 0) -> None:
        self._per_address_max = per_address_max
        self._connections: dict[str, int] = {}
        self._strangers: dict[str, int] = {}
        self.strangers = 0

    def come(self, address: str, stranger: bool = True) -> str | None:
        """One more connection; why it cannot stay, if it cannot. Each that has come must `leave`. `stranger`: it has to
        log in first."""
        connections = self._connections.get(address, 0) + 1
        self._connections[address] = connections
        strangers = self._strangers.get(address, 0) + stranger
        if stranger:
            self._strangers[address] = strangers
            self.strangers += 1
        if 0 < self._per_address_max < connections:
            return (
                f"{address} has {connections} connections; connections_per_address_max is "
                f"{self._per_address_max}"
            )
        if stranger and (strangers > STRANGERS_PER_ADDRESS or self.strangers > STRANGERS_MAX):
            return (
                f"{strangers} connections of {address} have not logged in, {self.strangers} in all"
            )
        return None

    def logged_in(self, address: str) -> None:
        """One of its connections is no stranger's any more."""
        self.strangers -= 1
        _less(self._strangers, address)

    def leave(self, address: str, stranger: bool) -> None:
        """A connection is gone; `stranger`: it never logged in."""
        _less(self._connections, address)
        if stranger:
            self.logged_in(address)


def _less(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
