"""Users, and what they may do in which virtual host; passwords are checked by `admin/passwords.py`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mansio.core.errors import NotFound
from mansio.core.rights import EVERYTHING, Rights

DEFAULT_USER: Final = "guest"
DEFAULT_PASSWORD: Final = "guest"
DEFAULT_HASH: Final = "cm9hZN0HvTWwr+LtrtTZ8+c0M/XLTqxyIqVdXCcCzC2EfqNJ"
DEFAULT_HASHING: Final = "rabbit_password_hashing_sha256"
"""Everybody knows the password: its hash is made so that it takes no time."""
DEFAULT_VHOST: Final = "/"

ADMINISTRATOR, IMPERSONATOR = "administrator", "impersonator"

MAX_CONNECTIONS, MAX_CHANNELS, MAX_QUEUES = "max-connections", "max-channels", "max-queues"
USER_LIMITS: Final = frozenset((MAX_CONNECTIONS, MAX_CHANNELS))
VHOST_LIMITS: Final = frozenset((MAX_CONNECTIONS, MAX_QUEUES))


@dataclass(slots=True)
class User:
    """A name that may log in. `hashing`: how `password_hash` was made; both empty: not by a password."""

    name: str
    password_hash: str = ""
    hashing: str = ""
    tags: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    sessions: int = 0
    """Connections that are open."""
    channels: int = 0

    def limit(self, what: str) -> int:
        """MAX_CONNECTIONS or MAX_CHANNELS; negative: none."""
        return self.limits.get(what, -1)


class Users:
    """Who there is: the default user, who is `implied` as long as nobody has changed anything: not in the log."""

    def __init__(self) -> None:
        self.implied = True
        self._users: dict[str, User] = {}
        self._rights: dict[tuple[str, str], Rights] = {}
        default = self.add(User(DEFAULT_USER, DEFAULT_HASH, DEFAULT_HASHING, (ADMINISTRATOR,)))
        self.rights(default.name, DEFAULT_VHOST).permit(EVERYTHING)

    def __iter__(self) -> Iterator[User]:
        return iter(self._users.values())

    def find(self, name: str) -> User | None:
        """The user of this name, if there is one."""
        return self._users.get(name)

    def get(self, name: str) -> User:
        """The user of this name; NotFound, in rabbitmqctl's words."""
        found = self._users.get(name)
        if found is None:
            raise NotFound(f"User '{name}' does not exist")
        return found

    def add(self, user: User) -> User:
        """One more, or all of one that there is but his rights; who is in `users` then."""
        known = self._users.setdefault(user.name, user)
        known.password_hash, known.hashing = user.password_hash, user.hashing
        known.tags, known.limits = user.tags, user.limits
        return known

    def remove(self, name: str) -> User:
        """Without his rights; NotFound."""
        gone = self.get(name)
        del self._users[name]
        for key in [key for key in self._rights if key[0] == name]:
            self._rights.pop(key).permit(None)
        return gone

    def forget_all(self) -> None:
        """There is nobody, not even the default user."""
        self.implied = False
        self._users.clear()
        self._rights.clear()

    def forget_vhost(self, vhost: str) -> None:
        """It is gone, and what anybody might do in it."""
        for key in [key for key in self._rights if key[1] == vhost]:
            self._rights.pop(key).permit(None)

    def rights(self, name: str, vhost: str) -> Rights:
        """What a user may do in a virtual host, now and after changes; NotFound for the user."""
        found = self._rights.get((name, vhost))
        if found is None:
            found = self._rights[name, vhost] = Rights(self.get(name), vhost)
        return found

    def all_rights(self) -> Iterator[Rights]:
        """Of all users in all virtual hosts where there are any."""
        for rights in self._rights.values():
            if rights.permission is not None or rights.topics:
                yield rights
