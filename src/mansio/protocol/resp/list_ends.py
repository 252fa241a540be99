"""Lists at their ends: pushing, popping, moving from one to another. Texts, shapes and the order of checks are those of
redis-server 7.0.15.

Pushes to one list that come in one turn, from whatever clients, become one run where that makes no difference.
"""

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from mansio.codec.resp import encode_bodies
from mansio.core.queue import Queue
from mansio.core.rights import Rights
from mansio.protocol.resp.arguments import integer
from mansio.protocol.resp.command import GATHERS, WRITE, Command, Handler, RowHandler
from mansio.protocol.resp.errors import SYNTAX, CommandError, wrong_number
from mansio.protocol.resp.list_access import (
    ELEMENT_BYTES,
    bulk,
    changed,
    check_room,
    forget,
    in_memory,
    load_end,
    look_up,
    recall,
    target,
)
from mansio.protocol.resp.reply import NULL_ARRAY, Raw, encode

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

GATHERED_BYTES_MAX: Final = 256 << 10
"""Of pushes to one list that become one run; then the next one begins."""
NOT_POSITIVE: Final = "ERR value is out of range, must be positive"
NO_KEYS: Final = "ERR numkeys should be greater than 0"
NO_COUNT: Final = "ERR count should be greater than 0"


def _push(left: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def push(client: "RespConnection", args: list[bytes]) -> Any:
        """LPUSH key element [element ...], RPUSH"""
        lists = client.broker.lists
        key = (client.rights, args[1], left)
        gathered = lists.gathered.get(key)
        if gathered is None or len(args) > 3 or gathered.size_bytes > GATHERED_BYTES_MAX:
            return _begin_push(client, args, key)
        size = len(args[2]) + ELEMENT_BYTES
        journal = client.broker.journal
        if size > journal.room_bytes:
            return _begin_push(client, args, key)
        journal.room_bytes -= size
        gathered.size_bytes += size
        gathered.values.append(args[2])
        if gathered.pressing and client.session is not None:
            client.session.pressing = True
        return gathered.before + len(gathered.values)

    return push


def _begin_push(
    client: "RespConnection", args: list[bytes], key: tuple[Rights, bytes, bool]
) -> int:
    """The first push of a turn, or one that nothing is known of."""
    lists = client.broker.lists
    values, left = args[2:], key[2]
    check_room(client, values)
    queue = target(client, args[1], not left)
    gathered = None
    if not (queue.keeps or client.executing):
        gathered = lists.gather(key, queue, left)
    if gathered is None:
        return lists.push(queue, values, left, client.channel)
    size = sum(map(len, values)) + ELEMENT_BYTES * len(values)
    client.broker.journal.room_bytes -= size
    gathered.size_bytes = size
    gathered.values = values
    if gathered.pressing and client.session is not None:
        client.session.pressing = True
    return gathered.before + len(values)


def _push_rows(left: bool) -> RowHandler:
    def push(
        client: "RespConnection",
        args: list[bytes],
        times: int,
        values: list[bytes] | None,
        counts: list[int] | None,
    ) -> tuple[bytes, int]:
        """The same of commands in a row, to one key."""
        lists = client.broker.lists
        key = (client.rights, args[1], left)
        if values is None or key not in lists.gathered:
            return b":%d\r\n" % _begin_push(client, args, key), 1
        gathered = lists.gathered[key]
        size = sum(map(len, values)) + ELEMENT_BYTES * len(values)
        journal = client.broker.journal
        if size > journal.room_bytes or gathered.size_bytes > GATHERED_BYTES_MAX:
            return b":%d\r\n" % _begin_push(client, args, key), 1
        journal.room_bytes -= size
        gathered.size_bytes += size
        first = gathered.before + len(gathered.values)
        gathered.values += values
        if gathered.pressing and client.session is not None:
            client.session.pressing = True
        if counts is None:
            lengths: Iterable[int] = range(first + 1, first + times + 1)
        else:
            lengths = accumulate(counts[1:], initial=first + counts[0])
        return b"".join([b":%d\r\n" % length for length in lengths]), times

    return push


def _push_if_there(left: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def push(client: "RespConnection", args: list[bytes]) -> Any:
        """LPUSHX key element [element ...], RPUSHX"""
        values = args[2:]
        check_room(client, values)
        queue = look_up(client, args[1], False, True)
        if queue is None:
            return 0
        return client.broker.lists.push(queue, values, left, client.channel)

    return push


def _pop(left: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def pop(client: "RespConnection", args: list[bytes]) -> Any:
        """LPOP key [count], RPOP"""
        if len(args) == 2:
            return pop_one(client, args)
        if len(args) > 3:
            raise wrong_number(args[0].lower().decode())
        count = integer(args[2], NOT_POSITIVE)
        if count < 0:
            raise CommandError(NOT_POSITIVE)
        queue = look_up(client, args[1])
        if queue is None:
            return NULL_ARRAY
        if not count:
            return []
        return take(client, args, args[1], queue, left, count)

    def pop_one(client: "RespConnection", args: list[bytes]) -> Any:
        queue = look_up(client, args[1])
        if queue is None:
            return None
        run = (queue.ready[0] if queue.head_left is left else queue.last()).run
        if not run.data:
            return Raw(take(client, args, args[1], queue, left, 1).data[4:])
        i = client.broker.lists.take_one(queue, left).start
        if not queue.ready_count:
            client.keys.gone(args[1])
        skips = tuple([route.skip for route in run.routes])
        return Raw(encode_bodies(run.data, run.stride, run.ends, skips, run.which, i, i + 1))

    return pop


def _pop_rows(left: bool) -> RowHandler:
    def pop(
        client: "RespConnection",
        args: list[bytes],
        times: int,
        values: list[bytes] | None,
        counts: list[int] | None,
    ) -> tuple[bytes, int]:
        """The same of commands in a row, from one key."""
        if len(args) > 2:
            return encode(pop_one(client, args), client.proto), 1
        queue = look_up(client, args[1])
        if queue is None:
            return encode(None, client.proto) * times, times
        lists = client.broker.lists
        count = lists.at_hand(queue, left, min(times, queue.ready_count))
        if not count:
            return encode(pop_one(client, args), client.proto), 1
        taken = lists.take(queue, left, count)
        changed(client, args[1], queue)
        return bulk(taken, queue.head_left is not left), count

    pop_one = _pop(left)
    return pop


def take(
    client: "RespConnection", args: list[bytes], key: bytes, queue: Queue, left: bool, count: int
) -> Raw:
    """Takes up to so many elements of a list that is not empty, as an array."""
    lists = client.broker.lists
    spans = lists.look(queue, left, count)
    if in_memory(spans):
        taken = lists.take(queue, left, count if count < queue.ready_count else queue.ready_count)
        bodies = bulk(taken, queue.head_left is not left)
        count = sum([span.stop - span.start for span in taken])
    else:
        values = lists.values(queue, left, spans, recall(client, args))
        forget(client)
        count = len(values)
        lists.take(queue, left, count)
        bodies = b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])
    changed(client, key, queue)
    return Raw(b"*%d\r\n%b" % (count, bodies))


def side(text: bytes) -> bool:
    """LEFT or RIGHT: whether it is the left one."""
    text = text.upper()
    if text not in (b"LEFT", b"RIGHT"):
        raise CommandError(SYNTAX)
    return text == b"LEFT"


def lmove(client: "RespConnection", args: list[bytes]) -> Any:
    """LMOVE source destination LEFT|RIGHT LEFT|RIGHT"""
    return move(client, args, side(args[3]), side(args[4]))


def rpoplpush(client: "RespConnection", args: list[bytes]) -> Any:
    """RPOPLPUSH source destination"""
    return move(client, args, False, True)


def move(
    client: "RespConnection", args: list[bytes], from_left: bool, to_left: bool
) -> bytes | None:
    """An element of the list args[1] goes to args[2], maybe the same; its value, None if there is none."""
    source = look_up(client, args[1])
    if source is None:
        return None
    lists = client.broker.lists
    remembered = recall(client, args)
    first = lists.look(source, from_left, 1)
    if first and not first[0].run.data:
        remembered.ask([first[0].run])
    body = lists.values(source, from_left, first, remembered)
    check_room(client, body)
    queue = target(client, args[2], not to_left)
    value = lists.move(source, from_left, queue, to_left, client.channel, remembered)
    forget(client)
    changed(client, args[1], source)
    return value


def lmpop(client: "RespConnection", args: list[bytes]) -> Any:
    """LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]"""
    keys, left, count = several(args, 1)
    for key in keys:
        queue = look_up(client, key)
        if queue is not None:
            return pop_several(client, args, key, queue, left, count)
    return NULL_ARRAY


def pop_several(
    client: "RespConnection", args: list[bytes], key: bytes, queue: Queue, left: bool, count: int
) -> Raw:
    """The key and up to so many elements of its list, which is not empty."""
    taken = take(client, args, key, queue, left, count)
    return Raw(b"*2\r\n$%d\r\n%b\r\n%b" % (len(key), key, taken.data))


def several(args: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """numkeys key [key ...] LEFT|RIGHT [COUNT count], from `at` on: keys, whether it is the left end, count."""
    number = integer(args[at], NO_KEYS)
    if number <= 0:
        raise CommandError(NO_KEYS)
    stop = at + 1 + number
    if stop >= len(args):
        raise CommandError(SYNTAX)
    left = side(args[stop])
    rest = args[stop + 1 :]
    if not rest:
        return args[at + 1 : stop], left, 1
    if len(rest) < 2 or rest[0].upper() != b"COUNT":
        raise CommandError(SYNTAX)
    count = integer(rest[1], NO_COUNT)
    if count <= 0:
        raise CommandError(NO_COUNT)
    if len(rest) > 2:
        raise CommandError(SYNTAX)
    return args[at + 1 : stop], left, count


# -- before a transaction: what the command takes is to be in memory


def prepare_several(at: int) -> Handler:
    """Of LMPOP and BLMPOP; see `several`."""

    def prepare(client: "RespConnection", args: list[bytes]) -> Any:
        keys, left, count = several(args, at)
        for key in keys:
            load_end(client, key, left, count)

    return prepare


def _prepare_pop(left: bool) -> Handler:
    def prepare(client: "RespConnection", args: list[bytes]) -> Any:
        load_end(client, args[1], left, integer(args[2]) if len(args) == 3 else 1)

    return prepare


def prepare_move(client: "RespConnection", args: list[bytes]) -> Any:
    """Of LMOVE and BLMOVE, or else from the right."""
    load_end(client, args[1], len(args) > 4 and side(args[3]))


COMMANDS: Final = [
    Command("lpush", _push(True), -3, WRITE | GATHERS, 1, 1, 1, rows=_push_rows(True)),
    Command("rpush", _push(False), -3, WRITE | GATHERS, 1, 1, 1, rows=_push_rows(False)),
    Command("lpushx", _push_if_there(True), -3, WRITE, 1, 1, 1),
    Command("rpushx", _push_if_there(False), -3, WRITE, 1, 1, 1),
    Command("lpop", _pop(True), -2, WRITE, 1, 1, 1, _prepare_pop(True), _pop_rows(True)),
    Command("rpop", _pop(False), -2, WRITE, 1, 1, 1, _prepare_pop(False), _pop_rows(False)),
    Command("lmove", lmove, 5, WRITE, 1, 2, 1, prepare_move),
    Command("rpoplpush", rpoplpush, 3, WRITE, 1, 2, 1, prepare_move),
    Command("lmpop", lmpop, -4, WRITE, prepare=prepare_several(1)),
]
