"""The tools as commands, on the data of a real broker: running, damaged, salvaged, backed up and restored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pika
import pytest

from tests.conftest import BrokerProcess, BrokerStarter
from tests.tools.logs import body_place, flip, found_entries

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def mansio(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MANSIO_")}
    return subprocess.run(
        [sys.executable, "-m", "mansio", *map(str, arguments)],
        capture_output=True, text=True, timeout=50, env=clean | environ,
    )  # fmt: skip


def connect(broker: BrokerProcess) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port))


def publish(broker: BrokerProcess, count: int) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        for i in range(count):
            channel.basic_publish("", "q", b"%d" % i, PERSISTENT)


def take_all(broker: BrokerProcess, queue: str) -> list[tuple[bytes, bool]]:
    """(body, redelivered) of every message."""
    with connect(broker) as connection:
        channel = connection.channel()
        found = []
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append((got[2], got[0].redelivered))
        return found


def test_from_a_flipped_byte_to_a_broker_with_the_rest(
    start_broker: BrokerStarter, tmp_path: Path
) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    broker = start_broker("--data-dir", str(data))
    publish(broker, 50)
    broker.stop(signal.SIGKILL)
    seq = next(
        item.seq for item in found_entries(data) if b"20" in b"".join(item.entry.records)[-4:]
    )
    file, offset = body_place(data, seq)
    flip(file, offset)

    broker = start_broker.spawn("--port", "0", "--data-dir", str(data))
    assert broker.process.wait(20) == 1
    (line,) = [line for line in broker.log_text().splitlines() if "ERROR" in line]
    assert broker.log_text().splitlines()[-1] == line
    assert file.name in line and f"seq {seq}, byte " in line
    assert f"`mansio log verify {data}`" in line
    assert f"`mansio log salvage {data} NEW`" in line

    done = mansio("log", "verify", data)
    assert done.returncode == 1
    assert f"{file.name}, byte " in done.stdout and f"entry {seq} is lost" in done.stdout
    done = mansio("log", "salvage", data, new)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"entry {seq} is lost" in done.stdout
    broker = start_broker("--data-dir", str(new))
    expected = [(b"%d" % i, True) for i in range(50) if i != 20]
    assert take_all(broker, "q") == expected


def test_a_running_broker_may_be_looked_at_but_not_salvaged(
    start_broker: BrokerStarter, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    broker = start_broker("--data-dir", str(data))
    publish(broker, 20)
    done = mansio("log", "info", data)
    assert done.returncode == 0
    assert f"in use       yes, by process {broker.pid}\n" in done.stdout
    assert "messages     20 live, 0 settled, in 1 queues\n" in done.stdout
    done = mansio("log", "verify", data)
    assert (done.returncode, done.stderr) == (0, "")
    done = mansio("log", "dump", data, "--bodies")
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    messages = [each for line in found if line["kind"] == "publish" for each in line["messages"]]
    assert [message["body"] for message in messages] == [str(i) for i in range(20)]
    done = mansio("log", "salvage", data, tmp_path / "new")
    assert done.returncode == 1
    assert done.stderr == f"mansio: {data} is in use by process {broker.pid}\n"
    assert not (tmp_path / "new").exists()
    assert broker.stop() == 0
    assert "last stop    in order\n" in mansio("log", "info", data).stdout


class Load:
    """Publishes with confirms in threads, to a queue that only grows and to one that is consumed meanwhile."""

    def __init__(self, broker: BrokerProcess) -> None:
        self._broker = broker
        self.confirmed = {"kept": 0, "churned": 0}
        self._stop = threading.Event()
        with connect(broker) as connection:
            for name in self.confirmed:
                connection.channel().queue_declare(name, durable=True)
        self._threads = [
            threading.Thread(target=self._publish, args=("kept", 100)),
            threading.Thread(target=self._publish, args=("churned", 20_000)),
            threading.Thread(target=self._consume),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _publish(self, queue: str, size: int) -> None:
        with connect(self._broker) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            i = 0
            while not self._stop.is_set():
                channel.basic_publish("", queue, (b"%d " % i).ljust(size, b"."), PERSISTENT)
                i += 1
                self.confirmed[queue] = i

    def _consume(self) -> None:
        with connect(self._broker) as connection:
            channel = connection.channel()
            for method, _, _ in channel.consume("churned", inactivity_timeout=0.1):
                if method is not None:
                    channel.basic_ack(method.delivery_tag)
                if self._stop.is_set():
                    return


def test_backups_under_load(start_broker: BrokerStarter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    broker = start_broker("--data-dir", str(data), "--segment-size", "128KiB")
    load = Load(broker)
    try:
        before: list[int] = []
        for i in range(3):
            wanted = load.confirmed["kept"] + 100
            while load.confirmed["kept"] < wanted:
                load._stop.wait(0.01)
            before.append(load.confirmed["kept"])
            done = mansio("backup", tmp_path / f"b{i}", "--data-dir", data)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            assert ", verified" in done.stdout
    finally:
        load.stop()
    assert broker.stop() == 0
    for i, count in enumerate(before):
        restored = start_broker("--data-dir", str(tmp_path / f"b{i}"))
        bodies = [
            int(body.split()[0]) for body, redelivered in take_all(restored, "kept") if redelivered
        ]
        assert len(bodies) >= count
        assert bodies == list(range(len(bodies)))
        churned = [int(body.split()[0]) for body, _ in take_all(restored, "churned")]
        assert churned == sorted(set(churned))
        assert restored.stop() == 0


def test_backup_takes_the_same_settings_as_serve(
    start_broker: BrokerStarter, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    broker = start_broker("--data-dir", str(data))
    publish(broker, 3)
    assert mansio("backup", tmp_path / "b", MANSIO_DATA_DIR=str(data)).returncode == 0
    done = mansio("backup", tmp_path / "b", MANSIO_DATA_DIR=str(data))
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"mansio: {tmp_path / 'b'} is not empty: name a folder that does not exist\n"
    )
    done = mansio("backup", tmp_path / "c", "--data-dir", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert not (tmp_path / "c").exists()
    assert mansio("backup", tmp_path / "c", "--config", tmp_path / "nothing").returncode == 2


@pytest.mark.process
@pytest.mark.parametrize(
    "command", [("log",), ("log", "info"), ("log", "salvage", "d"), ("backup",)]
)
def test_what_is_missing_is_said(command: tuple[str, ...]) -> None:
    done = mansio(*command)
    assert done.returncode == 2
    assert "required" in done.stderr


@pytest.mark.process
def test_help_has_examples() -> None:
    assert "mansio log salvage DIR NEW" in mansio("log", "--help").stdout
    assert "mansio backup /backup/monday" in mansio("backup", "--help").stdout
    assert "--bodies" in mansio("log", "dump", "--help").stdout


@pytest.mark.process
def test_output_that_nobody_reads_to_the_end_is_no_error(tmp_path: Path) -> None:
    from tests.tools.logs import LogMaker

    maker = LogMaker(tmp_path)
    maker.declare("q", 1)
    for _ in range(10):
        maker.publish("q", 1, *[b"x"] * 2000)
    maker.close()
    dump = subprocess.Popen(
        [sys.executable, "-m", "mansio", "log", "dump", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert dump.stdout is not None and dump.stderr is not None
    dump.stdout.readline()
    dump.stdout.close()
    assert dump.wait(20) == 1
    assert dump.stderr.read() == b""
    dump.stderr.close()
