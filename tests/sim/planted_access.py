"""Bugs in who may do what. They strike in worlds in which there are users and virtual hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core import access_records, topology_records
from mansio.core.administration import Administration
from mansio.core.broker import Broker
from mansio.core.definitions import Definitions
from mansio.core.rights import Rights
from mansio.core.session import Session
from mansio.core.topology import VHost
from mansio.core.topology_restore import TopologyRestore
from mansio.core.users import Users
from tests.sim.planted_worlds import worlds
from tests.sim.profile import Profile


def _ruled(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    def rule(profile: Profile, _: Random) -> None:
        profile.access, profile.ruling = True, 0.2
        profile.taste["special"] = profile.taste["topology"] = 3.0

    return worlds(bug, rule)


def _with_topics(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    def choose(profile: Profile, _: Random) -> None:
        del profile.exchanges[2:]
        for exchange in profile.exchanges:
            exchange.type, exchange.arguments, exchange.internal = "topic", {}, False
        profile.sources = ["amq.topic", *(exchange.name for exchange in profile.exchanges)]

    return worlds(_ruled(bug), choose)


def _ruled_roughly(bug: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    def crash(profile: Profile, _: Random) -> None:
        profile.crashes, profile.bucket_bytes = 0.02, 300

    return worlds(_ruled(bug), crash)


def _stale_rights() -> AbstractContextManager[Any]:
    """A connection goes on to use the routes that it knows when rights are taken away."""
    find = Administration._rights

    def silent(self: Administration, user: str, vhost: str) -> Rights:
        version = self.vhost(vhost).version
        rights = find(self, user, vhost)
        self.vhost(vhost).version = version
        return rights

    def settle_down(profile: Profile, _: Random) -> None:
        profile.taste["topology"] = profile.taste["delete"] = profile.policing = 0.0
        profile.routes_max, profile.ruling, profile.crashes = 4096, 0.5, 0.0
        profile.queues, profile.producers = profile.plain, []

    return worlds(_ruled(patch.object(Administration, "_rights", silent)), settle_down)


def _copies_unchecked() -> AbstractContextManager[Any]:
    """Only the routing key of a message is looked at, not those of its CC and BCC headers."""

    check = Broker.check_keys

    def first(self: Broker, rights: Rights, exchange: str, keys: Iterable[str]) -> None:
        if not isinstance(keys, list):  # else they are those of copies
            check(self, rights, exchange, keys)

    return _with_topics(patch.object(Broker, "check_keys", first))


def _unbind_unchecked() -> AbstractContextManager[Any]:
    """Whoever may enter may unbind."""

    def unbind(
        self: Definitions, session: Session, name: str, source: str, key: str, arguments: Any
    ) -> None:
        host = self.vhost(session)
        queue = host.queues.get(name)
        if queue is not None:
            self._unbound(session, host.unbind(source, queue, key, arguments))

    return _ruled(patch.object(Definitions, "unbind_queue", unbind))


def _back_from_the_dead() -> AbstractContextManager[Any]:
    """A virtual host that is deleted is there again after a restart, with its queues."""
    delete = Administration.delete_vhost

    def forgetful(self: Administration, name: str) -> None:
        journal = self._broker.journal
        count = len(journal._records)
        delete(self, name)
        del journal._records[count:]
        self._write("put vhost", vhost=name, about={}, limits={})

    return _ruled_roughly(patch.object(Administration, "delete_vhost", forgetful))


def _restored_with_the_name() -> AbstractContextManager[Any]:
    """When the log is read, the queues of a virtual host that is deleted stay for the next one of its name."""

    def keep(self: TopologyRestore, host: VHost) -> list[int]:
        kept = dict(host.queues)
        self._broker.remove_vhost(host.name)
        self._broker.users.forget_vhost(host.name)
        self._broker.add_vhost(host.name).queues = kept
        return []

    return _ruled_roughly(patch.object(TopologyRestore, "_delete_vhost", keep))


def _still_here() -> AbstractContextManager[Any]:
    """Whose name is deleted stays connected."""
    return _ruled(patch.object(Administration, "_expel", lambda self, sessions, what: None))


def _topics_forgotten() -> AbstractContextManager[Any]:
    """Snapshots know nothing of topic permissions."""
    take = access_records.users_fields

    def without(users: Users) -> Any:
        fields = take(users)
        for each in fields["rights"]:
            each["topics"] = {}
        return fields

    return _ruled_roughly(patch.object(topology_records, "users_fields", without))


def _never_counted_down() -> AbstractContextManager[Any]:
    """A connection counts against the limit of its user when it has ended, too."""
    close = Broker.close_session

    def forgetful(self: Broker, session: Session) -> None:
        before = session.rights.user.sessions
        close(self, session)
        session.rights.user.sessions = before

    return _ruled(patch.object(Broker, "close_session", forgetful))


def _rights_outlive() -> AbstractContextManager[Any]:
    """Who had rights in a virtual host that is deleted has them in the next one of its name."""
    return _ruled(patch.object(Users, "forget_vhost", lambda self, vhost: None))


def _everywhere() -> AbstractContextManager[Any]:
    """What is delayed in any virtual host is published in the default one."""
    delays = Broker.delays
    return _ruled(patch.object(Broker, "delays", lambda self, vhost: delays(self, "/")))


def _old_password() -> AbstractContextManager[Any]:
    """A password that was changed is the old one again after a restart."""

    def tags_only(broker: Broker, change: dict[str, Any]) -> None:
        known = broker.users.find(change["user"])
        if known is None:
            broker.users.add(access_records._user(change))
        else:
            known.tags, known.limits = tuple(change["tags"]), change["limits"]

    return _ruled_roughly(patch.dict(access_records.RESTORE, {"put user": tags_only}))


BUGS: tuple[tuple[str, Callable[[], AbstractContextManager[Any]]], ...] = (
    ("rights taken away from new routes only", _stale_rights),
    ("keys of copies not checked", _copies_unchecked),
    ("unbinding not checked", _unbind_unchecked),
    ("deleted virtual host comes back", _back_from_the_dead),
    ("queues outlive their virtual host", _restored_with_the_name),
    ("deleted user stays connected", _still_here),
    ("topic permissions not in snapshots", _topics_forgotten),
    ("connections not counted down", _never_counted_down),
    ("rights outlive their virtual host", _rights_outlive),
    ("delayed into another virtual host", _everywhere),
    ("old password after a restart", _old_password),
)
