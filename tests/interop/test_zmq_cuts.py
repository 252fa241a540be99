"""ZeroMQ sockets over a network that fails: connections that are cut and freeze in the middle of frames."""

import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
import zmq

from tests.conftest import ROOT, BrokerProcess, BrokerStarter
from tests.interop.relay import Fate, Relay

pytestmark = pytest.mark.timeout(120)

WAIT_MS = 20_000


@pytest.fixture(scope="module")
def zmq_broker() -> Iterator[BrokerProcess]:
    starter = BrokerStarter()
    try:
        broker = starter(zmq=True)
        yield broker
        assert "Traceback" not in broker.log_text()
    finally:
        starter.close()


@pytest.fixture
def relay(zmq_broker: BrokerProcess) -> Iterator[Relay]:
    relay = Relay(zmq_broker.zmq_port)
    yield relay
    relay.close()


class Sockets:
    """Sockets at a port of one's choice."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self._broker = broker

    def __call__(self, kind: int, queue: str, relay: Relay | None = None, **options: int) -> Any:
        """One that is connected, through the relay or directly."""
        socket = self.context.socket(kind)
        defaults = {"linger": 0, "rcvtimeo": WAIT_MS, "sndtimeo": WAIT_MS, "reconnect_ivl": 1}
        for name, value in (defaults | options).items():
            socket.setsockopt(getattr(zmq, name.upper()), value)
        if queue:
            socket.setsockopt(zmq.METADATA, b"X-Queue:" + queue.encode())
        socket.connect(f"tcp://127.0.0.1:{relay.port if relay else self._broker.zmq_port}")
        return socket


@pytest.fixture
def sockets(zmq_broker: BrokerProcess) -> Iterator[Sockets]:
    sockets = Sockets(zmq_broker)
    yield sockets
    sockets.context.destroy(linger=0)


def ask(socket: Any, *frames: bytes) -> list[bytes]:
    socket.send_multipart(frames)
    reply: list[bytes] = socket.recv_multipart()
    return reply


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while not look():
        assert time.monotonic() < deadline, "time is up"
        time.sleep(0.001)


def declare_once(broker: BrokerProcess, name: str) -> None:
    """A queue that takes a message once, however often it is sent."""
    where = pika.ConnectionParameters(broker.host, broker.port)
    with pika.BlockingConnection(where) as connection:
        arguments = {"x-message-deduplication": True}
        connection.channel().queue_declare(name, durable=True, arguments=arguments)


def drain(socket: Any, queue: bytes) -> list[bytes]:
    """Everything that is ready, and takes it."""
    bodies = []
    while (reply := ask(socket, b"GET", queue))[0] == b"200":
        bodies.append(reply[3])
        assert ask(socket, b"ACK", reply[1]) == [b"200"]
    return bodies


# -- producers


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_lazy_pirate_is_cut_off_at_every_place(
    zmq_broker: BrokerProcess, relay: Relay, sockets: Sockets, direction: str
) -> None:
    """From the first byte of the greeting to the last one of the request, or of the reply."""
    queue = f"pirate-{direction}"
    declare_once(zmq_broker, queue)
    places = range(0, 240 if direction == "up" else 120, 4)
    for place in places:
        relay.fates.append(Fate(**{direction: place}))
        socket = sockets(zmq.REQ, queue, relay, req_relaxed=1, req_correlate=1)
        id = b'{"message_id": "%d"}' % place
        request = [b"PUT", queue.encode(), b"task %d" % place, id]
        while True:
            socket.send_multipart(request)
            if socket.poll(50):
                break
        assert socket.recv_multipart()[0] == b"200"
        socket.close()
    assert not relay.fates
    direct = sockets(zmq.REQ, queue)
    assert drain(direct, queue.encode()) == [b"task %d" % place for place in places]


def test_a_dealer_sends_again_what_was_not_answered(
    zmq_broker: BrokerProcess, relay: Relay, sockets: Sockets
) -> None:
    declare_once(zmq_broker, "window")
    chosen = random.Random(8)
    relay.fates.extend(Fate(up=chosen.randrange(64, 40_000)) for _ in range(5))
    relay.fates.extend(Fate(down=chosen.randrange(64, 2_000)) for _ in range(5))
    socket = sockets(zmq.DEALER, "window", relay, sndhwm=0, rcvhwm=0)
    missing = set(range(1000))

    def put(number: int) -> None:
        body, id = b"%d" % number * 20, b'{"message_id": "%d"}' % number
        socket.send_multipart([b"%d" % number, b"", b"PUT", b"window", body, id])

    for number in sorted(missing):
        put(number)
    while missing:
        if socket.poll(100):
            number, empty, status, *_ = socket.recv_multipart()
            assert (empty, status) == (b"", b"200")
            missing.discard(int(number))
        else:
            for each in sorted(missing):
                put(each)
    assert not relay.fates
    found = drain(sockets(zmq.REQ, "window"), b"window")
    assert sorted(found) == sorted(b"%d" % number * 20 for number in range(1000))


def make_task(number: int, chosen: random.Random) -> list[bytes]:
    body = chosen.randbytes(chosen.choice((0, 10, 300, 2000)))
    return [b"%d" % number, b"", body, b"%d" % zlib.crc32(body)]


def number_of(task: list[bytes]) -> int:
    """Which one it is; it must be whole."""
    number, empty, body, checksum = task
    assert (empty, int(checksum)) == (b"", zlib.crc32(body))
    return int(number)


def test_what_is_pushed_arrives_whole_or_not_at_all(relay: Relay, sockets: Sockets) -> None:
    """Nothing is torn, doubled, or out of its order, and what is sent after the last cut arrives."""
    chosen = random.Random(9)
    relay.fates.extend(Fate(up=chosen.randrange(64, 100_000)) for _ in range(10))
    push = sockets(zmq.PUSH, "pushed", relay, sndbuf=20_000)
    last = 0
    while len(relay.lines) < 11 or last < 3000:
        push.send_multipart(make_task(last, chosen))
        last += 1
    eventually(lambda: relay.carried_up_bytes() > 150)  # the connection that is not cut
    push.send_multipart(make_task(last, chosen))
    worker = sockets(zmq.REQ, "pushed")
    seen, tag = [-1], b""
    while seen[-1] < last:
        _, tag, _, first, _, *more = ask(worker, b"NEXT", b"pushed", tag)
        seen.append(number_of([first, *more]))
    assert seen == sorted(set(seen))
    assert len(seen) > 10


def test_what_is_pulled_arrives_whole_or_not_at_all(relay: Relay, sockets: Sockets) -> None:
    """And nothing twice, nor out of its order: what was on its way when it was cut is lost, as documented."""
    chosen = random.Random(10)
    relay.fates.extend(Fate(down=chosen.randrange(64, 30_000)) for _ in range(10))
    push = sockets(zmq.PUSH, "pulled")
    pull = sockets(zmq.PULL, "pulled", relay)
    last = -1
    seen = [-1]
    while relay.fates or seen[-1] < last:
        if relay.fates or not pull.poll(200):  # what is missing by now is lost
            last += 1
            push.send_multipart(make_task(last, chosen))
        if pull.poll(1):
            seen.append(number_of(pull.recv_multipart()))
    assert seen == sorted(set(seen))
    assert len(seen) > 10


def test_a_peer_that_freezes_in_a_frame_holds_nobody_up(
    zmq_broker: BrokerProcess, relay: Relay, sockets: Sockets
) -> None:
    relay.fates.append(Fate(up=500_000, freezes=True))
    frozen = sockets(zmq.DEALER, "large", relay, reconnect_ivl=-1)
    frozen.send_multipart([b"", b"PUT", b"large", bytes(1_000_000)])
    eventually(relay.frozen)
    socket = sockets(zmq.REQ, "large")
    for number in range(100):
        assert ask(socket, b"PUT", b"large", b"small") == [b"200", b"%d" % number]
    relay.cut()
    assert drain(socket, b"large") == [b"small"] * 100


def test_a_peer_that_freezes_in_the_handshake_is_given_up(
    start_broker: BrokerStarter,
) -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_HANDSHAKE_TIMEOUT_S="0.2")
    relay = Relay(broker.zmq_port)
    relay.fates.extend([Fate(up=40, freezes=True), Fate(up=70, freezes=True)])
    sockets = Sockets(broker)
    options = {"handshake_ivl": 500}
    for state in ("GREETING", "READY"):
        socket = sockets(zmq.REQ, "any", relay, **options)
        socket.send(b"task")
        broker.wait_for_log(f"the handshake took too long, at {state}")
        assert socket.recv().startswith(b"200 ")  # its second attempt
        socket.close()
    relay.close()
    sockets.context.destroy(linger=0)


# -- workers


def test_a_worker_that_replies_is_cut_off_with_a_task(relay: Relay, sockets: Sockets) -> None:
    """The next one gets it, and a late reply is not taken for one to another task."""
    client = sockets(zmq.REQ, "rep")
    client.send_multipart([b"CALL", b"rep", b"", b"one"])
    worker = sockets(zmq.REP, "rep", relay)
    assert worker.recv() == b"one"
    other, counting = sockets(zmq.REP, "rep"), sockets(zmq.REQ, "rep")
    eventually(lambda: ask(counting, b"LEN", b"rep")[3] == b"2")
    relay.cut()
    assert other.recv() == b"one"
    other.send(b"one of the other")
    assert client.recv_multipart() == [b"200", b"one of the other"]
    other.close()
    worker.send(b"one, late")
    client.send_multipart([b"CALL", b"rep", b"", b"two"])
    assert worker.recv() == b"two"
    worker.send(b"two")
    assert client.recv_multipart() == [b"200", b"two"]
    assert ask(client, b"LEN", b"rep")[:3] == [b"200", b"0", b"0"]


@pytest.mark.parametrize("kind", ["REP", "NEXT"])
def test_a_result_is_cut_off_in_a_frame(
    zmq_broker: BrokerProcess, relay: Relay, sockets: Sockets, kind: str
) -> None:
    """It was none then: the next worker does the task, and the caller has one answer."""
    queue = f"torn-{kind}".encode()
    client = sockets(zmq.REQ, queue.decode())
    client.send_multipart([b"CALL", queue, b"", b"task"])
    relay.fates.append(Fate(up=5_000))
    worker = sockets(getattr(zmq, kind, zmq.REQ), queue.decode(), relay)
    if kind == "REP":
        assert worker.recv() == b"task"
        worker.send_multipart([b"torn", bytes(10_000)])
    else:
        tag = ask(worker, b"NEXT", queue)[1]
        worker.send_multipart([b"NEXT", queue, tag, b"torn", bytes(10_000)])
    eventually(lambda: not relay.fates)
    other = sockets(zmq.REQ, queue.decode())
    if kind == "REP":  # the same one gets it again: it is connected again, and the first in turn
        assert worker.recv() == b"task"
        worker.send(b"whole")
    else:
        _, tag, redelivered, body, _ = ask(other, b"NEXT", queue)
        assert (redelivered, body) == (b"1", b"task")
        assert ask(other, b"ACK", tag, b"whole") == [b"200"]
    assert client.recv_multipart() == [b"200", b"whole"]
    assert ask(client, b"LEN", queue)[:3] == [b"200", b"0", b"0"]


def test_a_worker_behind_a_frozen_network_loses_its_task(relay: Relay, sockets: Sockets) -> None:
    """Its socket said how long it would be silent at most."""
    beats = {"heartbeat_ivl": 50, "heartbeat_timeout": 200, "heartbeat_ttl": 300}
    worker = sockets(zmq.REP, "frozen", relay, **beats)
    push = sockets(zmq.PUSH, "frozen")
    push.send(b"task")
    assert worker.recv() == b"task"
    before = relay.carried_up_bytes()
    eventually(lambda: relay.carried_up_bytes() > before)  # a heartbeat
    relay.freeze()
    other = sockets(zmq.REQ, "frozen")
    _, tag, redelivered, body, _ = ask(other, b"NEXT", b"frozen")
    assert (redelivered, body) == (b"1", b"task")
    assert ask(other, b"ACK", tag) == [b"200"]
    worker.send(b"late")
    push.send(b"next")
    assert worker.recv() == b"next"  # it has noticed as well, and is connected again
    worker.send(b"done")
    eventually(lambda: ask(other, b"LEN", b"frozen")[1:3] == [b"0", b"0"])


@pytest.mark.slow
def test_a_worker_without_heartbeats_behind_a_frozen_network(
    relay: Relay, sockets: Sockets
) -> None:
    """The broker asks it, and gives it up after half a minute."""
    worker = sockets(zmq.REP, "silent", relay)
    sockets(zmq.PUSH, "silent", linger=WAIT_MS).send(b"task")
    assert worker.recv() == b"task"
    relay.freeze()
    other = sockets(zmq.REP, "silent", rcvtimeo=60_000)
    assert other.recv() == b"task"


def test_a_worker_that_is_ready_is_cut_off_with_a_request(relay: Relay, sockets: Sockets) -> None:
    """Its REQ socket replies to it over the next connection, which means that it is ready, and is no answer."""
    worker = sockets(zmq.REQ, "ready", relay)
    worker.send(b"READY")
    client = sockets(zmq.REQ, "ready")
    client.send_multipart([b"CALL", b"ready", b"", b"task"])
    address, *request = worker.recv_multipart()
    relay.cut()
    eventually(lambda: len(relay.lines) == 2)  # what is said before that is lost
    worker.send_multipart([address, b"", b"late"])
    again, *same = worker.recv_multipart()
    assert (same, request) == ([b"", b"task"], [b"", b"task"])
    worker.send_multipart([again, b"", b"done"])
    assert client.recv_multipart() == [b"200", b"done"]


def test_a_worker_of_a_service_is_cut_off_with_a_request(relay: Relay, sockets: Sockets) -> None:
    """It says READY again, and the request, which is given again, is answered."""
    words = [sys.executable, "-m", "tests.interop.majordomo_program", str(relay.port), "cut"]
    worker = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    client = sockets(zmq.REQ, "any")
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        assert ask(client, b"MDPC01", b"cut", b"one")[2:] == [b"ONE"]
        for number in range(3):
            relay.cut()
            assert worker.stdout.readline() == "again\n"
            assert ask(client, b"MDPC01", b"cut", b"n%d" % number)[2:] == [b"N%d" % number]
    finally:
        worker.kill()
        worker.communicate()


# -- topics


def test_a_subscriber_subscribes_again(relay: Relay, sockets: Sockets) -> None:
    sub, pub = sockets(zmq.SUB, "", relay), sockets(zmq.PUB, "", relay)
    sub.subscribe(b"cut.")
    for number in range(3):
        topic = b"cut.%d" % number

        def heard(topic: bytes = topic) -> bool:
            pub.send_multipart([topic, b"x" * 1000])
            return bool(sub.poll(10)) and sub.recv_multipart() == [topic, b"x" * 1000]

        eventually(heard)
        relay.cut()


# -- processes

PRODUCER = """
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
number = int(sys.argv[2])
while True:
    socket.send_multipart([b"PUT", b"restarts", b"%d" % number, b'{"message_id": "%d"}' % number])
    assert socket.recv_multipart()[0] == b"200"
    print(number, flush=True)
    number += 1
"""


def test_a_producer_that_is_killed_goes_on_where_it_was(
    zmq_broker: BrokerProcess, sockets: Sockets
) -> None:
    declare_once(zmq_broker, "restarts")
    done = -1
    for _ in range(4):
        words = [sys.executable, "-c", PRODUCER, str(zmq_broker.zmq_port), str(done + 1)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(50):
            done = int(process.stdout.readline())
        process.kill()
        for line in process.communicate()[0].splitlines():
            done = int(line)
    found = drain(sockets(zmq.REQ, "restarts"), b"restarts")
    assert found[: done + 1] == [b"%d" % number for number in range(done + 1)]
    assert len(found) - done in (1, 2)  # the last one may have been stored without anybody hearing


WORKER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.REP)
socket.setsockopt(zmq.METADATA, b"X-Queue:killed")
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
while True:
    task = socket.recv()
    print(task.decode(), flush=True)
    if task in sys.argv[2].encode().split():
        time.sleep(600)
    socket.send(b"done")
"""


def test_workers_are_killed_one_after_the_other(
    zmq_broker: BrokerProcess, sockets: Sockets
) -> None:
    """Each in the middle of a task: the next one gets this again, and nothing else a second time."""
    client = sockets(zmq.REQ, "killed")
    for number in range(40):
        client.send(b"%d" % number)
        assert client.recv().startswith(b"200")
    seen: list[int] = []
    for last in (7, 8, 25, 39):
        words = [sys.executable, "-c", WORKER, str(zmq_broker.zmq_port), str(last)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while not seen or seen[-1] != last:
            seen.append(int(process.stdout.readline()))
        process.kill()
        process.communicate()
    _, tag, redelivered, body, _ = ask(client, b"NEXT", b"killed")
    assert (redelivered, body) == (b"1", b"39")
    assert seen == [*range(8), 7, 8, *range(8, 26), *range(25, 40)]
    assert ask(client, b"ACK", tag) == [b"200"]
    assert ask(client, b"LEN", b"killed") == [b"200", b"0", b"0", b"0"]
