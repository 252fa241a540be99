"""An event log with replay: events stay when they are read, and every reader begins where it wants to.

A stream is declared as a queue with `x-queue-type: stream`. Each message says its offset in a header. Readers need a
prefetch count; their acknowledgements ask for more, and take nothing away.

python examples/event_log.py [amqp://guest:guest@localhost:5672]
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika

EVENTS = "example.events"
ARGUMENTS = {
    "x-queue-type": "stream",
    "x-max-age": "7D",  # what is older goes, in whole segments of this size
    "x-stream-max-segment-size-bytes": 10_000_000,
}


def publish(url: str, *events: str) -> None:
    """Append events, and wait until they are safe."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(EVENTS, durable=True, arguments=ARGUMENTS)
    channel.confirm_delivery()
    for event in events:
        channel.basic_publish("", EVENTS, event.encode())
    connection.close()


def read(url: str, begin: int | str, last: str) -> Iterator[tuple[int, str]]:
    """Offsets and events up to `last`, from `begin` on: first, last, next, an offset, a datetime, or how long ago."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=100)
    for method, properties, body in channel.consume(EVENTS, arguments={"x-stream-offset": begin}):
        channel.basic_ack(method.delivery_tag)
        yield properties.headers["x-stream-offset"], body.decode()
        if body.decode() == last:
            break
    connection.close()


class Bookmark:
    """Where a reader is. It keeps that itself, best in one transaction with what it makes of the events."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def next(self) -> int:
        return int(self.path.read_text()) + 1 if self.path.exists() else 0

    def set(self, offset: int) -> None:
        self.path.write_text(str(offset))


def main(url: str) -> None:
    publish(url, "cart made", "book added", "pen added")

    for offset, event in read(url, "first", last="pen added"):
        print(f"from the first on: {offset} {event}")

    with tempfile.TemporaryDirectory() as folder:
        bookmark = Bookmark(Path(folder) / "bookmark")
        for last in ("pen added", "paid"):
            if last == "paid":
                publish(url, "paid")
            print("the shop starts at offset", bookmark.next())
            for offset, event in read(url, bookmark.next(), last):
                print(f"shop: {offset} {event}")
                bookmark.set(offset)

    print("of the last hour:", ", ".join(event for _, event in read(url, "1h", last="paid")))

    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_delete(EVENTS)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
