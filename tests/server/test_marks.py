"""A real broker that is killed: it still knows what it has seen, and still owes its receipts."""

import signal
from pathlib import Path

import pika  # type: ignore[import-untyped]
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]

from tests.conftest import BrokerProcess, BrokerStarter

DEDUP = {"x-message-deduplication": True}


def connect(broker: BrokerProcess) -> BlockingChannel:
    parameters = pika.ConnectionParameters(broker.host, broker.port)
    channel = pika.BlockingConnection(parameters).channel()
    channel.confirm_delivery()
    return channel


def publish(channel: BlockingChannel, id: str, exchange: str = "", key: str = "q") -> None:
    properties = pika.BasicProperties(
        headers={"x-deduplication-header": id, "x-receipt": True},
        reply_to="receipts",
        correlation_id=id,
        delivery_mode=2,
    )
    channel.basic_publish(exchange, key, id.encode(), properties)


def take(channel: BlockingChannel, queue: str) -> list[pika.BasicProperties]:
    found = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(message[1])
    return found


def outcomes(channel: BlockingChannel) -> list[tuple[str, str]]:
    return [
        (each.correlation_id, each.headers["x-receipt-outcome"])
        for each in take(channel, "receipts")
    ]


def test_ids_and_receipts_survive_a_kill(start_broker: BrokerStarter, tmp_path: Path) -> None:
    broker = start_broker("--data-dir", str(tmp_path))
    channel = connect(broker)
    channel.queue_declare("receipts", durable=True)
    channel.queue_declare("q", durable=True, arguments=DEDUP)
    channel.queue_declare("p", durable=True)
    channel.exchange_declare("e", "fanout", durable=True, arguments=DEDUP)
    channel.queue_bind("p", "e")
    for _ in range(2):
        publish(channel, "a")
        publish(channel, "b", "e", "")
    assert outcomes(channel) == [("a", "duplicate"), ("b", "duplicate")]
    take(channel, "p")
    assert outcomes(channel) == [("b", "acked")]
    channel.basic_publish("", "p", b"", pika.BasicProperties(delivery_mode=2))
    broker.stop(signal.SIGKILL)  # that was confirmed, so what was taken before it is durably gone

    channel = connect(start_broker("--data-dir", str(tmp_path)))
    publish(channel, "a")
    publish(channel, "b", "e", "")
    assert outcomes(channel) == [("a", "duplicate"), ("b", "duplicate")]
    assert len(take(channel, "q")) == 1
    assert outcomes(channel) == [("a", "acked")]
    publish(channel, "a")
    assert len(take(channel, "q")) == 1
    channel.connection.close()
