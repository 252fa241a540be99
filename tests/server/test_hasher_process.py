"""The process that hashes: real ones, on both loops, that are asked, killed, stopped, and left behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mansio.admin.passwords import ARGON2ID, PASSWORD_BYTES_MAX, check_password, hash_password
from mansio.server import clock, hasher_child
from mansio.server.hasher import SparingHasher
from mansio.server.hasher_process import Ended, HasherProcess
from mansio.server.hashing import (
    READY,
    REQUEST,
    Answer,
    Job,
    decode_answer,
    decode_job,
    encode_answer,
    encode_job,
)
from mansio.server.tasks import Tasks
from tests.admin.test_passwords import rabbitmq
from tests.conftest import BrokerStarter

LOOPS = [asyncio.new_event_loop, pytest.importorskip("uvloop").new_event_loop]
DEADLINE_S = 30.0
NEVER_S = 1000.0

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def is_running(pid: int) -> bool:
    """Whether there is this process, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def play(
    scene: Callable[[], Coroutine[Any, Any, None]], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())


# -- bytes


def decoded(data: bytes) -> Job:
    """Of a request, all of which is used."""
    at = REQUEST.size

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    job = decode_job(data[: REQUEST.size], take)
    assert at == len(data)
    return job


@pytest.mark.parametrize(
    "job",
    [Job("", "", ""), Job("hash", ARGON2ID, "öpen \udcff", True), Job("", "", "x" * 9, False)],
)
def test_a_job_is_what_it_was(job: Job) -> None:
    assert decoded(encode_job(job)) == job


def test_of_an_overlong_password_no_more_is_told_than_that() -> None:
    known, hashing = hash_password("x" * PASSWORD_BYTES_MAX)
    job = Job(known, hashing, "x" * 100_000)
    assert len(encode_job(job)) < 2 * PASSWORD_BYTES_MAX
    assert not check_password(*decoded(encode_job(job))[:3]).right


def test_an_answer_is_none_until_all_of_it_is_there() -> None:
    answer = Answer(True, "$argon2id$…", 1 << 40)
    data = encode_answer(answer)
    for size in range(len(data)):
        assert decode_answer(bytearray(data[:size])) is None
    assert decode_answer(bytearray(data)) == answer


# -- the child, in a thread of the test


def test_the_child_takes_requests_in_pieces_and_ends_with_the_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = threading.Thread(target=hasher_child.serve, args=(theirs.fileno(),))
        child.start()
        assert ours.recv(1000) == encode_answer(READY)
        for byte in encode_job(Job(*hash_password("secret"), "secret")):
            ours.send(bytes([byte]))
        answer = decode_answer(bytearray(ours.recv(1000)))
        assert answer is not None and answer.right and answer.cost_ns > 0
        ours.send(b"\0")  # a request that stays one
        ours.shutdown(socket.SHUT_WR)
        child.join(DEADLINE_S)
        assert not child.is_alive()


def test_where_there_is_no_idle_class_it_is_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "nice", asked.append)
    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    hasher_child.yield_to_others()
    monkeypatch.delattr(os, "sched_setscheduler")
    hasher_child.yield_to_others()
    assert asked == [hasher_child.NICENESS] * 2


# -- real processes


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_right_wrong_and_outdated(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene() -> None:
        process = HasherProcess()
        await process.start()
        pid = process.pid
        assert pid is not None
        known, hashing = hash_password("öpen \udcff")
        assert (await process.ask(Job(known, hashing, "öpen \udcff"))).right
        assert not (await process.ask(Job(known, hashing, "open"))).right
        assert not (await process.ask(Job("", "", "open"))).right
        old = Job(rabbitmq("secret"), "rabbit_password_hashing_sha256", "secret")
        assert (await process.ask(old)).renewed == ""
        renewed = (await process.ask(old._replace(renew=True))).renewed
        assert check_password(renewed, ARGON2ID, "secret").right
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert (await process.ask(old)).right
        process.close()
        process.close()
        assert not is_running(pid)

    play(scene, loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_one_that_is_killed_ends_what_waits_and_leaves_no_zombie(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scene() -> None:
        process = HasherProcess()
        await process.start()
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        asking = asyncio.ensure_future(process.ask(Job("", "", "secret")))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Ended):
            await asking
        with pytest.raises(Ended):
            await process.ask(Job("", "", "secret"))
        while is_running(pid):
            await asyncio.sleep(0.01)
        process.close()

    play(scene, loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_killed_process_is_replaced(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene() -> None:
        tasks = Tasks()
        processes: list[HasherProcess] = []

        def make() -> HasherProcess:
            processes.append(HasherProcess())
            return processes[-1]

        hasher = SparingHasher(clock, tasks, make, NEVER_S)
        job = Job(*hash_password("secret"), "secret")
        answer = await hasher.check(job)
        assert answer is not None and answer.right
        first = processes[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        answer = await hasher.check(job)
        assert answer is not None and answer.right
        assert len(processes) == 2
        while is_running(first):
            await asyncio.sleep(0.01)
        hasher.close()
        assert processes[1].pid is None

    play(scene, loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_process_that_cannot_run_has_ended(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        monkeypatch.setattr(HasherProcess, "program", "raise SystemExit(3)")
        process = HasherProcess()
        with pytest.raises(Ended):
            await process.start()
        process.close()
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        process = HasherProcess()
        with pytest.raises(OSError, match="nonexistent"):
            await process.start()
        process.close()

    play(scene, loop)


@on_linux
def test_nothing_secret_is_where_others_can_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setenv("MANSIO_DEFAULT_PASSWORD", "of the settings")
        process = HasherProcess()
        await process.start()
        await process.ask(Job(*hash_password("of a login"), "of a login"))
        seen = b"".join(
            Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")
        )
        assert b"hasher_child" in seen
        assert b"of the settings" not in seen
        assert b"of a login" not in seen
        assert process.pid is not None
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert os.getpgid(process.pid) != os.getpgid(0)
        assert os.getsid(process.pid) == os.getsid(0)
        process.close()

    play(scene, LOOPS[0])


PARENT = """
import asyncio, sys
from mansio.server.hasher_process import HasherProcess

async def main():
    process = HasherProcess()
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_a_parent_that_is_killed_leaves_no_process() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until_gone(pid)


def children(pid: int) -> list[int]:
    """Of a process, those that hash."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(each)
        for each in listed
        if b"hasher_child" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]


@on_linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_broker_takes_it_along(start_broker: BrokerStarter, number: int) -> None:
    broker = start_broker(redis=True)
    assert not children(broker.pid)  # nobody has logged in
    with socket.create_connection((broker.host, broker.redis_port), timeout=DEADLINE_S) as client:
        client.sendall(b"AUTH nobody wrong\r\n")
        assert client.recv(100).startswith(b"-WRONGPASS")
        (pid,) = children(broker.pid)
        if number == signal.SIGKILL:
            os.kill(broker.pid, number)
        else:
            os.kill(pid, signal.SIGSTOP)  # it gets no processor any more
            assert broker.stop(number) == 0
    wait_until_gone(pid)
