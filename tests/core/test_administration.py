"""Virtual hosts, users and rights: they change at once, and are the same after a restart."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from mansio.core.access_records import users_fields, vhost_fields
from mansio.core.administration import Administration
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import AccessRefused, BadValue, NotAllowed, NotFound, PreconditionFailed
from mansio.core.records import decode, encode_topology
from mansio.core.restore import Restore
from mansio.core.rights import EVERYTHING, Permission, TopicPermission
from mansio.core.topology_records import take_snapshot
from mansio.core.users import DEFAULT_USER
from tests.core.play import Client, Heard, Scribe, make_broker, make_run


class Kept:
    """A broker and its records, as a log would keep them."""

    def __init__(self) -> None:
        self.broker = Broker(letters=Scribe())
        self.broker.journal.started("test", new=True)
        self.records: list[bytes] = []

    def turn(self) -> None:
        self.records += [b"".join(parts) for parts in self.broker.end_turn()]
        check(self.broker)

    def restored(self) -> Broker:
        self.turn()
        return restored(self.records)


def restored(records: list[bytes]) -> Broker:
    broker = make_broker()
    restore = Restore(broker)
    for record in records:
        restore.apply(record)
    restore.finish()
    check(broker)
    return broker


def state(broker: Broker) -> Any:
    users = users_fields(broker.users)
    return (
        broker.users.implied,
        sorted(users["users"], key=lambda each: each["user"]),
        sorted(users["rights"], key=lambda each: (each["user"], each["vhost"])),
        {name: (vhost_fields(host), sorted(host.queues)) for name, host in broker.vhosts.items()},
    )


def from_snapshot(broker: Broker) -> Broker:
    return restored([b"".join(encode_topology(take_snapshot(broker)))])


def test_nothing_is_written_before_something_changes() -> None:
    kept = Kept()
    kept.turn()
    assert [decode(record)["do"] for record in kept.records] == ["start"]  # type: ignore[index]
    assert state(kept.restored()) == state(kept.broker) == state(make_broker())


def test_the_default_user_stays_when_others_come() -> None:
    kept = Kept()
    kept.broker.administration.put_user("ann", "hash", "argon2id", ["management"])
    kept.broker.administration.permit("ann", "/", Permission("^a", "^b", "^c"))
    again = kept.restored()
    assert state(again) == state(kept.broker)
    assert [user.name for user in again.users] == [DEFAULT_USER, "ann"]
    again.open_session(Heard(), DEFAULT_USER, "/", "x")


def test_a_default_user_that_was_deleted_does_not_come_back() -> None:
    kept = Kept()
    kept.broker.administration.delete_user(DEFAULT_USER)
    kept.turn()
    for again in (kept.restored(), from_snapshot(kept.broker)):
        assert list(again.users) == []
        with pytest.raises(NotAllowed):
            again.open_session(Heard(), DEFAULT_USER, "/", "x")


def test_so_does_a_default_vhost() -> None:
    kept = Kept()
    kept.broker.administration.put_vhost("other")
    kept.broker.administration.delete_vhost("/")
    for again in (kept.restored(), from_snapshot(kept.broker)):
        assert list(again.vhosts) == ["other"]
        assert state(again) == state(kept.broker)


def change_something(admin: Administration, rng: random.Random) -> None:
    user, host = rng.choice(["guest", "ann", "bob"]), rng.choice(["/", "v1", "v2"])
    patterns = [rng.choice(["", ".*", "^q", "a|b"]) for _ in range(3)]
    number = rng.randrange(9)
    changes: list[tuple[Any, ...]] = [
        (admin.put_user, user, rng.choice("ab"), "x", rng.sample("abc", 2)),
        (admin.set_password, user, "new", "y"),
        (admin.set_tags, user, ["monitoring"]),
        (admin.limit_user, user, {"max-channels": number}),
        (admin.delete_user, user),
        (admin.put_vhost, host, {"description": rng.choice("xyz")}),
        (admin.limit_vhost, host, {"max-queues": number}),
        (admin.delete_vhost, host),
        (admin.permit, user, host, Permission(*patterns)),
        (admin.permit, user, host, None),
        (admin.permit_topic, user, host, "e", TopicPermission(*patterns[:2])),
        (admin.permit_topic, user, host, "e", None),
    ]
    command, *arguments = rng.choice(changes)
    command(*arguments)


def test_random_changes_are_the_same_after_a_restart_and_from_a_snapshot() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        kept = Kept()
        for _ in range(rng.randrange(1, 40)):
            try:
                change_something(kept.broker.administration, rng)
            except NotFound:
                pass
            if rng.random() < 0.2:
                kept.turn()
        assert state(kept.restored()) == state(kept.broker), f"seed {seed}"
        assert state(from_snapshot(kept.broker)) == state(kept.broker), f"seed {seed}"


def test_deleting_a_user_disconnects_him() -> None:
    kept = Kept()
    broker = kept.broker
    broker.administration.put_user("ann", "", "")
    broker.administration.permit("ann", "/", EVERYTHING)
    heard, other = Heard(), Client(broker)
    broker.open_session(heard, "ann", "/", "x")
    broker.administration.delete_user("ann")
    assert heard.take() == [("expelled", "user 'ann' is deleted")]
    assert other.heard.take() == []


def test_deleting_a_vhost_takes_all_with_it_and_disconnects() -> None:
    kept = Kept()
    broker = kept.broker
    admin = broker.administration
    admin.put_vhost("v")
    admin.permit(DEFAULT_USER, "v", EVERYTHING)
    client = Client(broker)
    heard = Heard()
    session = broker.open_session(heard, DEFAULT_USER, "v", "x")
    declare = broker.definitions.declare_queue
    queue = declare(session, "q", True, False, False, {})
    stream = declare(session, "s", True, False, False, {"x-queue-type": "stream"})
    declare(session, "g", True, False, False, {"x-stream": "s"})
    broker.definitions.declare_exchange(session, "h", "x-recent-history", True, False, False, {})
    channel = broker.open_channel(session, 1)
    broker.publish(channel, make_run([1, 2], True), (queue, stream))
    kept.turn()
    assert broker.memory_bytes > 0
    admin.delete_vhost("v")
    assert heard.take()[-1] == ("expelled", "vhost 'v' is deleted")
    kept.turn()
    assert broker.memory_bytes == 0
    assert client.heard.take() == []
    again = kept.restored()
    assert state(again) == state(broker)
    assert again.memory_bytes == 0
    admin.put_vhost("v")
    assert not broker.vhosts["v"].queues
    with pytest.raises(NotAllowed):  # rights have gone with it
        broker.open_session(Heard(), DEFAULT_USER, "v", "x")


def test_routes_are_looked_up_again_when_rights_change() -> None:
    broker = make_broker()
    version = broker.vhosts["/"].version
    broker.administration.permit(DEFAULT_USER, "/", Permission(".*", "^a", ".*"))
    assert broker.vhosts["/"].version > version
    rights = broker.users.rights(DEFAULT_USER, "/")
    with pytest.raises(AccessRefused):
        broker.route(rights, "", "q", False, 1, 0) and broker.route(rights, "b", "q", False, 1, 0)


@pytest.mark.parametrize("again", [Kept.restored, lambda kept: from_snapshot(kept.broker)])
def test_rights_are_those_of_the_user_that_there_is(again: Callable[[Kept], Broker]) -> None:
    kept = Kept()
    admin = kept.broker.administration
    admin.put_user("alice", "", "")
    admin.permit("alice", "/", EVERYTHING)
    admin.set_tags("alice", ["impersonator"])
    admin.limit_user("alice", {"max-connections": 1})
    broker = again(kept)
    user = broker.users.get("alice")
    assert broker.users.rights("alice", "/").user is user
    assert (user.tags, user.limits) == (("impersonator",), {"max-connections": 1})
    session = broker.open_session(Heard(), "alice", "/", "")
    broker.close_session(session)
    assert user.sessions == 0


def test_limits_of_users_and_vhosts() -> None:
    broker = make_broker()
    admin = broker.administration
    admin.limit_vhost("/", {"max-connections": 2, "max-queues": 1})
    first, _ = Client(broker), Client(broker)
    with pytest.raises(NotAllowed) as refused:
        Client(broker)
    assert refused.value.text == (
        "access to vhost '/' refused for user 'guest': connection limit (2) is reached"
    )
    first.declare("one")
    first.declare("one")
    with pytest.raises(PreconditionFailed) as full:
        first.declare("two")
    assert full.value.text == "cannot declare queue 'two': queue limit in vhost '/' (1) is reached"
    admin.limit_vhost("/", {})
    first.declare("two")
    admin.limit_user("guest", {"max-connections": 2, "max-channels": 2})
    with pytest.raises(NotAllowed, match=r"user connection limit \(2\) is reached"):
        Client(broker)
    with pytest.raises(NotAllowed, match="maximum allowed user limit"):
        broker.open_channel(first.session, 2)
    broker.close_channel(first.channel)
    broker.open_channel(first.session, 2)
    check(broker)


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("put_vhost", ("",), BadValue),
        ("put_vhost", ("a\nb",), BadValue),
        ("put_vhost", ("ä" * 128,), BadValue),
        ("delete_vhost", ("none",), NotFound),
        ("put_user", ("", "", ""), BadValue),
        ("set_password", ("none", "", ""), NotFound),
        ("set_tags", ("none", []), NotFound),
        ("delete_user", ("none",), NotFound),
        ("limit_user", ("none", {}), NotFound),
        ("limit_user", ("guest", {"max-queues": 1}), BadValue),
        ("limit_user", ("guest", {"max-channels": "1"}), BadValue),
        ("limit_user", ("guest", {"max-channels": True}), BadValue),
        ("limit_vhost", ("/", {"max-channels": 1}), BadValue),
        ("permit", ("none", "/", EVERYTHING), NotFound),
        ("permit", ("guest", "none", EVERYTHING), NotFound),
        ("permit", ("guest", "/", Permission("(", "", "")), BadValue),
        ("permit_topic", ("guest", "/", "e", TopicPermission("(", "")), BadValue),
    ],
)
def test_what_cannot_be_changes_nothing(command: str, arguments: Any, error: Any) -> None:
    kept = Kept()
    before = state(kept.broker)[1:]
    with pytest.raises(error):
        getattr(kept.broker.administration, command)(*arguments)
    assert state(kept.broker)[1:] == before
    assert state(kept.restored())[1:] == before


def test_connections_of_a_deleted_user_end_in_the_order_in_which_they_began() -> None:
    broker = make_broker()
    ended: list[str] = []

    class Named(Heard):
        def expelled(self, why: str) -> None:
            ended.append(f"{self.name}: {why}")

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    names = [f"c{i}" for i in range(20)]
    for name in names:
        broker.open_session(Named(name), DEFAULT_USER, "/", name)
    broker.administration.delete_user(DEFAULT_USER)
    assert ended == [f"{name}: user 'guest' is deleted" for name in names]
    assert not broker.sessions
