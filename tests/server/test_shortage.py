"""A log that has no room, or that is slow: publishers wait, consumers and acknowledgements do not."""

import asyncio
import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.server import brake, turn
from tests.server.stage import Stage, play, publish, publisher, told


def test_a_full_disk_blocks_publishers_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(turn, "SPACE_S", 0.001)

    async def scene(stage: Stage) -> None:
        source = publisher(stage, **{"connection.blocked": True})
        sink = stage.actor()
        await stage.settle()
        source.send(publish("q", persistent=True) * 3)
        sink.say(1, m.BasicConsume("q", "c"))
        await stage.settle()
        source.names()
        assert sink.names() == ["basic.consume-ok"] + ["basic.deliver"] * 3
        stage.log.full = True
        source.send(publish("q", persistent=True))  # the log's answer tells
        await stage.settle()
        source.names()
        source.send(publish("q", persistent=True))
        await stage.settle()
        assert source.names() == ["connection.blocked"]
        assert not source.transport.reading
        sink.say(1, m.BasicAck(delivery_tag=3, multiple=True))
        await stage.settle()
        assert sink.names() == ["basic.deliver"], (
            "what was accepted is delivered, the other one waits"
        )
        assert sink.transport.reading
        stage.log.full = False
        stage.tasks.start(stage.turn.watch_space(), "space")
        await stage.until(lambda: source.transport.reading)
        assert set(await told(stage, source)) == {"connection.unblocked", "basic.ack"}
        assert sink.names() == ["basic.deliver"]

    play(scene)
    assert "the disk of the log is full" in caplog.text
    assert "publishers go on" in caplog.text


def test_what_has_no_room_beside_what_is_under_way_waits_for_it() -> None:
    """Nobody is told: it takes no longer than the disk does."""

    async def scene(stage: Stage) -> None:
        source = publisher(stage, **{"connection.blocked": True})
        await told(stage, source)
        stage.log.room = 2000
        stage.log.gate.clear()
        source.send(publish("q", bytes(1500), persistent=True))
        await stage.settle()
        source.send(publish("q", bytes(1500), persistent=True))
        await stage.settle()
        assert not source.transport.reading
        stage.log.gate.set()
        await stage.until(lambda: source.transport.reading)
        await stage.until(lambda: stage.broker.vhosts["/"].queues["q"].ready_count == 2)
        assert await told(stage, source) == ["basic.ack"] * 2

    play(scene)


def test_a_commit_that_has_no_room_goes_on_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "SPACE_S", 0.001)

    async def scene(stage: Stage) -> None:
        source = stage.actor()
        source.say(1, m.QueueDeclare("q", durable=True), m.TxSelect())
        await told(stage, source)
        stage.tasks.start(stage.turn.watch_space(), "space")
        stage.log.room = 1000
        await stage.until(lambda: stage.broker.journal.room_bytes == 1000)
        source.send(publish("q", bytes(1500), persistent=True))
        source.say(1, m.TxCommit())
        await stage.settle()
        assert not source.transport.reading
        assert source.names() == []
        stage.log.room = 5000
        await stage.until(lambda: source.transport.reading)
        assert await told(stage, source) == ["tx.commit-ok"]

    play(scene)


def test_a_slow_disk_slows_publishers_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the log stays bounded; everybody goes on when it has caught up."""
    monkeypatch.setattr(turn, "PENDING_BYTES_MAX", 10_000)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        stage.log.gate.clear()
        sent = 0
        while actor.transport.reading and sent < 100:
            actor.send(publish("q", b"x" * 5000, persistent=True))
            await stage.settle()
            sent += 1
        assert sent < 10, "the publisher is not read from any more"
        await asyncio.sleep(brake.HOLD_S * 3)
        assert not actor.transport.reading, "and still is not"
        stage.log.gate.set()
        while not actor.transport.reading:
            await asyncio.sleep(0)
        assert set(await told(stage, actor)) == {"basic.ack"}

    play(scene)
