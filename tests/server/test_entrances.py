"""Ports of all fronts: what is opened, and what a port means that is taken."""

import errno
import socket
from collections.abc import Iterator

import pytest

from mansio.config import Config
from mansio.server import entrances
from mansio.server.entrances import ENTRANCES, Entrance, Entrances, open_entrances
from mansio.server.fronts import factories
from mansio.server.listeners import ListenError
from tests.conftest import BrokerStarter, find_free_port
from tests.server.stage import Stage, play


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


def opened(chosen: str = "", **settings: object) -> Entrances:
    settings = {"zmq_port": 0} | settings
    config = Config(port=0, chosen=frozenset(filter(None, [chosen])), **settings)  # type: ignore[arg-type]
    return open_entrances(config)


def test_every_front_has_a_port_of_its_own() -> None:
    port = find_free_port()
    doors = opened(redis_port=port)
    assert doors.addresses("Redis") == [f"127.0.0.1:{port}"]
    assert doors.addresses() == [*doors.addresses("AMQP"), f"127.0.0.1:{port}"]
    assert doors.tls_addresses() == [] and doors.strangers == 0
    doors.close()
    assert doors.addresses() == doors.addresses("Redis") == []
    again = opened(redis_port=port)
    again.close()


def test_a_default_port_that_is_taken_is_a_warning(
    taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    doors = opened(redis_port=taken)
    assert len(doors.addresses()) == 1 and doors.addresses("Redis") == []
    doors.close()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.getMessage() == (
        f"port {taken} on 127.0.0.1 is in use, by a Redis server probably: there is no port for Redis"
        " clients; choose another one with --redis-port, or 0 for none"
    )


def test_a_chosen_port_that_is_taken_is_an_error_and_leaves_nothing_open(taken: int) -> None:
    port = find_free_port()
    with pytest.raises(ListenError, match=rf"port {taken} on .* with --redis-port"):
        open_entrances(
            Config(port=port, redis_port=taken, zmq_port=0, chosen=frozenset(["redis_port"]))
        )
    open_entrances(Config(port=port, redis_port=0, zmq_port=0)).close()


def test_a_front_may_have_no_port_for_tls(taken: int, caplog: pytest.LogCaptureFixture) -> None:
    port = find_free_port()
    doors = opened(redis_port=0, zmq_port=port)
    assert doors.addresses("ZeroMQ") == [f"127.0.0.1:{port}"]
    assert doors.tls_addresses("ZeroMQ") == []
    doors.close()
    opened(redis_port=0, zmq_port=taken).close()
    assert "there is no port for ZeroMQ clients; choose another one with --zmq-port" in caplog.text
    with pytest.raises(ListenError, match=rf"port {taken} on .* with --zmq-port"):
        opened("zmq_port", redis_port=0, zmq_port=taken)


def test_the_main_front_is_never_left_out(taken: int) -> None:
    with pytest.raises(ListenError, match=r"with --port"):
        open_entrances(Config(port=taken, redis_port=0, zmq_port=0))


def test_only_a_port_that_is_taken_gives_way() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1 is not an address .* with redis_bind"):
        opened(redis_bind="192.0.2.1", redis_port=find_free_port())


def test_any_front_can_follow_the_rule(
    taken: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Entrance("Other", "metrics_port", "metrics_bind", "redis_tls_port", "something")
    monkeypatch.setattr(entrances, "ENTRANCES", (*ENTRANCES, other))
    doors = opened(redis_port=0, metrics_port=taken)
    doors.close()
    assert "by something probably: there is no port for Other clients" in caplog.text
    assert "--metrics-port" in caplog.text


def test_every_front_can_be_made() -> None:
    async def scene(stage: Stage) -> None:
        made = factories(stage.turn, Config())
        assert list(made) == [entrance.protocol for entrance in ENTRANCES]

    play(scene)


def test_a_process_with_a_chosen_port_that_is_taken_ends(
    start_broker: BrokerStarter, taken: int
) -> None:
    broker = start_broker.spawn("--port", "0", "--redis-port", str(taken))
    assert broker.process.wait(10) == 1
    (line,) = broker.log_text().splitlines()
    assert line.endswith(
        f"ERROR port {taken} on 127.0.0.1 is in use: another broker may be running there; stop it or"
        " choose another port with --redis-port"
    )


def test_a_process_gives_way_at_the_default_port(start_broker: BrokerStarter) -> None:
    with socket.socket() as resident:
        resident.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            resident.bind(("127.0.0.1", 6379))
            resident.listen()
        except OSError as error:
            assert error.errno == errno.EADDRINUSE  # somebody listens there already
        broker = start_broker("--in-memory", MANSIO_REDIS_PORT="")
        broker.wait_for_log("Ctrl-C")
    text = broker.log_text()
    assert "WARN  port 6379 on 127.0.0.1 is in use, by a Redis server probably" in text
    assert "(Redis)" not in text and "redis.Redis" not in text
    assert broker.stop() == 0


def test_redis_clients_are_served_and_counted_with_all_others(start_broker: BrokerStarter) -> None:
    broker = start_broker("--in-memory", redis=True, MANSIO_CONNECTIONS_MAX="2")
    broker.wait_for_log(f"redis.Redis('127.0.0.1', {broker.redis_port})")
    redis = socket.create_connection((broker.host, broker.redis_port), timeout=10)
    amqp = socket.create_connection((broker.host, broker.port), timeout=10)
    with redis, amqp:
        redis.sendall(b"PING\r\n")
        assert redis.recv(7) == b"+PONG\r\n"
        amqp.sendall(b"AMQP\x00\x00\x09\x01")
        assert amqp.recv(1) == b"\x01"
        with socket.create_connection((broker.host, broker.redis_port), timeout=10) as third:
            try:
                assert third.recv(1) == b""
            except ConnectionResetError:
                pass
    broker.wait_for_log("connection refused: 2 are open")
