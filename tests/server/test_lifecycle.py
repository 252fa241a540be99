"""A real process: start, what it says, faults at start, and how it stops."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pika
import pytest

from mansio.config import Config
from mansio.log.base import Unavailable
from mansio.log.memory import MemoryLog
from mansio.server import storage
from mansio.server.entrances import Entrances
from mansio.server.lifecycle import serve
from mansio.server.storage import StorageError
from tests.conftest import BrokerStarter


def test_start_lines_say_what_runs_where_and_what_to_do_next(start_broker: BrokerStarter) -> None:
    broker = start_broker()
    broker.wait_for_log("Ctrl-C")
    lines = broker.log_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO |WARN ) "
    assert all(re.match(stamp, line) for line in lines), lines
    text = broker.log_text()
    assert f"pid {broker.pid}" in text
    assert f"Python {sys.version.split()[0]}" in text
    assert re.search(r"(compiled|pure-Python) codec", text)
    assert f"listening on 127.0.0.1:{broker.port}" in text
    assert f"pika.ConnectionParameters('127.0.0.1', {broker.port})" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_exit_code_0(start_broker: BrokerStarter, number: int) -> None:
    broker = start_broker()
    assert broker.stop(number) == 0
    assert signal.Signals(number).name in broker.log_text()
    assert broker.log_text().rstrip().endswith("stopped")


def test_json_lines_are_objects_with_fields(start_broker: BrokerStarter) -> None:
    broker = start_broker("--log-format", "json")
    assert broker.stop() == 0
    records = [json.loads(line) for line in broker.log_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(records[0])
    assert f"127.0.0.1:{broker.port}" in [record.get("address") for record in records]


def test_log_level_error_is_silent_when_all_is_well(start_broker: BrokerStarter) -> None:
    broker = start_broker.spawn("--port", "0", "--log-level", "loud")
    assert broker.process.wait(10) == 2
    assert "must be one of debug, info, warning, error" in broker.log_text()


def test_port_in_use_is_one_clear_line(start_broker: BrokerStarter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = start_broker.spawn("--port", str(port))
        assert broker.process.wait(10) == 1
    (line,) = broker.log_text().splitlines()
    assert line.endswith(
        f"ERROR port {port} on 127.0.0.1 is in use: another broker may be running there;"
        " stop it or choose another port with --port"
    )


def test_unknown_host_is_one_clear_line(start_broker: BrokerStarter) -> None:
    broker = start_broker.spawn("--bind", "no-such-host.invalid")
    assert broker.process.wait(30) == 1
    (line,) = broker.log_text().splitlines()
    assert "cannot find the address 'no-such-host.invalid'" in line


def test_foreign_address_is_one_clear_line(start_broker: BrokerStarter) -> None:
    broker = start_broker.spawn("--bind", "192.0.2.1")
    assert broker.process.wait(10) == 1
    (line,) = broker.log_text().splitlines()
    assert line.endswith(
        "192.0.2.1 is not an address of this machine; choose another one with --bind"
    )


def test_stop_closes_connections_and_frees_the_port(start_broker: BrokerStarter) -> None:
    broker = start_broker()
    with socket.create_connection((broker.host, broker.port), timeout=10) as client:
        assert broker.stop() == 0
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    again = start_broker.spawn("--port", str(broker.port))
    again.wait_for_log(f"listening on 127.0.0.1:{broker.port}")
    assert again.stop() == 0


def test_connections_beyond_the_limit_are_closed(start_broker: BrokerStarter) -> None:
    broker = start_broker(MANSIO_CONNECTIONS_MAX="1")
    address = (broker.host, broker.port)
    with socket.create_connection(address, timeout=10) as first:
        first.sendall(b"AMQP\x00\x00\x09\x01")
        assert first.recv(1) == b"\x01"
        with socket.create_connection(address, timeout=10) as second:
            try:
                assert second.recv(1) == b""
            except ConnectionResetError:
                pass
    broker.wait_for_log("connection refused: 1 are open")


def test_clients_are_told_and_a_second_signal_stops_at_once(start_broker: BrokerStarter) -> None:
    broker = start_broker(MANSIO_SHUTDOWN_TIMEOUT_S="60")
    client = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    broker.process.send_signal(signal.SIGTERM)
    broker.wait_for_log("open connections: 1")
    assert broker.stop() == 1, "the client has not answered, so only a second signal ends it"
    assert broker.log_text().rstrip().endswith("stopped at once")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        client.process_data_events(time_limit=5)
    assert caught.value.reply_code == 320
    assert caught.value.reply_text == (
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    )


def test_a_client_that_never_answers_does_not_hold_the_stop_up(start_broker: BrokerStarter) -> None:
    broker = start_broker(MANSIO_SHUTDOWN_TIMEOUT_S="0.1")
    pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))
    assert broker.stop() == 0


@pytest.mark.parametrize("again", [False, True], ids=["in time", "at once"])
def test_a_log_that_is_stuck_does_not_hold_the_stop_up(
    start_broker: BrokerStarter, again: bool
) -> None:
    broker = start_broker(MANSIO_SHUTDOWN_TIMEOUT_S="60" if again else "0.1")
    children = Path(f"/proc/{broker.pid}/task/{broker.pid}/children").read_text().split()
    store = int(children[0])
    os.kill(store, signal.SIGSTOP)
    try:
        if again:
            broker.process.send_signal(signal.SIGTERM)
            broker.wait_for_log("open connections: 0")
        assert broker.stop() == 1
        assert again or "the log did not take everything in time" in broker.log_text()
    finally:
        os.kill(store, signal.SIGCONT)


@pytest.mark.parametrize("error", [StorageError("damaged"), Unavailable("no room")])
def test_a_log_that_cannot_be_used_is_said_and_closed(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Log(MemoryLog):
        pass

    log = Log()

    async def open_log(config: Config) -> MemoryLog:
        return log

    async def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(storage, "open_log", open_log)
    step = (storage, "restore") if isinstance(error, StorageError) else (log, "open")
    monkeypatch.setattr(*step, fail)

    async def main() -> None:
        assert await serve(Config(port=0, in_memory=True), Entrances()) == 1
        with pytest.raises(Unavailable):
            await log.bounds()

    asyncio.run(main())
    assert str(error) in caplog.text and "Traceback" not in caplog.text
