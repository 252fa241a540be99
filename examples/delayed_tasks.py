"""Delayed tasks: the header `x-delay` holds any message back for so many milliseconds.

It works on every exchange and queue. A delayed message is kept on disk like any other, so
it may be due in a second or in a year.

python examples/delayed_tasks.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

REMINDERS = "example.reminders"
DELAYS_MS = {"drink": 600, "stretch": 300, "start working": 0}


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(REMINDERS, durable=True)

    for text, delay_ms in DELAYS_MS.items():
        later = pika.BasicProperties(delivery_mode=2, headers={"x-delay": delay_ms})
        channel.basic_publish("", REMINDERS, text.encode(), later)
        print(f"in {delay_ms} ms: {text}")

    for method, _, body in channel.consume(REMINDERS):
        print("now:", body.decode())
        channel.basic_ack(method.delivery_tag)
        if body == b"drink":
            break
    channel.cancel()
    channel.queue_delete(REMINDERS)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
