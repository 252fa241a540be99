"""Redis clients with TLS: the same certificates as at the other fronts, and one porter for all."""

import os
import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import client_context
from tests.conftest import BrokerProcess, BrokerStarter, find_free_port


class RedissBroker:
    """A broker with TLS at both fronts. Its certificates are copies, so that a test may change them."""

    def __init__(
        self, start: BrokerStarter, certificates: Path, folder: Path, *more: str, **environ: str
    ) -> None:
        self._certificates = certificates
        self._folder = folder
        self.ports = {"AMQP": find_free_port(), "Redis": find_free_port()}
        self.use("server")
        shutil.copy(certificates / "ca.pem", folder / "ca.pem")
        options = ["--tls-port", str(self.ports["AMQP"])]
        options += ["--redis-tls-port", str(self.ports["Redis"]), "--in-memory", *more]
        for key, name in (("cert", "server.pem"), ("key", "server.key"), ("ca", "ca.pem")):
            options += [f"--tls-{key}", str(folder / name)]
        self.process: BrokerProcess = start(*options, **environ)
        self.process.wait_for_log("Ctrl-C" if "--tls-only" not in more else "live in memory")

    def use(self, name: str) -> None:
        """Put the certificate of this name, and its key, where the broker reads its own."""
        for end in ("pem", "key"):
            shutil.copy(self._certificates / f"{name}.{end}", self._folder / f"server.{end}")

    def connect(self, context: ssl.SSLContext, protocol: str = "Redis") -> ssl.SSLSocket:
        """A connection that has shaken hands. Errors: ssl.SSLError."""
        sock = socket.create_connection(("127.0.0.1", self.ports[protocol]), timeout=10)
        return context.wrap_socket(sock, server_hostname="localhost")

    def serial(self, context: ssl.SSLContext, protocol: str) -> str:
        """Of the certificate that clients of this protocol see."""
        with self.connect(context, protocol) as sock:
            return str((sock.getpeercert() or {})["serialNumber"])


def ask(sock: socket.socket, command: bytes, size: int) -> bytes:
    """A command, and so many bytes of its replies."""
    sock.sendall(command)
    reply = b""
    while len(reply) < size:
        data = sock.recv(size - len(reply))
        assert data, reply
        reply += data
    return reply


def test_redis_clients_shake_hands_and_are_somebody(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path
) -> None:
    broker = RedissBroker(start_broker, certificates, tmp_path)
    port = broker.ports["Redis"]
    broker.process.wait_for_log(f"listening on 127.0.0.1:{port} with TLS (Redis)")
    with broker.connect(client_context(certificates)) as sock:
        assert ask(sock, b"PING\r\n", 7) == b"+PONG\r\n"
        value = os.urandom(1_000_000)
        frame = b"$%d\r\n%b\r\n" % (len(value), value)
        echo = b"*2\r\n$4\r\nECHO\r\n" + frame
        assert ask(sock, echo, len(frame)) == frame
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert plain.recv(1) in (b"", b"\x15")
    broker.process.wait_for_log("it speaks Redis without TLS: switch TLS on in the client")


def test_new_certificates_hold_for_both_fronts(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path
) -> None:
    broker = RedissBroker(start_broker, certificates, tmp_path)
    context = client_context(certificates)
    before = {protocol: broker.serial(context, protocol) for protocol in broker.ports}
    open_before = broker.connect(context)
    broker.use("rsa")
    os.kill(broker.process.pid, signal.SIGHUP)
    broker.process.wait_for_log("certificates were read again, for new connections")
    after = {protocol: broker.serial(context, protocol) for protocol in broker.ports}
    assert len(set(before.values())) == len(set(after.values())) == 1
    assert set(before.values()) != set(after.values())
    assert ask(open_before, b"PING\r\n", 7) == b"+PONG\r\n"
    open_before.close()


def test_tls_only_closes_all_ports_without_tls(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path, free_port: int
) -> None:
    broker = RedissBroker(
        start_broker, certificates, tmp_path, "--tls-only", "--redis-port", str(free_port)
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port), timeout=10)
    with broker.connect(client_context(certificates)) as sock:
        assert ask(sock, b"PING\r\n", 7) == b"+PONG\r\n"


def test_required_certificates_are_asked_of_redis_clients(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path
) -> None:
    broker = RedissBroker(start_broker, certificates, tmp_path, "--tls-verify", "required")
    with (
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        broker.connect(client_context(certificates)) as sock,
    ):
        ask(sock, b"PING\r\n", 7)
    broker.process.wait_for_log("it has presented no certificate, and tls_verify is required")


def test_a_certificate_logs_a_redis_client_in(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path
) -> None:
    verify = ("--tls-verify", "optional")
    broker = RedissBroker(start_broker, certificates, tmp_path, *verify, MANSIO_REDIS_USER="nobody")
    with broker.connect(client_context(certificates, "client-guest")) as sock:
        assert ask(sock, b"ACL WHOAMI\r\n", 11) == b"$5\r\nguest\r\n"
    for name in ("client-ann", ""):  # whom nobody knows, and none
        with broker.connect(client_context(certificates, name)) as sock:
            error = b"-NOAUTH Authentication required.\r\n"
            assert ask(sock, b"GET k\r\n", len(error)) == error
            assert ask(sock, b"AUTH guest guest\r\n", 5) == b"+OK\r\n"
