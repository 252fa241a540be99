"""Metrics: what is read of a broker in a known state, and what a real process answers over HTTP."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pika
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mansio.codec import amqp_methods as m
from mansio.codec.zmtp import encode_command
from mansio.log.base import Full
from mansio.server import census, committer, metrics
from mansio.server.appends import Appends
from mansio.server.exporter import BrokerCollector
from tests.conftest import BrokerProcess, BrokerStarter
from tests.protocol.zmtp_talk import greeting
from tests.server.stage import Stage, play, publish, publisher
from tests.server.tls_stage import TlsStage

Samples = dict[str, float]
"""Values by name without `mansio_`, and with the value of a label: `publishers_blocked memory`."""


def parse(text: str) -> Samples:
    return {
        " ".join((sample.name.removeprefix("mansio_"), *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def samples(stage: Stage, collector: BrokerCollector | None = None) -> Samples:
    """What a client would be answered now."""
    collector = collector or BrokerCollector()
    collector.refresh(stage.turn)
    registry = CollectorRegistry()
    registry.register(collector)
    return parse(generate_latest(registry).decode())


def test_nothing_of_the_broker_is_told_before_the_first_reading() -> None:
    registry = CollectorRegistry()
    registry.register(BrokerCollector())
    (name,) = parse(generate_latest(registry).decode())
    assert name.startswith("build_info ")


def test_a_broker_in_a_known_state() -> None:
    async def scene(stage: Stage) -> None:
        actor, other = publisher(stage), stage.actor()
        actor.send(publish("q", b"x" * 1000, persistent=True) * 5 + publish("nowhere"))
        await stage.settle()
        other.say(1, m.BasicQos(0, 2), m.BasicConsume("q", "c"))
        await stage.settle()
        other.say(1, m.ChannelClose(200))
        await stage.settle()
        actor.say(1, m.BasicGet("q"), m.BasicAck(1))
        actor.say(1, m.BasicGet("q"))
        await stage.settle()
        found = samples(stage)
        expected = {
            "connections amqp": 2, "connections redis": 0, "connections zmq": 0,
            "connections_opened_total": 2, "connections_closed_total": 0,
            "channels": 1, "channels_opened_total": 2, "channels_closed_total": 1,
            "queues": 1, "consumers": 0, "messages_ready": 3, "messages_unacknowledged": 1,
            "messages_published_total": 6, "messages_routed_total": 5,
            "messages_dropped_total": 1, "messages_returned_total": 0,
            "messages_confirmed_total": 6, "messages_delivered_total": 4,
            "messages_redelivered_total": 2, "messages_acknowledged_total": 1,
            "publishers_blocked memory": 0, "publishers_blocked disk": 0,
            "memory_limit_bytes": 1 << 62,
            "log_append_errors_total": 0, "log_last_seq": stage.log.store.bounds().last_seq,
        }  # fmt: skip
        assert {name: found.get(name) for name in expected} == expected
        assert 5000 < found["messages_memory_bytes"] < found["memory_used_bytes"] < 8000
        assert found["log_live_bytes"] > 5000
        total = stage.broker.journal.retention.total_bytes
        assert found["log_live_bytes"] + found["log_garbage_bytes"] == total
        assert found["log_appended_bytes_total"] == total
        assert found["log_append_seconds_count"] == found["log_appended_entries_total"]

    play(scene)


def test_redis_clients() -> None:
    async def scene(stage: Stage) -> None:
        stage.actor()
        known, gone, nobody = stage.redis(), stage.redis(), stage.redis("192.0.2.7")
        for client in (known, gone, nobody):
            client.send(b"PING\r\n")
        known.send(b"SELECT 1\r\nNONSENSE\r\n")
        gone.connection.connection_lost(None)
        await stage.settle()
        found = samples(stage)
        assert found["connections amqp"] == found["connections redis"] == 1
        assert found["redis_commands_total"] == 5

    play(scene)


def test_zeromq_sockets() -> None:
    async def scene(stage: Stage) -> None:
        stage.actor()
        known, gone, nobody = stage.zmq(), stage.zmq(), stage.zmq("192.0.2.7")
        for peer in (known, gone, nobody):
            peer.send(greeting() + encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x03REQ"))
            await stage.settle()
        gone.connection.connection_lost(None)
        await stage.settle()
        found = samples(stage)
        assert found["connections amqp"] == found["connections zmq"] == 1

    play(scene)


def test_tls(certificates: Path) -> None:
    async def scene(stage: Stage) -> None:
        place = TlsStage(certificates)
        stage.turn.porter = place.porter
        place.porter.valid_until_s = 5.0
        await place.open()
        place.line().socket.deliver(b"GET /")
        found = samples(stage)
        assert found["tls_handshakes_total"] == found["tls_handshakes_failed_total"] == 1
        assert found["tls_certificate_end_time_seconds"] == 5

    play(scene)


def test_every_value_has_a_sample_but_for_what_is_not_known() -> None:
    async def scene(stage: Stage) -> None:
        assert "log_segments" not in samples(stage)
        stage.turn.space = await stage.log.space()
        found = samples(stage)
        assert found["log_segments"] == 1
        assert "log_free_bytes" not in found, "memory has no end of its own"
        names = {name.partition(" ")[0] for name in found}
        for metric in metrics.METRICS:
            suffix = "_sum" if metric.kind == "histogram" else ""
            unknown = metric.name == "log_free_bytes" or metric.name.startswith("tls_")
            assert (metric.name + suffix in names) == (not unknown)
            assert metric.name.endswith("_total") == (metric.kind == "counter")

    play(scene)


def test_failed_appends_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_S", 0)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        before = samples(stage)
        stage.log.errors = [Full("full"), Full("full")]
        actor.send(publish("q", persistent=True))
        await stage.settle()
        found = samples(stage)
        assert found["log_append_errors_total"] == 2
        entries = "log_appended_entries_total"
        assert found[entries] == before[entries] + 1

    play(scene)


def test_latencies_are_sorted_into_buckets() -> None:
    async def scene(stage: Stage) -> None:
        appends = stage.turn.appends = Appends()
        for ns in (1, 100_000, 100_001, 3_000_000_000, 11_000_000_000):
            appends.took(ns)
        found = samples(stage)
        bucket = "log_append_seconds_bucket "
        assert [found[bucket + le] for le in ("0.0001", "0.00025", "2.5", "5.0", "10.0")] == [
            2,
            3,
            3,
            4,
            4,
        ]
        assert found[bucket + "+Inf"] == found["log_append_seconds_count"] == 5
        assert found["log_append_seconds_sum"] == pytest.approx(14.000200002)

    play(scene)


def test_blocked_publishers_and_how_often_they_were() -> None:
    async def scene(stage: Stage) -> None:
        actor, other = publisher(stage), stage.actor()
        for times in (1, 2):
            actor.send(publish("q", b"x" * 3000) * 5)
            await stage.settle()
            found = samples(stage)
            assert found["publishers_blocked memory"] == 1
            assert found["publishers_blocked disk"] == 0
            other.say(1, m.QueuePurge("q"))
            await stage.settle()
            found = samples(stage)
            assert found["publishers_blocked memory"] == 0
            assert found["publisher_blocks_total memory"] == times
        stage.broker.low_on_disk = True
        stage.turn.end()
        found = samples(stage)
        assert found["publishers_blocked disk"] == found["publisher_blocks_total disk"] == 1

    play(scene, memory_bytes_max=10_000)


def test_many_queues_are_summed_up_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "QUEUES_PER_READING", 4)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        for i in range(9):
            actor.say(1, m.QueueDeclare(f"q{i}"))
            actor.send(publish(f"q{i}") * 2)
        await stage.settle()
        actor.say(1, m.BasicGet("q0"))
        await stage.settle()
        collector = BrokerCollector()
        ready = [samples(stage, collector)["messages_ready"] for _ in range(4)]
        assert ready == [0, 0, 17, 17]
        actor.say(1, m.QueueDelete("q0"))
        await stage.settle()
        found = samples(stage, collector)
        assert (found["messages_ready"], found["messages_unacknowledged"]) == (17, 1)
        found = samples(stage, collector)
        assert (found["messages_ready"], found["messages_unacknowledged"]) == (16, 0)
        assert found["queues"] == 9

    play(scene)


def test_what_streams_keep_is_not_ready_and_what_groups_have_not_read_is() -> None:
    async def scene(stage: Stage) -> None:
        actor, reader = publisher(stage), stage.actor()
        stream = {"x-queue-type": "stream", "x-max-length-bytes": 1500}
        stream["x-stream-max-segment-size-bytes"] = 1000
        for name, arguments in (
            ("s", stream),
            ("billing", {"x-stream": "s", "x-stream-offset": "first"}),
            ("audit", {"x-stream": "s"}),
        ):
            actor.say(1, m.QueueDeclare(name, durable=True, arguments=arguments))
        actor.say(1, m.QueueBind("s", "amq.fanout"), m.QueueBind("q", "amq.fanout"))
        for _ in range(3):
            actor.send(publish("s", b"x" * 1000))
            await stage.settle()
        reader.say(1, m.BasicQos(0, 1))
        reader.say(1, m.BasicConsume("s", "c", arguments={"x-stream-offset": "first"}))
        actor.say(1, m.BasicGet("audit"))
        await stage.settle()
        found = samples(stage)
        expected = {
            "queues": 4, "streams": 1, "groups": 2, "consumers": 1, "stream_readers": 1,
            "stream_messages": 1, "messages_ready": 1, "group_messages_ready": 1,
            "messages_unacknowledged": 2, "stream_messages_removed_total": 2,
            "group_messages_lost_total": 4, "messages_published_total": 3,
        }  # fmt: skip
        assert {name: found.get(name) for name in expected} == expected
        assert 1000 < found["stream_bytes"] < 1100
        assert 2000 < found["stream_removed_bytes_total"] < 2200
        before = found["messages_routed_total"]
        actor.send(publish("s", exchange="amq.fanout"))
        await stage.settle()
        assert samples(stage)["messages_routed_total"] == before + 1

    play(scene)


# -- a real process


def scrape(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.status == 200
        return parse(answer.read().decode())


def wait_for(port: int, condition: Callable[[Samples], bool]) -> Samples:
    """The first samples of which this is true."""
    deadline = time.monotonic() + 10
    while not condition(found := scrape(port)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def connect(broker: BrokerProcess) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port))


def test_counters_of_a_process_move(start_broker: BrokerStarter, free_port: int) -> None:
    broker = start_broker("--metrics-port", str(free_port))
    before = wait_for(free_port, lambda found: "log_free_bytes" in found)
    assert before["messages_published_total"] == 0
    assert before["log_used_bytes"] > 0 and before["log_low"] == 0
    assert before["process_resident_memory_bytes"] > 10e6
    with connect(broker) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        for _ in range(10):
            channel.basic_publish("", "q", b"body", pika.BasicProperties(delivery_mode=2))
        for method, _, _ in channel.consume("q", inactivity_timeout=10):
            channel.basic_ack(method.delivery_tag)
            if method.delivery_tag == 7:
                break
        found = wait_for(free_port, lambda found: found["messages_acknowledged_total"] == 7)
        assert found["messages_published_total"] == found["messages_confirmed_total"] == 10
        assert found["messages_delivered_total"] == 10
        assert found["messages_unacknowledged"] == 3
        assert (found["connections amqp"], found["channels"], found["consumers"]) == (1, 1, 1)
        assert found["log_appended_entries_total"] > before["log_appended_entries_total"]
        assert found["log_append_seconds_sum"] > before["log_append_seconds_sum"]
    found = wait_for(free_port, lambda found: found["connections amqp"] == 0)
    assert found["messages_ready"] == 3
    assert broker.stop() == 0


def test_a_blocked_publisher_is_seen(start_broker: BrokerStarter, free_port: int) -> None:
    options = ("--in-memory", "--metrics-port", str(free_port))
    broker = start_broker(*options, MANSIO_MEMORY_HIGH_WATERMARK="16MiB")
    with connect(broker) as connection, connect(broker) as other:
        channel = connection.channel()
        channel.queue_declare("q")
        for _ in range(256):
            channel.basic_publish("", "q", b"x" * 65_536)
        found = wait_for(free_port, lambda found: found.get("publishers_blocked memory") == 1)
        assert found["memory_used_bytes"] > found["memory_limit_bytes"] == 16 << 20
        other.channel().queue_purge("q")
        found = wait_for(free_port, lambda found: found["publishers_blocked memory"] == 0)
        assert found["publisher_blocks_total memory"] == 1


def test_metrics_port_in_use_is_one_clear_line(start_broker: BrokerStarter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = start_broker.spawn("--port", "0", "--metrics-port", str(port))
        assert broker.process.wait(10) == 1
    (line,) = broker.log_text().splitlines()
    assert line.endswith(
        f"ERROR metrics: port {port} on 127.0.0.1 is in use: another broker may be running there;"
        " stop it or choose another port with --metrics-port"
    )


def test_what_metrics_need_is_not_loaded_without_them(start_broker: BrokerStarter) -> None:
    broker = start_broker(PYTHONVERBOSE="1", PYTHONDONTWRITEBYTECODE="1")
    text = broker.log_text()
    assert "import 'mansio.server.turn'" in text
    assert "prometheus_client" not in text and "http.server" not in text
    assert broker.stop() == 0
