"""XINFO: what is known of a stream, its groups and their consumers. `inactive` and `active-time` are those of Redis
7.2, which clients take us for; the rest is as in 7.0.15."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.entries import NODE, Slice
from mansio.core.read_group import UNKNOWN, Consumer, ReadGroup
from mansio.core.reading import entries_added
from mansio.core.stream import Stream
from mansio.core.stream_ids import id_text
from mansio.protocol.resp.arguments import integer, name_of
from mansio.protocol.resp.command import READ, Command, container
from mansio.protocol.resp.errors import NO_SUCH_KEY, CommandError
from mansio.protocol.resp.reply import Raw
from mansio.protocol.resp.stream_access import array_of, encoded, readable

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

FULL_COUNT: Final = 10
"""Entries, and pending ones of each group and consumer, that FULL shows unless it is told how many."""


def _stream(client: "RespConnection", key: bytes) -> Stream:
    stream = readable(client, key)
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    return stream


def _syntax(args: list[bytes]) -> CommandError:
    shown = name_of(args[1][:128])
    return CommandError(
        f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try XINFO HELP."
    )


def info_stream(client: "RespConnection", args: list[bytes]) -> Any:
    """XINFO STREAM key [FULL [COUNT count]]"""
    stream = _stream(client, args[2])
    full = len(args) > 3
    count = FULL_COUNT
    if full:
        if args[3].upper() != b"FULL" or len(args) not in (4, 6):
            raise _syntax(args)
        if len(args) == 6:
            if args[4].upper() != b"COUNT":
                raise _syntax(args)
            count = integer(args[5])
            count = FULL_COUNT if count < 0 else count
    entries = client.broker.streams.entries
    length = entries.length(stream)
    nodes = -(-length // NODE)
    about: dict[Any, Any] = {
        b"length": length,
        b"radix-tree-keys": nodes,
        b"radix-tree-nodes": nodes + 1,
        b"last-generated-id": id_text(stream.last_id),
        b"max-deleted-entry-id": id_text(stream.deleted_id),
        b"entries-added": entries_added(stream),
        b"recorded-first-entry-id": id_text(entries.first_id(stream)),
    }
    groups = [] if stream.readers is None else stream.readers.in_order()
    first, stop = stream.first, stream.next_position
    if full:
        found = entries.slices(stream, first, stop, count or length)
        about[b"entries"] = array_of(encoded(client, args, found))
        about[b"groups"] = [_full_group(client, group, count) for group in groups]
        return about
    about[b"groups"] = len(groups)
    ends = entries.slices(stream, first, stop, 1) + entries.slices(stream, first, stop, 1, True)
    shown = _ends(client, args, ends)
    about[b"first-entry"], about[b"last-entry"] = shown
    return about


def _ends(client: "RespConnection", args: list[bytes], ends: list[Slice]) -> tuple[Any, Any]:
    if len(ends) != 2:
        return None, None
    found = encoded(client, args, ends)
    return (Raw(found[0]), Raw(found[1])) if len(found) == 2 else (None, None)


def _full_group(client: "RespConnection", group: ReadGroup, count: int) -> dict[Any, Any]:
    ids = group.pending.ids()
    return {
        b"name": group.name,
        b"last-delivered-id": id_text(group.last_id),
        b"entries-read": None if group.read == UNKNOWN else group.read,
        b"lag": client.broker.streams.reading.lag(group),
        b"pel-count": len(ids),
        b"pending": [
            [id_text(id), each.consumer.name, each.delivered_ms, each.count]
            for id in (ids[:count] if count else ids)
            for each in (group.pending.entries[id],)
        ],
        b"consumers": [_full_consumer(consumer, count) for consumer in group.by_name()],
    }


def _full_consumer(consumer: Consumer, count: int) -> dict[Any, Any]:
    ids = consumer.pending.ids()
    return {
        b"name": consumer.name,
        b"seen-time": consumer.seen_ms,
        b"active-time": consumer.active_ms,
        b"pel-count": len(ids),
        b"pending": [
            [id_text(id), each.delivered_ms, each.count]
            for id in (ids[:count] if count else ids)
            for each in (consumer.pending.entries[id],)
        ],
    }


def info_groups(client: "RespConnection", args: list[bytes]) -> Any:
    """XINFO GROUPS key"""
    stream = _stream(client, args[2])
    client.broker.streams.entries.flush(stream)
    reading = client.broker.streams.reading
    return [
        {
            b"name": group.name,
            b"consumers": len(group.consumers),
            b"pending": len(group.pending),
            b"last-delivered-id": id_text(group.last_id),
            b"entries-read": None if group.read == UNKNOWN else group.read,
            b"lag": reading.lag(group),
        }
        for group in ([] if stream.readers is None else stream.readers.in_order())
    ]


def info_consumers(client: "RespConnection", args: list[bytes]) -> Any:
    """XINFO CONSUMERS key group"""
    stream = _stream(client, args[2])
    group = client.broker.streams.reading.find(stream, args[3])
    if group is None:
        text = name_of(b"No such consumer group '%b' for key name '%b'" % (args[3], args[2]))
        raise CommandError(f"NOGROUP {text}")
    now_ms = client.broker.now_ms
    return [
        {
            b"name": consumer.name,
            b"pending": len(consumer.pending),
            b"idle": max(now_ms - consumer.seen_ms, 0),
            b"inactive": max(now_ms - consumer.active_ms, 0) if consumer.active_ms >= 0 else -1,
        }
        for consumer in group.by_name()
    ]


_HELP: Final = [
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Prints this help.",
]


def info_help(client: "RespConnection", args: list[bytes]) -> Any:
    """XINFO HELP"""
    return list(_HELP)


COMMANDS: Final = [
    container(
        "xinfo",
        [
            Command("xinfo|stream", info_stream, -3, READ, 2, 2, 1, info_stream),
            Command("xinfo|groups", info_groups, 3, READ, 2, 2, 1),
            Command("xinfo|consumers", info_consumers, 4, READ, 2, 2, 1),
            Command("xinfo|help", info_help, 2),
        ],
    ),
]
