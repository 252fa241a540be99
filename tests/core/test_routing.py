"""How exchanges choose: each type against a reference that is too simple to be wrong."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.queue import Queue
from mansio.core.routing import Binding, Exchange, Route, freeze
from tests.core.play import Message

QUEUE = Queue(1, "/", "q")


def bind(exchange: Exchange, key: str = "", arguments: dict[str, Any] | None = None) -> Binding:
    binding = Binding(exchange, QUEUE, key, arguments or {})
    exchange.matcher.add(binding)
    return binding


def matched(exchange: Exchange, key: str = "", headers: dict[str, Any] | None = None) -> list[str]:
    found = list(exchange.matcher.match([key], Message(headers=headers or {})))
    assert len(set(map(id, found))) == len(found), "a binding matched twice"
    return sorted(binding.key for binding in found)


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """Specification 3.1.3.3, word by word."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], words[i:]) for i in range(len(words) + 1))
    if not words or pattern[0] not in ("*", words[0]):
        return False
    return topic_matches(pattern[1:], words[1:])


def words_of(key: str) -> list[str]:
    return key.split(".") if key else []


patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#", "#"]), max_size=5).map(".".join)
keys = st.lists(st.sampled_from(["a", "b", "c", "", "*", "#"]), max_size=6).map(".".join)


@settings(max_examples=300)
@given(
    st.lists(patterns, min_size=1, max_size=8, unique=True), st.lists(keys, max_size=6), st.data()
)
def test_topics_match_as_the_recursive_definition_says(
    chosen: list[str], sent: list[str], data: st.DataObject
) -> None:
    exchange = Exchange("t", "topic")
    bindings = [bind(exchange, pattern) for pattern in chosen]
    gone = data.draw(st.lists(st.sampled_from(bindings), unique_by=id))
    for key in sent:
        expected = [p for p in chosen if topic_matches(words_of(p), words_of(key))]
        assert matched(exchange, key) == sorted(expected)
    for binding in gone:
        exchange.matcher.remove(binding)
    left = [binding.key for binding in bindings if binding not in gone]
    for key in sent:
        expected = [p for p in left if topic_matches(words_of(p), words_of(key))]
        assert matched(exchange, key) == sorted(expected)


def test_no_topic_pattern_is_left_behind() -> None:
    exchange = Exchange("t", "topic")
    bindings = [bind(exchange, key) for key in ("a.b.c", "a.b", "a.*.c", "#", "", "a.b.#")]
    for binding in bindings:
        exchange.matcher.remove(binding)
    root = exchange.matcher._root  # type: ignore[attr-defined]
    assert (root.next, root.ends) == ({}, [])


def test_many_hashes_cost_no_exponential_time() -> None:
    exchange = Exchange("t", "topic")
    bind(exchange, ".".join(["#"] * 60 + ["x"]))
    bind(exchange, ".".join(["#", "a"] * 40))
    assert len(matched(exchange, ".".join(["a"] * 120))) == 1
    assert len(matched(exchange, ".".join(["a"] * 119 + ["x"]))) == 1


def test_direct_and_fanout() -> None:
    direct, fanout = Exchange("d", "direct"), Exchange("f", "fanout")
    bindings = [bind(direct, key) for key in ("a", "a", "b", "")]
    assert [matched(direct, key) for key in ("a", "b", "", "c", "*")] == [
        ["a", "a"],
        ["b"],
        [""],
        [],
        [],
    ]
    direct.matcher.remove(bindings[0])
    assert matched(direct, "a") == ["a"]
    first, _ = bind(fanout, "x"), bind(fanout, "y")
    assert matched(fanout, "z") == ["x", "y"]
    fanout.matcher.remove(first)
    assert matched(fanout, "z") == ["y"]


BOTH = {"a": 1, "b": "two"}
HEADERS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    (BOTH, {"a": 1, "b": "two", "c": None}, True),
    (BOTH, {"a": 1}, False),
    (BOTH, {"a": 1, "b": "zwei"}, False),
    (BOTH, {}, False),
    ({"x-match": "all", **BOTH}, {"a": 1, "b": "two"}, True),
    ({"x-match": "any", **BOTH}, {"a": 1}, True),
    ({"x-match": "any", **BOTH}, {"b": "two", "a": 2}, True),
    ({"x-match": "any", **BOTH}, {"a": 2, "c": 1}, False),
    ({"x-match": "any", **BOTH}, {}, False),
    # without arguments `all` has nothing against it, `any` nothing for it
    ({}, {}, True),
    ({}, {"a": 1}, True),
    ({"x-match": "any"}, {"a": 1}, False),
    # names that begin with x- count only where that is asked for
    ({"x-a": 1, "b": 1}, {"b": 1}, True),
    ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
    ({"x-match": "all-with-x", "x-a": 1, "b": 1}, {"b": 1}, False),
    ({"x-match": "all-with-x", "x-a": 1, "b": 1}, {"b": 1, "x-a": 1}, True),
    ({"x-match": "any-with-x", "x-a": 1, "b": 1}, {"x-a": 1}, True),
    ({"x-match": "any-with-x", "x-a": 1, "b": 1}, {"x-a": 2}, False),
    # void asks for presence
    ({"a": None}, {"a": False}, True),
    ({"a": None}, {"a": None}, True),
    ({"a": None}, {"b": 1}, False),
    ({"a": 1}, {"a": None}, False),
    # types
    ({"a": 1}, {"a": True}, False),
    ({"a": True}, {"a": 1}, False),
    ({"a": True}, {"a": True}, True),
    ({"a": False}, {"a": 0}, False),
    ({"a": "1"}, {"a": 1}, False),
    ({"a": 1 << 40}, {"a": 1 << 40}, True),
    ({"a": Decimal(1)}, {"a": 1}, False),
    ({"a": Decimal("1.5")}, {"a": Decimal("1.5")}, True),
    ({"a": [1, "x"]}, {"a": [1, "x"]}, True),
    ({"a": [1, "x"]}, {"a": [1]}, False),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
]


@pytest.mark.parametrize(("arguments", "headers", "expected"), HEADERS)
def test_headers(arguments: dict[str, Any], headers: dict[str, Any], expected: bool) -> None:
    exchange = Exchange("h", "headers")
    binding = bind(exchange, "k", arguments)
    assert bool(matched(exchange, "whatever", headers)) == expected
    exchange.matcher.remove(binding)
    assert matched(exchange, "whatever", headers) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0, False), ("1", 1), ([1], [True]), ({"a": 1}, {"a": True}),
     (b"a", "a"), ({}, []), (None, False), ([["a"]], ["a"])],
)  # fmt: skip
def test_frozen_values_keep_their_types_apart(one: Any, other: Any) -> None:
    assert freeze(one) != freeze(other)
    assert len({freeze(one), freeze(other), freeze(one)}) == 2


def test_frozen_tables_do_not_depend_on_the_order_of_their_keys() -> None:
    assert freeze({"a": 1, "b": [{}]}) == freeze({"b": [{}], "a": 1})


def test_routes_of_two_channels_are_never_one_goal() -> None:
    queues = (Queue(1, "/", "a"), Queue(2, "/", "b"))
    one, two = Route("", "k", queues, channel=1), Route("", "k", queues[::-1], channel=1)
    assert one.group == two.group
    assert one.group.isdisjoint(Route("", "k", queues, channel=2).group)
    nowhere = [Route("", "k", (), channel=channel).group for channel in (1, 1, 2)]
    assert nowhere[0] == nowhere[1] != nowhere[2] and all(nowhere)
