"""XREAD and XREADGROUP: entries behind an id, or what a group has not had yet; where there is none, they may wait."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mansio.core.deadlines import NEVER_MS
from mansio.core.entries import Slice
from mansio.core.errors import BrokerError
from mansio.core.read_group import ReadGroup
from mansio.core.stream import Stream
from mansio.core.stream_ids import ID_MAX, id_text
from mansio.protocol.resp.arguments import integer, name_of
from mansio.protocol.resp.command import BLOCKING, READ, WRITE, Command
from mansio.protocol.resp.errors import SYNTAX, CommandError, MustWait, refusal
from mansio.protocol.resp.reply import NO_REPLY, NULL_ARRAY, Raw
from mansio.protocol.resp.stream_access import ENTRY_BYTES, array_of, check_room, encoded, readable
from mansio.protocol.resp.stream_arguments import stream_id

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

WAITING_COUNT: Final = 1000
"""What a command gets at most that has waited, unless it says how many."""
ALL: Final = 1 << 62
NEW: Final = -1
"""The id `>`: what the group has not had yet."""

NO_LONGER_THERE: Final = "UNBLOCKED the stream key no longer exists"
GROUP_GONE: Final = "NOGROUP the consumer group this client was blocked on no longer exists"


class Asked(NamedTuple):
    """`ids`: of each key, behind which to read, or NEW. `most` 0: all; `timeout_ms` -1: it does not wait,
    0: for ever."""

    keys: list[bytes]
    ids: list[int]
    most: int
    timeout_ms: int
    group: bytes | None
    consumer: bytes
    no_ack: bool


def xread(client: "RespConnection", args: list[bytes]) -> Any:
    """XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]"""
    asked = _asked(client, args)
    found = _behind(client, asked)
    if not found:
        return _wait(client, asked)
    parts = encoded(client, args, [each for _, slices in found for each in slices])
    return _reply(client, [(key, _part(parts, slices)) for key, slices in found])


def _behind(client: "RespConnection", asked: Asked) -> list[tuple[bytes, list[Slice]]]:
    """What there is to read, by stream."""
    found: list[tuple[bytes, list[Slice]]] = []
    entries = client.broker.streams.entries
    for key, id in zip(asked.keys, asked.ids, strict=True):
        stream = readable(client, key)
        if stream is not None and id < stream.last_id:
            first = entries.offset_of(stream, id + 1)
            slices = entries.slices(stream, first, stream.next_position, asked.most or ALL)
            if slices:
                found.append((key, slices))
    return found


def _prepare_xread(client: "RespConnection", args: list[bytes]) -> Any:
    """What a transaction will read is to be in memory."""
    found = _behind(client, _asked(client, args))
    encoded(client, args, [each for _, slices in found for each in slices])


def _part(parts: list[bytes], slices: Any) -> Raw:
    count = sum(stop - start for _, start, stop in slices)
    taken = array_of(parts[:count])
    del parts[:count]
    return taken


def xreadgroup(client: "RespConnection", args: list[bytes]) -> Any:
    """XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]"""
    asked = _asked(client, args)
    reading = client.broker.streams.reading
    found = _for_groups(client, asked)
    # Everything is in memory before anything changes.
    parts = encoded(client, args, _there(found))
    if not asked.no_ack:
        check_room(client, ENTRY_BYTES * len(parts))
    replies: list[tuple[bytes, Raw]] = []
    for key, group, id, slices in found:
        consumer, _ = reading.consumer(group, asked.consumer)
        if id == NEW:
            replies.append((key, _part(parts, slices)))
            reading.take(group, consumer, slices, asked.no_ack)
        else:
            replies.append((key, _history_part(client, group, slices, parts)))
    return _reply(client, replies) if replies else _wait(client, asked)


Found = tuple[bytes, ReadGroup, int, list[Any]]
"""Key, group, behind which id or NEW, and slices; of a consumer's history of one entry each, or the id of what is
gone."""


def _for_groups(client: "RespConnection", asked: Asked) -> list[Found]:
    """What there is to read for groups, by stream."""
    assert asked.group is not None
    reading = client.broker.streams.reading
    found: list[Found] = []
    for key, id in zip(asked.keys, asked.ids, strict=True):
        group = group_of(client, key, asked.group)
        if id == NEW:
            most = asked.most or ALL
            if client.kept is not None:  # a transaction is made ready, which may read several times
                most = client.kept.go_on(group, most)
            slices = reading.next_slices(group, most)
            if slices:
                found.append((key, group, id, slices))
        else:
            found.append((key, group, id, _history(client, group, asked.consumer, id, asked.most)))
    return found


def _there(found: list[Found]) -> list[Slice]:
    return [each for _, _, _, slices in found for each in slices if isinstance(each, tuple)]


def _prepare_xreadgroup(client: "RespConnection", args: list[bytes]) -> Any:
    encoded(client, args, _there(_for_groups(client, _asked(client, args))))


def group_of(client: "RespConnection", key: bytes, name: bytes) -> ReadGroup:
    """The group of XREADGROUP; CommandError."""
    stream = readable(client, key)
    group = None if stream is None else client.broker.streams.reading.find(stream, name)
    if group is None:
        text = b"No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option"
        raise CommandError("NOGROUP " + name_of(text % (key, name)))
    return group


def _history(
    client: "RespConnection", group: ReadGroup, name: bytes, after: int, count: int
) -> list[Any]:
    """What a consumer has not acknowledged behind this id: slices of one entry, and ids of what is gone."""
    consumer = group.consumers.get(name)
    if consumer is None:
        return []
    entries = client.broker.streams.entries
    ids = consumer.pending.ids(after + 1)
    return [entries.at(group.stream, id) or id for id in (ids[:count] if count else ids)]


def _history_part(
    client: "RespConnection", group: ReadGroup, slices: list[Any], parts: list[bytes]
) -> Raw:
    """The same as a reply; what is there is delivered once more."""
    reading = client.broker.streams.reading
    replies: list[bytes] = []
    for each in slices:
        if isinstance(each, int):
            text = id_text(each)
            null = b"_\r\n" if client.proto == 3 else b"*-1\r\n"
            replies.append(b"*2\r\n$%d\r\n%b\r\n%b" % (len(text), text, null))
            continue
        replies.append(parts.pop(0))
        reading.deliver_again(group, each)
    return array_of(replies)


def _reply(client: "RespConnection", found: Sequence[tuple[bytes, Raw]]) -> Raw:
    """By stream: a map in RESP3."""
    head = b"%%%d\r\n" if client.proto == 3 else b"*%d\r\n"
    pair = b"$%d\r\n%b\r\n%b" if client.proto == 3 else b"*2\r\n$%d\r\n%b\r\n%b"
    parts = [head % len(found)]
    parts += [pair % (len(key), key, reply.data) for key, reply in found]
    return Raw(b"".join(parts))


# -- arguments


def _asked(client: "RespConnection", args: list[bytes]) -> Asked:
    grouped = args[0].upper() == b"XREADGROUP"
    count, timeout_ms = 0, -1
    group: bytes | None = None
    consumer = b""
    no_ack = False
    at, end = 1, len(args)
    keys: list[bytes] | None = None
    while at < end:
        option, more = args[at].upper(), end - at - 1
        if option == b"BLOCK" and more:
            timeout_ms = _timeout(args[at + 1])
            at += 1
        elif option == b"COUNT" and more:
            count = max(integer(args[at + 1]), 0)
            at += 1
        elif option == b"STREAMS" and more:
            if more % 2:
                raise CommandError(
                    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
                )
            keys = args[at + 1 : at + 1 + more // 2]
            break
        elif option == b"GROUP" and more >= 2:
            _check_grouped(grouped, "GROUP")
            group, consumer = args[at + 1], args[at + 2]
            at += 2
        elif option == b"NOACK":
            _check_grouped(grouped, "NOACK")
            no_ack = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    if keys is None:
        raise CommandError(SYNTAX)
    if grouped and group is None:
        raise CommandError("ERR Missing GROUP option for XREADGROUP")
    texts = args[end - len(keys) :]
    ids = [_id(client, key, text, group) for key, text in zip(keys, texts, strict=True)]
    return Asked(keys, ids, count, timeout_ms, group, consumer, no_ack)


def _check_grouped(grouped: bool, option: str) -> None:
    if not grouped:
        raise CommandError(
            f"ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
        )


def _id(client: "RespConnection", key: bytes, text: bytes, group: bytes | None) -> int:
    stream = readable(client, key)
    if group is not None:
        group_of(client, key, group)
    if text == b"$":
        if group is not None:
            raise CommandError(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
                "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return "
                "an empty result set."
            )
        return 0 if stream is None else stream.last_id
    if text == b">":
        if group is None:
            raise CommandError(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
            )
        return NEW
    id = stream_id(text)
    return NEW if id == ID_MAX and group is not None else id  # what redis-server 7.0.15 takes > for


def _timeout(text: bytes) -> int:
    timeout_ms = integer(text, "ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise CommandError("ERR timeout is negative")
    return timeout_ms


# -- waiting


def _wait(client: "RespConnection", asked: Asked) -> Any:
    if asked.timeout_ms < 0 or client.executing:
        return NULL_ARRAY
    return Waiting(client, asked).wait()


class Waiting:
    """A client that waits for entries of streams."""

    __slots__ = ("_after", "_asked", "_client", "_keys")

    def __init__(self, client: "RespConnection", asked: Asked) -> None:
        assert client.session is not None
        vhost = client.session.vhost
        names = [name_of(key) for key in asked.keys]
        self._client = client
        self._asked = asked
        self._keys = [(vhost, name) for name in names]
        self._after = dict(zip(names, asked.ids, strict=True))

    def wait(self) -> Any:
        """Until something comes."""
        client, timeout_ms = self._client, self._asked.timeout_ms
        client.broker.streams.watching.wait(self._keys, self)
        client.block(self._leave)
        until_ms = client.broker.now_ms + timeout_ms if timeout_ms else NEVER_MS
        client.patience.begin(min(until_ms, NEVER_MS), self._late)
        return NO_REPLY

    def serve(self, stream: Stream) -> None:
        """See `Watcher`."""
        client = self._client
        try:
            reply = self._read(stream)
        except MustWait:  # nothing reads for it: it is looked at with what comes next
            client.recall = None
            client.broker.paging.loading.call(stream.ready[-1].run, lambda _: self._again(stream))
            return
        except CommandError as error:
            reply = error
        except BrokerError as error:
            reply = refusal(error)
        if reply is not None:
            self._answer(reply)

    def _again(self, stream: Stream) -> None:
        if stream.watchers is not None and self in stream.watchers:
            self._client.broker.streams.watching.stir(stream)

    def _read(self, stream: Stream) -> Any:
        client, asked = self._client, self._asked
        broker = client.broker
        count = asked.most or WAITING_COUNT
        key = name_key(stream)
        if asked.group is None:
            after = self._after[stream.name]
            if after >= stream.last_id:
                return None
            entries = broker.streams.entries
            first = entries.offset_of(stream, min(after + 1, ID_MAX))
            slices = entries.slices(stream, first, stream.next_position, count)
            if not slices:
                return None
            parts = encoded(client, [], slices)
        else:
            reading = broker.streams.reading
            group = reading.find(stream, asked.group)
            if group is None:
                return CommandError(GROUP_GONE)
            slices = reading.next_slices(group, count)
            if not slices:
                return None
            parts = encoded(client, [], slices)
            consumer, _ = reading.consumer(group, asked.consumer)
            reading.take(group, consumer, slices, asked.no_ack)
        return _reply(client, [(key, array_of(parts))])

    def gone(self) -> None:
        """See `Watcher`."""
        if self._asked.group is not None:
            self._answer(CommandError(NO_LONGER_THERE))

    def _answer(self, reply: Any) -> None:
        self._leave()
        self._client.wait_for_log(WRITE)
        self._client.unblock_with(reply)

    def _leave(self) -> None:
        self._client.patience.end()
        self._client.broker.streams.watching.leave(self._keys, self)

    def _late(self) -> None:
        self._leave()
        self._client.unblock_with(NULL_ARRAY)


def name_key(stream: Stream) -> bytes:
    """The key that a stream is."""
    return stream.name.encode("utf-8", "surrogateescape")


COMMANDS: Final = [
    Command("xread", xread, -4, READ | BLOCKING, prepare=_prepare_xread),
    Command("xreadgroup", xreadgroup, -7, WRITE | BLOCKING, prepare=_prepare_xreadgroup),
]
