"""Patterns mean what they mean to redis-server 7.0.15: its algorithm, written down as it is, is the judge."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mansio.core.globs import Glob, glob


def matches(pattern: bytes, name: bytes) -> bool:
    """stringmatchlen of util.c, case sensitive."""
    p = n = 0
    while p < len(pattern) and n < len(name):
        sign = pattern[p : p + 1]
        if sign == b"*":
            while pattern[p + 1 : p + 2] == b"*":
                p += 1
            if p + 1 == len(pattern):
                return True
            return any(matches(pattern[p + 1 :], name[i:]) for i in range(n, len(name)))
        if sign == b"[":
            found, p = bracket(pattern, p + 1, name[n])
            if not found:
                return False
        elif sign != b"?":
            if sign == b"\\" and p + 1 < len(pattern):
                p += 1
            if pattern[p] != name[n]:
                return False
        n += 1
        p += 1
        if n == len(name):
            while pattern[p : p + 1] == b"*":
                p += 1
            break
    return p >= len(pattern) and n == len(name)


def bracket(pattern: bytes, p: int, byte: int) -> tuple[bool, int]:
    negative = pattern[p : p + 1] == b"^"
    p += negative
    found = False
    while True:
        if pattern[p : p + 1] == b"\\" and len(pattern) - p >= 2:
            p += 1
            found = found or pattern[p] == byte
        elif pattern[p : p + 1] == b"]":
            break
        elif p >= len(pattern):
            p -= 1
            break
        elif len(pattern) - p >= 3 and pattern[p + 1 : p + 2] == b"-":
            signed = [each - 256 * (each > 127) for each in (pattern[p], pattern[p + 2], byte)]
            found = found or min(signed[:2]) <= signed[2] <= max(signed[:2])
            p += 2
        else:
            found = found or pattern[p] == byte
        p += 1
    return found != negative, p


PATTERNS = st.lists(
    st.sampled_from(
        [b"*", b"?", b"a", b"b", b"-", b"\\", b"[", b"]", b"^", b"[a-c]", b"\xff", b"."]
    ),
    max_size=8,
).map(b"".join)
NAMES = st.lists(st.sampled_from([b"a", b"b", b"c", b"-", b"\\", b"]", b"\xff", b"\n", b"."])).map(
    b"".join
)


@given(PATTERNS, NAMES)
@example(b"*", b"")
@example(b"[a-\xff]", b"\x00")
@example(b"[^", b"x")
@example(b"a[b", b"ab")
@example(b"*[]", b"a")
@settings(max_examples=1500, deadline=None)
def test_it_is_what_redis_says(pattern: bytes, name: bytes) -> None:
    assert Glob(pattern).matches(name) == matches(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (b"news", b"news"),
        (b"a\\*b", b"a*b"),
        (b"", b""),
        (b"a?", None),
        (b"*", None),
        (b"[a]", None),
    ],
)
def test_it_tells_that_it_matches_only_one_name(pattern: bytes, literal: bytes | None) -> None:
    assert glob(pattern).literal == literal


def test_no_pattern_takes_long() -> None:
    """Each star more would multiply the time by 5,000: it would not come to an end."""
    assert not Glob(b"*a" * 20 + b"b").matches(b"a" * 5000)
