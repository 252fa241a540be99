"""One connection on a fake socket: buffers, back-pressure, and the ways in which it ends."""

import asyncio
import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import WHOLE_BYTES_MAX
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.server.connection import (
    CLOSE_OK_S,
    DISCARD_BYTES_MAX,
    LINGER_NS,
    UNREAD_BYTES_MAX,
    WRITE_HIGH_BYTES,
)
from tests.server.stage import Actor, Stage, play

S = 1_000_000_000


def content(size: int, step: int, key: str = "q") -> bytes:
    data = m.method_frame(1, m.BasicPublish("", key))
    data += m.frame(2, 1, encode_header_payload(size, Properties()))
    return data + b"".join(
        m.frame(3, 1, bytes(min(step, size - at))) for at in range(0, size, step)
    )


def test_bytes_in_any_portions() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        data = m.method_frame(1, m.QueueDeclare("q")) + content(5, 2) * 3
        for octet in data:
            actor.send(bytes((octet,)))
        await stage.settle()
        assert actor.names() == ["queue.declare-ok"]
        assert stage.broker.vhosts["/"].queues["q"].ready_count == 3

    play(scene)


def test_connections_share_a_buffer_and_not_their_tails() -> None:
    async def scene(stage: Stage) -> None:
        one, two = stage.actor(), stage.actor()
        first, second = (m.method_frame(1, m.QueueDeclare(name)) for name in ("first", "second"))
        for i in range(max(len(first), len(second))):
            one.send(first[i : i + 1])
            two.send(second[i : i + 1])
        assert set(stage.broker.vhosts["/"].queues) == {"first", "second"}

    play(scene)


@pytest.mark.parametrize("step", [1000, 131_064])
def test_there_is_always_room_behind_the_longest_tail(step: int) -> None:
    """A message just below the limit is waited for whole; a frame is never larger than agreed."""

    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(1, m.QueueDeclare("q"))
        data = content(WHOLE_BYTES_MAX - 2000, step)
        least = len(stage.turn.view)
        for at in range(0, len(data), 997):
            actor.send(data[at : at + 997])
            least = min(least, len(actor.connection.get_buffer(-1)))
        assert stage.broker.vhosts["/"].queues["q"].ready_count == 1
        assert least >= 262_144

    play(scene)


def test_the_peers_name_and_where_it_is() -> None:
    async def scene(stage: Stage) -> None:
        peer = stage.actor().connection.peer
        assert peer == ("127.0.0.1:50123 -> 127.0.0.1:5672", True, "127.0.0.1", None)

    play(scene)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (("127.0.0.1", 1), True), (("127.9.9.9", 1), True), (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True), (("192.0.2.1", 1), False),
        (("2001:db8::1", 1, 0, 0), False), (None, False),
    ],
)  # fmt: skip
def test_who_is_on_this_machine(address: object, loopback: bool) -> None:
    async def scene(stage: Stage) -> None:
        actor = Actor(stage)
        actor.transport.get_extra_info = lambda name, default=None: address  # type: ignore[method-assign]
        again = stage.turn.connection()
        again.connection_made(actor.transport)
        assert again.peer.loopback is loopback

    play(scene)


def test_a_fault_is_said_and_what_follows_is_thrown_away() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(1, m.QueueDeclare("q"))
        actor.send(b"nonsense" + content(3, 3))
        await stage.settle()
        assert actor.names() == ["queue.declare-ok", "connection.close"]
        assert not actor.transport.gone and not stage.broker.sessions
        actor.send(content(3, 3) * 100)
        assert actor.transport.reading, "a little is read, to see the client go"
        actor.send(bytes(DISCARD_BYTES_MAX))
        assert not actor.transport.reading, "a flood is left to TCP"
        await stage.settle()
        assert actor.names() == []
        assert stage.broker.vhosts["/"].queues["q"].ready_count == 0

    play(scene)


@pytest.mark.parametrize("unread", [False, True])
def test_lingering_has_an_end(unread: bool) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.transport.stuck = unread
        actor.send(b"nonsense")
        await stage.settle()
        stage.clock.ns += LINGER_NS - 1
        stage.turn.tick()
        await stage.settle()
        assert not actor.transport.gone and actor.connection in stage.turn.connections
        stage.clock.ns += 1
        stage.turn.tick()
        await stage.settle()
        assert actor.transport.gone and not stage.turn.connections

    play(scene)


def test_a_client_that_closes_gets_its_answer() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(0, m.ConnectionClose(200, "bye"))
        await stage.settle()
        assert actor.connection.lingering
        while not (names := actor.names()):
            await stage.settle()
        assert names == ["connection.close-ok"]
        assert actor.connection.eof_received() is False, "then the transport closes itself"

    play(scene)


def test_a_silent_peer_is_closed_even_if_it_takes_nothing() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor(heartbeat=10)
        actor.transport.stuck = True
        for second in (6, 12, 19, 21):
            stage.clock.ns = second * S
            stage.turn.tick()
            await stage.settle()
        assert actor.connection.front.closed and actor.transport.closing
        assert not actor.transport.gone, "its last heartbeats are not written yet"
        stage.clock.ns += LINGER_NS
        stage.turn.tick()
        await stage.settle()
        assert actor.transport.gone and not stage.turn.connections

    play(scene)


def test_nothing_is_delivered_while_writes_pile_up() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
        await stage.settle()
        actor.transport.take()
        actor.transport.stuck = True
        for _ in range(20):
            actor.send(content(100_000, 100_000))
            await stage.settle()
            if not actor.transport.reading:
                stage.turn.brake.release()
        piled = len(actor.transport.take())
        assert WRITE_HIGH_BYTES < piled < WRITE_HIGH_BYTES + 500_000
        session = actor.connection.front.session
        assert session is not None and session.allowance == 0
        actor.transport.unstick()
        await stage.settle()
        assert len(actor.transport.take()) + piled > 20 * 100_000

    play(scene)


def test_a_client_that_asks_and_does_not_read_is_not_read_from_either() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor(heartbeat=10)
        name = "q" * 255
        actor.say(1, m.QueueDeclare(name))
        actor.transport.stuck = True
        ask = m.method_frame(1, m.QueueDeclare(name, passive=True)) * 500
        asked = 0
        while actor.transport.reading:
            actor.send(ask)
            stage.turn.end()
            asked += 500
            assert asked < 200_000, "the answers pile up without end"
        assert UNREAD_BYTES_MAX < actor.transport.pending_bytes < UNREAD_BYTES_MAX + 1_000_000
        actor.connection.resume_reading()
        assert not actor.transport.reading, "what the broker's memory allows is another matter"
        for second in (15, 30, 45):
            actor.transport.pending_bytes -= 100_000
            stage.clock.ns = second * S
            stage.turn.tick()
        assert not actor.connection.front.closed, "it reads, only slowly"
        actor.transport.unstick()
        assert actor.transport.reading

    play(scene)


def test_a_client_that_has_stopped_to_read_its_answers_is_given_up() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor(heartbeat=10)
        actor.transport.stuck = True
        actor.say(1, m.QueueDeclare("q"))
        actor.transport.pending_bytes = UNREAD_BYTES_MAX
        actor.connection.pause_writing()
        stage.turn.end()
        assert not actor.transport.reading
        for second in (15, 30):
            stage.clock.ns = second * S
            stage.turn.tick()
        assert actor.connection.front.closed

    play(scene)


def test_a_paused_publisher_that_gets_something_to_acknowledge_is_read_from() -> None:
    """Otherwise two clients that publish and consume could wait for each other's memory for ever."""

    async def scene(stage: Stage) -> None:
        actor, other = stage.actor(), stage.actor()
        actor.say(1, m.QueueDeclare("q"), m.QueueDeclare("mine"), m.BasicConsume("mine", "c"))
        actor.send(content(2000, 2000))
        await stage.settle()
        actor.send(content(5, 5))
        assert not actor.transport.reading
        other.send(content(5, 5, "mine"))
        await stage.settle()
        assert actor.names()[-1] == "basic.deliver" and actor.transport.reading
        actor.say(1, m.BasicAck(1))
        actor.send(content(5, 5))
        assert not actor.transport.reading

    play(scene, memory_bytes_max=1000)


def test_a_paused_publisher_is_read_from_again_only_when_it_may_go_on() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(1, m.QueueDeclare("q"))
        actor.send(content(2000, 2000))
        await stage.settle()
        actor.send(content(5, 5))
        assert actor.connection.front.paused and not actor.transport.reading
        actor.connection.resume_reading()
        assert not actor.transport.reading
        actor.connection.front.unblock()
        actor.connection.resume_reading()
        assert actor.transport.reading

    play(scene, memory_bytes_max=1000)


def test_a_lost_connection_gives_back_what_it_had(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(1, m.QueueDeclare("q"), m.BasicConsume("q", "c"))
        actor.send(content(5, 5))
        await stage.settle()
        queue = stage.broker.vhosts["/"].queues["q"]
        assert queue.in_flight == 1
        actor.transport.abort()
        await stage.settle()
        assert (queue.in_flight, queue.ready_count) == (0, 1)
        assert not stage.turn.connections and not stage.broker.sessions

    with caplog.at_level(logging.WARNING):
        play(scene)
    (record,) = caplog.records
    assert "client unexpectedly closed TCP connection" in record.getMessage()
    assert "127.0.0.1:50123 -> 127.0.0.1:5672" in record.getMessage()


def test_a_client_may_be_gone_before_the_late_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(0, m.ConnectionClose(200, "bye"))
        stage.turn.end()
        actor.transport.close()
        behind = asyncio.Event()
        asyncio.get_running_loop().call_later(CLOSE_OK_S, behind.set)
        await behind.wait()

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert caplog.records == []


def test_an_orderly_end_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.say(0, m.ConnectionClose(200, "bye"))
        await stage.settle()
        actor.transport.close()
        await stage.settle()

    with caplog.at_level(logging.WARNING):
        play(scene)
    assert caplog.records == []
