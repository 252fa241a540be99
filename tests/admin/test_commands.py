"""Operators' commands, on a broker that nobody is connected to but through its outboxes."""

from typing import Any

import pytest

from mansio.admin.commands import COMMANDS, run
from mansio.admin.passwords import hash_password
from mansio.core.errors import BadValue, BrokerError, NotFound
from tests.core.play import Heard, make_broker

HASHED = dict(zip(("password_hash", "hashing"), hash_password("pw"), strict=True))


def test_a_user_from_the_first_day_to_the_last() -> None:
    broker = make_broker()
    run(broker, "user add", {"name": "ann", "tags": ["management"], **HASHED})
    run(broker, "user tag", {"name": "ann", "tags": ["administrator", "x"]})
    run(broker, "user limit", {"name": "ann", "limits": {"max-channels": 3, "max-connections": 2}})
    run(broker, "user limit", {"name": "ann", "limits": {"max-channels": -1}})
    run(broker, "user passwd", {"name": "ann", "password_hash": "", "hashing": ""})
    ann, guest = run(broker, "user list", {})
    assert ann == {
        "user": "ann",
        "tags": ["administrator", "x"],
        "password": "none",
        "limits": {"max-connections": 2},
        "connections": 0,
    }
    assert guest["password"] == "rabbit_password_hashing_sha256"
    run(broker, "user delete", {"name": "ann"})
    assert [row["user"] for row in run(broker, "user list", {})] == ["guest"]


def test_virtual_hosts_and_rights() -> None:
    broker = make_broker()
    run(broker, "vhost add", {"name": "v", "description": "d", "tags": ["t"]})
    run(broker, "vhost limit", {"name": "v", "limits": {"max-queues": 3}})
    rights = {"user": "guest", "vhost": "v"}
    run(broker, "permission set", {**rights, "configure": "", "write": "^a", "read": ".*"})
    for exchange in ("e", "f"):
        topic = {"exchange": exchange, "write": "^w", "read": "^r"}
        run(broker, "topic-permission set", {**rights, **topic})
    assert run(broker, "vhost list", {})[1] == {
        "vhost": "v",
        "description": "d",
        "tags": ["t"],
        "limits": {"max-queues": 3},
        "queues": 0,
        "exchanges": 0,
        "connections": 0,
    }
    of_v = {"user": None, "vhost": "v"}
    (row,) = run(broker, "permission list", of_v)
    assert row == {**rights, "configure": "", "write": "^a", "read": ".*"}
    assert len(run(broker, "permission list", {"user": "guest", "vhost": None})) == 2
    rows = run(broker, "topic-permission list", of_v)
    assert [each["exchange"] for each in rows] == ["e", "f"]
    run(broker, "topic-permission clear", {**rights, "exchange": "e"})
    assert len(run(broker, "topic-permission list", of_v)) == 1
    run(broker, "topic-permission clear", {**rights, "exchange": None})
    assert run(broker, "topic-permission list", of_v) == []
    run(broker, "permission clear", rights)
    assert run(broker, "permission list", of_v) == []
    run(broker, "vhost delete", {"name": "v"})
    assert [row["vhost"] for row in run(broker, "vhost list", {})] == ["/"]


def test_policies() -> None:
    broker = make_broker()
    policy = {
        "vhost": "/",
        "name": "p",
        "pattern": "^q",
        "definition": {"max-length": 7},
        "priority": 2,
        "apply_to": "queues",
        "operator": False,
    }
    run(broker, "policy set", policy)
    run(broker, "policy set", policy | {"name": "o", "operator": True})
    (row,) = run(broker, "policy list", {"vhost": None, "operator": False})
    assert row == {
        "vhost": "/",
        "policy": "p",
        "pattern": "^q",
        "apply-to": "queues",
        "priority": 2,
        "definition": {"max-length": 7},
    }
    (row,) = run(broker, "policy list", {"vhost": "/", "operator": True})
    assert row["policy"] == "o"
    run(broker, "policy clear", {"vhost": "/", "name": "p", "operator": False})
    assert run(broker, "policy list", {"vhost": None, "operator": False}) == []
    assert len(run(broker, "policy list", {"vhost": None, "operator": True})) == 1
    with pytest.raises(NotFound):
        run(broker, "policy clear", {"vhost": "/", "name": "p", "operator": False})


def test_connections_by_name_and_by_user() -> None:
    broker = make_broker()
    outboxes = [Heard() for _ in range(3)]
    outboxes[1].protocol = "mail"
    for i, outbox in enumerate(outboxes):
        broker.open_session(outbox, "guest", "/", f"c{i}")  # type: ignore[arg-type]
    rows = run(broker, "connection list", {})
    assert rows[1] == {
        "connection": "c1",
        "protocol": "mail",
        "user": "guest",
        "vhost": "/",
        "channels": 0,
    }
    closed = run(broker, "connection close", {"name": "c1", "user": None, "reason": "r"})
    assert closed == [{"connection": "c1", "user": "guest", "vhost": "/"}]
    assert [outbox.told for outbox in outboxes] == [[], [("expelled", "r")], []]
    run(broker, "connection close", {"name": None, "user": "guest", "reason": "all"})
    assert outboxes[0].told == [("expelled", "all")]
    with pytest.raises(NotFound, match="there is no connection 'c9'"):
        run(broker, "connection close", {"name": "c9", "user": None, "reason": "r"})


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("user ad", {}, "unknown command 'user ad'"),
        ("user list", {"x": 1}, "command 'user list': got an unexpected keyword argument 'x'"),
        ("user delete", {}, "command 'user delete': missing a required argument: 'name'"),
        ("user delete", {"name": 1}, "command 'user delete': 'name' is not of the right type"),
        ("user tag", {"name": "guest", "tags": [1]}, "command 'user tag': 'tags' is not of the right type"),
        ("user limit", {"name": "guest", "limits": [1]}, "command 'user limit': 'limits' is not of the right type"),
        ("user delete", {"name": "no"}, "User 'no' does not exist"),
        ("user add", {"name": "guest", "tags": [], **HASHED}, "User 'guest' already exists"),
        (
            "user add",
            {"name": "x", "tags": [], "password_hash": "y", "hashing": "argon2id"},
            "a password hash is not one of argon2id",
        ),
        ("vhost add", {"name": "/", "description": "", "tags": []}, "Virtual host '/' already exists"),
        (
            "vhost add",
            {"name": "a\n", "description": "", "tags": []},
            "the name of a virtual host must have characters, all of them printable",
        ),
        ("vhost delete", {"name": "v"}, "Virtual host 'v' does not exist"),
        (
            "vhost limit",
            {"name": "/", "limits": {"max-queues": "3"}},
            "limit 'max-queues' must be a whole number, negative for none, not '3'",
        ),
        ("permission list", {"user": None, "vhost": "v"}, "Virtual host 'v' does not exist"),
        ("permission clear", {"user": "no", "vhost": "/"}, "User 'no' does not exist"),
        (
            "topic-permission clear",
            {"user": "guest", "vhost": "/", "exchange": "e"},
            "User 'guest' has no topic permission at exchange 'e'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(name: str, arguments: dict[str, Any], text: str) -> None:
    broker = make_broker()
    with pytest.raises(BrokerError) as caught:
        run(broker, name, arguments)
    assert caught.value.text == text
    assert broker.end_turn() == []


def test_definitions_go_out_and_in() -> None:
    broker = make_broker()
    run(broker, "vhost add", {"name": "v", "description": "d", "tags": []})
    document = run(broker, "definitions export", {})
    other = make_broker()
    done = run(other, "definitions import", {"document": document, "fresh": False})
    assert {"section": "vhosts", "defined": 2, "changed": 1} in done["sections"]
    assert (done["skipped"], done["dropped"]) == ([], [])
    assert run(other, "definitions export", {}) == document


def test_users_who_were_changed_stay_when_a_file_names_others() -> None:
    broker = make_broker()
    run(broker, "user tag", {"name": "guest", "tags": []})
    document = {"users": [{"name": "ann", "password_hash": "", "tags": []}]}
    run(broker, "definitions import", {"document": document, "fresh": True})
    assert [row["user"] for row in run(broker, "user list", {})] == ["ann", "guest"]


def test_lists_change_nothing() -> None:
    for name, command in COMMANDS.items():
        assert command.changes != name.endswith((" list", " export")), name
    with pytest.raises(BadValue):
        run(make_broker(), "", {})
