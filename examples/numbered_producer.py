"""A producer that numbers its messages, with aio-pika: what it publishes again is stored once.

A producer that hears no confirm cannot know whether its message is there, and publishes it again. A stream with
`x-message-deduplication` remembers until which number it has the messages of each producer, also over restarts.

python examples/numbered_producer.py [amqp://guest:guest@localhost:5672]
"""

import asyncio
import sys

import aio_pika

READINGS = "example.readings"
ARGUMENTS = {"x-queue-type": "stream", "x-message-deduplication": True}


def reading(number: int) -> aio_pika.Message:
    """The numbers of a producer rise; they may have gaps."""
    headers = {"x-producer": "thermometer 1", "x-publishing-id": number}
    return aio_pika.Message(f"reading {number}".encode(), headers=headers)


async def publish(url: str, *numbers: int) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()  # with publisher confirms
        await channel.declare_queue(READINGS, durable=True, arguments=ARGUMENTS)
        for number in numbers:
            await channel.default_exchange.publish(reading(number), READINGS)
    print("published:", *numbers)


async def read(url: str) -> None:
    """Everything that is there."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        queue = await channel.get_queue(READINGS)
        left = queue.declaration_result.message_count
        everything: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def on_reading(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            nonlocal left
            await message.ack()
            print(f"offset {message.headers['x-stream-offset']}: {message.body.decode()}")
            left -= 1
            if left == 0:
                everything.set_result(None)

        tag = await queue.consume(on_reading, arguments={"x-stream-offset": "first"})
        await everything
        await queue.cancel(tag)
        await queue.delete(if_unused=False, if_empty=False)


async def run(url: str) -> None:
    await publish(url, 1, 2, 3)
    # The connection broke before the confirms of 2 and 3 came. So the producer publishes them again.
    await publish(url, 2, 3, 4)
    await read(url)


def main(url: str) -> None:
    asyncio.run(run(url))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
