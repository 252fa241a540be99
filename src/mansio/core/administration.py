"""What operators change: virtual hosts, users, their rights and limits. Each change holds at once, also for those who
are connected, and is a record in the log. Passwords come as hashes: `admin/passwords.py` makes them.

Errors: NotFound for what there is none of, BadValue for what cannot be; texts of rabbitmqctl 3.10.8 where it has them.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mansio.core.access_records import user_fields, users_fields, vhost_fields
from mansio.core.errors import BadValue, NotFound
from mansio.core.records import encode_topology
from mansio.core.rights import Permission, Rights, TopicPermission
from mansio.core.users import USER_LIMITS, VHOST_LIMITS, User

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost

NAME_BYTES_MAX: Final = 255
"""Names of virtual hosts stand in short strings on the wire (specification 1.4.2.7)."""
LIMIT_MAX: Final = 1 << 31


class Administration:
    """The commands; `broker.administration`."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    # -- virtual hosts

    def vhost(self, name: str) -> "VHost":
        """The virtual host of this name; NotFound."""
        host = self._broker.vhosts.get(name)
        if host is None:
            raise NotFound(f"Virtual host '{name}' does not exist")
        return host

    def put_vhost(self, name: str, about: Mapping[str, Any] | None = None) -> bool:
        """Makes it, or changes what is told `about` it (description, tags …); whether it is new."""
        _check_name("virtual host", name)
        host = self._broker.vhosts.get(name)
        new = host is None
        if host is None:
            host = self._broker.add_vhost(name)
        elif about is None or host.about == dict(about):
            return False
        host.about = dict(about or {})
        self._write("put vhost", vhost=name, **vhost_fields(host))
        return new

    def limit_vhost(self, name: str, limits: Mapping[str, int]) -> None:
        """Sets all limits: max-connections, max-queues; a negative one is none."""
        host = self.vhost(name)
        _check_limits(limits, VHOST_LIMITS)
        host.limits = dict(limits)
        self._write("put vhost", vhost=name, **vhost_fields(host))

    def delete_vhost(self, name: str) -> None:
        """With all that is in it; who is connected to it is told, and disconnected."""
        host = self.vhost(name)
        broker = self._broker
        self._expel((each for each in broker.sessions if each.vhost == name), f"vhost '{name}'")
        for queue in list(host.queues.values()):
            if not queue.deleted:  # a group goes with its stream
                broker.definitions.drop_queue(queue)
        broker.definitions.drop_exchanges(host)
        broker.remove_vhost(name)
        broker.users.forget_vhost(name)
        self._write("delete vhost", vhost=name)

    # -- users

    def put_user(
        self, name: str, password_hash: str, hashing: str, tags: Collection[str] = ()
    ) -> bool:
        """Makes a user, or changes all of it but rights and limits; whether it is new."""
        _check_name("user", name)
        user = self._broker.users.find(name)
        new = user is None
        if user is None:
            self._begin_users()
            user = self._broker.users.add(User(name))
        self._change_user(user, password_hash, hashing, tags)
        return new

    def set_password(self, name: str, password_hash: str, hashing: str) -> None:
        """Another password; connections that are open stay."""
        user = self._broker.users.get(name)
        self._change_user(user, password_hash, hashing, user.tags)

    def set_tags(self, name: str, tags: Collection[str]) -> None:
        """All tags of a user, such as administrator."""
        user = self._broker.users.get(name)
        self._change_user(user, user.password_hash, user.hashing, tags)

    def _change_user(
        self, user: User, password_hash: str, hashing: str, tags: Collection[str]
    ) -> None:
        self._begin_users()
        user.password_hash, user.hashing = password_hash, hashing
        user.tags = tuple(dict.fromkeys(tags))
        self._write("put user", **user_fields(user))

    def limit_user(self, name: str, limits: Mapping[str, int]) -> None:
        """Sets all limits: max-connections, max-channels; a negative one is none."""
        user = self._broker.users.get(name)
        _check_limits(limits, USER_LIMITS)
        self._begin_users()
        user.limits = dict(limits)
        self._write("put user", **user_fields(user))

    def delete_user(self, name: str) -> None:
        """With all rights; who is connected by this name is told, and disconnected."""
        users = self._broker.users
        users.get(name)
        self._begin_users()
        users.remove(name)
        self._expel((each for each in self._broker.sessions if each.user == name), f"user '{name}'")
        self._write("delete user", user=name)

    # -- rights

    def permit(self, user: str, vhost: str, permission: Permission | None) -> None:
        """Sets or takes away what a user may do in a virtual host."""
        rights = self._rights(user, vhost)
        rights.permit(permission)
        self._write("permit", user=user, vhost=vhost, permission=permission)

    def permit_topic(
        self, user: str, vhost: str, exchange: str, permission: TopicPermission | None
    ) -> None:
        """Sets or takes away what a user may publish and bind with at a topic exchange."""
        rights = self._rights(user, vhost)
        rights.permit_topic(exchange, permission)
        self._write(
            "permit topic", user=user, vhost=vhost, exchange=exchange, permission=permission
        )

    def _rights(self, user: str, vhost: str) -> Rights:
        self._broker.users.get(user)
        host = self.vhost(vhost)
        self._begin_users()
        host.version += 1  # routes that connections remember were allowed
        return self._broker.users.rights(user, vhost)

    # --

    def _begin_users(self) -> None:
        """Before the first change the default user is written down, who was implied."""
        users = self._broker.users
        if users.implied:
            users.implied = False
            self._write("put users", **users_fields(users))

    def _expel(self, sessions: Iterable[Any], what: str) -> None:
        for session in list(sessions):
            session.outbox.expelled(f"{what} is deleted")
            if session in self._broker.sessions:
                self._broker.close_session(session)

    def _write(self, do: str, **fields: Any) -> None:
        self._broker.journal.write(encode_topology({"do": do, **fields}))


def _check_name(kind: str, name: str) -> None:
    if not name or not name.isprintable():
        raise BadValue(f"the name of a {kind} must have characters, all of them printable")
    if len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX:
        raise BadValue(f"the name of a {kind} must not have more than {NAME_BYTES_MAX} bytes")


def _check_limits(limits: Mapping[str, int], known: Collection[str]) -> None:
    for key, value in limits.items():
        if key not in known:
            raise BadValue(f"unknown limit '{key}'; there are {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, int) or value > LIMIT_MAX:
            raise BadValue(
                f"limit '{key}' must be a whole number, negative for none, not {value!r}"
            )
