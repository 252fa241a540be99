"""Sockets of libzmq that only connect, with no protocol of their own: pipelines, topics, workers that reply."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
import zmq

from tests.conftest import ROOT, BrokerProcess, BrokerStarter, find_free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

WAIT_MS = 20_000


@pytest.fixture
def context() -> Iterator[Any]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


class Sockets:
    """Sockets at one address; metadata are said by their names in small letters."""

    def __init__(self, context: Any, port: int) -> None:
        self._context = context
        self._address = f"tcp://127.0.0.1:{port}"

    def __call__(self, kind: int, **metadata: str) -> Any:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
        socket.setsockopt(zmq.LINGER, WAIT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        for name, value in metadata.items():
            text = f"X-{name.capitalize()}:{value}"
            socket.setsockopt(zmq.METADATA, text.encode())
        socket.connect(self._address)
        return socket


def channel_at(port: int) -> Any:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)).channel()


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while not look():
        assert time.monotonic() < deadline, "time is up"
        time.sleep(0.01)


def ready(broker: BrokerProcess, name: str) -> int:
    channel = channel_at(broker.port)
    count: int = channel.queue_declare(name, passive=True).method.message_count
    channel.connection.close()
    return count


def hears(publish: Callable[[], None], sub: Any) -> None:
    """Publishes until it is heard: nobody else knows that a subscription has arrived."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not sub.poll(20):
        assert time.monotonic() < deadline, "time is up"
        publish()
    while sub.poll(100):
        sub.recv_multipart()


# -- pipelines


def test_ventilator_workers_and_sink(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    count, done = 3000, threading.Event()
    worked: Counter[int] = Counter()

    def work(number: int) -> None:
        tasks, results = sockets(zmq.PULL, queue="work"), sockets(zmq.PUSH, queue="results")
        tasks.setsockopt(zmq.RCVTIMEO, 50)
        while not done.is_set():
            try:
                first, second = tasks.recv_multipart()
            except zmq.Again:
                continue
            worked[number] += 1
            results.send(b"%d" % (int(first) + int(second)))
        tasks.close()
        results.close()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    ventilator, sink = sockets(zmq.PUSH, queue="work"), sockets(zmq.PULL, queue="results")
    for i in range(count):
        ventilator.send_multipart([b"%d" % i, b"1000"])
    results = [int(sink.recv()) for _ in range(count)]
    done.set()
    for worker in workers:
        worker.join()
    assert sorted(results) == list(range(1000, 1000 + count))
    assert sum(worked.values()) == count
    assert not sink.poll(50)


def test_a_socket_that_pushes_before_there_is_a_broker(
    start_broker: BrokerStarter, context: Any
) -> None:
    port = find_free_port()
    sockets = Sockets(context, port)
    push = sockets(zmq.PUSH)
    push.send(b"early")
    start_broker("--zmq-port", str(port))
    assert sockets(zmq.PULL).recv() == b"early"


def test_sockets_come_again_when_the_broker_does(
    start_broker: BrokerStarter, context: Any, tmp_path: Any
) -> None:
    port = find_free_port()
    options = ("--zmq-port", str(port), "--data-dir", str(tmp_path / "data"))
    broker = start_broker(*options)
    sockets = Sockets(context, port)
    push = sockets(zmq.PUSH)
    for i in range(100):
        push.send(b"%d" % i)
    eventually(lambda: ready(broker, "tasks") == 100)
    pull, worker, sub = sockets(zmq.PULL, queue="other"), sockets(zmq.REP), sockets(zmq.SUB)
    sub.setsockopt(zmq.SUBSCRIBE, b"t")
    assert worker.recv() == b"0"
    pub = sockets(zmq.PUB)
    hears(lambda: pub.send_multipart([b"t", b""]), sub)
    broker.stop(signal.SIGKILL)
    other = sockets(zmq.PUSH, queue="other")
    other.send(b"while it is away")
    start_broker(*options)
    assert pull.recv() == b"while it is away"
    push.send(b"100")
    hears(lambda: pub.send_multipart([b"t", b""]), sub)
    worker.close(linger=0)
    again = sockets(zmq.REP)
    for i in range(101):  # the first one as well: it was not replied to
        assert int(again.recv()) == i
        again.send(b"done")


def test_a_full_queue_stops_a_socket_that_pushes(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    channel = channel_at(broker.port)
    arguments = {"x-max-length": 10, "x-overflow": "reject-publish"}
    channel.queue_declare("small", arguments=arguments)
    sockets = Sockets(context, broker.zmq_port)
    push = context.socket(zmq.PUSH)
    for option in (zmq.SNDHWM, zmq.SNDBUF):
        push.setsockopt(option, 10)
    push.setsockopt(zmq.METADATA, b"X-Queue:small")
    push.connect(f"tcp://127.0.0.1:{broker.zmq_port}")
    sent = 0
    while push.poll(300, zmq.POLLOUT):
        push.send(b"%06d" % sent + bytes(100_000))
        sent += 1
        assert sent < 2000
    assert ready(broker, "small") == 10
    pull = sockets(zmq.PULL, queue="small", prefetch="20")
    assert [int(pull.recv()[:6]) for _ in range(sent)] == list(range(sent))
    push.send(b"%06d" % sent)
    assert int(pull.recv()) == sent
    channel.connection.close()


def test_a_worker_that_is_busy_holds_little(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    idle = context.socket(zmq.PULL)
    idle.setsockopt(zmq.RCVHWM, 5)
    idle.setsockopt(zmq.METADATA, b"X-Prefetch:4")
    idle.connect(f"tcp://127.0.0.1:{broker.zmq_port}")
    push = sockets(zmq.PUSH)
    push.send(b"first")
    assert idle.recv() == b"first"
    busy = sockets(zmq.PULL)
    count = 500
    for i in range(count):
        push.send(b"%d" % i)
    got = 0
    while busy.poll(500):
        busy.recv()
        got += 1
    left = 0
    while idle.poll(500):
        idle.recv()
        left += 1
    assert got + left == count
    assert left <= 20


# -- topics


def test_topics_between_sockets_and_amqp_clients(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    sub, pub = sockets(zmq.SUB), sockets(zmq.PUB)
    sub.setsockopt(zmq.SUBSCRIBE, b"news.")
    sub.setsockopt(zmq.SUBSCRIBE, b"10001 ")
    hears(lambda: pub.send_multipart([b"news.", b""]), sub)
    channel = channel_at(broker.port)
    channel.queue_declare("words")
    channel.queue_bind("words", "zmq.topic", "news.*.eu")
    channel.queue_bind("words", "zmq.topic", "10001")
    for topic in (b"news.a.eu", b"new", b"news.b.us", b"news.c.eu"):
        pub.send_multipart([topic, b"of " + topic, b"!"])
    pub.send(b"10001 -5 30")
    assert [sub.recv_multipart() for _ in range(4)] == [
        [b"news.a.eu", b"of news.a.eu", b"!"],
        [b"news.b.us", b"of news.b.us", b"!"],
        [b"news.c.eu", b"of news.c.eu", b"!"],
        [b"10001 -5 30"],
    ]
    found = []
    for method, _, body in channel.consume("words", auto_ack=True, inactivity_timeout=5):
        found.append((method.routing_key, body))
        if len(found) == 3:
            break
    assert found == [
        ("news.a.eu", b"of news.a.eu!"),
        ("news.c.eu", b"of news.c.eu!"),
        ("10001", b"10001 -5 30"),
    ]
    channel.cancel()
    channel.basic_publish("zmq.topic", "news.amqp", b"hello")
    channel.basic_publish("zmq.topic", "nothing", b"for nobody")
    channel.basic_publish("zmq.topic", "news.last", b"hello")
    assert sub.recv_multipart() == [b"news.amqp", b"hello"]
    assert sub.recv_multipart() == [b"news.last", b"hello"]
    sub.setsockopt(zmq.UNSUBSCRIBE, b"news.")
    channel.connection.close()


def test_an_xsub_and_an_xpub_socket(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    sub, pub = sockets(zmq.XSUB), sockets(zmq.XPUB)
    sub.send(b"\x01a")
    assert pub.recv() == b"\x01"  # everything
    hears(lambda: pub.send_multipart([b"a", b"1"]), sub)
    pub.send_multipart([b"b", b"2"])
    pub.send_multipart([b"ab", b"3"])
    assert sub.recv_multipart() == [b"ab", b"3"]


def test_a_subscriber_that_does_not_read_misses_messages(
    start_broker: BrokerStarter, context: Any
) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    slow, fast, pub = sockets(zmq.SUB), sockets(zmq.SUB), sockets(zmq.PUB)
    for sub in (slow, fast):
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        hears(lambda: pub.send_multipart([b"t", b""]), sub)
    while fast.poll(100):
        fast.recv_multipart()
    body = bytes(100_000)
    for i in range(1200):  # more than all buffers hold
        pub.send_multipart([b"%d" % i, body])
        assert fast.recv_multipart()[0] == b"%d" % i
    broker.wait_for_log("messages for it are dropped")
    slow.close(linger=0)
    broker.wait_for_log("it did not read fast enough")


# -- workers that reply

WORKER = """
import json, sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
while True:
    task = socket.recv()
    print(json.dumps(task.decode()), flush=True)
    if task == b"slow":
        time.sleep(600)
    socket.send(task.upper())
"""


def test_a_worker_that_is_killed_in_the_middle(start_broker: BrokerStarter, context: Any) -> None:
    broker = start_broker(zmq=True)
    sockets = Sockets(context, broker.zmq_port)
    channel = channel_at(broker.port)
    answers = channel.queue_declare("", exclusive=True).method.queue
    push = sockets(zmq.PUSH)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(broker.zmq_port)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert worker.stdout is not None
        asked = pika.BasicProperties(reply_to=answers, correlation_id="one")
        push.send(b"first")
        assert json.loads(worker.stdout.readline()) == "first"
        channel.basic_publish("", "tasks", b"slow", asked)
        assert json.loads(worker.stdout.readline()) == "slow"
        worker.kill()
        worker.wait()
        other = sockets(zmq.REP)
        assert other.recv() == b"slow"
        other.send_multipart([b"done", b"!"])
        for _, properties, body in channel.consume(answers, inactivity_timeout=10):
            assert (properties.correlation_id, body) == ("one", b"done!")
            assert properties.headers == {"x-zmq-parts": [4, 1]}
            break
        assert not other.poll(200)
        assert ready(broker, "tasks") == 0
    finally:
        worker.kill()
        worker.wait()
    channel.connection.close()
