"""The small parts of the server: logs, tasks, memory, listeners' texts."""

import asyncio
import json
import logging
import socket
from pathlib import Path

import pytest

from mansio.server import memory
from mansio.server.listeners import Gate, ListenError, Listeners, shown
from mansio.server.logs import JsonFormatter, TextFormatter, fields
from mansio.server.tasks import Tasks


def record(message: str, *values: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("mansio.x", logging.WARNING, __file__, 1, message, values, None)
    made.__dict__.update(extra)
    return made


def test_text_is_one_line_whatever_a_peer_sent() -> None:
    line = TextFormatter().format(record("user %s", "a\nFATAL b\x1b[2J\u2028c"))
    assert "\n" not in line
    assert line.endswith("WARN  user a\\nFATAL b\\x1b[2J\\u2028c")


def test_json_has_the_fields() -> None:
    made = record("x %d", 1, **fields(port=5672, peer=b"\xff"))
    entry = json.loads(JsonFormatter().format(made))
    assert entry["message"] == "x 1"
    assert (entry["level"], entry["port"], entry["peer"]) == ("warning", 5672, "b'\\xff'")
    assert entry["time"].endswith("Z")


def test_failed_task_is_logged_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[tuple[str, str]] = []

    async def fails() -> None:
        raise RuntimeError("lost")

    async def main() -> None:
        tasks = Tasks(on_failure=lambda name, error: reported.append((name, str(error))))
        await asyncio.wait([tasks.start(fails(), "worker")])
        await asyncio.sleep(0)
        assert len(tasks) == 0

    asyncio.run(main())
    assert reported == [("worker", "lost")]
    assert "task worker failed: RuntimeError('lost')" in caplog.text


def test_cancelled_tasks_are_no_failures(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tasks = Tasks(on_failure=lambda name, error: pytest.fail(name))
        task = tasks.start(asyncio.Event().wait(), "waiter")
        await tasks.cancel_all()
        assert task.cancelled()

    asyncio.run(main())
    assert caplog.text == ""


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_available_memory_is_the_least_of_machine_and_groups(tmp_path: Path) -> None:
    assert memory.available_bytes(str(tmp_path)) == 1 << 30
    write(tmp_path, "proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n")
    assert memory.available_bytes(str(tmp_path)) == 8 << 30
    write(tmp_path, "proc/self/cgroup", "0::/outer/inner\n")
    write(tmp_path, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    assert memory.available_bytes(str(tmp_path)) == 8 << 30
    write(tmp_path, "sys/fs/cgroup/outer/memory.max", "1073741824\n")
    assert memory.available_bytes(str(tmp_path)) == 1 << 30


def test_available_memory_of_version_1_groups(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 8388608 kB\n")
    write(tmp_path, "proc/self/cgroup", "5:cpu:/a\n4:memory:/a\n")
    write(tmp_path, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "536870912\n")
    assert memory.available_bytes(str(tmp_path)) == 512 << 20


def test_watermark() -> None:
    assert memory.watermark_bytes(12345) == 12345
    assert memory.watermark_bytes(0.5) == memory.available_bytes() // 2


@pytest.mark.skipif(not memory.tune_allocator(), reason="needs glibc")
def test_idle_trimming_gives_freed_memory_back() -> None:
    trimmer = memory.Trimmer()
    held = [bytes(20_000) for _ in range(8_000)]
    pin = bytes(20_000)  # above the rest: keeps free() itself from trimming
    grown = memory.resident_bytes()
    del held
    second = 10**9
    assert not trimmer.tick(now_ns=second, cpu_ns=second // 2), "busy"
    assert trimmer.tick(now_ns=2 * second, cpu_ns=second // 2)
    assert memory.resident_bytes() < grown - (64 << 20)
    assert not trimmer.tick(now_ns=3 * second, cpu_ns=second // 2), "nothing grew since"
    assert pin


def test_gate_refuses_beyond_the_limit_and_says_so_sparingly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_now = 0
    gate = Gate(asyncio.Protocol, lambda: open_now, connections_max=2)
    assert gate() is not None
    open_now = 2
    assert all(gate() is None for _ in range(100))
    assert len(caplog.records) == 7
    open_now = 1
    assert gate() is not None


def test_addresses_are_shown_as_people_write_them() -> None:
    assert shown("127.0.0.1", 5672) == "127.0.0.1:5672"
    assert shown("::1", 5672) == "[::1]:5672"


def test_a_name_with_several_addresses_gets_one_port() -> None:
    listeners = Listeners()
    listeners.open("localhost", 0)
    try:
        ports = {address.rpartition(":")[2] for address in listeners.addresses}
        assert len(ports) == 1 and ports != {"0"}
    finally:
        listeners.close()


def test_privileged_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.listen", refuse)
    with pytest.raises(ListenError, match=r"no permission to listen on port 0 on 127\.0\.0\.1"):
        Listeners().open("127.0.0.1", 0)


def test_two_colons_are_every_address_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[object] = []

    def bind_loopback_instead(family: int, address: tuple[str, int]) -> socket.socket:
        bound.append((family, address[0]))
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        return sock

    monkeypatch.setattr("mansio.server.listeners._bound", bind_loopback_instead)
    listeners = Listeners()
    listeners.open("::", 0)
    listeners.close()
    assert bound == [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]


def test_an_address_that_the_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", ("192.0.2.1", 0)), (2, 1, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr("socket.getaddrinfo", found)
    listeners = Listeners()
    listeners.open("both", 0)
    try:
        (address,) = listeners.addresses
        assert address.startswith("127.0.0.1:")
    finally:
        listeners.close()
