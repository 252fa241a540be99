"""REQ and DEALER sockets of libzmq: newcomers, producers, callers and workers, some of which are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
import zmq

from tests.conftest import BrokerProcess, BrokerStarter, find_free_port

pytestmark = pytest.mark.timeout(120)

WAIT_MS = 20_000
Connect = Callable[..., Any]

WORKER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
socket.send_multipart([b"NEXT", b"q"])
print(socket.recv_multipart()[3].decode(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes sockets: connect(broker, "REQ", option=value …)."""
    context: zmq.Context[Any] = zmq.Context()

    def make(port: BrokerProcess | int, kind: str = "REQ", **options: Any) -> Any:
        socket = context.socket(getattr(zmq, kind))
        for name, value in (
            {"linger": 0, "rcvtimeo": WAIT_MS, "sndtimeo": WAIT_MS} | options
        ).items():
            socket.setsockopt(getattr(zmq, name.upper()), value)
        number = port if isinstance(port, int) else port.zmq_port
        socket.connect(f"tcp://127.0.0.1:{number}")
        return socket

    yield make
    context.destroy(linger=0)


@pytest.fixture
def zmq_broker(start_broker: BrokerStarter) -> BrokerProcess:
    return start_broker(zmq=True)


def ask(socket: Any, *frames: bytes) -> list[bytes]:
    """One request and its reply."""
    socket.send_multipart(frames)
    reply: list[bytes] = socket.recv_multipart()
    return reply


def pika_channel(broker: BrokerProcess) -> Any:
    parameters = pika.ConnectionParameters(broker.host, broker.port)
    return pika.BlockingConnection(parameters).channel()


# -- newcomers


def test_a_newcomers_first_lines(zmq_broker: BrokerProcess, connect: Connect) -> None:
    socket = connect(zmq_broker)
    for number in range(3):
        socket.send(b"resize cat.jpg")
        assert socket.recv() == b"200 %d" % number
    socket.send_string("hello")
    assert socket.recv_string() == "200 3"
    socket.send_json({"n": 1})
    assert socket.recv_json() == {"status": 200, "id": 4}
    socket.send_json({"op": "get", "queue": "tasks"})
    reply = socket.recv_json()
    assert reply["body"] == "resize cat.jpg"
    socket.send_json({"op": "ack", "tag": reply["tag"]})
    assert socket.recv_json() == {"status": 200}
    assert ask(socket, b"PUT", b"q")[0] == b"400"
    assert ask(socket, b"LEN", b"tasks") == [b"200", b"4", b"0", b"0"]


def test_a_newcomers_first_call(zmq_broker: BrokerProcess, connect: Connect) -> None:
    client = connect(zmq_broker, metadata=b"X-Mode:call")
    worker = connect(zmq_broker)

    def work() -> None:
        tag = b""
        result: list[bytes] = []
        for _ in range(20):
            _, tag, _, body, _ = ask(worker, b"NEXT", b"tasks", tag, *result)
            result = [body.upper()]
        ask(worker, b"ACK", tag, *result)

    thread = threading.Thread(target=work)
    thread.start()
    for number in range(20):
        client.send(b"task %d" % number)
        assert client.recv() == b"TASK %d" % number
    thread.join()


def test_a_call_that_nobody_answers(start_broker: BrokerStarter, connect: Connect) -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_ZMQ_CALL_TIMEOUT_MS="200")
    socket = connect(broker, metadata=b"X-Mode:call")
    socket.send(b"hello")
    assert socket.recv() == b"408 nobody has answered in time"
    assert ask(socket, b"CALL", b"q", b"100", b"x")[0] == b"408"
    assert ask(socket, b"PING") == [b"200", b"PONG"]


# -- producers


def test_a_dealer_with_a_window(zmq_broker: BrokerProcess, connect: Connect) -> None:
    socket = connect(zmq_broker, "DEALER", sndhwm=0, rcvhwm=0)
    sent = heard = 0
    while heard < 20_000:
        while sent < 20_000 and sent - heard < 1000:
            socket.send_multipart([b"%d" % sent, b"", b"PUT", b"q", b"x" * (sent % 200)])
            sent += 1
        assert socket.recv_multipart() == [b"%d" % heard, b"", b"200", b"%d" % heard]
        heard += 1
    assert ask(socket, b"LEN", b"q") == [b"200", b"20000", b"0", b"0"]


def test_a_req_that_sends_again_is_taken_once(
    start_broker: BrokerStarter, connect: Connect, tmp_path: Path
) -> None:
    port = find_free_port()
    options = ("--zmq-port", str(port), "--data-dir", str(tmp_path))
    broker = start_broker(*options)
    channel = pika_channel(broker)
    channel.queue_declare("once", durable=True, arguments={"x-message-deduplication": True})
    socket = connect(port, req_relaxed=1, req_correlate=1)
    request = [b"PUT", b"once", b"x", b'{"message_id": "m1"}']
    assert ask(socket, *request) == [b"200", b"0"]
    broker.stop(signal.SIGKILL)
    socket.send_multipart(request)
    socket.rcvtimeo = 100
    with pytest.raises(zmq.Again):
        socket.recv_multipart()
    start_broker(*options)
    socket.rcvtimeo = WAIT_MS
    assert ask(socket, *request)[0] == b"200"
    assert ask(socket, b"LEN", b"once")[1] == b"1"


# -- workers


def test_a_killed_worker_gives_its_task_to_the_next(
    zmq_broker: BrokerProcess, connect: Connect
) -> None:
    client, other = connect(zmq_broker), connect(zmq_broker)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(zmq_broker.zmq_port)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    for body in (b"a", b"b"):
        ask(client, b"PUT", b"q", body)
    assert worker.stdout.readline() == "a\n"
    _, tag, redelivered, body, _ = ask(other, b"NEXT", b"q")
    assert (redelivered, body) == (b"0", b"b")
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    _, tag, redelivered, body, _ = ask(other, b"NEXT", b"q", tag)
    assert (redelivered, body) == (b"1", b"a")
    assert ask(other, b"ACK", tag) == [b"200"]
    assert ask(client, b"LEN", b"q") == [b"200", b"0", b"0", b"0"]
    assert ask(other, b"GET", b"q") == [b"204"]


def test_a_worker_that_has_given_up_takes_nothing_with_it(
    zmq_broker: BrokerProcess, connect: Connect
) -> None:
    client, other = connect(zmq_broker), connect(zmq_broker)
    for _ in range(5):
        worker = connect(zmq_broker, rcvtimeo=50)
        worker.send_multipart([b"GET", b"q", b"60000"])
        with pytest.raises(zmq.Again):
            worker.recv()
        worker.close()
    ask(client, b"PUT", b"q", b"x")
    _, tag, _, body, _ = ask(other, b"GET", b"q", b"10000")
    assert body == b"x"
    assert ask(other, b"ACK", tag) == [b"200"]


def test_what_was_answered_holds_over_a_crash(
    start_broker: BrokerStarter, connect: Connect, tmp_path: Path
) -> None:
    port = find_free_port()
    options = ("--zmq-port", str(port), "--data-dir", str(tmp_path))
    broker = start_broker(*options)
    client = connect(port, req_relaxed=1, req_correlate=1)
    for number in range(20):
        assert ask(client, b"PUT", b"q", b"%d" % number)[0] == b"200"
    tags = [ask(client, b"GET", b"q")[1] for _ in range(10)]
    for tag in tags[:5]:
        assert ask(client, b"ACK", tag) == [b"200"]
    broker.stop(signal.SIGKILL)
    start_broker(*options)
    assert ask(client, b"ACK", tags[5])[0] == b"410"
    left = [ask(client, b"GET", b"q") for _ in range(15)]
    assert [reply[3] for reply in left] == [b"%d" % number for number in range(5, 20)]
    assert ask(client, b"GET", b"q") == [b"204"]


def test_many_workers_share_the_work(zmq_broker: BrokerProcess, connect: Connect) -> None:
    done: list[list[bytes]] = [[] for _ in range(4)]

    def work(number: int, socket: Any) -> None:
        tag = b""
        while True:
            reply = ask(socket, b"NEXT", b"q", tag)
            if reply[3] == b"end":
                ask(socket, b"ACK", reply[1])
                return
            tag = reply[1]
            done[number].append(reply[3])

    threads = [
        threading.Thread(target=work, args=(number, connect(zmq_broker))) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    client = connect(zmq_broker)
    while ask(client, b"LEN", b"q")[-1] != b"4":
        pass
    for number in range(200):
        ask(client, b"PUT", b"q", b"%d" % number)
    for _ in threads:
        ask(client, b"PUT", b"q", b"end")
    for thread in threads:
        thread.join()
    assert sorted(int(body) for each in done for body in each) == list(range(200))
    assert all(done)


# -- with AMQP clients


def test_a_pika_worker_answers_a_zeromq_call(zmq_broker: BrokerProcess, connect: Connect) -> None:
    def work() -> None:
        channel = pika_channel(zmq_broker)
        channel.queue_declare("rpc", durable=True)
        for method, properties, body in channel.consume("rpc", inactivity_timeout=30):
            reply = pika.BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, body[::-1], reply)
            channel.basic_ack(method.delivery_tag)
            if body == b"end":
                break
        channel.connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    client = connect(zmq_broker)
    for body in (b"abc", b"x" * 300_000, b"end"):
        assert ask(client, b"CALL", b"rpc", b"20000", body) == [b"200", body[::-1]]
    thread.join()


def test_a_zeromq_worker_answers_a_pika_call(zmq_broker: BrokerProcess, connect: Connect) -> None:
    worker = connect(zmq_broker)

    def work() -> None:
        tag, result = b"", b""
        for _ in range(3):
            reply = ask(worker, b"NEXT", b"rpc", tag, result)
            tag, result = reply[1], reply[3][::-1]
            assert json.loads(reply[4])["correlation_id"]
        ask(worker, b"ACK", tag, result)

    thread = threading.Thread(target=work)
    thread.start()
    channel = pika_channel(zmq_broker)
    channel.queue_declare("rpc", durable=True)
    answers: list[tuple[str, bytes]] = []

    def on_answer(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        answers.append((properties.correlation_id, body))

    channel.basic_consume("amq.rabbitmq.reply-to", on_answer, auto_ack=True)
    for number in range(3):
        how = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(number + 1))
        channel.basic_publish("", "rpc", b"task %d" % number, how)
    while len(answers) < 3:
        channel.connection.process_data_events(time_limit=1)
    thread.join()
    assert answers == [(str(n + 1), (b"task %d" % n)[::-1]) for n in range(3)]
    channel.connection.close()
