"""Redis clients on fake sockets: strangers among them, and what is handed back when a reply does not leave."""

import asyncio
import logging
import socket
from typing import Any

import pytest

from mansio.core.limits import Limits
from mansio.protocol.resp import connection
from mansio.protocol.resp.connection import (
    PENDING_BYTES_MAX,
    STRANGER_COMMANDS_MAX,
    RespConnection,
)
from mansio.server.connection import STRANGER_BYTES, STRANGER_WRITE_BYTES, WRITE_HIGH_BYTES
from mansio.server.peers import has_left
from mansio.server.turn import STRANGERS_PER_TURN
from tests.server.stage import Actor, Stage, play

REMOTE = "192.0.2.7"


def front_of(actor: Actor) -> RespConnection:
    front = actor.connection.front
    assert isinstance(front, RespConnection)
    return front


async def lose(stage: Stage, actor: Actor, error: Exception | None = None) -> None:
    """The socket is gone."""
    actor.transport.gone = actor.transport.closing = True
    actor.connection.connection_lost(error)
    await stage.settle()


def test_a_client_of_this_machine_is_nobodys_stranger() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.redis()
        visitors = stage.turn.visitors
        assert visitors.strangers == 0 and actor.transport.high == WRITE_HIGH_BYTES
        actor.send(b"PING\r\n")
        await stage.settle()
        assert actor.transport.take() == b"+PONG\r\n"
        await lose(stage, actor)
        assert (visitors.strangers, visitors._strangers, visitors._connections) == (0, {}, {})

    play(scene)


def test_strangers_are_not_counted_when_they_need_not_log_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mansio.server.visitors.STRANGERS_PER_ADDRESS", 1)

    async def scene(stage: Stage) -> None:
        known = [stage.redis() for _ in range(3)]
        assert not any(actor.transport.closing for actor in known)
        first, second = stage.redis(REMOTE), stage.redis(REMOTE)
        assert not first.transport.closing and second.transport.closing

    play(scene)


def test_a_stranger_has_only_so_much_time() -> None:
    async def scene(stage: Stage) -> None:
        actor, known = stage.redis(REMOTE), stage.redis()
        limit_ns = Limits().handshake_ns
        stage.clock.ns += limit_ns - 1
        actor.send(b"PING\r\n")
        stage.turn.tick()
        await stage.settle()
        assert actor.transport.take().startswith(b"-NOAUTH") and not actor.transport.gone
        stage.clock.ns += 1
        stage.turn.tick()
        await stage.settle()
        assert actor.transport.gone and not known.transport.gone
        stage.clock.ns += 10 * limit_ns
        stage.turn.tick()
        await stage.settle()
        assert not known.transport.gone

    play(scene)


def test_a_strangers_end_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        stage.redis(REMOTE)
        stage.clock.ns += Limits().handshake_ns + 1
        stage.turn.tick()
        await stage.settle()

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert f"closed {REMOTE}:50123" in caplog.text and "has not logged in in time" in caplog.text


def test_strangers_are_read_a_little_at_a_time_and_looked_at_in_turn() -> None:
    async def scene(stage: Stage) -> None:
        actors = [stage.redis(REMOTE) for _ in range(STRANGERS_PER_TURN + 1)]
        assert len(actors[0].connection.get_buffer(-1)) == STRANGER_BYTES
        for actor in actors:
            stage.clock.ns += 1
            actor.send(b"PING\r\n")
        assert not actors[-1].transport.reading
        await stage.settle()
        assert all(actor.transport.take().startswith(b"-NOAUTH") for actor in actors)
        assert actors[-1].transport.reading

    play(scene)


def test_a_stranger_asks_only_so_much(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor, known = stage.redis(REMOTE), stage.redis()
        for each in (actor, known):
            each.send(b"PING\r\n" * STRANGER_COMMANDS_MAX)
        await stage.settle()
        assert actor.transport.take().count(b"NOAUTH") == STRANGER_COMMANDS_MAX
        for each in (actor, known):
            each.send(b"PING\r\n" * 3)
        await stage.settle()
        assert actor.transport.gone and actor.transport.take().count(b"NOAUTH") == 1
        assert not known.transport.gone

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert "it has not logged in, and asks on" in caplog.text


def test_a_stranger_that_does_not_read_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STRANGER_COMMANDS_MAX", 10_000)

    async def scene(stage: Stage) -> None:
        actor = stage.redis(REMOTE)
        actor.transport.stuck = True
        asked = 0
        while actor.transport.reading and asked < 1000:
            actor.send(b"PING\r\n" * 100)
            stage.turn.end()
            asked += 1
        assert STRANGER_WRITE_BYTES < actor.transport.pending_bytes < 2 * STRANGER_WRITE_BYTES
        actor.transport.unstick()
        assert actor.transport.reading

    play(scene)


def test_what_left_is_not_handed_back() -> None:
    async def scene(stage: Stage) -> None:
        actor, back = stage.redis(), list[str]()
        front = front_of(actor)
        front.send_raw(b"$1\r\na\r\n")
        front.hand_over(lambda: back.append("a"))
        stage.turn.end()
        assert front.unflushed, "the loop writes at the end of its pass"
        await stage.settle()
        assert not front.unflushed
        await lose(stage, actor, ConnectionResetError())
        assert back == []

    play(scene)


@pytest.mark.parametrize("how", ["tick", "resumed"])
def test_what_leaves_late_is_kept_until_then(how: str) -> None:
    async def scene(stage: Stage) -> None:
        actor, back = stage.redis(), list[str]()
        front = front_of(actor)
        actor.transport.stuck = True
        size = 10 if how == "tick" else WRITE_HIGH_BYTES + 1
        front.send_raw(bytes(size))
        front.hand_over(lambda: back.append("a"))
        stage.turn.end()
        await stage.settle()
        assert front.unflushed
        actor.transport.unstick()
        if how == "tick":
            stage.turn.tick()
        assert not front.unflushed
        await lose(stage, actor, ConnectionResetError())
        assert back == []

    play(scene)


def test_what_has_not_left_is_handed_back_the_latest_first() -> None:
    async def scene(stage: Stage) -> None:
        actor, back = stage.redis(), list[str]()
        front = front_of(actor)
        front.send_raw(b"$1\r\na\r\n")
        front.hand_over(lambda: back.append("a"))
        stage.turn.end()
        await stage.settle()
        actor.transport.stuck = True
        for name in "bc":
            front.send_raw(b"$1\r\nx\r\n")
            front.hand_over(lambda name=name: back.append(name))  # type: ignore[misc]
            stage.turn.end()
        await stage.settle()
        await lose(stage, actor, ConnectionResetError())
        assert back == ["c", "b"]

    play(scene)


def test_what_waits_for_the_log_has_not_left() -> None:
    async def scene(stage: Stage) -> None:
        actor, back = stage.redis(), list[str]()
        front = front_of(actor)
        front.send_raw(b"+OK\r\n")
        front.hold()
        front.send_raw(b"$1\r\na\r\n")
        front.hand_over(lambda: back.append("a"))
        stage.turn.end()
        await stage.settle()
        assert actor.transport.take() == b"+OK\r\n" and front.unflushed
        await lose(stage, actor, ConnectionResetError())
        assert back == ["a"]

    play(scene)


def test_a_connection_that_is_aborted_has_not_flushed() -> None:
    async def scene(stage: Stage) -> None:
        back = list[str]()
        for name, aborted in (("a", True), ("b", False)):
            actor = stage.redis()
            actor.transport.stuck = True
            front_of(actor).send_raw(b"$1\r\nx\r\n")
            front_of(actor).hand_over(lambda name=name: back.append(name))  # type: ignore[misc]
            stage.turn.end()
            if aborted:
                actor.connection.abort()
            else:  # closed by the client, which has read all
                actor.transport.close()
                actor.transport.unstick()
            await stage.settle()
        assert back == ["a"]

    play(scene)


def test_the_end_of_a_client_that_waits_is_noticed_at_once() -> None:
    async def scene(stage: Stage) -> None:
        actor, cancelled = stage.redis(), list[str]()
        front_of(actor).block(lambda: cancelled.append("a"))
        actor.send(b"PING\r\n")
        await stage.settle()
        assert actor.transport.reading and actor.transport.take() == b""
        await lose(stage, actor)
        assert cancelled == ["a"] and not stage.broker.sessions

    play(scene)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"AMQP\0\0\x09\x01", "it speaks AMQP"),
        (b"\x16\x03\x01\x02\0\x01", "it speaks TLS"),
        (b"POST / HTTP/1.1\r\nPING\r\n", "it speaks HTTP"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n", "it speaks HTTP"),
    ],
)
def test_other_protocols_are_told_apart(
    first: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.redis()
        actor.send(first)
        await stage.settle()
        assert actor.transport.gone and b"PONG" not in actor.transport.take()

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert reason in caplog.text


def test_the_beginning_of_a_command_is_waited_for() -> None:
    async def scene(stage: Stage) -> None:
        for whole, reply in (
            (b"*1\r\n$4\r\nPING\r\n", b"+PONG"),
            (b"ECHO AMQP\r\n", b"$4\r\nAMQP"),
        ):
            actor = stage.redis()
            for octet in whole:
                actor.send(bytes((octet,)))
            await stage.settle()
            assert actor.transport.take().startswith(reply)

    play(scene)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system does not tell")
def test_the_end_of_a_client_that_waits_and_is_not_read_from_is_noticed() -> None:
    async def scene(stage: Stage) -> None:
        actor, other = stage.redis(), stage.redis()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()

        def extra(name: str, default: Any = None) -> Any:
            return server if name == "socket" else default

        actor.transport.get_extra_info = extra  # type: ignore[method-assign]
        actor.send(b"BLPOP k 0\r\n")
        await stage.settle()
        while actor.transport.reading:
            actor.send(b"PING\r\n" * 1000)
        assert len(actor.connection.front.tail) > PENDING_BYTES_MAX
        stage.turn.tick()
        await stage.settle()
        assert not actor.transport.gone
        client.close()
        async with asyncio.timeout(10):
            while not has_left(actor.transport):
                await asyncio.sleep(0.001)
        stage.turn.tick()
        await stage.settle()
        server.close()
        assert actor.transport.gone
        other.send(b"RPUSH k a\r\nLLEN k\r\n")
        await stage.settle()
        assert other.transport.take() == b":1\r\n:1\r\n"

    play(scene)
