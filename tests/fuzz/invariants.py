"""What must hold across the Broker's structures after every step, counted anew from the ground."""

from collections import Counter

from mansio.core.broker import Broker
from mansio.core.inflight import Piece
from mansio.core.queue import Queue
from mansio.core.run import Run


class _Counted:
    """What the structures hold, message by message."""

    def __init__(self) -> None:
        self.live: Counter[int] = Counter()  # id of run -> messages that are somewhere
        self.runs: dict[int, Run] = {}
        self.in_flight: Counter[int] = Counter()  # id of queue object -> messages
        self.by_consumer: Counter[int] = Counter()
        self.places: set[tuple[int, int]] = set()

    def add(self, queue: Queue, run: Run, base: int, numbers: range) -> None:
        """Messages of a run at their places in a queue; no place holds two."""
        self.live[id(run)] += len(numbers)
        self.runs[id(run)] = run
        for number in numbers:
            assert 0 <= number < run.count
            place = (id(queue), base + number)
            assert place not in self.places
            self.places.add(place)

    def piece(self, piece: Piece) -> None:
        """Messages in flight."""
        stop = piece.start + piece.count * piece.step
        self.add(piece.queue, piece.run, piece.base, range(piece.start, stop, piece.step))
        self.in_flight[id(piece.queue)] += piece.count
        if piece.consumer is not None:
            self.by_consumer[id(piece.consumer)] += piece.count


def check(broker: Broker) -> None:
    """Raises AssertionError when the Broker's structures do not agree."""
    counted = _Counted()
    queues = {id(q): q for vhost in broker.vhosts.values() for q in vhost.queues.values()}
    for queue in queues.values():
        _check_queue(queue, counted)
    for session in broker.sessions:
        assert not session.closed
        for number, channel in session.channels.items():
            assert channel.number == number and channel.session is session
            open_tags = 0
            last = 0
            for flight in channel.ledger:
                assert flight.first > last and flight.left > 0
                last = flight.first + flight.count - 1
                pieces = list(flight.open_pieces(0, flight.count))
                assert sum(piece.count for piece in pieces) == flight.left
                open_tags += flight.left
                for piece in pieces:
                    counted.piece(piece)
            assert open_tags == channel.ledger.total and last < channel.next_tag
            for pieces, _ in channel.tx.settled if channel.tx is not None else ():
                for piece in pieces:
                    counted.piece(piece)
            for tag, consumer in channel.consumers.items():
                assert consumer.tag == tag and consumer.channel is channel
                assert consumer in consumer.queue.consumers and not consumer.queue.deleted
                assert consumer.unsettled == counted.by_consumer[id(consumer)]
                if consumer.limit and not consumer.no_ack:
                    assert consumer.unsettled <= consumer.limit
    for queue in queues.values():
        assert queue.in_flight == counted.in_flight[id(queue)], queue.name
    for run in counted.runs.values():
        assert run.live == counted.live[id(run)]
    assert broker.memory_bytes == sum(len(run.data) for run in counted.runs.values())


def _check_queue(queue: Queue, counted: _Counted) -> None:
    assert not queue.deleted
    position = -1
    for span in queue.ready:
        assert span.start < span.stop and span.base + span.start > position
        position = span.base + span.stop - 1
        counted.add(queue, span.run, span.base, range(span.start, span.stop))
    assert position < queue.next_position
    assert queue.ready_count == sum(span.stop - span.start for span in queue.ready)
    for consumer in queue.consumers:
        assert consumer.queue is queue
        assert consumer.channel.consumers.get(consumer.tag) is consumer
    for binding in queue.bindings.values():
        assert binding.destination is queue
        assert binding.source.bindings[binding.identity()] is binding
    if queue.owner is not None:
        assert queue.owner.owned.get(queue.name) is queue
