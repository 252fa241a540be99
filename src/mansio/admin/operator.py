"""An operator as the commands on exchanges and queues see him: he may do everything, and nobody hears him."""

from typing import cast

from mansio.core.rights import EVERYTHING, Rights
from mansio.core.session import Outbox, Session
from mansio.core.users import User


class Gate:
    """The part of an outbox that is asked of one who has no connection: whether he has to wait for the log."""

    def hold(self) -> None:
        """See `Outbox`."""

    def release(self, ok: bool) -> None:
        """See `Outbox`."""


def operator(vhost: str, gate: Gate | None = None) -> Session:
    """A session in a virtual host that the broker does not count among its connections."""
    rights = Rights(User("operator"), vhost)
    rights.permit(EVERYTHING)
    return Session(cast(Outbox, gate or Gate()), rights, "operator")
