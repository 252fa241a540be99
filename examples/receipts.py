"""Receipts: who publishes learns that the work was done, not just that the message was stored.

With the header `x-receipt` and a reply-to, the broker sends a message when yours was settled:
acknowledged, rejected, expired or dropped, by whom, after how long, after how many deliveries.

python examples/receipts.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

ORDERS = "example.orders"
REPLY_TO = "amq.rabbitmq.reply-to"  # receipts come to this connection; a queue's name does, too


def on_order(channel, method, properties, body) -> None:
    """A kitchen that cannot make tea."""
    if body == b"coffee":
        channel.basic_ack(method.delivery_tag)
    else:
        channel.basic_reject(method.delivery_tag, requeue=False)


def main(url: str) -> None:
    kitchen = pika.BlockingConnection(pika.URLParameters(url))
    orders = kitchen.channel()
    orders.queue_declare(ORDERS, durable=True)
    orders.basic_consume(ORDERS, on_order, consumer_tag="kitchen")

    guest = pika.BlockingConnection(pika.URLParameters(url))
    channel = guest.channel()
    receipts: list[pika.BasicProperties] = []
    channel.basic_consume(REPLY_TO, lambda *message: receipts.append(message[2]), auto_ack=True)
    for number, body in enumerate((b"coffee", b"tea"), start=1):
        asks = pika.BasicProperties(
            delivery_mode=2,
            correlation_id=f"order {number}",  # the receipt has it, too
            reply_to=REPLY_TO,
            headers={"x-receipt": True},
        )
        channel.basic_publish("", ORDERS, body, asks)
    while len(receipts) < 2:
        kitchen.process_data_events(time_limit=0.01)
        guest.process_data_events(time_limit=0.01)

    for receipt in receipts:
        told = receipt.headers
        print(
            f"{receipt.correlation_id}: {told['x-receipt-outcome']} in {told['x-receipt-queue']}"
            f" by {told['x-receipt-consumer']}, deliveries: {told['x-receipt-deliveries']}"
        )
    guest.close()
    orders.queue_delete(ORDERS)
    kitchen.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
