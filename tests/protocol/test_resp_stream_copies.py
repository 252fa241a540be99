"""COPY and MOVE of streams: entries, ids and groups, over restarts, and beside AMQP clients."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import Error, RedisTalker
from tests.protocol.talk import Message

FILL = (
    *(f"XADD s {i}-1 kind order body {i}" for i in range(1, 9)),
    "XGROUP CREATE s g 0",
    "XGROUP CREATE s h 5-1",
    "XREADGROUP GROUP g c COUNT 4 STREAMS s >",
    "XREADGROUP GROUP g d COUNT 1 STREAMS s >",
    "XACK s g 2-1",
    "XDEL s 1-1 4-1 5-1 8-1",
    "PEXPIRE s 100000",
)


def contents(redis: RedisTalker, key: str) -> list[Any]:
    return [
        redis.ask(f"XRANGE {key} - +"),
        redis.ask(f"XINFO STREAM {key} FULL COUNT 0"),
        redis.ask(f"PTTL {key}"),
    ]


def read(world: LastingRedisWorld, name: str) -> list[Message]:
    """What an AMQP reader gets."""
    reader = world.client()
    reader.send(1, m.BasicQos(prefetch_count=100))
    arguments = {"x-stream-offset": "first"}
    heard = reader.call(1, m.BasicConsume(name, arguments=arguments))
    world.turn()
    heard += [item for _, item in reader.hear()]
    return [item for item in heard if isinstance(item, Message)]


def offsets(world: LastingRedisWorld, name: str) -> list[int]:
    return [(each.properties.headers or {})["x-stream-offset"] for each in read(world, name)]


@pytest.mark.parametrize("limits", [{}, {"page_bytes": 200, "memory_bytes_max": 1 << 30}])
def test_a_copy_has_all_that_redis_clients_know(limits: dict[str, int]) -> None:
    world = LastingRedisWorld(**limits)
    redis = world.redis()
    for line in FILL:
        redis.ask(line)
    whole = contents(redis, "s")
    world.pass_ms(50)
    assert redis.ask("COPY s t") == 1
    whole[2] -= 50
    for _ in range(2):
        redis = world.redis()
        assert contents(redis, "t") == contents(redis, "s") == whole
        assert offsets(world, "t") == offsets(world, "s") == [1, 2, 5, 6]
        world = world.restarted(**limits)
        assert not world.broker.notices, "nothing is missing"
    redis = world.redis()
    redis.pipeline("XADD t 9-1 a b", "XACK t g 3-1", "DEL s")
    redis = world.restarted(**limits).redis()
    assert [id for id, _ in redis.ask("XRANGE t - +")] == [b"2-1", b"3-1", b"6-1", b"7-1", b"9-1"]
    assert redis.ask("XPENDING t g") == [3, b"1-1", b"5-1", [[b"c", b"2"], [b"d", b"1"]]]


def test_a_copy_is_in_one_entry_of_the_log() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline(*FILL, "XADD t 1-1 old entry")
    whole = contents(redis, "s")
    before = len(world.parts)
    assert redis.ask("COPY s t REPLACE") == 1
    assert len(world.parts) == before + 1
    assert contents(world.restarted().redis(), "t") == whole
    (old,) = world.restarted(before).redis().ask("XRANGE t - +")
    assert old == [b"1-1", [b"old", b"entry"]]


def test_a_stream_moves_to_another_database() -> None:
    world = LastingRedisWorld()
    redis, other = world.redis(), world.redis()
    redis.pipeline(*FILL)
    other.ask("SELECT 1")
    whole = contents(redis, "s")
    before = len(world.parts)
    assert redis.ask("MOVE s 1") == 1
    assert len(world.parts) == before + 1
    assert redis.ask("MOVE s 1") == 0
    assert redis.ask("EXISTS s") == 0
    assert contents(other, "s") == whole
    again = world.restarted().redis()
    assert again.ask("EXISTS s") == 0
    again.ask("SELECT 1")
    assert contents(again, "s") == whole


def test_a_stream_that_was_declared_is_copied_with_its_messages() -> None:
    world = LastingRedisWorld()
    redis, amqp = world.redis(), world.client()
    amqp.call(1, m.QueueDeclare("s", durable=True, arguments={"x-queue-type": "stream"}))
    amqp.publish(1, "s", b"one", properties=Properties(message_id="17", headers={"a": 1}))
    world.turn()
    assert redis.ask("MOVE s 1") == 1
    assert redis.ask("XLEN s") == 0 and redis.ask("TYPE s") == "stream", "it stays"
    redis.ask("SELECT 1")
    ((_, fields),) = redis.ask("XRANGE s - +")
    assert fields == [b"a", b"1", b"body", b"one"]
    assert redis.ask("COPY s t DB 0") == 1
    (message,) = read(world, "t")
    assert message.properties.message_id == "17" and message.body == b"one"
    assert message.method.routing_key == "t"
    refused = redis.ask("COPY s s DB 0 REPLACE")
    assert isinstance(refused, Error) and refused.endswith(
        "was declared over AMQP and keeps its name"
    )


@pytest.mark.parametrize("name", ["n" * 256, "amq.x"])
@pytest.mark.parametrize("line", ["COPY s {}", "RENAME s {}", "COPY l {}", "RENAME l {}"])
def test_a_name_that_no_queue_can_have(line: str, name: str) -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline("XADD s 1-1 a b", "RPUSH l a")
    assert isinstance(redis.ask(line.format(name)), Error)
    assert redis.pipeline("XLEN s", "LLEN l", f"EXISTS {name}") == [1, 1, 0]
    redis.ask("SET k v")
    assert redis.pipeline(f"RENAME k {name}", f"GET {name}") == ["OK", b"v"]
