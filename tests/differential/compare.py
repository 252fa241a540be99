"""Whether two replies say the same: byte by byte, but for what each server chooses by itself."""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

from tests.differential.steps import Arg
from tests.resp_client import Map, RespError, Set, parse

CLOCK_ID: Final = re.compile(rb"\A(\d{13})-\d+\Z")
"""An id that was made of the time, in milliseconds."""
CLOCK_IDS: Final = re.compile(r"\b\d{13}-\d+\b")
QUEUED: Final = b"+QUEUED\r\n"
OK: Final = b"+OK\r\n"
TIME_MS: Final = 1_000_000_000_000
SLACK_S: Final = 5
SLACK_MS: Final = SLACK_S * 1000
SLACK: Final = {
    b"TTL": SLACK_S,
    b"EXPIRETIME": SLACK_S,
    b"PTTL": SLACK_MS,
    b"PEXPIRETIME": SLACK_MS,
}
"""How far times may differ, in the unit of the command."""
TIMES: Final = frozenset((b"idle", b"seen-time", b"active-time", b"inactive"))
INTERNAL: Final = frozenset((b"radix-tree-keys", b"radix-tree-nodes"))
SERVERS_OWN: Final = frozenset((b"server", b"version", b"id", b"modules"))
LEAVING: Final = frozenset((b"unsubscribe", b"punsubscribe", b"sunsubscribe"))

Args = Sequence[Arg]


class Transactions:
    """What clients have queued between MULTI and EXEC, so that EXEC's replies can be told apart."""

    def __init__(self) -> None:
        self._queued: dict[int, list[Args]] = {}

    def before(self, client: int, args: Args) -> Sequence[Args]:
        """The commands whose replies stand in the reply to this one."""
        return self._queued.get(client, ()) if _word(args, 0) == b"EXEC" else ()

    def heard(self, client: int, args: Args, reply: bytes) -> None:
        """Takes note of a reply."""
        if reply == QUEUED:
            self._queued.setdefault(client, []).append(args)
            return
        name = _word(args, 0)
        if (name == b"MULTI" and reply == OK) or (name == b"EXEC" and reply[:1] != b"-"):
            self._queued.pop(client, None)


def same(args: Args, a: bytes, b: bytes, queued: Sequence[Args] = (), inside: bool = False) -> bool:
    """Whether these are the same reply to a command; `queued`: those of the transaction that EXEC ends; `inside`: it
    is one of those."""
    if a == b:
        return True
    try:
        one, other = parse(a)[0], parse(b)[0]
    except (ValueError, IndexError):
        return False
    return same_value(args, one, other, queued, inside)


def same_value(
    args: Args, one: Any, other: Any, queued: Sequence[Args] = (), inside: bool = False
) -> bool:
    """The same for parsed replies; `inside` a transaction."""
    name = _word(args, 0)
    if name == b"SCAN" and not inside:
        return loosely(one, other)  # all pages together
    if name == b"EXEC" and type(one) is type(other) is list and len(one) == len(other):
        if len(one) == len(queued):
            parts = zip(queued, one, other, strict=True)
            return all(same_value(each, a, b, inside=True) for each, a, b in parts)
        return False
    return _rule_of(name, args)(one, other)


def same_pushes(a: Sequence[bytes], b: Sequence[bytes]) -> bool:
    """Whether a subscriber heard the same, in order where there is one: all channels are left, and the patterns
    that one message meets are told of, in any order."""
    if a == b:
        return True
    if len(a) != len(b):
        return False
    ours, theirs = (in_order([parse(raw)[0] for raw in side]) for side in (a, b))
    return all(map(_greeting, ours, theirs))


def in_order(items: list[Any]) -> list[Any]:
    """The same with the channels that are left in order, the numbers of those that remain where they are; and what
    one message is to several patterns in order."""
    left = [i for i, item in enumerate(items) if _kind(item) in LEAVING and len(item) == 3]
    named = sorted((items[i][0], items[i][1] or b"") for i in left)
    for i, (kind, channel) in zip(left, named, strict=True):
        items[i] = type(items[i])([kind, channel, items[i][2]])
    ordered: list[Any] = []
    for _, group in groupby(items, lambda item: item[2:] if _kind(item) == b"pmessage" else None):
        some = list(group)
        ordered += sorted(some) if _kind(some[0]) == b"pmessage" else some
    return ordered


def _kind(item: Any) -> Any:
    return item[0] if isinstance(item, list) and item else None


def loosely(one: Any, other: Any) -> bool:
    """Equal, and of the same types, with ids that were made of the time taken as equal."""
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one == other or bool(CLOCK_ID.match(one) and CLOCK_ID.match(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and not isinstance(one, RespError):
        return len(one) == len(other) and all(map(loosely, one, other))
    if isinstance(one, RespError):
        return CLOCK_IDS.sub("*", one.text) == CLOCK_IDS.sub("*", other.text)
    return bool(one == other)


def _word(args: Args, index: int) -> bytes:
    word = args[index] if len(args) > index else b""
    return word.upper() if isinstance(word, bytes) else b""


def _rule_of(name: bytes, args: Args) -> Callable[[Any, Any], bool]:
    if name in SLACK:
        return lambda one, other: _near(one, other, SLACK[name])
    sub = _word(args, 1)
    if name == b"PUBSUB" and sub in (b"CHANNELS", b"SHARDCHANNELS"):
        return _unordered
    if name == b"CLIENT" and sub == b"ID":
        return lambda one, other: type(one) is type(other) is int
    return RULES.get(name, loosely)


def _near(one: Any, other: Any, slack: int) -> bool:
    if type(one) is type(other) is int and one > 0 and other > 0:
        return abs(one - other) <= slack
    return loosely(one, other)


def _unordered(one: Any, other: Any) -> bool:
    if type(one) is type(other) and type(one) in (list, Set):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return loosely(one, other)


def _some_key(one: Any, other: Any) -> bool:
    return (type(one) is type(other) and not isinstance(one, RespError)) or loosely(one, other)


def _page(one: Any, other: Any) -> bool:
    """Some of SCAN's answer, in a transaction: Redis chooses which."""
    return type(one) is type(other) is list and len(one) == len(other) == 2


def _pending(one: Any, other: Any) -> bool:
    return loosely(_without_idle(one), _without_idle(other))


def _without_idle(reply: Any) -> Any:
    if type(reply) is not list:
        return reply
    rows = [type(row) is list and len(row) == 4 and type(row[2]) is int for row in reply]
    if not rows or not all(rows):
        return reply
    return [[row[0], row[1], _coarse(row[2]), row[3]] for row in reply]


def _coarse(idle_ms: int) -> int:
    """Idle times in thousands of seconds: those that were set are told from those that passed."""
    return idle_ms // 1_000_000


def _about_streams(one: Any, other: Any) -> bool:
    return loosely(_without_times(one), _without_times(other))


def _without_times(reply: Any) -> Any:
    if isinstance(reply, Map):
        return Map((key, _told(key, item)) for key, item in reply)
    if isinstance(reply, list):
        if len(reply) % 2 == 0 and reply and all(type(key) is bytes for key in reply[::2]):
            pairs = zip(reply[::2], reply[1::2], strict=True)
            return [each for key, item in pairs for each in (key, _told(key, item))]
        return [_without_times(item) for item in reply]
    if type(reply) is int and reply > TIME_MS:
        return "a time"
    return reply


def _told(key: Any, item: Any) -> Any:
    if key in TIMES or key in INTERNAL:
        return type(item).__name__
    return _without_times(item)


def _greeting(one: Any, other: Any) -> bool:
    return loosely(_without_server(one), _without_server(other))


def _without_server(reply: Any) -> Any:
    pairs = reply
    if type(reply) is list:
        pairs = list(zip(reply[::2], reply[1::2], strict=False))
    if not isinstance(pairs, list) or not pairs or pairs[0][0] != b"server":
        return reply
    kept = [type(item).__name__ if key in SERVERS_OWN else item for key, item in pairs]
    return [type(reply).__name__, [key for key, _ in pairs], kept]


RULES: Final[dict[bytes, Callable[[Any, Any], bool]]] = {
    b"KEYS": _unordered,
    b"RANDOMKEY": _some_key,
    b"SCAN": _page,
    b"XPENDING": _pending,
    b"XINFO": _about_streams,
    b"HELLO": _greeting,
}
