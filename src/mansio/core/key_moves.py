"""Keys that get another name, are copied or go to another virtual host, and all keys going at once."""

from typing import TYPE_CHECKING

from mansio.core.admission import check_queue_limit
from mansio.core.errors import BrokerError
from mansio.core.keyspace import NONE, STRING, is_declared, is_key
from mansio.core.list_copies import read_list, write_list
from mansio.core.names import check_key_name
from mansio.core.recall import Recall
from mansio.core.records import encode_topology
from mansio.core.stream import Stream
from mansio.core.stream_copies import read_stream, write_stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.keyspace import Keyspace
    from mansio.core.queue import Queue
    from mansio.core.topology import VHost


class Immovable(BrokerError):
    """The key stands for something that cannot have another name, or be copied."""


class KeyMoves:
    """What is done to keys as a whole."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def rename(self, keys: "Keyspace", old: bytes, new: bytes) -> None:
        """There is a key `old`; what was `new` is gone. Immovable for what was declared over AMQP, which others know by
        its name."""
        kind = keys.kind_of(old)
        assert kind is not NONE
        if old == new:
            return
        self._check_free(keys, new, kind is STRING)
        when_ms = keys.time_of(old) or 0
        if kind is STRING:
            value = keys.strings[old]
            keys.delete(new)
            keys.delete(old)
            keys.set(new, value, when_ms)
            return
        queue = keys.queue_of(old)
        assert queue is not None
        host = self._broker.vhosts[keys.vhost]
        name = new.decode("utf-8", "surrogateescape")
        check_key_name(kind, name, host.name)
        if is_declared(queue):
            raise Immovable(f"queue '{queue.name}' was declared over AMQP and keeps its name")
        keys.delete(new)
        if isinstance(queue, Stream):
            self._broker.streams.leave_name(queue)
        if name in host.queues:
            self._broker.definitions.drop_queue(host.queues[name])
        about = {"do": "rename queue", "vhost": host.name, "name": queue.name, "to": name}
        self._broker.journal.write(encode_topology(about))
        rename(host, queue, name)
        if isinstance(queue, Stream):
            self._broker.streams.watching.made(queue)
        if queue.waiters is not None:
            self._broker.lists.ready[queue.waiters] = None
        self._broker.policies.apply(queue)
        keys.gone(old)
        keys.touched(new)
        if when_ms:
            keys.expire(new, when_ms)

    def _check_free(self, keys: "Keyspace", key: bytes, hiding: bool) -> None:
        """Whether the key can be given to something else, which hides an empty queue or not; Immovable."""
        queue = self._broker.vhosts[keys.vhost].queues.get(key.decode("utf-8", "surrogateescape"))
        if queue is not None and is_declared(queue) and (is_key(queue) or not hiding):
            raise Immovable(f"queue '{queue.name}' was declared over AMQP and keeps its name")

    def copy(
        self, keys: "Keyspace", source: bytes, to: "Keyspace", target: bytes, recall: Recall
    ) -> None:
        """There is a key `source`; `target`, if it is there, is replaced. Immovable, PreconditionFailed, MustWait."""
        kind = keys.kind_of(source)
        when_ms = keys.time_of(source) or 0
        if kind is STRING:
            to.set(target, keys.strings[source], when_ms)
            return
        queue = keys.queue_of(source)
        assert queue is not None
        name = target.decode("utf-8", "surrogateescape")
        host = self._broker.vhosts[to.vhost]
        check_key_name(kind, name, host.name)
        self._check_free(to, target, not queue.keeps)
        if name not in host.queues:
            check_queue_limit(host, name)
        if isinstance(queue, Stream):
            parts = read_stream(self._broker, queue, recall)
            self._broker.journal.begin(sum([part.data_bytes for part in parts]))
            to.delete(target)
            if name in host.queues:  # a list that is empty
                self._broker.definitions.drop_queue(host.queues[name])
            write_stream(self._broker, queue, host.name, name, parts)
        else:
            elements = read_list(self._broker, queue, recall)
            self._broker.journal.begin(sum([len(frames) for frames, _ in elements]))
            to.delete(target)
            write_list(self._broker, host.name, name, elements, queue.head_left)
        self._broker.journal.end()
        to.touched(target)
        if when_ms:
            to.expire(target, when_ms)

    def read(self, queue: "Queue", recall: Recall) -> None:
        """All that a copy would have is in memory; MustWait."""
        if isinstance(queue, Stream):
            read_stream(self._broker, queue, recall)
        else:
            read_list(self._broker, queue, recall)

    def flush(self, keys: "Keyspace") -> None:
        """No keys any more, but for streams that were declared over AMQP: of their queues only the messages go."""
        for key in keys.watched:
            if keys.exists(key):
                keys.touched(key)
        for queue in list(self._broker.vhosts[keys.vhost].queues.values()):
            if is_key(queue) and not (queue.keeps and is_declared(queue)):
                keys.drop_queue(queue)
        keys.forget_all()


def rename(host: "VHost", queue: "Queue", name: str) -> None:
    """A queue gets another name, which none has."""
    del host.queues[queue.name]
    queue.name = name
    host.add_queue(queue)
