"""The brokers under test, each a private process on free ports of 127.0.0.1."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from bench import disk, procfs, wire

START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
RABBITMQ_SERVERS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",  # Debian's, without its wrapper that needs root
    "/opt/rabbitmq/sbin/rabbitmq-server",
)
RABBITMQ_CONF = """\
listeners.tcp.default = 127.0.0.1:{port}
log.file.level = error
log.console = false
"""
NATS_CONF = """\
port: {port}
host: 127.0.0.1
jetstream {{ store_dir: "{folder}/data" }}
"""


class PeerError(Exception):
    """A peer is not installed or does not start."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


class Peer:
    """One broker process: start, facts about it, stop. A context manager that stops it."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.port = 0
        self.start_s = 0.0  # from exec to the first answer
        self.version = self.platform = ""
        self._folder = Path()
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command that starts the broker on self.port."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The variables that the broker sees."""
        return dict(os.environ)

    def prepare(self) -> None:
        """Files and helpers that the broker needs before it starts."""

    def greet(self) -> None:
        """Connect, and take version and platform from the first answer. Errors: OSError."""
        sock, start = wire.hello(self.port)
        sock.close()
        self.version = wire.server_property(start, "version")
        self.platform = wire.server_property(start, "platform")

    def start(self) -> Self:
        """Start and wait until it answers. Errors: PeerError."""
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-", dir=disk.folder()))
        try:
            self.prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def restart_cold(self) -> None:
        """End the broker, drop what the page cache holds of its files, and start it again. Errors: PeerError."""
        self._end()
        disk.forget(self._folder)
        self._launch()
        disk.forget(self._folder)

    def _launch(self) -> None:
        with open(self._folder / "output", "wb") as output:
            begin = time.perf_counter()
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_until_it_answers(begin)

    def _wait_until_it_answers(self, begin: float) -> None:
        assert self._process is not None
        while True:
            try:
                self.greet()
            except OSError:
                elapsed = time.perf_counter() - begin
                if self._process.poll() is not None or elapsed > START_LIMIT_S:
                    raise PeerError(f"{self.name} did not start:\n{self._output()}") from None
                time.sleep(0.003)
                continue
            self.start_s = time.perf_counter() - begin
            return

    def _output(self) -> str:
        text = (self._folder / "output").read_text(errors="replace").strip()
        return text[-2000:] or "(no output)"

    def pids(self) -> list[int]:
        """The broker's processes, all that descend from the one that was started."""
        return procfs.tree(self._process.pid) if self._process else []

    def stop(self) -> None:
        """End the broker and what belongs to it, by process id, and remove its files."""
        self._end()
        for helper in self._helpers:
            helper.terminate()
            helper.wait()
        self._helpers.clear()
        if self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is None:
            return
        pids = self.pids()
        self._ask_to_stop(pids)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in pids[1:]:
            if procfs.is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self._process = None

    def _ask_to_stop(self, pids: list[int]) -> None:
        for pid in pids[:1]:
            os.kill(pid, signal.SIGTERM)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Mansio(Peer):
    """`mansio serve` of this interpreter's environment, with its log on disk unless told else."""

    name = "mansio"
    pure = False
    serve: ClassVar[tuple[str, ...]] = ()  # more arguments of `mansio serve`

    @classmethod
    def is_durable(cls) -> bool:
        """Whether there is a log on disk."""
        return "--in-memory" not in cls.serve

    @classmethod
    def log_text(cls) -> str:
        """Where the log is, for the facts of a run."""
        more = f" (`{' '.join(cls.serve)}`)" if cls.serve else ""
        return ("log on disk" if cls.is_durable() else "log in memory") + more

    def command(self) -> list[str]:
        where = ["--data-dir", str(self._folder / "data")] if self.is_durable() else []
        own = [
            "--port",
            str(self.port),
            "--redis-port",
            "0",
            "--zmq-port",
            "0",
            *where,
            *self.serve,
        ]
        return [sys.executable, "-m", "mansio", "serve", *own]

    def environment(self) -> dict[str, str]:
        variables = super().environment()
        if self.pure:
            variables["MANSIO_PURE"] = "1"
        return variables


class PureMansio(Mansio):
    """The same with the codec as plain Python."""

    name = "mansio-pure"
    pure = True


class RabbitMQ(Peer):
    """A RabbitMQ node of its own: name, ports, folders, port mapper; default settings else."""

    name = "rabbitmq"

    @staticmethod
    def maybe_server() -> str | None:
        """The path of the server's start script, or None."""
        found = (path for path in RABBITMQ_SERVERS if os.access(path, os.X_OK))
        return next(found, None) or shutil.which("rabbitmq-server")

    def prepare(self) -> None:
        self._server, epmd = self.maybe_server(), shutil.which("epmd")
        if self._server is None or epmd is None:
            raise PeerError("RabbitMQ is not installed (Debian: apt install rabbitmq-server)")
        (self._folder / "rabbitmq.conf").write_text(RABBITMQ_CONF.format(port=self.port))
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "env.conf").write_text("")
        self._epmd_port = free_port()
        # As a child in the foreground: the one that Erlang starts would outlive the node.
        self._helpers.append(
            subprocess.Popen(
                [epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        wait_for_port(self._epmd_port)

    def command(self) -> list[str]:
        return [str(self._server)]

    def environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return super().environment() | {
            "HOME": folder,  # for the cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"bench-{os.getpid()}-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    def _ask_to_stop(self, pids: list[int]) -> None:
        """SIGTERM to the virtual machine; its start script then ends by itself."""
        for pid in pids:
            if Path(f"/proc/{pid}/exe").resolve().name.startswith("beam"):
                os.kill(pid, signal.SIGTERM)
                return
        super()._ask_to_stop(pids)


class Nats(Peer):
    """nats-server with JetStream; default settings else."""

    name = "nats"

    @staticmethod
    def maybe_server() -> str | None:
        """The path of the server, or None."""
        return shutil.which("nats-server")

    def prepare(self) -> None:
        text = NATS_CONF.format(port=self.port, folder=self._folder)
        (self._folder / "nats.conf").write_text(text)

    def command(self) -> list[str]:
        return [self.maybe_server() or "nats-server", "-c", str(self._folder / "nats.conf")]

    def greet(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), wire.TIMEOUT_S) as sock:
            verb, _, facts = sock.makefile("rb").readline().partition(b" ")
        if verb != b"INFO":
            raise ConnectionError(f"not a NATS server: {verb!r}")
        told = json.loads(facts)
        self.version, self.platform = told["version"], told["go"]


class Redis(Peer):
    """redis-server without persistence."""

    name = "redis"
    settings: ClassVar[tuple[str, ...]] = ("--save", "", "--appendonly", "no")

    @staticmethod
    def maybe_server() -> str | None:
        """The path of the server, or None."""
        return shutil.which("redis-server")

    def command(self) -> list[str]:
        server = self.maybe_server()
        if server is None:
            raise PeerError("redis-server is not installed (Debian: apt install redis-server)")
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        return [server, *place, *self.settings]

    def greet(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), wire.TIMEOUT_S) as sock:
            sock.sendall(b"INFO server\r\n")
            told = sock.recv(65536).decode()
        facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        if "redis_version" not in facts:
            raise ConnectionError(f"not a Redis server: {told[:80]!r}")
        self.version, self.platform = facts["redis_version"], facts.get("gcc_version", "")


class DurableRedis(Redis):
    """The same with every write in its log, and synced, before the reply."""

    name = "redis-always"
    settings = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


def wait_for_port(port: int) -> None:
    """Wait until something listens there. Errors: PeerError after START_LIMIT_S."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < START_LIMIT_S:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise PeerError(f"nothing listens on port {port}")


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Mansio, PureMansio, RabbitMQ, Nats)}


@contextmanager
def running(names: list[str]) -> Iterator[dict[str, Peer]]:
    """All the named peers by name, started; all are stopped at the end."""
    started: dict[str, Peer] = {}
    try:
        for name in names:
            started[name] = PEERS[name]().start()
        yield started
    finally:
        for peer in started.values():
            peer.stop()
