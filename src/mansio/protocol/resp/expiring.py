"""Commands on when keys expire: EXPIRE, TTL and so on. Rules and texts of redis-server 7.0.15."""

from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.access import configurable, readable
from mansio.protocol.resp.arguments import INT_MAX, INT_MIN, integer
from mansio.protocol.resp.command import READ, REPEATS, WRITE, Command
from mansio.protocol.resp.errors import CommandError

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

OPTIONS: Final = (b"NX", b"XX", b"GT", b"LT")


def expire(client: "RespConnection", args: list[bytes]) -> Any:
    """EXPIRE key seconds [NX | XX | GT | LT]"""
    return _expire(client, args, 1000, client.broker.now_ms, "expire")


def pexpire(client: "RespConnection", args: list[bytes]) -> Any:
    """PEXPIRE key milliseconds [NX | XX | GT | LT]"""
    return _expire(client, args, 1, client.broker.now_ms, "pexpire")


def expireat(client: "RespConnection", args: list[bytes]) -> Any:
    """EXPIREAT key seconds [NX | XX | GT | LT]: Unix time"""
    return _expire(client, args, 1000, 0, "expireat")


def pexpireat(client: "RespConnection", args: list[bytes]) -> Any:
    """PEXPIREAT key milliseconds [NX | XX | GT | LT]: Unix time"""
    return _expire(client, args, 1, 0, "pexpireat")


def _expire(
    client: "RespConnection", args: list[bytes], factor: int, since_ms: int, command: str
) -> int:
    key = args[1]
    only = _options(args[3:])
    when_ms = integer(args[2]) * factor
    if not INT_MIN <= when_ms <= INT_MAX - since_ms:
        raise CommandError(f"ERR invalid expire time in '{command}' command")
    when_ms += since_ms
    keys = configurable(client, key)
    if not keys.exists(key) or not _applies(only, keys.time_of(key), when_ms):
        return 0
    if when_ms <= client.broker.now_ms:
        keys.delete(key)
    else:
        keys.expire(key, when_ms)
    return 1


def _options(words: list[bytes]) -> set[bytes]:
    only: set[bytes] = set()
    for word in words:
        if word.upper() not in OPTIONS:
            shown = word.decode("utf-8", "surrogateescape")
            raise CommandError(f"ERR Unsupported option {shown}")
        only.add(word.upper())
    if b"NX" in only and len(only) > 1:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in only and b"LT" in only:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return only


def _applies(only: set[bytes], now_ms: int | None, when_ms: int) -> bool:
    """Whether a key that expires at `now_ms`, None: never, is to expire at `when_ms` instead."""
    if b"NX" in only and now_ms is not None:
        return False
    if b"XX" in only and now_ms is None:
        return False
    if b"GT" in only and (now_ms is None or when_ms <= now_ms):
        return False
    return not (b"LT" in only and now_ms is not None and when_ms >= now_ms)


def ttl(client: "RespConnection", args: list[bytes]) -> Any:
    """TTL key: in seconds; -1: for ever, -2: no such key"""
    left_ms = _left(client, args[1])
    return left_ms if left_ms < 0 else (left_ms + 500) // 1000


def pttl(client: "RespConnection", args: list[bytes]) -> Any:
    """PTTL key: in milliseconds"""
    return _left(client, args[1])


def _left(client: "RespConnection", key: bytes) -> int:
    when_ms = _when(client, key)
    return when_ms if when_ms < 0 else max(when_ms - client.broker.now_ms, 0)


def expiretime(client: "RespConnection", args: list[bytes]) -> Any:
    """EXPIRETIME key: Unix time in seconds; -1: never, -2: no such key"""
    when_ms = _when(client, args[1])
    return when_ms if when_ms < 0 else (when_ms + 500) // 1000


def pexpiretime(client: "RespConnection", args: list[bytes]) -> Any:
    """PEXPIRETIME key: Unix time in milliseconds"""
    return _when(client, args[1])


def _when(client: "RespConnection", key: bytes) -> int:
    keys = readable(client, key)
    if not keys.exists(key):
        return -2
    when_ms = keys.time_of(key)
    return -1 if when_ms is None else when_ms


def persist(client: "RespConnection", args: list[bytes]) -> Any:
    """PERSIST key"""
    keys = configurable(client, args[1])
    if not keys.exists(args[1]) or keys.time_of(args[1]) is None:
        return 0
    keys.expire(args[1], 0)
    return 1


COMMANDS: Final = [
    Command("expire", expire, -3, WRITE, 1, 1, 1),
    Command("pexpire", pexpire, -3, WRITE, 1, 1, 1),
    Command("expireat", expireat, -3, WRITE, 1, 1, 1),
    Command("pexpireat", pexpireat, -3, WRITE, 1, 1, 1),
    Command("ttl", ttl, 2, READ | REPEATS, 1, 1, 1),
    Command("pttl", pttl, 2, READ | REPEATS, 1, 1, 1),
    Command("expiretime", expiretime, 2, READ | REPEATS, 1, 1, 1),
    Command("pexpiretime", pexpiretime, 2, READ | REPEATS, 1, 1, 1),
    Command("persist", persist, 2, WRITE, 1, 1, 1),
]
