"""What records say of exchanges, queues and bindings; and the *snapshot*: the durable topology of a whole broker as one
record, so that the records which built it up can be forgotten.
"""

from typing import TYPE_CHECKING, Any

from mansio.core.access_records import users_fields, vhost_fields
from mansio.core.deduplication import Window
from mansio.core.group import Group
from mansio.core.names import PREDECLARED_EXCHANGES
from mansio.core.policies import policies_fields
from mansio.core.queue import Queue
from mansio.core.records import pack_table
from mansio.core.routing import Binding, Exchange
from mansio.core.stream import Stream
from mansio.core.stream_marks import marks_of

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost

PREDECLARED = frozenset(name for name, _ in PREDECLARED_EXCHANGES)


def take_snapshot(broker: "Broker") -> dict[str, Any]:
    """Users, durable exchanges, queues and bindings, with what later ids and positions must be above."""
    users = {} if broker.users.implied else {"access": users_fields(broker.users)}
    return users | {
        "do": "snapshot",
        "next_queue_id": broker.definitions.next_queue_id,
        "vhosts": {name: _vhost(host, broker) for name, host in broker.vhosts.items()},
    }


def _vhost(host: "VHost", broker: "Broker") -> dict[str, Any]:
    exchanges = [each for each in host.exchanges.values() if each.durable]
    now_ms = broker.now_ms
    delays = broker.delays(host.name)
    about = vhost_fields(host) if host.about or host.limits else {}
    if delays.id:
        about["delays"] = {"id": delays.id, "next": delays.next_position}
    items_id = broker.keyspaces.items_id(host.name)
    if items_id:
        about["items"] = {"id": items_id}
    about |= policies_fields(host)
    return about | {
        "exchanges": [
            exchange_fields(each)
            | ({"next": each.history.next_position} if each.history is not None else {})
            | _ids(each, now_ms)
            for each in exchanges
            if each.name not in PREDECLARED
        ],
        "queues": [
            queue_fields(queue)
            | _positions(queue)
            | _ids(queue, now_ms)
            | ({"marks": marks_of(queue)} if isinstance(queue, Stream) else {})
            for queue in host.queues.values()
            if queue.logged
        ],
        "bindings": [
            binding_fields(binding)
            for exchange in exchanges
            for binding in exchange.bindings.values()
            if binding.durable
        ],
    }


def _positions(queue: Queue) -> dict[str, Any]:
    """What later positions must be above, or, in front of a list, below."""
    low = {"low": queue.low_position} if queue.low_position else {}
    return {"next": queue.next_position} | low


def _ids(of: Exchange | Queue, now_ms: int) -> dict[str, Any]:
    """What a window remembers, see `deduplication`."""
    return {"ids": of.dedup.kept(now_ms)} if isinstance(of.dedup, Window) else {}


def exchange_fields(exchange: Exchange) -> dict[str, Any]:
    """An exchange as records say it; `history`: the id of the queue that holds what it remembers."""
    fields = {
        "name": exchange.name,
        "type": exchange.type,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": pack_table(exchange.arguments),
    }
    return fields if exchange.history is None else fields | {"history": exchange.history.id}


def queue_fields(queue: Queue) -> dict[str, Any]:
    """A queue as records say it; `begin`: the first offset of a group, `head`: the end at which a list begins, where
    no argument says so, `undeclared`: see `Vacancy`."""
    fields: dict[str, Any] = {
        "name": queue.name,
        "id": queue.id,
        "auto_delete": queue.auto_delete,
        "arguments": pack_table(queue.arguments),
    }
    if queue.head_left and "x-head" not in queue.arguments:
        fields["head"] = "left"
    if queue.vacancy is not None:
        fields["undeclared"] = True
    return fields if not isinstance(queue, Group) else fields | {"begin": queue.begin}


def binding_fields(binding: Binding) -> dict[str, Any]:
    """A binding as records say it."""
    return {
        "source": binding.source.name,
        "destination": binding.destination.name,
        "to": "exchange" if isinstance(binding.destination, Exchange) else "queue",
        "key": binding.key,
        "arguments": pack_table(binding.arguments),
    }
