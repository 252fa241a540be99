"""ZeroMQ peers on fake sockets: strangers among them, what a role holds back, and what does not leave."""

import logging

import pytest

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.zmtp import security
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.protocol.zmtp.role import Role
from mansio.server.connection import STRANGER_BYTES, STRANGER_WRITE_BYTES, WRITE_HIGH_BYTES
from mansio.server.turn import STRANGERS_PER_TURN
from tests.protocol.zmtp_talk import greeting, hello
from tests.server.stage import Actor, Stage, play

REMOTE = "192.0.2.7"
READY = encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x04PUSH")
INITIATE = encode_command(b"INITIATE", b"\x0bSocket-Type\0\0\0\x04PUSH")


class Plain(Role):
    """Takes messages as lists, and says nothing."""

    socket_type = "PULL"


@pytest.fixture(autouse=True)
def plain_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Plain))


def front_of(actor: Actor) -> ZmtpConnection:
    front = actor.connection.front
    assert isinstance(front, ZmtpConnection)
    return front


async def inside(stage: Stage) -> Actor:
    """A peer behind its handshake."""
    actor = stage.zmq()
    actor.send(greeting() + READY)
    await stage.settle()
    assert b"READY" in actor.transport.take()
    return actor


def test_a_peer_is_a_stranger_until_it_is_let_in_also_without_a_password() -> None:
    async def scene(stage: Stage) -> None:
        visitors = stage.turn.visitors
        actor = stage.zmq()
        assert visitors.strangers == 1 and actor.transport.high == STRANGER_WRITE_BYTES
        actor.send(greeting())
        await stage.settle()
        assert visitors.strangers == 1 and len(actor.transport.take()) == 64
        actor.send(READY)
        await stage.settle()
        assert visitors.strangers == 0 and actor.transport.high == WRITE_HIGH_BYTES
        actor.transport.lose()
        await stage.settle()
        assert (visitors.strangers, visitors._strangers, visitors._connections) == (0, {}, {})

    play(scene)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_login_in_pieces(size: int) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.zmq()
        data = greeting("PLAIN") + hello(b"guest", b"guest") + INITIATE
        for at in range(0, len(data), size):
            actor.send(data[at : at + size])
            await stage.settle()
        assert actor.transport.take().endswith(b"\x05READY\x0bSocket-Type\0\0\0\x04PULL")
        assert stage.turn.visitors.strangers == 0

    play(scene)


def test_strangers_are_read_a_little_at_a_time_and_looked_at_in_turn() -> None:
    async def scene(stage: Stage) -> None:
        actors = [stage.zmq() for _ in range(STRANGERS_PER_TURN + 1)]
        assert len(actors[0].connection.get_buffer(-1)) == STRANGER_BYTES
        for actor in actors:
            stage.clock.ns += 1
            actor.send(greeting())
        assert not actors[-1].transport.reading
        await stage.settle()
        assert all(len(actor.transport.take()) == 64 for actor in actors)
        assert actors[-1].transport.reading

    play(scene)


def test_who_is_refused_is_told_and_may_hang_up_first(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.zmq(REMOTE)
        actor.send(greeting() + READY)
        await stage.settle()
        assert actor.transport.take().endswith(encode_command(b"ERROR", b"\x03400"))
        assert not actor.transport.closing and actor.connection.lingering
        stage.clock.ns += 10_000_000_000
        stage.turn.tick()
        await stage.settle()
        assert actor.transport.gone

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert f"closed {REMOTE}:50123" in caplog.text and "has not logged in" in caplog.text


def test_what_a_role_does_not_take_is_not_read_until_it_goes_on() -> None:
    async def scene(stage: Stage) -> None:
        actor = await inside(stage)
        front, heard = front_of(actor), list[list[bytes]]()
        role = front.role
        assert role is not None
        role.receive = lambda messages: (heard.extend(messages[:1]), 1)[1]  # type: ignore[method-assign]
        actor.send(encode_message([b"1"]) + encode_message([b"2"]))
        await stage.settle()
        assert heard == [[b"1"]] and not actor.transport.reading
        role.receive = lambda messages: (heard.extend(messages), len(messages))[1]  # type: ignore[method-assign]
        front.go_on_reading()
        stage.turn.schedule()
        await stage.settle()
        assert heard == [[b"1"], [b"2"]] and actor.transport.reading

    play(scene)


@pytest.mark.parametrize("short", ["memory", "disk"])
def test_a_publisher_waits_for_room_and_goes_on(short: str) -> None:
    async def scene(stage: Stage) -> None:
        actor = await inside(stage)
        front, heard = front_of(actor), list[list[bytes]]()
        role = front.role
        assert role is not None

        def receive(messages: list[list[bytes]]) -> int:
            if not front.room(10):
                return 0
            heard.extend(messages)
            return len(messages)

        role.receive = receive  # type: ignore[method-assign]
        broker = stage.broker
        if short == "memory":
            broker.limits.memory_bytes_max = -1
        else:
            stage.log.full = True
            stage.turn._measure(False)
        stage.turn.end()
        actor.send(encode_message([b"1"]))
        await stage.settle()
        assert heard == [] and not actor.transport.reading
        broker.limits.memory_bytes_max = 1 << 40
        stage.log.full = False
        stage.turn._measure(False)
        stage.turn.end()
        await stage.settle()
        assert heard == [[b"1"]] and actor.transport.reading and not broker.journal.waiters

    play(scene)


def test_what_has_not_left_is_taken_back_the_latest_first() -> None:
    async def scene(stage: Stage) -> None:
        actor, back = await inside(stage), list[str]()
        front = front_of(actor)
        front.send([b"a"])
        front.hand_over(lambda: back.append("a"))
        stage.turn.end()
        await stage.settle()
        assert not front.unflushed
        actor.transport.stuck = True
        for name in "bc":
            front.send([name.encode()])
            front.hand_over(lambda name=name: back.append(name))  # type: ignore[misc]
            stage.turn.end()
        await stage.settle()
        actor.connection.connection_lost(ConnectionResetError())
        await stage.settle()
        assert back == ["c", "b"]

    play(scene)
