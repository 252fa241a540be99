"""Patterns of Redis: keys and channels by `*`, `?`, `[a-z]`, `[^a]` and `\\x`.

They mean what they mean to redis-server 7.0.15 (stringmatchlen), also where they are odd: bytes above 127 come before
all others in ranges, a bracket may stay open, and what is empty matches no pattern but the empty one.
"""

import re
from functools import lru_cache
from typing import Final

_ANY: Final = b"."
_STAR: Final = b"*"


class Glob:
    """A compiled pattern. `literal`: the only name that it matches, if there is only one."""

    __slots__ = ("_match", "literal")

    def __init__(self, pattern: bytes) -> None:
        tokens, plain = _parse(pattern)
        self.literal = plain
        self._match = re.compile(_expression(tokens), re.DOTALL).match
        if not pattern:
            self.literal = b""

    def matches(self, name: bytes) -> bool:
        """Whether the whole of a name is as the pattern says."""
        if not name:
            return self.literal == b""
        return self._match(name) is not None


@lru_cache(1024)
def glob(pattern: bytes) -> Glob:
    """The compiled pattern; kept for the next time."""
    return Glob(pattern)


def _parse(pattern: bytes) -> tuple[list[bytes], bytes | None]:
    """The expressions of each part, and what it stands for if that is only one name."""
    tokens: list[bytes] = []
    plain = bytearray()
    only = True
    at, end = 0, len(pattern)
    while at < end:
        sign = pattern[at : at + 1]
        if sign == b"*":
            only = False
            if tokens[-1:] != [_STAR]:
                tokens.append(_STAR)
        elif sign == b"?":
            only = False
            tokens.append(_ANY)
        elif sign == b"[":
            only = False
            token, at = _class(pattern, at + 1)
            tokens.append(token)
            continue
        else:
            if sign == b"\\" and at + 1 < end:
                at += 1
                sign = pattern[at : at + 1]
            plain += sign
            tokens.append(re.escape(sign))
        at += 1
    return tokens, bytes(plain) if only else None


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression of a bracket whose inside begins at `at`, and where it ends."""
    end = len(pattern)
    negative = pattern[at : at + 1] == b"^"
    at += negative
    allowed: set[int] = set()
    while at < end and pattern[at] != 0x5D:
        if pattern[at] == 0x5C and at + 1 < end:
            at += 1
            allowed.add(pattern[at])
        elif at + 2 < end and pattern[at + 1] == 0x2D:
            first, last = sorted((_signed(pattern[at]), _signed(pattern[at + 2])))
            allowed.update(value & 0xFF for value in range(first, last + 1))
            at += 2
        else:
            allowed.add(pattern[at])
        at += 1
    if negative:
        allowed = set(range(256)) - allowed
    return _one_of(allowed), at + 1


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _one_of(allowed: set[int]) -> bytes:
    if len(allowed) == 256:
        return _ANY
    if not allowed:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % value for value in sorted(allowed)) + b"]"


def _expression(tokens: list[bytes]) -> bytes:
    """What is between two stars matches at the first place where it can, and never again further on: so no pattern
    takes long."""
    parts: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    first, *rest = (b"".join(part) for part in parts)
    if not rest:
        return first + rb"\Z"
    *middle, last = rest
    between = b"".join(b"(?>.*?" + part + b")" for part in middle)
    return first + between + b".*" + last + rb"\Z"
