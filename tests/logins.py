"""An authenticator for tests without a server: it answers at once."""

from collections.abc import Callable

from mansio.admin.passwords import check_password
from mansio.core.broker import Broker
from mansio.core.users import DEFAULT_USER
from mansio.protocol.base import Credentials, Peer, Verdict


class AtOnce:
    """Knows the users of a broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def begin(self, credentials: Credentials, peer: Peer, done: Callable[[Verdict], None]) -> None:
        name = credentials.user
        user = self.broker.users.find(name)
        if name == DEFAULT_USER and not peer.loopback:
            done(Verdict(None, f"user '{name}' can only connect via localhost"))
            return
        if credentials.password is None:
            done(Verdict(name) if user is not None else Verdict(None, "unknown"))
            return
        known = (user.password_hash, user.hashing) if user is not None else ("", "")
        right = check_password(*known, credentials.password).right
        done(Verdict(name) if right else Verdict(None, f"user '{name}' - invalid credentials"))
