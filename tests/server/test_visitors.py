"""How many connections one address may have, and how many before they log in."""

import pytest

from mansio.server.visitors import Visitors
from tests.server.stage import Stage, StageTransport, play


def test_an_address_may_have_so_many() -> None:
    visitors = Visitors(per_address_max=2)
    assert [visitors.come("a") is None for _ in range(3)] == [True, True, False]
    assert visitors.come("b") is None
    visitors.leave("a", True)
    visitors.leave("a", True)
    assert visitors.come("a") is None
    refused = visitors.come("a")
    assert refused is not None and "connections_per_address_max is 2" in refused


def test_strangers_are_few_by_address_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mansio.server.visitors.STRANGERS_PER_ADDRESS", 3)
    monkeypatch.setattr("mansio.server.visitors.STRANGERS_MAX", 4)
    visitors = Visitors()
    assert [visitors.come("a") is None for _ in range(4)] == [True, True, True, False]
    visitors.leave("a", True)
    visitors.logged_in("a")
    assert visitors.come("a") is None
    assert visitors.come("b") is None
    assert visitors.come("c") is not None  # 5 in all
    assert visitors.strangers == 5


def test_nothing_is_remembered_of_who_is_gone() -> None:
    visitors = Visitors(1)
    for i in range(10):
        visitors.come(f"a{i}")
        visitors.come(f"a{i}")
        visitors.logged_in(f"a{i}")
        visitors.leave(f"a{i}", False)
        visitors.leave(f"a{i}", True)
    assert (visitors.strangers, visitors._connections, visitors._strangers) == (0, {}, {})


def test_a_connection_is_a_stranger_until_it_has_logged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mansio.server.visitors.STRANGERS_PER_ADDRESS", 1)

    async def scene(stage: Stage) -> None:
        visitors = stage.turn.visitors
        actor = stage.actor()
        assert visitors.strangers == 0
        silent = stage.turn.connection()
        silent.connection_made(StageTransport(silent))
        assert visitors.strangers == 1
        refused = stage.turn.connection()
        transport = StageTransport(refused)
        refused.connection_made(transport)
        assert transport.closing
        assert refused.front.close_reason.startswith(
            "2 connections of 127.0.0.1 have not logged in"
        )
        silent.connection_lost(None)
        actor.connection.connection_lost(None)
        assert visitors.strangers <= 1

    play(scene)
