"""Majordomo, Titanic and pirates with libzmq, beside pika, and when workers and brokers are killed."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
import zmq

from tests.conftest import ROOT, BrokerProcess, BrokerStarter, find_free_port

pytestmark = pytest.mark.timeout(180)

PROGRAM = "tests.interop.majordomo_program"
WAIT_MS = 60_000
W1 = [b"", b"MDPW01"]
W2 = [b"MDPW02"]


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(scope="module")
def zmq_broker() -> Iterator[BrokerProcess]:
    starter = BrokerStarter()
    try:
        yield starter(zmq=True)
    finally:
        starter.close()


def socket_of(context: "zmq.Context[Any]", kind: int, port: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.linger = 0
    socket.rcvtimeo = WAIT_MS
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def register(
    context: "zmq.Context[Any]", port: int, service: bytes, head: list[bytes] = W1
) -> "zmq.Socket[bytes]":
    worker = socket_of(context, zmq.DEALER, port)
    worker.send_multipart([*head, b"\x01", service])
    return worker


def take(worker: "zmq.Socket[bytes]", head: list[bytes] = W1) -> tuple[bytes, list[bytes]]:
    """The next request: its address and body."""
    while True:
        message = worker.recv_multipart()
        assert message[: len(head)] == head
        command, *rest = message[len(head) :]
        if command == b"\x02":
            assert rest[1] == b""
            return rest[0], rest[2:]


def ask(client: "zmq.Socket[bytes]", service: bytes, *body: bytes) -> list[bytes]:
    """A REQ client of version 0.1 asks once and waits."""
    client.send_multipart([b"MDPC01", service, *body])
    header, same, *reply = client.recv_multipart()
    assert (header, same) == (b"MDPC01", service)
    return reply


@contextmanager
def program(port: int, service: str, *how: str) -> Iterator["subprocess.Popen[str]"]:
    """A worker of its own process, that has said READY."""
    words = [sys.executable, "-m", PROGRAM, str(port), service, *how]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close() if process.stdout else None


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_client_and_two_workers(zmq_broker: BrokerProcess, context: "zmq.Context[Any]") -> None:
    port = zmq_broker.zmq_port
    with program(port, "shout"), program(port, "shout"):
        client = socket_of(context, zmq.REQ, port)
        for i in range(200):
            assert ask(client, b"shout", b"a%d" % i, b"", b"b") == [b"A%d" % i, b"", b"B"]
        assert ask(client, b"mmi.service", b"shout") == [b"200"]
        assert ask(client, b"mmi.service", b"whisper") == [b"404"]


def test_many_requests_of_a_dealer_at_once(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    port = zmq_broker.zmq_port
    client = socket_of(context, zmq.DEALER, port)
    for i in range(2000):
        client.send_multipart([b"%d" % i, b"", b"MDPC01", b"many", b"x%d" % i])
    with program(port, "many"), program(port, "many"):
        replies = [client.recv_multipart() for _ in range(2000)]
    assert sorted(replies) == sorted(
        [b"%d" % i, b"", b"MDPC01", b"many", b"X%d" % i] for i in range(2000)
    )


def test_parts_of_an_answer_in_the_second_version(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    port = zmq_broker.zmq_port
    client = socket_of(context, zmq.DEALER, port)
    client.send_multipart([b"MDPC02", b"\x01", b"parts", b"q", b""])
    worker = register(context, port, b"parts", W2)
    address, body = take(worker, W2)
    assert body == [b"q", b""]
    for number in (b"1", b"2"):
        worker.send_multipart([*W2, b"\x03", address, b"", number])
        assert client.recv_multipart() == [b"MDPC02", b"\x02", b"parts", number]
    worker.send_multipart([*W2, b"\x04", address, b"", b"3"])
    assert client.recv_multipart() == [b"MDPC02", b"\x03", b"parts", b"3"]


def test_a_pika_worker_answers_a_majordomo_client(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    where = pika.ConnectionParameters(zmq_broker.host, zmq_broker.port)
    client = socket_of(context, zmq.REQ, zmq_broker.zmq_port)
    client.send_multipart([b"MDPC01", b"pika-works", b"hello"])
    with pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.queue_declare("pika-works", durable=True)
        for method, properties, body in channel.consume("pika-works", inactivity_timeout=30):
            assert body == b"hello"
            answer = pika.BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, b"HELLO", answer)
            channel.basic_ack(method.delivery_tag)
            break
        assert client.recv_multipart() == [b"MDPC01", b"pika-works", b"HELLO"]


def test_a_pika_client_calls_a_majordomo_worker(zmq_broker: BrokerProcess) -> None:
    where = pika.ConnectionParameters(zmq_broker.host, zmq_broker.port)
    with program(zmq_broker.zmq_port, "rpc"), pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.queue_declare("rpc", durable=True)
        replies: dict[str, bytes] = {}

        def heard(_: Any, __: Any, properties: Any, body: bytes) -> None:
            replies[properties.correlation_id] = body

        channel.basic_consume("amq.rabbitmq.reply-to", heard, auto_ack=True)
        for i in range(20):
            asked = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=str(i))
            channel.basic_publish("", "rpc", b"n%d" % i, asked)
        while len(replies) < 20:
            connection.process_data_events(time_limit=1)
    assert replies == {str(i): b"N%d" % i for i in range(20)}


def test_the_request_of_a_worker_that_is_killed_goes_to_another_one(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    port = zmq_broker.zmq_port
    client = socket_of(context, zmq.REQ, port)
    with program(port, "killed", "hold") as first:
        client.send_multipart([b"MDPC01", b"killed", b"x"])
        assert line_of(first) == "holding"
        with program(port, "killed"):
            first.kill()
            assert client.recv_multipart() == [b"MDPC01", b"killed", b"X"]


def test_the_request_of_a_worker_that_hangs_goes_to_another_one(
    start_broker: BrokerStarter, context: "zmq.Context[Any]"
) -> None:
    """It has shown that it sends heartbeats while it works; then it stops."""
    broker = start_broker("--in-memory", zmq=True, MANSIO_MAJORDOMO_HEARTBEAT_MS="300")
    client = socket_of(context, zmq.REQ, broker.zmq_port)
    worker = register(context, broker.zmq_port, b"hangs")
    client.send_multipart([b"MDPC01", b"hangs", b"x"])
    take(worker)
    worker.send_multipart([*W1, b"\x04"])
    with program(broker.zmq_port, "hangs"):
        assert client.recv_multipart() == [b"MDPC01", b"hangs", b"X"]


def test_workers_come_again_when_the_broker_is_killed(
    start_broker: BrokerStarter, context: "zmq.Context[Any]", tmp_path: Path
) -> None:
    port = find_free_port()
    options = ("--data-dir", str(tmp_path), "--zmq-port", str(port))
    broker = start_broker(*options)
    with program(port, "again") as worker:
        assert ask(socket_of(context, zmq.REQ, port), b"again", b"x") == [b"X"]
        broker.stop(9)
        start_broker(*options).wait_for_log(f":{port} (ZeroMQ)")
        assert line_of(worker) == "again"
        assert ask(socket_of(context, zmq.REQ, port), b"again", b"y") == [b"Y"]


def test_titanic_outlives_its_broker(
    start_broker: BrokerStarter, context: "zmq.Context[Any]", tmp_path: Path
) -> None:
    port = find_free_port()
    options = ("--data-dir", str(tmp_path), "--zmq-port", str(port))
    broker = start_broker(*options)
    broker.wait_for_log(f":{port} (ZeroMQ)")
    client = socket_of(context, zmq.REQ, port)
    uuids: list[bytes] = []
    for i in range(50):
        status, uuid = ask(client, b"titanic.request", b"shout", b"n%d" % i)
        assert status == b"200"
        uuids.append(uuid)
    broker.stop(9)
    broker = start_broker(*options)
    broker.wait_for_log(f":{port} (ZeroMQ)")
    client = socket_of(context, zmq.REQ, port)
    assert ask(client, b"titanic.reply", uuids[0]) == [b"300"]
    with program(port, "shout"):
        # The last one is answered when all are: there is one worker, and one queue.
        while ask(client, b"titanic.reply", uuids[-1]) == [b"300"]:
            pass
    broker.stop(9)
    start_broker(*options).wait_for_log(f":{port} (ZeroMQ)")
    client = socket_of(context, zmq.REQ, port)
    replies = [ask(client, b"titanic.reply", uuid) for uuid in uuids[:-1]]
    assert replies == [[b"200", b"N%d" % i] for i in range(49)]
    for uuid in uuids:
        assert ask(client, b"titanic.close", uuid) == [b"200"]
        assert ask(client, b"titanic.reply", uuid) == [b"400"]


def test_lazy_pirates_and_workers_that_are_ready(
    start_broker: BrokerStarter, context: "zmq.Context[Any]"
) -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_ZMQ_MODE="call")
    worker = socket_of(context, zmq.REQ, broker.zmq_port)
    worker.send(b"READY")

    def work() -> None:
        for _ in range(20):
            address, empty, request = worker.recv_multipart()
            worker.send_multipart([address, empty, request.upper()])

    thread = beside(work)
    client = socket_of(context, zmq.REQ, broker.zmq_port)
    for i in range(20):
        client.send(b"n%d" % i)
        assert client.recv_multipart() == [b"N%d" % i]
    thread.join(30)
    assert not thread.is_alive()


def test_a_paranoid_pirate(start_broker: BrokerStarter, context: "zmq.Context[Any]") -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_ZMQ_MODE="call")
    worker = socket_of(context, zmq.DEALER, broker.zmq_port)
    worker.send(b"\x01")
    assert worker.recv_multipart() == [b"\x02"]  # a heartbeat, after a second
    worker.send(b"\x02")
    client = socket_of(context, zmq.REQ, broker.zmq_port)
    client.send(b"x")
    message = worker.recv_multipart()
    while message == [b"\x02"]:
        message = worker.recv_multipart()
    assert message[1:] == [b"", b"x"]
    worker.send_multipart(message)
    assert client.recv() == b"x"
