"""What taskiq-aio-pika asks of a broker: priorities, its two kinds of delay, a delivery limit.

URL, a name for queues, and what to try are given.
"""

import asyncio
import sys
from typing import Any

from taskiq import BrokerMessage  # type: ignore[import-not-found]
from taskiq.utils import maybe_awaitable  # type: ignore[import-not-found]
from taskiq_aio_pika import (  # type: ignore[import-not-found]
    AioPikaBroker,
    Exchange,
    Queue,
    QueueType,
)


def broker(url: str, name: str, queue: Queue, **options: Any) -> AioPikaBroker:
    """One queue, and one for dead letters."""
    made = AioPikaBroker(
        url,
        exchange=Exchange(name=name),
        task_queues=[queue],
        dead_letter_queue=Queue(name=f"{name}.dead", type=QueueType.CLASSIC),
        **options,
    )
    made.is_worker_process = True
    return made


async def send(to: AioPikaBroker, text: str, **labels: str) -> None:
    """A task that only has a name."""
    message = BrokerMessage(task_id=text, task_name="t", message=text.encode(), labels=labels)
    await to.kick(message)


async def hear(at: AioPikaBroker, count: int) -> list[str]:
    """The next tasks, acknowledged."""
    heard: list[str] = []
    messages = at.listen()
    while len(heard) < count:
        message = await anext(messages)
        heard.append(message.data.decode())
        await maybe_awaitable(message.ack())
    return heard


async def delays(url: str, name: str, **options: Any) -> None:
    """Higher priorities first, and what is delayed last."""
    queue = Queue(name=f"{name}.tasks", type=QueueType.CLASSIC, max_priority=10)
    sender = broker(url, name, queue, **options)
    await sender.startup()
    await send(sender, "late", delay="0.6")
    for priority in (1, 9, 5):
        await send(sender, f"priority {priority}", priority=str(priority))
    print(*await hear(sender, 4), sep=", ")
    await sender.shutdown()


async def limit(url: str, name: str) -> None:
    """A task that comes back too often ends among the dead letters."""
    arguments = {"x-delivery-limit": 2}
    queue = Queue(name=f"{name}.tasks", type=QueueType.QUORUM, arguments=arguments)
    sender = broker(url, name, queue)
    await sender.startup()
    await send(sender, "poison")
    channel = sender.write_channel
    tasks = await channel.get_queue(queue.name)
    for _ in range(3):
        message = await tasks.get(timeout=5)
        await message.nack(requeue=True)
    dead = await channel.get_queue(f"{name}.dead")
    while (message := await dead.get(fail=False)) is None:
        await asyncio.sleep(0.05)
    print(message.body.decode(), message.headers["x-death"][0]["reason"])
    await sender.shutdown()


async def main(url: str, name: str, what: str) -> None:
    if what == "queue":
        delay_queue = Queue(name=f"{name}.delay", type=QueueType.CLASSIC)
        await delays(url, name, delay_queue=delay_queue)
    elif what == "exchange":
        await delays(url, name, delayed_message_exchange_plugin=True)
    else:
        await limit(url, name)


asyncio.run(main(*sys.argv[1:]))
