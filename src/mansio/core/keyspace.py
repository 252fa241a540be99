"""The keys of one virtual host: strings, and the queues and streams that Redis clients know as lists and streams.

    key ─► a string, in `strings`                   in the log as an item, tag s: when it expires u64 (0: never), value
       └─► the queue of that name: a stream, or a list if something is ready in it
           when that expires, u64, is an item of its own, tag e

A string hides a queue of the same name. Queues that are exclusive, groups, and empty ones that are no streams are no
keys. What was declared over AMQP stays: as a key it goes by becoming empty.
"""

from typing import TYPE_CHECKING, Final

from mansio.core.errors import BrokerError
from mansio.core.items import Items
from mansio.core.key_expiry import KeyExpiry
from mansio.core.key_scan import KeyScan
from mansio.core.stream import Stream
from mansio.core.stream_keys import MADE_BY, reset_stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.topology import VHost

NONE: Final = "none"
STRING: Final = "string"
LIST: Final = "list"
STREAM: Final = "stream"

KEY_BYTES: Final = 320
"""What a string costs beside its key and value (measured: two objects, places in three tables)."""
TIME_BYTES: Final = 200
"""What it costs if it expires."""

Fingerprint = tuple[int, ...]
"""What says that a key has not changed; see `Keyspace.fingerprint`."""


class WrongKind(BrokerError):
    """The key stands for something else."""


class Keyspace:
    """Keys and their values. Every method takes away first what has expired; so no caller meets that."""

    def __init__(self, broker: "Broker", host: "VHost", items: Items) -> None:
        self.vhost = host.name
        self.items = items
        self.strings: dict[bytes, bytes] = {}
        """For readers within the core; what has expired may be there."""
        self.held_bytes = 0
        self.expiry = KeyExpiry(broker, self._expired)
        self.times = self.expiry.times
        self.scan = KeyScan(self)
        self.watched: dict[bytes, list[int]] = {}
        """By key: how many watch it, how often it has changed since somebody does."""
        self._broker = broker
        self._queues = host.queues
        self._strings = items.shelf(b"s", self._read_string, self._restore_string)
        self._lives = items.shelf(b"e", self._read_time, self._restore_time)
        self._changed = self._strings.changed

    # -- strings

    def get(self, key: bytes) -> bytes | None:
        """The string of this key, None if there is no such key; WrongKind."""
        if self.times:
            self.expiry.check(key)
        value = self.strings.get(key)
        if value is None and self._queues and self._queue_of(key) is not None:
            raise WrongKind(key.decode("utf-8", "surrogateescape"))
        return value

    def has_string(self, key: bytes) -> bool:
        """Whether the key is a string."""
        if self.times:
            self.expiry.check(key)
        return key in self.strings

    def check_settable(self, key: bytes) -> None:
        """Whether `set` may be called; WrongKind."""
        if key not in self.strings and self._queues:
            queue = self._queue_of(key)
            if queue is not None and is_declared(queue):
                raise WrongKind(key.decode("utf-8", "surrogateescape"))

    def set(self, key: bytes, value: bytes, when_ms: int = 0) -> None:
        """The key is a string from now on, up to this time, whatever it was; WrongKind for a queue that was declared,
        with messages in it: these are not to be lost by mistake."""
        if key not in self.strings and self._queues:
            self.check_settable(key)
            self.delete(key)
        self.put(key, value)
        if when_ms or self.times:
            self.expire_string(key, when_ms)

    def put(self, key: bytes, value: bytes) -> None:
        """The string of this key is now `value`, which does not change when it expires; there is no key of another
        kind."""
        strings = self.strings
        old = strings.get(key)
        if old is None:
            if self.times and self.expiry.clear(key):  # of a list that is empty
                self._lives.changed(key)
            self.held_bytes += KEY_BYTES + len(key) + len(value)
        else:
            self.held_bytes += len(value) - len(old)
        strings[key] = value
        self._changed(key)
        if self.watched:
            self.touched(key)

    def expire_string(self, key: bytes, when_ms: int) -> None:
        """A string that there is lives until then; 0: for ever."""
        if when_ms:
            self.held_bytes += TIME_BYTES * (key not in self.times)
            self.expiry.set(key, when_ms)
        elif self.times and self.expiry.clear(key):
            self.held_bytes -= TIME_BYTES
        else:
            return
        self._changed(key)
        if self.watched:
            self.touched(key)

    def _drop_string(self, key: bytes) -> None:
        self.held_bytes -= KEY_BYTES + len(key) + len(self.strings.pop(key))
        if self.times and self.expiry.clear(key):
            self.held_bytes -= TIME_BYTES
        if self.watched:
            self.touched(key)

    def _read_string(self, key: bytes) -> bytes | None:
        value = self.strings.get(key)
        if value is None:
            return None
        return self.times.get(key, 0).to_bytes(8, "big") + value

    def _restore_string(self, key: bytes, stored: bytes) -> bool:
        when_ms = int.from_bytes(stored[:8], "big")
        if 0 < when_ms < self._broker.now_ms:
            return False
        self.strings[key] = value = stored[8:]
        self.held_bytes += KEY_BYTES + len(key) + len(value)
        if when_ms:
            self.held_bytes += TIME_BYTES
            self.expiry.set(key, when_ms)
        return True

    # -- all kinds

    def kind_of(self, key: bytes) -> str:
        """NONE, STRING, LIST or STREAM."""
        if self.times:
            self.expiry.check(key)
        if key in self.strings:
            return STRING
        queue = self._queue_of(key)
        if queue is None:
            return NONE
        return STREAM if queue.keeps else LIST

    def exists(self, key: bytes) -> bool:
        """Whether there is such a key."""
        if self.times:
            self.expiry.check(key)
        return key in self.strings or self._queue_of(key) is not None

    def queue_keys(self) -> list[bytes]:
        """The keys that are lists and streams."""
        strings = self.strings
        keys = [key_of(queue) for queue in self._queues.values() if is_key(queue)]
        return [key for key in keys if key not in strings]

    def queue_names(self) -> list[bytes]:
        """Of all queues, whatever they are to Redis clients, in the order in which they were declared."""
        return [key_of(queue) for queue in self._queues.values()]

    def queue_of(self, key: bytes) -> "Queue | None":
        """The list or stream that is this key; WrongKind for a string."""
        if self.times:
            self.expiry.check(key)
        if key in self.strings:
            raise WrongKind(key.decode("utf-8", "surrogateescape"))
        return self._queue_of(key)

    def _queue_of(self, key: bytes) -> "Queue | None":
        queue = self._queues.get(key.decode("utf-8", "surrogateescape"))
        return queue if queue is not None and is_key(queue) else None

    def delete(self, key: bytes) -> bool:
        """The key and what it stands for is gone; whether there was one."""
        kind = self.kind_of(key)
        if kind is NONE:
            return False
        if kind is STRING:
            self._drop_string(key)
            self._changed(key)
        else:
            queue = self._queue_of(key)
            assert queue is not None
            self.drop_queue(queue)
            self.gone(key)
        return True

    def drop_queue(self, queue: "Queue") -> None:
        """What is in it goes, and so does the queue itself if nobody has declared it."""
        if is_declared(queue) and isinstance(queue, Stream):
            reset_stream(self._broker, queue)
        elif is_declared(queue):
            self._broker.settling.drop_ready(queue)
        else:
            self._broker.definitions.drop_queue(queue)

    def gone(self, key: bytes) -> None:
        """A list or stream is no key any more: it is deleted or empty. So is when it was to expire."""
        if self.times and self.expiry.clear(key):
            self._lives.changed(key)
        if self.watched:
            self.touched(key)

    # -- when keys expire

    def time_of(self, key: bytes) -> int | None:
        """When a key that there is expires, Unix time in ms; None: never."""
        return self.times.get(key)

    def expire(self, key: bytes, when_ms: int) -> None:
        """A key that there is, of any kind, lives until then; 0: for ever."""
        if key in self.strings:
            self.expire_string(key, when_ms)
            return
        if when_ms:
            self.expiry.set(key, when_ms)
        elif not self.expiry.clear(key):
            return
        self._lives.changed(key)
        if self.watched:
            self.touched(key)

    def _expired(self, key: bytes) -> None:
        """See `KeyExpiry`: its time is over, and known no more."""
        if key in self.strings:
            self.held_bytes -= TIME_BYTES
            self._drop_string(key)
            self._strings.forget(key)  # a restart will know by its time that it is gone
            return
        self._lives.changed(key)
        queue = self._queue_of(key)
        if queue is not None:
            self.drop_queue(queue)
        if self.watched:
            self.touched(key)

    def _read_time(self, key: bytes) -> bytes | None:
        when_ms = None if key in self.strings else self.times.get(key)
        return None if when_ms is None else when_ms.to_bytes(8, "big")

    def _restore_time(self, key: bytes, stored: bytes) -> bool:
        if self._queue_of(key) is None:
            return False
        self.expiry.set(key, int.from_bytes(stored, "big"))
        return True

    def forget_all(self) -> None:
        """No strings any more, and no times but those of what is left."""
        times = {key: when_ms for key, when_ms in self.times.items() if self._queue_of(key)}
        self.strings.clear()
        self.times.clear()
        self.held_bytes = 0
        self.items.renew()
        for key, when_ms in times.items():
            self.expiry.set(key, when_ms)

    # -- what watches

    def watch(self, key: bytes) -> None:
        """Somebody wants to know whether the key changes, see `fingerprint`; up to `unwatch`."""
        self.watched.setdefault(key, [0, 0])[0] += 1

    def unwatch(self, key: bytes) -> None:
        """He does not any more."""
        entry = self.watched[key]
        entry[0] -= 1
        if not entry[0]:
            del self.watched[key]

    def touched(self, key: bytes) -> None:
        """The key has changed; to be called where positions and counts of its queue may not tell."""
        entry = self.watched.get(key)
        if entry is not None:
            entry[1] += 1

    def fingerprint(self, key: bytes) -> Fingerprint:
        """Of a watched key: another one once it has changed, also by AMQP."""
        kind = self.kind_of(key)
        changes = self.watched[key][1]
        if kind is NONE or kind is STRING:
            return changes, kind is STRING
        queue = self._queue_of(key)
        assert queue is not None
        if isinstance(queue, Stream):
            self._broker.streams.entries.flush(queue)
        first = -1
        if queue.ready:
            span = queue.ready[0]
            first = span.base + span.start
        return changes, queue.id, queue.next_position, queue.ready_count, first


def is_key(queue: "Queue") -> bool:
    """Whether Redis clients see it as a key, if no string has its name."""
    if queue.keeps:
        return queue.owner is None
    return queue.ready_count > 0 and queue.owner is None and not queue.fed


def key_of(queue: "Queue") -> bytes:
    """The key that stands for it."""
    return queue.name.encode("utf-8", "surrogateescape")


def is_declared(queue: "Queue") -> bool:
    """Whether it was declared over AMQP, or is used from there: it stays when it is empty, and keeps its name."""
    made = queue.vacancy is not None or MADE_BY in queue.arguments
    return not made or bool(queue.consumers or queue.bindings)
