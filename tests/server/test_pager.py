"""Messages that are paged out come back by themselves; who fetches one waits, and holds up nobody."""

import asyncio
import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.log.base import Damaged, Fenced, Unavailable
from mansio.server import pager
from tests.server.stage import Actor, Stage, play, publish

BODIES = [b"%04d" % i * 300 for i in range(20)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting takes one pass of the loop."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: real(0))


async def fill(stage: Stage, persistent: bool = True, resident: int = 2000) -> Actor:
    """A queue with twenty messages, nearly all of them paged out."""
    actor = stage.actor()
    actor.say(1, m.QueueDeclare("q", durable=True))
    for body in BODIES:
        actor.send(publish("q", body, persistent))
        await stage.settle()
    actor.transport.take()
    assert stage.broker.memory_bytes < resident
    return actor


async def written(stage: Stage, actor: Actor) -> bytes:
    for _ in range(20):
        await stage.settle()
    return actor.transport.take()


@pytest.mark.parametrize("persistent", [True, False], ids=["log", "spool"])
def test_a_backlog_is_read_back_in_order(persistent: bool) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage, persistent)
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        data = await written(stage, actor)
        at = [data.find(body) for body in BODIES]
        assert at[0] > 0 and at == sorted(at)
        assert not stage.broker.memory_bytes

    play(scene, page_bytes=1000)


def test_the_next_part_is_asked_for_while_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage, resident=9000)
        stage.log.reading.clear()
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        await written(stage, actor)
        assert stage.log.reads == pager.READERS > 1

    monkeypatch.setattr(pager, "READ_BYTES", 1)
    play(scene, page_bytes=8000)


def test_a_fetch_waits_and_others_go_on() -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        stage.log.reading.clear()
        other = stage.actor()
        actor.send(publish("other") + m.method_frame(1, m.BasicGet("q")) * 2 + publish("other"))
        actor_heard = await written(stage, actor)
        assert actor_heard == b"" and not actor.transport.reading
        other.say(1, m.QueueDeclare("mine"))
        await stage.settle()
        assert other.names() == ["queue.declare-ok"]
        stage.log.reading.set()
        data = await written(stage, actor)
        assert 0 < data.find(BODIES[0]) < data.find(BODIES[1])
        assert actor.transport.reading

    play(scene, page_bytes=1)


def test_a_client_that_waits_may_go() -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        stage.log.reading.clear()
        actor.say(1, m.BasicGet("q"))
        await stage.settle()
        actor.transport.close()
        await stage.settle()
        stage.log.reading.set()
        await stage.settle()
        assert not stage.turn.connections

    play(scene, page_bytes=1)


@pytest.mark.usefixtures("quick")
def test_a_log_that_does_not_answer_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        stage.log.read_errors = [Unavailable("not now")] * 40
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        data = await written(stage, actor)
        assert all(body in data for body in BODIES)

    play(scene, page_bytes=1)
    assert "cannot read messages back, trying again: Unavailable: not now" in caplog.text


def test_damage_is_told_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        stage.log.read_errors = [Damaged("a flipped bit")]
        actor.say(1, m.BasicConsume("q", "c"))
        assert BODIES[0] not in await written(stage, actor)
        fetcher = stage.actor()
        fetcher.say(1, m.BasicGet("q"))
        await stage.settle()
        assert fetcher.names() == ["channel.close"]
        actor.say(1, m.QueueDeclare("other"))
        await stage.settle()
        assert actor.names() == ["queue.declare-ok"]

    with caplog.at_level(logging.ERROR, "mansio"):
        play(scene, page_bytes=1)
    assert "1 messages cannot be read back, their queues stop there: seq" in caplog.text
    assert "a flipped bit" in caplog.text


def test_flipped_bytes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        entries = stage.log.store.entries
        for seq, entry in entries.items():
            entries[seq] = entry.replace(b"0000000000000000", b"0000000000010000")
        actor.say(1, m.BasicConsume("q", "c"))
        assert b"0000" not in await written(stage, actor)

    play(scene, page_bytes=1)
    assert "its bytes have changed" in caplog.text


def test_a_spool_that_fails_keeps_messages_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = stage.actor()
        stage.spool.errors = [Fenced("somebody else's")]
        actor.say(1, m.QueueDeclare("q"))
        for body in BODIES:
            actor.send(publish("q", body))
            await stage.settle()
        assert stage.broker.memory_bytes > 20_000
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        data = await written(stage, actor)
        assert all(body in data for body in BODIES)

    play(scene, page_bytes=1000)
    assert "the spool cannot be written" in caplog.text


def test_the_spool_is_cut_off_when_it_is_read() -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage, persistent=False)
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        await written(stage, actor)
        assert len(stage.spool.store.entries) < 5

    play(scene, page_bytes=1000, bucket_bytes=1000)


def test_a_record_that_moved_while_it_was_read_is_found_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        head = stage.broker.vhosts["/"].queues["q"].ready[0].run
        old, head.seq = head.seq, head.seq + 1000
        stage.log.reading.clear()
        actor.say(1, m.BasicConsume("q", "c", no_ack=True))
        await stage.settle()
        head.seq = old
        stage.log.reading.set()
        data = await written(stage, actor)
        assert all(body in data for body in BODIES)

    play(scene, page_bytes=1)
    assert "cannot be read" not in caplog.text


def test_a_record_that_is_missing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor = await fill(stage)
        stage.log.store.trim(1 << 40)
        actor.say(1, m.BasicConsume("q", "c"))
        assert b"0000" not in await written(stage, actor)

    play(scene, page_bytes=1)
    assert "cannot be read back" in caplog.text
