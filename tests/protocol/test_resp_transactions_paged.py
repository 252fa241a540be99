"""Transactions that need messages which are paged out: all of these are read before the first command is executed."""

import pytest

from mansio.core import recall
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import Error, RedisTalker

COUNT = 300
BYTES = 250
"""What one element costs in memory, or a little less."""


def filled(monkeypatch: pytest.MonkeyPatch, kept: int = 8 << 20) -> LastingRedisWorld:
    """A list `l` of 300 elements, each in a run of its own, and a stream `s`, of both only the ends in memory."""
    monkeypatch.setattr(recall, "KEPT_BYTES", kept)
    world = LastingRedisWorld(page_bytes=4000, memory_bytes_max=1 << 30)
    redis = world.redis()
    for i in range(COUNT):
        redis.send("RPUSH", "l", value(i))
        redis.send("XADD", "s", f"{i + 1}-1", "n", value(i))
        redis.send("XLEN", "s")  # what comes next is another run
    redis.send("XGROUP", "CREATE", "s", "g", 0)
    world.turn()
    assert len(redis.hear()) == 3 * COUNT + 1
    spans = list(world.broker.vhosts["/"].queues["l"].ready)
    assert not any(span.run.data for span in spans[50:250]) and len(spans) == COUNT
    return world


def value(i: int) -> bytes:
    return b"%d %b" % (i, b"x" * 200)


def values(*numbers: int) -> list[bytes]:
    return [value(i) for i in numbers]


def execute(redis: RedisTalker, *commands: tuple[object, ...]) -> list[object]:
    """The replies of the commands of a transaction."""
    lines = [("MULTI",), *commands, ("EXEC",)]
    for words in lines:
        redis.send(*words)
    redis.world.turn()
    return redis.hear()[-1]


def test_commands_reach_into_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(monkeypatch)
    redis = world.redis()
    replies = execute(
        redis,
        ("LRANGE", "l", 120, 122),
        ("LSET", "l", 121, "new"),
        ("LINSERT", "l", "BEFORE", value(150), "between"),
        ("LREM", "l", 1, value(130)),
        ("LPOS", "l", value(200)),
        ("LTRIM", "l", 100, -100),
        ("LPOP", "l", 20),
        ("LINDEX", "l", 1),
        ("XRANGE", "s", 100, 250),
        ("XREVRANGE", "s", 50, 1),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", 40, "STREAMS", "s", ">"),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", 40, "STREAMS", "s", ">"),
        ("RENAME", "l", "m"),
        ("RPOP", "m"),
        ("COPY", "s", "t"),
        ("XLEN", "t"),
    )
    assert replies[:5] == [values(120, 121, 122), "OK", COUNT + 1, 1, 200]
    assert replies[5:8] == ["OK", values(*range(100, 120)), b"new"]
    assert [len(found) for found in replies[8:10]] == [151, 50]
    assert replies[10][0][1][-1][0] == b"40-1" and replies[11][0][1][-1][0] == b"80-1"
    assert replies[12:] == ["OK", value(200), 1, COUNT]
    assert not world.broker.paging._kept


def test_a_long_row_of_pops(monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(monkeypatch, kept=200 * BYTES)
    redis = world.redis()
    replies = execute(
        redis, *[("LPOP", "l")] * 90, ("RPOP", "l", 80), ("LMOVE", "l", "m", "LEFT", "LEFT")
    )
    assert replies[:90] == values(*range(90))
    assert replies[90:] == [values(*range(COUNT - 1, COUNT - 81, -1)), value(90)]


@pytest.mark.parametrize(
    "words",
    [
        ("LRANGE", "l", 0, -1),
        ("LPOS", "l", "none"),
        ("XRANGE", "s", "-", "+"),
        ("COPY", "l", "m"),
        ("COPY", "s", "t"),
        ("LPOP", "l", 250),
    ],
)
def test_what_does_not_fit_is_not_begun(
    words: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled(monkeypatch, kept=150 * BYTES)
    redis = world.redis()
    reply = execute(redis, ("SET", "k", 1), words)
    assert isinstance(reply, Error) and reply.startswith("EXECABORT Transaction discarded because")
    assert redis.pipeline("EXISTS k m t", "LLEN l") == [0, COUNT]
    assert not world.broker.paging._kept
    assert redis.ask("EXEC") == Error("ERR EXEC without MULTI")


def test_of_what_does_not_fit_a_part_may_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = filled(monkeypatch, kept=140 * BYTES).redis()
    replies = execute(
        redis, ("LINDEX", "l", 150), ("LPOS", "l", value(30)), ("LREM", "l", 1, value(70))
    )
    assert replies == [value(150), 30, 1]


def test_nothing_is_kept_for_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = filled(monkeypatch)
    redis = world.redis()
    for words in (("MULTI",), ("LINDEX", "l", 150), ("EXEC",)):
        redis.send(*words)
    assert world.broker.paging._kept
    redis.eof()
    world.turn()
    assert not world.broker.paging._kept
