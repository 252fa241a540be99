"""What always holds between sessions, users and virtual hosts. See `check.py`."""

from collections import Counter
from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken

if TYPE_CHECKING:
    from mansio.core.broker import Broker


def check_access(broker: "Broker") -> None:
    """Every session is of a user and in a virtual host that there are, and these count it."""
    sessions: Counter[str] = Counter()
    channels: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    for session in broker.sessions:
        rights = session.rights
        if broker.users.find(session.user) is not rights.user or session.vhost not in broker.vhosts:
            raise InvariantBroken(f"session {session.name} of a user or virtual host that is gone")
        if broker.users.rights(session.user, session.vhost) is not rights:
            raise InvariantBroken(f"session {session.name} does not see its rights change")
        sessions[session.user] += 1
        hosts[session.vhost] += 1
        channels[session.user] += len(session.channels)
    for user in broker.users:
        counted = (user.sessions, user.channels)
        if counted != (sessions[user.name], channels[user.name]):
            raise InvariantBroken(f"user {user.name} counts {counted} connections and channels")
    for name, host in broker.vhosts.items():
        if host.name != name or host.sessions != hosts[name]:
            raise InvariantBroken(f"virtual host {name} counts {host.sessions} connections")
