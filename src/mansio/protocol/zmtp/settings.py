"""What an operator may set of ZeroMQ clients' work."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import Curve


@dataclass(frozen=True, slots=True)
class ZmtpSettings:
    """The defaults are those of `config.py`."""

    user: str = "guest"
    """Who a peer of this machine is that does not log in (the mechanism NULL); empty: nobody."""
    default_queue: str = "tasks"
    """For peers that name none."""
    default_mode: str = "put"
    """What a whole message of a REQ or DEALER is: "put", a task of which the receipt is the reply, or "call", of which
    it is the worker's answer."""
    call_timeout_ms: int = 30_000
    """How long a call waits for its answer where it does not say."""
    curve: "Curve | None" = None
    """The broker's key and those of its clients, where there is the mechanism CURVE."""
    curve_only: bool = False
    """Whether there is no other."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """How peers may come in."""
        clear = () if self.curve_only else ("NULL", "PLAIN")
        return clear if self.curve is None else (*clear, "CURVE")

    majordomo_heartbeat_ms: int = 2_500
    """Between two heartbeats, of either side."""
    majordomo_liveness: int = 3
    """After so many of these without a word a worker is gone."""
    majordomo_expiry_ms: int = 600_000
    """How long a request waits for a worker."""
    titanic_ttl_ms: int = 604_800_000
    """How long a request and its reply are kept that nobody closes."""
