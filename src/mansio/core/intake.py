"""The way into queues: of what clients publish, and of what the broker moves or says by itself.

publish, commit ──┐
dead letters … ───┴─► put ──► queues, records, what the queues' arguments ask for
                         └──► no queue: returned, or dropped
"""

from typing import TYPE_CHECKING

from mansio.core.expiry import Expiry
from mansio.core.marks import UNROUTED
from mansio.core.run import Place, Run
from mansio.core.stream import Stream

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.session import Channel


class Intake:
    """Puts runs into queues."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._counts = broker.counts
        self._paging = broker.paging
        self._dispatcher = broker.dispatcher
        self._settling = broker.settling

    def put(self, run: Run, queues: "tuple[Queue, ...]", channel: "Channel | None" = None) -> bool:
        """A run goes to these queues, but for those that are deleted; whether there was one.

        `channel`: who published it, and is to hear of it; None for what the broker itself puts there.
        """
        live = queues
        streams = False
        for queue in queues:
            if queue.deleted:
                live = tuple(queue for queue in queues if not queue.deleted)
            elif queue.keeps:
                streams = True
        if not live:
            if channel is not None:
                self._give_back(channel, run)
                if channel.confirming:
                    self._broker.confirms.unrouted(channel, run.count)
            return False
        broker = self._broker
        if run.marks is not None and run.marks.id is not None:
            live = broker.deduplication.admit(run, live, channel)
            if not live:
                self.refuse(channel, run)
                return False
            # All that has it is in one entry of the log with what remembers its id.
            broker.journal.begin(run.data_bytes * len(live))
        if streams:
            live = self._append(run, live, channel)
            if not live:
                self._counts.routed += run.count
                if run.marks is not None and run.marks.id is not None:
                    broker.journal.end()
                return True
        if channel is not None and live[0].hidden and not streams:  # so are all: they come last
            self._give_back(channel, run)
        run.arrived_ms = broker.now_ms
        self._settling.hold(run, len(live))
        places: list[Place] = []
        for queue in live:
            base = queue.append(run)
            if queue.bound is not None:
                queue.bound.arrived(run, base, channel)
            if run.expiration_ms is not None and queue.expiry is None and not queue.hidden:
                queue.expiry = Expiry(broker, queue, base)
            if run.persistent and queue.logged:
                places.append((queue.id, base))
            if channel is not None and (queue.crowded or broker.journal.behind):
                channel.session.pressing = True
            if not queue.dirty:
                queue.dirty = True
                self._dispatcher.dirty.append(queue)
        if places:
            run.places = tuple(places)
            broker.journal.publish(run)
        if run.marks is not None:
            broker.receipts.arrived(run.marks, live)
            if run.marks.id is not None:
                broker.deduplication.arrived(run, live, channel)
                broker.journal.end()
        if self._paging.budget_bytes:
            self._paging.arrived(run, live)
        return True

    def _append(
        self, run: Run, queues: "tuple[Queue, ...]", channel: "Channel | None"
    ) -> "tuple[Queue, ...]":
        """A run goes to the streams among these, each of which has bytes of its own of it; answers the others."""
        broker = self._broker
        streams = tuple(queue for queue in queues if queue.keeps)
        for stream in streams:
            assert isinstance(stream, Stream)
            broker.streams.append(stream, run)
        if run.marks is not None and run.marks.id is not None:
            broker.deduplication.arrived(run, streams, channel)
        if channel is not None and broker.journal.behind:
            channel.session.pressing = True
        return tuple(queue for queue in queues if not queue.keeps)

    def refuse(self, channel: "Channel | None", run: Run) -> None:
        """It is a duplicate. Its publisher is confirmed that it is there, once the first one is safe."""
        self._counts.duplicates += 1
        route = run.routes[0]
        if channel is not None and route.mandatory:
            channel.session.outbox.duplicate(channel, run, 0, route)

    def _give_back(self, channel: "Channel", run: Run) -> None:
        if run.marks is not None:
            self._broker.receipts.send(channel.session.vhost, run, UNROUTED)
        returned = 0
        if any(route.mandatory for route in run.routes):
            for i in range(run.count):
                route = run.route(i)
                if route.mandatory:
                    channel.session.outbox.returned(channel, run, i, route)
                    returned += 1
        self._counts.returned += returned
        self._counts.dropped += run.count - returned
