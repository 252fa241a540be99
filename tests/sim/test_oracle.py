"""What the oracle makes of the order in which things happen; each of these accused brokers that were right."""

from __future__ import annotations

from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.codec.amqp_values import Table
from mansio.log.memory import MemoryStore
from tests.sim.durable import Durable
from tests.sim.model import NOBODY, RELEASE, Delivery
from tests.sim.oracle import Oracle
from tests.sim.stream_events import Cut
from tests.sim.streams import stamp
from tests.sim.topology import Entry, Queue
from tests.sim.wire import Message


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
