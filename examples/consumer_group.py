"""A consumer group with failover: members settle the entries of a stream for the whole group.

The group is a queue that a stream feeds (`x-stream`). The broker keeps what the group has settled; the stream keeps
its entries, and other groups get all of them, too. Here the members share the entries.
`x-single-active-consumer` would give all of them to one member, and to the next one when that is gone.

python examples/consumer_group.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

ORDERS, BILLING, AUDIT = "example.orders.log", "example.billing", "example.audit"
GROUP = {"x-stream": ORDERS, "x-stream-offset": "first"}


class Member:
    """Takes one order after the other; in earnest it is a process of its own."""

    def __init__(self, url: str, name: str, group: str) -> None:
        self.name = name
        self.seen = 0
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(group, self.on_order)
        self.dies_with = b""

    def on_order(self, channel, method, properties, order: bytes) -> None:
        self.seen += 1
        if order == self.dies_with:
            print(f"{self.name} dies with {order.decode()}")
            return
        offset = properties.headers["x-stream-offset"]
        print(f"{self.name}: {order.decode()}{' again' * method.redelivered}, offset {offset}")
        channel.basic_ack(method.delivery_tag)

    def take(self, count: int) -> None:
        """Handle so many orders, dead or alive."""
        while self.seen < count:
            self.connection.process_data_events(time_limit=1)


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(ORDERS, durable=True, arguments={"x-queue-type": "stream"})
    channel.confirm_delivery()
    for number in range(4):
        channel.basic_publish("", ORDERS, f"order {number}".encode())
    for group in (BILLING, AUDIT):
        channel.queue_declare(group, durable=True, arguments=GROUP)

    ada, bob = Member(url, "ada", BILLING), Member(url, "bob", BILLING)
    ada.dies_with = b"order 2"
    ada.take(2)
    ada.connection.close()
    bob.take(3)
    channel.basic_publish("", ORDERS, b"order 4")
    bob.take(4)
    bob.connection.close()

    for group in (BILLING, AUDIT):
        lag = channel.queue_declare(group, durable=True, passive=True).method.message_count
        print(f"{group} is {lag} entries behind")
    channel.queue_delete(ORDERS)  # and with it the groups
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
