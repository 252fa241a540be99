"""Who makes the front of a connection, and what of the settings it gets."""

import pytest

from mansio.config import Config
from mansio.server.connection import MakeFront
from mansio.server.fronts import factories
from tests.protocol.resp_talk import command
from tests.server.stage import Actor, Stage, play


@pytest.mark.parametrize(
    ("forgetful", "sync", "waits"),
    [(False, "always", True), (False, "everysec", False), (True, "always", False)],
)
def test_replies_to_redis_clients_wait_for_a_log_that_somebody_will_read(
    forgetful: bool, sync: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: Stage) -> None:
        stage.broker.forgetful = forgetful
        made: list[MakeFront] = []
        with monkeypatch.context() as patch:
            patch.setattr(stage.turn, "connection", made.append)
            factories(stage.turn, Config(redis_sync=sync))["Redis"]()
        actor = Actor(stage, made[0])
        actor.send(command("LPUSH", "list", "it declares the queue"))
        await stage.settle()
        assert actor.transport.take() == b":1\r\n"
        stage.log.gate.clear()
        actor.send(command("LPUSH", "list", "element"))
        await stage.settle()
        assert actor.transport.take() == (b"" if waits else b":2\r\n")
        stage.log.gate.set()
        await stage.settle()
        assert actor.transport.take() == (b":2\r\n" if waits else b"")

    play(scene)
