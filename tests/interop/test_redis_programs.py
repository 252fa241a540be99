"""Programs of others on the Redis front: FastStream, taskiq, ioredis, node-redis, redis-cli, redis-benchmark.

Each is tried on a redis-server first, if there is one, so that a failure tells whose it is.
"""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, BrokerStarter
from tests.differential.servers import CannotStart, Redis
from tests.interop.howto import SECONDS_MAX
from tests.interop.venvs import node_packages, venv

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parent
FASTSTREAM = ("faststream[redis,cli]==0.7.8",)
TASKIQ = ("taskiq-redis==1.2.4", "taskiq==0.13.0")
HOW_TO = ("redis==8.1.0",)
NODE = {"ioredis": "ioredis@6.0.0", "redis": "redis@6.3.1"}


def find_free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def mansio_port() -> Iterator[int]:
    starter, port = BrokerStarter(), find_free_port()
    try:
        starter("--redis-port", str(port))
        yield port
    finally:
        starter.close()


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    server = Redis()
    try:
        server.start()
        yield server.port
    except CannotStart as error:
        pytest.skip(str(error))
    finally:
        server.close()


@pytest.fixture(params=["redis", "mansio"])
def port(request: pytest.FixtureRequest) -> int:
    return int(request.getfixturevalue(f"{request.param}_port"))


def run(*line: str | Path, stdin: str | None = None, **environ: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=SECONDS_MAX, input=stdin,
        env=os.environ | environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def python_program(name: str, packages: tuple[str, ...], port: int, *options: str) -> str:
    """Without this folder among the modules: it has an operator.py."""
    python, own = venv(*packages) / "python", f"{name}-{uuid.uuid4().hex[:8]}"
    url = f"redis://127.0.0.1:{port}/0"
    return run(python, "-P", FOLDER / f"redis_{name}_program.py", url, own, *options)


def test_faststream(port: int) -> None:
    assert python_program("faststream", FASTSTREAM, port) == (
        "batch: three, batch: two, channel: six, group: five, list: five passed on, list: one, stream: four, echoecho"
    )


@pytest.mark.parametrize("kind", ["list", "pubsub"])
def test_taskiq(port: int, kind: str) -> None:
    assert python_program("taskiq", TASKIQ, port, kind) == "one, two, three"


def test_taskiq_streams(port: int) -> None:
    """Behind each round its lock is released with EVALSHA, in a transaction."""
    assert python_program("taskiq", TASKIQ, port, "stream") == "one, two, three\nfour 0"


def test_taskiq_claims_what_was_abandoned(port: int) -> None:
    assert python_program("taskiq", TASKIQ, port, "abandoned") == "lost, other"


def test_taskiq_results(port: int) -> None:
    assert python_program("taskiq", TASKIQ, port, "results") == "[1, 'two'] True\n[1, 'two'] False"


@pytest.mark.parametrize("package", NODE)
def test_node(port: int, package: str) -> None:
    packages, own = node_packages(NODE[package]), f"{package}-{uuid.uuid4().hex[:8]}"
    program = FOLDER / "redis_node_program.mjs"
    said = run("node", program, str(port), own, package, PACKAGES=str(packages))
    assert said == "list=task, hello, OK/42/42, field=entry 1, true, WRONGTYPE"


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
@pytest.mark.parametrize("protocol", ["-2", "-3"])
def test_redis_cli(port: int, protocol: str) -> None:
    key = f"cli-{uuid.uuid4().hex[:8]}"
    lines = (
        f"LPUSH {key} a 'b c' \"\\x01\"",
        f"LRANGE {key} 0 -1",
        f"SET {key} x NX",
        f"RPOP {key} 5",
        f"GET {key}",
        "MULTI",
        f"SET {key} 1",
        f"INCR {key}",
        "EXEC",
        f"LPUSH {key} x",
        "NOSUCH",
        f"DEL {key}",
    )
    said = run("redis-cli", protocol, "-p", str(port), stdin="\n".join(lines) + "\n")
    assert said.replace(key, "key").splitlines() == [
        "3", "\x01", "b c", "a", "", "a", "b c", "\x01", "", "OK", "QUEUED", "QUEUED", "OK", "2",
        "WRONGTYPE Operation against a key holding the wrong kind of value", "",
        "ERR unknown command 'NOSUCH', with args beginning with: ", "", "1",
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_redis_cli_scans_and_counts(port: int) -> None:
    prefix = f"cli-{uuid.uuid4().hex[:8]}"
    pushes = "".join(f"RPUSH {prefix}:{i} x\n" for i in range(100))
    run("redis-cli", "-p", str(port), stdin=pushes)
    keys = run("redis-cli", "-p", str(port), "--scan", "--pattern", f"{prefix}:*").split()
    assert sorted(keys) == sorted(f"{prefix}:{i}" for i in range(100))
    assert "list" in run("redis-cli", "-p", str(port), "--bigkeys")


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_redis_cli_pipes_in_bulk(port: int) -> None:
    key = f"cli-{uuid.uuid4().hex[:8]}"
    pushes = "".join(f"RPUSH {key} {i}\r\n" for i in range(10_000))
    said = run("redis-cli", "-p", str(port), "--pipe", stdin=pushes)
    assert "errors: 0, replies: 10000" in said
    assert run("redis-cli", "-p", str(port), "LLEN", key) == "10000"


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis-benchmark is not installed")
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark(port: int, pipeline: str) -> None:
    """Its own tests, of those commands that there are."""
    tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,lrange_100,lrange_600,mset"
    options = ("-n", "2000", "-P", pipeline, "-c", "20", "-e", "--csv", "-t", tests)
    said = run("redis-benchmark", "-p", str(port), *options)
    assert "error" not in said.lower()
    assert len(said.splitlines()) >= len(tests.split(","))


def test_how_to_copy_a_list(tmp_path: Path, mansio_port: int, redis_port: int) -> None:
    page = (ROOT / "docs/redis-lists.md").read_text(encoding="utf-8")
    program = tmp_path / "copy_list.py"
    program.write_text(page.partition("```py\n")[2].partition("```")[0])
    old, new, key = str(redis_port), str(mansio_port), f"copy-{uuid.uuid4().hex[:8]}"
    run("redis-cli", "-p", old, "LPUSH", key, "a", "", "c")
    urls = (f"redis://127.0.0.1:{port}" for port in (old, new))
    run(venv(*HOW_TO) / "python", program, *urls, key)
    assert run("redis-cli", "-p", new, "LRANGE", key, "0", "-1").split("\n") == ["c", "", "a"]
    assert run("redis-cli", "-p", old, "EXISTS", key) == "0"
