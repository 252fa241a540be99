"""What groups have not acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.entries import Slice
from mansio.core.read_group import PendingList, ReadGroup
from mansio.core.stream_ids import id_text
from mansio.protocol.resp.arguments import INT_MAX, integer, name_of
from mansio.protocol.resp.command import READ, WRITE, Command
from mansio.protocol.resp.errors import SYNTAX, CommandError
from mansio.protocol.resp.reply import NULL_ARRAY
from mansio.protocol.resp.stream_access import (
    ENTRY_BYTES,
    array_of,
    check_room,
    encode_ids,
    encoded,
    readable,
)
from mansio.protocol.resp.stream_arguments import high_end, is_id, low_end, stream_id

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

ATTEMPTS: Final = 10
"""Pending entries that XAUTOCLAIM looks at for each one that it may answer."""
_NO_COUNT: Final = "ERR COUNT must be > 0"
CLAIM_MAX: Final = INT_MAX // 16


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


def _ids(args: list[bytes]) -> tuple[list[int], int]:
    """Those of XCLAIM, and where its options begin."""
    at = 5
    while at < len(args) and is_id(args[at]):
        at += 1
    return [stream_id(each) for each in args[5:at]], at


def _entries(client: "RespConnection", group: ReadGroup, ids: Iterable[int]) -> dict[int, Slice]:
    """Those of these that there are."""
    entries = client.broker.streams.entries
    return {id: found for id in ids if (found := entries.at(group.stream, id)) is not None}


def _prepare_xclaim(client: "RespConnection", args: list[bytes]) -> Any:
    """What a transaction will answer is to be in memory."""
    group = _needed(client, args[1], args[2])
    encoded(client, args, list(_entries(client, group, _ids(args)[0]).values()))


def xclaim(client: "RespConnection", args: list[bytes]) -> Any:
    """XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE]
    [JUSTID] [LASTID last-id]"""
    group = _needed(client, args[1], args[2])
    least_ms = _idle(args[4], "XCLAIM")
    ids, at = _ids(args)
    options = _Options(client, args, at)
    broker = client.broker
    reading = broker.streams.reading
    now_ms = broker.now_ms
    there = _entries(client, group, ids)
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
    group, just_ids, (claimed, gone, cursor) = _autoclaim(client, args)
    broker = client.broker
    reading = broker.streams.reading
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


Claimable = tuple[list[tuple[int, Slice]], list[int], int]
"""What may be claimed, what of that is no entry any more, and where to go on, 0: nowhere."""


def _autoclaim(client: "RespConnection", args: list[bytes]) -> tuple[ReadGroup, bool, Claimable]:
    """The group, whether only ids are asked for, and what may be claimed."""
    least_ms = _idle(args[4], "XAUTOCLAIM")
    low = low_end(args[5])
    count, just_ids = 100, False
    at = 6
    while at < len(args):
        option = args[at].upper()
        if option == b"COUNT" and at + 1 < len(args):
            at += 1
            count = integer(args[at], _NO_COUNT)
            if not 1 <= count <= CLAIM_MAX:
                raise CommandError(_NO_COUNT)
        elif option == b"JUSTID":
            just_ids = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    group = _needed(client, args[1], args[2])
    return group, just_ids, _claimable(client, group, low, least_ms, count)


def _prepare_xautoclaim(client: "RespConnection", args: list[bytes]) -> Any:
    _, just_ids, (claimed, _, _) = _autoclaim(client, args)
    if not just_ids:
        encoded(client, args, [found for _, found in claimed])


def _claimable(
    client: "RespConnection", group: ReadGroup, low: int, least_ms: int, count: int
) -> Claimable:
    """What has been pending for so long."""
    entries, now_ms = client.broker.streams.entries, client.broker.now_ms
    claimed: list[tuple[int, Slice]] = []
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
    Command("xack", xack, -4, WRITE, 1, 1, 1),
    Command("xpending", xpending, -3, READ, 1, 1, 1),
    Command("xclaim", xclaim, -6, WRITE, 1, 1, 1, _prepare_xclaim),
    Command("xautoclaim", xautoclaim, -6, WRITE, 1, 1, 1, _prepare_xautoclaim),
]
