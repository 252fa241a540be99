"""Commands on the entries of streams: XADD, XLEN, XRANGE, XREVRANGE, XDEL, XTRIM, XSETID."""

from typing import TYPE_CHECKING, Any, Final

from mansio.codec.resp_fields import encode_entry, encode_ids, encode_row
from mansio.core.batch import Trim
from mansio.core.stream import Stream
from mansio.core.stream_ids import ID_MAX, NUMBER_MAX, id_text, make_id, next_id
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import READ, WRITE, Command
from mansio.protocol.resp.errors import NO_SUCH_KEY, SYNTAX, CommandError, wrong_number
from mansio.protocol.resp.reply import NULL_ARRAY, OK
from mansio.protocol.resp.stream_access import (
    ENTRY_BYTES,
    array_of,
    check_room,
    create,
    encoded,
    readable,
    writable,
)
from mansio.protocol.resp.stream_arguments import (
    AddArguments,
    add_arguments,
    high_end,
    low_end,
    stream_id,
)

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

EXHAUSTED: Final = "ERR The stream has exhausted the last possible ID, unable to add more items"
TOO_SMALL: Final = (
    "ERR The ID specified in XADD is equal or smaller than the target stream top item"
)
ZERO: Final = "ERR The ID specified in XADD must be greater than 0-0"
ROW_MAX: Final = 4096
"""Entries that are added at once of commands that are alike."""


def xadd(client: "RespConnection", args: list[bytes]) -> Any:
    """XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]"""
    if args[2] == b"*" and len(args) & 1:
        stream = writable(client, args[1])
        if stream is not None and stream.last_id < ID_MAX:
            fields = args[3:]
            check_room(client, sum(map(len, fields)) + ENTRY_BYTES)
            id = next_id(stream.last_id, client.broker.now_ms)
            return _add(client, stream, fields, id, None)
    asked = add_arguments(args, True)
    fields = args[asked.at + 1 :]
    if len(fields) < 2 or len(fields) % 2:
        raise wrong_number("xadd")
    if asked.ms == 0 and asked.number == 0:
        raise CommandError(ZERO)
    stream = writable(client, args[1])
    if stream is None and not asked.creates:
        return None
    check_room(client, sum(map(len, fields)) + ENTRY_BYTES)
    if stream is None:
        stream = create(client, args[1])
    return _add(client, stream, fields, _new_id(client, stream, asked), asked.trim)


def _add(
    client: "RespConnection", stream: Stream, fields: list[bytes], id: int, trim: Trim | None
) -> bytes:
    broker = client.broker
    entries = broker.streams.entries
    offset = entries.next_offset(stream)
    frames, _ = encode_entry(fields, offset, broker.letters.frame_max)
    entries.add(stream, frames, id, trim)
    if stream.watchers is not None and not client.executing:
        entries.flush(stream)  # who waits gets it before anybody does anything else
    return id_text(id)


def _new_id(client: "RespConnection", stream: Stream, asked: AddArguments) -> int:
    last = stream.last_id
    if last == ID_MAX:
        raise CommandError(EXHAUSTED)
    if asked.ms is None:
        id = next_id(last, client.broker.now_ms)
    elif asked.number is not None:
        id = make_id(asked.ms, asked.number)
    elif last >> 64 == asked.ms:
        id = last + 1 if last & NUMBER_MAX < NUMBER_MAX else 0
    else:
        id = make_id(asked.ms, 0)
    if id <= last:
        raise CommandError(TOO_SMALL)
    return id


def _fit(client: "RespConnection", stream: Stream, times: int) -> bool:
    """Whether so many ids follow each other in one ms."""
    first = next_id(stream.last_id, client.broker.now_ms)
    return (first & NUMBER_MAX) + times <= NUMBER_MAX and first <= ID_MAX


def xadd_row(
    client: "RespConnection",
    args: list[bytes],
    times: int,
    values: list[bytes] | None,
    counts: list[int] | None,
) -> tuple[bytes, int]:
    """XADD of the same entry so many times."""
    times = min(times, ROW_MAX)
    fields = args[3:]
    stream = None
    if args[2] == b"*" and len(fields) >= 2 and len(fields) % 2 == 0:
        stream = writable(client, args[1])
    if stream is None or stream.watchers is not None or not _fit(client, stream, times):
        text = xadd(client, args)
        return (b"$-1\r\n" if text is None else b"$%d\r\n%b\r\n" % (len(text), text)), 1
    check_room(client, times * (sum(map(len, fields)) + ENTRY_BYTES))
    broker = client.broker
    entries = broker.streams.entries
    first = next_id(stream.last_id, broker.now_ms)
    offset = entries.next_offset(stream)
    frames = encode_row(fields, offset, times, broker.letters.frame_max)
    entries.add_row(stream, frames, first)
    return encode_ids(first, times), times


def xlen(client: "RespConnection", args: list[bytes]) -> Any:
    """XLEN key"""
    stream = readable(client, args[1])
    return 0 if stream is None else client.broker.streams.entries.length(stream)


def xrange_(client: "RespConnection", args: list[bytes]) -> Any:
    """XRANGE key start end [COUNT count]"""
    return _range(client, args, args[2], args[3], False)


def xrevrange(client: "RespConnection", args: list[bytes]) -> Any:
    """XREVRANGE key end start [COUNT count]"""
    return _range(client, args, args[3], args[2], True)


def _range(
    client: "RespConnection", args: list[bytes], start: bytes, end: bytes, reverse: bool
) -> Any:
    low, high = low_end(start), high_end(end)
    count = -1
    at = 4
    while at < len(args):
        if args[at].upper() != b"COUNT" or at + 1 == len(args):
            raise CommandError(SYNTAX)
        count = max(integer(args[at + 1]), 0)
        at += 2
    stream = readable(client, args[1])
    if stream is None:
        return []
    if not count:
        return NULL_ARRAY
    entries = client.broker.streams.entries
    first = entries.offset_of(stream, low)
    stop = entries.offset_of(stream, high + 1)
    most = stream.ready_count if count < 0 else count
    return array_of(
        encoded(client, args, entries.slices(stream, first, stop, most, reverse), reverse)
    )


def xdel(client: "RespConnection", args: list[bytes]) -> Any:
    """XDEL key id [id ...]"""
    stream = writable(client, args[1])
    if stream is None:
        return 0
    ids = [stream_id(each) for each in args[2:]]
    return client.broker.streams.entries.delete(stream, ids)


def xtrim(client: "RespConnection", args: list[bytes]) -> Any:
    """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]"""
    asked = add_arguments(args, False)
    stream = writable(client, args[1])
    if stream is None or asked.trim is None:
        return 0
    return client.broker.streams.entries.trim(stream, asked.trim)


def xsetid(client: "RespConnection", args: list[bytes]) -> Any:
    """XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]"""
    last = stream_id(args[2])
    added, deleted = -1, 0
    at = 3
    while at < len(args):
        option = args[at].upper()
        if option == b"ENTRIESADDED" and at + 1 < len(args):
            added = integer(args[at + 1])
            if added < 0:
                raise CommandError("ERR entries_added must be positive")
        elif option == b"MAXDELETEDID" and at + 1 < len(args):
            deleted = stream_id(args[at + 1])
            if last < deleted:
                raise CommandError(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
                )
        else:
            raise CommandError(SYNTAX)
        at += 2
    stream = writable(client, args[1])
    if stream is None:
        raise CommandError(NO_SUCH_KEY)
    entries = client.broker.streams.entries
    length = entries.length(stream)
    if length:
        if last < entries.newest_id(stream):
            raise CommandError(
                "ERR The ID specified in XSETID is smaller than the target stream top item"
            )
        if -1 < added < length:
            raise CommandError(
                "ERR The entries_added specified in XSETID is smaller than the target stream length"
            )
    entries.set_id(stream, last, added, deleted)
    return OK


COMMANDS: Final = [
    Command("xadd", xadd, -5, WRITE, 1, 1, 1, rows=xadd_row),
    Command("xlen", xlen, 2, READ, 1, 1, 1),
    Command("xrange", xrange_, -4, READ, 1, 1, 1, xrange_),
    Command("xrevrange", xrevrange, -4, READ, 1, 1, 1, xrevrange),
    Command("xdel", xdel, -3, WRITE, 1, 1, 1),
    Command("xtrim", xtrim, -4, WRITE, 1, 1, 1),
    Command("xsetid", xsetid, -3, WRITE, 1, 1, 1),
]
