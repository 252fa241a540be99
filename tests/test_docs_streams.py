"""The snippets of docs/streams.md work as they stand, one after the other, and do what the page says."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import ConnectionClosedByBroker

from tests.conftest import BrokerStarter

PAGE = (Path(__file__).parent.parent / "docs" / "streams.md").read_text()
READ, RETENTION, BOOKMARK, GROUP, LETTERS, PARTITIONS, PRODUCER, REDIS = re.findall(
    r"```python\n(.*?)```", PAGE, re.DOTALL
)


def wait_for(connection: Any, condition: Callable[[], bool]) -> None:
    """Lets callbacks run until this is true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        connection.process_data_events(time_limit=0.01)


def test_snippets(start_broker: BrokerStarter, capsys: pytest.CaptureFixture[str]) -> None:
    broker = start_broker()  # of its own: they leave something behind
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    channel = connection.channel()
    names: dict[str, Any] = {"pika": pika, "connection": connection, "channel": channel}

    def count(queue: str) -> int:
        found: int = channel.queue_declare(queue, passive=True).method.message_count
        return found

    exec(READ, names)
    assert capsys.readouterr().out == "0 b'cart made'\n"
    exec(RETENTION, names)
    for event in (b"book added", b"paid"):
        channel.basic_publish("", "events", event)
    exec(BOOKMARK, names)
    assert names["bookmark"] == 2 and count("events") == 3
    exec(GROUP, names)
    wait_for(connection, lambda: count("billing") == 0)
    exec(LETTERS, names)
    channel.basic_publish("", "events", b"bounced")
    refuse_until_it_is_a_letter(connection, lambda: count("failed"))
    exec(PARTITIONS, names)
    wait_for(connection, lambda: sum(count(f"shipping-{n}") for n in range(4)) == 0)
    assert sum(count(f"orders-{n}") for n in range(4)) == 1
    exec(PRODUCER, names)
    assert count("measures") == 2
    with pytest.raises(
        ConnectionClosedByBroker, match="540"
    ):  # there are readers, as the page says
        connection.close()


def test_the_snippet_for_redis(start_broker: BrokerStarter) -> None:
    broker = start_broker(redis=True)
    names: dict[str, Any] = {}
    exec(REDIS.replace("Redis()", f"Redis(port={broker.redis_port})"), names)
    assert names["fields"] == {b"kind": b"order", b"body": b"4711"}
    assert names["r"].xpending("orders", "billing")["pending"] == 0


def refuse_until_it_is_a_letter(connection: Any, letters: Callable[[], int]) -> None:
    """Five returns are allowed, the sixth goes to the dead letters, with its offset."""
    member = connection.channel()
    seen = 0
    while not letters():
        method, properties, _ = member.basic_get("mailing")
        if method is None:
            continue
        assert properties.headers["x-delivery-count"] == seen
        member.basic_nack(method.delivery_tag, requeue=True)
        seen += 1
    assert seen == 6
    assert member.basic_get("failed")[1].headers["x-stream-offset"] == 3
