"""How entries come into streams and groups in the oracle, who reads them, and when they go.

The broker tells when it has heard that entries are durable, and when it has cut a stream; whether that is so, and had
to be, is judged here, by the log and by the rule for segments.
"""

from __future__ import annotations

from collections.abc import Callable

from mansio.codec.amqp_values import Table
from tests.sim.durable import Durable, Stored
from tests.sim.letters import properties_of
from tests.sim.model import NOBODY, Consumer, Place, Violation
from tests.sim.partitions import Partitions
from tests.sim.repeats import number_of
from tests.sim.retries import Waiting
from tests.sim.stream_events import Appended, Cut, Fed, Packed
from tests.sim.streams import NEVER, Stream, offset_in, stamp
from tests.sim.topology import Entry, Queue
from tests.sim.wire import Message, parse_content

Meaning = tuple[str, int, int]
"""(stream, incarnation, offset)."""
Produced = tuple[str, int, int]
"""(producer, number, offset)."""


class Streaming(Partitions):
    """The part of the model that is about streams and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.meanings: dict[Meaning, tuple[bytes, bytes]] = {}
        """What somebody has seen at an offset: this it is for ever."""
        self.produced: dict[tuple[str, int], list[Produced]] = {}
        """By (stream, incarnation): what numbered messages it has taken, in order."""

    def stored(self, place: Place) -> Stored | None:
        """What the log has there."""
        raise NotImplementedError

    def adopt(self, message: Message, header: bytes) -> Message:
        """The message with these header bytes: this one, or one that is known by them."""
        raise NotImplementedError

    def flush(self, queue: Queue) -> None:
        """What was delivered from a queue in this turn is taken off it."""
        raise NotImplementedError

    # -- entries come

    def stamped(self, message: Message, queue: Queue, position: int) -> Message:
        """The message as it is kept at this position of a queue."""
        if queue.stream is None:
            return message
        made = stamp(message, position)
        return self.adopt(made, made.header)

    def append_run(self, event: Appended) -> bool:
        """Messages came into a stream together; False as long as they are not explained."""
        queue = self.topology.queues.get(event.stream)
        if queue is None or queue.stream is None:
            return False
        stop = event.base + len(event.sizes)
        if queue.next_position < stop:
            return False
        queue.stream.add_run(event.base, len(event.sizes), sum(event.sizes), self.now_ms)
        return True

    def feed(self, event: Fed) -> None:
        """Entries of a stream are durable: readers and groups may have them."""
        queue = self.topology.queues[event.stream]
        stream, stop = queue.stream, event.base + event.count
        assert stream is not None
        if stop <= stream.committed:  # written again
            return
        if event.base != stream.committed:
            raise Violation(f"{event}, where {stream.committed} is due")
        for offset in range(event.base, stop):
            self._check_entry(queue, offset)
        stream.committed, stream.grown = stop, True
        for group in stream.groups:
            self.feed_group(group)

    def _check_entry(self, queue: Queue, offset: int) -> None:
        assert queue.stream is not None
        entry = queue.stream.entry(offset)
        found = self.stored(queue.place(offset))
        if entry is None or found is None:
            raise Violation(f"{queue}: {offset} is {entry}, and {found} in the log")
        header, body = parse_content(found.frames)
        message = entry.message
        if body != message.body or properties_of(header) != properties_of(message.header):
            raise Violation(f"{queue}: the log has other bytes for {message!r}")
        if header != message.header:
            queue.remove(entry)
            entry.message = self.adopt(message, header)
            queue.put_back(entry)

    def pack(self, event: Packed) -> None:
        """Entries are kept as if they had come together, when the last of them did."""
        stream, stop = self.topology.queues[event.stream].stream, event.base + event.count
        assert stream is not None
        inside = [run for run in stream.runs if event.base <= run[0] < stop]
        ends = [base for base, _ in stream.runs] + [stream.queue.next_position]
        segments = [each.stop for each in stream.segments if event.base < each.stop < stop]
        if inside[:1] != [(event.base, inside[0][1])] or stop not in ends or segments:
            raise Violation(f"{event}: there are {stream.runs}, {stream.segments}")
        at = stream.runs.index(inside[0])
        stream.runs[at : at + len(inside)] = [(event.base, inside[-1][1])]

    def join(self, queue: Queue, begin: int) -> None:
        """A new group gets what its stream has from this offset on."""
        assert queue.group is not None
        queue.group.begin = queue.group.next = begin
        stream = queue.group.source.stream
        assert stream is not None
        if queue.group.protected:
            stream.low = min(stream.low, begin)
        self.feed_group(queue)

    def feed_group(self, queue: Queue) -> None:
        """It gets what is durable and new."""
        group = queue.group
        assert group is not None
        stream = group.source.stream
        assert stream is not None
        for offset in range(max(group.next, stream.first), stream.committed):
            entry = stream.entry(offset)
            assert entry is not None
            copy = Entry(offset, entry.message, self.turn, NOBODY, 0, arrived_ms=entry.arrived_ms)
            queue.append(copy)
        group.next = max(group.next, stream.committed)

    def count_produced(self, queue: Queue, entry: Entry, headers: Table) -> None:
        """A stream has taken what a client has published; maybe that has a number."""
        numbered = number_of(headers)
        if queue.stream is None or queue.stream.producers is None or numbered is None:
            return
        queue.stream.producers.remember(*numbered, [(queue, entry)])
        known = self.produced.setdefault((queue.name, queue.incarnation), [])
        known.append((*numbered, entry.position))

    def recount_produced(self) -> None:
        """The log was read: of what streams have taken, that counts which is there, or was there and is cut off."""
        for key, taken in self.produced.items():
            taken[:] = [each for each in taken if self.stored((*key, each[2])) is not None]
        for queue in self.topology.queues.values():
            if queue.stream is not None and queue.stream.producers is not None:
                for name, number, _ in self.produced.get((queue.name, queue.incarnation), ()):
                    queue.stream.producers.remember(name, number, [])

    # -- entries go

    def cut_stream(self, event: Cut) -> bool:
        """Entries went; False if they may not, as long as nothing more is known."""
        queue = self.topology.queues.get(event.stream)
        stream = queue.stream if queue is not None else None
        if queue is None or stream is None or queue.next_position < event.stop:
            return False
        if event.until > stream.excess(self.now_ms, self._floor(stream)):
            return False
        if all(segment.stop != event.until for segment in stream.segments):
            return False
        self.drop_below(stream, event.until)
        return True

    def drop_below(self, stream: Stream, until: int) -> None:
        """Entries below this offset are in the stream no more, nor in its groups, but for what is in flight."""
        stream.cut(until)
        for group in stream.groups:
            self.flush(group)
            for entry in [each for each in group.ready if each.position < until]:
                group.remove(entry)

    def retain(self, stream: Stream) -> None:
        """What is too much or too old goes."""
        until = stream.excess(self.now_ms, self._floor(stream))
        if until:
            self.drop_below(stream, until)

    def _floor(self, stream: Stream) -> int:
        """No protected group needs an entry below this offset."""
        protected = [each for each in stream.groups if each.group and each.group.protected]
        return min((self._need(each) for each in protected), default=NEVER)

    def _need(self, queue: Queue) -> int:
        """The first offset that a group has not settled."""
        assert queue.group is not None
        return min(self.unsettled(queue), default=queue.group.next)

    def unsettled(self, queue: Queue) -> list[int]:
        """The positions of what a group has, and has not settled."""
        self.flush(queue)
        held = [entry.position for entry in queue.ready]
        held += [each.entry.position for each in queue.deferred]
        held += [each.entry.position for each in self.dying if each.queue is queue]
        for connection in self.connections:
            for channel in connection.channels.values():
                deliveries = list(channel.unacked.values())
                for settled, _ in channel.tx.settled if channel.tx is not None else ():
                    deliveries += settled
                held += [each.entry.position for each in deliveries if each.queue is queue]
        return held

    def end_streams(self) -> None:
        """A phase has ended: what had to go when something became durable is gone."""
        for queue in self.topology.queues.values():
            stream = queue.stream
            if stream is None:
                continue
            floor = self._floor(stream)
            if stream.grown and stream.first < (
                until := stream.excess(self.now_ms, min(floor, stream.low))
            ):
                raise Violation(f"{queue} begins at {stream.first}, below {until} is too much")
            stream.grown = False
            stream.low = floor

    def check_streams_idle(self) -> None:
        """Nothing is due: what is too much or too old is gone."""
        for queue in self.topology.queues.values():
            stream = queue.stream
            if stream is not None and stream.committed == queue.next_position:
                until = stream.excess(self.now_ms, self._floor(stream))
                if stream.first < until:
                    raise Violation(
                        f"{queue} begins at {stream.first}, below {until} is too old, or too much"
                    )

    # -- readers

    def read(self, consumer: Consumer, header: bytes, body: bytes, what: str) -> Entry:
        """A reader is given this: the entry that it has to be."""
        queue = consumer.queue
        stream = queue.stream
        assert stream is not None
        offset, due = offset_in(header), max(consumer.offset, stream.first)
        what = f"{what} from {queue} at {offset}"
        if offset != due:
            raise Violation(f"{what}, where {due} is due")
        entry = stream.entry(offset)
        if entry is None or offset >= stream.committed:
            raise Violation(f"{what}, below {stream.committed} is durable")
        if (header, body) != (entry.message.header, entry.message.body):
            raise Violation(f"{what}: these are not the bytes of {entry.message!r}")
        consumer.offset = offset + 1
        self.mean(queue, offset, header, body)
        return entry

    def mean(self, queue: Queue, offset: int, header: bytes, body: bytes) -> None:
        """Somebody sees this at an offset of a stream."""
        if self.stored(queue.place(offset)) is None:
            raise Violation(f"{queue}: {offset} is seen, and not in the log")
        place = queue.place(offset)
        if self.meanings.setdefault(place, (header, body)) != (header, body):
            raise Violation(f"{queue}: {offset} was another message")

    def unserved(self, queue: Queue, is_told: Callable[[Consumer], bool]) -> Consumer | None:
        """A reader that has room, and does not get what is there."""
        stream = queue.stream
        assert stream is not None
        for consumer in queue.consumers:
            due = max(consumer.offset, stream.first)
            if due < stream.committed and consumer.able and is_told(consumer):
                return consumer
        return None


def rebuild_streams(model: Streaming, durable: Durable) -> None:
    """The log was read."""
    model.restart_rotas()
    model.recount_produced()
    queues = list(model.topology.queues.values())
    known = {
        (queue.name, queue.incarnation) for queue in queues
    }  # the others never were durable, or are gone
    model.produced = {key: taken for key, taken in model.produced.items() if key in known}
    for queue in queues:
        stream = queue.stream
        if stream is None:
            continue
        at = stream.first
        for entry in queue.ready:
            if entry.position != at or offset_in(entry.message.header) != at:
                raise Violation(f"{queue} has {entry} where {at} is due")
            at += 1
        if at != queue.next_position:
            raise Violation(f"{queue} ends at {at}, and goes on at {queue.next_position}")
        stream.committed = at
        at = stream.first
        for run in durable.runs_of((queue.name, queue.incarnation)):
            if run.base >= at:  # else it is packed in one before it
                stream.add_run(run.base, run.count, run.data_bytes, run.came_ms)
                at = run.base + run.count
        for place, seen in model.meanings.items():
            if place[:2] == (queue.name, queue.incarnation) and place[2] >= stream.first:
                found = stream.entry(place[2])
                if found is None or (found.message.header, found.message.body) != seen:
                    raise Violation(f"{queue}: {place[2]} was seen, and is another message now")
    for queue in queues:
        if queue.group is not None:
            _rebuild_group(model, queue)
    for queue in queues:
        if queue.stream is not None:
            model.retain(queue.stream)
            queue.stream.low = model._floor(queue.stream)


def _rebuild_group(model: Streaming, queue: Queue) -> None:
    group = queue.group
    assert group is not None
    stream = group.source.stream
    assert stream is not None
    for entry in group.source.ready:
        offset = entry.position
        stored = model.stored(queue.place(offset))
        if offset < group.begin or (stored is not None and stored.settled):
            continue
        copy = Entry(offset, entry.message, -1, NOBODY, 0, True, entry.arrived_ms)
        if stored is not None:
            copy.deliveries, copy.due = stored.deliveries, (stored.due_ms, stored.due_ms)
        if copy.due[0] > model.now_ms:
            queue.deferred.append(Waiting(copy, *copy.due))
        else:
            queue.put_back(copy)
    group.next = max(group.begin, stream.committed)
    queue.next_position = max(queue.next_position, group.next)
