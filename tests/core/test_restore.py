"""A broker that is rebuilt from records has the durable part of the one that wrote them."""

import random
from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import BrokerError
from mansio.core.limits import Limits
from mansio.core.records import STARTED, Damaged, encode_topology
from mansio.core.restore import Restore
from mansio.core.run import Run
from mansio.core.session import Channel, Outcome, Session
from tests.core.play import Client, Message, Scribe


class Nobody:
    """An outbox that forgets."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Writer:
    """A broker with one session, whose records are kept as a log would keep them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.broker = Broker(limits, Scribe())
        self.session: Session = self.broker.open_session(Nobody(), "guest", "/", "test")
        self.channel: Channel = self.broker.open_channel(self.session, 1)
        self.records: list[bytes] = []
        self.number = 0
        self.broker.journal.started("test", new=True)

    def publish(self, exchange: str, key: str, count: int = 1, persistent: bool = True) -> None:
        route = self.broker.route(
            self.broker.users.rights("guest", "/"), exchange, key, False, 1, 4
        )
        bodies = [b"skip%06d" % (self.number + i) for i in range(count)]
        self.number += count
        data = b"".join(bodies)
        run = Run(data, count, len(bodies[0]), None, (route,), None, persistent)
        self.broker.publish(self.channel, run, route.queues)

    def turn(self) -> None:
        self.records += [b"".join(parts) for parts in self.broker.end_turn()]

    def restored(self) -> Broker:
        broker = Broker()
        restore = Restore(broker)
        for record in self.records:
            restore.apply(record)
        restore.finish()
        check(broker)
        return broker


def durable_part(broker: Broker) -> dict[str, Any]:
    """What has to survive: topology, and by queue the positions and contents of persistent messages."""
    host = broker.vhosts["/"]
    held: dict[int, list[tuple[int, bytes]]] = {q.id: [] for q in host.queues.values()}
    for queue in host.queues.values():
        for span in queue.ready:
            if span.run.persistent:
                held[queue.id] += [
                    (span.base + i, span.run.message(i)) for i in range(span.start, span.stop)
                ]
    for session in broker.sessions:
        for channel in session.channels.values():
            for flight in channel.ledger:
                for piece in flight.open_pieces(0, flight.count):
                    for i in range(piece.start, piece.start + piece.count * piece.step, piece.step):
                        if piece.run.persistent and piece.queue.id in held:
                            held[piece.queue.id].append((piece.base + i, piece.run.message(i)))
    queues = {
        name: (queue.id, queue.auto_delete, dict(queue.arguments), sorted(held[queue.id]))
        for name, queue in host.queues.items()
        if queue.logged
    }
    exchanges = {
        name: (each.type, each.auto_delete, each.internal, dict(each.arguments))
        for name, each in host.exchanges.items()
        if each.durable
    }
    bindings = sorted(
        (each.name, binding.destination.name, binding.key, sorted(binding.arguments.items()))
        for each in host.exchanges.values()
        for binding in each.bindings.values()
        if binding.durable
    )
    return {"queues": queues, "exchanges": exchanges, "bindings": bindings}


def step(writer: Writer, rng: random.Random) -> None:
    broker, session, channel = writer.broker, writer.session, writer.channel
    define = broker.definitions
    queue, exchange = rng.choice("abcd"), rng.choice("xyz")
    kind = rng.randrange(12)
    if kind == 0:
        arguments = {"bytes": b"\x00", "depth": {"n": [1, 2.5, None]}} if rng.random() < 0.5 else {}
        define.declare_queue(
            session, queue, rng.random() < 0.8, rng.random() < 0.1, False, arguments
        )
    elif kind == 1:
        define.declare_exchange(
            session, exchange, rng.choice(("topic", "fanout")), True, rng.random() < 0.3, False, {}
        )
    elif kind == 2:
        define.bind_queue(session, queue, exchange, rng.choice(("#", "k.*")), {})
    elif kind == 3:
        define.unbind_queue(session, queue, exchange, rng.choice(("#", "k.*")), {})
    elif kind == 4 and rng.random() < 0.2:
        define.delete_queue(session, define.queue(session, queue), False, False)
    elif kind == 5 and rng.random() < 0.2:
        define.delete_exchange(session, exchange, False)
    elif kind in (6, 7):
        writer.publish("", queue, rng.randint(1, 9), rng.random() < 0.8)
    elif kind == 8:
        writer.publish(exchange, "k.1", rng.randint(1, 5))
    elif kind == 9 and f"c{queue}" not in channel.consumers:
        broker.set_prefetch(channel, rng.randint(0, 6), False)
        broker.consume(channel, define.queue(session, queue), f"c{queue}", False, False, {})
    elif kind == 10:
        flights = list(channel.ledger)
        if flights:
            flight = rng.choice(flights)
            tag = flight.first + rng.randrange(flight.count)
            broker.settle(channel, tag, tag, rng.random() < 0.2, rng.random() < 0.3)
    elif kind == 11 and rng.random() < 0.1:
        define.purge_queue(session, define.queue(session, queue))


@pytest.mark.parametrize("seed", range(60))
def test_the_durable_part_survives(seed: int) -> None:
    rng = random.Random(seed)
    writer = Writer()
    for _ in range(200):
        try:
            step(writer, rng)
        except BrokerError:
            pass
        if rng.random() < 0.4:
            writer.turn()
    writer.turn()
    assert durable_part(writer.restored()) == durable_part(writer.broker)


def test_what_comes_back_is_marked_as_redelivered() -> None:
    writer = Writer()
    writer.broker.definitions.declare_queue(writer.session, "q", True, False, False, {})
    writer.publish("", "q", 3)
    writer.turn()
    (span,) = writer.restored().vhosts["/"].queues["q"].ready
    assert span.redelivered and (span.start, span.stop) == (0, 3)


QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 3}


def test_it_is_known_how_often_messages_were_given_back() -> None:
    writer = Writer()
    queue = writer.broker.definitions.declare_queue(writer.session, "q", True, False, False, QUORUM)
    writer.publish("", "q", 4)
    writer.publish("", "q", 1, persistent=False)
    for round_of in (range(5), (1, 2, 4)):
        tags = [
            got.tag
            for _ in range(5)
            if (got := writer.broker.get(writer.channel, queue, False)) is not None
        ]
        for i in round_of:
            writer.broker.settle(writer.channel, tags[i], tags[i], False, Outcome.REQUEUE)
    writer.turn()
    broker = writer.restored()
    spans = list(broker.vhosts["/"].queues["q"].ready)
    counts = [span.deliveries for span in spans for _ in range(span.start, span.stop)]
    assert counts == [1, 2, 2, 1]
    again = Writer()
    again.records = writer.records + [b"".join(parts) for parts in broker.end_turn()]
    spans = list(again.restored().vhosts["/"].queues["q"].ready)
    assert [span.deliveries for span in spans for _ in range(span.start, span.stop)] == counts


def test_messages_are_as_old_as_they_were() -> None:
    writer = Writer()
    writer.broker.now_ms = 1000
    arguments = {"x-message-ttl": 500, "x-max-priority": 2}
    writer.broker.definitions.declare_queue(writer.session, "q", True, False, False, arguments)
    route = writer.broker.route(writer.broker.users.rights("guest", "/"), "", "q", False, 1, 0)
    for priority, expiration_ms in ((1, None), (2, 200)):
        run = Run(b"%08d" % priority, 1, 8, None, (route,), None, True)
        run.priority, run.expiration_ms = priority, expiration_ms
        writer.broker.publish(writer.channel, run, route.queues)
    writer.turn()
    broker = writer.restored()
    queue = broker.vhosts["/"].queues["q"]
    assert [span.run.priority for span in queue.spans()] == [2, 1]
    for now_ms, left in ((1199, 2), (1200, 1), (1499, 1), (1500, 0)):
        broker.now_ms = now_ms
        broker.end_turn()
        assert queue.ready_count == left


def test_what_has_expired_by_a_restart_goes_to_nobody_who_comes_at_once() -> None:
    writer = Writer()
    writer.broker.now_ms = 1000
    arguments = {"x-message-ttl": 500}
    writer.broker.definitions.declare_queue(writer.session, "q", True, False, False, arguments)
    writer.publish("", "q", 3)
    writer.turn()
    broker = writer.restored()
    broker.now_ms = 2000
    client = Client(broker)
    client.consume(broker.vhosts["/"].queues["q"])
    broker.end_turn()
    assert (client.heard.take_numbers(), broker.counts.expired) == ([], 3)


def test_a_new_queue_never_takes_the_id_of_a_restored_one() -> None:
    writer = Writer()
    writer.broker.definitions.declare_queue(writer.session, "q", True, False, False, {})
    writer.turn()
    broker = writer.restored()
    session = broker.open_session(Nobody(), "guest", "/", "test")
    queue = broker.definitions.declare_queue(session, "r", True, False, False, {})
    assert queue.id > broker.vhosts["/"].queues["q"].id


@pytest.mark.parametrize(
    "change",
    [
        {"do": "fly", "vhost": "/"},
        {"do": "delete queue", "vhost": "/", "id": 7, "name": "nobody"},
        {"do": "declare queue", "vhost": "/"},
        {"do": "declare queue", "vhost": "/elsewhere"},
    ],
)
def test_a_record_that_does_not_fit_is_damage(change: dict[str, Any]) -> None:
    restore = Restore(Broker())
    restore.apply(b"".join(encode_topology({"do": STARTED, "version": "test", "new": True})))
    with pytest.raises(Damaged):
        restore.apply(b"".join(encode_topology(change)))


def test_exchanges_of_every_type_come_back_and_choose_as_before() -> None:
    writer = Writer()
    define, session = writer.broker.definitions, writer.session
    arguments: dict[str, Any] = {"hash-header": "h"}
    for name, type in (("hash", "x-consistent-hash"), ("text", "x-content"), ("any", "x-random")):
        define.declare_exchange(
            session, name, type, True, False, False, arguments if name == "hash" else {}
        )
    for queue in "abc":
        define.declare_queue(session, queue, True, False, False, {})
        define.bind_queue(session, queue, "hash", "2", {})
        define.bind_queue(session, queue, "text", "", {"x-match-expression": queue})
        define.bind_queue(session, queue, "any", "", {})
    define.unbind_queue(session, "b", "hash", "2", {})
    writer.turn()
    restored = writer.restored()
    assert durable_part(restored) == durable_part(writer.broker)
    for i in range(50):
        view = Message({"h": i})
        found = [
            [
                queue.name
                for queue in broker.route_message(
                    broker.users.rights("guest", "/"), "hash", ["k"], view
                )
            ]
            for broker in (writer.broker, restored)
        ]
        assert found[0] == found[1] and found[0] in (["a"], ["c"])
