"""A real broker with TLS, and real clients: what they can do, what is refused and how, and new certificates."""

import asyncio
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import aio_pika
import pika
import pytest

from tests.certificates import client_context
from tests.conftest import BrokerProcess, BrokerStarter
from tests.server.hello import (
    AEAD_1_3,
    AEAD_ECDSA,
    CIPHERS,
    HANDSHAKE_FAILURE,
    PROTOCOL_VERSION,
    SSL3,
    TLS1_0,
    TLS1_1,
    TLS1_2,
    TLS1_3,
    client_hello,
    read_answer,
)

HEADER = b"AMQP\x00\x00\x09\x01"


class TlsBroker:
    """A broker with a port for TLS. Its certificates are copies, so that a test may change them."""

    def __init__(
        self, start: BrokerStarter, certificates: Path, folder: Path, port: int, **environ: str
    ) -> None:
        self.folder = folder
        self.port = port
        self.use(certificates, "server")
        shutil.copy(certificates / "ca.pem", folder / "ca.pem")
        files = {"CERT": "server.pem", "KEY": "server.key", "CA": "ca.pem"}
        settings = {f"MANSIO_TLS_{key}": str(folder / name) for key, name in files.items()}
        settings["MANSIO_TLS_PORT"] = str(port)
        self.process: BrokerProcess = start("--in-memory", **(settings | environ))
        self.process.wait_for_log(f"listening on 127.0.0.1:{port} with TLS")

    def use(self, certificates: Path, name: str) -> None:
        """Put the certificate of this name, and its key, where the broker reads its own."""
        for end in ("pem", "key"):
            shutil.copy(certificates / f"{name}.{end}", self.folder / f"server.{end}")

    def plain(self) -> socket.socket:
        """A connection on which nothing was said."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection that has shaken hands. Errors: ssl.SSLError."""
        return context.wrap_socket(self.plain(), server_hostname="localhost")

    def pika(self, context: ssl.SSLContext, **how: Any) -> pika.BlockingConnection:
        """A connection of pika's."""
        options = pika.SSLOptions(context, "localhost")
        return pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", self.port, ssl_options=options, **how)
        )


@pytest.fixture
def tls_broker(
    start_broker: BrokerStarter, certificates: Path, tmp_path: Path, free_port: int
) -> Any:
    """Call it with settings to start one."""
    return lambda **environ: TlsBroker(start_broker, certificates, tmp_path, free_port, **environ)


def answer(sock: socket.socket, hello: bytes) -> bytes:
    """What comes back until the server closes, or has said enough."""
    with sock:
        sock.sendall(hello)
        out = b""
        while len(out) < 100:
            try:
                data = sock.recv(4096)
            except ConnectionResetError:
                break
            if not data:
                break
            out += data
    return out


def greet(broker: TlsBroker, context: ssl.SSLContext) -> bytes:
    """The beginning of what the broker says to a protocol header. Errors: ssl.SSLError."""
    with broker.connect(context) as sock:
        sock.sendall(HEADER)
        return sock.recv(4)


def test_a_scanner_finds_modern_tls_and_nothing_else(tls_broker: Any) -> None:
    broker = tls_broker()
    for version, alert in (
        (SSL3, HANDSHAKE_FAILURE),
        (TLS1_0, PROTOCOL_VERSION),
        (TLS1_1, PROTOCOL_VERSION),
    ):
        data = answer(broker.plain(), client_hello(version, *CIPHERS))
        assert read_answer(data).alert == alert, hex(version)
    families = {
        "static RSA": (0x002F, 0x0035, 0x009C, 0x009D),
        "3DES": (0x000A, 0xC008, 0xC012),
        "RC4": (0x0005, 0xC007, 0xC011),
        "CBC": (0xC009, 0xC00A, 0xC023, 0xC024),
        "DHE": (0x009E, 0x009F, 0xCCAA),
        "NULL and anonymous": (0x0001, 0x0002, 0x0018, 0x003A, 0xC017),
        "CCM": (0xC0AC, 0xC0AD),
    }
    for family, ciphers in families.items():
        data = answer(broker.plain(), client_hello(TLS1_2, *ciphers))
        assert read_answer(data).alert == HANDSHAKE_FAILURE, family
    for version, ciphers in ((TLS1_2, AEAD_ECDSA), (TLS1_3, AEAD_1_3)):
        for cipher in ciphers:
            found = read_answer(answer(broker.plain(), client_hello(version, cipher)))
            assert (found.version, found.cipher, found.compression) == (version, cipher, 0)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_renegotiation_and_compression_are_off(tls_broker: Any) -> None:
    broker = tls_broker()
    ca = str(broker.folder / "ca.pem")
    line = ["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", "-tls1_2", "-CAfile", ca]
    client = subprocess.Popen(
        [*line, "-comp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert client.stdin is not None and client.stdout is not None
    out = b""
    while b"Verify return code: 0" not in out:
        out += client.stdout.readline()
        assert client.poll() is None, out
    assert b"Compression: NONE" in out and b"Secure Renegotiation IS supported" in out
    client.stdin.write(b"R\n")
    client.stdin.flush()
    rest, _ = client.communicate(timeout=20)
    assert b"no renegotiation" in rest


def exchange(connection: pika.BlockingConnection) -> None:
    """Messages of several sizes there and back."""
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("q", exclusive=True)
    bodies = [b"", b"x", bytes(100_000), os.urandom(3_000_000)]
    for body in bodies:
        channel.basic_publish("", "q", body)
    assert [channel.basic_get("q", auto_ack=True)[2] for _ in bodies] == bodies
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pika(tls_broker: Any, certificates: Path, version: ssl.TLSVersion) -> None:
    context = client_context(certificates)
    context.minimum_version = context.maximum_version = version
    exchange(tls_broker().pika(context))


def test_pika_with_a_certificate_instead_of_a_password(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_TLS_VERIFY="required")
    external = pika.credentials.ExternalCredentials()
    exchange(broker.pika(client_context(certificates, "client-guest"), credentials=external))
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        broker.pika(client_context(certificates, "client-ann"), credentials=external)
    broker.process.wait_for_log("user 'ann', named by the certificate, is not known")
    exchange(broker.pika(client_context(certificates, "client-ann")))  # guest, with his password


def test_without_a_certificate_there_is_no_external(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_TLS_VERIFY="optional")
    external = pika.credentials.ExternalCredentials()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        broker.pika(client_context(certificates), credentials=external)
    exchange(broker.pika(client_context(certificates)))


def test_aio_pika(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_TLS_VERIFY="required")
    context = client_context(certificates, "client-guest")

    async def main() -> None:
        url = f"amqps://localhost:{broker.port}/?auth=external"
        connection = await aio_pika.connect(url, ssl_context=context)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue(exclusive=True)
            body = os.urandom(1_000_000)
            for _ in range(20):
                await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
            count = 0
            async with queue.iterator() as messages:
                async for message in messages:
                    assert message.body == body
                    await message.ack()
                    count += 1
                    if count == 20:
                        break

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("expired", "its certificate is refused: certificate has expired"),
        ("other/client-guest", "its certificate is refused: unable to get local issuer"),
        ("", "it has presented no certificate, and tls_verify is required"),
    ],
)
def test_clients_whose_certificates_are_refused_hear_why(
    tls_broker: Any, certificates: Path, name: str, words: str
) -> None:
    broker = tls_broker(MANSIO_TLS_VERIFY="required")
    with pytest.raises(ssl.SSLError, match=r"ALERT|alert"):
        greet(broker, client_context(certificates, name))
    line = broker.process.wait_for_log("TLS handshake with 127.0.0.1:")
    assert words in line and " WARN " in line


def test_certificates_are_read_again_at_sighup(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_TLS_VERIFY="required")
    context = client_context(certificates, "client-guest")
    old = broker.pika(context)
    channel = old.channel()
    channel.queue_declare("stays", exclusive=True)

    def serial() -> Any:
        with broker.connect(context) as sock:
            certificate = sock.getpeercert()
            assert certificate is not None
            return certificate["serialNumber"]

    def hang_up(words: str) -> str:
        broker.process.process.send_signal(signal.SIGHUP)
        return str(broker.process.wait_for_log(words))

    first = serial()
    (broker.folder / "server.pem").write_text("half a certificate\n")
    line = hang_up("no certificate with its key in")
    assert "ERROR certificates were read again and are not used, the old ones stay" in line
    assert serial() == first

    broker.use(certificates, "expired")
    hang_up("is not valid: certificate has expired")
    assert serial() == first

    broker.use(certificates, "rsa")
    hang_up("certificates were read again, for new connections")
    second = serial()
    assert second != first

    shutil.copy(certificates / "other/ca.pem", broker.folder / "ca.pem")
    broker.use(certificates, "server")
    broker.process.process.send_signal(signal.SIGHUP)
    wait_until(lambda: broker.process.log_text().count("for new connections") == 2)
    with pytest.raises(ssl.SSLError):
        greet(broker, context)
    broker.process.wait_for_log("; no CA in ")

    channel.basic_publish("", "stays", b"through all of that")
    assert channel.basic_get("stays", auto_ack=True)[2] == b"through all of that"
    old.close()


def test_plain_amqp_on_the_port_for_tls_and_the_other_way_round(
    tls_broker: Any, certificates: Path
) -> None:
    broker = tls_broker()
    with broker.plain() as sock:
        sock.sendall(HEADER)
        assert sock.recv(100) == b""
    broker.process.wait_for_log("it speaks AMQP without TLS: switch TLS on in the client")
    plain_port = broker.process.port
    sock = socket.create_connection(("127.0.0.1", plain_port), timeout=10)
    with sock, pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        client_context(certificates).wrap_socket(sock, server_hostname="localhost")
    broker.process.wait_for_log("it speaks TLS, and this port is one without")


def test_a_hundred_who_do_not_finish_their_handshake_stop_nobody(
    tls_broker: Any, certificates: Path
) -> None:
    broker = tls_broker(MANSIO_HANDSHAKE_TIMEOUT_S="1")
    hello = client_hello(TLS1_3, *AEAD_1_3)
    half = []
    for i in range(100):
        sock = broker.plain()
        sock.sendall(hello[: i * 3])
        half.append(sock)
    exchange(broker.pika(client_context(certificates)))
    for sock in half:
        with sock:
            while True:
                try:
                    if not sock.recv(4096):
                        break
                except ConnectionResetError:
                    break
    broker.process.wait_for_log("it took longer than handshake_timeout_s (1 s)")
    exchange(broker.pika(client_context(certificates)))


def test_garbage_harms_nobody(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker()
    chance = random.Random(5671)
    good = broker.pika(client_context(certificates))
    hello = client_hello(TLS1_3, *AEAD_1_3)
    for round_number in range(150):
        kind = round_number % 5
        if kind == 0:
            data = chance.randbytes(chance.randrange(1, 2000))
        elif kind == 1:
            data = b"\x16\x03\x01" + chance.randbytes(chance.randrange(1, 2000))
        elif kind == 2:
            data = hello[: chance.randrange(1, len(hello))]
        else:
            damaged = bytearray(hello)
            for _ in range(chance.randrange(1, 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            data = bytes(damaged)
        with broker.plain() as sock:
            sock.sendall(data)
            if chance.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for _ in range(20):
        with broker.connect(client_context(certificates)) as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 20_000)))
            if chance.random() < 0.5:
                sock.sendall(HEADER)
    exchange(good)
    assert broker.process.stop() == 0
    text = broker.process.log_text()
    assert "Traceback" not in text and "ERROR" not in text


def test_tls_alone(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_TLS_ONLY="true")
    listening = [line for line in broker.process.log_text().splitlines() if "listening on" in line]
    assert len(listening) == 1 and listening[0].endswith(f"127.0.0.1:{broker.port} with TLS")
    exchange(broker.pika(client_context(certificates)))


def test_a_broker_that_stops_says_so_over_tls_and_cuts_strangers(
    tls_broker: Any, certificates: Path
) -> None:
    broker = tls_broker()
    client = broker.pika(client_context(certificates))
    with broker.plain() as stranger:
        stranger.sendall(b"\x16")
        with broker.connect(client_context(certificates)) as silent:
            broker.process.process.send_signal(signal.SIGTERM)
            with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
                client.process_data_events(time_limit=10)
            assert caught.value.reply_code == 320
            assert silent.recv(100) == b""
        assert stranger.recv(100) == b""
    assert broker.process.process.wait(10) == 0


def test_strangers_count_as_connections(tls_broker: Any, certificates: Path) -> None:
    broker = tls_broker(MANSIO_CONNECTIONS_MAX="2")
    with broker.plain(), broker.connect(client_context(certificates)) as sock:
        sock.sendall(HEADER)
        assert sock.recv(4) == b"\1\0\0\0"
        assert answer(broker.plain(), HEADER) == b""
    broker.process.wait_for_log("connection refused: 2 are open")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"MANSIO_TLS_KEY": "/nonexistent"}, "tls_key: cannot read /nonexistent"),
        ({"MANSIO_TLS_BIND": "192.0.2.1"}, "choose another one with tls_bind"),
    ],
)
def test_faults_at_the_start_are_one_line(
    start_broker: BrokerStarter,
    certificates: Path,
    free_port: int,
    settings: dict[str, str],
    words: str,
) -> None:
    files = {
        "MANSIO_TLS_CERT": str(certificates / "server.pem"),
        "MANSIO_TLS_KEY": str(certificates / "server.key"),
    }
    ports = ("--port", "0", "--tls-port", str(free_port))
    broker = start_broker.spawn(*ports, "--in-memory", **(files | settings))
    assert broker.process.wait(10) == 1
    lines = [line for line in broker.log_text().splitlines() if " INFO " not in line]
    assert len(lines) == 1 and words in lines[0], lines


def test_an_expired_certificate_is_an_error_and_no_reason_not_to_start(
    start_broker: BrokerStarter, certificates: Path, free_port: int
) -> None:
    broker = start_broker(
        "--in-memory",
        *("--tls-port", str(free_port)),
        *("--tls-cert", str(certificates / "expired.pem")),
        *("--tls-key", str(certificates / "expired.key")),
    )
    line = broker.wait_for_log("certificate has expired")
    assert " ERROR " in line and "clients that check it will refuse to connect" in line


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "time is up"
        time.sleep(0.01)
