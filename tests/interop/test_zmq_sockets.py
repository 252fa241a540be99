"""libzmq, through pyzmq, shakes hands with a broker: sockets of all types, passwords, heartbeats, coming again."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from mansio.codec.zmtp import encode_command
from mansio.protocol.zmtp.metadata import encode_metadata
from tests.conftest import BrokerProcess, BrokerStarter, find_free_port
from tests.protocol.zmtp_talk import greeting

pytestmark = pytest.mark.timeout(120)

TYPES = ["REQ", "DEALER", "PUSH", "PULL", "SUB", "XSUB", "PUB", "XPUB", "REP", "ROUTER"]
WAIT_S = 20.0
LOGIN = {"plain_username": b"guest", "plain_password": b"guest"}
Event = zmq.Event


class Client:
    """One socket and what libzmq says of its connection."""

    def __init__(self, context: "zmq.Context[Any]", kind: str, port: int, **options: Any) -> None:
        self.socket = context.socket(getattr(zmq, kind))
        self.socket.linger = 0
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name.upper()), value)
        self._monitor = self.socket.get_monitor_socket()
        self.events: list[Event] = []
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def wait_for(self, *events: Event) -> Event:
        """The first of these that comes from now on."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if self._monitor.poll(100):
                event = Event(recv_monitor_message(self._monitor)["event"])
                self.events.append(event)
                if event in events:
                    return event
        pytest.fail(f"none of {events} among {self.events}")

    def hears_nothing(self, ms: int) -> bool:
        return not self._monitor.poll(ms)

    def shaken(self) -> "Client":
        end = (Event.HANDSHAKE_SUCCEEDED, Event.HANDSHAKE_FAILED_AUTH)
        failed = (Event.HANDSHAKE_FAILED_PROTOCOL, Event.HANDSHAKE_FAILED_NO_DETAIL)
        assert self.wait_for(*end, *failed) is Event.HANDSHAKE_SUCCEEDED, self.events
        return self


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(scope="module")
def zmq_broker() -> Iterator[BrokerProcess]:
    starter = BrokerStarter()
    try:
        yield starter("--in-memory", zmq=True)
    finally:
        starter.close()


@pytest.mark.parametrize("login", [False, True], ids=["NULL", "PLAIN"])
@pytest.mark.parametrize("kind", TYPES)
def test_sockets_of_every_type_are_let_in(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]", kind: str, login: bool
) -> None:
    options = LOGIN if login else {}
    Client(context, kind, zmq_broker.zmq_port, metadata=b"X-Queue:any", **options).shaken()


def test_a_type_that_nobody_here_talks_to_is_refused(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    Client(context, "PAIR", zmq_broker.zmq_port).wait_for(Event.DISCONNECTED)
    zmq_broker.wait_for_log("there is nothing here for a socket of type 'PAIR'")


def test_a_wrong_password_and_an_unknown_user_fail_alike(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    failures = []
    for user in (b"guest", b"nobody"):
        login = {"plain_username": user, "plain_password": b"wrong"}
        client = Client(context, "REQ", zmq_broker.zmq_port, **login)
        client.wait_for(Event.DISCONNECTED)
        failures.append(client.events)
        zmq_broker.wait_for_log(f"user '{user.decode()}' - invalid credentials")
    assert failures[0] == failures[1] and Event.HANDSHAKE_FAILED_AUTH in failures[0]


def test_a_virtual_host_that_there_is_not(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    for options in ({}, LOGIN):
        client = Client(context, "PULL", zmq_broker.zmq_port, metadata=b"X-VHost:moon", **options)
        client.wait_for(Event.HANDSHAKE_FAILED_AUTH)
    zmq_broker.wait_for_log("vhost moon not found")


def test_who_comes_before_the_broker_is_served_and_comes_again(
    start_broker: BrokerStarter, context: "zmq.Context[Any]"
) -> None:
    port = find_free_port()
    client = Client(context, "DEALER", port, reconnect_ivl=50)
    client.wait_for(Event.CONNECT_RETRIED)
    for _ in range(2):
        broker = start_broker("--in-memory", "--zmq-port", str(port))
        client.shaken()
        broker.stop()
        client.wait_for(Event.DISCONNECTED)


def test_a_socket_with_heartbeats_stays_connected(
    zmq_broker: BrokerProcess, context: "zmq.Context[Any]"
) -> None:
    heartbeats = {"heartbeat_ivl": 50, "heartbeat_timeout": 200, "heartbeat_ttl": 1000}
    client = Client(context, "DEALER", zmq_broker.zmq_port, **heartbeats).shaken()
    assert client.hears_nothing(1500)


def shaken_by_hand(broker: BrokerProcess, kind: bytes = b"DEALER") -> socket.socket:
    """A peer that says only what it is told to say."""
    peer = socket.create_connection((broker.host, broker.zmq_port), timeout=WAIT_S)
    peer.sendall(greeting() + encode_command(b"READY", encode_metadata({"Socket-Type": kind})))
    heard = b""
    while not heard.endswith(b"ROUTER"):
        heard += peer.recv(4096)
    return peer


def ended(peer: socket.socket) -> bool:
    """Whether the broker hangs up, after whatever it has to say."""
    try:
        while peer.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_peer_that_outlives_its_time_is_gone(zmq_broker: BrokerProcess) -> None:
    with shaken_by_hand(zmq_broker) as peer:
        peer.sendall(encode_command(b"PING", b"\0\x02ctx"))  # 0.2 s
        assert peer.recv(10) == encode_command(b"PONG", b"ctx")
        assert ended(peer)
    zmq_broker.wait_for_log("it was silent for 0.")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"AMQP\0\0\x09\1", "AMQP"),
        (b"*1\r\n$4\r\nPING\r\n", "Redis"),
    ],
)
def test_others_are_shown_the_door(zmq_broker: BrokerProcess, data: bytes, what: str) -> None:
    with socket.create_connection((zmq_broker.host, zmq_broker.zmq_port), timeout=WAIT_S) as peer:
        peer.sendall(data)
        assert ended(peer)
    zmq_broker.wait_for_log(f"it speaks {what}, and this port is for ZeroMQ sockets")


def test_who_does_not_shake_hands_is_not_waited_for(start_broker: BrokerStarter) -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_HANDSHAKE_TIMEOUT_S="0.2")
    with socket.create_connection((broker.host, broker.zmq_port), timeout=WAIT_S) as peer:
        peer.sendall(greeting()[:40])
        assert ended(peer)
    broker.wait_for_log("the handshake took too long, at GREETING")
    with shaken_by_hand(broker) as peer:
        peer.settimeout(1)
        with pytest.raises(TimeoutError):
            peer.recv(1)


def test_a_message_that_is_too_large_ends_the_connection(start_broker: BrokerStarter) -> None:
    broker = start_broker("--in-memory", zmq=True, MANSIO_MESSAGE_BYTES_MAX="1000")
    with shaken_by_hand(broker) as peer:
        peer.sendall(b"\2" + (1001).to_bytes(8, "big"))
        assert ended(peer)
    broker.wait_for_log("a message of 1001 bytes: the largest may have 1000")


def test_strangers_of_one_address_are_counted_until_they_are_let_in(
    start_broker: BrokerStarter,
) -> None:
    """Those that are inside are none: more of them than strangers may be can connect."""
    broker = start_broker("--in-memory", zmq=True)
    peers = [shaken_by_hand(broker) for _ in range(600)]
    for peer in peers:
        peer.close()
    assert not re.search("have not logged in", broker.log_text())


class Keys:
    """Of a broker and of a client that it knows as guest."""

    def __init__(self, folder: Path) -> None:
        self.server, secret = zmq.curve_keypair()
        self.client, self.client_secret = zmq.curve_keypair()
        path = folder / "broker.key"
        path.write_bytes(secret)
        self.environ = {
            "MANSIO_ZMQ_CURVE_SECRET_KEY_FILE": str(path),
            "MANSIO_ZMQ_CURVE_USERS": f"guest={self.client.decode()}",
        }

    def options(self, server: bytes = b"") -> dict[str, bytes]:
        return {
            "curve_serverkey": server or self.server,
            "curve_publickey": self.client,
            "curve_secretkey": self.client_secret,
        }


def test_sockets_with_keys(
    start_broker: BrokerStarter, context: "zmq.Context[Any]", tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    broker = start_broker("--in-memory", zmq=True, **keys.environ)
    assert keys.server.decode() in broker.wait_for_log("the public key of this broker")
    clients = [Client(context, kind, broker.zmq_port, **keys.options()) for kind in TYPES]
    for each in (*clients, Client(context, "REQ", broker.zmq_port)):
        each.shaken()
    heartbeats = {"heartbeat_ivl": 50, "heartbeat_timeout": 500, "heartbeat_ttl": 1000}
    client = Client(context, "REQ", broker.zmq_port, **keys.options(), **heartbeats).shaken()
    client.socket.rcvtimeo = int(WAIT_S * 1000)
    for body in (b"", b"x", b"y" * 300, b"z" * 1_000_000):
        client.socket.send_multipart([b"PUT", b"sealed", body])
        assert client.socket.recv_multipart()[0] == b"200"
        client.socket.send_multipart([b"GET", b"sealed"])
        assert body in client.socket.recv_multipart()
    assert client.hears_nothing(1000)


def test_sockets_with_other_keys(
    start_broker: BrokerStarter, context: "zmq.Context[Any]", tmp_path: Path
) -> None:
    keys = Keys(tmp_path)
    broker = start_broker("--in-memory", zmq=True, MANSIO_ZMQ_CURVE_ONLY="true", **keys.environ)
    other = zmq.curve_keypair()
    options = keys.options() | {"curve_publickey": other[0], "curve_secretkey": other[1]}
    stranger = Client(context, "REQ", broker.zmq_port, **options)
    stranger.wait_for(Event.HANDSHAKE_FAILED_AUTH)
    broker.wait_for_log("nobody in zmq_curve_users has its key")
    options = keys.options(other[0])
    mistaken = Client(context, "REQ", broker.zmq_port, **options)
    mistaken.wait_for(Event.HANDSHAKE_FAILED_AUTH)
    broker.wait_for_log("its HELLO is not for the key of this broker")
    keyless = Client(context, "REQ", broker.zmq_port)
    keyless.wait_for(Event.DISCONNECTED)
    broker.wait_for_log("known here: CURVE")
