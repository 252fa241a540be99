"""Commands on keys of any kind: DEL, TYPE, RENAME, SCAN and so on. Rules and texts of redis-server 7.0.15."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.globs import Glob, glob
from mansio.core.keyspace import LIST, STRING, Keyspace
from mansio.protocol.resp.access import check_room, configurable, readable, writable
from mansio.protocol.resp.arguments import integer, name_of, small
from mansio.protocol.resp.command import READ, REPEATS, WRITE, Command, container
from mansio.protocol.resp.errors import NO_SUCH_KEY, SYNTAX, CommandError
from mansio.protocol.resp.list_access import forget, load, recall
from mansio.protocol.resp.reply import OK
from mansio.protocol.resp.session_commands import make_vhost

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

SCAN_COUNT: Final = 10
CURSOR_MAX: Final = (1 << 64) - 1
EMBEDDED_BYTES_MAX: Final = 44
"""Longer strings are "raw" (redis-server 7.0.15)."""
SAME: Final = "ERR source and destination objects are the same"
DB_OUT_OF_RANGE: Final = "ERR DB index is out of range"
NO_FREQUENCY: Final = (
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between"
    " policies at runtime LRU and LFU data will take some time to adjust."
)


def delete(client: "RespConnection", args: list[bytes]) -> Any:
    """DEL key [key ...], UNLINK"""
    keys = client.keys
    if not client.rights.everything:
        for key in args[1:]:
            configurable(client, key)
    return sum([keys.delete(key) for key in args[1:]])


def exists(client: "RespConnection", args: list[bytes]) -> Any:
    """EXISTS key [key ...]: how many are there, each as often as it is named; TOUCH"""
    return sum([readable(client, key).exists(key) for key in args[1:]])


def type_(client: "RespConnection", args: list[bytes]) -> Any:
    """TYPE key"""
    return readable(client, args[1]).kind_of(args[1])


def rename(client: "RespConnection", args: list[bytes]) -> Any:
    """RENAME key newkey"""
    keys = _source(client, args[1], args[2])
    client.broker.key_moves.rename(keys, args[1], args[2])
    return OK


def renamenx(client: "RespConnection", args: list[bytes]) -> Any:
    """RENAMENX key newkey"""
    keys = _source(client, args[1], args[2])
    if keys.exists(args[2]):
        return 0
    client.broker.key_moves.rename(keys, args[1], args[2])
    return 1


def _source(client: "RespConnection", key: bytes, target: bytes) -> Keyspace:
    keys = configurable(client, key)
    if not keys.exists(key):
        raise CommandError(NO_SUCH_KEY)
    return _target(client, keys, key, target)


def _target(client: "RespConnection", keys: Keyspace, key: bytes, target: bytes) -> Keyspace:
    """Whether the client may give this name to what has the other."""
    if keys.kind_of(key) == STRING:
        writable(client, target)
        check_room(client, len(keys.strings[key]))
    elif not client.rights.everything:
        client.rights.check_configure("queue", name_of(target))
    return keys


def copy(client: "RespConnection", args: list[bytes]) -> Any:
    """COPY source destination [DB number] [REPLACE]"""
    key, target = args[1], args[2]
    database, replace = client.database, False
    i = 3
    while i < len(args):
        option = args[i].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and i + 1 < len(args):
            i += 1
            database = _database(client, args[i])
        else:
            raise CommandError(SYNTAX)
        i += 1
    if database == client.database and key == target:
        raise CommandError(SAME)
    keys = readable(client, key)
    if not keys.exists(key):
        return 0
    to = _other(client, database, target)
    if to.exists(target) and not replace:
        return 0
    _copy(client, args, to, target)
    return 1


def move(client: "RespConnection", args: list[bytes]) -> Any:
    """MOVE key database"""
    key = args[1]
    database = _database(client, args[2])
    if database == client.database:
        raise CommandError(SAME)
    keys = configurable(client, key)
    if not keys.exists(key):
        return 0
    to = _other(client, database, key)
    if to.exists(key):
        return 0
    _copy(client, args, to, key)
    keys.delete(key)
    return 1


def _copy(client: "RespConnection", args: list[bytes], to: Keyspace, target: bytes) -> None:
    keys, key = client.keys, args[1]
    queue = None if key in keys.strings else keys.queue_of(key)
    if queue is None:
        check_room(client, len(keys.strings[key]))
    else:
        if not client.rights.everything:
            client.broker.users.rights(client.user, to.vhost).check_configure(
                "queue", name_of(target)
            )
        check_room(client, sum([span.run.data_bytes for span in queue.spans()]))
    client.broker.key_moves.copy(keys, key, to, target, recall(client, args))
    forget(client)


def load_all(client: "RespConnection", args: list[bytes]) -> None:
    """Before a transaction with COPY or MOVE: all elements or entries have to be in memory; MustWait."""
    queue = client.keys.queue_of(args[1])
    if queue is not None:
        client.broker.key_moves.read(queue, recall(client, args))


def load_renamed(client: "RespConnection", args: list[bytes]) -> None:
    """The same for RENAME, as far as may be: commands behind it may look for elements under another name."""
    load(client, args[1])


def _database(client: "RespConnection", text: bytes) -> int:
    number = small(text)
    if not 0 <= number < len(client.databases):
        raise CommandError(DB_OUT_OF_RANGE)
    return number


def _other(client: "RespConnection", database: int, key: bytes) -> Keyspace:
    """The keyspace of a database, once the client may write this key there."""
    if database == client.database:
        return writable(client, key)
    make_vhost(client, database)
    vhost = client.databases[database]
    broker = client.broker
    broker.users.rights(client.user, vhost).check_write("queue", name_of(key))
    return broker.keyspace(vhost)


def dbsize(client: "RespConnection", args: list[bytes]) -> Any:
    """DBSIZE"""
    return client.keys.scan.size()


def randomkey(client: "RespConnection", args: list[bytes]) -> Any:
    """RANDOMKEY"""
    return client.keys.scan.random(client.broker.draws)


def keys(client: "RespConnection", args: list[bytes]) -> Any:
    """KEYS pattern"""
    return client.keys.scan.matching(_pattern(args[1]))


def _pattern(text: bytes) -> Glob | None:
    return None if text == b"*" else glob(text)


def scan(client: "RespConnection", args: list[bytes]) -> Any:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]"""
    cursor = cursor_of(args[1])
    pattern: Glob | None = None
    kind: str | None = None
    count = SCAN_COUNT
    for i in range(2, len(args), 2):
        option = args[i].upper()
        if i + 1 == len(args):
            raise CommandError(SYNTAX)
        if option == b"COUNT":
            count = integer(args[i + 1])
            if count < 1:
                raise CommandError(SYNTAX)
        elif option == b"MATCH":
            pattern = _pattern(args[i + 1])
        elif option == b"TYPE":
            kind = args[i + 1].decode("utf-8", "replace").lower()
        else:
            raise CommandError(SYNTAX)
    after, found = client.keys.scan.scan(cursor, count, pattern, kind)
    return [b"%d" % after, found]


def cursor_of(text: bytes) -> int:
    """A cursor, as strtoul reads it; CommandError."""
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if text and (not digits.isdigit() or int(digits) > CURSOR_MAX):
        raise CommandError("ERR invalid cursor")
    return int(text or b"0") & CURSOR_MAX


def flushdb(client: "RespConnection", args: list[bytes]) -> Any:
    """FLUSHDB [ASYNC | SYNC]"""
    _check_flush(args)
    _flush(client, [client.database])
    return OK


def flushall(client: "RespConnection", args: list[bytes]) -> Any:
    """FLUSHALL [ASYNC | SYNC]: all databases"""
    _check_flush(args)
    _flush(client, range(len(client.databases)))
    return OK


def _check_flush(args: list[bytes]) -> None:
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(SYNTAX)


def _flush(client: "RespConnection", databases: "range | list[int]") -> None:
    broker = client.broker
    hosts = {client.databases[number]: None for number in databases}
    spaces = [broker.keyspace(host) for host in hosts if host in broker.vhosts]
    for space in spaces:
        rights = broker.users.rights(client.user, space.vhost)
        if not rights.everything:
            for key in space.strings:
                rights.check_write("queue", name_of(key))
            for key in space.queue_keys():
                rights.check_configure("queue", name_of(key))
    for space in spaces:
        broker.key_moves.flush(space)


def swapdb(client: "RespConnection", args: list[bytes]) -> Any:
    """SWAPDB: not there"""
    raise CommandError("ERR SWAPDB is not supported: databases are virtual hosts, which have names")


def object_encoding(client: "RespConnection", args: list[bytes]) -> Any:
    """OBJECT ENCODING key"""
    kind = readable(client, args[2]).kind_of(args[2])
    if kind == STRING:
        return _encoding(client.keys.strings[args[2]])
    return _ENCODINGS.get(kind)


def object_refcount(client: "RespConnection", args: list[bytes]) -> Any:
    """OBJECT REFCOUNT key"""
    return 1 if readable(client, args[2]).exists(args[2]) else None


def object_idletime(client: "RespConnection", args: list[bytes]) -> Any:
    """OBJECT IDLETIME key: nobody keeps account"""
    return 0 if readable(client, args[2]).exists(args[2]) else None


def object_freq(client: "RespConnection", args: list[bytes]) -> Any:
    """OBJECT FREQ key: nobody keeps account"""
    if not readable(client, args[2]).exists(args[2]):
        return None
    raise CommandError(NO_FREQUENCY)


def object_help(client: "RespConnection", args: list[bytes]) -> Any:
    """OBJECT HELP"""
    return _HELP


_HELP: Final = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
]
_ENCODINGS: Final = {LIST: b"quicklist", "stream": b"stream"}


def _encoding(value: bytes) -> bytes:
    try:
        integer(value)
    except CommandError:
        return b"embstr" if len(value) <= EMBEDDED_BYTES_MAX else b"raw"
    return b"int"


def wait(client: "RespConnection", args: list[bytes]) -> Any:
    """WAIT numreplicas timeout: there are no replicas"""
    integer(args[1])
    if integer(args[2], "ERR timeout is not an integer or out of range") < 0:
        raise CommandError("ERR timeout is negative")
    return 0


COMMANDS: Final = [
    Command("del", delete, -2, WRITE, 1, -1, 1),
    Command("unlink", delete, -2, WRITE, 1, -1, 1),
    Command("exists", exists, -2, READ | REPEATS, 1, -1, 1),
    Command("touch", exists, -2, READ | REPEATS, 1, -1, 1),
    Command("type", type_, 2, READ | REPEATS, 1, 1, 1),
    Command("rename", rename, 3, WRITE, 1, 2, 1, load_renamed),
    Command("renamenx", renamenx, 3, WRITE, 1, 2, 1, load_renamed),
    Command("copy", copy, -3, WRITE, 1, 2, 1, load_all),
    Command("move", move, 3, WRITE, 1, 1, 1, load_all),
    Command("dbsize", dbsize, 1, READ | REPEATS),
    Command("randomkey", randomkey, 1, READ),
    Command("keys", keys, 2, READ),
    Command("scan", scan, -2, READ),
    Command("flushdb", flushdb, -1, WRITE),
    Command("flushall", flushall, -1, WRITE),
    Command("swapdb", swapdb, 3, WRITE),
    container(
        "object",
        [
            Command("object|encoding", object_encoding, 3, READ, 2, 2, 1),
            Command("object|refcount", object_refcount, 3, READ, 2, 2, 1),
            Command("object|idletime", object_idletime, 3, READ, 2, 2, 1),
            Command("object|freq", object_freq, 3, READ, 2, 2, 1),
            Command("object|help", object_help, 2),
        ],
    ),
    Command("wait", wait, 3),
]
