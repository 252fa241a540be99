"""What the connections of ZeroMQ peers share."""

from typing import Any

from mansio.core.broker import Broker


class Peers:
    """Of one broker."""

    def __init__(self) -> None:
        self.sessions = 0
        """How many are open."""


def peers_of(broker: Broker) -> Peers:
    """Those of this broker."""
    found: Any = broker.zmtp
    if found is None:
        found = broker.zmtp = Peers()
    return found  # type: ignore[no-any-return]
