"""Definitions out and in: the same again, all or nothing, and what means nothing here is told."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.admin.definitions import export_definitions, import_definitions, read_document
from mansio.admin.operator import operator
from mansio.admin.passwords import check_password, hash_password
from mansio.codec.amqp_values import Timestamp
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import BadValue
from mansio.core.exchange_types import EXCHANGE_TYPES
from mansio.core.policy import APPLY_TO
from mansio.core.restore import Restore
from mansio.core.rights import Permission
from mansio.core.topology_records import take_snapshot
from tests.core.play import Client, Scribe, make_broker, make_run

HASH = "91+m+NbqkQQw+WBXYz04rUGaqaAhf7V13oEa0QmNvJGSwWFE"
"""Of RabbitMQ 3.10.8, for the password pw."""


class Kept:
    """A broker and its records, as a log would keep them."""

    def __init__(self) -> None:
        self.broker = Broker(letters=Scribe())
        self.broker.journal.started("test", new=True)

    def restored(self) -> Broker:
        again = make_broker()
        restore = Restore(again)
        for parts in self.broker.end_turn():
            restore.apply(b"".join(parts))
        restore.finish()
        for broker in (self.broker, again):
            check(broker)
        return again


def again(document: Any) -> tuple[Any, Any]:
    """The document as one fresh broker exports it after a restart, and as a second one does that imports that."""
    first = Kept()
    import_definitions(first.broker, document, fresh=True)
    once = json.loads(json.dumps(export_definitions(first.broker)))
    assert export_definitions(first.restored()) == once
    second = Kept()
    import_definitions(second.broker, once, fresh=True)
    return once, export_definitions(second.broker)


def queue(name: str, vhost: str = "/", **arguments: Any) -> dict[str, Any]:
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    flags = {"durable": True, "auto_delete": False}
    return {"name": name, "vhost": vhost, "arguments": arguments} | flags


def exchange(name: str, type: str = "direct", vhost: str = "/", **more: Any) -> dict[str, Any]:
    flags = {"durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    return {"name": name, "vhost": vhost, "type": type} | flags | more


def binding(source: str, to: str, name: str, key: str = "k", **arguments: Any) -> dict[str, Any]:
    return {
        "source": source,
        "vhost": "/",
        "destination": name,
        "destination_type": to,
        "routing_key": key,
        "arguments": arguments,
    }


def user(name: str, **more: Any) -> dict[str, Any]:
    algorithm = "rabbit_password_hashing_sha256"
    return {"name": name, "password_hash": HASH, "hashing_algorithm": algorithm, "tags": []} | more


WHOLE: dict[str, Any] = {
    "rabbit_version": "3.10.8",
    "users": [user("ann", tags=["management"], limits={"max-channels": 7}), user("bob")],
    "vhosts": [{"name": "/"}, {"name": "v", "metadata": {"description": "d", "tags": ["t"]}}],
    "permissions": [
        {"user": "ann", "vhost": "v", "configure": "^a", "write": "", "read": ".*"},
    ],
    "topic_permissions": [
        {"user": "bob", "vhost": "/", "exchange": "amq.topic", "write": "^a", "read": "b$"}
    ],
    "parameters": [
        {
            "component": "vhost-limits",
            "name": "limits",
            "vhost": "v",
            "value": {"max-queues": 9, "max-connections": -1},
        },
        {
            "component": "operator_policy",
            "name": "o",
            "vhost": "v",
            "value": {
                "pattern": ".*",
                "apply-to": "all",
                "definition": {"max-length": 5},
                "priority": 0,
            },
        },
    ],
    "policies": [
        {
            "vhost": "v",
            "name": "p",
            "pattern": "^o",
            "apply-to": "queues",
            "definition": {"max-length": 7, "overflow": "reject-publish"},
            "priority": -2,
        },
    ],
    "exchanges": [
        exchange("e", "topic", arguments={"alternate-exchange": "amq.fanout"}, internal=True),
        exchange("h", "x-recent-history", auto_delete=True),
    ],
    "queues": [
        queue("group", x_stream="events", x_stream_offset="first"),
        queue("events", x_queue_type="stream"),
        queue("q", x_max_length=5, x_dead_letter_exchange="e"),
        queue("amq.gen-x"),
        queue("other", "v"),
    ],
    "bindings": [
        binding("e", "queue", "q", a=1, b=[1.5, True, {"x": None}]),
        binding("amq.fanout", "exchange", "e"),
        binding("", "queue", "q", "q"),
    ],
}


def test_export_and_import_are_the_same_again() -> None:
    once, twice = again(WHOLE)
    assert once == twice
    assert [each["name"] for each in once["users"]] == ["ann", "bob"]
    assert once["permissions"] == WHOLE["permissions"]
    assert once["topic_permissions"] == WHOLE["topic_permissions"]
    assert once["parameters"] == WHOLE["parameters"]
    assert once["policies"] == WHOLE["policies"]
    assert once["bindings"][0]["destination"] == "e"
    assert once["bindings"][1]["arguments"] == {"a": 1, "b": [1.5, True, {"x": None}]}
    names = [each["name"] for each in once["queues"]]
    assert names == ["events", "q", "amq.gen-x", "group", "other"]


def test_an_import_says_what_it_did_and_doing_it_again_does_nothing() -> None:
    kept = Kept()
    first = import_definitions(kept.broker, WHOLE)
    assert first.counts["users"] == (2, 2)
    assert first.counts["queues"] == (5, 5)
    assert first.counts["bindings"] == (3, 2)
    assert (first.skipped, first.dropped) == ([], [])
    kept.broker.end_turn()
    second = import_definitions(kept.broker, WHOLE)
    assert {changed for _, changed in second.counts.values()} == {0}
    assert kept.broker.end_turn() == []


def test_what_no_other_program_can_say_is_written_beside_what_it_can() -> None:
    kept = Kept()
    arguments = {"a": b"\xff", "b": [Decimal("1.50")], "c": {"t": Timestamp(5)}, "d": "x\udcff"}
    kept.broker.definitions.declare_queue(operator("/"), "q", True, False, False, arguments)
    (said,) = json.loads(json.dumps(export_definitions(kept.broker)))["queues"]
    assert said["arguments"] == {"a": "\ufffd", "b": [1.5], "c": {"t": 5}, "d": "x\udcff"}
    other = Kept()
    import_definitions(other.broker, {"queues": [said]})
    found = other.broker.vhosts["/"].queues["q"].arguments
    assert found == arguments
    assert [type(each) for each in (found["a"], found["b"][0], found["c"]["t"])] == [
        bytes,
        Decimal,
        Timestamp,
    ]


def test_only_what_is_durable_is_exported() -> None:
    kept = Kept()
    definitions, session = kept.broker.definitions, operator("/")
    definitions.declare_queue(session, "gone", False, False, False, {})
    definitions.declare_exchange(session, "gone", "fanout", False, False, False, {})
    definitions.bind_queue(session, "gone", "amq.fanout", "", {})
    said = export_definitions(kept.broker)
    assert (said["queues"], said["exchanges"], said["bindings"]) == ([], [], [])


def test_the_users_of_a_file_replace_the_default_one_of_a_fresh_broker() -> None:
    kept = Kept()
    done = import_definitions(
        kept.broker, {"users": [user("ann")], "vhosts": [{"name": "v"}]}, True
    )
    assert [each.name for each in kept.broker.users] == ["ann"]
    assert list(kept.broker.vhosts) == ["v"]
    assert done.dropped == ["virtual host '/'", "user 'guest'"]
    assert list(kept.restored().vhosts) == ["v"]


def test_a_default_virtual_host_that_is_used_stays() -> None:
    kept = Kept()
    kept.broker.definitions.declare_queue(operator("/"), "q", True, False, False, {})
    import_definitions(kept.broker, {"vhosts": [{"name": "v"}]}, fresh=True)
    assert list(kept.broker.vhosts) == ["/", "v"]
    assert kept.broker.users.find("guest") is not None


def test_passwords_of_a_file_are_right_at_login() -> None:
    kept = Kept()
    argon2, _ = hash_password("secret")
    users = [
        user("a"),
        {"name": "b", "password": "plain", "tags": "administrator, monitoring"},
        {"name": "c", "password_hash": argon2, "hashing_algorithm": "argon2id", "tags": []},
        {"name": "d", "password_hash": "", "tags": []},
    ]
    import_definitions(kept.broker, {"users": users})
    for name, password in (("a", "pw"), ("b", "plain"), ("c", "secret")):
        found = kept.broker.users.get(name)
        assert check_password(found.password_hash, found.hashing, password).right
    assert kept.broker.users.get("b").tags == ("administrator", "monitoring")
    assert kept.broker.users.get("d").hashing == ""


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "a definitions file must be a JSON object"),
        ({"users": {}}, "users: must be a list, not {}"),
        ({"users": [{}]}, "users[0]: 'name' is missing"),
        ({"users": ["secret"]}, "users[0]: must be an object"),
        ({"users": [{"name": "a", "password": 7}]}, "users[0]: 'password' must be a text"),
        (
            {"users": [user("a", hashing_algorithm="no")]},
            "users[0]: user 'a': unknown hashing algorithm 'no'; there are argon2id, "
            "rabbit_password_hashing_sha256, rabbit_password_hashing_sha512, rabbit_password_hashing_md5",
        ),
        (
            {"users": [user("a", limits={"max-queues": 1})]},
            "user 'a': unknown limit 'max-queues'; there are max-channels, max-connections",
        ),
        (
            {
                "permissions": [
                    {"user": "u", "vhost": "/", "configure": "", "write": "", "read": ""}
                ]
            },
            "permission of user 'u' in virtual host '/': User 'u' does not exist",
        ),
        (
            {
                "permissions": [
                    {"user": "guest", "vhost": "/", "configure": "*", "write": "", "read": ""}
                ]
            },
            "permission of user 'guest' in virtual host '/': invalid regular expression '*': "
            "nothing to repeat at position 0",
        ),
        (
            {
                "policies": [
                    {"vhost": "/", "name": "p", "pattern": "", "definition": {"max-length": -1}}
                ]
            },
            "policy 'p' in virtual host '/': Validation failed\n\n-1 is not a valid maximum length",
        ),
        (
            {"queues": [queue("q", "v")]},
            "queue 'q' in virtual host 'v': Virtual host 'v' does not exist",
        ),
        ({"queues": [queue("")]}, "queues[0]: 'name' must not be empty"),
        (
            {"queues": [queue("q", durable=1) | {"durable": 1}]},
            "queues[0]: 'durable' must be true or false, not 1",
        ),
        (
            {"queues": [queue("q", x_message_ttl="1")]},
            "queue 'q' in virtual host '/': invalid arg 'x-message-ttl' for queue 'q' in vhost '/': "
            '"expected integer, got longstr"',
        ),
        (
            {"queues": [queue("q", n=1 << 70)]},
            "queues[0]: arguments cannot be written as a table: int too large to convert",
        ),
        (
            {"queues": [queue("q"), queue("q", x_max_length=1)]},
            "queue 'q' in virtual host '/': inequivalent arg 'x-max-length' for queue 'q' in vhost '/': "
            "received the value '1' of type 'signedint' but current is none",
        ),
        (
            {"exchanges": [exchange("amq.topic", "direct")]},
            "exchange 'amq.topic' in virtual host '/': inequivalent arg 'type' for exchange 'amq.topic' "
            "in vhost '/': received 'direct' but current is 'topic'",
        ),
        (
            {"exchanges": [exchange("amq.new")]},
            "exchange 'amq.new' in virtual host '/': exchange name 'amq.new' contains reserved prefix 'amq.*'",
        ),
        (
            {"queues": [queue("q")], "bindings": [binding("", "queue", "q")]},
            "binding from exchange '' to queue 'q' with key 'k' in virtual host '/': operation not "
            "permitted on the default exchange",
        ),
        (
            {
                "parameters": [
                    {
                        "component": "vhost-limits",
                        "vhost": "/",
                        "name": "limits",
                        "value": {"max-queues": 1},
                    }
                ],
                "queues": [queue("a"), queue("b")],
            },
            "virtual host '/' has 0 queues and may have 1: 2 more are too many",
        ),
    ],
)
def test_a_fault_is_told_and_nothing_changes(document: Any, text: str) -> None:
    kept = Kept()
    before = export_definitions(kept.broker)
    if isinstance(document, dict):
        document = {"users": [user("first")], "vhosts": [{"name": "first"}], **document}
    with pytest.raises(BadValue) as caught:
        import_definitions(kept.broker, document)
    assert caught.value.text.split("'utf-8'")[0] == text
    assert export_definitions(kept.broker) == before
    assert len(kept.broker.end_turn()) == 1  # that it has started


def test_what_is_there_and_differs_is_a_fault_and_nothing_changes() -> None:
    kept = Kept()
    import_definitions(kept.broker, WHOLE)
    kept.broker.end_turn()
    before = export_definitions(kept.broker)
    other = WHOLE | {
        "queues": [queue("new"), queue("q", x_max_length=6, x_dead_letter_exchange="e")]
    }
    with pytest.raises(BadValue, match="received '6' but current is '5'"):
        import_definitions(kept.broker, other)
    assert export_definitions(kept.broker) == before
    assert kept.broker.end_turn() == []


def test_an_exclusive_queue_of_a_client_is_in_the_way() -> None:
    kept = Kept()
    client = Client(kept.broker)
    kept.broker.definitions.declare_queue(client.session, "q", True, True, False, {})
    with pytest.raises(BadValue, match="cannot obtain exclusive access to locked queue 'q'"):
        import_definitions(kept.broker, {"vhosts": [{"name": "v"}], "queues": [queue("q")]})
    assert list(kept.broker.vhosts) == ["/"]


def test_what_an_exchange_remembers_is_read_before_it_is_bound() -> None:
    kept = Kept()
    wanted = {
        "exchanges": [exchange("h", "x-recent-history")],
        "queues": [queue("a")],
        "bindings": [binding("h", "queue", "a")],
    }
    import_definitions(kept.broker, wanted)
    history = kept.broker.vhosts["/"].exchanges["h"].history
    assert history is not None
    run = make_run([1])
    kept.broker.intake.put(run, (history,))
    data, run.data = run.data, b""  # as if it was paged out
    import_definitions(kept.broker, wanted)
    more = wanted | {"queues": [queue("b")], "bindings": [binding("h", "queue", "b")]}
    with pytest.raises(BadValue, match="what the exchange remembers is being read, try again"):
        import_definitions(kept.broker, more)
    assert list(kept.broker.vhosts["/"].queues) == ["a"]
    run.data = data
    import_definitions(kept.broker, more)
    assert kept.broker.vhosts["/"].queues["b"].ready_count == 1


def test_limits_count_what_is_there() -> None:
    kept = Kept()
    import_definitions(kept.broker, {"queues": [queue("a"), queue("b")]})
    limit = {"component": "vhost-limits", "vhost": "/", "name": "limits"}
    import_definitions(kept.broker, {"parameters": [limit | {"value": {"max-queues": 2}}]})
    import_definitions(kept.broker, {"queues": [queue("a")]})
    with pytest.raises(BadValue, match="has 2 queues and may have 2: 1 more"):
        import_definitions(kept.broker, {"queues": [queue("a"), queue("c")]})
    more = {"parameters": [limit | {"value": {"max-queues": 3}}], "queues": [queue("c")]}
    import_definitions(kept.broker, more)
    assert sorted(kept.broker.vhosts["/"].queues) == ["a", "b", "c"]


def test_what_means_nothing_here_is_told() -> None:
    kept = Kept()
    done = import_definitions(
        kept.broker,
        {
            "parameters": [
                {"component": "federation-upstream", "name": "up", "vhost": "/", "value": {}}
            ],
            "global_parameters": [{"name": "cluster_name", "value": "x"}],
            "exchanges": [exchange("j", "x-jms-topic")],
            "bindings": [binding("j", "queue", "q"), binding("amq.topic", "queue", "none")],
            "queues": [queue("q")],
            "shovels": [1],
            "product_name": "RabbitMQ",
        },
    )
    assert done.skipped == [
        "parameter 'up' of component 'federation-upstream' in virtual host '/'",
        "exchange 'j' in virtual host '/': there is no type 'x-jms-topic' here",
        "global parameter 'cluster_name'",
        "section 'shovels'",
        "binding from exchange 'j' to queue 'q' with key 'k' in virtual host '/': there is no exchange 'j'",
        "binding from exchange 'amq.topic' to queue 'none' with key 'k' in virtual host '/': "
        "there is no queue 'none'",
    ]
    assert list(kept.broker.vhosts["/"].queues) == ["q"]


def test_pairs_are_read_as_rabbitmqctl_writes_them() -> None:
    kept = Kept()
    vhost = {"name": "v", "limits": [["max-connections", 10], ["max-queues", 5]]}
    import_definitions(kept.broker, {"vhosts": [vhost, {"name": "w", "limits": []}]})
    assert kept.broker.vhosts["v"].limits == {"max-connections": 10, "max-queues": 5}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b'{"a": NaN}', "not JSON that can be used: NaN is not JSON"),
        (b"[" * 100_000, "not JSON that can be used: maximum recursion depth"),
        (b'{"a": "\xff"}', "not JSON: invalid start byte at byte 7"),
        (b"1" * 10_000, "not JSON that can be used: Exceeds the limit"),
    ],
)
def test_bytes_that_are_no_document(raw: bytes, text: str) -> None:
    with pytest.raises(BadValue) as caught:
        read_document(raw)
    assert caught.value.text.startswith(text)


# -- files of RabbitMQ

FILES = Path(__file__).parent.parent / "testdata/definitions"
PASSWORDS = {
    "guest": "guest",
    "alice": "alice's secret",
    "worker": "worker's secret",
    "app": "app's secret",
    "Jürgen": "grüße ☂",
    "strong": "strong's secret",
    "old": "old's secret",
}


def file_of_rabbitmq(name: str) -> Any:
    return read_document((FILES / f"rabbitmq-3.10.8{name}.json").read_bytes())


def by_name(rows: list[Any]) -> dict[tuple[str, ...], Any]:
    return {
        tuple(row.get(key, "") for key in ("vhost", "user", "exchange", "name")): row
        for row in rows
    }


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        (
            "",
            [
                "what policy 'ha' in virtual host '/' says of ha-mode, ha-sync-mode",
                "global parameter 'mqtt_default_vhosts'",
                "global parameter 'note'",
                "global parameter 'cluster_name'",
                "binding from exchange 'events' to exchange 'inner' with key 'order.#' in virtual host 'shop': "
                "there is no exchange 'inner'",
                "binding from exchange 'inner' to exchange 'lost' with key '' in virtual host 'shop': "
                "there is no exchange 'inner'",
            ],
        ),
        (
            "-http",
            [
                "what policy 'ha' in virtual host '/' says of ha-mode, ha-sync-mode",
                "global parameter 'mqtt_default_vhosts'",
                "global parameter 'note'",
                "global parameter 'cluster_name'",
                "global parameter 'internal_cluster_id'",
            ],
        ),
    ],
)
def test_a_file_of_rabbitmq(name: str, skipped: list[str]) -> None:
    document = file_of_rabbitmq(name)
    kept = Kept()
    done = import_definitions(kept.broker, document, fresh=True)
    assert done.skipped == skipped
    for user, password in PASSWORDS.items():
        found = kept.broker.users.get(user)
        assert check_password(found.password_hash, found.hashing, password).right, user
    assert kept.broker.users.get("nologin").hashing == ""
    said = export_definitions(kept.restored())
    assert again(said) == (said, said)
    for section in ("users", "permissions", "topic_permissions", "policies"):
        assert by_name(said[section]) == by_name(document[section])
    for section in ("queues", "exchanges"):
        durable = [row for row in document[section] if row["durable"]]
        for row in durable:  # what the one or the other way of exporting does not say
            row.setdefault("internal", False)
            row.setdefault("type", row["arguments"].get("x-queue-type", "classic"))
            if section == "queues":
                del row["internal"]
        assert by_name(said[section]) == by_name(durable)
    ends = [row["name"] for row in document["queues"] + document["exchanges"] if not row["durable"]]
    lasting = [
        row
        for row in document["bindings"]
        if not {row["source"], row["destination"]} & {*ends, *(["inner"] if not name else [])}
    ]
    key = json.dumps
    assert sorted(said["bindings"], key=lambda row: key(row, sort_keys=True)) == sorted(
        lasting, key=lambda row: key(row, sort_keys=True)
    )


def test_a_file_of_one_virtual_host() -> None:
    document = file_of_rabbitmq("-vhost")
    kept = Kept()
    with pytest.raises(BadValue, match=r"\[0\]: 'vhost' is missing"):
        import_definitions(kept.broker, document)
    with pytest.raises(BadValue, match="Virtual host 'copy' does not exist"):
        import_definitions(kept.broker, document, vhost="copy")
    kept.broker.administration.put_vhost("copy")
    kept.broker.administration.put_vhost("shop")
    import_definitions(kept.broker, document, vhost="copy")
    assert len(kept.broker.vhosts["copy"].queues) == 14
    assert not kept.broker.vhosts["shop"].queues
    with pytest.raises(BadValue, match="the file is not of one virtual host"):
        import_definitions(kept.broker, file_of_rabbitmq(""), vhost="copy")


# -- any definitions

NAMES = st.text(st.characters(blacklist_categories=("C",)), min_size=1, max_size=5).filter(
    lambda name: name.isprintable() and not name.startswith("amq.")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=4)
    | st.integers(0, 1 << 40).map(Timestamp)
    | st.decimals(0, 1000, places=2)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=3)
PATTERNS = st.sampled_from(("", ".*", "^a", "b$", "[x-z]"))


@st.composite
def brokers(draw: st.DrawFn) -> Kept:
    """A broker with whatever operators and clients can define."""
    kept = Kept()
    broker, administration = kept.broker, kept.broker.administration
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        administration.put_vhost(name, {"description": name, "tags": []})
        administration.limit_vhost(name, draw(st.sampled_from(({}, {"max-queues": 9}))))
        for policy, operator_policy in draw(st.lists(st.tuples(NAMES, st.booleans()), max_size=2)):
            definition = {"max-length": draw(st.integers(0, 9)), "expires": 10_000}
            apply_to = draw(st.sampled_from(APPLY_TO))
            pattern = draw(PATTERNS)
            priority = draw(st.integers(-3, 3))
            broker.policies.put(
                name, policy, pattern, definition, priority, apply_to, operator_policy
            )
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        administration.put_user(name, HASH, "rabbit_password_hashing_sha256", [name])
        for vhost in list(broker.vhosts):
            patterns = draw(st.none() | st.tuples(PATTERNS, PATTERNS, PATTERNS))
            if patterns is not None:
                administration.permit(name, vhost, Permission(*patterns))
    if draw(st.booleans()):
        administration.delete_user("guest")
    for vhost in list(broker.vhosts):
        session = operator(vhost)
        ends: list[tuple[str, str]] = [("exchange", "amq.headers"), ("exchange", "amq.topic")]
        for name in draw(st.lists(NAMES, max_size=3, unique=True)):
            durable = draw(st.booleans())
            type = draw(st.sampled_from([each for each in EXCHANGE_TYPES if each[1] != "-"]))
            arguments = draw(TABLES)
            broker.definitions.declare_exchange(
                session, name, type, durable, draw(st.booleans()), False, arguments
            )
            ends.append(("exchange", name))
        for name in draw(st.lists(NAMES, max_size=3, unique=True)):
            broker.definitions.declare_queue(
                session, name, draw(st.booleans()), False, draw(st.booleans()), draw(TABLES)
            )
            ends.append(("queue", name))
        for _ in range(draw(st.integers(0, 4))):
            source = draw(st.sampled_from([name for kind, name in ends if kind == "exchange"]))
            kind, name = draw(st.sampled_from(ends))
            definitions = broker.definitions
            bind = definitions.bind_queue if kind == "queue" else definitions.bind_exchange
            bind(session, name, source, draw(NAMES), draw(TABLES))
    return kept


def durable_only(broker: Broker) -> Any:
    """All that the log would remember, without ids."""
    snapshot = json.loads(json.dumps(take_snapshot(broker)))
    for host in snapshot["vhosts"].values():
        for queue in host["queues"]:
            del queue["id"]
        for kind in ("policies", "operator_policies"):
            host.get(kind, []).sort(key=lambda row: row["name"])
    del snapshot["next_queue_id"]
    for each in snapshot.get("access", {}).values():
        each.sort(key=lambda row: (row["user"], row.get("vhost", "")))
    return snapshot


@given(brokers())
def test_export_import_export_is_the_identity(kept: Kept) -> None:
    said = json.loads(json.dumps(export_definitions(kept.broker)))
    other = Kept()
    done = import_definitions(other.broker, said, fresh=True)
    assert done.skipped == []
    assert export_definitions(other.broker) == said
    if not kept.broker.users.implied:
        assert durable_only(other.broker) == durable_only(kept.broker)
    assert export_definitions(other.restored()) == said
    done = import_definitions(other.broker, said)
    assert {changed for _, changed in done.counts.values()} == {0}
