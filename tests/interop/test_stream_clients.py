"""Programs that use RabbitMQ's streams over AMQP 0-9-1, as their authors wrote them: pika and aio-pika."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pika  # type: ignore[import-untyped]
import pytest
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]

from tests.conftest import BrokerProcess

STREAM = {"x-queue-type": "stream", "x-max-age": "7D", "x-max-length-bytes": 10**9}
ENTRIES = 20


def offsets() -> dict[str, tuple[Any, int | None]]:
    """What a reader asks for, and the first offset that it gets of 0 to 19; None: nothing."""
    now = datetime.now(UTC)
    return {
        "first": ("first", 0),
        "last": ("last", ENTRIES - 1),
        "next": ("next", None),
        "a number": (7, 7),
        "a time that has passed": (now - timedelta(hours=1), 0),
        "a time to come": (now + timedelta(hours=1), None),
        "how long ago": ("1h", 0),
    }


@pytest.fixture
def channel(broker: BrokerProcess) -> Iterator[BlockingChannel]:
    """A channel with a stream `events` that has twenty entries."""
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    channel = connection.channel()
    channel.queue_declare("events", durable=True, arguments=STREAM)
    channel.confirm_delivery()
    for number in range(ENTRIES):
        channel.basic_publish("", "events", b"e%d" % number)
    channel.basic_qos(prefetch_count=50)
    yield channel
    channel.queue_delete("events")
    connection.close()


@pytest.mark.parametrize("how", offsets())
def test_pika_reads_from_an_offset(channel: BlockingChannel, how: str) -> None:
    asked, first = offsets()[how]
    got: list[tuple[int, bytes]] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append((properties.headers["x-stream-offset"], body))
        channel.basic_ack(method.delivery_tag)
        if body == b"end":
            channel.stop_consuming()

    channel.basic_consume("events", on_message, arguments={"x-stream-offset": asked})
    channel.basic_publish("", "events", b"end")
    channel.start_consuming()
    numbers = [] if first is None else range(first, ENTRIES)
    assert got == [*((number, b"e%d" % number) for number in numbers), (ENTRIES, b"end")]


def test_aio_pika_reads_from_every_offset(broker: BrokerProcess) -> None:
    async def read(channel: aio_pika.abc.AbstractChannel, asked: Any) -> list[tuple[Any, bytes]]:
        queue = await channel.get_queue("events-aio")
        got: list[tuple[Any, bytes]] = []
        ended = asyncio.Event()

        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            got.append((message.headers["x-stream-offset"], message.body))
            await message.ack()
            if message.body == b"end":
                ended.set()

        tag = await queue.consume(on_message, arguments={"x-stream-offset": asked})
        await channel.default_exchange.publish(aio_pika.Message(b"end"), "events-aio")
        await ended.wait()
        await queue.cancel(tag)
        return got

    async def main() -> None:
        connection = await aio_pika.connect(f"amqp://guest:guest@{broker.host}:{broker.port}/")
        async with connection:
            for asked, first in offsets().values():
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=50)
                queue = await channel.declare_queue("events-aio", durable=True, arguments=STREAM)
                for number in range(ENTRIES):
                    body = b"e%d" % number
                    await channel.default_exchange.publish(aio_pika.Message(body), "events-aio")
                got = await read(channel, asked)
                numbers = [] if first is None else range(first, ENTRIES)
                assert [body for _, body in got] == [*(b"e%d" % n for n in numbers), b"end"]
                assert [offset for offset, _ in got] == [*numbers, ENTRIES]
                await queue.delete()
                await channel.close()

    asyncio.run(asyncio.wait_for(main(), 60))
