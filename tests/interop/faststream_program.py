"""What FastStream asks of a broker: dead letters, priorities, requests, kinds of exchange. URL and a name are given."""

import asyncio
import sys

from faststream.rabbit import (  # type: ignore[import-not-found]
    ExchangeType,
    RabbitBroker,
    RabbitExchange,
    RabbitQueue,
)


async def main(url: str, name: str) -> None:
    broker = RabbitBroker(url, logger=None)
    heard: asyncio.Queue[str] = asyncio.Queue()
    arguments = {
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{name}.dead",
    }  # fmt: skip
    topics = RabbitExchange(f"{name}.topics", type=ExchangeType.TOPIC, auto_delete=True)
    headers = RabbitExchange(f"{name}.headers", type=ExchangeType.HEADERS, auto_delete=True)
    match = {"x-match": "all", "colour": "red"}

    @broker.subscriber(RabbitQueue(f"{name}.work", arguments=arguments))
    async def fail(text: str) -> None:
        raise ValueError(text)

    @broker.subscriber(f"{name}.dead")
    async def bury(text: str) -> None:
        await heard.put(f"dead: {text}")

    @broker.subscriber(RabbitQueue(f"{name}.topic", routing_key="*.b.#", auto_delete=True), topics)
    async def by_topic(text: str) -> None:
        await heard.put(f"topic: {text}")

    @broker.subscriber(
        RabbitQueue(f"{name}.header", bind_arguments=match, auto_delete=True), headers
    )
    async def by_header(text: str) -> None:
        await heard.put(f"header: {text}")

    @broker.subscriber(f"{name}.echo")
    async def echo(text: str) -> str:
        return text * 2

    async with broker:
        await broker.start()
        await broker.publish("work", f"{name}.work")
        await broker.publish("one", "a.b.c", exchange=topics)
        await broker.publish("two", "c.d", exchange=topics)
        await broker.publish("three", exchange=headers, headers={"colour": "blue"})
        await broker.publish("four", exchange=headers, headers={"colour": "red"})
        answer = await broker.request("echo", f"{name}.echo", timeout=5)
        got = [await asyncio.wait_for(heard.get(), 10) for _ in range(3)]
    print(*sorted(got), await answer.decode(), sep=", ")


asyncio.run(main(*sys.argv[1:]))
