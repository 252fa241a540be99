"""The keyspaces of a broker: one for each virtual host that Redis clients have used, with the items that it stores."""

from typing import TYPE_CHECKING

from mansio.core.items import Batch, Items
from mansio.core.keyspace import Keyspace

if TYPE_CHECKING:
    from mansio.core.broker import Broker


class Keyspaces:
    """Keyspaces by virtual host, made on first use."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._by_vhost: dict[str, Keyspace] = {}

    def __len__(self) -> int:
        return len(self._by_vhost)

    def of(self, vhost: str) -> Keyspace:
        """That of a virtual host that there is."""
        found = self._by_vhost.get(vhost)
        if found is None:
            broker = self._broker
            items = Items(broker, vhost)
            found = Keyspace(broker, broker.vhosts[vhost], items)
            broker.streams.reading.equip(vhost, items)
            self._by_vhost[vhost] = found
        return found

    def known(self) -> list[Keyspace]:
        """Those that there are."""
        return list(self._by_vhost.values())

    def items_id(self, vhost: str) -> int:
        """The name of its items in the log, 0 if it has none."""
        found = self._by_vhost.get(vhost)
        return 0 if found is None else found.items.id

    @property
    def held_bytes(self) -> int:
        """What keys and values take in memory, but for messages."""
        return sum([each.held_bytes for each in self._by_vhost.values()])

    def flush(self) -> None:
        """What has changed goes into the log."""
        for keyspace in self._by_vhost.values():
            keyspace.items.flush()

    def take_back(self, found: dict[int, dict[bytes, tuple[bytes, Batch]]]) -> None:
        """After a restart, when all queues are back: the last values, by id of the store, tag and key."""
        for keyspace in self._by_vhost.values():
            keyspace.items.take_back(found.pop(keyspace.items.id, {}))

    def drop(self, vhost: str) -> None:
        """The virtual host goes."""
        gone = self._by_vhost.pop(vhost, None)
        if gone is not None:
            gone.items.drop_all()
