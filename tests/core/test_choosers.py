"""Exchanges that send each message one way: by chance, or by a hash."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.draws import Draws
from mansio.core.errors import PreconditionFailed
from mansio.core.matching import Means
from mansio.core.queue import Queue
from mansio.core.routing import Binding, Exchange
from mansio.core.view import compile_nothing
from tests.core.play import Message

KEYS = [f"key {i}" for i in range(2000)]


def make_exchange(type: str, seed: int = 0, **arguments: Any) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return Exchange("x", type, arguments=named, means=Means(Draws(seed), compile_nothing))


def bind(exchange: Exchange, name: str, key: str = "") -> Binding:
    binding = Binding(exchange, Queue(sum(name.encode()), "/", name), key, {})
    exchange.matcher.check_binding(binding)
    exchange.matcher.add(binding)
    return binding


def weighted(weights: dict[str, int]) -> Exchange:
    exchange = make_exchange("x-consistent-hash")
    for name, weight in weights.items():
        bind(exchange, name, str(weight))
    return exchange


def chosen(exchange: Exchange, key: str, message: Message | None = None) -> str:
    (binding,) = exchange.matcher.match([key], message)
    return binding.destination.name


def spread(exchange: Exchange) -> dict[str, str]:
    return {key: chosen(exchange, key) for key in KEYS}


names = st.sampled_from([f"q{i}" for i in range(8)])
weights = st.dictionaries(names, st.integers(1, 20), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(weights)
def test_each_queue_gets_its_weights_share(found: dict[str, int]) -> None:
    counts = Counter(spread(weighted(found)).values())
    total = sum(found.values())
    for name, weight in found.items():
        share = weight / total
        deviation = (share * (1 - share) * len(KEYS)) ** 0.5
        assert abs(counts[name] - share * len(KEYS)) < 5 * deviation + 1


@settings(max_examples=40, deadline=None)
@given(weights, st.integers(1, 20))
def test_a_change_of_weight_moves_only_what_it_has_to(found: dict[str, int], weight: int) -> None:
    name = next(iter(found))
    before, after = spread(weighted(found)), spread(weighted(found | {name: weight}))
    for key in KEYS:
        if (
            before[key] != after[key]
        ):  # all of it to the one that gained, or all from the one that lost
            assert (after[key] if weight > found[name] else before[key]) == name


@settings(max_examples=30, deadline=None)
@given(weights, st.randoms(use_true_random=False))
def test_the_order_of_bindings_and_what_was_unbound_again_change_nothing(
    found: dict[str, int], random: Any
) -> None:
    expected = spread(weighted(found))
    order = list(found)
    random.shuffle(order)
    exchange = make_exchange("x-consistent-hash")
    bindings = [bind(exchange, "gone", "7")]
    for name in order:
        bindings.append(bind(exchange, name, str(found[name])))
    exchange.matcher.remove(bindings[0])
    assert spread(exchange) == expected


def test_what_is_hashed_goes_the_same_way_in_every_process_and_version() -> None:
    exchange = weighted({"a": 1, "b": 2, "c": 3})
    assert "".join(chosen(exchange, key) for key in KEYS[:40]) == STABLE


STABLE = "cbccabcbbccccbabcbccbcccaccabccbbbcbbcca"


def test_bindings_of_one_queue_add_up() -> None:
    split = weighted({"a": 1, "b": 2})
    bind(split, "b", "3")
    assert spread(split) == spread(weighted({"a": 1, "b": 5}))


def test_a_header_or_a_property_may_be_hashed() -> None:
    by_key = weighted({"a": 1, "b": 1, "c": 1})
    by_header = make_exchange("x-consistent-hash", hash_header="customer")
    by_property = make_exchange("x-consistent-hash", hash_property="message_id")
    for exchange in (by_header, by_property):
        assert exchange.matcher.by_content
        for name in "abc":
            bind(exchange, name, "1")
    assert not by_key.matcher.by_content
    for key in KEYS[:100]:
        expected = chosen(by_key, key)
        assert chosen(by_header, "ignored", Message({"customer": key})) == expected
        assert chosen(by_property, "ignored", Message({}, {"message_id": key})) == expected
    without = {chosen(by_header, key, Message()) for key in KEYS[:100]}
    assert len(without) == 1, "messages without the header stay together"
    numbers = {chosen(by_header, "", Message({"customer": i})) for i in range(100)}
    assert numbers == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "The binding key must be an integer: <<>>"),
        ("one", 'The binding key must be an integer: <<"one">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("\N{ARABIC-INDIC DIGIT THREE}", "must be an integer"),
        ("0", "The binding key must be greater than 0"),
        ("-5", "The binding key must be greater than 0"),
    ],
)
def test_a_weight_is_a_positive_integer(key: str, reason: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        bind(make_exchange("x-consistent-hash"), "q", key)
    assert reason in caught.value.text


def test_weights_may_be_huge() -> None:
    exchange = weighted({"a": 1, "b": int("9" * 255)})
    assert set(spread(exchange).values()) == {"b"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"hash_header": "h", "hash_property": "message_id"}, "mutually exclusive"),
        ({"hash_property": "app_id"}, "Unsupported property: app_id"),
        ({"hash_property": True}, "invalid type 'bool' for arg 'hash-property'"),
        ({"hash_header": None}, "invalid type 'void' for arg 'hash-header'"),
    ],
)
def test_arguments_of_the_hash_are_checked(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        make_exchange("x-consistent-hash", **arguments)
    assert reason in caught.value.text


@pytest.mark.parametrize("type", ["x-random", "x-local-random"])
def test_chance_is_even_and_decided_by_the_seed(type: str) -> None:
    exchanges = [make_exchange(type, seed=5), make_exchange(type, seed=5)]
    for exchange in exchanges:
        assert exchange.matcher.by_content
        for name in "abcd":
            bind(exchange, name)
    first, second = (
        [chosen(exchange, "k", Message()) for _ in range(4000)] for exchange in exchanges
    )
    assert first == second
    assert all(850 < count < 1150 for count in Counter(first).values())


def test_a_local_random_exchange_leads_to_queues_only_and_has_no_keys() -> None:
    exchange = make_exchange("x-local-random")
    with pytest.raises(PreconditionFailed, match="Non empty binding 'k' key not permitted"):
        bind(exchange, "q", "k")
    with pytest.raises(PreconditionFailed, match="Destination not found"):
        exchange.matcher.check_binding(Binding(exchange, Exchange("y", "fanout"), "", {}))


def test_a_modulus_hash_uses_all_bindings_and_nothing_but_the_keys() -> None:
    exchange = make_exchange("x-modulus-hash")
    assert list(exchange.matcher.match(["k"], None)) == []
    bindings = [bind(exchange, name) for name in "abc"]
    found = spread(exchange)
    assert all(550 < count < 780 for count in Counter(found.values()).values())
    assert found == spread(exchange)
    assert found == {key: chosen(exchange, key, Message({"x": key})) for key in KEYS}
    exchange.matcher.remove(bindings[1])
    assert set(spread(exchange).values()) == {"a", "c"}
