"""Publish and subscribe: every subscriber gets a copy of every message.

python examples/publish_subscribe.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

NEWS = "example.news"


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(NEWS, "fanout", auto_delete=True)

    # Each subscriber binds a queue of its own, which goes away with its connection.
    subscribers = {}
    for name in ("ada", "grace"):
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, NEWS)
        subscribers[name] = queue

    # The publisher knows the exchange only, not who listens.
    for text in ("it rains", "it stops"):
        channel.basic_publish(NEWS, "", text.encode())

    for name, queue in subscribers.items():
        messages = channel.consume(queue, auto_ack=True)
        for _ in range(2):
            _, _, body = next(messages)
            print(f"{name} heard: {body.decode()}")
        channel.cancel()
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
