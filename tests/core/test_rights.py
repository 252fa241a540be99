"""Permissions: who may do what, by patterns over names."""

from typing import Any

import pytest

from mansio.core.errors import AccessRefused, BadValue
from mansio.core.patterns import PATTERN_CHARS_MAX, Pattern
from mansio.core.rights import KNOWN_MAX, Permission, Rights, TopicPermission
from mansio.core.users import User


def rights(*patterns: str, user: str = "ann") -> Rights:
    found = Rights(User(user), "v")
    found.permit(Permission(*patterns))
    return found


def allowed(check: Any, *names: str) -> bool:
    try:
        check(*names)
    except AccessRefused:
        return False
    return True


def test_who_has_no_permission_may_nothing() -> None:
    nobody = Rights(User("ann"), "v")
    for check in (nobody.check_configure, nobody.check_write, nobody.check_read):
        with pytest.raises(AccessRefused) as refused:
            check("queue", "q")
        assert refused.value.text == "access to queue 'q' in vhost 'v' refused for user 'ann'"


def test_each_pattern_is_for_its_own_kind_of_use() -> None:
    some = rights("^c", "^w", "^r")
    checks = {"c": some.check_configure, "w": some.check_write, "r": some.check_read}
    for kind, check in checks.items():
        assert [name for name in ("cat", "wolf", "rat") if allowed(check, "queue", name)] == [
            name for name in ("cat", "wolf", "rat") if name[0] == kind
        ]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (".*", "anything", True),
        ("", "anything", False),
        ("", "", False),
        ("amq", "", True),
        ("^amq\\.default$", "", True),
        ("or", "orders", True),
        ("^(orders|mails)$", "orders", True),
        ("^(orders|mails)$", "orders2", False),
        ("^$", "q", False),
    ],
)
def test_patterns_are_searched_for(pattern: str, name: str, expected: bool) -> None:
    assert allowed(rights("", pattern, "").check_write, "exchange", name) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("^(?!amq\\.).*", "amq.direct", False),
        ("^(?!amq\\.).*", "orders", True),
        ("^[[:alpha:]]+$", "abc", True),
        ("^[[:alpha:]]+$", "a1", False),
        ("a(?i)B", "ab", True),
        ("^.$", "ä", False),  # two bytes
        ("^..$", "ä", True),
        ("ä", "käse", True),
        ("^a\\z", "a\n", False),
    ],
)
def test_the_language_is_that_of_pcre_on_bytes(pattern: str, name: str, expected: bool) -> None:
    assert Pattern(pattern).is_in(name) is expected


def test_a_name_that_is_made_to_take_for_ever_does_not_match() -> None:
    assert not Pattern("^(a|aa)+$").is_in("a" * 200 + "b")
    assert not Pattern("^(([a-z])+.)+[A-Z]([a-z])+$").is_in("a" * 250)


def test_the_default_exchange_has_a_name_in_texts() -> None:
    with pytest.raises(AccessRefused, match=r"^access to exchange 'amq.default' in vhost 'v'"):
        rights("", "", "").check_write("exchange", "")


def test_changes_are_seen_at_once_also_where_the_answer_was_known() -> None:
    some = rights(".*", ".*", "^a")
    assert allowed(some.check_read, "queue", "abc")
    some.permit(Permission(".*", ".*", "^b"))
    assert not allowed(some.check_read, "queue", "abc")
    some.permit(None)
    assert not allowed(some.check_configure, "queue", "abc")


def test_a_bad_pattern_changes_nothing() -> None:
    some = rights("", "", "^a")
    for bad in ("(", "x" * (PATTERN_CHARS_MAX + 1), "a{2,1}", "[a"):
        with pytest.raises(BadValue):
            some.permit(Permission("^x", "^x", bad))
        with pytest.raises(BadValue):
            some.permit_topic("e", TopicPermission("^x", bad))
    assert some.permission == Permission("", "", "^a")
    assert allowed(some.check_read, "queue", "abc")
    assert not some.topics


def test_topic_permissions_hold_for_their_exchange_only() -> None:
    some = rights(".*", ".*", ".*")
    assert allowed(some.check_write_topic, "e", "any.key")
    some.permit_topic("e", TopicPermission("^log\\.", "^{username}\\.{vhost}\\."))
    assert allowed(some.check_write_topic, "e", "log.1")
    assert not allowed(some.check_write_topic, "e", "1.log.")
    assert allowed(some.check_write_topic, "other", "1.log.")
    assert allowed(some.check_read_topic, "e", "ann.v.1")
    with pytest.raises(AccessRefused) as refused:
        some.check_read_topic("e", "bob.v.1")
    assert refused.value.text == (
        "access to topic 'bob.v.1' in exchange 'e' in vhost 'v' refused for user 'ann'"
    )
    some.permit_topic("e", None)
    assert allowed(some.check_read_topic, "e", "bob.v.1")


def test_a_users_name_is_no_pattern() -> None:
    some = rights(".*", ".*", ".*", user=".*")
    some.permit_topic("e", TopicPermission("^{username}$", ""))
    assert not allowed(some.check_write_topic, "e", "ann")
    assert allowed(some.check_write_topic, "e", ".*")


def test_answers_are_not_remembered_without_bound() -> None:
    some = rights("^a", "", "")
    for i in range(KNOWN_MAX + 10):
        assert allowed(some.check_configure, "queue", f"a{i}")
    assert len(some._known) <= KNOWN_MAX
