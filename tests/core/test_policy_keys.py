"""Keys and values of policies: what is refused, in RabbitMQ's words, and whose value counts."""

from typing import Any

import pytest

from mansio.core.policy_keys import FOREIGN, ask, erlang_text, fault, foreign_keys, merge

VALID = "is not a valid"


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        ({"nonsense": 1}, '[{<<"nonsense">>,1}] are not recognised policy settings'),
        (
            {"message-ttl": 1, "other": "a", "nonsense": 1},
            '[{<<"nonsense">>,1},{<<"other">>,<<"a">>}] are not recognised policy settings',
        ),
        ({"message-ttl": "1"}, f'<<"1">> {VALID} message TTL'),
        ({"message-ttl": 1.5}, f"1.5 {VALID} message TTL"),
        ({"message-ttl": True}, f"true {VALID} message TTL"),
        ({"message-ttl": None}, f"null {VALID} message TTL"),
        ({"message-ttl": [1, "a"]}, f'[1,<<"a">>] {VALID} message TTL'),
        ({"message-ttl": {"a": 1}}, f'#{{<<"a">> => 1}} {VALID} message TTL'),
        ({"message-ttl": -1}, f"-1 {VALID} message TTL"),
        ({"expires": 0}, f"0 {VALID} queue expiry"),
        ({"max-length": -1}, f"-1 {VALID} maximum length"),
        ({"max-length-bytes": "1"}, f'<<"1">> {VALID} maximum length in bytes'),
        ({"overflow": "x"}, f'<<"x">> {VALID} overflow value'),
        ({"dead-letter-exchange": 5}, f"5 {VALID} dead letter exchange name"),
        ({"dead-letter-routing-key": 5}, f"5 {VALID} dead letter routing key"),
        ({"dead-letter-routing-key": "k" * 256}, f'<<"{"k" * 256}">> {VALID} dead letter routing key'),
        ({"dead-letter-strategy": "x"}, f'<<"x">> {VALID} dead letter strategy'),
        ({"alternate-exchange": []}, f"[] {VALID} alternate exchange name"),
        ({"max-age": "7x"}, f'<<"7x">> {VALID} max age'),
        ({"max-age": 7}, f"7 {VALID} max age"),
        ({"stream-max-segment-size-bytes": 3_000_000_001}, f"3000000001 {VALID} segment size"),
        ({"queue-mode": "x"}, f'<<"x">> {VALID} queue-mode value'),
        ({"queue-version": 3}, f"3 {VALID} queue-version value"),
        ({"queue-leader-locator": "x"}, f'<<"x">> {VALID} queue leader locator value'),
        ({"initial-cluster-size": -1}, f"-1 {VALID} cluster size"),
        ({"max-in-memory-length": "x"}, f'<<"x">> {VALID} maximum memory in bytes'),
        ({"delivery-limit": -2}, f"-2 {VALID} delivery limit"),
        ({"max-priority": 256}, f"256 {VALID} maximum priority"),
        ({"consumer-timeout": -1}, f"-1 {VALID} consumer timeout"),
        ({}, "no policy provided"),
        ([], "definition must be a dictionary: []"),
        (5, "definition must be a dictionary: 5"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_definition(definition: Any, text: str) -> None:
    assert fault(definition, operator=False) == text


@pytest.mark.parametrize(
    "definition",
    [
        {"message-ttl": 0, "expires": 1, "max-length": 0, "max-length-bytes": 0},
        {"dead-letter-exchange": "", "dead-letter-routing-key": "", "overflow": "drop-head"},
        {"delivery-limit": -1, "max-priority": 255, "consumer-timeout": 0},
        {"max-age": "7D", "stream-max-segment-size-bytes": 3_000_000_000},
        {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"},
        {"federation-upstream-set": "all", "shards-per-node": 3, "queue-master-locator": "x"},
        {"queue-mode": "lazy", "queue-version": 2, "queue-leader-locator": "balanced"},
    ],
)
def test_what_is_right(definition: dict[str, Any]) -> None:
    assert fault(definition, operator=False) is None


def test_operators_say_less() -> None:
    unknown = {"dead-letter-exchange": "x"}
    text = '[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings'
    assert fault(unknown, operator=True) == text
    assert fault({"message-ttl": "x"}, operator=True) == '<<"x">> is not a valid message TTL'
    assert fault({"max-length": 1, "overflow": "reject-publish"}, operator=True) is None


def test_the_lower_limit_of_both_policies_counts() -> None:
    policy = {
        "max-length": 10,
        "message-ttl": 5000,
        "dead-letter-exchange": "x",
        "delivery-limit": -1,
    }
    operator = {"max-length": 5, "message-ttl": 9000, "expires": 100, "delivery-limit": 3}
    assert merge(policy, operator) == {
        "max-length": 5,
        "message-ttl": 5000,
        "dead-letter-exchange": "x",
        "expires": 100,
        "delivery-limit": 3,
    }
    assert merge({"overflow": "drop-head"}, {"overflow": "reject-publish"}) == {
        "overflow": "reject-publish"
    }
    assert merge({"consumer-timeout": 0}, {"consumer-timeout": 9}) == {"consumer-timeout": 9}


QUORUM = {"x-queue-type": "quorum"}
STREAM = {"x-queue-type": "stream"}


@pytest.mark.parametrize(
    ("arguments", "definition", "key", "value"),
    [
        ({"x-max-length": 4}, {"max-length": 2}, "x-max-length", 2),
        ({"x-max-length": 4}, {"max-length": 5}, "x-max-length", 4),
        ({"x-message-ttl": 4}, {"message-ttl": 5}, "x-message-ttl", 4),
        ({"x-expires": 4}, {"expires": 5}, "x-expires", 4),
        ({"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, "x-overflow", "drop-head"),
        ({"x-dead-letter-exchange": "a"}, {"dead-letter-exchange": "b"}, "x-dead-letter-exchange", "a"),
        ({"x-max-priority": 3}, {"max-priority": 5}, "x-max-priority", 3),
        ({"x-consumer-timeout": 0}, {"consumer-timeout": 5}, "x-consumer-timeout", 5),
        ({"x-consumer-timeout": 7}, {"consumer-timeout": 0}, "x-consumer-timeout", 7),
        (QUORUM | {"x-max-length": 4}, {"max-length": 5}, "x-max-length", 4),
        (QUORUM | {"x-overflow": "drop-head"}, {"overflow": "reject-publish"}, "x-overflow", "reject-publish"),
        (QUORUM | {"x-expires": 4}, {"expires": 5}, "x-expires", 5),
        (QUORUM | {"x-delivery-limit": 4}, {"delivery-limit": 5}, "x-delivery-limit", 4),
        (QUORUM | {"x-delivery-limit": 4}, {"delivery-limit": -1}, "x-delivery-limit", 4),
        (QUORUM | {"x-delivery-limit": "x"}, {"delivery-limit": 5}, "x-delivery-limit", 5),
        (STREAM | {"x-max-length-bytes": 4}, {"max-length-bytes": 5}, "x-max-length-bytes", 5),
        (STREAM | {"x-max-age": "1h"}, {"max-age": "2h"}, "x-max-age", "2h"),
    ],
)  # fmt: skip
def test_whose_value_counts(
    arguments: dict[str, Any], definition: dict[str, Any], key: str, value: Any
) -> None:
    assert ask(arguments, definition)[key] == value


def test_what_has_no_effect_is_not_asked() -> None:
    assert ask({"x-a": 1}, {"ha-mode": "all", "queue-mode": "lazy"}) == {"x-a": 1}


def test_groups_have_no_order_or_bounds_of_their_own() -> None:
    assert foreign_keys(QUORUM) == FOREIGN["quorum"]
    assert {"max-length", "message-ttl"} <= foreign_keys(QUORUM | {"x-stream": "s"})


def test_text_that_is_not_ascii_is_marked() -> None:
    assert erlang_text("ä") == '<<"ä"/utf8>>'
