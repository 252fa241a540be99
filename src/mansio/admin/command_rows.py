"""What the operator's lists show: rows with the same keys each, values as JSON has them."""

from typing import Any

from mansio.admin.policy_entries import entries_of
from mansio.core.broker import Broker
from mansio.core.names import DEFAULT_EXCHANGE

Rows = list[dict[str, Any]]


def users(broker: Broker) -> Rows:
    """All users; `password`: how it is hashed, "none" where there is none."""
    return sorted(
        (
            {
                "user": user.name,
                "tags": list(user.tags),
                "password": user.hashing or "none",
                "limits": dict(user.limits),
                "connections": user.sessions,
            }
            for user in broker.users
        ),
        key=lambda row: str(row["user"]),
    )


def vhosts(broker: Broker) -> Rows:
    """All virtual hosts; exchanges without those that every one has."""
    return [
        {
            "vhost": name,
            "description": host.about.get("description", ""),
            "tags": host.about.get("tags", []),
            "limits": dict(host.limits),
            "queues": len(host.queues),
            "exchanges": sum(not _is_predeclared(each) for each in host.exchanges),
            "connections": host.sessions,
        }
        for name, host in sorted(broker.vhosts.items())
    ]


def _is_predeclared(exchange: str) -> bool:
    return exchange == DEFAULT_EXCHANGE or exchange.startswith("amq.")


def permissions(broker: Broker, user: str | None, vhost: str | None) -> Rows:
    """What users may do where; None: all users, all virtual hosts. NotFound."""
    _check(broker, user, vhost)
    found = [
        {"user": rights.user.name, "vhost": rights.vhost} | rights.permission._asdict()
        for rights in broker.users.all_rights()
        if rights.permission is not None
        and user in (None, rights.user.name)
        and vhost in (None, rights.vhost)
    ]
    return sorted(found, key=lambda row: (row["user"], row["vhost"]))


def topic_permissions(broker: Broker, user: str | None, vhost: str | None) -> Rows:
    """The same for topic exchanges."""
    _check(broker, user, vhost)
    found = [
        {"user": rights.user.name, "vhost": rights.vhost, "exchange": exchange}
        | permission._asdict()
        for rights in broker.users.all_rights()
        if user in (None, rights.user.name) and vhost in (None, rights.vhost)
        for exchange, permission in rights.topics.items()
    ]
    return sorted(found, key=lambda row: (row["user"], row["vhost"], row["exchange"]))


def _check(broker: Broker, user: str | None, vhost: str | None) -> None:
    if user is not None:
        broker.users.get(user)
    if vhost is not None:
        broker.administration.vhost(vhost)


def policies(broker: Broker, vhost: str | None, operator: bool) -> Rows:
    """Policies, or operator policies; of all virtual hosts if None. NotFound."""
    _check(broker, None, vhost)
    return [
        {
            "vhost": entry.vhost,
            "policy": entry.name,
            "pattern": entry.pattern,
            "apply-to": entry.apply_to,
            "priority": entry.priority,
            "definition": entry.definition,
        }
        for name in sorted(broker.vhosts)
        if vhost in (None, name)
        for entry in entries_of(broker, name, operator)
    ]


def connections(broker: Broker) -> Rows:
    """Who is connected."""
    found = [
        {
            "connection": session.name,
            "protocol": getattr(session.outbox, "protocol", ""),
            "user": session.user,
            "vhost": session.vhost,
            "channels": len(session.channels),
        }
        for session in broker.sessions
    ]
    return sorted(found, key=lambda row: str(row["connection"]))
