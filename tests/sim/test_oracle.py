"""What the oracle makes of the order in which things happen; each of these accused brokers that were right."""

from __future__ import annotations

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.codec.amqp_values import Table
from mansio.log.memory import MemoryStore
from tests.sim.durable import Durable
from tests.sim.events import Bounded, Drop, Mark
from tests.sim.model import (
    COMMANDS,
    DISPATCH,
    LATE,
    NOBODY,
    RELEASE,
    Channel,
    Connection,
    Consumer,
    Delivery,
)
from tests.sim.oracle import Oracle
from tests.sim.stream_events import Cut
from tests.sim.streams import stamp
from tests.sim.topology import Entry, Queue
from tests.sim.wire import Item, Message


def make_oracle() -> Oracle:
    return Oracle(Durable(MemoryStore()))


def make_queue(oracle: Oracle, name: str, arguments: Table) -> Queue:
    return oracle.topology.add_queue(name, True, False, None, arguments)


def make_message(number: int, properties: Properties) -> Message:
    header = encode_header_payload(0, properties)
    return Message(number, "", "s0", b"", header, header, True, headers=properties.headers or {})


def fill(oracle: Oracle, stream: Queue, count: int) -> None:
    """Durable entries, in segments of two."""
    assert stream.stream is not None
    for offset in range(count):
        message = stamp(make_message(offset, Properties(delivery_mode=2)), offset)
        stream.append(Entry(offset, message, 0, NOBODY, 0))
        stream.stream.add_run(offset, 1, 100, 0)
    stream.stream.committed = count
    for group in stream.stream.groups:
        oracle.feed_group(group)


def test_a_group_keeps_what_it_is_given_back_behind_a_cut() -> None:
    oracle = make_oracle()
    stream = make_queue(
        oracle,
        "s0",
        {
            "x-queue-type": "stream",
            "x-stream-max-segment-size-bytes": 200,
            "x-max-length-bytes": 100,
        },
    )
    group = make_queue(oracle, "g0", {"x-stream": "s0"})
    fill(oracle, stream, 4)
    delivered = group.ready[0]
    group.remove(delivered)
    group.in_flight = 1

    oracle.phase = RELEASE
    oracle.on_event(Cut("s0", 2, 4))
    oracle.requeue([Delivery(1, delivered, group, None)])

    assert [entry.position for entry in group.ready] == [0, 2, 3]
    oracle.end_commands()


def test_what_was_delivered_in_the_turn_in_which_it_came_is_not_refused_in_the_next_one() -> None:
    oracle = make_oracle()
    channel = Channel(Connection("client", "open"), 1)
    channel.connection.channels[1] = channel
    oracle.connections.append(channel.connection)
    queue = make_queue(oracle, "q0", {"x-max-length": 1, "x-overflow": "reject-publish"})
    consumer = Consumer("c", channel, queue, False, False, 0)
    channel.consumers["c"] = consumer
    queue.consumers.append(consumer)

    oracle.phase = DISPATCH
    for position in range(2):
        message = make_message(position, Properties(message_id=str(position)))
        oracle.messages[message.header, b""] = message
        # These were delayed: what clients publish comes before the turn ends.
        queue.append(queue.make_entry(message, position, oracle.turn + 1, NOBODY, 0, 0, 0))
        deliver = m.BasicDeliver("c", position + 1, False, "", "s0")
        oracle.on_output(channel.connection, [Item(1, deliver, 0, message.header)])
    oracle.end_dispatch(set())
    oracle.end_commands()
    refused = make_message(2, Properties(message_id="2"))
    queue.append(queue.make_entry(refused, 2, oracle.turn, channel, 0, 0, 0))
    given_back = list(channel.unacked.values())
    channel.unacked.clear()
    oracle.requeue(given_back, LATE)
    oracle.on_event(Drop("q0", 2, 1, "refused", False))
    oracle.cancel(consumer)
    oracle.end_dispatch(set())

    assert [entry.position for entry in queue.ready] == [0, 1]


def test_what_was_there_when_somebody_asked_is_not_refused_later_in_the_turn() -> None:
    oracle = make_oracle()
    queue = make_queue(oracle, "q0", {"x-max-length": 1, "x-overflow": "reject-publish"})

    def publish(position: int) -> Entry:
        message = make_message(position, Properties(message_id=str(position)))
        entry = queue.make_entry(message, position, oracle.turn, NOBODY, 0, 0, 0)
        queue.append(entry)
        return entry

    fetched = publish(0)
    queue.take_head()
    queue.in_flight = 1
    oracle.phase = COMMANDS
    publish(1)
    for event in (Mark("look", "q0"), Bounded("q0"), Mark("inquire", "q0")):
        oracle.on_event(event)
    oracle.inquire(queue)
    publish(2)
    oracle.requeue([Delivery(1, fetched, queue, None)])
    oracle.phase = DISPATCH
    oracle.on_event(Drop("q0", 2, 1, "refused", False))
    oracle.end_dispatch(set())

    assert [entry.position for entry in queue.ready] == [0, 1]
