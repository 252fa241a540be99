"""Which policies hold for a queue or an exchange."""

from typing import Any

import pytest

from mansio.core.policy import Policy, PolicySet
from mansio.core.queue import Queue
from mansio.core.routing import Exchange


def policy(name: str, pattern: str = "", **about: Any) -> Policy:
    definition = about.get("definition", {"max-length": 1})
    apply_to, priority = about.get("apply_to", "all"), about.get("priority", 0)
    return Policy(name, pattern, apply_to, priority, definition)


def queue(name: str = "orders", **arguments: Any) -> Queue:
    named = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return Queue(1, "/", name, arguments=named)


def holding(policies: list[Policy], of: Queue | Exchange) -> str | None:
    known = PolicySet()
    for each in policies:
        known.put(each, operator=False)
    own, operator = known.of_queue(of) if isinstance(of, Queue) else known.of_exchange(of)
    assert operator is None
    return None if own is None else own.name


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("", True), ("^ord", True), ("rder", True), ("ers$", True), ("^rder", False), ("(?i)ORD", True)],
)  # fmt: skip
def test_a_pattern_is_found_anywhere_in_the_name(pattern: str, matches: bool) -> None:
    assert holding([policy("a", pattern)], queue()) == ("a" if matches else None)


def test_the_highest_priority_counts_alone_and_then_the_first_name() -> None:
    others = [
        policy("c"),
        policy("b"),
        policy("lowest", priority=-1),
        policy("no", "^x", priority=9),
    ]
    assert holding(others, queue()) == "b"
    assert holding([*others, policy("z", priority=1)], queue()) == "z"


@pytest.mark.parametrize(
    ("apply_to", "kinds"),
    [
        ("all", "classic quorum stream exchange"),
        ("queues", "classic quorum stream"),
        ("classic_queues", "classic"),
        ("quorum_queues", "quorum"),
        ("streams", "stream"),
        ("exchanges", "exchange"),
    ],
)
def test_what_a_policy_is_for(apply_to: str, kinds: str) -> None:
    known = [policy("a", apply_to=apply_to, definition={"max-length-bytes": 1})]
    found = [
        kind for kind in ("classic", "quorum", "stream") if holding(known, queue(queue_type=kind))
    ]
    found += ["exchange"] if holding(known, Exchange("orders", "direct")) else []
    assert found == kinds.split()


def test_one_key_that_queues_of_a_type_do_not_have_is_enough() -> None:
    known = [
        policy("a", definition={"max-length": 1, "delivery-limit": 1}, priority=1),
        policy("b", definition={"max-length-bytes": 1}),
    ]
    assert holding(known, queue()) == "b"
    assert holding(known, queue(queue_type="quorum")) == "a"
    assert holding(known, queue(queue_type="stream")) == "b"
    assert holding(known, queue(stream="s")) is None, "a group"


def test_reply_queues_and_the_default_exchange_are_left_alone() -> None:
    assert holding([policy("a")], queue("amq.rabbitmq.reply-to.x")) is None
    assert holding([policy("a")], Exchange("", "direct")) is None
    assert holding([policy("a")], queue("amq.gen-x")) == "a"


def test_policies_are_replaced_by_name_and_taken_away() -> None:
    known = PolicySet()
    known.put(policy("a", "^q"), operator=False)
    known.put(policy("a", "^o"), operator=False)
    known.put(policy("a", "r", definition={"max-length": 9}), operator=True)
    own, operator = known.of_queue(queue())
    assert own is not None and operator is not None
    assert (own.pattern, operator.pattern) == ("^o", "r")
    assert known.asked(queue()) == {"x-max-length": 1}
    assert known.remove("a", operator=False) == own
    assert known.remove("a", operator=False) is None
    assert known.asked(queue()) == {"x-max-length": 9}


def test_the_argument_of_an_exchange_counts_more() -> None:
    known = PolicySet()
    known.put(policy("a", definition={"alternate-exchange": "theirs"}), operator=False)
    assert known.alternate(Exchange("x", "direct")) == "theirs"
    own = Exchange("x", "direct", arguments={"alternate-exchange": "own"})
    assert known.alternate(own) == "own"
