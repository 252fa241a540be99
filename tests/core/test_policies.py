"""The commands of operators about policies: what they refuse, what they answer, and that a restart knows them."""

from typing import Any
from unittest.mock import patch

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import BadValue, NotFound
from mansio.core.patterns import PATTERN_CHARS_MAX
from mansio.core.policies import DEFINITION_CHARS_MAX
from mansio.core.records import STARTED, Damaged, encode_topology
from mansio.core.restore import Restore
from mansio.core.topology_records import take_snapshot
from tests.core.play import Client, make_timed, put, turn
from tests.core.test_restore import Writer

SHORT = {"max-length": 1}


def test_a_policy_holds_for_what_is_there_and_for_what_comes_later() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    before = client.declare("q1")
    broker.policies.put("/", "a", "^q", SHORT)
    after, other = client.declare("q2"), client.declare("other")
    for queue in (before, after, other):
        put(client, queue, 1, 2)
    turn(broker)
    assert [queue.ready_count for queue in (before, after, other)] == [1, 1, 2]
    assert client.declare("q1") is before, "declared anew it is the same: policies do not count"


def test_what_holds_is_told_with_names() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare()
    client.exchange("x")
    policies = broker.policies
    policies.put("/", "own", "q", {"max-length": 9, "message-ttl": 7})
    policies.put("/", "limits", "", {"max-length": 5}, operator=True)
    assert policies.of(queue) == ("own", "limits", {"max-length": 5, "message-ttl": 7})
    exchange = broker.vhosts["/"].exchanges["x"]
    assert policies.of(exchange) == (None, "limits", {"max-length": 5})
    assert [each.name for each in policies.list("/")] == ["own"]
    assert [each.name for each in policies.list("/", operator=True)] == ["limits"]
    policies.delete("/", "limits", operator=True)
    assert policies.of(queue) == ("own", None, {"max-length": 9, "message-ttl": 7})


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"definition": {"a": 1}}, '[{<<"a">>,1}] are not recognised policy settings'),
        (
            {"apply_to": "nothing"},
            "apply-to 'nothing' unrecognised; should be 'queues', 'classic_queues', 'quorum_queues', 'streams', "
            "'exchanges' or 'all'",
        ),
        (
            {"pattern": "^q("},
            "pattern should be regular expression but is invalid: missing ) at position 3",
        ),
        ({"pattern": 5}, "pattern should be a binary but was 5"),
        (
            {"pattern": "a" * (PATTERN_CHARS_MAX + 1)},
            "pattern should be regular expression but is invalid: "
            f"regular expression is longer than {PATTERN_CHARS_MAX} characters",
        ),
        ({"priority": "x"}, 'priority should be a number, actually was <<"x">>'),
        ({"priority": True}, "priority should be a number, actually was true"),
        (
            {"definition": {}, "apply_to": "x", "pattern": "("},
            "no policy provided\n"
            "apply-to 'x' unrecognised; should be 'queues', 'classic_queues', 'quorum_queues', 'streams', "
            "'exchanges' or 'all'\n"
            "pattern should be regular expression but is invalid: missing ) at position 1",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_nothing_changes(about: dict[str, Any], text: str) -> None:
    broker, _ = make_timed()
    fields: dict[str, Any] = {"pattern": "^q", "definition": SHORT} | about
    with pytest.raises(BadValue) as refused:
        broker.policies.put("/", "a", **fields)
    assert refused.value.text == f"Validation failed\n\n{text}"
    assert not broker.policies.list("/") and not turn(broker)


def test_what_is_too_large_is_refused() -> None:
    broker, _ = make_timed()
    with pytest.raises(BadValue, match="name of a policy"):
        broker.policies.put("/", "a" * 256, "", SHORT)
    with pytest.raises(BadValue, match="definition of a policy"):
        broker.policies.put("/", "a", "", {"ha-params": "x" * DEFINITION_CHARS_MAX})
    with patch("mansio.core.policies.POLICIES_MAX", 2):
        for name in ("a", "b", "a"):
            broker.policies.put("/", name, "", SHORT, len(name))
        with pytest.raises(BadValue, match="there are 2 policies"):
            broker.policies.put("/", "c", "", SHORT)
        broker.policies.put("/", "c", "", SHORT, operator=True)


def test_what_is_not_there() -> None:
    broker, _ = make_timed()
    with pytest.raises(NotFound, match="Virtual host 'nope' does not exist"):
        broker.policies.put("nope", "a", "", SHORT)
    with pytest.raises(NotFound, match="Virtual host 'nope' does not exist"):
        broker.policies.list("nope")
    for vhost in ("/", "nope"):
        with pytest.raises(NotFound, match="Parameter does not exist"):
            broker.policies.delete(vhost, "a")
    broker.policies.put("/", "a", "", SHORT)
    with pytest.raises(NotFound, match="Parameter does not exist"):
        broker.policies.delete("/", "a", operator=True)


def test_the_same_again_is_no_change() -> None:
    broker, _ = make_timed()
    for records in (1, 0):
        broker.policies.put("/", "a", "", SHORT)
        assert len(turn(broker)) == records


def test_an_exchange_gets_an_alternate_and_loses_it() -> None:
    broker, _ = make_timed()
    client = Client(broker)
    queue = client.declare()
    client.exchange("x")
    client.exchange("others", "fanout")
    define, session, rights = broker.definitions, client.session, client.session.rights
    define.bind_queue(session, "q", "others", "", {})
    assert not broker.route(rights, "x", "key", False, 1, 0).queues
    version = broker.vhosts["/"].version
    broker.policies.put("/", "a", "^x$", {"alternate-exchange": "others"}, apply_to="exchanges")
    assert broker.vhosts["/"].version > version, "connections have to look up their routes anew"
    assert broker.route(rights, "x", "key", False, 1, 0).queues == (queue,)
    assert broker.route(rights, "amq.direct", "key", False, 1, 0).queues == ()
    define.delete_exchange(session, "x", False)
    client.exchange("x")
    assert broker.route(rights, "x", "key", False, 1, 0).queues == (queue,)
    broker.policies.delete("/", "a")
    assert not broker.route(rights, "x", "key", False, 1, 0).queues


def _write(writer: Writer) -> None:
    define, policies = writer.broker.definitions, writer.broker.policies
    define.declare_queue(writer.session, "q", True, False, False, {})
    policies.put("/", "gone", "q", {"max-length": 0})
    policies.put("/", "a", "^q", {"max-priority": 2}, 5, "queues")
    policies.delete("/", "gone")
    policies.put("/", "o", "", {"message-ttl": 500}, operator=True)
    policies.put("/", "x", "amq", {"alternate-exchange": "y"}, apply_to="exchanges")


def _check_restored(broker: Broker) -> None:
    queue = broker.vhosts["/"].queues["q"]
    assert queue.asked == {"x-max-priority": 2, "x-message-ttl": 500}
    assert broker.policies.of(queue)[:2] == ("a", "o")
    (a, x) = broker.policies.list("/")
    assert (a.name, a.pattern, a.apply_to, a.priority) == ("a", "^q", "queues", 5)
    assert x.definition == {"alternate-exchange": "y"}
    assert broker.vhosts["/"].exchanges["amq.direct"].alternate == "y"


def test_a_restart_knows_policies_from_their_records() -> None:
    writer = Writer()
    _write(writer)
    writer.turn()
    _check_restored(writer.restored())


def test_a_restart_knows_policies_from_a_snapshot() -> None:
    writer = Writer()
    _write(writer)
    snapshot = take_snapshot(writer.broker)
    writer.records = [b"".join(encode_topology(snapshot))]
    broker = writer.restored()
    _check_restored(broker)
    assert take_snapshot(broker)["vhosts"] == snapshot["vhosts"]
    again = Restore(broker := Broker())
    for _ in range(2):
        again.apply(writer.records[0])
    again.finish()
    check(broker)
    _check_restored(broker)


@pytest.mark.parametrize(
    "wrong",
    [
        {"apply_to": "nothing"},
        {"definition": []},
        {"pattern": "("},
        {"pattern": None},
        {"operator": None, "name": None, "do": "delete policy", "vhost": "nope"},
    ],
)
def test_a_record_that_makes_no_sense_is_damage(wrong: dict[str, Any]) -> None:
    restore = Restore(Broker())
    restore.apply(b"".join(encode_topology({"do": STARTED, "version": "test", "new": True})))
    change: dict[str, Any] = {
        "do": "put policy",
        "vhost": "/",
        "operator": False,
        "name": "a",
        "pattern": "",
        "apply_to": "all",
        "priority": 0,
        "definition": SHORT,
    }
    with pytest.raises(Damaged):
        restore.apply(b"".join(encode_topology(change | wrong)))
