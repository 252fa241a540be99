"""Helpers for tests of the core: a broker with people at it, runs of numbered messages, and an outbox that listens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.dispatch import Consumer
from mansio.core.letters import Death, Letter
from mansio.core.limits import Limits
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel, Outcome, Session
from mansio.core.view import View

SIZE = 19  # bytes of a message in these runs: its number, and where a header frame has it the size of its body


def outcome(requeue: bool) -> Outcome:
    return Outcome.REQUEUE if requeue else Outcome.ACCEPT


def number(i: int) -> bytes:
    return b"%08d" % i


def make_run(numbers: list[int], persistent: bool = False, size: int = SIZE) -> Run:
    """A run of messages that say their numbers and are `size` bytes long each; so, they say, are their bodies."""
    about = b"..." + size.to_bytes(8, "big")
    data = b"".join((number(i) + about).ljust(size, b".") for i in numbers)
    route = Route("", "key", ())
    return Run(data, len(numbers), size, None, (route,), None, persistent)


@dataclass(slots=True)
class Message:
    """What routing sees of one."""

    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    exchange: str = ""
    routing_key: str = ""
    memo: Any = None


class Heard:
    """An outbox that keeps everything, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.deliveries: list[tuple[str, int, int, bool]] = []  # consumer, tag, number, redelivered
        self.bytes = 0

    def deliver(
        self,
        consumer: Consumer,
        run: Run,
        start: int,
        count: int,
        step: int,
        tag: int,
        redelivered: bool,
    ) -> None:
        for n in range(count):
            message = run.message(start + n * step)
            self.bytes += len(message)
            self.deliveries.append((consumer.tag, tag + n, int(message[:8]), redelivered))

    def returned(self, channel: Channel, run: Run, i: int, route: Route) -> None:
        self.told.append(("returned", channel.number, int(run.message(i)[:8])))

    def expelled(self, why: str) -> None:
        self.told.append(("expelled", why))

    def cancelled(self, channel: Channel, consumer_tag: str) -> None:
        self.told.append(("cancelled", channel.number, consumer_tag))

    def confirmed(self, channel: Channel, upto: int, rejected: list[tuple[int, int]]) -> None:
        self.told.append(("confirmed", channel.number, upto, rejected))

    def hold(self) -> None:
        self.told.append(("hold",))

    def release(self, ok: bool) -> None:
        self.told.append(("release", ok))

    def refused(self, channel: Channel, upto: int) -> None:
        self.told.append(("refused", channel.number, upto))

    def committed(self, channel: Channel, ok: bool, partly: bool) -> None:
        assert not partly
        self.told.append(("committed", channel.number, ok))

    def take(self) -> list[tuple[Any, ...]]:
        told, self.told = self.told, []
        return told

    def take_numbers(self) -> list[int]:
        """The messages delivered since the last call."""
        numbers = [delivery[2] for delivery in self.deliveries]
        self.deliveries.clear()
        return numbers


class Client:
    """A session with one channel and its outbox."""

    def __init__(self, broker: Broker, name: str = "client") -> None:
        self.broker = broker
        self.heard = Heard()
        self.session: Session = broker.open_session(self.heard, "guest", "/", name)
        self.channel: Channel = broker.open_channel(self.session, 1)

    def declare(self, name: str = "q", **how: Any) -> Queue:
        fields: dict[str, Any] = {
            "durable": False,
            "exclusive": False,
            "auto_delete": False,
            "arguments": {},
        }
        return self.broker.definitions.declare_queue(self.session, name, **fields | how)

    def exchange(self, name: str, type: str = "direct", **how: Any) -> None:
        fields: dict[str, Any] = {
            "durable": False,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
        self.broker.definitions.declare_exchange(self.session, name, type, **fields | how)

    def publish(self, queue: Queue, *numbers: int, persistent: bool = False) -> Run:
        run = make_run(list(numbers), persistent)
        self.broker.publish(self.channel, run, (queue,))
        return run

    def consume(self, queue: Queue, tag: str = "c", no_ack: bool = False, **how: Any) -> Consumer:
        exclusive = how.get("exclusive", False)
        arguments = how.get("arguments", {})
        return self.broker.consume(self.channel, queue, tag, no_ack, exclusive, arguments)

    def settle(self, first: int, last: int = -1, requeue: bool = False) -> None:
        """Settles tags one by one."""
        self.broker.settle(self.channel, first, max(first, last), False, outcome(requeue))

    def settle_until(self, tag: int, requeue: bool = False) -> None:
        """Settles with `multiple`."""
        self.broker.settle(self.channel, tag, tag, True, outcome(requeue))


def make_broker(**limits: Any) -> Broker:
    return Broker(Limits(**limits))


class Scribe:
    """Letters without a wire: it notes how messages died, and numbers of letters are those of what died."""

    frame_max = 131_072

    def __init__(self) -> None:
        self.deaths: dict[int, list[Death]] = {}
        """By number of the message, the last death first."""
        self.counted_as: list[tuple[int, int]] = []
        """(number, how often it was given back) of what was delivered with a count."""
        self.numbered_as: list[tuple[int, int]] = []
        """(number, offset) of what was given one."""

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        frames = run.content(i)
        deaths = self.deaths.setdefault(int(frames[:8]), [])
        deaths.insert(0, death)
        keys = [death.key if death.new_key is None else death.new_key]
        counted = [(each.queue, each.reason, 1) for each in deaths]
        return Letter(frames, keys, {}, run.priority, None, counted)

    def counted(self, run: Run, i: int, deliveries: int) -> Run:
        self.counted_as.append((int(run.content(i)[:8]), deliveries))
        data = run.content(i)
        return Run(data, 1, len(data), None, run.routes, None, run.persistent)

    def numbered(self, run: Run, first: int) -> Run:
        numbers = [int(run.content(i)[:8]) for i in range(run.count)]
        self.numbered_as += zip(numbers, range(first, first + run.count), strict=True)
        new = Run(run.data, run.count, run.stride, run.ends, run.routes, run.which, True)
        new.arrived_ms = run.arrived_ms
        return new

    def view(self, frames: bytes, exchange: str, key: str) -> View:
        raise NotImplementedError


START_MS = 1_700_000_000_000


def make_timed(**limits: Any) -> tuple[Broker, Scribe]:
    """A broker whose clock begins at START_MS, and who writes its letters."""
    scribe = Scribe()
    broker = Broker(Limits(**limits), scribe)
    broker.now_ms = START_MS
    return broker, scribe


def turn(broker: Broker, at_ms: int = -1) -> list[bytes]:
    """Ends a turn, at this time after the start if there is one; its records."""
    if at_ms >= 0:
        broker.now_ms = START_MS + at_ms
    records = [b"".join(parts) for parts in broker.end_turn()]
    check(broker)
    return records


def put(client: Client, queue: Queue, *numbers: int, **traits: Any) -> Run:
    """Publishes messages that are alike in these traits: expiration_ms, priority, persistent."""
    run = make_run(list(numbers), traits.get("persistent", False), traits.get("size", SIZE))
    run.expiration_ms = traits.get("expiration_ms")
    run.priority = traits.get("priority", 0)
    client.broker.publish(client.channel, run, (queue,))
    return run


def numbers_in(queue: Queue) -> list[int]:
    """What is ready, in the order in which it would be delivered."""
    return [
        int(span.run.content(i)[:8]) for span in queue.spans() for i in range(span.start, span.stop)
    ]
