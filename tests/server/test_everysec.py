"""`redis_sync = "everysec"`: replies do not wait for the log, which gets all that they tell at once."""

import pytest

from mansio.config import Config
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.limits import Limits
from mansio.protocol.amqp.letters import AmqpLetters
from mansio.server.connection import MakeFront
from mansio.server.fronts import factories
from mansio.server.storage import restore
from tests.server.stage import Actor, Stage, play

SAID = (
    (b"SET k 1", b"+OK"),
    (b"RPUSH list a b", b":2"),
    (b"LPOP list", b"$1\r\na"),
    (b"XADD stream 1-1 f v", b"$3\r\n1-1"),
    (b"XGROUP CREATE stream g 0", b"+OK"),
    (b"EXPIRE k 1000", b":1"),
    (b"MULTI", b"+OK"),
    (b"INCR k", b"+QUEUED"),
    (b"COPY list other", b"+QUEUED"),
    (b"EXEC", b"*2\r\n:2\r\n:1"),
    (b"RENAME list lost", b"+OK"),
    (b"SELECT 3", b"+OK"),
    (b"SET there 1", b"+OK"),
    (b"SELECT 0", b"+OK"),
)


def everysec(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Actor:
    """A client whose replies do not wait for the log."""
    made: list[MakeFront] = []
    with monkeypatch.context() as patch:
        patch.setattr(stage.turn, "connection", made.append)
        factories(stage.turn, Config(redis_sync="everysec"))["Redis"]()
    return Actor(stage, made[0])


async def after_a_crash(stage: Stage) -> Broker:
    """A broker with what the log has at this moment."""
    broker = Broker(Limits(), AmqpLetters(131_072))
    await restore(broker, stage.log, Config(in_memory=True))
    check(broker)
    return broker


def keys(broker: Broker, vhost: str = "/") -> set[bytes]:
    keyspace = broker.keyspace(vhost)
    return {*keyspace.strings, *keyspace.queue_keys()}


def test_replies_come_while_the_log_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        actor = everysec(stage, monkeypatch)
        stage.log.gate.clear()
        for line, reply in SAID:
            actor.send(line + b"\r\n")
            await stage.settle()
            assert actor.transport.take() == reply + b"\r\n", line
        assert not keys(await after_a_crash(stage)), "what the log has not got is lost"
        stage.log.gate.set()
        await stage.settle()  # nobody says anything, and no time passes
        broker = await after_a_crash(stage)
        assert keys(broker) == {b"k", b"lost", b"other", b"stream"}
        assert keys(broker, "3") == {b"there"}
        assert broker.keyspace("/").strings[b"k"] == b"2"

    play(scene)


def test_what_the_log_has_is_there_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two changes the log has the first one when the broker is killed."""

    async def scene(stage: Stage) -> None:
        actor = everysec(stage, monkeypatch)
        actor.send(b"SET first 1\r\n")
        await stage.settle()
        stage.log.gate.clear()
        actor.send(b"SET second 1\r\n")
        await stage.settle()
        assert actor.transport.take() == b"+OK\r\n+OK\r\n"
        assert keys(await after_a_crash(stage)) == {b"first"}

    play(scene)
