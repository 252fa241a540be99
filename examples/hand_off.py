"""Transactional hand-off: take from one queue and put into another, both or neither.

An acknowledgement and a publish in one transaction are one entry in Mansio's log, also when
they concern different queues. So no crash, of the worker or of the broker, loses or doubles anything.

python examples/hand_off.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

ORDERS, INVOICES = "example.handoff.orders", "example.handoff.invoices"
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def hand_off(url: str, *, crash: bool) -> None:
    """Make an invoice of the next order."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.tx_select()
    method, _, order = channel.basic_get(ORDERS)
    channel.basic_publish("", INVOICES, b"invoice for " + order, PERSISTENT)
    channel.basic_ack(method.delivery_tag)
    if not crash:
        channel.tx_commit()  # returns when both are on disk
    connection.close()  # without a commit nothing has happened


def waiting(channel, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).method.message_count


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in (ORDERS, INVOICES):
        channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", ORDERS, b"3 chairs", PERSISTENT)

    for crash in (True, False):
        hand_off(url, crash=crash)
        print("crashed before the commit:" if crash else "committed:", end=" ")
        print(f"orders {waiting(channel, ORDERS)}, invoices {waiting(channel, INVOICES)}")
    print(channel.basic_get(INVOICES, auto_ack=True)[2].decode())

    for queue in (ORDERS, INVOICES):
        channel.queue_delete(queue)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
