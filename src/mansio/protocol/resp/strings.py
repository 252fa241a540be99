"""Strings as wholes: GET, SET and what is like them. Rules and texts of redis-server 7.0.15."""

from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.access import check_room, readable, writable
from mansio.protocol.resp.arguments import INT_MAX, integer
from mansio.protocol.resp.command import READ, REPEATS, WRITE, Command
from mansio.protocol.resp.errors import SYNTAX, CommandError, wrong_number
from mansio.protocol.resp.reply import OK, encode

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

UNITS: Final = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}
"""Options that say when a key expires: milliseconds in a unit, and whether that is from now on."""


def get(client: "RespConnection", args: list[bytes]) -> Any:
    """GET key"""
    return readable(client, args[1]).get(args[1])


def set_(client: "RespConnection", args: list[bytes]) -> Any:
    """SET key value [NX | XX] [GET] [EX s | PX ms | EXAT time | PXAT time | KEEPTTL]"""
    key, value = args[1], args[2]
    keys = writable(client, key)
    if len(args) == 3:
        check_room(client, len(value))
        keys.set(key, value)
        return OK
    only, wants, keep, when = _set_options(args)
    when_ms = 0 if when is None else when_of(client, *when, "set")
    old: Any = None
    if wants:
        readable(client, key)
        old = keys.get(key)
    if only and (only == b"XX") != keys.exists(key):
        return old
    if keep:
        when_ms = keys.time_of(key) or 0 if keys.exists(key) else 0
    check_room(client, len(value))
    keys.set(key, value, when_ms)
    return old if wants else OK


def set_rows(
    client: "RespConnection",
    args: list[bytes],
    times: int,
    values: list[bytes] | None,
    counts: list[int] | None,
) -> tuple[bytes, int]:
    """The same SET many times; with options its replies may differ."""
    reply = set_(client, args)
    if len(args) == 3:
        return b"+OK\r\n" * times, times
    return encode(reply, client.proto), 1


Time = tuple[bytes, bytes]
"""One of UNITS, and the number."""


def _set_options(args: list[bytes]) -> tuple[bytes, bool, bool, Time | None]:
    """(NX, XX or nothing; GET; KEEPTTL; when it expires)."""
    only, wants, keep = b"", False, False
    when: Time | None = None
    i = 3
    while i < len(args):
        option = args[i].upper()
        if option in (b"NX", b"XX") and only in (b"", option):
            only = option
        elif option == b"GET":
            wants = True
        elif option == b"KEEPTTL" and when is None:
            keep = True
        elif option in UNITS and not keep and (when is None or when[0] == option):
            when, i = _next(args, i, option)
        else:
            raise CommandError(SYNTAX)
        i += 1
    return only, wants, keep, when


def _next(args: list[bytes], i: int, option: bytes) -> tuple[Time, int]:
    if i + 1 == len(args):
        raise CommandError(SYNTAX)
    return (option, args[i + 1]), i + 1


def when_of(client: "RespConnection", unit: bytes, text: bytes, command: str) -> int:
    """The Unix time in ms at which a key is to expire; it is not before 1."""
    factor, from_now = UNITS[unit]
    when_ms = integer(text)
    if 0 < when_ms <= INT_MAX // factor:
        when_ms *= factor
        if from_now:
            when_ms += client.broker.now_ms
        if when_ms <= INT_MAX:
            return when_ms
    raise CommandError(f"ERR invalid expire time in '{command}' command")


def setnx(client: "RespConnection", args: list[bytes]) -> Any:
    """SETNX key value"""
    key, value = args[1], args[2]
    keys = writable(client, key)
    if keys.exists(key):
        return 0
    check_room(client, len(value))
    keys.set(key, value)
    return 1


def setex(client: "RespConnection", args: list[bytes]) -> Any:
    """SETEX key seconds value"""
    return _set_for(client, args, b"EX", "setex")


def psetex(client: "RespConnection", args: list[bytes]) -> Any:
    """PSETEX key milliseconds value"""
    return _set_for(client, args, b"PX", "psetex")


def _set_for(client: "RespConnection", args: list[bytes], unit: bytes, command: str) -> Any:
    keys = writable(client, args[1])
    when_ms = when_of(client, unit, args[2], command)
    check_room(client, len(args[3]))
    keys.set(args[1], args[3], when_ms)
    return OK


def getset(client: "RespConnection", args: list[bytes]) -> Any:
    """GETSET key value"""
    key, value = args[1], args[2]
    readable(client, key)
    keys = writable(client, key)
    old = keys.get(key)
    check_room(client, len(value))
    keys.set(key, value)
    return old


def getdel(client: "RespConnection", args: list[bytes]) -> Any:
    """GETDEL key"""
    readable(client, args[1])
    keys = writable(client, args[1])
    old = keys.get(args[1])
    if old is not None:
        keys.delete(args[1])
    return old


def getex(client: "RespConnection", args: list[bytes]) -> Any:
    """GETEX key [EX s | PX ms | EXAT time | PXAT time | PERSIST]"""
    key = args[1]
    readable(client, key)
    keys = writable(client, key)
    when, persist = _getex_options(args)
    value = keys.get(key)
    if value is None:
        return None
    if when is not None:
        when_ms = when_of(client, *when, "getex")
        if when_ms <= client.broker.now_ms:
            keys.delete(key)
        else:
            keys.expire_string(key, when_ms)
    elif persist:
        keys.expire_string(key, 0)
    return value


def _getex_options(args: list[bytes]) -> tuple[Time | None, bool]:
    when: Time | None = None
    persist = False
    i = 2
    while i < len(args):
        option = args[i].upper()
        if option == b"PERSIST" and when is None:
            persist = True
        elif option in UNITS and not persist and (when is None or when[0] == option):
            when, i = _next(args, i, option)
        else:
            raise CommandError(SYNTAX)
        i += 1
    return when, persist


def mget(client: "RespConnection", args: list[bytes]) -> Any:
    """MGET key [key ...]: nothing for what is no string"""
    keys = client.keys
    check = None if client.rights.everything else readable
    found: list[bytes | None] = []
    for key in args[1:]:
        if check is not None:
            check(client, key)
        found.append(keys.get(key) if keys.has_string(key) else None)
    return found


def mset(client: "RespConnection", args: list[bytes]) -> Any:
    """MSET key value [key value ...]"""
    _set_all(client, args, "mset", False)
    return OK


def msetnx(client: "RespConnection", args: list[bytes]) -> Any:
    """MSETNX key value [key value ...]: all of them or, if one of the keys is there, none"""
    return int(_set_all(client, args, "msetnx", True))


def _set_all(client: "RespConnection", args: list[bytes], command: str, new: bool) -> bool:
    if len(args) % 2 == 0:
        raise wrong_number(command)
    names, values = args[1::2], args[2::2]
    keys = client.keys
    if not client.rights.everything:
        for key in names:
            writable(client, key)
    if new and any(keys.exists(key) for key in names):
        return False
    for key in names:
        keys.check_settable(key)
    check_room(client, sum(map(len, values)))
    for key, value in zip(names, values, strict=True):
        keys.set(key, value)
    return True


COMMANDS: Final = [
    Command("get", get, 2, READ | REPEATS, 1, 1, 1),
    Command("set", set_, -3, WRITE, 1, 1, 1, rows=set_rows),
    Command("setnx", setnx, 3, WRITE, 1, 1, 1),
    Command("setex", setex, 4, WRITE | REPEATS, 1, 1, 1),
    Command("psetex", psetex, 4, WRITE | REPEATS, 1, 1, 1),
    Command("getset", getset, 3, WRITE, 1, 1, 1),
    Command("getdel", getdel, 2, WRITE, 1, 1, 1),
    Command("getex", getex, -2, WRITE, 1, 1, 1),
    Command("mget", mget, -2, READ | REPEATS, 1, -1, 1),
    Command("mset", mset, -3, WRITE | REPEATS, 1, -1, 2),
    Command("msetnx", msetnx, -3, WRITE, 1, -1, 2),
]
