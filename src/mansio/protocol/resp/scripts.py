"""SCRIPT, EVAL and EVALSHA for a few scripts that are known by their text: those of redis-py's Lock, which taskiq and
others hold around what they claim. There is no Lua.

    text ──lines without blanks──► one of SCRIPTS ──SCRIPT LOAD, EVAL──► its SHA-1 is known from here on ──► EVALSHA
"""

from collections.abc import Callable
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.access import configurable
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import WRITE, Command
from mansio.protocol.resp.errors import CommandError, wrong_number
from mansio.protocol.resp.expiring import pexpire, pttl
from mansio.protocol.resp.reply import OK
from mansio.protocol.resp.strings import get

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

Script = Callable[["RespConnection", bytes, list[bytes]], int]
"""Called with the client, the first key and the arguments."""

LOADED_MAX: Final = 64
"""Texts that differ in blanks only; the oldest one is forgotten, and its client loads it again."""
NO_LUA: Final = "ERR there is no Lua here: only the scripts of redis-py's Lock are known"
NO_SCRIPT: Final = "NOSCRIPT No matching script. Please use EVAL."

_HOLDS: Final = """
local token = redis.call('get', KEYS[1])
if not token or token ~= ARGV[1] then
return 0
end
"""
_RELEASE: Final = f"{_HOLDS}redis.call('del', KEYS[1])\nreturn 1"
_EXTEND: Final = f"""{_HOLDS}local expiration = redis.call('pttl', KEYS[1])
if not expiration then
expiration = 0
end
if expiration < 0 then
return 0
end
local newttl = ARGV[2]
if ARGV[3] == "0" then
newttl = ARGV[2] + expiration
end
redis.call('pexpire', KEYS[1], newttl)
return 1"""
_REACQUIRE: Final = f"{_HOLDS}redis.call('pexpire', KEYS[1], ARGV[2])\nreturn 1"


def _release(client: "RespConnection", key: bytes, args: list[bytes]) -> int:
    """The lock is given back by who holds it."""
    if not _holds(client, key, args):
        return 0
    configurable(client, key).delete(key)
    return 1


def _extend(client: "RespConnection", key: bytes, args: list[bytes]) -> int:
    """It is held for longer: so many milliseconds more, or so many from now on."""
    if not _holds(client, key, args):
        return 0
    left_ms = pttl(client, [b"PTTL", key])
    if left_ms < 0:
        return 0
    _, more, replaces = (*args, b"", b"")[:3]
    _keep(client, key, integer(more) + (left_ms if replaces == b"0" else 0))
    return 1


def _reacquire(client: "RespConnection", key: bytes, args: list[bytes]) -> int:
    """Its time begins anew."""
    if not _holds(client, key, args):
        return 0
    _keep(client, key, integer((*args, b"", b"")[1]))
    return 1


def _holds(client: "RespConnection", key: bytes, args: list[bytes]) -> bool:
    return bool(args) and get(client, [b"GET", key]) == args[0]


def _keep(client: "RespConnection", key: bytes, life_ms: int) -> None:
    pexpire(client, [b"PEXPIRE", key, b"%d" % life_ms])


def _plain(text: bytes) -> bytes:
    """Without blanks at the ends of lines, and without empty lines."""
    return b"\n".join(line for each in text.splitlines() if (line := each.strip()))


SCRIPTS: Final[dict[bytes, Script]] = {
    _plain(text.encode()): script
    for text, script in ((_RELEASE, _release), (_EXTEND, _extend), (_REACQUIRE, _reacquire))
}
"""By their text."""
_loaded: Final[dict[bytes, Script]] = {}
"""By SHA-1, in hexadecimal and lower case. What is here follows from the texts alone, whoever has shown them."""


def _load(text: bytes) -> tuple[bytes, Script]:
    script = SCRIPTS.get(_plain(text))
    if script is None:
        raise CommandError(NO_LUA)
    digest = sha1(text, usedforsecurity=False).hexdigest().encode()
    if digest not in _loaded and len(_loaded) >= LOADED_MAX:
        del _loaded[next(iter(_loaded))]
    _loaded[digest] = script
    return digest, script


def eval_(client: "RespConnection", args: list[bytes]) -> Any:
    """EVAL script numkeys [key …] [arg …]"""
    keys = _keys(args)
    return _run(client, _load(args[1])[1], keys, args)


def evalsha(client: "RespConnection", args: list[bytes]) -> Any:
    """EVALSHA sha1 numkeys [key …] [arg …]"""
    keys = _keys(args)
    script = _loaded.get(args[1].lower())
    if script is None:
        raise CommandError(NO_SCRIPT)
    return _run(client, script, keys, args)


def _keys(args: list[bytes]) -> int:
    """How many of the arguments are keys."""
    count = integer(args[2])
    if count > len(args) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError("ERR Number of keys can't be negative")
    return count


def _run(client: "RespConnection", script: Script, keys: int, args: list[bytes]) -> int:
    if keys < 1:
        raise CommandError("ERR the scripts of redis-py's Lock have one key")
    return script(client, args[3], args[3 + keys :])


def script_(client: "RespConnection", args: list[bytes]) -> Any:
    """SCRIPT LOAD script | EXISTS sha1 … | FLUSH [ASYNC | SYNC]"""
    word = args[1].upper()
    if word == b"LOAD" and len(args) == 3:
        return _load(args[2])[0]
    if word == b"EXISTS" and len(args) > 2:
        return [int(digest.lower() in _loaded) for digest in args[2:]]
    if word == b"FLUSH" and len(args) < 4:
        _loaded.clear()
        return OK
    if word in (b"LOAD", b"EXISTS"):
        raise wrong_number(f"script|{word.decode().lower()}")
    shown = args[1][:128].decode("utf-8", "surrogateescape")
    raise CommandError(f"ERR unknown subcommand '{shown}'. Try SCRIPT HELP.")


COMMANDS: Final = [
    Command("eval", eval_, -3, WRITE),
    Command("evalsha", evalsha, -3, WRITE),
    Command("script", script_, -2),
]
