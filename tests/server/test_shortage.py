"""A log that has no room, or that is slow: publishers wait, consumers and acknowledgements do not."""

import asyncio
import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.server import turn
from tests.server.stage import Stage, play, publish, publisher, told


def test_a_full_disk_blocks_publishers_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

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
        for _ in range(2):  # the log's answer to the first one tells, the end of the turn blocks
            source.send(publish("q", persistent=True))
            await stage.settle()
        source.send(publish("q", persistent=True))
        assert b"low on disk" in b"".join(source.connection.front.data_to_send())
        await stage.settle()
        assert not source.transport.reading
        sink.say(1, m.BasicAck(delivery_tag=3, multiple=True))
        await stage.settle()
        assert sink.names().count("basic.deliver") >= 1, "what was accepted is delivered"
        assert sink.transport.reading
        stage.log.full = False
        stage.turn.broker.low_on_disk = stage.log.low
        stage.turn.end()
        await stage.settle()
        assert "connection.unblocked" in source.names()
        assert source.transport.reading

    play(scene)
    assert "the disk of the log is full" in caplog.text
    assert "publishers go on" in caplog.text


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
        await asyncio.sleep(turn.HOLD_S * 3)
        assert not actor.transport.reading, "and still is not"
        stage.log.gate.set()
        while not actor.transport.reading:
            await asyncio.sleep(0)
        assert set(await told(stage, actor)) == {"basic.ack"}

    play(scene)
