"""What suites of real clients found, each as the few frames that show it; RabbitMQ 3.10.8 behaves as asserted here."""

import time
from collections.abc import Iterator

import pytest

from tests.conftest import BrokerProcess
from tests.interop.wire import (
    HEADER,
    HEARTBEAT,
    METHOD,
    Frame,
    Wire,
    decode_method,
    header_payload,
    method_payload,
)


def publish(exchange: str, routing_key: str) -> list[Frame]:
    """An empty message on channel 1."""
    method = method_payload("basic.publish", {"exchange": exchange, "routing_key": routing_key})
    return [Frame(METHOD, 1, method), Frame(HEADER, 1, header_payload(0, {}))]


@pytest.fixture
def wire(broker: BrokerProcess) -> Iterator[Wire]:
    """A connection with channel 1 open."""
    wire = Wire(broker.host, broker.port)
    wire.login({})
    wire.open_channel(1)
    yield wire
    wire.close()


def test_unroutable_publishes_are_confirmed_before_a_later_one_closes_the_channel(
    wire: Wire,
) -> None:
    """rabbitmq-client (npm) awaits each publish on its own, also when they arrive in one segment."""
    wire.call(1, "confirm.select", "confirm.select-ok")
    nowhere, missing = publish("", "regression.nowhere"), publish("regression.missing", "")
    wire.send(*nowhere, *nowhere, *missing, *nowhere)
    confirmed: list[int] = []
    while True:
        frame = wire.maybe_frame(5)
        assert frame is not None
        method, values = decode_method(frame.payload)
        if method.name == "channel.close":
            break
        assert method.name == "basic.ack"
        confirmed.append(values["delivery_tag"])
    assert (confirmed[-1], values["reply_code"]) == (2, 404)


def test_what_does_not_exist_can_be_unbound(wire: Wire) -> None:
    """aio-pika's clean-up unbinds what auto-delete has taken away already."""
    names = {"exchange": "regression.gone", "routing_key": "k"}
    wire.call(1, "queue.unbind", "queue.unbind-ok", queue="regression.gone", **names)
    names = {"source": "regression.gone", "routing_key": "k"}
    wire.call(1, "exchange.unbind", "exchange.unbind-ok", destination="regression.gone", **names)


def test_heartbeats_of_one_second_come_within_it(broker: BrokerProcess) -> None:
    """@cloudamqp/amqp-client (npm) gives up after the interval itself, not after two of them."""
    wire = Wire(broker.host, broker.port)
    wire.login({"heartbeat": ("i", 1)})
    for _ in range(2):
        before = time.monotonic()
        frame = wire.maybe_frame(2)
        assert frame is not None and frame.type == HEARTBEAT
        assert time.monotonic() - before < 0.95
    wire.close()


def test_the_protocol_header_of_0_9_leads_to_0_9_1(broker: BrokerProcess) -> None:
    """aioamqp sends it."""
    wire = Wire(broker.host, broker.port)
    for part in (b"AMQP\x01", b"\x01\x00\x09"):
        wire.send_raw(part)
    start = wire.expect("connection.start")
    assert (start["version_major"], start["version_minor"]) == (0, 9)
    wire.close()
