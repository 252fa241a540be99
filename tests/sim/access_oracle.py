"""The oracle of a broker with users: it knows what each may do, and each virtual host is an oracle of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.log.memory import MemoryStore
from tests.sim.access import Access
from tests.sim.access_checks import CHECKS, Checks
from tests.sim.access_durable import Part, Whole
from tests.sim.durable import Durable
from tests.sim.model import Channel, Connection, Refused, Violation
from tests.sim.oracle import Oracle
from tests.sim.wire import Item, Message

DELETED = "CONNECTION_FORCED - {} is deleted"
REFUSED_LOGIN = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
    "For details see the broker logfile."
)
GONE = "gone"
"""Where connections are whose virtual host is deleted."""


class AccessOracle(Oracle):
    """Of one virtual host."""

    def __init__(self, durable: Durable, vhost: str, whole: Oracles) -> None:
        super().__init__(durable)
        self.vhost = vhost
        self.whole = whole

    @property
    def access(self) -> Access:
        """Who may do what now."""
        return self.whole.now

    def admit(self, channel: Channel, method: m.Method, message: Message | None) -> None:
        """See `Commands`."""
        checks = Checks(self, channel)
        if message is not None:
            checks.publish(message)
            return
        check = CHECKS.get(type(method))
        if check is None:
            return
        try:
            check(checks, method)
        except Refused:
            if isinstance(method, m.QueueDeclare) and not method.queue:
                self.tokens.popleft()
            raise

    def is_forged(self, channel: Channel, message: Message) -> bool:
        """See `Commands`."""
        user = channel.connection.user
        return message.user_id not in (None, user) and not self.access.is_impersonator(user)

    def open_channel(self, connection: Connection, number: int) -> None:
        """See `Commands`."""
        try:
            self.access.check_channels(connection.user, self.whole.count_channels(connection.user))
        except Refused as refused:
            self.expel(connection, m.ConnectionClose(refused.code, refused.text))
            return
        super().open_channel(connection, number)

    def expel(self, connection: Connection, why: m.ConnectionClose) -> None:
        """The broker ends it."""
        self.end_session(connection)
        connection.state = "closing"
        connection.expect(0, why)

    def abandon(self) -> list[Connection]:
        """The virtual host is deleted, with everything in it: connections that are to hear of it, and all others."""
        self.forget_moves()
        seen, self._seen = self._seen, {}
        for connection in self.connections:
            if connection.state == "open":
                connection.channels.clear()
                connection.owned.clear()
                connection.state = "closing"
                text = DELETED.format(f"vhost '{self.vhost}'")
                connection.expect(0, m.ConnectionClose(320, text))
            self._compare(connection, seen.pop(connection, []))
        if seen:
            raise Violation(f"{seen} is said, and nobody is there")
        gone, self.connections = self.connections, []
        return gone


class Oracles(AccessOracle):
    """The default virtual host, all others, and who is not in any yet, or no more."""

    def __init__(self, store: MemoryStore) -> None:
        self.others: dict[str, AccessOracle] = {}
        self.now = Access()
        self.history: list[Access] = [self.now.copy()]
        """How it was when operators had done so many things, and all of them were in the log."""
        self._parts = Whole(store)
        self._known: list[AccessOracle] = []
        self._numbers = count()
        super().__init__(self._parts, "/", self)

    # -- what the world tells all of them

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("phase", "now_ms", "fenced"):
            for other in self.others.values():
                setattr(other, name, value)

    def in_vhost(self, vhost: str) -> Oracle | None:
        """See `Oracle`."""
        return self if vhost == "/" else self.others.get(vhost)

    def home(self, connection: Connection) -> AccessOracle:
        """See `Oracle`."""
        return self.others.get(connection.vhost, self)

    def add_vhost(self, name: str) -> None:
        """There is one more, with nothing in it."""
        part = Part(self._parts)
        self._parts.coming.append((name, part))
        other = AccessOracle(part, name, self)
        other.consumer_timeout_ms, other.cross, other.lags = (
            self.consumer_timeout_ms,
            self.cross,
            self.lags,
        )
        other.topology.producers_max = self.topology.producers_max
        self._known.append(other)
        self._begin(other)

    def _begin(self, other: AccessOracle) -> None:
        other.phase, other.now_ms, other.fenced = self.phase, self.now_ms, self.fenced
        other.tokens = self.tokens
        self.others[other.vhost] = other

    def delete_vhost(self, name: str) -> None:
        """It is gone, and who was connected to it has to go."""
        gone = self.others[name].abandon()
        del self.others[name]
        for connection in gone:
            connection.vhost = GONE
        self.connections += gone

    def delete_user(self, name: str) -> None:
        """He is gone, and his connections end in the order in which they began."""
        everybody = [each for each in self.everybody() if each.state == "open"]
        his = [each for each in everybody if each.user == name]
        for connection in sorted(his, key=lambda each: each.opened):
            text = DELETED.format(f"user '{name}'")
            self.home(connection).expel(connection, m.ConnectionClose(320, text))

    def everybody(self) -> list[Connection]:
        """All connections, wherever they are."""
        return self.connections + [
            each for other in self.others.values() for each in other.connections
        ]

    def count_channels(self, user: str) -> int:
        """Of all connections of a user."""
        his = [each for each in self.everybody() if each.state == "open" and each.user == user]
        return sum(not each.closing for found in his for each in found.channels.values())

    # -- the handshake

    def _apply_before_or_after(self, connection: Connection, method: m.Method) -> None:
        if isinstance(method, m.ConnectionStartOk):
            _, user, password = method.response.decode().split("\0")
            if not self.now.may_log_in(user, password):
                self._refuse_login(connection, method)
                return
            connection.user = user
        elif isinstance(method, m.ConnectionOpen) and connection.state != "closing":
            self._open(connection, method.virtual_host)
            return
        super()._apply_before_or_after(connection, method)

    def _refuse_login(self, connection: Connection, method: m.ConnectionStartOk) -> None:
        capabilities: Any = method.client_properties.get("capabilities", {})
        if capabilities.get("authentication_failure_close") is True:
            connection.state = "closing"
            connection.expect(0, m.ConnectionClose(403, REFUSED_LOGIN))
        else:
            connection.state = "closed"

    def _open(self, connection: Connection, vhost: str) -> None:
        user = connection.user
        there = [each for each in self.everybody() if each.state == "open"]
        of_vhost = sum(each.vhost == vhost for each in there)
        of_user = sum(each.user == user for each in there)
        try:
            self.now.check_open(user, vhost, of_vhost, of_user)
        except Refused as refused:
            connection.state = "closing"
            connection.expect(0, m.ConnectionClose(refused.code, refused.text, 10, 40))
            return
        connection.state, connection.vhost = "open", vhost
        connection.opened = next(self._numbers)
        connection.expect(0, m.ConnectionOpenOk())
        home = self.home(connection)
        if home is not self:
            self.connections.remove(connection)
            home.connections.append(connection)
            home._seen[connection] = self._seen.pop(connection)

    # -- what goes to where a connection is

    def apply(
        self, connection: Connection, number: int, method: m.Method, message: Message | None
    ) -> None:
        home = self.home(connection)
        if home is self:
            super().apply(connection, number, method, message)
        else:
            home.chosen = self.chosen
            home.apply(connection, number, method, message)

    def on_output(self, connection: Connection, items: list[Item]) -> None:
        home = self.home(connection)
        if home is self:
            super().on_output(connection, items)
        else:
            home.on_output(connection, items)

    def end_session(self, connection: Connection) -> None:
        home = self.home(connection)
        if home is self:
            super().end_session(connection)
        else:
            home.end_session(connection)

    def end_connection(self, connection: Connection) -> None:
        home = self.home(connection)
        if home is self:
            super().end_connection(connection)
        else:
            home.end_connection(connection)

    # -- what is for all

    def on_written(self, method: m.Method) -> None:
        super().on_written(method)
        for other in self.others.values():
            other.on_written(method)

    def end_commands(self) -> None:
        super().end_commands()
        for other in self.others.values():
            other.end_commands()

    def end_dispatch(self, spent: set[int]) -> None:
        for other in self.others.values():
            other.end_dispatch(spent)
        super().end_dispatch(spent)  # which is the end of a phase for all

    def end_release(
        self, nothing_waits: bool, lost: bool, refused: Sequence[Connection] = ()
    ) -> None:
        for other in self.others.values():
            other.end_release(nothing_waits, lost, refused)
        super().end_release(nothing_waits, lost, refused)

    def check_served(self, gated: set[int]) -> None:
        super().check_served(gated)
        for other in self.others.values():
            other.check_served(gated)

    def check_idle(self) -> None:
        super().check_idle()
        for other in self.others.values():
            other.check_idle()

    def check_log(self) -> None:
        super().check_log()
        for other in self.others.values():
            other.check_log()

    def restart(self) -> None:
        """Virtual hosts, users and rights are those that the log has."""
        for other in self.others.values():
            for connection in other.connections:
                connection.state = "closed"
            other.connections.clear()
        self.others.clear()
        super().restart()
        self._parts.coming.clear()
        del self.history[len(self._parts.done) + 1 :]
        self.now = self.history[-1].copy()
        for part in self._parts.parts.values():
            other = next(each for each in self._known if each.durable is part)
            self._begin(other)
            other.restart()
