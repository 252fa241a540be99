"""What groups of Redis clients do: they read, acknowledge, claim. All of it is durable, an item for each thing.

g | stream u64 | group u32                   ─► last id 2 × u64, read i64, name
c | stream u64 | group u32 | consumer u32    ─► seen u64 in ms, active i64 in ms, name
p | stream u64 | group u32 | id 2 × u64      ─► consumer u32, delivered u64 in ms, how often u64
"""

import struct
from typing import TYPE_CHECKING, Final

from mansio.core.read_group import UNKNOWN, Consumer, Pending, ReadGroup, ReadGroups
from mansio.core.stream import Stream
from mansio.core.stream_ids import ID_MAX, NUMBER_MAX, id_at

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.entries import Slice
    from mansio.core.items import Items, Shelf

_GROUP: Final = struct.Struct(">QI")
_CONSUMER: Final = struct.Struct(">QII")
_PENDING: Final = struct.Struct(">QIQQ")
_GROUP_VALUE: Final = struct.Struct(">QQq")
_SEEN: Final = struct.Struct(">Qq")
_PENDING_VALUE: Final = struct.Struct(">IQQ")


def wrapped(count: int) -> int:
    """As a signed number of 64 bits: a client may say that there have been nearly as many entries as there can be."""
    return (count + (1 << 63)) % (1 << 64) - (1 << 63)


def entries_added(stream: Stream) -> int:
    """How many entries there have ever been, as far as 64 bits can tell."""
    return wrapped(stream.next_position + stream.added)


class Shelves:
    """Of one virtual host."""

    __slots__ = ("consumers", "groups", "pending")

    def __init__(self, groups: "Shelf", consumers: "Shelf", pending: "Shelf") -> None:
        self.groups = groups
        self.consumers = consumers
        self.pending = pending


class Reading:
    """The groups of all streams of a broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._shelves: dict[str, Shelves] = {}

    def equip(self, vhost: str, items: "Items") -> None:
        """A virtual host has a store."""
        self._shelves[vhost] = Shelves(
            items.shelf(b"g", self._read_group, self._restore_group),
            items.shelf(b"c", self._read_consumer, self._restore_consumer),
            items.shelf(b"p", self._read_pending, self._restore_pending),
        )

    def _of(self, stream: Stream) -> Shelves:
        self._broker.keyspace(stream.vhost)  # so that there is one
        return self._shelves[stream.vhost]

    # -- groups

    def find(self, stream: Stream, name: bytes) -> ReadGroup | None:
        """The group of this name."""
        return None if stream.readers is None else stream.readers.by_name.get(name)

    def create(self, stream: Stream, name: bytes, last_id: int, read: int) -> bool:
        """A new group; False when there is one of this name."""
        if stream.readers is None:
            stream.readers = ReadGroups()
        groups = stream.readers
        if name in groups.by_name:
            return False
        group = ReadGroup(stream, groups.next_number, name, last_id, read)
        groups.next_number += 1
        groups.by_name[name] = groups.numbered[group.number] = group
        self._note(group)
        return True

    def set_id(self, group: ReadGroup, last_id: int, read: int) -> None:
        """It goes on behind this id."""
        group.last_id, group.read, group.offset = last_id, read, -1
        self._note(group)

    def destroy(self, group: ReadGroup) -> None:
        """The group goes, with all that it knows."""
        groups = group.stream.readers
        assert groups is not None
        del groups.by_name[group.name], groups.numbered[group.number]
        self._note(group)
        for consumer in list(group.consumers.values()):
            self.remove(group, consumer)

    def drop_all(self, stream: Stream) -> None:
        """The stream goes."""
        if stream.readers is not None:
            for group in list(stream.readers.by_name.values()):
                self.destroy(group)

    def copy(self, source: Stream, target: Stream) -> None:
        """Another stream gets all groups of this one, as they are."""
        for group in source.readers.in_order() if source.readers is not None else ():
            self.create(target, group.name, group.last_id, group.read)
            assert target.readers is not None
            other = target.readers.by_name[group.name]
            for member in group.consumers.values():
                made, _ = self.consumer(other, member.name)
                for id, each in member.pending.entries.items():
                    self.deliver(other, id, made, each.delivered_ms, each.count)
                made.seen_ms, made.active_ms = member.seen_ms, member.active_ms

    def _note(self, group: ReadGroup) -> None:
        self._of(group.stream).groups.changed(_GROUP.pack(group.stream.id, group.number))

    # -- consumers

    def consumer(self, group: ReadGroup, name: bytes) -> tuple[Consumer, bool]:
        """Who asks for something, and whether it is new."""
        found = group.consumers.get(name)
        now_ms = self._broker.now_ms
        if found is not None:
            if found.seen_ms != now_ms:
                found.seen_ms = now_ms
                self._note_consumer(group, found)
            return found, False
        made = Consumer(group.next_number, name, now_ms)
        group.next_number += 1
        group.consumers[name] = group.numbered[made.number] = made
        self._note_consumer(group, made)
        return made, True

    def _active(self, group: ReadGroup, consumer: Consumer) -> None:
        """It gets something."""
        if consumer.active_ms != self._broker.now_ms:
            consumer.active_ms = self._broker.now_ms
            self._note_consumer(group, consumer)

    def remove(self, group: ReadGroup, consumer: Consumer) -> int:
        """A consumer goes, and what it has not acknowledged is nobody's; how many entries these are."""
        ids = list(consumer.pending.entries)
        for id in ids:
            self.settle(group, id)
        del group.consumers[consumer.name], group.numbered[consumer.number]
        self._note_consumer(group, consumer)
        return len(ids)

    def _note_consumer(self, group: ReadGroup, consumer: Consumer) -> None:
        key = _CONSUMER.pack(group.stream.id, group.number, consumer.number)
        self._of(group.stream).consumers.changed(key)

    # -- entries

    def _note_pending(self, group: ReadGroup, id: int) -> None:
        key = _PENDING.pack(group.stream.id, group.number, id >> 64, id & NUMBER_MAX)
        self._of(group.stream).pending.changed(key)

    def settle(self, group: ReadGroup, id: int) -> bool:
        """XACK: the entry is done with; whether it was pending."""
        pending = group.pending.entries.get(id)
        if pending is None:
            return False
        group.pending.take(id)
        pending.consumer.pending.take(id)
        self._note_pending(group, id)
        return True

    def deliver(
        self, group: ReadGroup, id: int, consumer: Consumer, delivered_ms: int, count: int
    ) -> None:
        """The entry is this consumer's from now on, whosever it was."""
        self._active(group, consumer)
        pending = group.pending.entries.get(id)
        if pending is None:
            pending = Pending(consumer, delivered_ms, count)
            group.pending.put(id, pending)
        else:
            pending.delivered_ms, pending.count = delivered_ms, count
            if pending.consumer is not consumer:
                pending.consumer.pending.take(id)
                pending.consumer = consumer
        if id not in consumer.pending.entries:
            consumer.pending.put(id, pending)
        self._note_pending(group, id)

    def deliver_again(self, group: ReadGroup, found: "Slice") -> None:
        """A consumer is sent what it has not acknowledged, once more."""
        id = id_at(found[0], found[1])
        pending = group.pending.entries[id]
        pending.delivered_ms = self._broker.now_ms
        pending.count += 1
        self._note_pending(group, id)

    def advance(self, group: ReadGroup, last_id: int) -> None:
        """It goes on behind this id, which is above the one before."""
        group.last_id, group.offset = last_id, -1
        self._note(group)

    def next_slices(self, group: ReadGroup, count: int) -> "list[Slice]":
        """What comes next for the group, up to so many entries."""
        stream = group.stream
        entries = self._broker.streams.entries
        entries.flush(stream)
        if group.last_id >= stream.last_id:
            return []
        if group.offset < 0:
            group.offset = entries.offset_of(stream, min(group.last_id + 1, ID_MAX))
        return entries.slices(stream, group.offset, stream.next_position, count)

    def take(
        self, group: ReadGroup, consumer: Consumer, slices: "list[Slice]", no_ack: bool
    ) -> None:
        """What `next_slices` has answered is delivered to a consumer; with `no_ack` nobody waits for it."""
        now_ms = self._broker.now_ms
        self._active(group, consumer)
        for run, start, stop in slices:
            self._count(
                group, run.places[0][1] + start, [id_at(run, i) for i in range(start, stop)]
            )
            if not no_ack:
                for i in range(start, stop):
                    self.deliver(group, id_at(run, i), consumer, now_ms, 1)
            group.last_id = id_at(run, stop - 1)
            group.offset = run.places[0][1] + stop
        self._note(group)

    def _count(self, group: ReadGroup, offset: int, ids: list[int]) -> None:
        """How many entries the group has read, as redis-server 7.0.15 counts them."""
        stream = group.stream
        if group.read != UNKNOWN and not self.has_tombstones(stream, ids[0]):
            group.read = wrapped(group.read + len(ids))
            return
        for id in ids:
            if group.read != UNKNOWN and not self.has_tombstones(stream, id):
                group.read = wrapped(group.read + 1)
            else:
                group.read = self.distance(stream, id)

    def has_tombstones(self, stream: Stream, start: int) -> bool:
        """Whether an entry was deleted at this id or behind it, so that counting would be a guess."""
        if not stream.ready_count or not stream.deleted_id:
            return False
        first = self._broker.streams.entries.first_id(stream)
        return first <= stream.deleted_id and start <= stream.deleted_id

    def distance(self, stream: Stream, id: int) -> int:
        """How many entries there have been up to this id, or UNKNOWN."""
        added = entries_added(stream)
        if not added:
            return 0
        if not stream.ready_count and id <= stream.last_id:
            return added
        if id >= stream.last_id:
            return added if id == stream.last_id else UNKNOWN
        first = self._broker.streams.entries.first_id(stream)
        if not stream.deleted_id or stream.deleted_id < first:
            if id <= first:
                return wrapped(added - stream.ready_count + (id == first))
        return UNKNOWN

    def lag(self, group: ReadGroup) -> int | None:
        """How many entries the group has not read yet; None where that cannot be told."""
        stream = group.stream
        added = entries_added(stream)
        if not added:
            return 0
        if group.read != UNKNOWN and not self.has_tombstones(stream, group.last_id):
            return wrapped(added - group.read)
        read = self.distance(stream, group.last_id)
        return None if read == UNKNOWN else wrapped(added - read)

    # -- in the log

    def _group(self, key: bytes) -> ReadGroup | None:
        id, number = _GROUP.unpack_from(key)
        stream = self._broker.streams.by_id(id)
        return (
            None
            if stream is None or stream.readers is None
            else stream.readers.numbered.get(number)
        )

    def _read_group(self, key: bytes) -> bytes | None:
        group = self._group(key)
        if group is None:
            return None
        last = group.last_id
        return _GROUP_VALUE.pack(last >> 64, last & NUMBER_MAX, group.read) + group.name

    def _read_consumer(self, key: bytes) -> bytes | None:
        group = self._group(key)
        found = None if group is None else group.numbered.get(_CONSUMER.unpack(key)[2])
        return None if found is None else _SEEN.pack(found.seen_ms, found.active_ms) + found.name

    def _read_pending(self, key: bytes) -> bytes | None:
        group = self._group(key)
        if group is None:
            return None
        _, _, ms, number = _PENDING.unpack(key)
        pending = group.pending.entries.get(ms << 64 | number)
        if pending is None:
            return None
        return _PENDING_VALUE.pack(pending.consumer.number, pending.delivered_ms, pending.count)

    def _known(self, key: bytes) -> ReadGroup | None:
        """The group of this item, which may not be known itself yet; None when the stream is gone."""
        id, number = _GROUP.unpack_from(key)
        stream = self._broker.streams.by_id(id)
        if stream is None:
            return None
        if stream.readers is None:
            stream.readers = ReadGroups()
        groups = stream.readers
        if number not in groups.numbered:
            groups.numbered[number] = ReadGroup(stream, number, b"", 0, UNKNOWN)
            groups.next_number = max(groups.next_number, number + 1)
        return groups.numbered[number]

    def _known_consumer(self, group: ReadGroup, number: int) -> Consumer:
        found = group.numbered.get(number)
        if found is None:
            found = group.numbered[number] = Consumer(number, b"", 0)
            group.next_number = max(group.next_number, number + 1)
        return found

    def _restore_group(self, key: bytes, value: bytes) -> bool:
        group = self._known(key)
        if group is None or group.stream.readers is None:
            return False
        ms, number, group.read = _GROUP_VALUE.unpack_from(value)
        group.last_id = ms << 64 | number
        group.name = value[_GROUP_VALUE.size :]
        group.stream.readers.by_name[group.name] = group
        return True

    def _restore_consumer(self, key: bytes, value: bytes) -> bool:
        group = self._known(key)
        if group is None:
            return False
        consumer = self._known_consumer(group, _CONSUMER.unpack(key)[2])
        consumer.seen_ms, consumer.active_ms = _SEEN.unpack_from(value)
        consumer.name = value[_SEEN.size :]
        group.consumers[consumer.name] = consumer
        return True

    def _restore_pending(self, key: bytes, value: bytes) -> bool:
        group = self._known(key)
        if group is None:
            return False
        _, _, ms, number = _PENDING.unpack(key)
        who, delivered_ms, count = _PENDING_VALUE.unpack(value)
        consumer = self._known_consumer(group, who)
        pending = Pending(consumer, delivered_ms, count)
        group.pending.put(ms << 64 | number, pending)
        consumer.pending.put(ms << 64 | number, pending)
        return True
