"""The streams that commands are about, with the rights, room and kinds that have to be looked at first; and entries as
replies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mansio.codec.resp_fields import encode_fields, entry_fields
from mansio.core.entries import Slice
from mansio.core.keyspace import WrongKind
from mansio.core.recall import Recall
from mansio.core.run import Run, Span
from mansio.core.stream import Stream
from mansio.core.stream_ids import id_at, id_text
from mansio.core.stream_keys import make_stream
from mansio.protocol.resp.arguments import name_of
from mansio.protocol.resp.command import WRITE
from mansio.protocol.resp.errors import DISK_FULL, OUT_OF_MEMORY, CommandError, MustWait
from mansio.protocol.resp.reply import Raw

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

ENTRY_BYTES = 96
"""What the log takes for an entry beside its fields, at most, and what groups keep of it."""


def readable(client: "RespConnection", key: bytes) -> Stream | None:
    """The stream of this key, None if there is none, which the client may read; WrongKind, AccessRefused."""
    rights = client.rights
    if not rights.everything:
        rights.check_read("queue", name_of(key))
    return _find(client, key)


def writable(client: "RespConnection", key: bytes) -> Stream | None:
    """The same for a stream that the client may write."""
    rights = client.rights
    if not rights.everything:
        rights.check_write("queue", name_of(key))
    return _find(client, key)


def _find(client: "RespConnection", key: bytes) -> Stream | None:
    found = client.keys.queue_of(key)
    if found is None:
        return None
    if not isinstance(found, Stream):
        raise WrongKind(found.name)
    if found.committed < found.next_position or found.batch is not None:
        client.wait_for_log(WRITE)  # what is not durable yet is not told of
    return found


def create(client: "RespConnection", key: bytes) -> Stream:
    """A new stream; WrongKind, AccessRefused, PreconditionFailed."""
    assert client.session is not None
    name = name_of(key)
    other = client.broker.vhosts[client.session.vhost].queues.get(name)
    if other is not None:  # an empty one, which is no key
        if other.vacancy is None or not other.vacancy.vacant:
            raise WrongKind(name)
        client.broker.definitions.drop_queue(other)
    return make_stream(client.broker, client.session, name)


def check_room(client: "RespConnection", size: int) -> None:
    """Whether there is room for so many bytes: else CommandError, or MustWait where the log is only busy."""
    broker = client.broker
    if broker.low_on_memory:
        raise CommandError(OUT_OF_MEMORY)
    journal = broker.journal
    if size > journal.room_bytes:
        if broker.low_on_disk:
            raise CommandError(DISK_FULL)
        if not client.executing:
            journal.waiters[client] = None
            raise MustWait


# -- entries as replies


def recall(client: "RespConnection", args: list[bytes]) -> Recall:
    """What the command with these arguments has read so far."""
    if client.recall is None or client.recall[0] is not args:
        client.recall = (args, Recall(client.broker.paging.loading, client, client.kept))
    return client.recall[1]


def encoded(
    client: "RespConnection", args: list[bytes], slices: Sequence[Slice], reverse: bool = False
) -> list[bytes]:
    """The replies that say these entries; MustWait until all of them are in memory."""
    loading = client.broker.paging.loading
    there = [each for each in slices if each[0] not in loading.unreadable]
    if all(run.data for run, _, _ in there):
        found = [encode_slice(*each) for each in there]
    else:
        memory = recall(client, args)
        whole: dict[Run, Span] = {}
        for run, start, stop in there:
            known = whole.get(run)
            if known is not None:
                start, stop = min(start, known.start), max(stop, known.stop)
            whole[run] = Span(run, start, stop, 0)
        seen = memory.see_all(list(whole.values()), encode_slice)
        by_run = dict(zip(whole, seen, strict=True))
        found = [
            list(by_run[run][start - whole[run].start : stop - whole[run].start])
            for run, start, stop in there
        ]
    client.recall = None
    return [entry for part in found for entry in (reversed(part) if reverse else part)]


def encode_slice(run: Run, start: int, stop: int) -> list[bytes]:
    """The replies that say these entries of a run, which is in memory: each an array of its id and fields."""
    found: list[bytes] = []
    data = run.data
    for i in range(start, stop):
        first, end = run.bounds(i)
        fields = entry_fields(data, first + run.route(i).skip, end)
        found.append(encode_fields(id_text(id_at(run, i)), fields))
    return found


def array_of(entries: Sequence[bytes]) -> Raw:
    """A reply of these."""
    return Raw(b"*%d\r\n%b" % (len(entries), b"".join(entries)))


def encode_ids(ids: Sequence[int]) -> Raw:
    """A reply of ids."""
    texts = [id_text(id) for id in ids]
    return array_of([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])
