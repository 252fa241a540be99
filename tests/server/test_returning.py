"""Who is waited for before an entry of the log begins, and for how long."""

from mansio.server.returning import WINDOW_NS_MAX, Returning
from tests.protocol.resp_talk import command
from tests.server.stage import Actor, Stage, play

SYNC_NS = 700_000
HEARD_NS = 10_000_000
PUSH = command("LPUSH", "list", "element")


def heard(clients: int, back: int = 0, late_ns: int = 0) -> Returning:
    """So many were told at HEARD_NS, and so many of them came back, before they were told once more."""
    returning = Returning()
    returning.wrote(1, clients)
    returning.told(1, HEARD_NS - 2 * SYNC_NS, SYNC_NS)
    returning.awaited(HEARD_NS - 2 * SYNC_NS + late_ns, back)
    returning.wrote(2, clients)
    returning.told(2, HEARD_NS, SYNC_NS)
    return returning


def test_whoever_came_back_at_once_is_waited_for_up_to_the_last_one() -> None:
    returning = heard(50, 49)
    returning.wrote(3, 20)
    assert returning.awaited(HEARD_NS + 1, 29)
    assert not returning.awaited(HEARD_NS + 1, 30)


def test_nobody_is_waited_for_longer_than_a_sync_takes() -> None:
    returning = heard(50, 49)
    assert returning.awaited(HEARD_NS + SYNC_NS - 1)
    assert not returning.awaited(HEARD_NS + SYNC_NS)
    returning.awaited(HEARD_NS, 50)
    returning.wrote(3, 50)
    returning.told(3, HEARD_NS, 100 * WINDOW_NS_MAX)
    assert returning.awaited(HEARD_NS + WINDOW_NS_MAX - 1)
    assert not returning.awaited(HEARD_NS + WINDOW_NS_MAX)


def test_those_who_have_something_else_to_do_are_not_waited_for() -> None:
    assert not heard(50, 24).awaited(HEARD_NS)
    assert heard(50, 25).awaited(HEARD_NS)
    assert not heard(50, 49, late_ns=SYNC_NS).awaited(HEARD_NS)
    assert heard(50, 49, late_ns=SYNC_NS - 1).awaited(HEARD_NS)


def test_those_who_wait_already_go_with_those_who_come_back() -> None:
    returning = Returning()
    returning.wrote(1, 25)
    returning.told(1, HEARD_NS - SYNC_NS, SYNC_NS, 15)
    returning.wrote(2, 15)
    returning.wrote(3, 25)
    returning.awaited(HEARD_NS - SYNC_NS)
    returning.told(2, HEARD_NS, SYNC_NS, 10)
    assert returning.awaited(HEARD_NS, 10), "35 are there, and 15 on their way"
    assert returning.awaited(HEARD_NS, 24)
    assert not returning.awaited(HEARD_NS, 25)


def test_entries_that_no_client_waits_for_change_nothing() -> None:
    returning = heard(50, 49)
    returning.told(2, HEARD_NS + 5, 1)
    assert returning.awaited(HEARD_NS + SYNC_NS - 1) and returning.pending == 0


def told(actors: list[Actor]) -> list[bool]:
    return [bool(actor.transport.take()) for actor in actors]


async def rounds(stage: Stage) -> list[Actor]:
    """Four clients that have just been told, and were back at once several times before."""
    actors = [stage.redis() for _ in range(4)]
    for _ in range(3):
        stage.log.gate.clear()
        for actor in actors:
            actor.send(PUSH)
        await stage.settle()
        stage.clock.ns += SYNC_NS
        stage.log.gate.set()
        await stage.settle()
        assert all(told(actors))
    return actors


def test_clients_that_write_at_once_when_they_are_told_share_an_entry() -> None:
    async def scene(stage: Stage) -> None:
        actors = await rounds(stage)
        entries = len(stage.log.store.entries)
        for actor in actors:
            assert len(stage.log.store.entries) == entries
            actor.send(PUSH)
            await stage.settle()
        assert all(told(actors))
        assert len(stage.log.store.entries) == entries + 1

    play(scene)


def test_a_client_that_stays_away_holds_the_others_up_for_one_sync() -> None:
    async def scene(stage: Stage) -> None:
        actors = await rounds(stage)
        for actor in actors[1:]:
            actor.send(PUSH)
        await stage.settle()
        assert not any(told(actors))
        stage.clock.ns += SYNC_NS
        await stage.settle()
        assert told(actors) == [False, True, True, True]

    play(scene)
