"""Lists are queues: redis-py and pika, each at one end."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
import redis
from pika.adapters.blocking_connection import (  # type: ignore[import-untyped]
    BlockingChannel,
)

from tests.conftest import BrokerProcess, BrokerStarter

pytestmark = pytest.mark.timeout(300)

SECONDS_MAX = 120
TASKS = 800


@pytest.fixture
def broker(start_broker: BrokerStarter) -> BrokerProcess:
    return start_broker(redis=True)


@pytest.fixture(params=[2, 3])
def lists(request: pytest.FixtureRequest, broker: BrokerProcess) -> Iterator["redis.Redis[Any]"]:
    with redis_of(broker, request.param) as client:
        yield client


def redis_of(broker: BrokerProcess, protocol: int = 3) -> "redis.Redis[Any]":
    return redis.Redis(broker.host, broker.redis_port, protocol=protocol)


@pytest.fixture
def channel(broker: BrokerProcess) -> Iterator[BlockingChannel]:
    with channel_of(broker).connection as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def channel_of(broker: BrokerProcess) -> BlockingChannel:
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port)).channel()


def test_pika_publishes_and_redis_pops(lists: Any, channel: BlockingChannel) -> None:
    channel.queue_declare("tasks", durable=True)
    for i in range(3):
        channel.basic_publish("", "tasks", b"%d" % i, pika.BasicProperties(headers={"n": i}))
    assert list(lists.brpop("tasks", 5)) == [b"tasks", b"0"]
    assert lists.lrange("tasks", 0, -1) == [b"2", b"1"]
    assert lists.rpop("tasks", 5) == [b"1", b"2"]


def test_redis_pushes_and_pika_consumes(lists: Any, channel: BlockingChannel) -> None:
    channel.queue_declare("tasks", durable=True)
    lists.lpush("tasks", "a", "b")
    lists.lpush("tasks", b"c" * 300_000)
    seen: list[bytes] = []
    for method, properties, body in channel.consume("tasks", inactivity_timeout=10):
        assert properties.delivery_mode == 2
        channel.basic_ack(method.delivery_tag)
        seen.append(body)
        if len(seen) == 3:
            break
    assert seen == [b"a", b"b", b"c" * 300_000]


def test_headers_survive_a_move(lists: Any, channel: BlockingChannel) -> None:
    channel.queue_declare("tasks", durable=True)
    properties = pika.BasicProperties(headers={"n": 1}, content_type="text/plain", delivery_mode=2)
    channel.basic_publish("", "tasks", b"x", properties)
    assert lists.blmove("tasks", "taken", 5, "RIGHT", "LEFT") == b"x"
    method, got, body = channel.basic_get("taken", auto_ack=True)
    assert (body, got.headers, got.content_type) == (b"x", {"n": 1}, "text/plain")
    assert method.routing_key == "taken"


def test_a_reader_of_a_stream_gets_what_redis_pushes(lists: Any, channel: BlockingChannel) -> None:
    channel.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
    assert lists.lpush("log", "a", "b") == 2
    channel.basic_qos(prefetch_count=10)
    seen = []
    first = {"x-stream-offset": "first"}
    for method, _, body in channel.consume("log", arguments=first, inactivity_timeout=10):
        channel.basic_ack(method.delivery_tag)
        seen.append(body)
        if len(seen) == 2:
            break
    assert seen == [b"a", b"b"]


def test_the_reliable_queue_pattern(lists: Any, broker: BrokerProcess) -> None:
    lists.lpush("jobs", *range(10))
    dying = redis_of(broker)
    assert dying.blmove("jobs", "processing", 5, "RIGHT", "LEFT") == b"0"
    dying.close()
    assert lists.lrange("processing", 0, -1) == [b"0"]
    while (job := lists.lmove("processing", "jobs", "LEFT", "RIGHT")) is not None:
        assert job == b"0"
    done = []
    while (job := lists.lmove("jobs", "processing", "RIGHT", "LEFT")) is not None:
        done.append(int(job))
        assert lists.lrem("processing", 1, job) == 1
    assert done == list(range(10))
    assert lists.exists("jobs", "processing") == 0


def test_what_a_dead_worker_reserved_comes_back(lists: Any, broker: BrokerProcess) -> None:
    lists.lpush("jobs", "a", "b")
    dying = redis_of(broker)
    id, body = dying.execute_command("MANSIO.RESERVE", "jobs", 5)
    assert body == b"a"
    assert lists.llen("jobs") == 1
    dying.close()
    deadline = time.monotonic() + SECONDS_MAX
    while lists.llen("jobs") < 2:
        assert time.monotonic() < deadline
    id, body = lists.execute_command("MANSIO.RESERVE", "jobs", 5)
    assert body == b"a"
    assert lists.execute_command("MANSIO.ACK", id) == 1


class Fleet:
    """Workers of both kinds, and what they have done."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        self.done: list[bytes] = []
        self.by: dict[str, int] = {"list": 0, "amqp": 0}
        self._stops: list[threading.Event] = []
        self._threads: list[threading.Thread] = []

    def start(self, kind: str) -> threading.Event:
        stop = threading.Event()
        run = self._pop if kind == "list" else self._consume
        thread = threading.Thread(target=run, args=(stop,))
        thread.start()
        self._threads.append(thread)
        self._stops.append(stop)
        return stop

    def _pop(self, stop: threading.Event) -> None:
        with redis_of(self.broker) as client:
            while not stop.is_set():
                found: Any = client.brpop(["work"], 1)
                if found:
                    self.done.append(found[1])
                    self.by["list"] += 1

    def _consume(self, stop: threading.Event) -> None:
        channel = channel_of(self.broker)
        channel.basic_qos(prefetch_count=5)
        for method, _, body in channel.consume("work", inactivity_timeout=0.1):
            if method is not None:
                self.done.append(body)
                self.by["amqp"] += 1
                channel.basic_ack(method.delivery_tag)
            if stop.is_set():
                break
        channel.connection.close()

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while len(self.done) < count:
            assert time.monotonic() < deadline, f"{len(self.done)} of {count} tasks done"
            time.sleep(0.01)

    def stop(self) -> None:
        for stop in self._stops:
            stop.set()
        for thread in self._threads:
            thread.join()


def test_a_fleet_moves_from_lists_to_amqp_without_losing_a_task(broker: BrokerProcess) -> None:
    fleet = Fleet(broker)
    workers = [fleet.start("list") for _ in range(4)]

    def produce() -> None:
        with redis_of(broker) as client:
            for i in range(TASKS):
                client.lpush("work", i)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for number, worker in enumerate(workers, start=1):
            fleet.wait(number * TASKS // 8)
            fleet.start("amqp")
            worker.set()
        channel = channel_of(broker)
        channel.queue_declare("work", durable=True)  # from here on it stays, also when it is empty
        for i in range(TASKS, TASKS + 200):
            channel.basic_publish("", "work", b"%d" % i)
        fleet.wait(TASKS + 200)
        channel.connection.close()
    finally:
        producer.join()
        fleet.stop()
    assert sorted(map(int, fleet.done)) == list(range(TASKS + 200))
    assert min(fleet.by.values()) > TASKS // 10


def test_a_waiting_client_and_a_consumer_share(broker: BrokerProcess) -> None:
    fleet = Fleet(broker)
    channel = channel_of(broker)
    channel.queue_declare("work", durable=True)
    fleet.start("list")
    fleet.start("amqp")
    try:
        deadline = time.monotonic() + SECONDS_MAX
        while not channel.queue_declare("work", passive=True).method.consumer_count:
            assert time.monotonic() < deadline
        with redis_of(broker) as client:
            for i in range(400):
                client.lpush("work", i)
        fleet.wait(400)
    finally:
        fleet.stop()
    channel.connection.close()
    assert sorted(map(int, fleet.done)) == list(range(400))
    assert min(fleet.by.values()) > 40
