"""What a restart has to bring back, read from the log by the oracle itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mansio.core.records import unpack_table
from tests.sim.delaying import STORE
from tests.sim.durable import Durable
from tests.sim.model import NOBODY, Place, Violation
from tests.sim.retries import Waiting
from tests.sim.topology import Binding, Exchange, Topology, ask
from tests.sim.wire import Message, parse_content


def rebuild(
    durable: Durable,
    find: Callable[[bytes, bytes], Message | None],
    now_ms: int,
    recalled: set[Place],
    producers_max: int,
) -> Topology:
    """Durable exchanges, queues and bindings with the messages that were not settled, all of them redelivered.

    `find` knows a message by its header payload and body. `recalled`: what asks for no receipt, since it comes
    from what an exchange remembers. `producers_max`: so many a stream remembers.
    """
    topology = Topology()
    topology.producers_max = producers_max
    topology.restoring = True
    for change in durable.changes:
        _change(topology, change)
    topology.restoring = False
    live = durable.live()
    named = {queue.name: queue for queue in topology.all_queues()}
    for place in sorted(live):
        name, incarnation, position = place
        if name == STORE:
            continue
        queue, stored = named[name], live[place]
        message = find(*parse_content(stored.frames))
        if message is None or queue.incarnation != incarnation:
            raise Violation(
                f"the log has {len(stored.frames)} bytes for {place} that nobody has published"
            )
        priority = stored.priority
        entry = queue.make_entry(message, position, -1, NOBODY, 0, stored.arrived_ms, priority)
        if priority not in (0, message.priority) or stored.expiration_ms != message.expiration_ms:
            raise Violation(f"the log has {priority}, {stored.expiration_ms} for {message!r}")
        entry.delivered, entry.handed = True, stored.deliveries
        entry.asks = entry.asks and place not in recalled
        if queue.counts or queue.retry is not None:
            entry.deliveries = stored.deliveries
        else:
            entry.returned = stored.deliveries
        entry.due = stored.due_ms, stored.due_ms
        if stored.due_ms > now_ms:
            queue.deferred.append(Waiting(entry, stored.due_ms, stored.due_ms))
        else:
            queue.put_back(entry)
    for queue in named.values():
        queue.next_position = durable.next_positions.get((queue.name, queue.incarnation), 0)
    return topology


def _change(topology: Topology, change: dict[str, Any]) -> None:
    do, name = change["do"], change.get("name", "")
    if do == "declare exchange":
        topology.add_exchange(
            Exchange(
                name,
                change["type"],
                True,
                change["auto_delete"],
                change["internal"],
                unpack_table(change["arguments"]),
            )
        )
    elif do == "delete exchange":
        topology.remove_exchange(name)
    elif do == "declare queue":
        arguments = unpack_table(change["arguments"])
        queue = topology.add_queue(name, True, change["auto_delete"], None, arguments)
        if queue.group is not None:
            queue.group.begin = change["begin"]
    elif do == "delete queue":
        topology.remove_queue(name)
    elif do in ("put policy", "delete policy"):
        topology.policies.change(change)
        for queue in topology.queues.values():
            ask(queue, topology.policies.asked(queue.name, queue.arguments))
    else:
        source = topology.exchanges.get(change["source"])
        arguments = unpack_table(change["arguments"])
        to_queue = change["to"] == "queue"
        binding = Binding(to_queue, change["destination"], change["key"], arguments)
        if do == "bind":
            assert source is not None
            source.bindings[binding.identity] = binding
        elif source is not None:
            topology.unbind(source, binding)
