"""Turns that end late: who is not kept waiting, and that nothing is told before it is durable."""

from collections.abc import Awaitable, Callable

import pytest

from mansio.codec import amqp_methods as m
from mansio.log.base import Fenced
from mansio.server.late_end import OPEN_NS_MAX
from tests.protocol.resp_talk import command
from tests.server.stage import Actor, Stage, play

PUSH = command("LPUSH", "list", "element")


async def busy(stage: Stage) -> list[Actor]:
    """Three clients; the log is at work for the first one."""
    actors = [stage.redis() for _ in range(3)]
    for actor in actors:
        actor.send(PUSH)
    await stage.settle()
    for actor in actors:
        actor.transport.take()
    stage.log.gate.clear()
    actors[0].send(PUSH)
    await stage.settle()
    return actors


def test_what_waits_for_the_log_goes_into_one_turn_and_one_run() -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        turns = []
        end_turn = stage.broker.end_turn
        stage.broker.end_turn = lambda: turns.append(1) or end_turn()  # type: ignore[method-assign, func-returns-value]
        for actor in actors[1:] * 2:
            actor.send(PUSH)
            await stage.settle()
        assert (turns, stage.turn._committer.working) == ([], True)
        assert [actor.transport.take() for actor in actors] == [b"", b"", b""]
        entries = len(stage.log.store.entries)
        stage.log.gate.set()
        await stage.settle()
        assert turns == [1] and len(stage.log.store.entries) == entries + 2
        replies = [actor.transport.take() for actor in actors]
        assert replies == [b":4\r\n", b":5\r\n:7\r\n", b":6\r\n:8\r\n"]

    play(scene)


async def say_ping(stage: Stage) -> tuple[Actor, bytes]:
    actor = stage.redis()
    actor.send(b"PING\r\n")
    return actor, b"+PONG\r\n"


async def ask(stage: Stage) -> tuple[Actor, bytes]:
    actor = stage.actor()
    actor.say(1, m.BasicQos())
    return actor, m.method_frame(1, m.BasicQosOk())


@pytest.mark.parametrize("others", [say_ping, ask])
def test_who_does_not_wait_for_the_log_is_not_kept_waiting(
    others: Callable[[Stage], Awaitable[tuple[Actor, bytes]]],
) -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        actors[1].send(PUSH)
        await stage.settle()
        actor, reply = await others(stage)
        await stage.settle()
        assert actor.transport.take() == reply
        assert actors[1].transport.take() == b""
        stage.log.gate.set()
        await stage.settle()
        assert actors[1].transport.take() == b":5\r\n"

    play(scene)


def test_consumers_get_what_is_pushed_at_once() -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        consumer = stage.actor()
        consumer.say(1, m.BasicConsume("list", "tag", no_ack=True))
        await stage.settle()
        assert consumer.names() == ["basic.consume-ok"] + ["basic.deliver"] * 4
        actors[1].send(PUSH)
        await stage.settle()
        assert consumer.names() == ["basic.deliver"]

    play(scene)


def test_a_turn_ends_though_the_log_is_stuck() -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        actors[1].send(PUSH)
        await stage.settle()
        pending = stage.turn._committer.pending_bytes
        stage.clock.ns += OPEN_NS_MAX
        stage.turn.tick()
        await stage.settle()
        assert pending == 0 < stage.turn._committer.pending_bytes
        assert actors[1].transport.take() == b""

    play(scene)


def test_a_log_that_is_lost_ends_the_clients_of_a_turn_that_was_left_open() -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        actors[1].send(PUSH)
        await stage.settle()
        stage.log.errors = [Fenced("another owner")]
        stage.log.gate.set()
        await stage.settle()
        stage.turn.tick()
        await stage.settle()
        for actor in actors[:2]:
            assert actor.transport.take().startswith(b"-") and actor.transport.closing

    play(scene)


def test_an_orderly_stop_waits_for_a_turn_that_was_left_open() -> None:
    async def scene(stage: Stage) -> None:
        actors = await busy(stage)
        actors[1].send(PUSH)
        await stage.settle()
        assert stage.turn._committer.working and stage.turn._committer.pending_bytes == 0
        stage.log.gate.set()
        assert await stage.turn.stop(1.0)
        assert actors[1].transport.take() == b":5\r\n"

    play(scene)
