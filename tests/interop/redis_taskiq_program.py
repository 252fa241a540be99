"""What taskiq-redis asks of Redis: its kinds of broker, and results. URL, a name, and what to try are given."""

import asyncio
import sys
import uuid
from typing import Any

from taskiq import BrokerMessage, TaskiqResult  # type: ignore[import-not-found]
from taskiq.utils import maybe_awaitable  # type: ignore[import-not-found]
from taskiq_redis import (  # type: ignore[import-not-found]
    ListQueueBroker,
    PubSubBroker,
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

TEXTS = ("one", "two", "three")


async def hear(broker: Any, count: int) -> list[str]:
    """The next tasks, acknowledged where that means something."""
    heard: list[str] = []
    async for message in broker.listen():
        data = message if isinstance(message, bytes) else message.data
        heard.append(data.decode())
        if not isinstance(message, bytes):
            await maybe_awaitable(message.ack())
        if len(heard) == count:
            break
    return heard


async def pending(broker: RedisStreamBroker, group: str) -> int:
    """How many are not acknowledged."""
    from redis.asyncio import Redis  # type: ignore[import-not-found]

    async with Redis(connection_pool=broker.connection_pool) as client:
        return int((await client.xpending(broker.queue_name, group))["pending"])


async def tasks(url: str, name: str, kind: str) -> None:
    """Tasks in order, from a worker that waits before they come."""
    if kind == "stream":
        broker = RedisStreamBroker(url, queue_name=name, consumer_group_name="workers")
    elif kind == "list":
        broker = ListQueueBroker(url, queue_name=name)
    else:
        broker = PubSubBroker(url, queue_name=name)
    await broker.startup()
    listening = asyncio.create_task(hear(broker, len(TEXTS)))
    await asyncio.sleep(0.5)
    for text in TEXTS:
        await broker.kick(
            BrokerMessage(task_id=text, task_name="t", message=text.encode(), labels={})
        )
    print(*await asyncio.wait_for(listening, 20), sep=", ")
    if kind == "stream":
        # A second round: behind each one the broker claims what others left, under a lock.
        listening = asyncio.create_task(hear(broker, 1))
        await broker.kick(BrokerMessage(task_id="4", task_name="t", message=b"four", labels={}))
        print(*await asyncio.wait_for(listening, 20), await pending(broker, "workers"))
    await broker.shutdown()


async def abandoned(url: str, name: str) -> None:
    """A task that a worker took and never acknowledged comes to another one."""
    first = RedisStreamBroker(url, queue_name=name, consumer_name="first", idle_timeout=50)
    second = RedisStreamBroker(url, queue_name=name, consumer_name="second", idle_timeout=50)
    await first.startup()
    await first.kick(BrokerMessage(task_id="1", task_name="t", message=b"lost", labels={}))
    listening = first.listen()
    await anext(listening)
    await asyncio.sleep(0.2)
    await second.startup()
    await second.kick(BrokerMessage(task_id="2", task_name="t", message=b"other", labels={}))
    print(*sorted(await asyncio.wait_for(hear(second, 2), 20)), sep=", ")
    await first.shutdown()
    await second.shutdown()


async def results(url: str) -> None:
    """Results that are kept, and those that are given once."""
    for keep in (True, False):
        backend = RedisAsyncResultBackend(url, result_ex_time=60, keep_results=keep)
        task = uuid.uuid4().hex
        result = TaskiqResult(is_err=False, log=None, return_value=[1, "two"], execution_time=0.1)
        await backend.set_result(task, result)
        first = await backend.get_result(task)
        print(first.return_value, await backend.is_result_ready(task))
        await backend.shutdown()


async def main(url: str, name: str, kind: str) -> None:
    if kind == "results":
        await results(url)
    elif kind == "abandoned":
        await abandoned(url, name)
    else:
        await tasks(url, name, kind)


asyncio.run(main(*sys.argv[1:]))
