"""Real clients against a real broker: pika, aio-pika, and the amqp-tools of librabbitmq."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aio_pika
import pika  # type: ignore[import-untyped]
import pytest
from aio_pika.patterns import RPC
from pika.adapters.blocking_connection import (  # type: ignore[import-untyped]
    BlockingChannel,
)
from pika.exceptions import (  # type: ignore[import-untyped]
    ChannelClosedByBroker,
    NackError,
    UnroutableError,
)

from tests.conftest import BrokerProcess

TOOLS_SECONDS_MAX = 20


@pytest.fixture
def channel(broker: BrokerProcess) -> Iterator[BlockingChannel]:
    """A pika channel on a connection with pika's defaults, as the quick start of every tutorial has it."""
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    yield connection.channel()
    if connection.is_open:
        connection.close()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    """A queue that goes with its connection."""
    return str(channel.queue_declare("", exclusive=True).method.queue)


# -- pika


def test_pika_by_url(broker: BrokerProcess) -> None:
    url = f"amqp://guest:guest@{broker.host}:{broker.port}/%2F?heartbeat=30"
    connection = pika.BlockingConnection(pika.URLParameters(url))
    assert connection.channel().is_open
    connection.close()


def test_pika_publishes_and_gets(channel: BlockingChannel, queue: str) -> None:
    properties = pika.BasicProperties(content_type="text/plain", headers={"n": 1}, priority=3)
    channel.basic_publish("", queue, b"hello", properties)
    method, got, body = channel.basic_get(queue, auto_ack=True)
    assert method is not None
    assert (body, got.headers, got.content_type) == (b"hello", {"n": 1}, "text/plain")
    assert got.priority == 3
    assert channel.basic_get(queue)[0] is None


def test_pika_consumes_with_a_generator(channel: BlockingChannel, queue: str) -> None:
    bodies = [b"%d" % number for number in range(20)]
    for body in bodies:
        channel.basic_publish("", queue, body)
    seen = []
    for method, _, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == len(bodies):
            break
    assert seen == bodies
    assert channel.cancel() == 0


def test_pika_consumes_with_a_callback_and_prefetch(channel: BlockingChannel, queue: str) -> None:
    seen: list[bytes] = []

    def on_message(on: BlockingChannel, method: object, _: object, body: bytes) -> None:
        seen.append(body)
        on.basic_ack(method.delivery_tag)  # type: ignore[attr-defined]
        if body == b"last":
            on.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_message)
    for body in (b"first", b"second", b"last"):
        channel.basic_publish("", queue, body)
    channel.start_consuming()
    assert seen == [b"first", b"second", b"last"]


def test_pika_confirms(channel: BlockingChannel, queue: str) -> None:
    channel.confirm_delivery()
    for number in range(10):
        channel.basic_publish("", queue, b"%d" % number, mandatory=True)
    with pytest.raises(UnroutableError) as raised:
        channel.basic_publish("", "nowhere", b"lost", mandatory=True)
    assert raised.value.messages[0].body == b"lost"
    assert channel.queue_declare(queue, passive=True).method.message_count == 10


def test_pika_sees_a_full_queue(channel: BlockingChannel) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", full, b"kept")
    with pytest.raises(NackError):
        channel.basic_publish("", full, b"too much")


def test_pika_transactions(channel: BlockingChannel, queue: str) -> None:
    channel.tx_select()
    channel.basic_publish("", queue, b"undone")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"done")
    assert channel.basic_get(queue)[0] is None
    channel.tx_commit()
    assert channel.basic_get(queue)[2] == b"done"


def test_pika_sees_why_a_channel_was_closed(channel: BlockingChannel) -> None:
    with pytest.raises(ChannelClosedByBroker) as raised:
        channel.queue_declare("missing", passive=True)
    assert raised.value.reply_code == 404
    assert raised.value.reply_text == "NOT_FOUND - no queue 'missing' in vhost '/'"
    again = channel.connection.channel()
    assert again.queue_declare("", exclusive=True).method.queue.startswith("amq.gen-")


def test_pika_sends_a_large_body(channel: BlockingChannel, queue: str) -> None:
    body = bytes(range(256)) * 4096  # 1 MiB, eight frames
    channel.basic_publish("", queue, body)
    assert channel.basic_get(queue)[2] == body


def test_pika_asks_with_direct_reply_to(channel: BlockingChannel, queue: str) -> None:
    answers: list[bytes] = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda *message: answers.append(message[3]), auto_ack=True
    )
    asks = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
    channel.basic_publish("", queue, b"question", asks)
    method, properties, _ = channel.basic_get(queue, auto_ack=True)
    assert method is not None
    channel.basic_publish("", properties.reply_to, b"answer")
    channel.connection.process_data_events(time_limit=5)
    assert answers == [b"answer"]


# -- aio-pika


@asynccontextmanager
async def aio_channel(broker: BrokerProcess) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A channel of a robust connection."""
    connection = await aio_pika.connect_robust(host=broker.host, port=broker.port)
    async with connection:
        yield await connection.channel()


def test_aio_pika_publishes_and_consumes(broker: BrokerProcess) -> None:
    async def run() -> list[bytes]:
        seen = []
        async with aio_channel(broker) as channel:
            await channel.set_qos(prefetch_count=2)
            exchange = await channel.declare_exchange("aio", "topic", auto_delete=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "news.#")
            for number in range(5):
                news = aio_pika.Message(b"%d" % number, delivery_mode=2)
                await exchange.publish(news, f"news.{number}")
            async with queue.iterator(timeout=5) as messages:
                async for message in messages:
                    async with message.process():
                        seen.append(message.body)
                    if len(seen) == 5:
                        break
        return seen

    assert asyncio.run(run()) == [b"0", b"1", b"2", b"3", b"4"]


def test_aio_pika_is_told_what_cannot_be_routed(broker: BrokerProcess) -> None:
    async def run() -> None:
        connection = await aio_pika.connect(host=broker.host, port=broker.port)
        async with connection:
            channel = await connection.channel(on_return_raises=True)
            await channel.default_exchange.publish(aio_pika.Message(b"lost"), "nowhere")

    with pytest.raises(aio_pika.exceptions.DeliveryError):
        asyncio.run(run())


def test_aio_pika_calls_procedures(broker: BrokerProcess) -> None:
    async def multiply(*, x: int, y: int) -> int:
        return x * y

    async def run() -> list[int]:
        async with aio_channel(broker) as serving, aio_channel(broker) as asking:
            server, client = await RPC.create(serving), await RPC.create(asking)
            await server.register("multiply", multiply, auto_delete=True)
            calls = [client.call("multiply", {"x": x, "y": 10}) for x in range(10)]
            return list(await asyncio.gather(*calls))

    assert asyncio.run(run()) == [x * 10 for x in range(10)]


def test_aio_pika_transactions(broker: BrokerProcess) -> None:
    async def run() -> int | None:
        connection = await aio_pika.connect(host=broker.host, port=broker.port)
        async with connection:
            channel = await connection.channel(publisher_confirms=False)
            queue = await channel.declare_queue(exclusive=True)
            async with channel.transaction():
                for _ in range(3):
                    await channel.default_exchange.publish(aio_pika.Message(b"m"), queue.name)
            again = await channel.declare_queue(queue.name, passive=True)
            return again.declaration_result.message_count

    assert asyncio.run(run()) == 3


# -- amqp-tools


def tool(broker: BrokerProcess, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one of the amqp-tools; skips where they are not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed (amqp-tools)")
    return subprocess.run(
        [program, f"--server={broker.host}", f"--port={broker.port}", *options],
        capture_output=True, text=True, timeout=TOOLS_SECONDS_MAX, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.interop
def test_amqp_tools_round_trip(broker: BrokerProcess) -> None:
    declared = tool(broker, "amqp-declare-queue", "-q", "tools", "-d")
    assert (declared.returncode, declared.stdout.strip()) == (0, "tools"), declared.stderr
    for body in ("first", "second"):
        sent = tool(broker, "amqp-publish", "-r", "tools", "-b", body, "-p", "-H", "n: 1")
        assert sent.returncode == 0, sent.stderr
    assert tool(broker, "amqp-get", "-q", "tools").stdout == "first"
    consumed = tool(broker, "amqp-consume", "-q", "tools", "-c", "1", "cat")
    assert (consumed.returncode, consumed.stdout) == (0, "second"), consumed.stderr
    assert tool(broker, "amqp-get", "-q", "tools").returncode == 2
    deleted = tool(broker, "amqp-delete-queue", "-q", "tools")
    assert (deleted.returncode, deleted.stdout.strip()) == (0, "0"), deleted.stderr


@pytest.mark.interop
def test_amqp_tools_show_why_a_channel_was_closed(broker: BrokerProcess) -> None:
    failed = tool(broker, "amqp-get", "-q", "missing")
    assert failed.returncode != 0
    assert "NOT_FOUND - no queue 'missing' in vhost '/'" in failed.stderr
