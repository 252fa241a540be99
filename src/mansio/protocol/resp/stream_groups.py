"""Commands on groups and what they have not acknowledged: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM."""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.read_group import UNKNOWN, PendingList, ReadGroup
from mansio.core.stream_ids import id_text
from mansio.protocol.resp.arguments import INT_MAX, integer, name_of
from mansio.protocol.resp.command import READ, WRITE, Command, container
from mansio.protocol.resp.errors import SYNTAX, CommandError
from mansio.protocol.resp.reply import NULL_ARRAY, OK
from mansio.protocol.resp.stream_access import (
    ENTRY_BYTES,
    array_of,
    check_room,
    create,
    encode_ids,
    encoded,
    readable,
)
from mansio.protocol.resp.stream_arguments import any_id, high_end, is_id, low_end, stream_id

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

NO_KEY: Final = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    "option to create an empty stream automatically."
)
ATTEMPTS: Final = 10
"""Pending entries that XAUTOCLAIM looks at for each one that it may answer."""
CLAIM_MAX: Final = INT_MAX // 16


# -- XGROUP


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
    streams.watching.group_gone(stream, args[3])
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


# -- what is pending


def xack(client: "RespConnection", args: list[bytes]) -> Any:
    """XACK key group id [id ...]"""
    group = _found(client, args[1], args[2])
    if group is None:
        return 0
    ids = [stream_id(each) for each in args[3:]]
    reading = client.broker.streams.reading
    return sum(reading.settle(group, id) for id in ids)


def _found(client: "RespConnection", key: bytes, name: bytes) -> ReadGroup | None:
    stream = readable(client, key)
    return None if stream is None else client.broker.streams.reading.find(stream, name)


def _needed(client: "RespConnection", key: bytes, name: bytes) -> ReadGroup:
    group = _found(client, key, name)
    if group is None:
        text = name_of(b"No such key '%b' or consumer group '%b'" % (key, name))
        raise CommandError(f"NOGROUP {text}")
    return group


def xpending(client: "RespConnection", args: list[bytes]) -> Any:
    """XPENDING key group [[IDLE min-idle-time] start end count [consumer]]"""
    if len(args) != 3 and not 6 <= len(args) <= 9:
        raise CommandError(SYNTAX)
    if len(args) == 3:
        return _summary(_needed(client, args[1], args[2]))
    at, least_ms = 3, 0
    if args[3].upper() == b"IDLE":
        least_ms = integer(args[4])
        if len(args) < 8:
            raise CommandError(SYNTAX)
        at = 5
    count = max(integer(args[at + 2]), 0)
    low, high = low_end(args[at]), high_end(args[at + 1])
    group = _needed(client, args[1], args[2])
    pending: PendingList = group.pending
    if at + 3 < len(args):
        consumer = group.consumers.get(args[at + 3])
        if consumer is None:
            return []
        pending = consumer.pending
    now_ms = client.broker.now_ms
    found: list[Any] = []
    for id in pending.ids(low):
        if id > high or len(found) == count:
            break
        each = pending.entries[id]
        idle_ms = now_ms - each.delivered_ms
        if least_ms and idle_ms < least_ms:
            continue
        found.append([id_text(id), each.consumer.name, max(idle_ms, 0), each.count])
    return found


def _summary(group: ReadGroup) -> list[Any]:
    ids = group.pending.ids()
    if not ids:
        return [0, None, None, NULL_ARRAY]
    counts = [
        [consumer.name, b"%d" % len(consumer.pending)]
        for consumer in group.by_name()
        if len(consumer.pending)
    ]
    return [len(ids), id_text(ids[0]), id_text(ids[-1]), counts]


def _idle(text: bytes, command: str) -> int:
    return max(integer(text, f"ERR Invalid min-idle-time argument for {command}"), 0)


class _Options:
    """Of XCLAIM: see `xclaim`."""

    def __init__(self, client: "RespConnection", args: list[bytes], at: int) -> None:
        self.force = self.just_ids = False
        self.last_id = 0
        self.retries = -1
        now_ms = client.broker.now_ms
        delivered_ms = -1
        while at < len(args):
            option, more = args[at].upper(), at + 1 < len(args)
            if option == b"FORCE":
                self.force = True
            elif option == b"JUSTID":
                self.just_ids = True
            elif option == b"IDLE" and more:
                at += 1
                delivered_ms = now_ms - _number(args[at], "IDLE")
            elif option == b"TIME" and more:
                at += 1
                delivered_ms = _number(args[at], "TIME")
            elif option == b"RETRYCOUNT" and more:
                at += 1
                self.retries = _number(args[at], "RETRYCOUNT")
            elif option == b"LASTID" and more:
                at += 1
                self.last_id = stream_id(args[at])
            else:
                raise CommandError(f"ERR Unrecognized XCLAIM option '{name_of(args[at])}'")
            at += 1
        # A time that makes no sense is taken for now, as redis-server does.
        self.delivered_ms = delivered_ms if 0 <= delivered_ms <= now_ms else now_ms


def _number(text: bytes, option: str) -> int:
    return integer(text, f"ERR Invalid {option} option argument for XCLAIM")


def xclaim(client: "RespConnection", args: list[bytes]) -> Any:
    """XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE]
    [JUSTID] [LASTID last-id]"""
    group = _needed(client, args[1], args[2])
    least_ms = _idle(args[4], "XCLAIM")
    at = 5
    while at < len(args) and is_id(args[at]):
        at += 1
    ids = [stream_id(each) for each in args[5:at]]
    options = _Options(client, args, at)
    broker = client.broker
    reading, entries = broker.streams.reading, broker.streams.entries
    now_ms = broker.now_ms
    there = {id: found for id in ids if (found := entries.at(group.stream, id)) is not None}
    claimed: list[int] = []
    for id in ids:
        pending = group.pending.entries.get(id)
        if id not in there or (pending is None and not options.force):
            continue
        if pending is None or not least_ms or now_ms - pending.delivered_ms >= least_ms:
            claimed.append(id)
    parts: list[bytes] = []
    if not options.just_ids:
        parts = encoded(client, args, [there[id] for id in claimed])
    check_room(client, ENTRY_BYTES * len(claimed))
    if options.last_id > group.last_id:
        reading.advance(group, options.last_id)
    for id in ids:
        if id not in there:
            reading.settle(group, id)
    for id in claimed:
        consumer, _ = reading.consumer(group, args[3])
        pending = group.pending.entries.get(id)
        count = 1 if pending is None else pending.count
        if options.retries >= 0:
            count = options.retries
        elif not options.just_ids:
            count += 1
        reading.deliver(group, id, consumer, options.delivered_ms, count)
    return encode_ids(claimed) if options.just_ids else array_of(parts)


def xautoclaim(client: "RespConnection", args: list[bytes]) -> Any:
    """XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]"""
    least_ms = _idle(args[4], "XAUTOCLAIM")
    low = low_end(args[5])
    count, just_ids = 100, False
    at = 6
    while at < len(args):
        option = args[at].upper()
        if option == b"COUNT" and at + 1 < len(args):
            at += 1
            count = integer(args[at])
            if not 1 <= count <= CLAIM_MAX:
                raise CommandError("ERR COUNT must be > 0")
        elif option == b"JUSTID":
            just_ids = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    group = _needed(client, args[1], args[2])
    broker = client.broker
    reading = broker.streams.reading
    claimed, gone, cursor = _claimable(client, group, low, least_ms, count)
    parts = [] if just_ids else encoded(client, args, [found for _, found in claimed])
    check_room(client, ENTRY_BYTES * len(claimed))
    for id in gone:
        reading.settle(group, id)
    for id, _ in claimed:
        consumer, _ = reading.consumer(group, args[3])
        times = group.pending.entries[id].count + (not just_ids)
        reading.deliver(group, id, consumer, broker.now_ms, times)
    found = encode_ids([id for id, _ in claimed]) if just_ids else array_of(parts)
    return [id_text(cursor), found, encode_ids(gone)]


def _claimable(
    client: "RespConnection", group: ReadGroup, low: int, least_ms: int, count: int
) -> tuple[list[tuple[int, Any]], list[int], int]:
    """What has been pending for so long, what of that is no entry any more, and where to go on, 0: nowhere."""
    entries, now_ms = client.broker.streams.entries, client.broker.now_ms
    claimed: list[tuple[int, Any]] = []
    gone: list[int] = []
    attempts = count * ATTEMPTS
    for id in group.pending.ids(low):
        if not attempts or not count:
            return claimed, gone, id
        attempts -= 1
        found = entries.at(group.stream, id)
        if found is None:
            gone.append(id)
            count -= 1
        elif not least_ms or now_ms - group.pending.entries[id].delivered_ms >= least_ms:
            claimed.append((id, found))
            count -= 1
    return claimed, gone, 0


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
    Command("xack", xack, -4, WRITE, 1, 1, 1),
    Command("xpending", xpending, -3, READ, 1, 1, 1),
    Command("xclaim", xclaim, -6, WRITE, 1, 1, 1),
    Command("xautoclaim", xautoclaim, -6, WRITE, 1, 1, 1),
]
