"""The operator of a world: makes and deletes users and virtual hosts, gives rights and limits and takes them away.

Each thing that is done holds at once; it is sure to hold after a restart when its entry of the log is durable.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, cast

from mansio.core.administration import Administration
from mansio.core.errors import BadValue, NotFound
from mansio.core.rights import Permission, TopicPermission
from tests.sim.access import (
    EVERYTHING,
    HASHING,
    IMPERSONATOR,
    INVALID,
    PATTERNS,
    TOPIC_PATTERNS,
    Access,
    Person,
)
from tests.sim.access_oracle import AccessOracle, Oracles
from tests.sim.client import Client
from tests.sim.model import COMMANDS, Connection, Violation
from tests.sim.network import Party
from tests.sim.operations import Operations

if TYPE_CHECKING:
    from tests.sim.world import World

USERS = ("guest", "a", "b", "ann")
VHOSTS = ("v1", "a")
TAGS = ((), ("administrator",), (IMPERSONATOR,), ("management", "impersonator"))
NUMBERS = 1_000_000
"""So many messages are published in a virtual host at most, each with a number that no other one has."""


class Site:
    """The world as operations see it that are for one virtual host."""

    def __init__(self, world: World, oracle: AccessOracle) -> None:
        self.oracle = oracle
        self._world = world

    @property
    def parties(self) -> list[Party]:
        """Everybody, wherever they are."""
        return self._world.parties


class Operator:
    """Of one world."""

    def __init__(self, world: World, rng: Random, oracle: Oracles) -> None:
        self.world = world
        self.rng = rng
        self.oracle = oracle
        self.chance = world.profile.ruling
        self.strictness = rng.choice((0.15, 0.3, 0.6))
        """The chance that a right is less than everything."""
        self._sealed: list[tuple[int, int]] = []
        """(what the log has to reach, how many things are done for good then)."""
        self._sure = 0
        self._operations: dict[AccessOracle, Operations] = {}
        weights = [weight for weight, _ in COMMANDS_OF_OPERATORS]
        self._draw = lambda: rng.choices(COMMANDS_OF_OPERATORS, weights)[0][1]

    @property
    def now(self) -> Access:
        """Who may do what now."""
        return self.oracle.now

    @property
    def _administration(self) -> Administration:
        return self.world.server.broker.administration

    def step(self) -> None:
        """Maybe does something; more of it in the beginning."""
        if self.world.steps == 1:
            self.draw_user()
            self.draw_vhost()
        if self.rng.random() < self.chance:
            full = self.now.vhosts["/"].get("max-connections", -1) >= 0
            if (full or not self._may_enter("/")) and self.rng.random() < 0.5:
                self._welcome()
            else:
                self._draw()(self)

    # -- clients

    def introduce(self, client: Client) -> None:
        """Says by what name and password a client logs in, and where; now and then that is wrong."""
        rng = self.rng
        client.is_told = rng.random() < 0.5
        entries = list(self.now.permissions)
        user, vhost = rng.choice(entries) if entries else ("guest", "/")
        if rng.random() < 0.3:
            user, vhost = rng.choice(self._may_enter("/") or ["guest"]), "/"
        draw = rng.random()
        if draw < 0.04:
            user, vhost = rng.choice(USERS), rng.choice((*VHOSTS, "/"))
        elif draw < 0.06:
            vhost = "nowhere"
        known = self.now.people.get(user)
        password = known.password if known is not None else "?"
        if rng.random() < 0.05:
            password = rng.choice(("wrong", "", "guest"))
        client.login = user, password, vhost

    def operations(self, connection: Connection) -> Operations:
        """What a client may do in its virtual host."""
        home = self.oracle.home(connection)
        if home is self.oracle:
            return self.world.operations
        found = self._operations.get(home)
        if found is None:
            found = Operations(cast("World", Site(self.world, home)), self.rng, self.world.profile)
            found.published = (len(self._operations) + 1) * NUMBERS
            self._operations[home] = found
        return found

    def _may_enter(self, vhost: str) -> list[str]:
        return [user for user, name in self.now.permissions if name == vhost]

    # -- what is durable

    def sealed(self, ticket: int) -> None:
        """A turn has ended: what was done before it is durable when the log has reached `ticket`."""
        self._sealed.append((ticket, len(self.oracle.history) - 1))

    def crashed(self, durable: int) -> None:
        """The log has reached this, and the broker is gone."""
        self._sure = max((done for ticket, done in self._sealed if ticket <= durable), default=0)
        self._sealed.clear()

    def restarted(self) -> None:
        """Another broker has read the log."""
        done = len(self.oracle.history) - 1
        if done < self._sure:
            raise Violation(f"{self._sure} things were done for good, the log has {done}")
        self._sealed.append((0, done))
        self.check()

    def check(self) -> None:
        """What operators are shown is what they have made."""
        broker, now = self.world.server.broker, self.now
        users: dict[str, Any] = {}
        for user in broker.users:
            raw = b64decode(user.password_hash)
            users[user.name] = raw, user.hashing, user.tags, user.limits
        wanted: dict[str, Any] = {
            name: (each.hash_bytes, HASHING, each.tags, each.limits)
            for name, each in now.people.items()
        }
        _compare("users", users, wanted)
        permissions, topics = {}, {}
        for rights in broker.users.all_rights():
            who = rights.user.name, rights.vhost
            if rights.permission is not None:
                permissions[who] = tuple(rights.permission)
            for exchange, permission in rights.topics.items():
                topics[*who, exchange] = tuple(permission)
        _compare("permissions", permissions, now.permissions)
        _compare("topic permissions", topics, now.topics)
        limits = {name: host.limits for name, host in broker.vhosts.items()}
        _compare("virtual hosts", limits, now.vhosts)

    # -- what operators do

    def _do(
        self, what: str, act: Callable[[Administration], Any], change: Callable[[Access], None]
    ) -> None:
        """Does it, and expects what follows."""
        oracle = self.oracle
        self.world._note(f"operator: {what}")
        oracle.phase = COMMANDS
        act(self._administration)
        change(self.now)
        oracle.history.append(self.now.copy())
        oracle.end_commands()
        self.world.server.scheduled = True
        self.check()

    def _someone(self) -> str:
        others = [name for name in self.now.people if name != "guest"]
        if others and self.rng.random() < 0.8:
            return self.rng.choice(others)
        return self.rng.choice(list(self.now.people) or ["guest"])

    def _somewhere(self) -> str:
        return self.rng.choice([*self.now.vhosts, "/"])

    def _welcome(self) -> None:
        """Somebody may do everything in the default virtual host."""
        name = self._someone() if self.now.people else "guest"
        if name not in self.now.people:
            self.put_user(name)
        self.permit(name, "/", EVERYTHING)
        self.limit_user(name, {})
        self.limit_vhost("/", {})

    def put_user(self, name: str, password: str = "") -> None:
        """Makes a user, or changes him."""
        rng = self.rng
        salt = rng.randbytes(4)
        tags = rng.choice(TAGS)
        person = Person(password or rng.choice(("guest", "p1", "p2")), salt, tags)
        known = self.now.people.get(name)
        person.limits = known.limits if known is not None else {}

        def change(now: Access) -> None:
            now.people[name] = person

        hash = b64encode(person.hash_bytes).decode()
        self._do(f"put user {name} {tags}", lambda a: a.put_user(name, hash, HASHING, tags), change)

    def permit(self, user: str, vhost: str, permission: tuple[str, str, str]) -> None:
        """Gives a right."""

        def change(now: Access) -> None:
            now.permissions[user, vhost] = permission

        self._do(
            f"permit {user} in {vhost}: {permission}",
            lambda a: a.permit(user, vhost, Permission(*permission)),
            change,
        )

    def delete_user(self, name: str) -> None:
        """And who is connected by his name has to go."""

        def change(now: Access) -> None:
            now.forget_user(name)
            self.oracle.delete_user(name)

        self._do(f"delete user {name}", lambda a: a.delete_user(name), change)

    def delete_vhost(self, name: str) -> None:
        """With everything in it."""

        def change(now: Access) -> None:
            now.forget_vhost(name)
            self.oracle.delete_vhost(name)

        self._do(f"delete vhost {name}", lambda a: a.delete_vhost(name), change)

    def limit_user(self, name: str, limits: dict[str, int]) -> None:
        """Sets all limits of a user."""

        def change(now: Access) -> None:
            now.people[name].limits = dict(limits)

        self._do(f"limit user {name} {limits}", lambda a: a.limit_user(name, limits), change)

    def limit_vhost(self, name: str, limits: dict[str, int]) -> None:
        """Sets all limits of a virtual host."""

        def change(now: Access) -> None:
            now.vhosts[name] = dict(limits)

        self._do(f"limit vhost {name} {limits}", lambda a: a.limit_vhost(name, limits), change)

    # -- the same, drawn

    def _draw_permission(self) -> tuple[str, str, str]:
        drawn = [
            self.rng.choice(list(PATTERNS)) if self.rng.random() < self.strictness else ".*"
            for _ in range(3)
        ]
        return drawn[0], drawn[1], drawn[2]

    def draw_user(self) -> None:
        """A user, most often a new one, with rights; or another password."""
        name = self.rng.choice(USERS)
        new = name not in self.now.people
        if not new and self.rng.random() < 0.5:
            self.draw_change(name)
            return
        self.put_user(name)
        if new:
            for vhost in self.now.vhosts if self.rng.random() < 0.9 else ():
                self.permit(name, vhost, self._draw_permission())

    def draw_change(self, name: str) -> None:
        """Another password or other tags."""
        known, rng = self.now.people[name], self.rng
        if rng.random() < 0.5:
            tags = rng.choice(TAGS)

            def change_tags(now: Access) -> None:
                now.people[name].tags = tags

            self._do(f"tag {name} {tags}", lambda a: a.set_tags(name, tags), change_tags)
            return
        person = Person(rng.choice(("p1", "p2", "p3")), rng.randbytes(4), known.tags, known.limits)

        def change(now: Access) -> None:
            now.people[name] = person

        hash = b64encode(person.hash_bytes).decode()
        self._do(f"password of {name}", lambda a: a.set_password(name, hash, HASHING), change)

    def draw_permission(self) -> None:
        """A right, or none."""
        if not self.now.people:
            return
        user, vhost = self._someone(), self._somewhere()
        if self.rng.random() < 0.8:
            self.permit(user, vhost, self._draw_permission())
            return

        def change(now: Access) -> None:
            now.permissions.pop((user, vhost), None)

        self._do(f"withdraw {user} in {vhost}", lambda a: a.permit(user, vhost, None), change)

    def draw_topic(self) -> None:
        """A right to routing keys, or none any more."""
        if not self.now.people:
            return
        rng, user, vhost = self.rng, self._someone(), self._somewhere()
        home = self.oracle.others.get(vhost, self.oracle)
        names = [each.name for each in home.topology.exchanges.values() if each.type == "topic"]
        used = [name for name in names if name in self.world.profile.sources]
        exchange = rng.choice(used or names)
        patterns = list(TOPIC_PATTERNS)
        drawn = (rng.choice(patterns), rng.choice(patterns)) if rng.random() < 0.7 else None

        def change(now: Access) -> None:
            now.topics.pop((user, vhost, exchange), None)
            if drawn is not None:
                now.topics[user, vhost, exchange] = drawn

        permission = TopicPermission(*drawn) if drawn is not None else None
        self._do(
            f"topic permission of {user} in {vhost} at {exchange}: {drawn}",
            lambda a: a.permit_topic(user, vhost, exchange, permission),
            change,
        )

    def draw_limit(self) -> None:
        """Limits of a user or virtual host."""
        rng = self.rng
        limits = {"max-connections": rng.choice((-1, 0, 1, 2, 3, 5))} if rng.random() < 0.5 else {}
        if rng.random() < 0.5 and self.now.people:
            if rng.random() < 0.6:
                limits["max-channels"] = rng.choice((-1, 0, 2, 4, 8))
            self.limit_user(self._someone(), limits)
            return
        if rng.random() < 0.6:
            limits["max-queues"] = rng.choice((-1, 0, 2, 5))
        self.limit_vhost(self._somewhere(), limits)

    def draw_deleted_user(self) -> None:
        """One goes; the default user stays most often."""
        name = self._someone()
        if name in self.now.people and (name != "guest" or self.rng.random() < 0.1):
            self.delete_user(name)

    def draw_vhost(self) -> None:
        """One more, which some may enter; the log may have known one of that name."""
        missing = [name for name in VHOSTS if name not in self.now.vhosts]
        if not missing:
            return
        name = self.rng.choice(missing)

        def change(now: Access) -> None:
            now.vhosts[name] = {}
            self.oracle.add_vhost(name)

        self._do(f"put vhost {name}", lambda a: a.put_vhost(name), change)
        for user in list(self.now.people):
            if self.rng.random() < 0.7:
                self.permit(user, name, self._draw_permission())

    def draw_deleted_vhost(self) -> None:
        """One goes, with everything in it."""
        known = [name for name in VHOSTS if name in self.now.vhosts]
        if known:
            self.delete_vhost(self.rng.choice(known))

    def draw_mistake(self) -> None:
        """What cannot be: nothing changes."""
        rng, user = self.rng, self._someone()
        pattern = rng.choice(INVALID)
        wrong = rng.choice((0, 1, 2))
        permission = [".*", ".*", ".*"]
        permission[wrong] = pattern
        actions: list[Callable[[Administration], Any]] = [
            lambda a: a.delete_user("nobody"),
            lambda a: a.delete_vhost("nowhere"),
            lambda a: a.permit("nobody", "/", Permission(*EVERYTHING)),
            lambda a: a.permit(user, "nowhere", None),
            lambda a: a.permit(user, "/", Permission(*permission)),
            lambda a: a.permit_topic(user, "/", "amq.topic", TopicPermission(".*", pattern)),
            lambda a: a.limit_user(user, {"max-queues": 1}),
            lambda a: a.limit_vhost("/", {"max-channels": 1}),
            lambda a: a.put_vhost(""),
            lambda a: a.set_tags("nobody", ("administrator",)),
        ]
        action = rng.choice(actions)
        try:
            action(self._administration)
        except (BadValue, NotFound):
            self.world.server.scheduled = True
            self.check()
        else:
            raise Violation(f"mistake {actions.index(action)} of an operator was done")

    # -- the end

    def make_peace(self) -> None:
        """The default user may do everything, and there is nothing but the default virtual host."""
        for name in [name for name in VHOSTS if name in self.now.vhosts]:
            self.delete_vhost(name)
        self.limit_vhost("/", {})
        self.put_user("guest", "guest")
        self.limit_user("guest", {})
        self.permit("guest", "/", EVERYTHING)
        for exchange in [each for user, _, each in self.now.topics if user == "guest"]:

            def change(now: Access, exchange: str = exchange) -> None:
                now.topics.pop(("guest", "/", exchange))

            self._do(
                f"no topic permission at {exchange}",
                lambda a, exchange=exchange: a.permit_topic("guest", "/", exchange, None),  # type: ignore[misc]
                change,
            )


COMMANDS_OF_OPERATORS: tuple[tuple[float, Callable[[Operator], None]], ...] = (
    (3, Operator.draw_user),
    (1, Operator.draw_deleted_user),
    (4, Operator.draw_permission),
    (3, Operator.draw_topic),
    (1, Operator.draw_limit),
    (2, Operator.draw_vhost),
    (0.7, Operator.draw_deleted_vhost),
    (0.7, Operator.draw_mistake),
)
"""(weight, what)."""


def _compare(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Violation(f"operators are shown these {what}: {found}, not {wanted}")
