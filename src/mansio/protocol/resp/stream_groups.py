"""XGROUP: the groups of a stream, and their consumers."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.read_group import UNKNOWN, ReadGroup
from mansio.protocol.resp.arguments import integer, name_of
from mansio.protocol.resp.command import WRITE, Command, container
from mansio.protocol.resp.errors import CommandError
from mansio.protocol.resp.reply import OK
from mansio.protocol.resp.stream_access import (
    ENTRY_BYTES,
    check_room,
    create,
    readable,
)
from mansio.protocol.resp.stream_arguments import any_id, stream_id

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

NO_KEY: Final = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    "option to create an empty stream automatically."
)


def _syntax(args: list[bytes]) -> CommandError:
    shown = name_of(args[1][:128])
    return CommandError(
        f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try XGROUP HELP."
    )


def _options(args: list[bytes], makes: bool) -> tuple[bool, int]:
    """MKSTREAM and ENTRIESREAD."""
    at, make, read = 5, False, UNKNOWN
    while at < len(args):
        option = args[at].upper()
        if makes and option == b"MKSTREAM":
            make = True
            at += 1
        elif option == b"ENTRIESREAD" and at + 1 < len(args):
            read = integer(args[at + 1])
            if read < UNKNOWN:
                raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise _syntax(args)
    return make, read


def _group(client: "RespConnection", args: list[bytes]) -> ReadGroup:
    """The group that a subcommand is about."""
    stream = readable(client, args[2])
    if stream is None:
        raise CommandError(NO_KEY)
    group = client.broker.streams.reading.find(stream, args[3])
    if group is None:
        text = name_of(b"No such consumer group '%b' for key name '%b'" % (args[3], args[2]))
        raise CommandError(f"NOGROUP {text}")
    return group


def group_create(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]"""
    make, read = _options(args, True)
    stream = readable(client, args[2])
    if stream is None and not make:
        raise CommandError(NO_KEY)
    if args[4] == b"$":
        last = 0 if stream is None else stream.last_id
    else:
        last = stream_id(args[4])
    check_room(client, ENTRY_BYTES)
    if stream is None:
        stream = create(client, args[2])
    if not client.broker.streams.reading.create(stream, args[3], last, read):
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    return OK


def group_set_id(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP SETID key group id|$ [ENTRIESREAD entries-read]"""
    _, read = _options(args, False)
    group = _group(client, args)
    last = group.stream.last_id if args[4] == b"$" else any_id(args[4])
    client.broker.streams.reading.set_id(group, last, read)
    return OK


def group_destroy(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP DESTROY key group"""
    stream = readable(client, args[2])
    if stream is None:
        raise CommandError(NO_KEY)
    streams = client.broker.streams
    group = streams.reading.find(stream, args[3])
    if group is None:
        return 0
    streams.reading.destroy(group)
    streams.watching.stir(stream)
    return 1


def group_create_consumer(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP CREATECONSUMER key group consumer"""
    group = _group(client, args)
    if args[4] in group.consumers:
        return 0
    client.broker.streams.reading.consumer(group, args[4])
    return 1


def group_delete_consumer(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP DELCONSUMER key group consumer"""
    group = _group(client, args)
    consumer = group.consumers.get(args[4])
    if consumer is None:
        return 0
    return client.broker.streams.reading.remove(group, consumer)


_HELP: Final = [
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Prints this help.",
]


def group_help(client: "RespConnection", args: list[bytes]) -> Any:
    """XGROUP HELP"""
    return list(_HELP)


COMMANDS: Final = [
    container(
        "xgroup",
        [
            Command("xgroup|create", group_create, -5, WRITE, 2, 2, 1),
            Command("xgroup|setid", group_set_id, -5, WRITE, 2, 2, 1),
            Command("xgroup|destroy", group_destroy, 4, WRITE, 2, 2, 1),
            Command("xgroup|createconsumer", group_create_consumer, 5, WRITE, 2, 2, 1),
            Command("xgroup|delconsumer", group_delete_consumer, 5, WRITE, 2, 2, 1),
            Command("xgroup|help", group_help, 2),
        ],
    ),
]
