"""A log that fails: what is done again, what is found out first, and when it is given up."""

import logging

import pytest

from mansio.codec import amqp_methods as m
from mansio.log.base import Damaged, Fenced, Full, LogError, Unavailable
from mansio.server import committer
from tests.server.stage import Stage, play, publish, publisher, told


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("error", [Unavailable("gone"), Full("full")])
def test_what_the_log_could_not_do_now_is_done_later(
    error: LogError, lands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "RETRY_S", 0)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        entries = len(stage.log.store.entries)
        stage.log.lands = lands and isinstance(error, Unavailable)
        stage.log.errors = [error, error]
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.ack"]
        stage.log.errors = []
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.ack"]
        assert len(stage.log.store.entries) == entries + 2

    assert play(scene).failed == []


@pytest.mark.parametrize("final", [False, True])
def test_a_tail_that_cannot_be_read_at_first(final: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_S", 0)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        stage.log.errors = [Unavailable("gone")]
        stage.log.tail_errors = [Unavailable("still gone"), Unavailable("still gone")]
        if final:
            stage.log.tail_errors.append(Damaged("torn"))
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.nack" if final else "basic.ack"]

    assert play(scene).failed == []


def test_a_log_whose_tail_was_trimmed_can_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_S", 0)

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        actor.names()
        await stage.log.trim(1 << 40)
        stage.log.errors = [Unavailable("gone")]
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.ack"]

    assert play(scene).failed == []


def test_a_log_that_is_lost_refuses_from_there_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        actor, other = publisher(stage), stage.actor()
        await stage.settle()
        actor.names()
        stage.log.errors = [Fenced("another owner")]
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.nack"]
        actor.send(publish("q", persistent=True))
        assert await told(stage, actor) == ["basic.nack"]
        other.say(1, m.TxSelect(), m.TxCommit())
        await stage.settle()
        assert other.names()[-2:] == ["tx.select-ok", "connection.close"]

    with caplog.at_level(logging.ERROR):
        play(scene)
    assert "the log cannot be written any more" in caplog.text


@pytest.mark.parametrize("where", ["append", "placed", "durable"])
def test_a_mistake_stops_the_broker(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise MemoryError

    async def scene(stage: Stage) -> None:
        actor = publisher(stage)
        await stage.settle()
        target = {"append": stage.log, "placed": stage.broker.journal, "durable": stage.broker}
        monkeypatch.setattr(target[where], where, fail)
        actor.send(publish("q", persistent=True))
        await stage.settle()

    assert play(scene).failed == ["log"]


def test_a_cut_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_S", 0)
    errors: list[LogError] = [Unavailable("its process was killed"), Fenced("it is lost")]
    tried: list[int] = []

    async def trim(upto: int) -> None:
        tried.append(upto)
        if errors:
            raise errors.pop(0)

    async def scene(stage: Stage) -> None:
        monkeypatch.setattr(stage.log, "trim", trim)
        stage.turn._committer.trim(7)
        await stage.settle()
        assert tried == [7, 7], "once more, and not again when the log is not ours any more"
        stage.turn._committer.trim(8)
        await stage.settle()
        assert tried == [7, 7, 8] and stage.turn.appends.trimmed_seq == 8

    assert play(scene).failed == []
