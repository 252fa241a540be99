"""CONFIG: what programs ask a Redis server for before they use it, and set without meaning harm.

Mansio's own settings are elsewhere (`mansio serve --help`). Settings here that may be set are kept until the broker
stops and have no effect, but to be told again; those that would be a promise cannot be changed.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.globs import glob
from mansio.protocol.resp.command import ADMIN, Command, container
from mansio.protocol.resp.errors import CommandError
from mansio.protocol.resp.reply import OK
from mansio.protocol.resp.session_commands import check_administrator

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

_INT_MAX: Final = (1 << 31) - 1
_LONG_MAX: Final = (1 << 63) - 1
_YES_NO: Final = "argument must be 'yes' or 'no'"
_FIXED: Final = "can't set immutable config"

FIXED: Final = {
    "appendonly": "yes",
    "bind": "*",
    "client-query-buffer-limit": "1073741824",
    "cluster-enabled": "no",
    "daemonize": "no",
    "databases": "16",
    "dir": ".",
    "maxmemory-policy": "noeviction",
    "port": "6379",
    "proto-max-bulk-len": "536870912",
    "requirepass": "",
}
"""What is so."""
WORDS: Final = {
    "appendfsync": ("always", ("everysec", "always", "no")),
    "loglevel": ("notice", ("debug", "verbose", "notice", "warning", "nothing")),
}
"""What is one of some words."""
FREE: Final = {"notify-keyspace-events": "", "save": ""}
"""What is any text."""
SWITCHES: Final = {
    "activedefrag": "no",
    "activerehashing": "yes",
    "aof-use-rdb-preamble": "yes",
    "latency-tracking": "yes",
    "lazyfree-lazy-eviction": "no",
    "lazyfree-lazy-expire": "no",
    "lazyfree-lazy-server-del": "no",
    "lazyfree-lazy-user-del": "no",
    "lazyfree-lazy-user-flush": "no",
    "no-appendfsync-on-rewrite": "no",
    "protected-mode": "yes",
    "rdbcompression": "yes",
    "replica-read-only": "yes",
    "stop-writes-on-bgsave-error": "yes",
}
NUMBERS: Final = {
    "hash-max-listpack-entries": (512, 0, _LONG_MAX),
    "hash-max-listpack-value": (64, 0, _LONG_MAX),
    "hash-max-ziplist-entries": (512, 0, _LONG_MAX),
    "hash-max-ziplist-value": (64, 0, _LONG_MAX),
    "hz": (10, 0, _INT_MAX),
    "latency-monitor-threshold": (0, 0, _LONG_MAX),
    "list-compress-depth": (0, 0, _INT_MAX),
    "list-max-listpack-size": (-2, -(1 << 31), _INT_MAX),
    "list-max-ziplist-size": (-2, -(1 << 31), _INT_MAX),
    "lua-time-limit": (5000, 0, _LONG_MAX),
    "maxclients": (10_000, 1, _INT_MAX),
    "maxmemory-samples": (5, 1, _INT_MAX),
    "set-max-intset-entries": (512, 0, _LONG_MAX),
    "slowlog-log-slower-than": (10_000, -1, _LONG_MAX),
    "slowlog-max-len": (128, 0, _LONG_MAX),
    "stream-node-max-bytes": (4096, 0, _LONG_MAX),
    "stream-node-max-entries": (100, 0, _LONG_MAX),
    "tcp-keepalive": (300, 0, _INT_MAX),
    "timeout": (0, 0, _INT_MAX),
    "zset-max-listpack-entries": (128, 0, _LONG_MAX),
    "zset-max-listpack-value": (64, 0, _LONG_MAX),
    "zset-max-ziplist-entries": (128, 0, _LONG_MAX),
    "zset-max-ziplist-value": (64, 0, _LONG_MAX),
}
"""Default, least and greatest value."""


def _values(client: "RespConnection") -> dict[str, str]:
    values = FIXED | FREE | SWITCHES
    values |= {name: default for name, (default, _) in WORDS.items()}
    values |= {name: str(default) for name, (default, _, _) in NUMBERS.items()}
    values["databases"] = str(len(client.databases))
    values["maxmemory"] = str(client.broker.limits.memory_bytes_max)
    return values | client.clients.settings


def get(client: "RespConnection", args: list[bytes]) -> Any:
    """CONFIG GET parameter [parameter ...]"""
    found: dict[bytes, Any] = {}
    values = _values(client)
    for arg in args[2:]:
        wanted = glob(arg.lower())
        matching = [name for name in values if wanted.matches(name.encode())]
        names = [arg] if wanted.literal is not None else [name.encode() for name in matching]
        for name, key in zip(names, matching, strict=False):
            found[name] = values[key].encode("utf-8", "surrogateescape")
    return found


def set_(client: "RespConnection", args: list[bytes]) -> Any:
    """CONFIG SET parameter value [parameter value ...]"""
    if len(args) % 2:
        raise CommandError("ERR wrong number of arguments for 'config|set' command")
    check_administrator(client, "config|set")
    words = [arg.decode("utf-8", "surrogateescape") for arg in args[2:]]
    new: dict[str, str] = {}
    known = _values(client)
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name.lower() not in known:
            raise CommandError(
                f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
            )
        if name.lower() in new:
            raise _failed(name, "duplicate parameter")
        new[name.lower()] = value
    for name, value in new.items():
        wrong = _wrong(name, value)
        if wrong and value != known[name]:
            raise _failed(name, wrong)
    client.clients.settings |= new
    return OK


def _failed(name: str, why: str) -> CommandError:
    return CommandError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")


def _wrong(name: str, value: str) -> str:
    """Why a setting cannot have this value, "" if it can."""
    if name in FREE:
        return ""
    if name in SWITCHES:
        return "" if value.lower() in ("yes", "no") else _YES_NO
    if name in WORDS:
        words = WORDS[name][1]
        if value.lower() in words:
            return ""
        return f"argument(s) must be one of the following: {', '.join(words)}"
    if name in NUMBERS:
        _, least, most = NUMBERS[name]
        try:
            number = int(value)
        except ValueError:
            return "argument couldn't be parsed into an integer"
        if not least <= number <= most:
            return f"argument must be between {least} and {most} inclusive"
        return ""
    return _FIXED


def reset_statistics(client: "RespConnection", args: list[bytes]) -> Any:
    """CONFIG RESETSTAT"""
    check_administrator(client, "config|resetstat")
    client.clients.commands = 0
    return OK


def rewrite(client: "RespConnection", args: list[bytes]) -> Any:
    """CONFIG REWRITE"""
    raise CommandError("ERR The server is running without a config file")


COMMANDS: Final = [
    container(
        "config",
        [
            Command("config|get", get, -3, ADMIN),
            Command("config|resetstat", reset_statistics, 2, ADMIN),
            Command("config|rewrite", rewrite, 2, ADMIN),
            Command("config|set", set_, -4, ADMIN),
        ],
    ),
]
