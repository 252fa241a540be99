"""Helpers for tests of the core: a broker with people at it, runs of numbered messages, and an outbox that listens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mansio.core.broker import Broker
from mansio.core.dispatch import Consumer
from mansio.core.limits import Limits
from mansio.core.queue import Queue
from mansio.core.routing import Route
from mansio.core.run import Run
from mansio.core.session import Channel, Outcome, Session

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
