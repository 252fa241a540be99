"""Routing by content: bindings hold expressions over properties, headers and the JSON body of messages.

    python examples/content_routing.py [amqp://guest:guest@localhost:5672/]

Needs a Mansio with the extra `content` (pip install 'mansio[content]') and pika.
"""

import json
import os
import sys
from typing import Any

import pika

EXCHANGE = "orders"
UNMATCHED = "orders.unmatched"
BINDINGS = {
    "express": "properties.priority >= 5",
    "large": 'body.total > 1000 && body.currency == "EUR"',
    "vip": 'headers.region == "eu" && "vip" in body.customer.tags',
}
"""Queues and the expressions that lead to them."""

ORDERS: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({"id": 1, "total": 12, "currency": "EUR", "customer": {"tags": []}}, {"region": "eu"}, 9),
    ({"id": 2, "total": 5000, "currency": "EUR", "customer": {"tags": ["vip"]}}, {"region": "eu"}, 0),
    ({"id": 3, "total": 5000, "currency": "USD", "customer": {"tags": ["vip"]}}, {"region": "us"}, 0),
    ({"id": 4, "total": "a lot"}, {}, 5),
]  # fmt: skip
"""(body, headers, priority). The last one has no customer, and a total that is no number: that is no error."""


def declare(channel: Any) -> None:
    """An exchange of type x-content, a queue for each expression, and one for what matches none."""
    channel.exchange_declare(UNMATCHED, "fanout")
    channel.exchange_declare(EXCHANGE, "x-content", arguments={"alternate-exchange": UNMATCHED})
    channel.queue_declare("unmatched")
    channel.queue_bind("unmatched", UNMATCHED)
    for queue, expression in BINDINGS.items():
        channel.queue_declare(queue)
        channel.queue_bind(queue, EXCHANGE, arguments={"x-match-expression": expression})
        print(f"{queue:9} gets what matches  {expression}")


def refuse(connection: Any) -> None:
    """An expression that makes no sense is refused when it is bound."""
    channel = connection.channel()
    expression = "body.total > 1000 &&"
    try:
        channel.queue_bind("large", EXCHANGE, arguments={"x-match-expression": expression})
    except pika.exceptions.ChannelClosedByBroker as error:
        print(f"refused: {expression}\n    {error.reply_text}")


def publish(channel: Any) -> None:
    """The orders, as any publisher would send them: it needs to know nothing of queues and expressions."""
    for body, headers, priority in ORDERS:
        properties = pika.BasicProperties("application/json", headers=headers, priority=priority)
        channel.basic_publish(EXCHANGE, "", json.dumps(body), properties)


def drain(channel: Any, queue: str) -> list[int]:
    """The numbers of the orders that are in a queue."""
    found = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return found
        found.append(json.loads(body)["id"])


def main(url: str) -> None:
    """Declare, publish, and show where the orders went."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    declare(channel)
    refuse(connection)
    publish(channel)
    for queue in (*BINDINGS, "unmatched"):
        print(f"{queue:9} has orders {drain(channel, queue)}")
    for queue in (*BINDINGS, "unmatched"):
        channel.queue_delete(queue)
    for exchange in (EXCHANGE, UNMATCHED):
        channel.exchange_delete(exchange)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("AMQP_URL", "amqp://localhost"))
