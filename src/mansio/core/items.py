"""Durable small values of a virtual host: the strings of Redis clients, when keys expire, how far groups have read.

    owner changes a value ─► shelf.changed(key) ──at the end of the turn, or of a transaction──► flush
                                                     one record: each key and its value as it is now, or that it is gone
    replay, in order: the last value of each key ──when all queues are back──► owner.restore(key, value)

The values are in memory with their owners only, one *shelf* for each kind, told apart by a tag. What is kept here is
where the last record of each key lies: in a *batch*, the keys of one record. A batch is to the log what a run is, and
keeps it from being cut as long as one of its keys has its last value there. It is never read again before a restart:
what has to be carried is asked of its owners. Since the log is only cut in front, whoever finds an old value of a key
finds the later ones, too, and that it is gone.

So changes of one key in one turn cost one record. Batches of a few keys cost more memory than what is in them: when
there are many of these, they are written again as one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mansio.core.item_records import Change, encode_items
from mansio.core.records import Damaged, encode_topology

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.retention import Bucket

BATCH_BYTES_MAX: Final = 16 << 20
"""What one record holds, or a little more, so that all of it need not be copied at once."""
FEW: Final = 8
FEW_BYTES_MAX: Final = 4096
"""A batch of fewer keys, and of no more bytes, is loose."""
LOOSE_MAX: Final = 512
"""So many loose batches are written again as one: below 1 ms, and 1/512 of that for each of them."""


class Batch:
    """The keys of one record, each behind the shelf that it is of, or that the ones before it are of. `live`: how many
    have their last value there. `size`: bytes of the record, less what is not live, once it is durable."""

    data: ClassVar[bytes] = b"with its owners"
    """It is never paged out."""
    gone: ClassVar[None] = None
    """What is settled of it need not be written again with it."""

    __slots__ = ("bucket", "entries", "items", "live", "offset", "seq", "size")

    def __init__(self, items: "Items | None" = None) -> None:
        self.items = items  # None until they are back
        self.entries: list[Shelf | bytes] = []
        self.live = 0
        self.bucket: Bucket | None = None
        self.seq = 0
        self.offset = 0
        self.size = 0


class Shelf:
    """The items of one kind. `changed(key)` is to be called when the value of a key is another one, or gone."""

    __slots__ = ("changed", "name", "pending", "places", "read", "restore", "tag")

    def __init__(
        self,
        tag: int,
        read: Callable[[bytes], bytes | None],
        restore: Callable[[bytes, bytes], bool],
        forgetful: bool,
    ) -> None:
        """`read` answers the value of a key as it is now, None if it is gone. `restore` takes back what was stored, and
        answers whether it still counts. `forgetful`: nothing is stored."""
        self.tag = tag
        self.read = read
        self.restore = restore
        self.places: dict[bytes, Batch] = {}
        self.pending: dict[bytes, None] = {}
        self.changed: Callable[[bytes], Any] = _nothing if forgetful else self.pending.setdefault

    def forget(self, key: bytes) -> None:
        """The value is gone, and `restore` would not take it back as it was written last. What has changed
        since then is written."""
        if key in self.pending:
            return
        batch = self.places.pop(key, None)
        if batch is not None and batch.items is not None:
            batch.items.leave(batch)


def _nothing(key: bytes) -> None:
    pass


class Items:
    """The store of one virtual host. `id` names it in the log; 0 until it is needed."""

    def __init__(self, broker: "Broker", vhost: str) -> None:
        self.id = 0
        self.vhost = vhost
        self.shelves: dict[int, Shelf] = {}
        """By tag."""
        self.loose: dict[Batch, None] = {}
        self._broker = broker
        self._reserved_bytes = 0

    def shelf(
        self,
        tag: bytes,
        read: Callable[[bytes], bytes | None],
        restore: Callable[[bytes, bytes], bool],
    ) -> Shelf:
        """A shelf for items with this tag, one byte; see `Shelf`. Before the first restore or change."""
        shelf = self.shelves[tag[0]] = Shelf(tag[0], read, restore, self._broker.forgetful)
        return shelf

    def reserve(self, size: int) -> None:
        """So many bytes of values are about to change: that is room in the log which nobody else has in this turn."""
        self._reserved_bytes += size
        self._broker.journal.room_bytes -= size

    # -- out

    def flush(self) -> None:
        """Writes what has changed since the last call."""
        if self._reserved_bytes:
            self._broker.journal.room_bytes += self._reserved_bytes
            self._reserved_bytes = 0
        for shelf in self.shelves.values():
            if shelf.pending:
                break
        else:
            return
        if len(self.loose) >= LOOSE_MAX and not self._broker.low_on_disk:
            for batch in self.loose:
                self.take_up(batch)
        if not self.id:
            self._begin()
        self._write()

    def take_up(self, batch: Batch) -> None:
        """What is live in a batch is written again by the next flush."""
        for shelf, key in self.live(batch):
            shelf.pending.setdefault(key)

    def live(self, batch: Batch) -> list[tuple[Shelf, bytes]]:
        """The keys that have their last value in this batch."""
        found: list[tuple[Shelf, bytes]] = []
        shelf: Shelf | None = None
        for entry in batch.entries:
            if isinstance(entry, Shelf):
                shelf = entry
            elif shelf is not None and shelf.places.get(entry) is batch:
                found.append((shelf, entry))
        return found

    def _write(self) -> None:
        batch = Batch(self)
        changes: list[Change] = []
        size = 0
        for shelf in self.shelves.values():
            if not shelf.pending:
                continue
            keys = list(shelf.pending)
            shelf.pending.clear()
            tag, read, places, entries = shelf.tag, shelf.read, shelf.places, batch.entries
            entries.append(shelf)
            for key in keys:
                value = read(key)
                old = places.get(key)
                if value is not None:
                    places[key] = batch
                    entries.append(key)
                    batch.live += 1
                    size += len(value)
                elif old is not None:
                    del places[key]
                else:
                    continue  # it has come and gone within the turn
                if old is not None:
                    self.leave(old)
                changes.append((tag, key, value))
                size += len(key)
                if size >= BATCH_BYTES_MAX:
                    self._store(batch, changes)
                    batch, changes, size = Batch(self), [], 0
                    entries = batch.entries
                    entries.append(shelf)
        if changes:
            self._store(batch, changes)
            if batch.live and len(changes) < FEW and size <= FEW_BYTES_MAX:
                self.loose[batch] = None

    def _store(self, batch: Batch, changes: list[Change]) -> None:
        self._broker.journal.store(encode_items(self.id, changes), batch)

    def leave(self, batch: Batch) -> None:
        """One more of its keys has its last value elsewhere, or none."""
        batch.live -= 1
        retention = self._broker.journal.retention
        if batch.live:
            retention.shrink(batch, batch.size // (batch.live + 1))
            return
        self.loose.pop(batch, None)
        batch.entries.clear()
        if batch.bucket is not None:
            retention.settled(batch)

    # -- back

    def take_back(self, found: "dict[bytes, tuple[bytes, Batch]]") -> None:
        """After a restart, when all queues are back: the last values, by tag and key. Damaged for an unknown tag."""
        shelves: dict[Batch, Shelf] = {}  # that keys at the end of each are of
        for name, (value, batch) in found.items():
            shelf = self.shelves.get(name[0])
            if shelf is None:
                raise Damaged(f"item of an unknown kind {name[:1]!r}")
            key = name[1:]
            if not shelf.restore(key, value):
                continue
            shelf.places[key] = batch
            batch.live += 1
            if shelves.get(batch) is not shelf:
                shelves[batch] = shelf
                batch.items = self
                batch.entries.append(shelf)
            batch.entries.append(key)
        retention = self._broker.journal.retention
        for batch in shelves:
            bucket, batch.bucket = batch.bucket, None
            if bucket is not None:
                retention.hold(batch, bucket, batch.seq, batch.offset, batch.size)

    def renew(self) -> None:
        """Forgets all that is in the log at once, and writes again what is left: cheaper than one by one where that is
        little."""
        if not self.id:
            return
        batches: dict[Batch, None] = {}
        for shelf in self.shelves.values():
            batches |= dict.fromkeys(shelf.places.values())
            for key in shelf.places:
                shelf.pending.setdefault(key)
            shelf.places.clear()
        for batch in batches:
            batch.live = 1
            self.leave(batch)
        self._begin()

    def _begin(self) -> None:
        """From now on the items of the virtual host have this id in the log, and what had another one is gone."""
        self.id = self._broker.definitions.take_id()
        about = {"do": "keep items", "vhost": self.vhost, "id": self.id}
        self._broker.journal.write(encode_topology(about))

    def drop_all(self) -> None:
        """The virtual host goes."""
        for shelf in self.shelves.values():
            shelf.pending.clear()
            for key in list(shelf.places):
                shelf.forget(key)
