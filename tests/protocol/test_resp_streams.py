"""Streams between Redis and AMQP clients; who waits; what is told only when it is durable. Replies: transcripts."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.packing import PACK_RUNS
from mansio.core.users import Users
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error, World
from tests.protocol.talk import Message, Talker

STREAM = {"x-queue-type": "stream"}


def declare(amqp: Talker, name: str = "s") -> None:
    amqp.call(1, m.QueueDeclare(name, durable=True, arguments=STREAM))


def read(world: World, name: str = "s", offset: Any = "first") -> Talker:
    """A reader over AMQP; what it heard comes by `messages`."""
    reader = world.client()
    reader.send(1, m.BasicQos(prefetch_count=1000))
    reader.send(1, m.BasicConsume(name, arguments={"x-stream-offset": offset}))
    world.turn()
    return reader


def messages(world: World, reader: Talker) -> list[Message]:
    world.turn()
    return [item for _, item in reader.hear() if isinstance(item, Message)]


def test_amqp_clients_read_what_redis_clients_add() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.ask("XADD s * kind order body 4711")
    redis.call("XADD", "s", "*", "a", "1", "a", "2")
    heard = messages(world, read(world))
    assert heard[0].body == b"4711"
    assert heard[0].properties.headers == {"kind": "order", "x-stream-offset": 0}
    assert heard[1].properties.content_type == "application/vnd.mansio.fields"


def test_redis_clients_read_what_amqp_clients_publish() -> None:
    world = World()
    amqp, redis = world.client(), world.redis()
    declare(amqp)
    headers = {"kind": "order", "number": 7}
    amqp.publish(1, "s", b"one", properties=Properties(headers=headers))
    amqp.publish(1, "s", b"two")
    world.turn()
    one, two = redis.ask("XRANGE s - +")
    assert one == [b"1700000000000-0", [b"kind", b"order", b"number", b"7", b"body", b"one"]]
    assert two == [b"1700000000000-1", [b"body", b"two"]]
    assert redis.ask("XADD s * a b") == b"1700000000000-2"


def test_who_waits_is_woken_by_an_amqp_publish() -> None:
    world = World()
    amqp, redis, member = world.client(), world.redis(3), world.redis()
    declare(amqp)
    redis.send("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    assert member.ask("XGROUP CREATE s g 0") == "OK"
    member.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.turn()
    assert redis.hear() == member.hear() == []
    amqp.publish(1, "s", b"one")
    world.turn()
    entry = [b"1700000000000-0", [b"body", b"one"]]
    assert redis.hear() == [{b"s": [entry]}]
    assert member.hear() == [[[b"s", [entry]]]]


def test_nothing_is_told_that_is_not_durable() -> None:
    world = World()
    amqp, redis, waiting = world.client(), world.redis(), world.redis()
    declare(amqp)
    world.turn()
    waiting.send("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    world.turn()
    amqp.publish(1, "s", b"one")
    redis.send("XREAD", "STREAMS", "s", 0)
    world.turn(durable=False)
    assert redis.hear() == waiting.hear() == []
    world.log()
    assert len(redis.hear()) == len(waiting.hear()) == 1


def test_a_group_that_is_told_of_an_entry_has_it_after_a_crash() -> None:
    world = LastingRedisWorld()
    redis, waiting = world.redis(), world.redis()
    redis.ask("XGROUP CREATE s g $ MKSTREAM")
    waiting.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.turn()
    redis.ask("XADD s 1-1 a b")
    parts = len(world.parts)
    assert waiting.hear() == [[[b"s", [[b"1-1", [b"a", b"b"]]]]]]
    again = world.restarted(parts)
    assert again.redis().ask("XPENDING s g") == [1, b"1-1", b"1-1", [[b"c", b"1"]]]


def test_who_is_gone_waits_for_nothing() -> None:
    world = World()
    redis, gone = world.redis(), world.redis()
    redis.ask("XGROUP CREATE s g $ MKSTREAM")
    gone.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.turn()
    gone.eof()
    redis.ask("XADD s 1-1 a b")
    assert redis.ask("XPENDING s g")[0] == 0
    assert not world.broker.streams.watching._watchers
    late = world.redis()
    late.send("XREAD", "BLOCK", 50, "STREAMS", "s", "nothing", "$", "$")
    world.pass_ms(49)
    assert late.hear() == []
    world.pass_ms(1)
    assert late.hear() == [NULL_ARRAY]
    assert not world.broker.streams.watching._watchers


def test_who_waits_is_served_before_anybody_else_can_take_it() -> None:
    world = World()
    waiting, redis = world.redis(), world.redis()
    redis.ask("XGROUP CREATE s g $ MKSTREAM")
    waiting.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.turn()
    heard = redis.pipeline("XADD s 1-1 a b", "XREADGROUP GROUP g d STREAMS s >", "XDEL s 1-1")
    assert heard == [b"1-1", NULL_ARRAY, 1]
    assert waiting.hear() == [[[b"s", [[b"1-1", [b"a", b"b"]]]]]]


@pytest.mark.parametrize("rename", ["RENAME", "RENAMENX"])
def test_who_waits_for_a_stream_gets_what_is_renamed_to_it(rename: str) -> None:
    world = World()
    redis, reader, member = world.redis(), world.redis(), world.redis()
    redis.pipeline("XADD s 1-1 a b", "XGROUP CREATE s g 0", "XGROUP CREATE t g 0 MKSTREAM")
    member.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "t", ">")
    if rename == "RENAMENX":
        member = world.redis()
        redis.ask("DEL t")
    reader.send("XREAD", "BLOCK", 0, "STREAMS", "t", "$")
    world.turn()
    redis.pipeline(f"{rename} s t", "XADD t 2-1 a b")
    entry = [[[b"t", [[b"1-1", [b"a", b"b"]]]]]]
    assert reader.hear() == entry
    assert member.hear() == (entry if rename == "RENAME" else [])
    assert redis.ask("XPENDING t g")[0] == (rename == "RENAME")
    assert not world.broker.streams.watching._watchers


def test_what_counts_is_what_a_stream_is_behind_a_transaction() -> None:
    world = World()
    redis, one, other = world.redis(), world.redis(), world.redis()
    redis.pipeline("XGROUP CREATE s g 0 MKSTREAM", "XGROUP CREATE s h 0")
    for member, group in ((one, "g"), (other, "h")):
        member.send("XREADGROUP", "GROUP", group, "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.turn()
    redis.pipeline("MULTI", "DEL s", "XGROUP CREATE s g 0 MKSTREAM", "XADD s 8-1 a b", "EXEC")
    assert one.hear() == [[[b"s", [[b"8-1", [b"a", b"b"]]]]]]
    assert other.hear() == [
        Error("NOGROUP the consumer group this client was blocked on no longer exists")
    ]
    one.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    redis.ask("DEL s")
    assert one.hear() == [Error("UNBLOCKED the stream key no longer exists")]


def test_a_pipeline_is_one_run() -> None:
    world = World()
    redis = world.redis()
    ids = redis.pipeline(*[f"XADD s * n {i}" for i in range(20)], *["XADD s * a b"] * 20)
    assert ids == [b"1700000000000-%d" % i for i in range(40)]
    (span,) = world.broker.vhosts["/"].queues["s"].ready
    assert span.run.count == 40 and span.run.ids == 0
    assert [fields[1] for _, fields in redis.ask("XRANGE s - + COUNT 21")][19:] == [b"19", b"b"]
    assert redis.pipeline(*["XADD s MAXLEN 3 * a b"] * 9, "XLEN s")[-1] == 3


def test_what_is_deleted_is_gone_for_amqp_readers() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline(*[f"XADD s {i}-1 n {i}" for i in range(1, 6)])
    reader = world.client()
    reader.send(1, m.BasicQos(prefetch_count=1))
    reader.send(1, m.BasicConsume("s", arguments={"x-stream-offset": "first"}))
    seen = []
    assert redis.ask("XDEL s 2-1 5-1") == 2
    for _ in range(5):
        for message in messages(world, reader):
            seen.append(message.properties.headers["n"])
            reader.send(1, m.BasicAck(message.method.delivery_tag))
        if seen == ["1"]:
            redis.ask("XTRIM s MINID 4-0")
    assert seen == ["1", "4"]


def test_a_declared_stream_stays_when_its_key_goes() -> None:
    world = LastingRedisWorld()
    amqp, redis = world.client(), world.redis()
    declare(amqp)
    redis.ask("XADD s 5-1 a b")
    redis.ask("XGROUP CREATE s g 0")
    assert redis.ask("DEL s") == 1
    assert redis.ask("XLEN s") == 0 and redis.ask("XINFO GROUPS s") == []
    assert redis.ask("XADD s 1-1 c d") == b"1-1"
    amqp.call(1, m.QueueBind("s", "amq.fanout"))
    redis.ask("XADD t 1-1 c d")
    redis.ask("DEL t")
    again = world.restarted().redis()
    assert again.ask("XRANGE s - +") == [[b"1-1", [b"c", b"d"]]]
    assert again.ask("XINFO GROUPS s") == []
    assert again.ask("EXISTS s t") == 1
    (message,) = messages(again.world, read(again.world))
    assert message.properties.headers == {"c": "d", "x-stream-offset": 1}


def test_what_a_stream_knows_survives_without_entries() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline("XADD s 5-1 a b", "XADD s 6-1 a b", "XDEL s 6-1", "XTRIM s MAXLEN 0")
    redis.ask("XGROUP CREATE s g 5 ENTRIESREAD 1")
    before = redis.ask("XINFO STREAM s"), redis.ask("XINFO GROUPS s")
    again = world.restarted().redis()
    assert (again.ask("XINFO STREAM s"), again.ask("XINFO GROUPS s")) == before
    assert isinstance(again.ask("XADD s 6-1 a b"), Error)
    assert again.ask("XSETID s 9-1 ENTRIESADDED 20 MAXDELETEDID 8-1") == "OK"
    before = again.ask("XINFO STREAM s")
    assert again.world.restarted().redis().ask("XINFO STREAM s") == before


def test_a_stream_that_is_renamed_has_its_entries_and_groups() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    redis.pipeline("XADD s 5-1 a b", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >")
    redis.pipeline("XADD s 6-1 c d", "RENAME s t", "XADD t 7-1 e f")
    again = world.restarted().redis()
    assert [id for id, _ in again.ask("XRANGE t - +")] == [b"5-1", b"6-1", b"7-1"]
    assert again.ask("XPENDING t g")[0] == 1
    assert again.ask("EXISTS s") == 0


def test_ids_survive_when_small_runs_are_packed() -> None:
    world = LastingRedisWorld()
    redis = world.redis()
    for i in range(PACK_RUNS + 2):
        redis.ask(f"XADD s {i + 1}-{i % 3} n {i}")
    world.turn()
    assert len(world.broker.vhosts["/"].queues["s"].ready) < 9
    expected = [b"%d-%d" % (i + 1, i % 3) for i in range(PACK_RUNS + 2)]
    assert [id for id, _ in redis.ask("XRANGE s - +")] == expected
    assert [id for id, _ in world.restarted().redis().ask("XRANGE s - +")] == expected


def test_rights() -> None:
    world = World()
    users: Users = world.broker.users
    admin = world.broker.administration
    assert users.find("guest") is not None and admin is not None
    redis = world.redis()
    redis.ask("XADD s 1-1 a b")
    rights = redis.front.session.rights  # type: ignore[union-attr]
    from mansio.core.rights import Permission

    rights.permit(Permission("", "", "^s$"))
    assert redis.ask("XLEN s") == 1
    assert str(redis.ask("XADD s 1-2 a b")).startswith("NOPERM access to queue 's'")
    assert str(redis.ask("XDEL s 1-1")).startswith("NOPERM")
    assert str(redis.ask("XREAD STREAMS t 0")).startswith("NOPERM")
    rights.permit(Permission("", ".*", ".*"))
    assert str(redis.ask("XADD t 1-2 a b")).startswith("NOPERM"), "to make one is more"
    assert redis.ask("XADD s 1-2 a b") == b"1-2"


def test_short_of_memory_or_disk_nothing_is_added() -> None:
    world = World()
    redis = world.redis()
    redis.pipeline("XADD s 1-1 a b", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >")
    world.broker.low_on_memory = True
    assert str(redis.ask("XADD s * a b")).startswith("OOM")
    world.broker.journal.measured(0, True)
    assert str(redis.ask("XADD s * a b")).startswith("MISCONF")
    assert str(redis.ask("XGROUP CREATE s h 0")).startswith("MISCONF")
    assert redis.ask("XACK s g 1-1") == 1 and redis.ask("XDEL s 1-1") == 1


@pytest.mark.parametrize("name", ["amq.s", "n" * 256])
def test_names_that_no_queue_can_have(name: str) -> None:
    world = World()
    assert isinstance(world.redis().call("XADD", name, "*", "a", "b"), Error)
    assert name not in world.broker.vhosts["/"].queues


def test_a_queue_that_is_no_key_is_no_stream_either() -> None:
    world = World()
    amqp, redis = world.client(), world.redis()
    amqp.call(1, m.QueueDeclare("q", durable=True))
    assert str(redis.ask("XADD q * a b")).startswith("WRONGTYPE")
    redis.pipeline("LPUSH l a", "RPOP l")
    assert redis.ask("XADD l 1-1 a b") == b"1-1", "of a list that is empty nothing is left"


def test_a_transaction_reads_what_is_paged_out() -> None:
    world = LastingRedisWorld(page_bytes=4000, memory_bytes_max=1 << 30)
    redis = world.redis()
    for i in range(1, 60):
        redis.ask(f"XADD s {i}-1 n {'x' * 200}")
    redis.pipeline("XGROUP CREATE s g 0", "XREADGROUP GROUP g c COUNT 2 STREAMS s >")
    stream = world.broker.vhosts["/"].queues["s"]
    commands = [
        "XRANGE s 1 2",
        "XREAD COUNT 1 STREAMS s 2",
        "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
        "XREADGROUP GROUP g c STREAMS s 1",
        "XCLAIM s g d 0 1-1",
        "XAUTOCLAIM s g d 0 0",
    ]
    expected = [redis.ask(line) for line in commands[:2]]
    for i in range(60, 99):
        redis.ask(f"XADD s {i}-1 n {'x' * 200}")
    assert not any(stream.ready[i].run.data for i in range(5))
    *_, replies = redis.pipeline("MULTI", *commands, "EXEC")
    assert replies[:2] == expected
    assert [id for id, _ in replies[2][0][1]] == [b"3-1"]
    assert [id for id, _ in replies[5][1]] == [b"1-1", b"2-1", b"3-1"]
    assert not any(isinstance(reply, Error) for reply in replies)


def test_where_nobody_will_read_the_log_entries_are_there_at_once() -> None:
    world = World()
    world.broker.forgetful = True
    amqp, redis = world.client(), world.redis()
    declare(amqp)
    reader = read(world)
    for i in range(PACK_RUNS + 2):
        redis.ask(f"XADD s {i + 1}-1 n {i}")
    amqp.publish(1, "s", b"last")
    world.turn()
    stream = world.broker.vhosts["/"].queues["s"]
    assert not world.broker.journal.take(), "nothing is written"
    assert len(stream.ready) < 9, "what is small is packed all the same"
    heard = messages(world, reader)
    assert [each.properties.headers["x-stream-offset"] for each in heard] == [*range(PACK_RUNS + 3)]
    assert redis.ask("XDEL s 2-1") == 1 and redis.ask("XTRIM s MAXLEN 2") == PACK_RUNS
    assert [fields for _, fields in redis.ask("XRANGE s - +")] == [
        [b"n", b"%d" % (PACK_RUNS + 1)],
        [b"body", b"last"],
    ]
