"""The topology of a log with gaps: what can be known of it, without contradictions.

A snapshot says everything, so what was lost before it does not matter. Otherwise a change that does not fit what
is known is left out, and a queue whose declaration was lost gets a name, since its messages are there.
"""

from __future__ import annotations

from typing import Any

from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.item_records import Stored
from mansio.core.limits import Limits
from mansio.core.names import DEFAULT_EXCHANGE
from mansio.core.records import (
    SNAPSHOT,
    STARTED,
    STOPPED,
    Damaged,
    Published,
    Record,
    Settled,
    pack_table,
)
from mansio.core.stream import Stream
from mansio.core.topology import VHost
from mansio.core.topology_records import take_snapshot
from mansio.core.topology_restore import TopologyRestore
from mansio.tools.tally import Positions

VHOST = "/"
"""Where queues go whose declaration was lost."""


class Patchwork:
    """`notes`: what was left out or made up, for people."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._begin()
        # Every queue with an id below this one is in the last snapshot, or was deleted.
        self._known_below = 0
        self._deleted: set[int] = set()
        self._positions: dict[int, Positions] = {}
        self._keys: dict[
            int, set[str]
        ] = {}  # by queue: of what was published to the default exchange; "" for others
        self._id_max = 0
        self._delays = 0  # where delayed messages are
        self._items = 0  # where the values of keys are

    def take(self, found: Record) -> None:
        """The next record that could be read."""
        if isinstance(found, Published):
            self._publish(found)
        elif isinstance(found, Settled):
            self._position(found.queue).settle(found.ranges)
        elif isinstance(found, Stored):
            self._items = found.store
            self._id_max = max(self._id_max, found.store)
        elif isinstance(found, dict) and found.get("do") not in (STARTED, STOPPED):
            self._change(found)

    def snapshot(self) -> dict[str, Any]:
        """The topology of it all, as a record says it; of one use."""
        self._adopt()
        return take_snapshot(self._broker)

    def _begin(self) -> None:
        self._broker = Broker(Limits())
        self._topology = TopologyRestore(self._broker)

    def _publish(self, found: Published) -> None:
        if found.due is not None:
            self._delays = found.places[0][0] if found.places else 0
        for queue, base in found.places:
            self._id_max = max(self._id_max, queue)
            self._position(queue).published.add(base, base + found.messages)
            if queue >= self._known_below and found.due is None:
                self._keys.setdefault(queue, set()).update(
                    route.key
                    if route.exchange == DEFAULT_EXCHANGE and len(found.places) == 1
                    else ""
                    for route in found.routes
                )

    def _position(self, queue: int) -> Positions:
        return self._positions.setdefault(queue, Positions())

    def _change(self, change: dict[str, Any]) -> None:
        if change.get("do") == SNAPSHOT:
            self._begin()
            self.notes.clear()
            self._known_below = 0
        else:
            self._topology.begin()
            self._make_way(change)
        try:
            deleted = self._topology.change(change)
        except (Damaged, BrokerError) as error:
            self.notes.append(f"left out, since it does not fit: {_describe(change)}: {error}")
            return
        self._deleted.update(deleted)
        if change["do"] == SNAPSHOT:
            self._known_below = change["next_queue_id"]

    def _make_way(self, change: dict[str, Any]) -> None:
        """Delete what must have been deleted for this change to have been possible."""
        host, name, do = self._host(change), change.get("name"), change.get("do")
        if host is None:
            return
        if do in ("declare queue", "delete queue") and name in host.queues:
            old = host.queues[name]
            if old.id != change.get("id"):
                for gone in (old, *(old.groups if isinstance(old, Stream) else ())):
                    host.remove_queue(gone)
                    self._deleted.add(gone.id)
        elif do == "declare exchange" and name in host.exchanges:
            gone = host.delete_exchange(name, False)
            if gone is not None and gone.history is not None:
                self._deleted.add(gone.history.id)

    def _host(self, change: dict[str, Any]) -> VHost | None:
        return self._broker.vhosts.get(change.get("vhost", ""))

    def _adopt(self) -> None:
        """Declare the queues that have messages and no declaration."""
        known = {
            queue.id
            for host in self._broker.vhosts.values()
            for queue in (*host.queues.values(), *host.histories())
        }
        self._topology.begin()
        for queue, keys in sorted(self._keys.items()):
            lost = queue >= self._known_below and queue not in self._deleted | known
            live = self._position(queue).count().live if lost else 0
            if live:
                name = self._name(queue, keys)
                self._topology.change(
                    {"do": "declare queue", "vhost": VHOST, "name": name, "id": queue,
                     "auto_delete": False, "arguments": pack_table({})}
                )  # fmt: skip
                self.notes.append(
                    f"the declaration of a queue is lost: its {live} messages are in queue {name!r}, durable and"
                    " without arguments or bindings"
                )
        if self._delays and not self._broker.delays(VHOST).id:
            self._topology.change({"do": "keep delays", "vhost": VHOST, "id": self._delays})
        if self._items and not self._broker.keyspaces.items_id(VHOST):
            self._topology.change({"do": "keep items", "vhost": VHOST, "id": self._items})
        definitions = self._broker.definitions
        definitions.next_queue_id = max(definitions.next_queue_id, self._id_max + 1)

    def _name(self, queue: int, keys: set[str]) -> str:
        taken = self._broker.vhosts[VHOST].queues
        (key, *more) = sorted(keys)
        return f"salvaged-{queue}" if more or not key or key in taken else key


def _describe(change: dict[str, Any]) -> str:
    names = [str(change[key]) for key in ("name", "source", "destination") if key in change]
    return f"{change.get('do')} {' to '.join(names)}".strip()
