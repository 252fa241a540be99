"""What FastStream asks of Redis: lists, batches, streams, groups, channels, requests. URL and a name are given."""

import asyncio
import sys

from faststream.redis import (  # type: ignore[import-not-found]
    ListSub,
    PubSub,
    RedisBroker,
    StreamSub,
)


async def main(url: str, name: str) -> None:
    broker = RedisBroker(url, logger=None)
    heard: asyncio.Queue[str] = asyncio.Queue()

    @broker.subscriber(list=f"{name}.list")
    async def from_list(text: str) -> None:
        await heard.put(f"list: {text}")

    @broker.subscriber(list=ListSub(f"{name}.batch", batch=True, max_records=10))
    async def from_batch(texts: list[str]) -> None:
        for text in texts:
            await heard.put(f"batch: {text}")

    @broker.subscriber(stream=StreamSub(f"{name}.stream"))
    async def from_stream(text: str) -> None:
        await heard.put(f"stream: {text}")

    @broker.subscriber(stream=StreamSub(f"{name}.group", group="g", consumer="c"))
    @broker.publisher(list=f"{name}.list")
    async def from_group(text: str) -> str:
        await heard.put(f"group: {text}")
        return f"{text} passed on"

    @broker.subscriber(channel=PubSub(f"{name}.news.*", pattern=True))
    async def from_channels(text: str) -> None:
        await heard.put(f"channel: {text}")

    @broker.subscriber(list=f"{name}.echo")
    async def echo(text: str) -> str:
        return text * 2

    async with broker:
        await broker.start()
        await broker.publish("one", list=f"{name}.list")
        await broker.publish_batch("two", "three", list=f"{name}.batch")
        while True:  # a stream without a group is read from what comes once it waits
            await broker.publish("four", stream=f"{name}.stream")
            try:
                got = [await asyncio.wait_for(heard.get(), 1)]
                while not any(text.startswith("stream") for text in got):
                    got.append(await asyncio.wait_for(heard.get(), 1))
                break
            except TimeoutError:
                continue
        await broker.publish("five", stream=f"{name}.group")
        await broker.publish("six", f"{name}.news.today")
        answer = await broker.request("echo", list=f"{name}.echo", timeout=5)
        wanted = {"list: one", "batch: two", "batch: three", "stream: four", "group: five",
                  "list: five passed on", "channel: six"}  # fmt: skip
        while not wanted <= set(got):
            got.append(await asyncio.wait_for(heard.get(), 10))
    print(*sorted(set(got)), await answer.decode(), sep=", ")


asyncio.run(main(*sys.argv[1:]))
