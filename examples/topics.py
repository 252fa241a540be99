"""Topics: bindings with patterns. `*` stands for one word of the routing key, `#` for any number.

python examples/topics.py [amqp://guest:guest@localhost:5672]
"""

import sys

import pika

SENSORS = "example.sensors"
PATTERNS = ("*.kitchen.*", "temperature.#", "#")
READINGS = {
    "temperature.kitchen.north": "21.5",
    "humidity.kitchen.sink": "0.6",
    "temperature.attic": "35.0",
}


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(SENSORS, "topic", auto_delete=True)
    queues = {}
    for pattern in PATTERNS:
        queues[pattern] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queues[pattern], SENSORS, routing_key=pattern)

    channel.confirm_delivery()  # a message is in its queues when basic_publish returns
    for key, value in READINGS.items():
        channel.basic_publish(SENSORS, key, value.encode())

    for pattern, queue in queues.items():
        waiting = channel.queue_declare(queue, passive=True).method.message_count
        keys = [channel.basic_get(queue, auto_ack=True)[0].routing_key for _ in range(waiting)]
        print(f"{pattern}: {', '.join(keys)}")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
