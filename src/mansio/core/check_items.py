"""What always holds of items, keys and when they expire: part of `check`."""

from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken
from mansio.core.items import Batch
from mansio.core.keyspace import KEY_BYTES, TIME_BYTES

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.items import Items
    from mansio.core.keyspace import Keyspace


def check_items(broker: "Broker") -> list[Batch]:
    """Answers the batches that the log has to keep."""
    found: list[Batch] = []
    for keyspace in broker.keyspaces.known():
        found += _check_batches(keyspace.items, broker)
        _check_keys(keyspace, broker)
    return found


def _check_batches(items: "Items", broker: "Broker") -> list[Batch]:
    batches: dict[Batch, int] = {}
    for shelf in items.shelves.values():
        for key, batch in shelf.places.items():
            batches[batch] = batches.get(batch, 0) + 1
            if shelf.read(key) is None and key not in shelf.pending:
                raise InvariantBroken(f"item {key!r} of {items.vhost} is gone and kept in the log")
    for batch, live in batches.items():
        if batch.live != live or len(items.live(batch)) != live or batch.items is not items:
            raise InvariantBroken(f"a batch of {items.vhost} counts {batch.live} items of {live}")
    for batch in items.loose:
        if batch not in batches:
            raise InvariantBroken(f"a batch of {items.vhost} without items is loose")
    if batches and not items.id:
        raise InvariantBroken(f"the items of {items.vhost} have no name in the log")
    return list(batches)


def _check_keys(keyspace: "Keyspace", broker: "Broker") -> None:
    strings, times = keyspace.strings, keyspace.times
    held_bytes = sum(KEY_BYTES + len(key) + len(value) for key, value in strings.items())
    held_bytes += TIME_BYTES * len(strings.keys() & times.keys())
    if held_bytes != keyspace.held_bytes:
        raise InvariantBroken(f"keys of {keyspace.vhost} count {keyspace.held_bytes} bytes")
    if not broker.forgetful:
        shelf = keyspace.items.shelves[ord("s")]
        for key in strings:
            if key not in shelf.places and key not in shelf.pending:
                raise InvariantBroken(f"string {key!r} of {keyspace.vhost} is not in the log")
    if times:
        next_ms = max(min(times.values()) + 1, broker.now_ms)
        if keyspace.expiry.deadline_ms > next_ms:
            raise InvariantBroken(f"nobody looks after keys of {keyspace.vhost} that expire")
