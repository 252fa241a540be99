"""Partitioned orders: each customer's orders are handled in order, those of different customers side by side.

    orders ──by customer──► stream 0 ──► queue of the group ──► ada        the members divide the queues
                       └──► stream 1 ──► queue of the group ──► bob        among themselves

An exchange of type x-consistent-hash spreads the orders over streams by their routing key. A group has a queue
for each stream, all with the same `x-stream-group`, and every member consumes from all of them: the broker
activates one member for each, and divides them anew when members come and go.

python examples/partitioned_orders.py [amqp://guest:guest@localhost:5672]
"""

import sys
from collections import defaultdict

import pika

ORDERS = "example.partitioned"
STREAMS = [f"{ORDERS}.{n}" for n in range(4)]
QUEUES = [f"{ORDERS}.billing.{n}" for n in range(4)]
CUSTOMERS = [f"customer {n}" for n in range(12)]


class Member:
    """Handles the orders of whichever partitions it has."""

    def __init__(self, url: str, handled: dict[str, list[str]]) -> None:
        self.handled = handled
        self.partitions: set[str] = set()
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=10)
        for queue in QUEUES:
            self.channel.basic_consume(queue, self.on_order, consumer_tag=queue)

    def on_order(self, channel, method, properties, order: bytes) -> None:
        self.partitions.add(method.consumer_tag)
        self.handled[method.routing_key].append(order.decode())
        channel.basic_ack(method.delivery_tag)


def declare(channel) -> None:
    channel.exchange_declare(ORDERS, "x-consistent-hash", durable=True)
    for stream, queue in zip(STREAMS, QUEUES, strict=True):
        channel.queue_declare(stream, durable=True, arguments={"x-queue-type": "stream"})
        channel.queue_bind(stream, ORDERS, routing_key="1")
        group = {"x-stream": stream, "x-stream-group": f"{ORDERS}.billing"}
        channel.queue_declare(queue, durable=True, arguments=group)


def order(channel, what: str, members: list[Member]) -> None:
    """Every customer orders this; the members are done with it when this returns."""
    handled = members[0].handled
    before = sum(map(len, handled.values()))
    for member in members:
        member.partitions.clear()
    for customer in CUSTOMERS:
        channel.basic_publish(ORDERS, customer, what.encode())
    while sum(map(len, handled.values())) < before + len(CUSTOMERS):
        for member in members:
            member.connection.process_data_events(time_limit=0.01)
    print(f"{what}: partitions by member: {[len(member.partitions) for member in members]}")


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    declare(channel)
    channel.confirm_delivery()

    handled: dict[str, list[str]] = defaultdict(list)
    ada = Member(url, handled)
    order(channel, "tea", [ada])
    bob = Member(url, handled)
    order(channel, "milk", [ada, bob])
    ada.connection.close()
    order(channel, "cake", [bob])
    bob.connection.close()
    in_order = all(handled[customer] == ["tea", "milk", "cake"] for customer in CUSTOMERS)
    print("every customer was served in order:", in_order)

    for stream in STREAMS:
        channel.queue_delete(stream)  # and with it the queue of the group
    channel.exchange_delete(ORDERS)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
