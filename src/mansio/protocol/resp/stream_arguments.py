"""Arguments of the commands on streams: ids, intervals of ids, what is to be trimmed. Texts of redis-server 7.0.15."""

import re
from typing import Final, NamedTuple

from mansio.core.batch import Trim
from mansio.core.entries import NODE
from mansio.core.stream_ids import ID_MAX, NUMBER_MAX, make_id
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.errors import SYNTAX, CommandError

INVALID_ID: Final = "ERR Invalid stream ID specified as stream command argument"
ID_BYTES_MAX: Final = 127
TRIM_MAX: Final = 100 * NODE
"""Entries that a trim which is not exact takes, unless LIMIT says otherwise."""

_NUMBER: Final = re.compile(rb"[ \t\n\v\f\r]*\+?([0-9]+)")


class AddArguments(NamedTuple):
    """What stands in front of an entry's fields, or behind the key of XTRIM. `ms`: of the id, None for `*`; `number`:
    of the id, None for `*`; `at`: where the id stands."""

    trim: Trim | None
    creates: bool
    ms: int | None
    number: int | None
    at: int


def stream_id(text: bytes, number: int = 0) -> int:
    """An id; without a number it has this one. CommandError."""
    ms, found = _parts(text)
    return make_id(ms, number if found is None else found)


def any_id(text: bytes, number: int = 0) -> int:
    """The same, where `-` and `+` are the least and the greatest."""
    if text == b"-":
        return 0
    return ID_MAX if text == b"+" else stream_id(text, number)


def is_id(text: bytes) -> bool:
    """Whether it is one."""
    try:
        _parts(text)
    except CommandError:
        return False
    return True


def _parts(text: bytes) -> tuple[int, int | None]:
    if len(text) > ID_BYTES_MAX:
        raise CommandError(INVALID_ID)
    ms, dash, number = text.partition(b"-")
    return _number(ms), _number(number) if dash else None


def _number(text: bytes) -> int:
    found = _NUMBER.fullmatch(text)
    value = NUMBER_MAX + 1 if found is None else int(found[1])
    if value > NUMBER_MAX:
        raise CommandError(INVALID_ID)
    return value


def low_end(text: bytes) -> int:
    """The first id of an interval; "(" in front excludes it."""
    if not text.startswith(b"(") or len(text) == 1:
        return any_id(text)
    id = stream_id(text[1:])
    if id == ID_MAX:
        raise CommandError("ERR invalid start ID for the interval")
    return id + 1


def high_end(text: bytes) -> int:
    """The last id of an interval."""
    if not text.startswith(b"(") or len(text) == 1:
        return any_id(text, NUMBER_MAX)
    id = stream_id(text[1:], NUMBER_MAX)
    if id == 0:
        raise CommandError("ERR invalid end ID for the interval")
    return id - 1


def add_arguments(args: list[bytes], adds: bool) -> AddArguments:
    """Those of XADD, or of XTRIM."""
    trim: Trim | None = None
    limit: int | None = None
    creates = True
    at, count = 2, len(args)
    ms: int | None = None
    number: int | None = None
    while at < count:
        option = args[at].upper()
        if adds and option == b"*":
            break
        if option in (b"MAXLEN", b"MINID") and at + 1 < count:
            trim, at = _trim(args, at, option == b"MINID", trim)
        elif option == b"LIMIT" and at + 1 < count:
            limit = integer(args[at + 1])
            if limit < 0:
                raise CommandError("ERR The LIMIT argument must be >= 0.")
            at += 2
        elif adds and option == b"NOMKSTREAM":
            creates = False
            at += 1
        elif adds:
            ms, number = _own_id(args[at])
            break
        else:
            raise CommandError(SYNTAX)
    return AddArguments(_limited(trim, limit, adds), creates, ms, number, at)


def _trim(args: list[bytes], at: int, by_id: bool, before: Trim | None) -> tuple[Trim, int]:
    if before is not None:
        text = "MAXLEN and MINID options at the same time are not compatible"
        raise CommandError(f"ERR syntax error, {text}")
    exact = True
    if at + 2 < len(args) and args[at + 1] in (b"~", b"="):
        exact = args[at + 1] == b"="
        at += 1
    least = stream_id(args[at + 1]) if by_id else integer(args[at + 1])
    if least < 0:
        raise CommandError("ERR The MAXLEN argument must be >= 0.")
    return Trim(by_id, least, exact, 0), at + 2


def _limited(trim: Trim | None, limit: int | None, adds: bool) -> Trim | None:
    if trim is None:
        if limit:
            text = "LIMIT cannot be used without specifying a trimming strategy"
            raise CommandError(f"ERR syntax error, {text}")
        if not adds:
            text = "XTRIM must be called with a trimming strategy"
            raise CommandError(f"ERR syntax error, {text}")
        return None
    if limit is not None and trim.exact:
        text = "LIMIT cannot be used without the special ~ option"
        raise CommandError(f"ERR syntax error, {text}")
    if trim.exact:
        return trim
    return trim._replace(most=TRIM_MAX if limit is None else limit)


def _own_id(text: bytes) -> tuple[int, int | None]:
    """An id that the client has chosen, or only its ms: `5-*`."""
    ms, _, number = text.partition(b"-")
    if number == b"*" and len(text) <= ID_BYTES_MAX:
        return _number(ms), None
    found_ms, found = _parts(text)
    return found_ms, found or 0
