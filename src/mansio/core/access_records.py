"""What records say of virtual hosts, users and their rights, and how these are rebuilt from it.

    {"do": "put vhost", "vhost": name, "about": {…}, "limits": {…}}     delete vhost
    {"do": "put user", "user": name, "hash": …, "hashing": …, "tags": […], "limits": {…}}     delete user
    {"do": "permit", "user": …, "vhost": …, "permission": [configure, write, read] or null}
    {"do": "permit topic", "user": …, "vhost": …, "exchange": …, "permission": [write, read] or null}
    {"do": "put users", "users": [as in put user], "rights": [as in permit, and "topics": {exchange: [write, read]}]}

The last one stands before the first change of users: until then the default user is implied.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mansio.core.rights import Permission, Rights, TopicPermission
from mansio.core.users import User, Users

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost

Change = dict[str, Any]


def vhost_fields(host: "VHost") -> Change:
    """A virtual host as records say it."""
    return {"about": host.about, "limits": host.limits}


def user_fields(user: User) -> Change:
    """A user as records say it."""
    return {
        "user": user.name,
        "hash": user.password_hash,
        "hashing": user.hashing,
        "tags": list(user.tags),
        "limits": user.limits,
    }


def users_fields(users: Users) -> Change:
    """All users and their rights, as records say it."""
    return {
        "users": [user_fields(user) for user in users],
        "rights": [_rights_fields(rights) for rights in users.all_rights()],
    }


def _rights_fields(rights: Rights) -> Change:
    return {
        "user": rights.user.name,
        "vhost": rights.vhost,
        "permission": rights.permission,
        "topics": rights.topics,
    }


def restore_users(users: Users, fields: Change) -> None:
    """As `users_fields` has said it; what was known before is forgotten."""
    users.forget_all()
    for each in fields["users"]:
        users.add(_user(each))
    for each in fields["rights"]:
        rights = users.rights(each["user"], each["vhost"])
        rights.permit(_permission(each["permission"]))
        for exchange, permission in each["topics"].items():
            rights.permit_topic(exchange, TopicPermission(*permission))


def _permission(fields: list[str] | None) -> Permission | None:
    return None if fields is None else Permission(*fields)


def _user(fields: Change) -> User:
    return User(
        fields["user"], fields["hash"], fields["hashing"], tuple(fields["tags"]), fields["limits"]
    )


def _put_user(broker: "Broker", change: Change) -> None:
    broker.users.add(_user(change))


def _delete_user(broker: "Broker", change: Change) -> None:
    broker.users.remove(change["user"])


def _permit(broker: "Broker", change: Change) -> None:
    rights = broker.users.rights(change["user"], change["vhost"])
    rights.permit(_permission(change["permission"]))


def _permit_topic(broker: "Broker", change: Change) -> None:
    fields = change["permission"]
    permission = None if fields is None else TopicPermission(*fields)
    rights = broker.users.rights(change["user"], change["vhost"])
    rights.permit_topic(change["exchange"], permission)


def _put_users(broker: "Broker", change: Change) -> None:
    restore_users(broker.users, change)


RESTORE: dict[str, Callable[["Broker", Change], None]] = {
    "put user": _put_user,
    "delete user": _delete_user,
    "permit": _permit,
    "permit topic": _permit_topic,
    "put users": _put_users,
}
"""Changes of users and rights; those of virtual hosts are in `topology_restore.py`."""
