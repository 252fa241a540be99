"""What a stream knows beside its entries: its last id, the highest that was deleted, how many there have been."""

from typing import Any

import pytest

from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import Error, RedisTalker, World

MOST = (1 << 63) - 1
"""What 64 bits count up to; the next number is the least one, as in redis-server 7.0.15."""


def about(redis: RedisTalker, key: str = "s") -> dict[bytes, Any]:
    found = redis.ask(f"XINFO STREAM {key}")
    return dict(zip(found[::2], found[1::2], strict=True))


def test_counters_go_round_and_come_back() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.ask("XADD s 1-1 a b")
    assert redis.ask(f"XSETID s 1-1 ENTRIESADDED {MOST}") == "OK"
    assert redis.ask("XGROUP CREATE s g 0") == "OK"
    for number in (2, 3):
        redis.ask(f"XADD s {number}-1 a b")
    assert about(redis)[b"entries-added"] == -MOST
    redis.ask("XREADGROUP GROUP g c COUNT 2 STREAMS s >")
    world = world.restarted()
    redis = world.redis()
    assert about(redis)[b"entries-added"] == -MOST
    (group,) = redis.ask("XINFO GROUPS s")
    assert group[-4:] == [b"entries-read", -MOST - 1, b"lag", 1]
    redis.ask("XREADGROUP GROUP g c STREAMS s >")
    (group,) = redis.ask("XINFO GROUPS s")
    assert group[-4:] == [b"entries-read", -MOST, b"lag", 0]


def test_an_id_may_be_set_below_what_was_deleted() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline("XADD s 1-0 a b", "XADD s 2-0 a b", "XADD s 3-0 a b")  # one run
    redis.pipeline("XDEL s 3-0", "XDEL s 2-0")
    assert redis.ask("XSETID s 1-0") == "OK"
    for number in (1, 2):
        world = world.restarted()
        redis = world.redis()
        known = about(redis)
        assert known[b"max-deleted-entry-id"] == b"3-0"
        assert known[b"last-generated-id"] == b"1-%d" % (number - 1)
        assert redis.ask(f"XADD s 1-{number} a b") == b"1-%d" % number
    ids = [b"1-0", b"1-1", b"1-2"]
    for client in (redis, world.restarted().redis()):
        assert [id for id, _ in client.ask("XRANGE s - +")] == ids
        assert [id for id, _ in client.ask("XRANGE s 1-1 3-0")] == ids[1:]
        assert client.ask("XDEL s 2-0 3-0") == 0
    assert redis.ask("XDEL s 1-1") == 1 and redis.ask("XADD s 3-0 a b") == b"3-0"
    assert [id for id, _ in redis.ask("XRANGE s - +")] == [b"1-0", b"1-2", b"3-0"]


def test_an_id_may_not_be_set_below_what_was_added_just_before() -> None:
    redis = World().redis()
    redis.ask("XADD s 1-0 a b")
    added, refused = redis.pipeline("XADD s 5-0 a b", "XSETID s 4-0")
    assert added == b"5-0"
    assert isinstance(refused, Error) and refused.endswith(
        "smaller than the target stream top item"
    )


@pytest.mark.parametrize("end", ["XDEL s 3-0", "XDEL s 3-0 4-0"])
def test_what_is_deleted_behind_a_trim_in_one_pipeline(end: str) -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline("XADD s 1-0 a b", "XADD s 2-0 a b", "XADD s 3-0 a b")
    redis.pipeline(
        "XADD s MAXLEN 2 4-0 a b", end
    )  # the end of the turn checks what has become of it
    left = [id for id in (b"3-0", b"4-0") if id.decode() not in end]
    for client in (redis, world.restarted().redis()):
        assert [id for id, _ in client.ask("XRANGE s - +")] == left
