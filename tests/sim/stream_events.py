"""What a broker does to streams by itself, as the oracle is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mansio.core.broker import Broker
from mansio.core.dispatch import Consumer
from mansio.core.group import Group
from mansio.core.queue import Queue
from mansio.core.rota import ROTA, Rota
from mansio.core.run import Run
from mansio.core.stream import Stream
from tests.sim.streams import growth
from tests.sim.wire import parse_content


@dataclass(slots=True)
class Appended:
    """Messages came into a stream together, the first one at offset `base`; `sizes`: of each, with its offset."""

    stream: str
    base: int
    sizes: list[int]


@dataclass(slots=True)
class Fed:
    """The broker has heard that these entries of a stream are durable."""

    stream: str
    base: int
    count: int


@dataclass(slots=True)
class Packed:
    """These entries of a stream, which came one after the other, are kept as if they had come together."""

    stream: str
    base: int
    count: int


@dataclass(slots=True)
class Cut:
    """Entries of a stream below `until` went, while `stop` was the next offset."""

    stream: str
    until: int
    stop: int


Seat = tuple[str, int, str]
"""(connection, channel, consumer tag)."""


@dataclass(slots=True)
class Divided:
    """A consumer of a queue has come or gone, which is a partition of a group. By queue who has it now, or is to have
    it when who has it has settled all: the last one; and who is served before that: the first one."""

    group: str
    queue: str
    seats: dict[str, tuple[Seat | None, Seat | None]]


StreamEvent = Appended | Fed | Packed | Cut | Divided
Tell = Callable[[str, StreamEvent], None]


class WatchedRota(Rota):
    """The partitions of one group; told of when they are divided anew."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def subscribe(self, queue: Group, consumer: Consumer) -> list[Group]:
        changed = super().subscribe(queue, consumer)
        self._say(queue)
        return changed

    def unsubscribe(self, queue: Group, consumer: Consumer) -> list[Group]:
        changed = super().unsubscribe(queue, consumer)
        self._say(queue)
        return changed

    def _say(self, queue: Group) -> None:
        seats = {
            each.name: (_seat(partition.active), _seat(partition.holder))
            for each, partition in self.partitions.items()
        }
        self._tell(queue.vhost, Divided(str(queue.arguments[ROTA]), queue.name, seats))


def _seat(consumer: Consumer | None) -> Seat | None:
    if consumer is None:
        return None
    return consumer.channel.session.name, consumer.channel.number, consumer.tag


def watch_rotas(broker: Broker, tell: Tell) -> None:
    """Tells how the partitions of groups are divided, of those that the broker makes from now on."""
    streams = broker.streams
    made = streams.made

    def told_made(queue: Queue) -> None:
        if isinstance(queue, Group) and ROTA in queue.arguments:
            place = queue.vhost, str(queue.arguments[ROTA])
            streams._rotas.setdefault(place, WatchedRota(tell))
        made(queue)

    streams.made = told_made  # type: ignore[method-assign]


class StreamWatch:
    """Tells what a broker does to streams from now on, behind the news of the messages that came in."""

    def __init__(self, broker: Broker, tell: Tell) -> None:
        self._tell = tell
        self._held: list[tuple[str, StreamEvent]] | None = None
        self.bases: dict[tuple[Run, Queue], int] = {}
        """At which offset a run came into a stream, until somebody takes that."""
        streams = broker.streams
        append, placed, retain = streams.append, streams.placed, streams.retain
        packer = streams._packer
        pack = packer.placed

        def told_append(stream: Stream, run: Run) -> None:
            grown = [growth(parse_content(run.content(i))[0]) for i in range(run.count)]
            sizes = [len(run.message(i)) + grown[i] for i in range(run.count)]
            self._say(stream.vhost, Appended(stream.name, stream.next_position, sizes))
            self.bases[run, stream] = stream.next_position
            append(stream, run)

        def told_placed(run: Run) -> None:
            retainer = streams._retainers.get(run.places[0][0]) if run.places else None
            if retainer is not None:
                about = Fed(retainer.stream.name, run.places[0][1], run.count)
                self._say(retainer.stream.vhost, about)
            placed(run)

        def told_pack(stream: Stream, run: Run) -> None:
            runs = len(stream.ready)
            pack(stream, run)
            if len(stream.ready) != runs:
                self._say(stream.vhost, Packed(stream.name, run.places[0][1], run.count))

        def told_retain(stream: Stream) -> None:
            first = stream.first
            retain(stream)
            if stream.first != first:
                self._say(stream.vhost, Cut(stream.name, stream.first, stream.next_position))

        streams.append = told_append  # type: ignore[method-assign]
        streams.placed = told_placed  # type: ignore[method-assign]
        packer.placed = told_pack  # type: ignore[method-assign]
        streams.retain = told_retain  # type: ignore[method-assign]

    def hold(self) -> None:
        """Messages are coming in."""
        self._held = []

    def let_go(self) -> None:
        """They are there, and told of."""
        held, self._held = self._held or [], None
        for vhost, event in held:
            self._tell(vhost, event)

    def _say(self, vhost: str, event: StreamEvent) -> None:
        if self._held is None:
            self._tell(vhost, event)
        else:
            self._held.append((vhost, event))
