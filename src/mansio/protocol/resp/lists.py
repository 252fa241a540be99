"""Lists: pushing, popping, and what is in between. Texts, shapes and the order of checks: redis-server 7.0.15."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.queue import Queue
from mansio.protocol.resp.arguments import INT_MAX, INT_MIN, integer
from mansio.protocol.resp.command import READ, WRITE, Command
from mansio.protocol.resp.errors import (
    NO_SUCH_KEY,
    OUT_OF_RANGE,
    SYNTAX,
    CommandError,
    wrong_number,
)
from mansio.protocol.resp.list_access import (
    bulk,
    changed,
    check_room,
    forget,
    in_memory,
    load,
    look_up,
    recall,
    target,
)
from mansio.protocol.resp.reply import NULL_ARRAY, OK, Raw

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

NOT_POSITIVE: Final = "ERR value is out of range, must be positive"
NO_KEYS: Final = "ERR numkeys should be greater than 0"
NO_COUNT: Final = "ERR count should be greater than 0"
RANK_ZERO: Final = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)


def _push(left: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def push(client: "RespConnection", args: list[bytes]) -> Any:
        """LPUSH key element [element ...], RPUSH"""
        values = args[2:]
        check_room(client, values)
        queue = target(client, args[1], not left)
        return client.broker.lists.push(queue, values, left, client.channel)

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
        if len(args) > 3:
            raise wrong_number(args[0].lower().decode())
        count = 1
        if len(args) == 3:
            count = integer(args[2], NOT_POSITIVE)
            if count < 0:
                raise CommandError(NOT_POSITIVE)
        queue = look_up(client, args[1])
        if queue is None:
            return NULL_ARRAY if len(args) == 3 else None
        if not count:
            return []
        reply = take(client, args, args[1], queue, left, count)
        return reply if len(args) == 3 else Raw(reply.data[4:])

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


def llen(client: "RespConnection", args: list[bytes]) -> Any:
    """LLEN key"""
    queue = look_up(client, args[1])
    return 0 if queue is None else queue.ready_count


def lrange(client: "RespConnection", args: list[bytes]) -> Any:
    """LRANGE key start stop"""
    start, stop = integer(args[2]), integer(args[3])
    queue = look_up(client, args[1])
    if queue is None:
        return []
    start, stop = bounds(start, stop, queue.ready_count)
    if start >= stop:
        return []
    spans = client.broker.lists.slice(queue, start, stop)
    if in_memory(spans):
        if not queue.head_left:
            spans.reverse()
        return Raw(b"*%d\r\n%b" % (stop - start, bulk(spans, not queue.head_left)))
    values = client.broker.lists.values(queue, True, spans, recall(client, args))
    forget(client)
    return values


def bounds(start: int, stop: int, count: int) -> tuple[int, int]:
    """A range as commands give it, the last one included, as [start, stop)."""
    if start < 0:
        start = max(start + count, 0)
    if stop < 0:
        stop += count
    return start, min(stop + 1, count)


def lindex(client: "RespConnection", args: list[bytes]) -> Any:
    """LINDEX key index"""
    queue = look_up(client, args[1])
    if queue is None:
        return None
    at = _number(args[2], queue)
    if at < 0:
        return None
    spans = client.broker.lists.slice(queue, at, at + 1)
    value = client.broker.lists.values(queue, True, spans, recall(client, args))[0]
    forget(client)
    return value


def _number(text: bytes, queue: Queue) -> int:
    """The number of an element from the left, -1 if there is none."""
    at = integer(text)
    if at < 0:
        at += queue.ready_count
    return at if 0 <= at < queue.ready_count else -1


def lset(client: "RespConnection", args: list[bytes]) -> Any:
    """LSET key index element"""
    check_room(client, args[3:])
    queue = look_up(client, args[1], False, True)
    if queue is None:
        raise CommandError(NO_SUCH_KEY)
    at = _number(args[2], queue)
    if at < 0:
        raise CommandError(OUT_OF_RANGE)
    client.broker.list_edits.set(queue, at, args[3], recall(client, args))
    forget(client)
    return OK


def linsert(client: "RespConnection", args: list[bytes]) -> Any:
    """LINSERT key BEFORE|AFTER pivot element"""
    where = args[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise CommandError(SYNTAX)
    check_room(client, args[4:])
    queue = look_up(client, args[1], True, True)
    if queue is None:
        return 0
    edits = client.broker.list_edits
    found = edits.find(queue, args[3], True, recall(client, args), 1)
    if found:
        edits.insert(queue, found[0] + (where == b"AFTER"), args[4], recall(client, args))
    forget(client)
    return queue.ready_count if found else -1


def lrem(client: "RespConnection", args: list[bytes]) -> Any:
    """LREM key count element"""
    count = integer(args[2])
    queue = look_up(client, args[1])
    if queue is None:
        return 0
    gone = client.broker.list_edits.remove(queue, args[3], count, recall(client, args))
    forget(client)
    changed(client, args[1], queue)
    return gone


def ltrim(client: "RespConnection", args: list[bytes]) -> Any:
    """LTRIM key start stop"""
    start, stop = integer(args[2]), integer(args[3])
    queue = look_up(client, args[1])
    if queue is not None:
        client.broker.list_edits.trim(queue, *bounds(start, stop, queue.ready_count))
        changed(client, args[1], queue)
    return OK


def lpos(client: "RespConnection", args: list[bytes]) -> Any:
    """LPOS key element [RANK rank] [COUNT matches] [MAXLEN len]"""
    rank, count, looked_max = 1, -1, 0
    for i in range(3, len(args), 2):
        option = args[i].upper()
        if option not in (b"RANK", b"COUNT", b"MAXLEN") or i + 1 == len(args):
            raise CommandError(SYNTAX)
        if option == b"RANK":
            rank = integer(args[i + 1])
            if not rank:
                raise CommandError(RANK_ZERO)
            continue
        negative = f"ERR {option.decode()} can't be negative"
        value = integer(args[i + 1], negative)
        if value < 0:
            raise CommandError(negative)
        if option == b"COUNT":
            count = value
        else:
            looked_max = value
    queue = look_up(client, args[1])
    if queue is None:
        return [] if count >= 0 else None
    if rank == INT_MIN:
        rank = -1  # as redis-server 7.0.15, whose number overflows there
    skipped = abs(rank) - 1
    most = INT_MAX if count == 0 else skipped + max(count, 1)
    found = client.broker.list_edits.find(
        queue, args[2], rank > 0, recall(client, args), most, looked_max or INT_MAX
    )[skipped:]
    forget(client)
    if count >= 0:
        return found
    return found[0] if found else None


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
    if len(rest) != 2 or rest[0].upper() != b"COUNT":
        raise CommandError(SYNTAX)
    count = integer(rest[1], NO_COUNT)
    if count <= 0:
        raise CommandError(NO_COUNT)
    return args[at + 1 : stop], left, count


def _prepare(all_of_it: bool) -> Callable[["RespConnection", list[bytes]], Any]:
    def prepare(client: "RespConnection", args: list[bytes]) -> Any:
        """What the command looks at is to be in memory."""
        load(client, args[1], all_of_it)

    return prepare


def prepare_several(client: "RespConnection", args: list[bytes]) -> Any:
    """The same for LMPOP."""
    for key in several(args, 1)[0]:
        load(client, key, False)


_ENDS = _prepare(False)
_ALL = _prepare(True)

COMMANDS: Final = [
    Command("lpush", _push(True), -3, WRITE, 1, 1, 1),
    Command("rpush", _push(False), -3, WRITE, 1, 1, 1),
    Command("lpushx", _push_if_there(True), -3, WRITE, 1, 1, 1),
    Command("rpushx", _push_if_there(False), -3, WRITE, 1, 1, 1),
    Command("lpop", _pop(True), -2, WRITE, 1, 1, 1, _ENDS),
    Command("rpop", _pop(False), -2, WRITE, 1, 1, 1, _ENDS),
    Command("llen", llen, 2, READ, 1, 1, 1),
    Command("lrange", lrange, 4, READ, 1, 1, 1, _ALL),
    Command("lindex", lindex, 3, READ, 1, 1, 1, _ALL),
    Command("lset", lset, 4, WRITE, 1, 1, 1, _ALL),
    Command("linsert", linsert, 5, WRITE, 1, 1, 1, _ALL),
    Command("lrem", lrem, 4, WRITE, 1, 1, 1, _ALL),
    Command("ltrim", ltrim, 4, WRITE, 1, 1, 1),
    Command("lpos", lpos, -3, READ, 1, 1, 1, _ALL),
    Command("lmove", lmove, 5, WRITE, 1, 2, 1, _ENDS),
    Command("rpoplpush", rpoplpush, 3, WRITE, 1, 2, 1, _ENDS),
    Command("lmpop", lmpop, -4, WRITE, prepare=prepare_several),
]
