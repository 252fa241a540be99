"""Who may do what, as the oracle knows it: users, their rights, virtual hosts and limits, and what patterns allow.

It shares nothing with the broker, not even regular expressions: of each pattern that operators use it knows what it
means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from tests.sim.model import Refused

HASHING = "rabbit_password_hashing_sha256"
IMPERSONATOR = "impersonator"
CONFIGURE, WRITE, READ = range(3)
TOPIC_WRITE, TOPIC_READ = range(2)
Permission = tuple[str, str, str]
TopicPermission = tuple[str, str]
EVERYTHING: Permission = (".*", ".*", ".*")

PATTERNS: dict[str, Callable[[str], bool]] = {
    ".*": lambda name: True,
    "": lambda name: False,
    "^[qx]": lambda name: name[:1] in ("q", "x"),
    "[024]$": lambda name: name[-1:] in ("0", "2", "4"),
    "^(amq|x|s|g)": lambda name: name.startswith(("amq", "x", "s", "g")),
    r"^(?!amq\.default$)": lambda name: name != "amq.default",
    r"^amq\.default$": lambda name: name == "amq.default",
    r"\.": lambda name: "." in name,
    "1": lambda name: "1" in name,
}
"""Patterns for names, and whether they allow one."""

TOPIC_PATTERNS: dict[str, Callable[[str, str, str], bool]] = {
    ".*": lambda key, user, vhost: True,
    "": lambda key, user, vhost: key == "",
    "^a": lambda key, user, vhost: key.startswith("a"),
    "b$": lambda key, user, vhost: key.endswith("b"),
    r"^[^.]*$": lambda key, user, vhost: "." not in key,
    "^{username}": lambda key, user, vhost: key.startswith(user),
    "^{vhost}$|^#$": lambda key, user, vhost: key in (vhost, "#"),
}
"""The same for routing keys, of a user and virtual host."""

INVALID = ("(", "*a", "[z")


@dataclass(slots=True)
class Person:
    """A user. `password`: "" is that of nobody."""

    password: str
    salt: bytes
    tags: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def hash_bytes(self) -> bytes:
        """As RabbitMQ keeps it."""
        return self.salt + sha256(self.salt + self.password.encode()).digest()


class Access:
    """The state at one time."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {
            "guest": Person("guest", bytes.fromhex("726f6164"), ("administrator",))
        }
        self.permissions: dict[tuple[str, str], Permission] = {("guest", "/"): EVERYTHING}
        """By user and virtual host."""
        self.topics: dict[tuple[str, str, str], TopicPermission] = {}
        """By user, virtual host and exchange."""
        self.vhosts: dict[str, dict[str, int]] = {"/": {}}
        """Their limits, by name."""

    def copy(self) -> Access:
        """The same, for itself."""
        other = Access()
        other.people = {
            name: Person(each.password, each.salt, each.tags, dict(each.limits))
            for name, each in self.people.items()
        }
        other.permissions = dict(self.permissions)
        other.topics = dict(self.topics)
        other.vhosts = {name: dict(limits) for name, limits in self.vhosts.items()}
        return other

    def forget_user(self, name: str) -> None:
        """He is gone, with all rights."""
        del self.people[name]
        self.permissions = {key: each for key, each in self.permissions.items() if key[0] != name}
        self.topics = {key: each for key, each in self.topics.items() if key[0] != name}

    def forget_vhost(self, name: str) -> None:
        """It is gone, with all rights in it."""
        del self.vhosts[name]
        self.permissions = {key: each for key, each in self.permissions.items() if key[1] != name}
        self.topics = {key: each for key, each in self.topics.items() if key[1] != name}

    # -- what somebody may

    def may_log_in(self, user: str, password: str) -> bool:
        """Whether that is his password."""
        found = self.people.get(user)
        return found is not None and found.password == password != ""

    def is_impersonator(self, user: str) -> bool:
        """Whether he may publish by the name of another."""
        return IMPERSONATOR in self.people[user].tags

    def check(self, user: str, vhost: str, which: int, kind: str, name: str) -> None:
        """Refused, with RabbitMQ's text, unless he may do that to an exchange or queue (`kind`)."""
        permission = self.permissions.get((user, vhost))
        name = name or "amq.default"
        if permission is None or not PATTERNS[permission[which]](name):
            what = f"{kind} '{name}' in vhost '{vhost}'"
            raise Refused(403, f"ACCESS_REFUSED - access to {what} refused for user '{user}'")

    def check_topic(self, user: str, vhost: str, which: int, exchange: str, key: str) -> None:
        """The same of a routing key at a topic exchange."""
        patterns = self.topics.get((user, vhost, exchange))
        if patterns is not None and not TOPIC_PATTERNS[patterns[which]](key, user, vhost):
            what = f"topic '{key}' in exchange '{exchange}' in vhost '{vhost}'"
            raise Refused(403, f"ACCESS_REFUSED - access to {what} refused for user '{user}'")

    def check_open(self, user: str, vhost: str, of_vhost: int, of_user: int) -> None:
        """Refused, unless he may connect to a virtual host that has so many connections, as he has himself."""
        if vhost not in self.vhosts:
            raise Refused(530, f"NOT_ALLOWED - vhost {vhost} not found")
        refused = f"NOT_ALLOWED - access to vhost '{vhost}' refused for user '{user}'"
        limit = self.vhosts[vhost].get("max-connections", -1)
        if 0 <= limit <= of_vhost:
            raise Refused(530, f"{refused}: connection limit ({limit}) is reached")
        limit = self.user_limit(user, "max-connections")
        if 0 <= limit <= of_user:
            text = (
                f"connection refused for user '{user}': user connection limit ({limit}) is reached"
            )
            raise Refused(530, f"NOT_ALLOWED - {text}")
        if (user, vhost) not in self.permissions:
            raise Refused(530, refused)

    def check_channels(self, user: str, count: int) -> None:
        """Refused, unless he may open one more than so many channels."""
        limit = self.user_limit(user, "max-channels")
        if 0 <= limit <= count:
            what = f"number of channels opened for user '{user}' has reached the maximum allowed user limit"
            raise Refused(530, f"NOT_ALLOWED - {what} of ({limit})")

    def user_limit(self, user: str, what: str) -> int:
        """Below 0: none."""
        found = self.people.get(user)
        return -1 if found is None else found.limits.get(what, -1)
