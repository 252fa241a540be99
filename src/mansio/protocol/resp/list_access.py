"""The lists that commands are about: queues, with the rights, room and kinds that commands have to look at first."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mansio.codec.resp import encode_bodies
from mansio.core import cuts
from mansio.core.keyspace import WrongKind
from mansio.core.queue import Queue
from mansio.core.recall import Recall
from mansio.core.run import Run, Span
from mansio.protocol.resp.access import readable, writable
from mansio.protocol.resp.arguments import name_of
from mansio.protocol.resp.errors import DISK_FULL, OUT_OF_MEMORY, CommandError, MustWait

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

ENDS_RUNS = 64
"""So many runs at either end of a list are read, at least, before a transaction that takes elements there."""
ALL = 1 << 62
ELEMENT_BYTES = 64
"""What the log takes for an element beside its bytes, at most."""


def look_up(
    client: "RespConnection", key: bytes, read: bool = True, write: bool = False
) -> Queue | None:
    """The list of this key, None if there is none; WrongKind, AccessRefused, ResourceLocked."""
    if read:
        readable(client, key)
    if write:
        writable(client, key)
    broker = client.broker
    queue = client.keys.queue_of(key)
    if queue is None:
        assert client.session is not None
        broker.lists.find(client.session, name_of(key))
        return None
    if queue.keeps:
        raise WrongKind(queue.name)
    if queue.dirty or queue.expiry is not None:
        broker.lists.up_to_date(queue)
    return queue if queue.ready_count else None


def target(client: "RespConnection", key: bytes, head_left: bool) -> Queue:
    """Where a push to this key goes: made if there is none. WrongKind, AccessRefused, ResourceLocked."""
    assert client.session is not None
    queue = writable(client, key).queue_of(key)
    if queue is not None and not queue.keeps:
        return queue
    return client.broker.lists.target(client.session, name_of(key), head_left)


def changed(client: "RespConnection", key: bytes, queue: Queue) -> None:
    """Something was taken out of a list, or might have been: an empty one is no key any more."""
    if not queue.ready_count:
        client.keys.gone(key)
    elif client.keys.watched:
        client.keys.touched(key)


def check_room(client: "RespConnection", values: Sequence[bytes]) -> None:
    """Whether there is room for these: else CommandError, or MustWait where the log is only busy."""
    broker = client.broker
    if broker.low_on_memory:
        raise CommandError(OUT_OF_MEMORY)
    journal = broker.journal
    size = sum(map(len, values)) + ELEMENT_BYTES * len(values)
    if size > journal.room_bytes:
        if broker.low_on_disk:
            raise CommandError(DISK_FULL)
        if not client.executing:
            journal.waiters[client] = None
            raise MustWait


def recall(client: "RespConnection", args: list[bytes]) -> Recall:
    """What the command with these arguments has read so far; see `forget`."""
    if client.recall is None or client.recall[0] is not args:
        client.recall = (args, Recall(client.broker.paging.loading, client, client.kept))
    return client.recall[1]


def forget(client: "RespConnection") -> None:
    """The command is done."""
    client.recall = None


def load_end(client: "RespConnection", key: bytes, left: bool, count: int = 1) -> None:
    """Before a transaction: one end of a list is to be in memory, as far as its commands go, of which this one takes so
    many elements; and somewhat more. MustWait."""
    queue = look_up(client, key, False)
    if queue is not None and client.kept is not None:
        head = queue.head_left is left
        count = client.kept.go_on((queue, head), count)
        spans = queue.spans() if head else cuts.backwards(queue)
        _ask(client, _absent(spans, ENDS_RUNS, count, ALL))


def load(client: "RespConnection", key: bytes) -> Queue | None:
    """The same for all of a list, if that is not too much, or else both of its ends: the list, if some of it is not in
    memory then."""
    queue, kept = look_up(client, key, False), client.kept
    if queue is None or kept is None:
        return None
    most_bytes = kept.room_bytes if kept.changes else client.broker.paging.window_bytes
    absent = _absent(queue.spans(), ALL, ALL, most_bytes)
    if absent is not None:
        _ask(client, absent)
        return None
    for left in (True, False) if kept.changes else ():
        load_end(client, key, left, 0)
    return queue


def _ask(client: "RespConnection", absent: list[Run] | None) -> None:
    if absent:
        Recall(client.broker.paging.loading, client, client.kept).ask(absent)


def _absent(spans: Iterable[Span], runs: int, count: int, most_bytes: int) -> list[Run] | None:
    """Those that are not in memory, of so many runs at least, and so many messages; None: they are too much."""
    absent: list[Run] = []
    for span in spans:
        if runs <= 0 and count <= 0:
            break
        runs -= 1
        count -= span.stop - span.start
        if not span.run.data:
            absent.append(span.run)
            most_bytes -= span.run.data_bytes
            if most_bytes < 0:
                return None
    return absent


def in_memory(spans: Sequence[Span]) -> bool:
    """Whether all of these can be had at once."""
    return all(span.run.data for span in spans)


def bulk(spans: Sequence[Span], backwards: bool) -> bytes:
    """The bodies of these spans as bulk strings, each span in order or the last one first."""
    parts: list[bytes] = []
    for span in spans:
        run = span.run
        skips = tuple([route.skip for route in run.routes])
        parts.append(
            encode_bodies(
                run.data, run.stride, run.ends, skips, run.which, span.start, span.stop, backwards
            )
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)
