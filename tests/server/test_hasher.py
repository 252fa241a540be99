"""Where passwords are hashed: the process, and the thread when the process is late, cannot be started or ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mansio.admin import passwords
from mansio.core.limits import NS
from mansio.server import hasher as module
from mansio.server.hasher import START_AGAIN_S, TOLD_S, SparingHasher
from mansio.server.hasher_process import Ended
from mansio.server.hashing import Answer, Job
from mansio.server.tasks import Tasks
from tests.server.stage import StageClock

JOB = Job("", "", "secret")
OF_PROCESS = Answer(True, "of a process")
OF_THREAD = Answer(True, "of the thread")


class ScriptedProcess:
    """Starts, or not; each question is answered when the test says so."""

    def __init__(self, stage: "Stage", fault: Exception | None) -> None:
        self.stage = stage
        self.fault = fault
        self.asked: list[Job] = []
        self.closed = False
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault

    async def ask(self, job: Job) -> Answer:
        self.asked.append(job)
        if self.stage.prompt:
            return OF_PROCESS
        if self.stage.ending:
            raise Ended("exit code -9")
        return await self.answer

    def close(self) -> None:
        self.closed = True


class Stage:
    """A hasher, its processes from the first to the last, and what its thread has done."""

    def __init__(self, late_s: float) -> None:
        self.prompt = True
        self.ending = False
        self.fault: Exception | None = None
        self.processes: list[ScriptedProcess] = []
        self.in_thread: list[Job] = []
        self.failed: list[BaseException] = []
        self.clock = StageClock()
        self.tasks = Tasks(lambda name, error: self.failed.append(error))
        self.hasher = SparingHasher(self.clock, self.tasks, self.make, late_s)

    def make(self) -> ScriptedProcess:
        self.processes.append(ScriptedProcess(self, self.fault))
        return self.processes[-1]

    def work(self, job: Job, now_ns: Callable[[], int]) -> Answer:
        assert now_ns() == self.clock.ns
        self.in_thread.append(job)
        return OF_THREAD


Play = Callable[..., Stage]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scene; `late_s` is when the process is late, never by default."""

    def run(scene: Callable[[Stage], Awaitable[None]], late_s: float = 1000) -> Stage:
        async def main() -> Stage:
            stage = Stage(late_s)
            monkeypatch.setattr(module, "work", stage.work)
            try:
                await scene(stage)
            finally:
                await stage.tasks.cancel_all()
                stage.hasher.close()
            return stage

        stage = asyncio.run(main())
        assert not stage.failed
        return stage

    return run


def test_a_process_is_started_by_the_first_job_and_kept(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        assert not stage.processes
        assert await stage.hasher.check(JOB) == OF_PROCESS
        assert await stage.hasher.check(JOB) == OF_PROCESS

    stage = play(scene)
    (process,) = stage.processes
    assert process.asked == [JOB, JOB]
    assert process.closed
    assert not stage.in_thread


def test_a_job_is_done_by_another_process_when_one_ends(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.prompt = False
        asking = stage.tasks.start(stage.hasher.check(JOB), "test")
        while not (stage.processes and stage.processes[0].asked):
            await asyncio.sleep(0)
        stage.prompt = True
        stage.processes[0].answer.set_exception(Ended("exit code -9"))
        assert await asking == OF_PROCESS

    stage = play(scene)
    assert [process.asked for process in stage.processes] == [[JOB], [JOB]]
    assert not stage.in_thread


def test_what_ends_two_processes_is_not_done(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        stage.prompt, stage.ending = False, True
        assert await stage.hasher.check(JOB) is None
        assert len(stage.processes) == 2
        stage.prompt = True
        assert await stage.hasher.check(JOB) == OF_PROCESS

    stage = play(scene)
    assert len(stage.processes) == 3
    assert not stage.in_thread
    assert "not checked" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("fault", [OSError("no memory"), Ended("exit code 1")])
def test_without_a_process_the_thread_does_it(
    play: Play, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage) -> None:
        stage.fault = fault
        for _ in range(3):
            assert await stage.hasher.check(JOB) == OF_THREAD
        assert len(stage.processes) == 1
        assert stage.processes[0].closed
        stage.clock.ns += START_AGAIN_S * NS
        stage.fault = None
        assert await stage.hasher.check(JOB) == OF_PROCESS

    stage = play(scene)
    assert len(stage.in_thread) == 3
    assert len(caplog.messages) == 1
    assert str(fault) in caplog.text


def test_a_process_that_gets_no_processor_keeps_nobody_out(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage) -> None:
        stage.prompt = False
        for _ in range(3):
            assert await stage.hasher.check(JOB) == OF_THREAD
        (process,) = stage.processes
        assert process.asked == [JOB]  # what comes behind it goes to the thread at once
        process.answer.set_result(OF_PROCESS)
        while len(stage.tasks):
            await asyncio.sleep(0)
        process.answer = asyncio.get_running_loop().create_future()
        assert await stage.hasher.check(JOB) == OF_THREAD
        assert len(process.asked) == 2  # it has answered, and is asked again
        process.answer.set_result(OF_PROCESS)
        while len(stage.tasks):
            await asyncio.sleep(0)
        stage.clock.ns += TOLD_S * NS
        process.answer = asyncio.get_running_loop().create_future()
        assert await stage.hasher.check(JOB) == OF_THREAD

    caplog.set_level(logging.INFO)
    play(scene, late_s=0)
    assert sum("no processor" in line for line in caplog.messages) == 2  # of the three times


def test_the_answer_that_comes_first_is_taken(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        thread: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        async def in_thread(job: Job) -> Answer:
            stage.processes[0].answer.set_result(OF_PROCESS)
            return await thread

        stage.prompt = False
        monkeypatch.setattr(stage.hasher, "_in_thread", in_thread)
        assert await stage.hasher.check(JOB) == OF_PROCESS

    play(scene, late_s=0.001)


def test_a_late_process_that_ends_twice_leaves_it_to_the_thread(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: Stage) -> None:
        ended = asyncio.Event()

        async def in_thread(job: Job) -> Answer:
            stage.ending = True
            stage.processes[0].answer.set_exception(Ended("exit code -9"))
            assert stage.hasher._asking is not None
            await asyncio.wait((stage.hasher._asking,))
            await asyncio.sleep(0)
            ended.set()
            return OF_THREAD

        stage.prompt = False
        monkeypatch.setattr(stage.hasher, "_in_thread", in_thread)
        assert await stage.hasher.check(JOB) == OF_THREAD
        assert ended.is_set()
        assert len(stage.processes) == 2

    play(scene, late_s=0.001)


def test_a_hash_that_takes_longer_is_late_later(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait = asyncio.wait

    async def noted(tasks: Any, **options: Any) -> Any:
        waits.append(options["timeout"])
        return await wait(tasks, **options)

    async def scene(stage: Stage) -> None:
        usual, hashing = passwords.hash_password("secret")
        times = passwords.ARGON2_KIB * passwords.ARGON2_PASSES
        heavy = usual.replace(
            f"m={passwords.ARGON2_KIB},t={passwords.ARGON2_PASSES}", "m=65536,t=4"
        )
        light = usual.replace(f"m={passwords.ARGON2_KIB}", "m=64")
        monkeypatch.setattr(asyncio, "wait", noted)
        for known in (usual, heavy, light, "$argon2id$broken", ""):
            await stage.hasher.check(Job(known, hashing, "secret"))
        await stage.hasher.check(Job("x", "rabbit_password_hashing_md5", "secret"))
        assert waits == [1000, 1000 * 65536 * 4 / times, 1000, 1000, 1000, 1000]

    play(scene)
