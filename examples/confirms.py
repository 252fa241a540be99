"""Publisher confirms: the broker says that a message is safe, or why it is not.

Mansio confirms a persistent message in a durable queue when it is on disk.

python examples/confirms.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika
from pika.exceptions import NackError, UnroutableError

PAYMENTS = "example.payments"


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(
        PAYMENTS, durable=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"}
    )
    channel.confirm_delivery()  # from now on basic_publish returns when the broker has answered
    persistent = pika.BasicProperties(delivery_mode=2)

    for body in (b"10 EUR", b"20 EUR", b"30 EUR"):
        try:
            channel.basic_publish("", PAYMENTS, body, persistent, mandatory=True)
            print("safe:", body.decode())
        except NackError:
            print("rejected, the queue is full:", body.decode())

    try:
        # mandatory: to be told when no queue is there for the message
        channel.basic_publish("", "example.typo", b"40 EUR", persistent, mandatory=True)
    except UnroutableError as error:
        print("returned, no such queue:", error.messages[0].body.decode())

    channel.queue_delete(PAYMENTS)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
