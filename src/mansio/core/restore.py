"""Rebuilds a Broker from the records that an earlier one wrote: `apply` each in order, then `finish` once.

Settlements are gathered and taken out of the queues at the end, since they may lie far behind what they settle.
Everything that comes back is marked as redelivered: it may have been delivered before.
"""

from typing import TYPE_CHECKING, Any

from mansio.core.queue import Queue
from mansio.core.records import Damaged, Published, PublishedRoute, Settled, decode, unpack_table
from mansio.core.routing import Exchange, Route
from mansio.core.run import Run, Span

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost


class Restore:
    """The way back from records to state; of one use."""

    def __init__(self, broker: "Broker") -> None:
        """`broker` has served nobody yet."""
        self._broker = broker
        for host in broker.vhosts.values():
            host.restoring = True
        self._queues: dict[int, Queue] = {}
        self._settled: dict[
            int, list[tuple[int, int, int]]
        ] = {}  # by queue id: (first position, count, step)

    def apply(self, record: bytes) -> None:
        """One record; Damaged when it cannot be read or does not fit what came before."""
        found = decode(record)
        if isinstance(found, Published):
            self._publish(found)
        elif isinstance(found, Settled):
            if found.queue in self._queues:
                self._settled.setdefault(found.queue, []).extend(found.ranges)
        else:
            try:
                self._change(found)
            except KeyError as error:
                raise Damaged(
                    f"record {found.get('do')!r} names {error}, which is not there"
                ) from error

    def finish(self) -> None:
        """Takes settled messages out; from here on the broker may serve."""
        for queue_id, ranges in self._settled.items():
            queue = self._queues.get(queue_id)
            if queue is not None:
                self._take_out(queue, ranges)
        self._settled.clear()
        for queue in self._queues.values():
            if queue.bound is not None:  # what it has dropped may have been lost with the log's end
                self._broker.dispatcher.touch(queue)
        for host in self._broker.vhosts.values():
            host.restoring = False

    def _publish(self, found: Published) -> None:
        queues = [(self._queues[i], base) for i, base in found.places if i in self._queues]
        if not queues:
            return
        routes = tuple(_route(each) for each in found.routes)
        run = Run(found.data, found.messages, found.stride, found.ends, routes, found.which, True)
        self._broker.settling.hold(run, len(queues))
        for queue, base in queues:
            queue.ready.append(Span(run, 0, run.count, base, True))
            queue.ready_count += run.count
            queue.next_position = max(queue.next_position, base + run.count)

    def _take_out(self, queue: Queue, ranges: list[tuple[int, int, int]]) -> None:
        """Drops the messages at these positions; spans and positions both rise."""
        gone = _intervals(ranges)
        kept: list[Span] = []
        at = 0
        for span in queue.take_all():
            low, high = span.base + span.start, span.base + span.stop
            while at < len(gone) and gone[at][1] <= low:
                at += 1
            i = at
            while i < len(gone) and gone[i][0] < high:
                first, stop = max(gone[i][0], low), min(gone[i][1], high)
                if first > low:
                    kept.append(Span(span.run, low - span.base, first - span.base, span.base, True))
                self._settle(span.run, stop - first)
                low = stop
                i += 1
            if low < high:
                kept.append(Span(span.run, low - span.base, high - span.base, span.base, True))
        queue.ready.extend(kept)
        queue.ready_count = sum(span.stop - span.start for span in kept)

    def _settle(self, run: Run, count: int) -> None:
        run.live -= count
        if not run.live:
            self._broker.settling.memory_bytes -= len(run.data)
            self._broker.settling.runs -= 1

    # -- topology

    def _change(self, change: dict[str, Any]) -> None:
        host = self._broker.vhosts[change["vhost"]]
        do = change["do"]
        if do == "declare exchange":
            host.declare_exchange(
                change["name"],
                change["type"],
                True,
                change["auto_delete"],
                change["internal"],
                unpack_table(change["arguments"]),
            )
        elif do == "delete exchange":
            if change["name"] in host.exchanges:  # else gone with its last binding
                host.delete_exchange(change["name"], False)
        elif do == "declare queue":
            self._declare_queue(host, change)
        elif do == "delete queue":
            self._queues.pop(change["id"], None)
            self._settled.pop(change["id"], None)
            queue = host.queues[change["name"]]
            for span in queue.take_all():
                self._settle(span.run, span.stop - span.start)
            host.remove_queue(queue)
        elif do in ("bind", "unbind"):
            self._bind(host, change)
        else:
            raise Damaged(f"unknown change {do!r}")

    def _declare_queue(self, host: "VHost", change: dict[str, Any]) -> None:
        queue = Queue(
            change["id"],
            host.name,
            change["name"],
            durable=True,
            auto_delete=change["auto_delete"],
            arguments=unpack_table(change["arguments"]),
        )
        self._queues[queue.id] = queue
        self._broker.definitions.reserve_queue_id(queue.id)
        host.add_queue(queue)

    def _bind(self, host: "VHost", change: dict[str, Any]) -> None:
        target: Queue | Exchange | None
        name = change["destination"]
        target = host.exchanges.get(name) if change["to"] == "exchange" else host.queues.get(name)
        if target is None or change["source"] not in host.exchanges:
            if change["do"] == "unbind":  # gone with its source or destination
                return
            raise KeyError(name if target is None else change["source"])
        act = host.bind if change["do"] == "bind" else host.unbind
        act(change["source"], target, change["key"], unpack_table(change["arguments"]))


def _route(found: PublishedRoute) -> Route:
    route = Route(found.exchange, found.key, (), channel=found.channel, skip=found.skip)
    route.frame_max = found.frame_max
    return route


def _intervals(ranges: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Positions as sorted [first, stop) intervals, joined where they touch."""
    pieces: list[tuple[int, int]] = []
    for first, count, step in ranges:
        if step == 1:
            pieces.append((first, first + count))
        else:
            pieces += [(i, i + 1) for i in range(first, first + count * step, step)]
    pieces.sort()
    joined: list[tuple[int, int]] = []
    for first, stop in pieces:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined
