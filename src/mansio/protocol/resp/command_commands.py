"""COMMAND: what commands there are, told from the table of them."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.globs import glob
from mansio.protocol.resp import command as flags
from mansio.protocol.resp.command import Command
from mansio.protocol.resp.errors import SYNTAX, CommandError

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

_FLAGS: Final = {
    flags.WRITE: "write",
    flags.READ: "readonly",
    flags.BLOCKING: "blocking",
    flags.NO_AUTH: "no_auth",
    flags.NO_MULTI: "no_multi",
    flags.ADMIN: "admin",
}
_COUNTED: Final = {"lmpop": 1, "blmpop": 2}
"""Where such a command says how many keys follow."""
_CHANNELS: Final = frozenset({"ssubscribe", "sunsubscribe", "spublish"})
"""What a cluster would look for like for keys."""
_NO_KEYS: Final = "ERR The command has no key arguments"


def _table() -> dict[bytes, Command]:
    from mansio.protocol.resp import table

    return table.COMMANDS


def _entry(command: Command) -> list[Any]:
    """As COMMAND INFO describes it; categories, tips and key specifications are left empty."""
    shown = {text for flag, text in _FLAGS.items() if command.flags & flag}
    subcommands = [_entry(each) for each in (command.subcommands or {}).values()]
    name = command.name.encode()
    keys = [command.first_key, command.last_key, command.key_step]
    return [name, command.arity, shown, *keys, set(), [], [], subcommands]


def _find(name: bytes) -> Command | None:
    """A command, or a subcommand in the form `client|list`."""
    head, _, sub = name.upper().partition(b"|")
    found = _table().get(head)
    if found is not None and sub:
        return (found.subcommands or {}).get(sub)
    return found


def command(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND"""
    return [_entry(each) for each in _table().values()]


def count(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND COUNT"""
    return len(_table())


def info(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND INFO [command-name [command-name ...]]"""
    if len(args) == 2:
        return command(client, args)
    found = [_find(name) for name in args[2:]]
    return [None if each is None else _entry(each) for each in found]


def docs(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND DOCS [command-name [command-name ...]]"""
    if len(args) == 2:
        found: list[Command | None] = list(_table().values())
    else:
        found = [_find(name) for name in args[2:]]
    return {each.name.encode(): _doc(each) for each in found if each is not None}


def _doc(command: Command) -> dict[bytes, Any]:
    summary = (command.handler.__doc__ or "").strip()
    if command.subcommands:
        summary = f"{command.name.upper()} <subcommand>"
    doc = {b"summary": summary.encode(), b"since": b"1.0.0", b"group": b"generic"}
    if command.subcommands:
        subs = {each.name.encode(): _doc(each) for each in command.subcommands.values()}
        return doc | {b"subcommands": subs}
    return doc


def list_(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND LIST [FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]"""
    names = [each.name.encode() for each in _table().values()]
    if len(args) == 2:
        return names
    if len(args) != 5 or args[2].upper() != b"FILTERBY":
        raise CommandError(SYNTAX)
    kind = args[3].upper()
    if kind == b"PATTERN":
        wanted = glob(args[4])
        return [name for name in names if wanted.matches(name)]
    if kind in (b"MODULE", b"ACLCAT"):
        return []
    raise CommandError(SYNTAX)


def get_keys(client: "RespConnection", args: list[bytes]) -> Any:
    """COMMAND GETKEYS command [argument [argument ...]]"""
    words = args[2:]
    found = _find(words[0])
    if found is not None and found.subcommands and len(words) > 1:
        found = found.subcommands.get(words[1].upper())
    if found is None:
        raise CommandError("ERR Invalid command specified")
    if not found.takes(len(words)):
        raise CommandError("ERR Invalid number of arguments specified for command")
    keys = keys_of(found, words)
    if not keys:
        raise CommandError(_NO_KEYS)
    return keys


def keys_of(command: Command, words: list[bytes]) -> list[bytes]:
    """The keys in the arguments of a command."""
    if command.name in _COUNTED:
        at = _COUNTED[command.name]
        count = int(words[at]) if words[at].isdigit() else 0
        return words[at + 1 : at + 1 + count]
    if command.name in ("xread", "xreadgroup"):
        for at, word in enumerate(words):
            if word.upper() == b"STREAMS":
                rest = words[at + 1 :]
                return rest[: len(rest) // 2]
        return []
    if not command.first_key or command.name in _CHANNELS:
        return []
    last = command.last_key if command.last_key >= 0 else len(words) + command.last_key
    return words[command.first_key : last + 1 : command.key_step or 1]


COMMANDS: Final = [
    Command(
        "command",
        command,
        -1,
        subcommands={
            b"COUNT": Command("command|count", count, 2),
            b"DOCS": Command("command|docs", docs, -2),
            b"GETKEYS": Command("command|getkeys", get_keys, -4),
            b"INFO": Command("command|info", info, -2),
            b"LIST": Command("command|list", list_, -2),
        },
    ),
]
