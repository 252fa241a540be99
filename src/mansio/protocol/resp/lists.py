"""Lists between their ends: looking, finding, changing. Texts, shapes and the order of checks: redis-server 7.0.15."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mansio.core.queue import Queue
from mansio.protocol.resp.arguments import INT_MAX, INT_MIN, integer
from mansio.protocol.resp.command import READ, REPEATS, WRITE, Command, Handler
from mansio.protocol.resp.errors import (
    NO_SUCH_KEY,
    OUT_OF_RANGE,
    SYNTAX,
    CommandError,
)
from mansio.protocol.resp.list_access import (
    ENDS_RUNS,
    bulk,
    changed,
    check_room,
    forget,
    in_memory,
    load,
    look_up,
    recall,
)
from mansio.protocol.resp.reply import OK, Raw

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

RANK_ZERO: Final = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)


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
    if gone:
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


# -- before a transaction: what the command looks at is to be in memory


def _prepare(look: Callable[["RespConnection", list[bytes]], Any]) -> Handler:
    """`look`: called for a list that is too large to be in memory."""

    def prepare(client: "RespConnection", args: list[bytes]) -> Any:
        if load(client, args[1]) is not None:
            look(client, args)

    return prepare


def _look_at_place(client: "RespConnection", args: list[bytes]) -> None:
    """For LSET."""
    queue = look_up(client, args[1])
    if queue is not None and (at := _number(args[2], queue)) >= 0:
        client.broker.list_edits.look_around(queue, at, 1, recall(client, args))


def _look_at_pivot(client: "RespConnection", args: list[bytes]) -> None:
    """For LINSERT."""
    queue = look_up(client, args[1])
    if queue is not None:
        edits = client.broker.list_edits
        for at in edits.find(queue, args[3], True, recall(client, args), 1):
            after = args[2].upper() == b"AFTER"
            edits.look_around(queue, at + after, 0, recall(client, args))


def _look_for(client: "RespConnection", args: list[bytes]) -> None:
    """For LREM."""
    queue = look_up(client, args[1])
    if queue is not None:
        count = integer(args[2])
        most = abs(count) or INT_MAX
        client.broker.list_edits.find(queue, args[3], count >= 0, recall(client, args), most)


def _look_at_ends(client: "RespConnection", args: list[bytes]) -> None:
    """For LTRIM: commands behind it may take what is at the ends then."""
    queue = look_up(client, args[1])
    if queue is None:
        return
    start, stop = bounds(integer(args[2]), integer(args[3]), queue.ready_count)
    slice = client.broker.lists.slice
    near = slice(queue, start, min(start + ENDS_RUNS, stop))
    near += slice(queue, max(start, stop - ENDS_RUNS), stop)
    if absent := [span.run for span in near if not span.run.data]:
        recall(client, args).ask(absent)


COMMANDS: Final = [
    Command("llen", llen, 2, READ | REPEATS, 1, 1, 1),
    Command("lrange", lrange, 4, READ | REPEATS, 1, 1, 1, _prepare(lrange)),
    Command("lindex", lindex, 3, READ | REPEATS, 1, 1, 1, _prepare(lindex)),
    Command("lset", lset, 4, WRITE, 1, 1, 1, _prepare(_look_at_place)),
    Command("linsert", linsert, 5, WRITE, 1, 1, 1, _prepare(_look_at_pivot)),
    Command("lrem", lrem, 4, WRITE, 1, 1, 1, _prepare(_look_for)),
    Command("ltrim", ltrim, 4, WRITE, 1, 1, 1, _prepare(_look_at_ends)),
    Command("lpos", lpos, -3, READ, 1, 1, 1, _prepare(lpos)),
]
