"""RPC with results, with aio-pika: questions go to a queue, answers come back to who asked.

The answers take direct reply-to (`amq.rabbitmq.reply-to`): no queue is declared for them.

python examples/rpc.py [amqp://guest:guest@localhost:5672]
"""

import asyncio
import json
import sys
import uuid

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

QUESTIONS = "example.rpc"
REPLY_TO = "amq.rabbitmq.reply-to"
ANSWER_SECONDS_MAX = 10


async def serve(channel: AbstractChannel) -> None:
    """Divide, for everybody who asks."""

    async def on_question(question: AbstractIncomingMessage) -> None:
        async with question.process():  # acknowledges when the answer is on its way
            a, b = json.loads(question.body)
            try:
                answer = {"result": a / b}
            except ZeroDivisionError as error:
                answer = {"error": str(error)}
            message = aio_pika.Message(
                json.dumps(answer).encode(), correlation_id=question.correlation_id
            )
            await channel.default_exchange.publish(message, question.reply_to)

    queue = await channel.declare_queue(QUESTIONS, auto_delete=True)
    await queue.consume(on_question)


class Client:
    """Asks, and knows by the correlation id which answer belongs to which question."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        self.waiting: dict[str, asyncio.Future[float]] = {}

    async def open(self) -> None:
        answers = await self.channel.get_queue(REPLY_TO, ensure=False)
        await answers.consume(self.on_answer, no_ack=True)

    async def on_answer(self, message: AbstractIncomingMessage) -> None:
        waiting = self.waiting.pop(message.correlation_id)
        answer = json.loads(message.body)
        if "error" in answer:
            waiting.set_exception(ArithmeticError(answer["error"]))
        else:
            waiting.set_result(answer["result"])

    async def divide(self, a: float, b: float) -> float:
        correlation_id = str(uuid.uuid4())
        self.waiting[correlation_id] = asyncio.get_running_loop().create_future()
        question = aio_pika.Message(
            json.dumps([a, b]).encode(), correlation_id=correlation_id, reply_to=REPLY_TO
        )
        await self.channel.default_exchange.publish(question, QUESTIONS)
        return await asyncio.wait_for(self.waiting[correlation_id], ANSWER_SECONDS_MAX)


async def run(url: str) -> None:
    # Server and client have connections of their own, as they would as programs of their own.
    async with await aio_pika.connect(url) as serving, await aio_pika.connect(url) as asking:
        await serve(await serving.channel())
        client = Client(await asking.channel())
        await client.open()
        results = await asyncio.gather(*(client.divide(84, b) for b in (2, 3, 4)))
        print("84 / 2, 3, 4 =", results)
        try:
            await client.divide(1, 0)
        except ArithmeticError as error:
            print("1 / 0:", error)


def main(url: str) -> None:
    asyncio.run(run(url))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
