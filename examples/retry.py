"""Retry with back-off: what a worker rejects comes back later, some times, and is then put aside.

The queue argument `x-retry` says when. It is a list of delays, as here, or a formula:
{"first": 1000, "factor": 2, "max": 60000, "jitter": 0.1, "limit": 5}, in milliseconds.

python examples/retry.py [amqp://guest:guest@localhost:5672]
"""

import sys
import time

import pika

MAILS, FAILED = "example.mails", "example.mails.failed"
ARGUMENTS = {
    "x-retry": {"delays": [100, 200, 400]},
    "x-dead-letter-exchange": "",  # where a message goes when its attempts are used up
    "x-dead-letter-routing-key": FAILED,
}


def send(mail: bytes, attempt: int) -> None:
    """Stands for work that fails: one mail at its first attempt, another one always."""
    if mail == b"to nobody" or attempt == 1:
        raise ConnectionError("the mail server does not answer")


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(MAILS, durable=True, arguments=ARGUMENTS)
    channel.queue_declare(FAILED, durable=True)
    for mail in (b"to ada", b"to nobody"):
        channel.basic_publish("", MAILS, mail, pika.BasicProperties(delivery_mode=2))

    attempts: dict[bytes, int] = {}

    def on_mail(channel, method, properties, mail: bytes) -> None:
        attempts[mail] = attempts.get(mail, 0) + 1
        try:
            send(mail, attempts[mail])
            channel.basic_ack(method.delivery_tag)
            print(f"{mail.decode()}: sent at attempt {attempts[mail]}")
        except ConnectionError as error:
            channel.basic_nack(method.delivery_tag)  # the broker brings it back after its delay
            print(f"{mail.decode()}: attempt {attempts[mail]} failed, {error}")

    def on_failed(channel, method, properties, mail: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        print(f"{mail.decode()}: given up")
        channel.stop_consuming()

    began = time.monotonic()
    channel.basic_consume(MAILS, on_mail)
    channel.basic_consume(FAILED, on_failed)
    channel.start_consuming()
    print("at least 700 ms later:", time.monotonic() - began >= 0.7)

    channel.queue_delete(MAILS)
    channel.queue_delete(FAILED)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
