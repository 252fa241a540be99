"""Parts of strings: APPEND, STRLEN, GETRANGE, SETRANGE, LCS. Rules and texts of redis-server 7.0.15."""

from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.access import check_room, readable, writable
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import READ, REPEATS, WRITE, Command
from mansio.protocol.resp.errors import CommandError

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

STRING_BYTES_MAX: Final = 512 << 20
"""What redis-server's proto-max-bulk-len is by default."""
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
OFFSET_OUT_OF_RANGE: Final = "ERR offset is out of range"


def check_length(client: "RespConnection", size: int) -> None:
    """Whether a string may have so many bytes: no more than a message may; CommandError."""
    if size > min(STRING_BYTES_MAX, client.broker.limits.message_bytes_max):
        raise CommandError(TOO_LONG)


def append(client: "RespConnection", args: list[bytes]) -> Any:
    """APPEND key value"""
    key = args[1]
    keys = writable(client, key)
    value = (keys.get(key) or b"") + args[2]
    check_length(client, len(value))
    check_room(client, len(value))
    keys.put(key, value)
    return len(value)


def strlen(client: "RespConnection", args: list[bytes]) -> Any:
    """STRLEN key"""
    return len(readable(client, args[1]).get(args[1]) or b"")


def getrange(client: "RespConnection", args: list[bytes]) -> Any:
    """GETRANGE key start end: both count, and negative ones from the end"""
    start, end = integer(args[2]), integer(args[3])
    value = readable(client, args[1]).get(args[1]) or b""
    if start < 0 and end < 0 and start > end:
        return b""
    size = len(value)
    first = max(start + size, 0) if start < 0 else start
    last = max(end + size, 0) if end < 0 else end
    return value[first : last + 1]


def setrange(client: "RespConnection", args: list[bytes]) -> Any:
    """SETRANGE key offset value: what is missing before the offset becomes zero bytes"""
    key, part = args[1], args[3]
    keys = writable(client, key)
    at = integer(args[2])
    if at < 0:
        raise CommandError(OFFSET_OUT_OF_RANGE)
    old = keys.get(key) or b""
    if not part:
        return len(old)
    check_length(client, at + len(part))
    value = old[:at].ljust(at, b"\0") + part + old[at + len(part) :]
    check_room(client, len(value))
    keys.put(key, value)
    return len(value)


COMMANDS: Final = [
    Command("append", append, 3, WRITE, 1, 1, 1),
    Command("strlen", strlen, 2, READ | REPEATS, 1, 1, 1),
    Command("getrange", getrange, 4, READ | REPEATS, 1, 1, 1),
    Command("substr", getrange, 4, READ | REPEATS, 1, 1, 1),
    Command("setrange", setrange, 4, WRITE, 1, 1, 1),
]
