"""Where Mansio answers otherwise than Redis on purpose. docs/compatibility.md quotes the reasons."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.differential import compare
from tests.differential.steps import Arg
from tests.resp_client import Map, end_of, parse

Excuse = Callable[[Sequence[Arg], bytes, bytes], bool]


class Difference(NamedTuple):
    """One documented difference; `excuses` gets a command, Redis' reply and Mansio's (whole replies). `parts`: behind
    it the two servers hold different things, or a client waits on one only: nothing can be compared any more."""

    title: str
    reason: str
    excuses: Excuse
    parts: bool = False


def _counts_commands(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    words = [arg.upper() for arg in args if isinstance(arg, bytes)]
    return words == [b"COMMAND", b"COUNT"] and mansio.startswith(b":")


def _ends_at_a_nul(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    """Each word that is quoted, or all of the rest."""
    word = re.compile(rb"('[^'\r\n\0]*)\0[^'\r\n]*'")
    rest = re.compile(rb"(-[^\r\n\0]*)\0[^\r\n]*")
    return b"-" in redis and redis in (word.sub(rb"\1'", mansio), rest.sub(rb"\1", mansio))


def _is_a_browser(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    return bytes(args[0][:5] if isinstance(args[0], bytes) else b"") == b"GET /"


def _is_trimmed_at_once(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    return redis.endswith(b"*0\r\n") and _word(args) in (b"XREAD", b"XREADGROUP")


def _names_a_key_twice(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    words = [arg.upper() if isinstance(arg, bytes) else b"" for arg in args]
    if _word(args) not in (b"XREAD", b"XREADGROUP") or b"STREAMS" not in words:
        return False
    rest = args[words.index(b"STREAMS") + 1 :]
    keys = rest[: len(rest) // 2]
    return len(set(keys)) < len(keys)


def _trims_about(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    return _word(args) in (b"XTRIM", b"XADD") and b"~" in args


def _greets_inside(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    return _word(args) == b"EXEC" and b"$6\r\nserver\r\n" in redis and b"$6\r\nserver\r\n" in mansio


def _ranks_without_a_positive(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    return _word(args) == b"LPOS" and b"-9223372036854775808" in args


def _tells_more(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    if NEWER.search(mansio) is None:
        return False
    ours, theirs = (without_newer(parse(raw)[0]) for raw in (mansio, redis))
    return compare.same_value((b"XINFO",), theirs, ours)


def without_newer(reply: Any) -> Any:
    """Without the pairs whose keys Redis 7.0 does not have."""
    if isinstance(reply, Map):
        return Map((key, without_newer(item)) for key, item in reply if key not in NEWER_KEYS)
    if not isinstance(reply, list):
        return reply
    kept: list[Any] = []
    items = iter(reply)
    for item in items:
        if isinstance(item, bytes) and item in NEWER_KEYS:
            next(items, None)
        else:
            kept.append(without_newer(item))
    return kept


NEWER_KEYS: Final = (b"inactive", b"active-time")
NEWER: Final = re.compile(rb"\r\n(inactive|active-time)\r\n")


def _word(args: Sequence[Arg]) -> bytes:
    return args[0].upper() if isinstance(args[0], bytes) else b""


KNOWN: Final[tuple[Difference, ...]] = (
    Difference(
        "`COMMAND COUNT`, `COMMAND` and its like",
        "They tell of the commands that there are.",
        _counts_commands,
    ),
    Difference(
        "A NUL byte in an error",
        "Redis ends the text there; Mansio shows all of it.",
        _ends_at_a_nul,
    ),
    Difference(
        "`GET / HTTP/1.1` and a line `Host: …`",
        "Redis ends the connection without a word. So does Mansio, behind the error that GET has.",
        _is_a_browser,
    ),
    Difference(
        "A client waits in XREAD for an entry that is trimmed by the XADD that adds it",
        "Redis answers with no entries; Mansio goes on waiting.",
        _is_trimmed_at_once,
        True,
    ),
    Difference(
        "XREAD and XREADGROUP with the same key twice",
        "Redis looks at the stream again, as the first one has left it; Mansio looks at all of them once.",
        _names_a_key_twice,
        True,
    ),
    Difference(
        "`MAXLEN ~` and `MINID ~`",
        "How many entries go depends on what they are kept in; Mansio's parts are not Redis' nodes.",
        _trims_about,
        True,
    ),
    Difference(
        "HELLO in a transaction",
        "Redis answers what stands before it in the old version; Mansio all of EXEC in the new one.",
        _greets_inside,
        True,  # there may be more in it, which is not looked at
    ),
    Difference(
        "XINFO: `inactive` and `active-time` of consumers",
        "They are there, as in Redis 7.2.",
        _tells_more,
    ),
    Difference(
        "`LPOS … RANK -9223372036854775808`",
        "The number has no positive counterpart: Redis finds more than COUNT says; Mansio does not.",
        _ranks_without_a_positive,
    ),
)


def excuses_for(
    args: Sequence[Arg], redis: bytes, mansio: bytes, queued: Sequence[Sequence[Arg]] = ()
) -> list[Difference]:
    """The documented differences that these are, or nothing; `queued`: the commands of the transaction."""
    found = next((each for each in KNOWN if each.excuses(args, redis, mansio)), None)
    if found is not None:
        return [found]
    theirs, ours = elements(redis), elements(mansio)
    if not queued or not len(queued) == len(theirs) == len(ours):
        return []
    excuses: list[Difference] = []
    for each, one, other in zip(queued, theirs, ours, strict=True):
        if not compare.same(each, one, other, inside=True):
            some = excuses_for(each, one, other)
            if not some:
                return []
            excuses += some
            if any(difference.parts for difference in some):
                break
    return excuses


def may_part(args: Sequence[Arg]) -> bool:
    """Whether the servers may hold different things behind this command, for a reason that is known."""
    return _names_a_key_twice(args, b"", b"") or _trims_about(args, b"", b"")


def elements(raw: bytes) -> list[bytes]:
    """The replies in an array."""
    if raw[:1] != b"*":
        return []
    found: list[bytes] = []
    at = raw.index(b"\r\n") + 2
    while at < len(raw):
        end = end_of(raw, at)
        found.append(raw[at:end])
        at = end
    return found
