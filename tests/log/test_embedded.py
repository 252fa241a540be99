"""The embedded log: its process, its directory, large entries."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mansio.log.base import Damaged, Fenced, Full, LogError, Missing, Unavailable
from mansio.log.child import INBOX_BYTES
from mansio.log.directory import DataDirectory, DirectoryError, LockedError
from mansio.log.embedded import EmbeddedLog
from mansio.log.entry import decode_entry, encode_entry
from mansio.log.segments.layout import FRAME_BYTES, HEADER_BYTES, NewerFormat
from mansio.log.segments.settings import StoreSettings
from mansio.log.wire import BOUNDS

SMALL = StoreSettings(segment_bytes=128 << 10)


LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS = [asyncio.new_event_loop, pytest.importorskip("uvloop").new_event_loop]


def run(
    test: Callable[[], Coroutine[Any, Any, None]], loop: LoopFactory = asyncio.new_event_loop
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(test(), 30))


def entry(prev_seq: int, *records: bytes, epoch: int = 1) -> bytes:
    return encode_entry(epoch, 7, prev_seq, records)


async def started(path: Path, settings: StoreSettings = SMALL) -> EmbeddedLog:
    log = EmbeddedLog(path, settings)
    await log.start()
    return log


async def fill(log: EmbeddedLog, seq: int, count: int, size: int = 1000) -> int:
    for at in range(count):
        seq = await log.append(entry(seq, b"%d" % at + bytes(size)), seq)
    return seq


def child_pid(log: EmbeddedLog) -> int:
    pid = log._engine.process.pid
    assert pid is not None
    return pid


# -- the process ----------------------------------------------------------------------------------


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await fill(log, await log.open(1, 7), 3)
        first = child_pid(log)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await log.append(entry(seq, b"x"), seq)
        assert (await log.bounds()).last_seq == seq
        assert await log.append(entry(seq, b"x"), seq) == seq + 1
        assert child_pid(log) != first
        await log.close()

    run(test)


def test_everything_under_way_fails_with_the_process(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        os.kill(child_pid(log), signal.SIGSTOP)
        calls = [asyncio.ensure_future(log.append(entry(seq, bytes(1 << 20)), seq))]
        calls += [asyncio.ensure_future(log.bounds()) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(child_pid(log), signal.SIGKILL)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 4
        assert (await log.bounds()).last_seq >= seq
        await log.close()

    run(test)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_process_that_ends_behind_a_reply(tmp_path: Path, loop: LoopFactory) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        process, pid = log._engine.process, child_pid(log)
        replied = process.call(BOUNDS)
        assert process._socket is not None and select.select([process._socket], [], [], 10)[0]
        os.kill(pid, signal.SIGSTOP)
        unread = process.call(BOUNDS)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        await replied
        with pytest.raises(Unavailable):
            await unread
        assert (await log.bounds()).last_seq == seq
        await log.close()

    run(test, loop)


@pytest.mark.parametrize("what", ["socket.socketpair", "os.pipe", "subprocess.Popen"])
def test_a_process_that_cannot_be_started_now(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_named: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        os.kill(child_pid(log), signal.SIGKILL)
        with pytest.raises(Unavailable):
            await log.append(entry(seq, b"x"), seq)
        files = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(f"mansio.log.process.{what}", fail)
            for call in (log.append(entry(seq, b"x"), seq), log.bounds()):
                with pytest.raises(Unavailable, match="Too many open files"):
                    await call
        assert len(os.listdir("/proc/self/fd")) == files
        assert await log.append(entry(seq, b"x"), seq) == seq + 1
        await log.close()

    run(test)


class _Choked:
    """A socket that takes half of a request, has no memory for the rest, and then works again."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._calls = 0

    def sendmsg(self, parts: list[memoryview]) -> int:
        self._calls += 1
        if self._calls == 1:
            return self._real.send(b"".join(parts)[:1000])
        if self._calls == 2:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return self._real.sendmsg(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_nothing_follows_half_a_request(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        process = log._engine.process
        process._socket = _Choked(process._socket)  # type: ignore[assignment, arg-type]
        calls = [log.append(entry(at, bytes(2000)), at) for at in (seq, seq + 1)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 2
        assert (await log.bounds()).last_seq == seq
        assert await log.append(entry(seq, b"x"), seq) == seq + 1
        await log.close()

    run(test)


def test_the_process_ignores_signals_and_ends_with_its_socket(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        pid = child_pid(log)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert await log.open(1, 7) == 1
        await log.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(test)


def test_the_process_imports_no_asyncio() -> None:
    program = "import mansio.log.child, sys; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# -- the directory --------------------------------------------------------------------------------


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        with pytest.raises(LockedError, match=str(os.getpid())) as caught:
            await started(tmp_path)
        assert caught.value.pid == os.getpid()
        await log.close()
        again = await started(tmp_path)
        await again.close()

    run(test)


@pytest.mark.parametrize("folders_lock", [True, False], ids=["folder", "file"])
def test_a_directory_has_one_owner(
    tmp_path: Path, folders_lock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def picky(fd: int, how: int) -> None:
        if not folders_lock and stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # as NFS says
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", picky)

    async def test() -> None:
        log = await started(tmp_path)
        if folders_lock:
            (tmp_path / "LOCK").unlink()  # by somebody who thinks that it is stale
        assert DataDirectory(tmp_path).holder()[0]
        with pytest.raises(LockedError):
            DataDirectory(tmp_path).take()
        await log.close()
        assert not DataDirectory(tmp_path).holder()[0]

    run(test)


def test_a_start_waits_for_the_process_of_a_killed_owner(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        await log.close()
        lock = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (tmp_path / "LOCK").write_text(f"{gone.pid}\n")
        start = asyncio.ensure_future(started(tmp_path))
        await asyncio.sleep(0.2)
        assert not start.done()
        os.close(lock)
        log = await start
        await log.close()

    run(test)


def test_the_orphan_holds_the_lock(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        os.kill(child_pid(log), signal.SIGSTOP)
        log._engine.directory.release()
        with pytest.raises(LockedError):
            await started(tmp_path)
        os.kill(child_pid(log), signal.SIGCONT)
        await log.close()

    run(test)


def test_a_newer_directory_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        await log.close()
        (tmp_path / "FORMAT").write_text(json.dumps({"format": 2}))
        with pytest.raises(NewerFormat, match="format 2"):
            await started(tmp_path)
        (tmp_path / "FORMAT").write_text("{")
        with pytest.raises(DirectoryError, match="damaged"):
            await started(tmp_path)

    run(test)


def test_the_names_of_all_new_folders_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("mansio.log.directory.sync_directory", synced.append)
    path = tmp_path / "a" / "b" / "c"
    for made in (False, True):
        directory = DataDirectory(path)
        assert directory.take() is made
        assert made or {path, path.parent, path.parent.parent, tmp_path} <= set(synced)
        directory.write_format()
        directory.release()
        synced.clear()


def test_nobody_else_may_read_the_data(tmp_path: Path) -> None:
    path = tmp_path / "above" / "data"

    async def test() -> None:
        log = await started(path)
        await fill(log, await log.open(1, 7), 3)
        await log.close()

    run(test)
    modes = {each: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.rglob("*"))}
    assert len(modes) > 3
    assert {each: oct(mode) for each, mode in modes.items() if mode & 0o077} == {}


def test_folders_above_need_not_be_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(path: Path) -> None:
        if path in tmp_path.parents:
            raise PermissionError

    monkeypatch.setattr("mansio.log.directory.sync_directory", sync)
    assert not DataDirectory(tmp_path).take()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"format": null}', '{"format": 1e999}'])
def test_a_damaged_format_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "FORMAT").write_text(text)
    with pytest.raises(DirectoryError, match="FORMAT is damaged"):
        DataDirectory(tmp_path).take()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(DirectoryError, match="not a directory"):
                await started(path)

    run(test)


def test_a_directory_that_lost_its_segments_is_damaged(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        await log.open(1, 7)
        await log.close()
        for file in (tmp_path / "log").iterdir():
            file.unlink()
        for _ in range(2):  # and the lock is let go
            with pytest.raises(Damaged, match="seg"):
                await started(tmp_path)

    run(test)


@pytest.mark.parametrize(
    "lost",
    [[(0, HEADER_BYTES)], [(0, 2 * HEADER_BYTES)], [(0, HEADER_BYTES), (HEADER_BYTES + 100, 9000)]],
    ids=["header", "header and first entries", "header and second entry"],
)
def test_a_lost_header_is_damage(tmp_path: Path, lost: list[tuple[int, int]]) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        await fill(log, await log.open(1, 7), 230)
        await log.close()
        last = max((tmp_path / "log").glob("0*.seg"))
        with open(last, "r+b") as file:
            for offset, size in lost:
                file.seek(offset)
                file.write(bytes(size))
        with pytest.raises(Damaged, match="header is lost"):
            await started(tmp_path)

    run(test)


def test_a_scratch_log_starts_empty(tmp_path: Path) -> None:
    async def test() -> None:
        settings = StoreSettings(segment_bytes=128 << 10, sync="never", scratch=True)
        for _ in range(2):
            log = await started(tmp_path, settings)
            assert await log.bounds() == (1, 0, 0)
            await fill(log, await log.open(1, 7), 200)
            await log.close()

    run(test)


# -- entries --------------------------------------------------------------------------------------


def test_a_large_entry_is_written_in_pieces(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        body = bytes(range(256)) * (3 * INBOX_BYTES // 256) + b"end"
        for size in (INBOX_BYTES - 100, INBOX_BYTES, INBOX_BYTES + 1, len(body)):
            data = entry(seq, body[:size])
            assert await log.append(data, seq) == seq + 1
            assert await log.append(data, seq) == seq + 1, "the same once more"
            with pytest.raises(Fenced):
                await log.append(entry(seq, body[: size - 1]), seq)
            seq += 1
            assert await log.read(seq, 0, 1 << 30) == data
            assert await log.read(seq, 50, 1000) == data[50:1050]
        found = [(seq, len(entry.records[0])) async for seq, entry in log.replay()]
        assert found[-1] == (seq, len(body))
        await log.close()

    run(test)


def test_read_many(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await fill(log, await log.open(1, 7), 300)
        whole = [(at, 0, 1 << 20) for at in range(2, seq + 1)]
        found = await log.read_many(whole)
        assert [decode_entry(data).records[0] for data in found] == [
            b"%d" % at + bytes(1000) for at in range(300)
        ]
        assert await log.read_many([]) == []
        assert await log.read_many([(3, 40, 1), (2, 41, 0)]) == [found[1][40:41], b""]
        with pytest.raises(Missing):
            await log.read_many([(3, 0, 1), (seq + 1, 0, 1)])
        await log.close()

    run(test)


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    async def test() -> None:
        seq = 0
        for epoch in range(1, 4):
            log = await started(tmp_path)
            assert log.cut is None
            fence = await log.open(epoch, 7)
            assert fence == seq + 1
            seq = await log.append(entry(fence, bytes(100_000), epoch=epoch), fence)
            assert len([seq async for seq, _ in log.replay()]) == epoch
            done, total = log.progress
            assert done == total > epoch * 100_000
            await log.close()

    run(test)


def test_a_torn_tail_is_cut_and_told(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        data = entry(seq, bytes(5000))
        await log.append(data, seq)
        os.kill(child_pid(log), signal.SIGKILL)  # perhaps before the seal was written
        await log.close()
        [segment] = (tmp_path / "log").glob("0*.seg")
        with open(segment, "r+b") as file:
            at = file.read().index(data)
            file.seek(at + len(data))
            file.write(bytes(FRAME_BYTES))  # no seal
            file.seek(at + 2000)
            file.write(b"torn")
        log = await started(tmp_path)
        assert log.cut == (segment.name, at - FRAME_BYTES, len(data) + FRAME_BYTES)
        assert (await log.bounds()).last_seq == seq
        await log.close()

    run(test)


def test_trim_during_replay(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await fill(log, await log.open(1, 7), 1000)
        found = []
        async for at, _ in log.replay():
            found.append(at)
            if at == 10:
                await log.trim(seq - 10)
                first_seq = (await log.bounds()).first_seq
                seq = await fill(log, seq, 200)  # in what were the first segments
        assert found[-1] == seq - 200
        assert {*range(2, 11), *range(first_seq, seq - 199)} <= set(found)
        await log.close()

    run(test)


def test_low_comes_before_full(tmp_path: Path) -> None:
    async def test() -> None:
        settings = StoreSettings(segment_bytes=128 << 10, bytes_max=2 << 20)
        log = await started(tmp_path, settings)
        seq = await log.open(1, 7)
        assert not log.low
        assert not (await log.space()).low
        after_low = 0
        with pytest.raises(Full):
            for _ in range(4000):
                seq = await log.append(entry(seq, bytes(2000)), seq)
                after_low += log.low
        assert after_low * 2000 > 100_000, "what is under way still finds room"
        space = await log.space()
        assert space.low
        assert space.used_bytes <= settings.bytes_max
        await log.trim(seq)
        await log.space()
        assert not log.low
        assert await fill(log, seq, 10) == seq + 10
        await log.close()

    run(test)


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        log = await started(tmp_path)
        seq = await log.open(1, 7)
        for file in (tmp_path / "log").iterdir():
            file.unlink()
        (tmp_path / "log").rmdir()
        with pytest.raises(Unavailable):
            await log.append(entry(seq, bytes(1000)), seq)
        pid = child_pid(log)
        for _ in range(2):
            with pytest.raises(LogError):
                await log.space()
        assert child_pid(log) == pid
        await log.close()

    run(test)
