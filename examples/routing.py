"""Routing: a direct exchange hands a message to the queues that were bound with its routing key.

python examples/routing.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

LOGS = "example.logs"
READERS = {
    "pager": ("error",),
    "archive": ("info", "warning", "error"),
}


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(LOGS, "direct", auto_delete=True)
    queues = {}
    for reader, levels in READERS.items():
        queues[reader] = channel.queue_declare("", exclusive=True).method.queue
        for level in levels:
            channel.queue_bind(queues[reader], LOGS, routing_key=level)

    channel.confirm_delivery()  # a message is in its queues when basic_publish returns
    for level, text in (("info", "started"), ("error", "disk is on fire"), ("debug", "x = 1")):
        channel.basic_publish(LOGS, level, text.encode())

    for reader, queue in queues.items():
        waiting = channel.queue_declare(queue, passive=True).method.message_count
        print(f"{reader} has {waiting}:")
        for _ in range(waiting):
            method, _, body = channel.basic_get(queue, auto_ack=True)
            print(f"  {method.routing_key}: {body.decode()}")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
