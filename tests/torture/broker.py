"""The broker process: started, killed, and started again on the same directory and port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.procfs import tree
from bench.wire import hello

ROOT = Path(__file__).resolve().parents[2]
START_S_MAX = 60.0
STOP_S_MAX = 60.0
POLL_S = 0.002


class StartFailed(Exception):
    """The broker ended or did not serve in time."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """One data directory and port; one process at a time. `log`: the file that all of them write to."""

    def __init__(self, data_dir: Path, log: Path, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.log = log
        self._command = [sys.executable, "-m", "mansio", "serve", "--port", str(self.port)]
        self._command += [
            "--redis-port",
            "0",
            "--zmq-port",
            "0",
            "--data-dir",
            str(data_dir),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is one."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[int]:
        """Process ids of what it has started, the log writer among them."""
        return tree(self.pid)[1:]

    def spawn(self) -> None:
        """Start it without waiting. It leads a process group of its own."""
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("MANSIO_") or key == "MANSIO_PURE"
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean,
                cwd=ROOT,
                start_new_session=True,
            )

    def start(self) -> float:
        """Start it and wait until it shakes hands; how many seconds that took. StartFailed."""
        begun = time.monotonic()
        self.spawn()
        while time.monotonic() < begun + START_S_MAX:
            if not self.running:
                code = self._process.returncode if self._process else None
                raise StartFailed(f"exit code {code}:\n{self.log_tail()}")
            try:
                hello(self.port)[0].close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return time.monotonic() - begun
        raise StartFailed(f"it does not serve after {START_S_MAX} s:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self, group: bool = False) -> None:
        """kill -9, of its children too if `group`."""
        if self._process is None:
            return
        if group:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.kill()
        self._process.wait()

    def kill_child(self) -> bool:
        """kill -9 of a child; False if there is none."""
        for pid in self.children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
        return False

    def stop(self) -> int:
        """SIGTERM; the exit code. TimeoutExpired if it goes on."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_S_MAX)
