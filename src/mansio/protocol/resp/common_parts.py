"""LCS: what two strings have in common, in order. Rules and texts of redis-server 7.0.15.

The lengths of common parts of all beginnings of both strings form a table. Of each of its rows only the steps are
computed, all at once as the bits of one number (Hyyrö 2004): a step at a column is a 0. The way back through the table
takes what Redis takes where there are several: to the left, unless there is a step.
"""

from itertools import count, groupby
from typing import TYPE_CHECKING, Any, Final

from mansio.core.keyspace import WrongKind
from mansio.protocol.resp.access import readable
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import READ, Command
from mansio.protocol.resp.errors import SYNTAX, CommandError
from mansio.protocol.resp.ranges import STRING_BYTES_MAX

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

NOT_STRINGS: Final = "ERR The specified keys must contain string values"
LENGTH_OR_PLACES: Final = "ERR If you want both the length and indexes, please just use IDX."
TOO_LARGE: Final = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
CELL_BYTES: Final = 4
"""What a place in the table takes in redis-server, which bounds it."""
ROWS_MAX: Final = 100_000
"""A bound of ours: they take 0.1 s."""

Pair = tuple[int, int]


def lcs(client: "RespConnection", args: list[bytes]) -> Any:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]"""
    try:
        a, b = (readable(client, key).get(key) or b"" for key in args[1:3])
    except WrongKind:
        raise CommandError(NOT_STRINGS) from None
    options, least = _options(args)
    if {b"LEN", b"IDX"} <= options:
        raise CommandError(LENGTH_OR_PLACES)
    if (len(a) + 1) * (len(b) + 1) * CELL_BYTES > STRING_BYTES_MAX or len(a) > ROWS_MAX:
        raise CommandError(TOO_LARGE)
    rows, places = _table(a, b)
    if b"LEN" in options:
        return len(b) - rows[-1].bit_count()
    pairs = _way_back(a, b, rows, places)
    if b"IDX" not in options:
        return bytes([a[i] for i, _ in reversed(pairs)])
    matches: list[Any] = []
    for _, group in groupby(pairs, _diagonal(count())):
        part = list(group)
        (last_a, last_b), (first_a, first_b) = part[0], part[-1]
        if len(part) >= least:
            match: list[Any] = [[first_a, last_a], [first_b, last_b]]
            matches.append([*match, len(part)] if b"WITHMATCHLEN" in options else match)
    return {b"matches": matches, b"len": len(pairs)}


def _options(args: list[bytes]) -> tuple[set[bytes], int]:
    options: set[bytes] = set()
    least = 0
    i = 3
    while i < len(args):
        option = args[i].upper()
        if option == b"MINMATCHLEN" and i + 1 < len(args):
            i += 1
            least = max(integer(args[i]), 0)
        elif option in (b"LEN", b"IDX", b"WITHMATCHLEN"):
            options.add(option)
        else:
            raise CommandError(SYNTAX)
        i += 1
    return options, least


def _table(a: bytes, b: bytes) -> tuple[list[int], dict[int, int]]:
    """The steps of each row, from that of no byte of `a` on, and where each byte of `a` is in `b`."""
    places = dict.fromkeys(a, 0)
    for j, byte in enumerate(b):
        if byte in places:
            places[byte] |= 1 << j
    ones = (1 << len(b)) - 1
    row = ones
    rows = [row]
    for byte in a:
        found = row & places[byte]
        row = ((row + found) | (row - found)) & ones
        rows.append(row)
    return rows, places


def _way_back(a: bytes, b: bytes, rows: list[int], places: dict[int, int]) -> list[Pair]:
    """Where the common bytes are in both, the last one first."""
    pairs: list[Pair] = []
    i, j = len(a), len(b)
    while i and j:
        matching = places[a[i - 1]]
        before = (1 << j) - 1
        j = ((matching | ~rows[i]) & before).bit_length()
        if not j:
            break
        i -= 1
        if matching >> (j - 1) & 1:
            j -= 1
            pairs.append((i, j))
    return pairs


def _diagonal(numbers: "count[int]") -> Any:
    """For pairs in falling order: alike for those that follow each other in both strings."""

    def key(pair: Pair) -> Pair:
        number = next(numbers)
        return pair[0] + number, pair[1] + number

    return key


COMMANDS: Final = [Command("lcs", lcs, -3, READ, 1, 2, 1)]
