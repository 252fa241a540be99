"""A real broker on a data directory: what comes back, and what it says when the directory cannot be used."""

import json
import os
from pathlib import Path

import pika
import pytest

from tests.conftest import BrokerProcess, BrokerStarter


def connect(broker: BrokerProcess) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port))


def fill(broker: BrokerProcess) -> None:
    """Durable and transient things; one message of q is delivered and not acknowledged, one acknowledged."""
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("x", "topic", durable=True)
        channel.exchange_declare("gone-x", "topic")
        channel.queue_declare("q", durable=True)
        channel.queue_declare("gone-q")
        channel.queue_bind("q", "x", "a.*")
        for i in range(5):
            persistent = pika.BasicProperties(delivery_mode=2, message_id=str(i))
            channel.basic_publish("x", "a.b", b"kept %d" % i, persistent)
        channel.basic_publish("", "gone-q", b"gone", pika.BasicProperties(delivery_mode=2))
        channel.basic_publish("", "q", b"transient")
        first, _, _ = channel.basic_get("q")
        channel.basic_get("q")
        assert first is not None
        channel.basic_ack(first.delivery_tag)
        channel.basic_publish("", "nowhere", b"a confirm behind the acknowledgement")


def found(broker: BrokerProcess) -> list[tuple[bytes, bool]]:
    """(body, redelivered) of what is in q, which stays there."""
    with connect(broker) as connection:
        channel = connection.channel()
        channel.queue_declare("q", passive=True)
        channel.exchange_declare("x", passive=True)
        messages = []
        while (got := channel.basic_get("q"))[0] is not None:
            method, properties, body = got
            assert properties.message_id == body.split()[1].decode()
            messages.append((body, method.redelivered))
        for missing in ("gone-q", "gone-x"):
            with pytest.raises(pika.exceptions.ChannelClosedByBroker):
                if missing == "gone-q":
                    channel.queue_declare(missing, passive=True)
                else:
                    channel.exchange_declare(missing, passive=True)
            channel = connection.channel()
        return messages


def test_an_orderly_stop_keeps_what_is_durable(start_broker: BrokerStarter, tmp_path: Path) -> None:
    data = str(tmp_path / "deep" / "data")
    broker = start_broker("--data-dir", data)
    fill(broker)
    assert broker.stop() == 0
    broker = start_broker("--data-dir", data)
    expected = [(b"kept 1", True), (b"kept 2", False), (b"kept 3", False), (b"kept 4", False)]
    assert found(broker) == expected
    assert f"data in {data}" in broker.log_text()
    assert "4 messages in 1 queues are back" in broker.log_text()


def test_kill_9_keeps_what_is_durable(start_broker: BrokerStarter, tmp_path: Path) -> None:
    for start in range(3):
        broker = start_broker("--data-dir", str(tmp_path))
        if not start:
            fill(broker)
        else:
            assert found(broker) == [(b"kept %d" % i, True) for i in range(1, 5)]
        broker.process.kill()
        broker.process.wait()


def test_bindings_work_after_a_restart(start_broker: BrokerStarter, tmp_path: Path) -> None:
    broker = start_broker("--data-dir", str(tmp_path))
    fill(broker)
    broker.stop()
    broker = start_broker("--data-dir", str(tmp_path))
    with connect(broker) as connection:
        channel = connection.channel()
        assert channel.queue_purge("q").method.message_count == 4
        channel.basic_publish("x", "a.c", b"new 0")
        assert channel.basic_get("q")[2] == b"new 0"


def test_nothing_is_kept_in_memory(start_broker: BrokerStarter, tmp_path: Path) -> None:
    broker = start_broker("--in-memory", "--data-dir", str(tmp_path / "unused"))
    fill(broker)
    assert "queues live in memory" in broker.log_text()
    assert not (tmp_path / "unused").exists()


def test_a_second_broker_is_told_who_is_there(start_broker: BrokerStarter, tmp_path: Path) -> None:
    first = start_broker("--data-dir", str(tmp_path))
    second = start_broker.spawn("--port", "0", "--data-dir", str(tmp_path))
    assert second.process.wait(10) == 1
    assert f"{tmp_path} is in use by process {first.pid}" in second.log_text()
    assert "Traceback" not in second.log_text()


def test_a_newer_directory_is_refused(start_broker: BrokerStarter, tmp_path: Path) -> None:
    broker = start_broker("--data-dir", str(tmp_path))
    broker.stop()
    (tmp_path / "FORMAT").write_text(json.dumps({"format": 99}))
    broker = start_broker.spawn("--port", "0", "--data-dir", str(tmp_path))
    assert broker.process.wait(10) == 1
    assert "has format 99; this Mansio reads up to 1" in broker.log_text()
    assert "Traceback" not in broker.log_text()


def test_a_file_is_no_directory(start_broker: BrokerStarter, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broker = start_broker.spawn("--port", "0", "--data-dir", str(tmp_path / "file"))
    assert broker.process.wait(10) == 1
    assert "is not a directory" in broker.log_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written(start_broker: BrokerStarter, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    broker = start_broker.spawn("--port", "0", "--data-dir", str(tmp_path / "data"))
    assert broker.process.wait(10) == 1
    assert "Permission denied" in broker.log_text()


@pytest.mark.parametrize(
    ("policy", "words"), [("never", "half minute"), ("interval=250", "in the last 250 ms")]
)
def test_a_weaker_sync_says_what_can_be_lost(
    start_broker: BrokerStarter, policy: str, words: str
) -> None:
    broker = start_broker("--sync", policy)
    assert words in broker.log_text()
    fill(broker)


def test_an_expression_that_cannot_be_compiled_any_more_stops_the_start(
    start_broker: BrokerStarter, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The package is gone: messages must not go other ways without a word."""
    broker = start_broker("--data-dir", str(tmp_path))
    with connect(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare("c", "x-content", durable=True)
        channel.queue_declare("q", durable=True)
        channel.queue_bind("q", "c", arguments={"x-match-expression": "body.a == 1"})
    assert broker.stop() == 0
    again = start_broker("--data-dir", str(tmp_path))
    with connect(again) as connection:
        channel = connection.channel()
        channel.basic_publish("c", "", b'{"a": 1}')
        assert channel.basic_get("q")[2] == b'{"a": 1}'
    assert again.stop() == 0
    hide = tmp_path_factory.mktemp("hide")
    (hide / "cel_expr_python.py").write_text("raise ImportError")
    data = ("--port", "0", "--data-dir", str(tmp_path))
    without = start_broker.spawn(*data, PYTHONPATH=str(hide))
    assert "pip install 'mansio[content]'" in without.wait_for_log("the broker does not start")
    assert without.process.wait(10) == 1
