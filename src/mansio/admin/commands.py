"""The verbs of the operator's command line, on a Broker: plain arguments in, rows out.

Each is called by its name and with arguments as JSON has them, see `run`: over the control socket, or by the command
line itself where no broker is running. Passwords come as hashes. Errors are BrokerError.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from mansio.admin import command_rows as rows
from mansio.admin.definitions import export_definitions, import_definitions
from mansio.admin.passwords import check_hash
from mansio.core.broker import Broker
from mansio.core.errors import BadValue, NotFound
from mansio.core.rights import Permission, TopicPermission

Rows = list[dict[str, Any]]


class Command(NamedTuple):
    """`run(broker, **arguments)` answers rows, or None; `changes`: whether it writes; `running`: whether it is about a
    broker that runs."""

    run: Callable[..., Any]
    changes: bool = True
    running: bool = False


def run(broker: Broker, name: str, arguments: Mapping[str, Any]) -> Any:
    """What the command answers; BrokerError, also for arguments that it does not take."""
    command = COMMANDS.get(name)
    if command is None:
        raise BadValue(f"unknown command '{name}'")
    signature = inspect.signature(command.run)
    try:
        signature.bind(broker, **arguments)
    except TypeError as error:
        raise BadValue(f"command '{name}': {error}") from None
    for key, value in arguments.items():
        wanted = signature.parameters[key].annotation
        if not _fits(value, wanted):
            raise BadValue(f"command '{name}': '{key}' is not of the right type")
    return command.run(broker, **arguments)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    if wanted is int and isinstance(value, bool):
        return False
    if wanted == list[str]:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if wanted == str | None:
        return value is None or isinstance(value, str)
    return isinstance(value, getattr(wanted, "__origin__", wanted))


# -- users


def add_user(broker: Broker, name: str, password_hash: str, hashing: str, tags: list[str]) -> None:
    """One more user; both texts empty: he does not log in by a password."""
    if broker.users.find(name) is not None:
        raise BadValue(f"User '{name}' already exists")
    check_hash(password_hash, hashing)
    broker.administration.put_user(name, password_hash, hashing, tags)


def set_password(broker: Broker, name: str, password_hash: str, hashing: str) -> None:
    """Another password; connections that are open stay."""
    check_hash(password_hash, hashing)
    broker.administration.set_password(name, password_hash, hashing)


def tag_user(broker: Broker, name: str, tags: list[str]) -> None:
    """All tags of a user."""
    broker.administration.set_tags(name, tags)


def limit_user(broker: Broker, name: str, limits: dict[str, Any]) -> None:
    """Some limits of a user; those that are not named stay, a negative one goes."""
    user = broker.users.get(name)
    broker.administration.limit_user(name, _merged(user.limits, limits))


def delete_user(broker: Broker, name: str) -> None:
    """With all rights and connections."""
    broker.administration.delete_user(name)


# -- virtual hosts


def add_vhost(broker: Broker, name: str, description: str, tags: list[str]) -> None:
    """One more virtual host."""
    if name in broker.vhosts:
        raise BadValue(f"Virtual host '{name}' already exists")
    about = {"description": description, "tags": tags} if description or tags else {}
    broker.administration.put_vhost(name, about)


def limit_vhost(broker: Broker, name: str, limits: dict[str, Any]) -> None:
    """Some limits of a virtual host; those that are not named stay, a negative one goes."""
    host = broker.administration.vhost(name)
    broker.administration.limit_vhost(name, _merged(host.limits, limits))


def delete_vhost(broker: Broker, name: str) -> None:
    """With all that is in it."""
    broker.administration.delete_vhost(name)


def _merged(old: Mapping[str, int], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**old, **new}
    gone = {key for key, value in merged.items() if isinstance(value, int) and value < 0}
    return {key: value for key, value in merged.items() if key not in gone}


# -- rights


def set_permission(
    broker: Broker, user: str, vhost: str, configure: str, write: str, read: str
) -> None:
    """What a user may do in a virtual host."""
    broker.administration.permit(user, vhost, Permission(configure, write, read))


def clear_permission(broker: Broker, user: str, vhost: str) -> None:
    """The user may not enter the virtual host any more."""
    broker.administration.permit(user, vhost, None)


def set_topic_permission(
    broker: Broker, user: str, vhost: str, exchange: str, write: str, read: str
) -> None:
    """What a user may publish and bind with at a topic exchange."""
    broker.administration.permit_topic(user, vhost, exchange, TopicPermission(write, read))


def clear_topic_permission(broker: Broker, user: str, vhost: str, exchange: str | None) -> None:
    """He may again use any key at the exchange; None: at all exchanges."""
    broker.users.get(user)
    broker.administration.vhost(vhost)
    topics = broker.users.rights(user, vhost).topics
    for each in list(topics) if exchange is None else [exchange]:
        if each not in topics:
            raise NotFound(f"User '{user}' has no topic permission at exchange '{each}'")
        broker.administration.permit_topic(user, vhost, each, None)


# -- policies


def set_policy(
    broker: Broker,
    vhost: str,
    name: str,
    pattern: str,
    definition: dict[str, Any],
    priority: int,
    apply_to: str,
    operator: bool,
) -> None:
    """A policy, or an operator policy, also in the place of one of this name."""
    broker.policies.put(vhost, name, pattern, definition, priority, apply_to, operator)


def clear_policy(broker: Broker, vhost: str, name: str, operator: bool) -> None:
    """What it asked for is not asked for any more."""
    broker.administration.vhost(vhost)
    broker.policies.delete(vhost, name, operator)


# -- connections


def close_connections(broker: Broker, name: str | None, user: str | None, reason: str) -> Rows:
    """Ends those of this name, or of this user; answers which. NotFound for a name that there is not."""
    found = [
        each for each in broker.sessions if name in (None, each.name) and user in (None, each.user)
    ]
    if name is not None and not found:
        raise NotFound(f"there is no connection '{name}'")
    closed = [{"connection": each.name, "user": each.user, "vhost": each.vhost} for each in found]
    for each in found:
        each.outbox.expelled(reason)
    return sorted(closed, key=lambda row: row["connection"])


# -- definitions


def import_(
    broker: Broker, document: Any, fresh: bool = False, vhost: str | None = None
) -> dict[str, Any]:
    """See `import_definitions`; `fresh` counts only where nobody has changed users yet."""
    done = import_definitions(broker, document, fresh and broker.users.implied, vhost)
    return {
        "sections": [
            {"section": section, "defined": defined, "changed": changed}
            for section, (defined, changed) in done.counts.items()
        ],
        "skipped": done.skipped,
        "dropped": done.dropped,
    }


COMMANDS: Final[dict[str, Command]] = {
    "user list": Command(rows.users, changes=False),
    "user add": Command(add_user),
    "user passwd": Command(set_password),
    "user tag": Command(tag_user),
    "user limit": Command(limit_user),
    "user delete": Command(delete_user),
    "vhost list": Command(rows.vhosts, changes=False),
    "vhost add": Command(add_vhost),
    "vhost limit": Command(limit_vhost),
    "vhost delete": Command(delete_vhost),
    "permission list": Command(rows.permissions, changes=False),
    "permission set": Command(set_permission),
    "permission clear": Command(clear_permission),
    "topic-permission list": Command(rows.topic_permissions, changes=False),
    "topic-permission set": Command(set_topic_permission),
    "topic-permission clear": Command(clear_topic_permission),
    "policy list": Command(rows.policies, changes=False),
    "policy set": Command(set_policy),
    "policy clear": Command(clear_policy),
    "connection list": Command(rows.connections, changes=False, running=True),
    "connection close": Command(close_connections, running=True),
    "definitions export": Command(export_definitions, changes=False),
    "definitions import": Command(import_),
}
"""By name, as on the command line."""
