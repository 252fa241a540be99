"""CLIENT: who is connected, names, replies on and off, clients that are ended, unblocked or paused."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio.protocol.resp.arguments import INT_MAX, integer
from mansio.protocol.resp.command import ADMIN, Command, container
from mansio.protocol.resp.errors import SYNTAX, CommandError, wrong_subcommand
from mansio.protocol.resp.output import OFF, SKIP_NEXT
from mansio.protocol.resp.reply import NO_REPLY, OK, Verbatim
from mansio.protocol.resp.session_commands import (
    check_administrator,
    is_administrator,
    wrong_name,
)

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

_TYPES: Final = (b"normal", b"master", b"replica", b"slave", b"pubsub")


def describe(client: "RespConnection", now_ns: int) -> str:
    """A line of CLIENT LIST, as redis-server 7.2 has it; what there is nothing of here is 0."""
    s = 1_000_000_000
    topics = client.topics.names
    library, version = client.library
    server = client.peer.name.partition(" -> ")[2]
    transaction, command = client.transaction, client.last_command
    queued = -1 if transaction is None else len(getattr(transaction, "queued", ()))
    return (
        f"id={client.id} addr={client.address} laddr={server} fd=0 name={_text(client.name)} "
        f"age={(now_ns - client.connected_ns) // s} idle={(now_ns - client.received_ns) // s} "
        f"flags={_flags(client)} db={client.database} sub={len(topics[0])} psub={len(topics[1])} "
        f"ssub={len(topics[2])} multi={queued} qbuf={len(client.tail)} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 "
        f"obl=0 oll=0 omem={client.unread_bytes} tot-mem={len(client.tail) + client.unread_bytes} events=r "
        f"cmd={command.name if command is not None else 'NULL'} user={client.user} redir=-1 resp={client.proto} "
        f"lib-name={_text(library)} lib-ver={_text(version)}"
    )


def _flags(client: "RespConnection") -> str:
    flags = ""
    if client.clients.is_monitor(client):
        flags += "O"
    if client.subscriptions:
        flags += "P"
    if client.transaction is not None:
        flags += "x"
    if client.blocking:
        flags += "b"
    return flags or "N"


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _kind(client: "RespConnection") -> bytes:
    return b"pubsub" if client.subscriptions else b"normal"


def _check_type(word: bytes) -> bytes:
    if word.lower() not in _TYPES:
        raise CommandError(f"ERR Unknown client type '{_text(word)}'")
    return word.lower()


def get_id(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT ID"""
    return client.id


def info(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT INFO"""
    return Verbatim(describe(client, client.now_ns) + "\n")


def list_(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT LIST [TYPE NORMAL|MASTER|REPLICA|PUBSUB] [ID client-id [client-id ...]]"""
    found = _visible(client)
    if len(args) == 4 and args[2].upper() == b"TYPE":
        kind = _check_type(args[3])
        found = [each for each in found if _kind(each) == kind]
    elif len(args) > 3 and args[2].upper() == b"ID":
        ids = [integer(arg, "ERR Invalid client ID") for arg in args[3:]]
        found = [each for number in ids for each in found if each.id == number]
    elif len(args) > 2:
        raise CommandError(SYNTAX)
    lines = [describe(each, client.now_ns) + "\n" for each in found]
    return Verbatim("".join(lines))


def _visible(client: "RespConnection") -> "list[RespConnection]":
    """All clients, for who is no administrator those of the same user."""
    if is_administrator(client):
        return list(client.clients)
    return [each for each in client.clients if each.user == client.user]


def set_name(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT SETNAME connection-name"""
    if (refusal := wrong_name(args[2])) is not None:
        raise refusal
    client.name = args[2]
    return OK


def get_name(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT GETNAME"""
    return client.name or None


def set_info(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT SETINFO LIB-NAME libname | LIB-VER libver"""
    option = args[2].upper()
    if option not in (b"LIB-NAME", b"LIB-VER"):
        raise CommandError(f"ERR Unrecognized option '{_text(args[2])}'")
    if any(byte < 33 or byte > 126 for byte in args[3]):
        raise CommandError(
            f"ERR {_text(args[2])} cannot contain spaces, newlines or special characters."
        )
    name, version = client.library
    client.library = (args[3], version) if option == b"LIB-NAME" else (name, args[3])
    return OK


def reply(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT REPLY ON|OFF|SKIP"""
    how = args[2].upper()
    if how == b"ON":
        client.mute = 0
    elif how == b"OFF":
        client.mute = OFF
    elif how == b"SKIP":
        client.mute |= 0 if client.mute & OFF else SKIP_NEXT
    else:
        raise CommandError(SYNTAX)
    client.looked()
    return OK if how == b"ON" else NO_REPLY


Test = Callable[["RespConnection"], bool]


def kill(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT KILL ip:port | [ID id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes|no]"""
    if len(args) == 3:
        tests: list[Test] = [_by_address(args[2])]
        skip_me = False
    elif len(args) % 2 == 0:
        tests, skip_me = _filters(client, args)
    else:
        raise CommandError(SYNTAX)
    found = [
        each
        for each in client.clients
        if all(test(each) for test in tests) and not (skip_me and each is client)
    ]
    if any(each.user != client.user for each in found):
        check_administrator(client, "client|kill")
    if len(args) == 3 and not found:
        raise CommandError("ERR No such client")
    for each in found:
        if each is not client:
            each.end("it was ended by CLIENT KILL")
    if client in found:
        client.answer(b"+OK\r\n" if len(args) == 3 else b":%d\r\n" % len(found))
        client.finish("")
        return NO_REPLY
    return OK if len(args) == 3 else len(found)


def _by_address(word: bytes, local: bool = False) -> Test:
    address = _text(word)
    if local:
        return lambda each: each.peer.name.partition(" -> ")[2] == address
    return lambda each: each.address == address


def _filters(client: "RespConnection", args: list[bytes]) -> tuple[list[Test], bool]:
    tests: list[Test] = []
    skip_me = True
    for option, word in zip(args[2::2], args[3::2], strict=True):
        match option.upper():
            case b"ID":
                number = integer(word, "ERR client-id should be greater than 0")
                if number < 1:
                    raise CommandError("ERR client-id should be greater than 0")
                tests.append(lambda each, number=number: each.id == number)  # type: ignore[misc]
            case b"TYPE":
                kind = _check_type(word)
                tests.append(lambda each, kind=kind: _kind(each) == kind)  # type: ignore[misc]
            case b"ADDR":
                tests.append(_by_address(word))
            case b"LADDR":
                tests.append(_by_address(word, local=True))
            case b"USER":
                user = _text(word)
                if client.broker.users.find(user) is None:
                    raise CommandError(f"ERR No such user '{user}'")
                tests.append(lambda each, user=user: each.user == user)  # type: ignore[misc]
            case b"SKIPME" if word.lower() in (b"yes", b"no"):
                skip_me = word.lower() == b"yes"
            case _:
                raise CommandError(SYNTAX)
    return tests, skip_me


def unblock(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT UNBLOCK client-id [TIMEOUT|ERROR]"""
    error: CommandError | None = None
    if len(args) > 4:
        raise wrong_subcommand(args)
    if len(args) == 4:
        if args[3].upper() == b"ERROR":
            error = CommandError("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        elif args[3].upper() != b"TIMEOUT":
            raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    other = client.clients.get(integer(args[2]))
    if other is None:
        return 0
    if other.user != client.user:
        check_administrator(client, "client|unblock")
    return int(other.stop_waiting(error))


def pause(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT PAUSE timeout [WRITE|ALL]"""
    everything = True
    if len(args) > 4:
        raise wrong_subcommand(args)
    if len(args) > 3:
        if args[3].upper() not in (b"WRITE", b"ALL"):
            raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
        everything = args[3].upper() == b"ALL"
    ms = integer(args[2], "ERR timeout is not an integer or out of range")
    if ms < 0:
        raise CommandError("ERR timeout is negative")
    check_administrator(client, "client|pause")
    client.clients.pause(min(client.broker.now_ms + ms, INT_MAX >> 1), everything)
    return OK


def unpause(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT UNPAUSE"""
    check_administrator(client, "client|unpause")
    client.clients.go_on()
    return OK


def no_evict(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT NO-EVICT ON|OFF, CLIENT NO-TOUCH ON|OFF: nothing is evicted, nor does it matter when it was touched"""
    if args[2].upper() not in (b"ON", b"OFF"):
        raise CommandError(SYNTAX)
    return OK


def tracking(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT TRACKING ON|OFF: it can only be off"""
    if args[2].upper() == b"OFF" and len(args) == 3:
        return OK
    if args[2].upper() != b"ON":
        raise CommandError(SYNTAX)
    raise CommandError("ERR client side caching is not supported")


def tracking_info(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT TRACKINGINFO"""
    return {b"flags": {b"off"}, b"redirect": -1, b"prefixes": []}


def redirection(client: "RespConnection", args: list[bytes]) -> Any:
    """CLIENT GETREDIR"""
    return -1


COMMANDS: Final = [
    container(
        "client",
        [
            Command("client|getname", get_name, 2),
            Command("client|getredir", redirection, 2),
            Command("client|id", get_id, 2),
            Command("client|info", info, 2),
            Command("client|kill", kill, -3, ADMIN),
            Command("client|list", list_, -2, ADMIN),
            Command("client|no-evict", no_evict, 3, ADMIN),
            Command("client|no-touch", no_evict, 3),
            Command("client|pause", pause, -3, ADMIN),
            Command("client|reply", reply, 3),
            Command("client|setinfo", set_info, 4),
            Command("client|setname", set_name, 3),
            Command("client|tracking", tracking, -3),
            Command("client|trackinginfo", tracking_info, 2),
            Command("client|unblock", unblock, -3, ADMIN),
            Command("client|unpause", unpause, 2, ADMIN),
        ],
    ),
]
