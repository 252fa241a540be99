"""All streams of one broker: what is appended to them, handed out to their readers, and cut off."""

from typing import TYPE_CHECKING, Final

from mansio.core.deadlines import NEVER_MS
from mansio.core.dispatch import Consumer, deliver
from mansio.core.entries import Entries
from mansio.core.equivalence import describe
from mansio.core.errors import PreconditionFailed, Unsupported, unsupported
from mansio.core.group import Group
from mansio.core.inflight import Piece
from mansio.core.packing import Packer
from mansio.core.reading import Reading
from mansio.core.rota import ROTA, Rota
from mansio.core.run import Run, Span
from mansio.core.stream import Reader, Stream
from mansio.core.stream_cuts import Cuts
from mansio.core.stream_ids import compact, number
from mansio.core.watching import Watching

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.session import Channel

REFUSALS: Final = "basic.nack and basic.reject"


class Retainer:
    """Calls when the oldest entries of a stream are too old."""

    __slots__ = ("_streams", "deadline_ms", "stream")

    def __init__(self, streams: "Streams", stream: Stream) -> None:
        self._streams = streams
        self.stream = stream
        self.deadline_ms = NEVER_MS

    def due(self, now_ms: int) -> None:
        """See `Timed`."""
        if not self.stream.deleted:
            self._streams.retain(self.stream)


class Streams:
    """The Broker's streams, by id. `entries`: as Redis clients have them; `cuts`: what goes; `reading`: groups of Redis
    clients; `watching`: those of them that wait."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.entries = Entries(broker)
        self.cuts = Cuts(broker)
        self.reading = Reading(broker)
        self.watching = Watching(broker)
        self._packer = Packer(broker)
        self._unwritten: list[Run] = []
        self._retainers: dict[int, Retainer] = {}
        self._rotas: dict[tuple[str, str], Rota] = {}  # by virtual host and name of the group

    def __len__(self) -> int:
        return len(self._retainers)

    def made(self, queue: "Queue") -> None:
        """There is one more queue: a stream, a group, or one that has nothing to do with either."""
        if isinstance(queue, Stream):
            self._retainers[queue.id] = Retainer(self, queue)
            self.watching.made(queue)
        elif isinstance(queue, Group):
            self._made_group(queue)

    def gone(self, queue: "Queue") -> None:
        """It is deleted, and its consumers are cancelled."""
        if isinstance(queue, Stream):
            self.reading.drop_all(queue)
            self.watching.gone(queue)
            self._retainers.pop(queue.id, None)
            self._packer.gone(queue)
        elif isinstance(queue, Group):
            self._gone_group(queue)

    def by_id(self, id: int) -> Stream | None:
        """The stream with this id."""
        found = self._retainers.get(id)
        return None if found is None else found.stream

    def named(self, vhost: str, name: str) -> Stream | None:
        """The stream of this name; None for what is none."""
        host = self._broker.vhosts.get(vhost)
        found = None if host is None else host.queues.get(name)
        return found if isinstance(found, Stream) else None

    def leave_name(self, stream: Stream) -> None:
        """It gets another name: for who waits for this one it is gone."""
        self.entries.flush(stream)
        stream.route = None
        self.watching.gone(stream)

    def rearmed(self, stream: Stream) -> None:
        """Its retention has changed: it is looked at in this turn."""
        self._broker.deadlines.at(self._broker.now_ms, self._retainers[stream.id])

    # -- entries

    def append(self, stream: Stream, run: Run) -> None:
        """Messages that were published go to a stream, in bytes of their own: each with its offset."""
        if stream.batch is not None:
            self.entries.flush(stream)
        entry = self._broker.letters.numbered(run, stream.next_position)
        entry.arrived_ms = max(self._broker.now_ms, stream.last_ms)
        number(stream, entry)
        self._enter(stream, entry)

    def enter(self, stream: Stream, run: Run, ids: list[int]) -> None:
        """Entries that have their offsets, and these ids above `last_id`, go to a stream."""
        ms, now_ms = ids[0] >> 64, self._broker.now_ms
        # By the clock that their ids are of, if that may be: then these are one number.
        run.arrived_ms = ms if stream.last_ms <= ms <= now_ms else max(now_ms, stream.last_ms)
        run.ids = compact(run.arrived_ms, ids)
        self._broker.counts.routed += run.count
        self._enter(stream, run)

    def enter_at(self, stream: Stream, run: Run, offset: int) -> None:
        """Entries with ids go to a stream from this offset on, which no entry has had: what is left out is gone."""
        gap = offset - stream.next_position
        if gap and stream.ready:
            self.cuts.leave_out(stream, offset)
        stream.next_position = offset
        self._broker.counts.routed += run.count
        self._enter(stream, run)

    def _enter(self, stream: Stream, entry: Run) -> None:
        broker = self._broker
        entry.live = entry.count
        broker.settling.count(entry)
        entry.places = ((stream.id, stream.append(entry)),)
        self.write(entry)
        if broker.paging.budget_bytes:
            broker.paging.arrived(entry, (stream,))
        if stream.watchers is not None:
            self.watching.stir(stream)

    def write(self, run: Run) -> None:
        """A run of a stream goes into the log. Where nobody will read that, it is as if it were there at once."""
        if self._broker.forgetful:
            self._unwritten.append(run)
            self.entries.unwritten = True
        else:
            self._broker.journal.carry(run)

    def turned(self) -> None:
        """The turn ends: what need not be written may be read."""
        while self._unwritten:
            runs, self._unwritten = self._unwritten, []
            for run in runs:
                self.placed(run)

    def placed(self, run: Run) -> None:
        """A run is durable; if it is one of a stream, its readers may have it."""
        retainer = self._retainers.get(run.places[0][0]) if run.places else None
        if retainer is not None:
            stream = retainer.stream
            stream.placed(run)
            self._packer.placed(stream, run)
            touch = self._broker.dispatcher.touch
            if stream.consumers:
                touch(stream)
            for group in stream.groups:
                if self.cuts.feed(group, stream, run):
                    touch(group)
            if len(stream.segments) > 1:
                self.retain(stream)
            self._packer.look(stream)

    def restored(self, stream: Stream) -> None:
        """All that it had is back, but for what was lost with a part of the log."""
        stream.committed = stream.next_position
        self.cuts.restored(stream)
        if stream.missing:
            self._broker.notices.append(
                f"{describe('queue', stream.name, stream.vhost)}: {stream.missing} messages of the stream are lost"
            )
        self.retain(stream)

    def retain(self, stream: Stream) -> None:
        """What is too much or too old goes."""
        broker = self._broker
        until = stream.excess(broker.now_ms)
        if until:
            count, before = stream.ready_count, stream.data_bytes
            self.cuts.give_up(stream, until)
            broker.counts.removed += count - stream.ready_count
            broker.counts.removed_bytes += before - stream.data_bytes
            broker.dispatcher.touch(stream)  # so that a turn comes which writes it down
        when_ms = stream.next_excess_ms()
        if when_ms is not None:
            broker.deadlines.at(when_ms, self._retainers[stream.id])

    # -- groups

    def _made_group(self, group: Group) -> None:
        """It may be a partition of a larger one."""
        name = group.arguments.get(ROTA)
        if name is not None:
            group.rota = self._rotas.setdefault((group.vhost, name), Rota())
            group.rota.join(group)

    def _gone_group(self, group: Group) -> None:
        if group.source is not None:
            group.source.groups.remove(group)
            self._broker.dispatcher.touch(group.source)  # it may have waited for this one
        if group.rota is not None:
            group.rota.leave(group)
            if not group.rota.partitions:
                del self._rotas[group.vhost, group.arguments[ROTA]]

    def join(self, group: Group, stream: Stream, begin: int) -> None:
        """A new group gets what the stream has from this offset on."""
        group.join(stream, begin)
        for span in stream.ready:
            if span.base < stream.committed:
                self.cuts.feed(group, stream, span.run)

    # -- readers

    def check_consumer(self, stream: Stream, channel: "Channel", no_ack: bool) -> None:
        """PreconditionFailed or Unsupported for a consumer that a stream cannot have (texts of RabbitMQ 3.10.8)."""
        resource = describe("queue", stream.name, stream.vhost)
        if not channel.new_consumer_limit:
            raise PreconditionFailed(f"consumer prefetch count is not set for '{resource}'")
        if no_ack:
            raise unsupported("automatic acknowledgement", stream)
        if channel.limit:
            raise Unsupported(f"{resource} does not support global qos")

    def check_refusal(self, pieces: list[Piece], how: str = REFUSALS) -> None:
        """Deliveries are refused, or given back: Unsupported where one of them is a stream's."""
        for piece in pieces:
            if piece.queue.keeps and not piece.queue.deleted:
                raise unsupported(how, piece.queue)

    def dispatch(self, queue: "Queue") -> None:
        """Hands out what readers have room for; another one comes first the next time if a connection was full."""
        assert isinstance(queue, Stream)
        if queue.held:
            self.retain(queue)
        consumers = queue.consumers
        if not consumers:
            return
        queue.turn = queue.turn % len(consumers)
        for consumer in consumers[queue.turn :] + consumers[: queue.turn]:
            self._hand_out(queue, consumer)
        if any(queue.id in consumer.channel.session.starved for consumer in consumers):
            queue.turn += 1

    def _hand_out(self, stream: Stream, consumer: Consumer) -> None:
        reader = consumer.reader
        assert reader is not None
        settling = self._broker.settling
        while (span := stream.run_at(reader)) is not None:
            run, base = span.run, span.base
            each = run.bytes_each()
            i = reader.offset - base
            n = min(run.count - i, consumer.room(each), stream.room_until_gap(reader.offset))
            if n <= 0:
                return
            if not run.data:
                self._wait(stream, reader, run)
                return
            if reader.mark is not None and reader.offset >= reader.mark:
                self._read_ahead(stream, reader)
            deliver(stream, consumer, Span(run, i, i + n, base), 0, n, 1, each, settling)
            reader.offset += n
            if i + n == run.count:
                reader.number += 1

    def _wait(self, stream: Stream, reader: Reader, run: Run) -> None:
        """A run has to be read from the log, and those behind it. One that is damaged is where the reader stops."""
        loading = self._broker.paging.loading
        if run not in loading.unreadable:
            loading.wake_by(run, stream)
            self._read_ahead(stream, reader)

    def _read_ahead(self, stream: Stream, reader: Reader) -> None:
        """Asks for what is missing of the next part, from the reader's place on."""
        ready = stream.ready
        spans = (ready[at] for at in range(reader.number - stream.removed, len(ready)))
        loading = self._broker.paging.loading
        reader.mark = loading.read_ahead(spans, self._broker.paging.pages(stream))
