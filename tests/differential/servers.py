"""The two servers, each a process of its own on a free port of 127.0.0.1, with its data in a temporary folder."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.resp_client import HOST, RespClient

START_S_MAX: Final = 20.0
STOP_S_MAX: Final = 20.0
ROOT: Final = Path(__file__).resolve().parents[2]


class CannotStart(Exception):
    """A server is not installed, or does not start; the text says why."""


def free_port() -> int:
    """A port on which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A process that answers PING at `port`."""

    name = ""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"differential-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def spawn(self) -> None:
        """Without waiting for anything. It leads a process group of its own."""
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        """Returns when it answers. Errors: CannotStart."""
        self.spawn()
        assert self._process is not None
        deadline = time.monotonic() + START_S_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(f"{self.name} did not start:\n{self.output()[-2000:]}")
            time.sleep(0.01)

    def forget(self) -> None:
        """What it has stored is gone; it must not run."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def output(self) -> str:
        """What it has written so far."""
        return (self.folder / "output").read_text(errors="replace")

    def kill(self, children: bool = False) -> None:
        """Without warning; what it has started, too, if wanted."""
        if self._process is not None:
            if children:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """In order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.kill(children=True)

    def is_running(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """The process ends, and its files go."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            client = RespClient(self.port, 1.0)
        except OSError:
            return False
        try:
            return bool(client.ask("PING") == "PONG")
        except OSError:
            return False
        finally:
            client.close()


class Redis(Server):
    """redis-server, without persistence unless it is `durable`: then every write is synced before its reply."""

    name = "redis"

    def __init__(self, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise CannotStart("redis-server is not installed (Debian: apt install redis-server)")
        log = (
            ("--appendonly", "yes", "--appendfsync", "always")
            if self.durable
            else ("--appendonly", "no")
        )
        settings = (*log, "--save", "", "--bind", HOST, "--dir", str(self.folder))
        return [program, "--port", str(self.port), *settings]


class Mansio(Server):
    """`mansio serve` of this checkout, with its log in memory unless it is `durable`."""

    name = "mansio"

    def __init__(self, durable: bool = False, options: tuple[str, ...] = ()) -> None:
        """`options`: more of them for `mansio serve`."""
        super().__init__()
        self.durable = durable
        self._options = options
        self._amqp_port = free_port()

    def command(self) -> list[str]:
        log = ["--data-dir", str(self.folder / "data")] if self.durable else ["--in-memory"]
        ports = ["--port", str(self._amqp_port), "--redis-port", str(self.port), "--zmq-port", "0"]
        return [sys.executable, "-m", "mansio", "serve", *ports, *log, *self._options]


def is_installed() -> bool:
    """Whether there is a redis-server."""
    return shutil.which("redis-server") is not None
