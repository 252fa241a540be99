"""What one user may do in one virtual host: RabbitMQ's permissions, by regular expressions over the names of resources.

    configure   declare and delete exchanges and queues
    write       publish to exchanges, bind to what is the destination
    read        consume from queues, purge them, bind to what is the source

An expression is searched for in the name, not matched from its begin; the default exchange is called amq.default; an
empty expression allows no name. A *topic permission* is asked for the routing key as well, at topic exchanges.
"""

from re import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.core.equivalence import describe
from mansio.core.errors import AccessRefused
from mansio.core.patterns import ALL, Pattern

if TYPE_CHECKING:
    from mansio.core.users import User

KNOWN_MAX: Final = 4096
"""Answers that are remembered for a user and virtual host; then they are forgotten and found again."""

DEFAULT_EXCHANGE_NAME: Final = "amq.default"


class Permission(NamedTuple):
    """Three regular expressions; see above."""

    configure: str
    write: str
    read: str


class TopicPermission(NamedTuple):
    """Two regular expressions for routing keys; {username} and {vhost} stand for the names themselves."""

    write: str
    read: str


EVERYTHING: Final = Permission(ALL, ALL, ALL)


class Rights:
    """Of `user` in `vhost`; `permission` None: he may not even enter. Changes are seen by all sessions at once."""

    __slots__ = (
        "_known",
        "_patterns",
        "_topics",
        "everything",
        "permission",
        "topics",
        "user",
        "vhost",
    )

    def __init__(self, user: "User", vhost: str) -> None:
        self.user = user
        self.vhost = vhost
        self.permission: Permission | None = None
        self.everything = False  # but for topics: nobody need ask
        self.topics: dict[str, TopicPermission] = {}
        """By exchange."""
        self._patterns: tuple[Pattern, ...] = ()
        self._topics: dict[str, tuple[Pattern, Pattern]] = {}
        self._known: dict[tuple[int, str], bool] = {}

    def permit(self, permission: Permission | None) -> None:
        """Sets or takes away the permission; BadValue, and nothing is changed."""
        patterns = tuple(Pattern(each) for each in permission or ())
        self.permission, self._patterns = permission, patterns
        self.everything = permission == EVERYTHING
        self._known.clear()

    def permit_topic(self, exchange: str, permission: TopicPermission | None) -> None:
        """Sets or takes away what is asked for at one exchange; BadValue, and nothing is changed."""
        if permission is None:
            self.topics.pop(exchange, None)
            self._topics.pop(exchange, None)
            return
        patterns = (self._expand(permission.write), self._expand(permission.read))
        self.topics[exchange] = permission
        self._topics[exchange] = patterns

    def _expand(self, pattern: str) -> Pattern:
        Pattern(pattern)  # as it was written
        for variable, value in (("{username}", self.user.name), ("{vhost}", self.vhost)):
            pattern = pattern.replace(variable, escape(value))
        return Pattern(pattern)

    def check_configure(self, kind: str, name: str) -> None:
        """Whether it may be declared or deleted; AccessRefused. `kind`: exchange or queue."""
        self._check(0, kind, name)

    def check_write(self, kind: str, name: str) -> None:
        """Whether messages may be put into it, by publishing or binding; AccessRefused."""
        self._check(1, kind, name)

    def check_read(self, kind: str, name: str) -> None:
        """Whether messages may be taken out of it, by consuming or binding; AccessRefused."""
        self._check(2, kind, name)

    def check_write_topic(self, exchange: str, key: str) -> None:
        """Whether this routing key may be published with, at a topic exchange; AccessRefused."""
        self._check_topic(0, exchange, key)

    def check_read_topic(self, exchange: str, key: str) -> None:
        """Whether this routing key may be bound with, at a topic exchange; AccessRefused."""
        self._check_topic(1, exchange, key)

    def _check(self, which: int, kind: str, name: str) -> None:
        known = self._known.get((which, name))
        if known is None:
            known = self._allows(which, name)
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[which, name] = known
        if not known:
            resource = describe(kind, name or DEFAULT_EXCHANGE_NAME, self.vhost)
            raise AccessRefused(f"access to {resource} refused for user '{self.user.name}'")

    def _allows(self, which: int, name: str) -> bool:
        if self.permission is None:
            return False
        return self._patterns[which].is_in(name or DEFAULT_EXCHANGE_NAME)

    def _check_topic(self, which: int, exchange: str, key: str) -> None:
        patterns = self._topics.get(exchange)
        if patterns is not None and not patterns[which].is_in(key):
            resource = describe("exchange", exchange, self.vhost)
            user = self.user.name
            raise AccessRefused(f"access to topic '{key}' in {resource} refused for user '{user}'")
