"""What a definitions file says of who may do what: users, virtual hosts, permissions, limits, policies.

Each entry is read whole before any is applied. `apply` answers whether something changed, so that a file which is
imported again writes nothing; it raises BrokerError. `needs` names what it touches: see `rehearsal.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from mansio.admin.fields import Fields
from mansio.admin.passwords import check_hash, hash_password
from mansio.core.broker import Broker
from mansio.core.errors import BadValue
from mansio.core.rights import Permission, TopicPermission

SHA256: Final = "rabbit_password_hashing_sha256"
"""How RabbitMQ hashes, where a file does not say it."""


class Needed(NamedTuple):
    """Something that a command may look at: `kind` is user, vhost, exchange or queue."""

    kind: str
    vhost: str
    name: str


class Entry(Protocol):
    """One line of a definitions file."""

    @property
    def label(self) -> str:
        """Which one, for people."""

    def needs(self) -> Iterator[Needed]:
        """What must be there, or may be there already."""

    def apply(self, broker: Broker) -> bool:
        """Makes it so; whether that changed something. BrokerError."""


def user_needed(name: str) -> Needed:
    return Needed("user", "", name)


def vhost_needed(name: str) -> Needed:
    return Needed("vhost", name, "")


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user; `limits` None: as they are."""

    name: str
    password_hash: str
    hashing: str
    tags: tuple[str, ...]
    limits: Mapping[str, int] | None

    @classmethod
    def read(cls, fields: Fields) -> "UserEntry":
        """BadValue. A password in plain text, which RabbitMQ takes too, is hashed here."""
        name = fields.name("name")
        if "password_hash" in fields.values:
            known = fields.secret("password_hash")
            hashing = fields.text("hashing_algorithm", SHA256) if known else ""
        elif "password" in fields.values:
            password = fields.secret("password")
            known, hashing = _hashed(fields, password) if password else ("", "")
        else:
            known = hashing = ""
        try:
            check_hash(known, hashing)
        except BadValue as error:
            raise BadValue(f"{fields.where}: user '{name}': {error.text}") from None
        limits = fields.object("limits", {}) if "limits" in fields.values else None
        return cls(name, known, hashing, fields.tags("tags"), limits)

    @property
    def label(self) -> str:
        return f"user '{self.name}'"

    def needs(self) -> Iterator[Needed]:
        yield user_needed(self.name)

    def apply(self, broker: Broker) -> bool:
        found = broker.users.find(self.name)
        wanted = (self.password_hash, self.hashing, self.tags)
        changed = found is None or (found.password_hash, found.hashing, found.tags) != wanted
        if changed:
            broker.administration.put_user(self.name, *wanted)
        if self.limits is not None and broker.users.get(self.name).limits != self.limits:
            broker.administration.limit_user(self.name, self.limits)
            changed = True
        return changed


def _hashed(fields: Fields, password: str) -> tuple[str, str]:
    try:
        return hash_password(password)
    except BadValue as error:
        raise BadValue(f"{fields.where}: {error.text}") from None


@dataclass(frozen=True, slots=True)
class VHostEntry:
    """A virtual host; `about` None: as it is."""

    name: str
    about: Mapping[str, Any] | None

    @classmethod
    def read(cls, fields: Fields) -> "VHostEntry":
        about = fields.object("metadata") if "metadata" in fields.values else None
        return cls(fields.name("name"), about)

    @property
    def label(self) -> str:
        return f"virtual host '{self.name}'"

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.name)

    def apply(self, broker: Broker) -> bool:
        found = broker.vhosts.get(self.name)
        if found is not None and (self.about is None or found.about == self.about):
            return False
        broker.administration.put_vhost(self.name, self.about)
        return True


@dataclass(frozen=True, slots=True)
class VHostLimits:
    """All limits of a virtual host."""

    vhost: str
    limits: Mapping[str, int]

    @property
    def label(self) -> str:
        return f"limits of virtual host '{self.vhost}'"

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.vhost)

    def apply(self, broker: Broker) -> bool:
        if broker.administration.vhost(self.vhost).limits == self.limits:
            return False
        broker.administration.limit_vhost(self.vhost, self.limits)
        return True


@dataclass(frozen=True, slots=True)
class PermissionEntry:
    """What a user may do in a virtual host."""

    user: str
    vhost: str
    permission: Permission

    @classmethod
    def read(cls, fields: Fields) -> "PermissionEntry":
        patterns = (fields.text(key) for key in Permission._fields)
        return cls(fields.name("user"), fields.name("vhost"), Permission(*patterns))

    @property
    def label(self) -> str:
        return f"permission of user '{self.user}' in virtual host '{self.vhost}'"

    def needs(self) -> Iterator[Needed]:
        yield user_needed(self.user)
        yield vhost_needed(self.vhost)

    def apply(self, broker: Broker) -> bool:
        broker.administration.vhost(self.vhost)
        if broker.users.rights(self.user, self.vhost).permission == self.permission:
            return False
        broker.administration.permit(self.user, self.vhost, self.permission)
        return True


@dataclass(frozen=True, slots=True)
class TopicPermissionEntry:
    """What a user may publish and bind with at a topic exchange."""

    user: str
    vhost: str
    exchange: str
    permission: TopicPermission

    @classmethod
    def read(cls, fields: Fields) -> "TopicPermissionEntry":
        patterns = (fields.text(key) for key in TopicPermission._fields)
        return cls(
            fields.name("user"),
            fields.name("vhost"),
            fields.name("exchange"),
            TopicPermission(*patterns),
        )

    @property
    def label(self) -> str:
        return (
            f"topic permission of user '{self.user}' in virtual host '{self.vhost}' "
            f"at exchange '{self.exchange}'"
        )

    def needs(self) -> Iterator[Needed]:
        yield user_needed(self.user)
        yield vhost_needed(self.vhost)

    def apply(self, broker: Broker) -> bool:
        broker.administration.vhost(self.vhost)
        if broker.users.rights(self.user, self.vhost).topics.get(self.exchange) == self.permission:
            return False
        broker.administration.permit_topic(self.user, self.vhost, self.exchange, self.permission)
        return True
