"""What the words of the tables are drawn from: few keys, so that types meet, and values at the edges."""

from collections.abc import Callable, Sequence
from typing import Final

from tests.differential.grammar import Draw, Draws
from tests.differential.steps import Arg, Known

LISTS: Final = (b"l1", b"l2", b"l3")
STRINGS: Final = (b"s1", b"s2", b"s3")
STREAMS: Final = (b"x1", b"x2")
NUMBERED: Final = b"xa"  # the stream whose ids each server chooses
ODD: Final = (b"", b"\xff\x00\r\n", "schlüssel".encode(), b"none", b"{tag}1")
KEYS: Final = (*LISTS, *STRINGS, *STREAMS, NUMBERED, *ODD)
STRAY: Final = 0.06  # how often a key of another type is taken

VALUES: Final = (
    b"a", b"b", b"c", b"a", b"b", b"", b"0", b"1", b"-1", b"10", b"007", b" 1", b"3.5", b"1e3",
    b"\x00\xff\r\n$5\r\n", b"9223372036854775807", b"-9223372036854775808", b"inf", b"word " * 9,
)  # fmt: skip
BIG: Final = b"big " * 2_000
INDEXES: Final = (*range(-6, 7), *range(-3, 4), 20, -20)
EDGES: Final = (9223372036854775807, -9223372036854775808, 2147483648, -2147483649)
JUNK: Final = (
    b"", b"x", b"1.5", b"-1", b"0", b"+1", b"01", b" 1", b"1 ", b"0x10", b"nan", b"1e5",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"\xff", b"WITHSCORES",
)  # fmt: skip
FAR_S: Final = (100, 100_000_000)
"""Times to live that do not end while the test runs; equal ones are rare, so that GT and LT mean the same twice."""
AT_S: Final = (4_000_000_000, 9_000_000_000)
PATTERNS: Final = (
    b"*", b"l*", b"?1", b"[ls]1", b"[^l]*", b"x[1-2]", b"l\\1", b"[a", b"", b"*a*", b"**", b"\\", b"[z-a]1", b"l[",
)  # fmt: skip
CHANNELS: Final = (b"c1", b"c2", b"news.a", b"news.b", b"", b"\xff")
CHANNEL_PATTERNS: Final = (b"*", b"c?", b"news.*", b"[cn]*", b"nothing", b"\xff")
GROUPS: Final = (b"g1", b"g2", b"")
CONSUMERS: Final = (b"c1", b"c2", b"\xff")
FIELDS: Final = (b"f", b"g", b"f", b"", b"\x00", b"field")


def choice(items: Sequence[bytes]) -> Draw:
    """One of them."""
    return lambda draws: [draws.rng.choice(items)]


def number(items: Sequence[int], edge: float = 0.03) -> Draw:
    """One of them, or now and then one at the edge of 64 bits."""

    def draw(draws: Draws) -> list[Arg]:
        rng = draws.rng
        return [b"%d" % rng.choice(EDGES if rng.random() < edge else items)]

    return draw


def span(low: int, high: int, unit: int = 1) -> Draw:
    """Something between, evenly."""
    return lambda draws: [b"%d" % (draws.rng.randint(low, high) * unit)]


def any_key(draws: Draws) -> list[Arg]:
    """A key of any type, or none."""
    return [draws.rng.choice(KEYS)]


def key_among(own: Sequence[bytes]) -> Draw:
    """Nearly always a key where this type lives."""

    def draw(draws: Draws) -> list[Arg]:
        rng = draws.rng
        return [rng.choice(KEYS if rng.random() < STRAY else own)]

    return draw


def value(draws: Draws) -> list[Arg]:
    """A value of a list, string or field."""
    rng = draws.rng
    return [BIG if rng.random() < 0.01 else rng.choice(VALUES)]


def next_id(draws: Draws) -> list[Arg]:
    """An id behind those before it, mostly."""
    rng = draws.rng
    if rng.random() < 0.15:
        return some_id(draws)
    draws.clock += rng.choice((0, 1, 1, 2))
    kind = rng.random()
    if kind < 0.3:
        return [b"%d-*" % draws.clock]
    if kind < 0.4:
        draws.clock += 1
        return [b"%d" % draws.clock]
    draws.clock += 1
    return [b"%d-%d" % (draws.clock, rng.randrange(3))]


def some_id(draws: Draws) -> list[Arg]:
    """An id near those that there are, or an odd one."""
    rng = draws.rng
    kind = rng.random()
    if kind < 0.05:
        return [rng.choice(ODD_IDS)]
    if kind < 0.12:
        return [Known("entry", rng.randrange(8))]
    ms = max(0, draws.clock - rng.randrange(12))
    return [b"%d" % ms if kind < 0.3 else b"%d-%d" % (ms, rng.randrange(3))]


ODD_IDS: Final = (
    b"0", b"0-0", b"0-1", b"18446744073709551615-18446744073709551615", b"18446744073709551615",
    b"18446744073709551616-0", b"-1", b"1-", b"-", b"+", b"$", b">", b"*", b"abc", b"1-1-1", b"0-*", b"1-x", b"",
)  # fmt: skip


def bound(smallest: bytes) -> Callable[[Draws], list[Arg]]:
    """The end of a range: `-` or `+`, an id, or what is behind or before one."""

    def draw(draws: Draws) -> list[Arg]:
        rng = draws.rng
        kind = rng.random()
        if kind < 0.45:
            return [smallest]
        (found,) = some_id(draws)
        if kind > 0.85:
            if isinstance(found, Known):
                return [Known(found.what, found.number, b"(")]
            return [b"(" + found]
        return [found]

    return draw


def numbered(part: Draw) -> Draw:
    """As many keys as are said before, mostly."""

    def draw(draws: Draws) -> list[Arg]:
        keys = [arg for _ in range(draws.rng.choice((1, 1, 2, 3))) for arg in part(draws)]
        count = len(keys) if draws.rng.random() < 0.93 else draws.rng.choice((0, -1, 1, 5))
        return [b"%d" % count, *keys]

    return draw


def streams(id_of: Draw) -> Draw:
    """Keys, and an id for each, mostly."""

    def draw(draws: Draws) -> list[Arg]:
        count = draws.rng.choice((1, 1, 1, 2, 3))
        keys = [arg for _ in range(count) for arg in WORDS["xkey"](draws)]
        more = draws.rng.random() < 0.02
        return [*keys, *(arg for _ in range(count + more) for arg in id_of(draws))]

    return draw


def read_id(draws: Draws) -> list[Arg]:
    """Where XREAD begins."""
    return [b"$"] if draws.rng.random() < 0.3 else some_id(draws)


def group_id(draws: Draws) -> list[Arg]:
    """Where XREADGROUP begins."""
    return [b">"] if draws.rng.random() < 0.7 else some_id(draws)


def client_id(draws: Draws) -> list[Arg]:
    """The id of one of the clients."""
    return [Known("client", draws.rng.randrange(4))]


WORDS: Final[dict[str, Draw]] = {
    "key": any_key,
    "lkey": key_among(LISTS),
    "skey": key_among(STRINGS),
    "xkey": key_among(STREAMS),
    "xauto": choice((NUMBERED,)),
    "value": value,
    "index": number(INDEXES),
    "count": number((0, 1, 1, 2, 3, 10, -1, -2)),
    "few": number((1, 1, 2, 3, 10, 100)),
    "rank": number((1, 2, 3, -1, -2, 0)),
    "offset": number((0, 1, 2, 5, 30, -1), 0.0),
    "delta": number((1, 2, -1, 10, -100, 0, 9223372036854775800)),
    "real": choice(
        (b"1.5", b"-0.25", b"3", b"1e2", b"0", b"5.0e3", b"inf", b"nan", b"abc", b"1.1")
    ),
    "seconds": span(*FAR_S),
    "ms": span(*FAR_S, 1000),
    "at": span(*AT_S),
    "atms": span(*AT_S, 1000),
    "past": choice((b"0", b"-1", b"1", b"-100", b"1000")),
    "nolife": choice((b"0", b"-1", b"-100", b"9223372036854775807", b"9223372036854770")),
    "bad": choice(JUNK),
    "pattern": choice(PATTERNS),
    "type": choice((b"list", b"string", b"stream", b"LIST", b"hash", b"nothing")),
    "db": choice((b"0", b"0", b"0", b"1", b"2", b"15", b"16", b"-1", b"x")),
    "side": choice((b"LEFT", b"RIGHT", b"left", b"Right")),
    "lkeys": numbered(key_among(LISTS)),
    "nextid": next_id,
    "id": some_id,
    "low": bound(b"-"),
    "high": bound(b"+"),
    "streams": streams(read_id),
    "gstreams": streams(group_id),
    "group": lambda draws: [b"g1" if draws.rng.random() < 0.7 else draws.rng.choice(GROUPS)],
    "consumer": choice(CONSUMERS),
    "field": choice(FIELDS),
    "idle": choice((b"0", b"0", b"0", b"3600000000", b"-1", b"x")),
    "channel": choice(CHANNELS),
    "cpattern": choice(CHANNEL_PATTERNS),
    "client": client_id,
    "name": choice((b"me", b"", b"with space", b"x\n", b"worker-1")),
}
