"""What the broker does to messages by itself, in the order in which it does that: only it can know when.

The oracle is told of each, and judges whether it may happen then. What has to happen it knows itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mansio.core.bounds import Bound
from mansio.core.broker import Broker
from mansio.core.dead_letters import DeadLetters
from mansio.core.deferred import Deferred
from mansio.core.delays import Delays
from mansio.core.letters import Death, Letter
from mansio.core.queue import Queue
from mansio.core.receipts import Receipt
from mansio.core.run import Run, Span
from mansio.protocol.amqp.letters import AmqpLetters
from tests.sim.stream_events import StreamEvent, StreamWatch, watch_rotas
from tests.sim.wire import parse_content

Content = tuple[bytes, bytes]
"""(header payload, body)."""


@dataclass(slots=True)
class Put:
    """Messages came into these queues: (name, position of the first); `own`: they are dead letters. `priority`: of all
    of them, as far as the broker knows it."""

    places: list[tuple[str, int]]
    contents: list[Content]
    routes: list[tuple[str, str]]
    own: bool
    priority: int = 0

    def __repr__(self) -> str:
        headers = [header.hex() for header, _ in self.contents]
        return f"Put({self.places}, {self.routes}, own={self.own}, {headers[:3]} of {len(headers)})"


@dataclass(slots=True)
class Drop:
    """A queue drops `count` ready messages from this position on; `reason`: expired, maxlen, refused."""

    queue: str
    first: int
    count: int
    reason: str
    late: bool = False
    """Consumers were served before."""


@dataclass(slots=True)
class Died:
    """A message of a queue is written again for its dead-letter exchange."""

    queue: str
    content: Content
    reason: str

    def __repr__(self) -> str:
        return f"Died({self.queue}, {self.reason}, {self.content[0].hex()})"


@dataclass(slots=True)
class Mark:
    """The broker has answered what is in a queue, or begins to look; `what`: get, inquire, look."""

    what: str
    queue: str


@dataclass(slots=True)
class Gone:
    """A queue is deleted, not by a client."""

    queue: str


@dataclass(slots=True)
class Back:
    """Deferred messages are ready again: (position of the first, how many)."""

    queue: str
    places: list[tuple[int, int]]


@dataclass(slots=True)
class Stored:
    """These messages are held back, from this position on; or were written anew."""

    first: int
    contents: list[Content]


@dataclass(slots=True)
class Fired:
    """These messages were held back, and are published now."""

    contents: list[Content]


@dataclass(slots=True)
class Told:
    """A receipt came into this queue, at this position."""

    queue: str
    position: int
    content: Content


@dataclass(slots=True)
class Bounded:
    """A queue was looked at whether it has too much, and what it had to drop is gone."""

    queue: str


Event = Put | Drop | Died | Mark | Gone | Back | Stored | Fired | Told | Bounded | StreamEvent
Tell = Callable[[str, Event], None]
"""Told with the virtual host in which it happened."""


class WatchedLetters(AmqpLetters):
    """Letters, each of which is told of."""

    def __init__(self, frame_max: int, tell: Tell) -> None:
        super().__init__(frame_max)
        self._tell = tell
        self.told: Run | None = None
        """The last receipt."""
        self.vhost = "/"
        """Where messages are dead-lettered now."""

    def receipt(self, receipt: Receipt, key: str) -> Run:
        self.told = super().receipt(receipt, key)
        return self.told

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        self._tell(self.vhost, Died(death.queue, parse_content(run.content(i)), death.reason))
        return super().dead_letter(run, i, death)


class WatchedDeferred(Deferred):
    """What a queue has deferred; told of when it is ready again."""

    __slots__ = ("_tell",)

    def __init__(self, broker: Broker, queue: Queue, tell: Tell) -> None:
        super().__init__(broker, queue)
        self._tell = tell

    def _return(self, spans: list[Span]) -> None:
        places = [(span.base + span.start, span.stop - span.start) for span in spans]
        self._tell(self._queue.vhost, Back(self._queue.name, places))
        super()._return(spans)


class WatchedBound(Bound):
    """The bound of a queue; told of when it was enforced."""

    __slots__ = ("_tell",)

    def __init__(self, bound: Bound, tell: Tell) -> None:
        super().__init__(bound.count_max, bound.bytes_max, bound.reject)
        self._tell = tell

    def enforce(self, queue: Queue, dead_letters: DeadLetters) -> None:
        super().enforce(queue, dead_letters)
        self._tell(queue.vhost, Bounded(queue.name))


def watch_queues(broker: Broker, tell: Tell) -> None:
    """Tells what queues do that the broker makes from now on."""
    watch_rotas(broker, tell)
    make, apply = broker.definitions.make_queue, broker.policies.apply

    def watched(*about: Any) -> Queue:
        queue = make(*about)
        if queue.deferred is not None:
            queue.deferred = WatchedDeferred(broker, queue, tell)
        watch_bound(queue)
        return queue

    def applied(queue: Queue) -> None:
        apply(queue)
        watch_bound(queue)

    def watch_bound(queue: Queue) -> None:
        if queue.bound is not None and not isinstance(queue.bound, WatchedBound):
            queue.bound = WatchedBound(queue.bound, tell)

    broker.definitions.make_queue = watched  # type: ignore[method-assign]
    broker.policies.apply = applied  # type: ignore[method-assign]


class Watch:
    """Tells what a broker does from now on."""

    def __init__(self, broker: Broker, tell: Tell) -> None:
        self._tell = tell
        self._answering = self._refusing = self._firing = self._forwarding = False
        self._streams = StreamWatch(broker, tell)
        self._watch_intake(broker)
        self._watch_drops(broker)
        self._watch_questions(broker)
        self._watch_deadlines(broker)
        self._watch_delays(broker)

    def _watch_intake(self, broker: Broker) -> None:
        put, forwarding = broker.intake.put, broker.forwarding
        letters: Any = broker.letters
        begin, end = forwarding.begin, forwarding.end

        def told_begin(*about: Any) -> None:
            self._forwarding = True
            begin(*about)

        def told_end() -> None:
            end()
            self._forwarding = False

        forwarding.begin = told_begin  # type: ignore[method-assign]
        forwarding.end = told_end  # type: ignore[method-assign]

        def told(run: Run, queues: Any, channel: Any = None) -> bool:
            self._streams.hold()
            there = put(run, queues, channel)
            if there:
                places = self._places(run, queues)
                contents = [parse_content(run.content(i)) for i in range(run.count)]
                routes = [run.route(i) for i in range(run.count)]
                keys = [(route.exchange, route.routing_key) for route in routes]
                if run is letters.told:
                    self._tell(queues[0].vhost, Told(*places[0], contents[0]))
                    self._streams.let_go()
                    return there
                if queues:
                    put_there = Put(places, contents, keys, self._forwarding, run.priority)
                    self._tell(queues[0].vhost, put_there)
            self._streams.let_go()
            return there

        broker.intake.put = told  # type: ignore[method-assign]

    def _places(self, run: Run, queues: Iterable[Queue]) -> list[tuple[str, int]]:
        """The queues that took a run, and where; a stream has bytes of its own of it."""
        places: list[tuple[str, int]] = []
        for queue in queues:
            base = self._streams.bases.pop((run, queue), None)
            if not queue.keeps and queue.ready_count and queue.newest().run is run:
                base = queue.next_position - run.count
            if base is not None:
                places.append((queue.name, base))
        return places

    def _watch_drops(self, broker: Broker) -> None:
        letters = broker.dead_letters
        drop, refuse, publish = letters.drop, letters.refuse, letters._publish
        writer: Any = broker.letters

        def told_publish(queue: Any, *about: Any) -> None:
            writer.vhost = queue.vhost
            publish(queue, *about)

        def told(queue: Any, span: Any, reason: str) -> None:
            if not self._refusing:
                self._tell_drop(queue, span, reason)
            drop(queue, span, reason)

        def told_refuse(queue: Any, span: Any) -> None:
            self._tell_drop(queue, span, "refused")
            self._refusing = True
            refuse(queue, span)
            self._refusing = False

        letters._publish = told_publish  # type: ignore[method-assign]
        letters.drop = told  # type: ignore[method-assign]
        letters.refuse = told_refuse  # type: ignore[method-assign]

    def _tell_drop(self, queue: Any, span: Any, reason: str) -> None:
        first, count = span.base + span.start, span.stop - span.start
        late = reason == "maxlen" and not self._firing
        self._tell(queue.vhost, Drop(queue.name, first, count, reason, late))

    def _watch_questions(self, broker: Broker) -> None:
        before, get, inquire = broker.before_get, broker.get, broker.bring_up_to_date

        def told_before(queue: Any) -> bool:
            self._tell(queue.vhost, Mark("look", queue.name))
            was, self._answering = self._answering, True
            try:
                return before(queue)
            finally:
                self._answering = was

        def told_get(channel: Any, queue: Any, no_ack: bool) -> Any:
            self._answering = True
            got = get(channel, queue, no_ack)
            self._answering = False
            self._tell(queue.vhost, Mark("get", queue.name))
            return got

        def told_inquire(queue: Any) -> None:
            if not self._answering:
                self._tell(queue.vhost, Mark("look", queue.name))
            inquire(queue)
            if not self._answering:
                self._tell(queue.vhost, Mark("inquire", queue.name))

        broker.before_get = told_before  # type: ignore[method-assign]
        broker.get = told_get  # type: ignore[method-assign]
        broker.bring_up_to_date = told_inquire  # type: ignore[method-assign]

    def _watch_deadlines(self, broker: Broker) -> None:
        fire, drop_queue = broker.deadlines.fire, broker.definitions.drop_queue

        def told_fire(now_ms: int) -> None:
            self._firing = True
            fire(now_ms)
            self._firing = False

        def told_drop_queue(queue: Any, session: Any = None) -> int:
            if self._firing:
                self._tell(queue.vhost, Gone(queue.name))
            return drop_queue(queue, session)

        broker.deadlines.fire = told_fire  # type: ignore[method-assign]
        broker.definitions.drop_queue = told_drop_queue  # type: ignore[method-assign]

    def _watch_delays(self, broker: Broker) -> None:
        find, watched = broker.delays, set[Delays]()

        def found(vhost: str) -> Delays:
            delays = find(vhost)
            if delays not in watched:
                watched.add(delays)
                self._watch_store(delays)
            return delays

        broker.delays = found  # type: ignore[method-assign]
        for vhost in broker.vhosts:
            found(vhost)

    def _watch_store(self, delays: Delays) -> None:
        enter, forward, vhost = delays.enter, delays._forward, delays.vhost

        def told_enter(held: Any) -> None:
            run = held.run
            contents = [parse_content(run.content(i)) for i in range(run.count)]
            self._tell(vhost, Stored(delays.next_position, contents))
            enter(held)

        def told_forward(batch: Any) -> None:
            runs = [(held.run, i) for held, numbers in batch for i in numbers]
            self._tell(vhost, Fired([parse_content(run.content(i)) for run, i in runs]))
            forward(batch)

        delays.enter = told_enter  # type: ignore[method-assign]
        delays._forward = told_forward  # type: ignore[method-assign]
