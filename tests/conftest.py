"""Fixtures for all tests. `broker` is a real `mansio serve` process on a free port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parent.parent
START_S_MAX = 10.0
PROCESS_FIXTURES = {"broker", "start_broker"}


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test a compiled codec that is older than its source."""
    try:
        from hypothesis import settings
    except ImportError:
        pass
    else:
        settings.register_profile("mansio", deadline=None)
        settings.load_profile("mansio")
    if os.environ.get("MANSIO_PURE", "") in ("", "0"):
        codec = ROOT / "src/mansio/codec"
        sources = [f for f in (codec / "amqp.py", codec / "amqp.pxd") if f.exists()]
        for built in codec.glob("amqp.*.so"):
            if built.stat().st_mtime < max(f.stat().st_mtime for f in sources):
                raise pytest.UsageError(
                    "the compiled codec is older than its source: run `make install`"
                    " (or set MANSIO_PURE=1)"
                )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a broker process; the second run of `make test` leaves it out."""
    for item in items:
        if PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@dataclass
class BrokerProcess:
    """A running `mansio serve`; `port` is the one that it chose."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    host: str = "127.0.0.1"
    port: int = 0
    redis_port: int = 0
    """Of its Redis front, 0: it has none."""
    zmq_port: int = 0
    """Of its ZeroMQ front, 0: it has none."""
    started_s: float = field(default=0.0)
    """Seconds from the start of the process to its listening."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def log_text(self) -> str:
        """Everything that it has written so far."""
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = START_S_MAX) -> str:
        """The first line with `text`; fails if the process ends or time is up before it."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None
            for line in self.log_text().splitlines():
                if text in line:
                    return line
            if ended or time.monotonic() > deadline:
                state = f"exit code {self.process.returncode}" if ended else "time is up"
                pytest.fail(f"no line with {text!r} ({state}) in:\n{self.log_text()}")
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the broker did not stop within {timeout_s} s:\n{self.log_text()}")


class BrokerStarter:
    """Starts brokers and ends them, whatever happens."""

    def __init__(self) -> None:
        self._started: list[BrokerProcess] = []
        self._folders = ExitStack()

    def _folder(self) -> str:
        return self._folders.enter_context(tempfile.TemporaryDirectory(prefix="mansio-test-"))

    def spawn(self, *options: str, **environ: str) -> BrokerProcess:
        """Start `mansio serve OPTIONS` without waiting for anything."""
        log = tempfile.NamedTemporaryFile(prefix="mansio-test-", suffix=".log")  # noqa: SIM115
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MANSIO_")}
        if pure := os.environ.get("MANSIO_PURE"):
            clean["MANSIO_PURE"] = pure
        for front in ("redis", "zmq"):
            if f"--{front}-port" not in options:  # one port for all would be taken
                clean[f"MANSIO_{front.upper()}_PORT"] = "0"
        if "--in-memory" not in options and "--data-dir" not in options:
            clean["MANSIO_DATA_DIR"] = self._folder()
        process = subprocess.Popen(
            [sys.executable, "-m", "mansio", "serve", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=clean | environ,
            cwd=ROOT,
        )
        broker = BrokerProcess(process, log)
        self._started.append(broker)
        return broker

    def __call__(
        self, *options: str, redis: bool = False, zmq: bool = False, **environ: str
    ) -> BrokerProcess:
        """Start `mansio serve --port 0 OPTIONS` and wait until it listens; with `redis` for Redis clients, too, with
        `zmq` for ZeroMQ sockets."""
        if redis:
            redis_port = find_free_port()
            broker = self("--redis-port", str(redis_port), *options, zmq=zmq, **environ)
            broker.wait_for_log(f":{redis_port} (Redis)")
            broker.redis_port = redis_port
            return broker
        if zmq:
            zmq_port = find_free_port()
            broker = self("--zmq-port", str(zmq_port), *options, **environ)
            broker.wait_for_log(f":{zmq_port} (ZeroMQ)")
            broker.zmq_port = zmq_port
            return broker
        started = time.monotonic()
        broker = self.spawn("--port", "0", *options, **environ)
        line = broker.wait_for_log("listening on ")
        broker.started_s = time.monotonic() - started
        broker.port = int("".join(filter(str.isdigit, line.rpartition(":")[2])))
        return broker

    def close(self) -> None:
        """End every process that was started here."""
        for broker in self._started:
            if broker.process.poll() is None:
                broker.process.kill()
            broker.process.wait()
            broker.log.close()
        self._folders.close()


@pytest.fixture
def start_broker() -> Iterator[BrokerStarter]:
    """Call it with options to start a broker of your own on a free port."""
    starter = BrokerStarter()
    yield starter
    starter.close()


@pytest.fixture(scope="session")
def broker() -> Iterator[BrokerProcess]:
    """One broker for the whole session: use names of your own for queues and exchanges."""
    starter = BrokerStarter()
    try:
        yield starter()
    finally:
        starter.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA, a server, clients, and certificates to be refused: see `tests/certificates.py`."""
    from tests.certificates import make_certificates

    return make_certificates(tmp_path_factory.mktemp("certificates"))


def find_free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    return find_free_port()
