"""A turn: what arrived is applied, one entry goes to the log, everybody is written to once."""

import asyncio
import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.core.limits import TURN_BYTES
from mansio.server.connection import ALONE_BYTES, QUIET_NS
from mansio.server.turn import READING_NS
from tests.server.stage import Stage, play, publish, publisher, told


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting takes one pass of the loop."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: real(0))


def test_one_write_a_turn_to_each_connection() -> None:
    async def scene(stage: Stage) -> None:
        one, two = stage.actor(), stage.actor()
        one.say(1, m.QueueDeclare("q"), m.BasicConsume("q", "c", no_ack=True), m.BasicQos())
        two.say(1, m.ConfirmSelect())
        for _ in range(5):
            two.send(publish("q"))
        assert (one.transport.writes, two.transport.writes) == ([], [])
        await stage.settle()
        assert [len(actor.transport.writes) for actor in (one, two)] == [1, 1]
        assert (
            one.names()
            == ["queue.declare-ok", "basic.consume-ok", "basic.qos-ok"] + ["basic.deliver"] * 5
        )
        assert two.names() == ["confirm.select-ok", "basic.ack"]
        await stage.settle()
        assert (one.transport.writes, two.transport.writes) == ([], [])

    play(scene)


@pytest.mark.parametrize(
    ("pause_ns", "size", "at_once"),
    [(QUIET_NS, 5, 0), (QUIET_NS + 1, 5, 1), (QUIET_NS + 1, ALONE_BYTES, 0)],
)
def test_only_a_little_that_comes_after_a_pause_is_a_turn_of_its_own(
    pause_ns: int, size: int, at_once: int
) -> None:
    async def scene(stage: Stage) -> None:
        actor, other = publisher(stage), stage.actor()
        await stage.settle()
        actor.transport.take()
        stage.clock.ns += pause_ns
        actor.send(publish("nowhere", bytes(size)))
        assert actor.names() == ["basic.ack"] * at_once
        other.say(1, m.BasicQos())
        assert other.names() == [], "it did not come alone"
        await stage.settle()
        assert (actor.names(), other.names()) == (["basic.ack"] * (1 - at_once), ["basic.qos-ok"])

    play(scene)


def test_reads_of_one_pass_of_the_loop_are_one_turn() -> None:
    async def scene(stage: Stage) -> None:
        actors = [publisher(stage), stage.actor()]
        await stage.settle()
        entries = len(stage.log.store.entries)
        for actor in actors * 3:
            actor.send(publish("q", persistent=True))
        await stage.settle()
        assert len(stage.log.store.entries) == entries + 1

    play(scene)


def test_confirms_of_what_is_durable_wait_for_the_log() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        stage.log.gate.clear()
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == []
        actor.send(publish("q"))
        assert await told(stage, actor) == [], "in the order of the publishes"
        stage.log.gate.set()
        assert await told(stage, actor) == ["basic.ack", "basic.ack"]
        actor.send(publish("q"))
        assert await told(stage, actor) == ["basic.ack"]

    play(scene)


def test_a_broker_is_ready_when_its_start_is_durable() -> None:
    async def scene(stage: Stage) -> None:
        stage.log.gate.clear()
        stage.broker.journal.started("1", new=False)
        stage.turn.schedule()
        ready = asyncio.create_task(stage.turn.ready())
        await stage.settle()
        assert not ready.done()
        stage.log.gate.set()
        await ready

    play(scene)


def test_deliveries_do_not_wait_for_the_log() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        actor.say(1, m.BasicConsume("q", "c"))
        await stage.settle()
        actor.names()
        stage.log.gate.clear()
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.deliver"]
        stage.log.gate.set()
        assert await told(stage, actor) == ["basic.ack"]

    play(scene)


def test_turns_gather_while_one_entry_is_written() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        entries = len(stage.log.store.entries)
        stage.log.gate.clear()
        for _ in range(5):
            actor.send(publish("q", persistent=True))
            await stage.settle()
        stage.log.gate.set()
        await stage.settle()
        assert len(stage.log.store.entries) == entries + 2

    play(scene)


def test_a_turn_does_not_read_for_long() -> None:
    async def scene(stage: Stage) -> None:
        flood, other = publisher(stage, durable=False), publisher(stage, durable=False)
        await stage.settle()
        for expected in (True, True, True, False):
            flood.send(publish("q", bytes(ALONE_BYTES)))
            assert flood.transport.reading == expected
            stage.clock.ns += READING_NS // 3 + 1
        other.send(publish("q", bytes(ALONE_BYTES)))
        assert not other.transport.reading, "what one took is missing to all"
        await stage.settle()
        assert flood.transport.reading and other.transport.reading
        other.send(publish("q", bytes(ALONE_BYTES)))
        assert other.transport.reading

    play(scene)


def test_what_did_not_fit_into_a_turn_follows_in_the_next() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage, durable=False)
        actor.send(publish("q", bytes(100_000)) * 8)
        await stage.settle()
        actor.transport.take()
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        stage.turn.end()
        first = len(actor.transport.take())
        assert 100_000 < first <= TURN_BYTES + 2 * 101_000, (
            "a turn's worth, and the message that crosses it"
        )
        await stage.settle()
        assert len(actor.transport.take()) + first > 800_000

    play(scene)


def test_memory_blocks_and_frees_publishers(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        one, two, consumer = publisher(stage, durable=False), stage.actor(), stage.actor()
        one.send(publish("q", bytes(2000)))
        await stage.settle()
        one.send(publish("q"))
        two.send(publish("q"))
        await stage.settle()
        assert [actor.transport.reading for actor in (one, two, consumer)] == [False, False, True]
        consumer.say(1, m.BasicConsume("q", "c", no_ack=True))
        await stage.settle()
        assert [actor.transport.reading for actor in (one, two, consumer)] == [True] * 3
        assert consumer.names().count("basic.deliver") == 3
        assert not one.connection.front.paused

    with caplog.at_level(logging.INFO, "mansio"):
        play(scene, memory_bytes_max=1000)
    assert "publishers are blocked" in caplog.text and "publishers go on" in caplog.text


@pytest.mark.usefixtures("quick")
def test_a_blocked_publisher_hears_of_the_end_and_is_heard() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage, durable=False)
        actor.send(publish("q", bytes(2000)))
        await stage.settle()
        actor.send(publish("q"))
        actor.names()
        assert not actor.transport.reading
        actor.connection.shutdown(320, "bye")
        await stage.settle()
        assert actor.names()[-1] == "connection.close" and actor.transport.reading
        actor.say(0, m.ConnectionCloseOk())
        await stage.settle()
        assert actor.transport.gone

    play(scene, memory_bytes_max=1000)


IMMEDIATE = publish("q").replace(b"\x01q\x00\xce", b"\x01q\x02\xce")
MALFORMED = m.method_frame(1, m.BasicPublish("", "q")) + m.frame(
    2, 1, b"\0\x3c\0\0" + bytes(8) + b"\xff\xff"
)


@pytest.mark.parametrize("wrong", [IMMEDIATE, MALFORMED])
def test_an_error_of_a_blocked_publisher_is_answered_to(wrong: bytes) -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage, durable=False)
        actor.send(publish("q", bytes(2000)))
        await stage.settle()
        actor.send(publish("q") + wrong)
        await stage.settle()
        assert actor.names()[-1] == "connection.close" and actor.transport.reading

    play(scene, memory_bytes_max=1000)


def test_a_consumer_that_does_not_read_holds_up_nobody_else() -> None:
    async def scene(stage: Stage) -> None:
        actor, deaf, other = publisher(stage, durable=False), stage.actor(), stage.actor()
        for client in (deaf, other):
            client.say(1, m.BasicConsume("q", "c", no_ack=True))
        await stage.settle()
        deaf.transport.take()
        other.transport.take()
        deaf.transport.stuck = True
        for _ in range(30):
            if not actor.transport.reading:
                stage.turn.brake.release()
            actor.send(publish("q", bytes(100_000)))
            await stage.settle()
        stuck = len(deaf.transport.take())
        assert stuck < 1_500_000
        assert len(other.transport.take()) + stuck > 30 * 100_000
        deaf.transport.unstick()
        actor.send(publish("q", bytes(100_000)) * 2)
        await stage.settle()
        assert len(deaf.transport.take()) > 100_000

    play(scene)


@pytest.mark.usefixtures("quick")
def test_drain_waits_for_goodbyes_and_for_the_log() -> None:
    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        stage.log.gate.clear()
        actor.send(publish("q", persistent=True))
        await stage.settle()
        actor.connection.shutdown(320, "bye")
        draining = asyncio.ensure_future(stage.turn.drain(1.0))
        await stage.settle()
        assert actor.names() == ["connection.close"] and not draining.done()
        actor.say(0, m.ConnectionCloseOk())
        await stage.settle()
        assert actor.transport.gone and not draining.done(), "the log still has something to do"
        stage.log.gate.set()
        await draining
        assert not stage.turn.connections

    play(scene)


@pytest.mark.usefixtures("quick")
def test_drain_aborts_those_who_never_answer() -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        actor.connection.shutdown(320, "bye")
        draining = asyncio.ensure_future(stage.turn.drain(1.0))
        await stage.settle()
        stage.clock.ns += 2_000_000_000
        await draining
        await stage.settle()
        assert actor.transport.gone and not stage.turn.connections

    play(scene)


def test_notices_of_the_broker_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        stage.broker.notices.append("something has happened")
        stage.turn.end()
        await stage.settle()

    play(scene)
    assert "something has happened" in caplog.text


def test_no_more_is_handed_out_behind_an_answer_that_waits_for_the_log() -> None:
    async def scene(stage: Stage) -> None:
        actor, other = stage.actor(), stage.actor()
        actor.say(1, m.QueueDeclare("q"))
        other.send(publish("q", bytes(TURN_BYTES // 8)) * 40)
        await stage.settle()
        actor.transport.take()
        stage.log.gate.clear()
        actor.say(1, m.QueueDeclare("d", durable=True), m.BasicConsume("q", "c"))
        await stage.settle()
        in_flight = stage.broker.vhosts["/"].queues["q"].in_flight
        assert 8 <= in_flight <= 9 and actor.names() == []
        stage.log.gate.set()
        for _ in range(5):
            await stage.settle()
        assert actor.names().count("basic.deliver") == 40

    play(scene)
