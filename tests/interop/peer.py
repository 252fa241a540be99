"""A private RabbitMQ to compare with: own node, ports, data, cookie and epmd, all in a temporary folder.

    with rabbitmq() as peer:
        socket.create_connection((peer.host, peer.port))

Nothing outside the temporary folder is read or written, of the plugins only exchange types and management are
loaded, and everything listens on 127.0.0.1 only. `PeerMissing` says why there is no RabbitMQ here (not installed), so
that a test can skip.
From a shell: `python -m tests.interop.peer` runs one until Ctrl-C and prints its port.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
PLUGINS = (
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_management",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
)
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 20.0

# The wrapper on Debian's PATH changes the user and reads the system's settings; the script behind it does not.
SERVER_SCRIPTS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
)


class PeerMissing(Exception):
    """RabbitMQ cannot be run here; the text says what is missing."""


class PeerFailed(Exception):
    """RabbitMQ is installed but did not start; the text ends with its output."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running RabbitMQ: user guest, password guest, virtual host `/`; management_port is that of its HTTP API."""

    host: str
    port: int
    management_port: int
    pid: int
    folder: Path


def server_script() -> str:
    """Path of the script that starts RabbitMQ; raises PeerMissing."""
    if shutil.which("epmd") is None or shutil.which("erl") is None:
        raise PeerMissing("Erlang (erl, epmd) is not installed")
    for path in (*SERVER_SCRIPTS, shutil.which("rabbitmq-server")):
        if path is not None and os.access(path, os.X_OK):
            return path
    raise PeerMissing("rabbitmq-server is not installed")


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers_amqp(port: int) -> bool:
    """Whether something on the port answers the protocol header with a method frame."""
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as sock:
            sock.sendall(b"AMQP\x00\x00\x09\x01")
            return sock.recv(1) == b"\x01"
    except OSError:
        return False


def peer_environment(
    folder: Path, port: int, epmd_port: int, dist_port: int, erl_args: str
) -> dict[str, str]:
    """Environment for the server script: every path below the folder, every port our own."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return keep | {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": f"peer{port}@localhost",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false"
        " -kernel inet_dist_use_interface {127,0,0,1} " + erl_args,
    }


def write_settings(
    folder: Path, port: int, management_port: int, settings: Mapping[str, str]
) -> None:
    """Write rabbitmq.conf, the list of plugins and the cookie."""
    lines = {
        "listeners.tcp.1": f"{HOST}:{port}",
        "management.tcp.ip": HOST,
        "management.tcp.port": str(management_port),
        "management_agent.disable_metrics_collector": "true",
        "log.console": "false",
        "vm_memory_high_watermark.relative": "0.6",
        "disk_free_limit.absolute": "50MB",
    } | dict(settings)
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    (folder / "rabbitmq.conf").write_text(text)
    (folder / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")
    (folder / "rabbitmq-env.conf").write_text("")
    cookie = folder / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)


def stop_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a child that leads its own process group: first politely, then for good."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_up(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    """Return when RabbitMQ answers on the port; raises PeerFailed with its output."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not answers_amqp(port):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = output.read_text(errors="replace")[-2000:]
            raise PeerFailed(f"RabbitMQ did not start within {START_SECONDS_MAX:.0f} s:\n{tail}")
        time.sleep(0.2)


@contextlib.contextmanager
def rabbitmq(
    port: int = 0, settings: Mapping[str, str] | None = None, erl_args: str = ""
) -> Iterator[Peer]:
    """Run a RabbitMQ of our own for the length of the block.

    port 0 picks a free one; settings are lines of rabbitmq.conf; erl_args go to the Erlang VM.
    Raises PeerMissing or PeerFailed.
    """
    script = server_script()
    port = port or free_port()
    epmd_port, dist_port, management_port = free_port(), free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="mansio-peer-"))
    output = folder / "output"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        write_settings(folder, port, management_port, settings or {})
        environment = peer_environment(folder, port, epmd_port, dist_port, erl_args)
        out = stack.enter_context(output.open("wb"))
        epmd = subprocess.Popen(
            ["epmd", "-port", str(epmd_port), "-address", HOST],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, cwd=folder,
        )  # fmt: skip
        stack.callback(stop_group, epmd, STOP_SECONDS_MAX)
        server = subprocess.Popen(
            [script],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, cwd=folder,
        )  # fmt: skip
        stack.callback(stop_group, server, STOP_SECONDS_MAX)
        wait_until_up(server, port, output)
        yield Peer(HOST, port, management_port, server.pid, folder)


def main() -> int:
    """Run RabbitMQ until it is interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with rabbitmq(port) as peer:
            print(f"RabbitMQ pid {peer.pid} on {peer.host}:{peer.port}, folder {peer.folder}")
            sys.stdout.flush()
            signal.pause()
    except PeerMissing as missing:
        print(f"no RabbitMQ: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
