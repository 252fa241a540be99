"""Strings, keys and transactions of Redis clients beside AMQP, restarts, rights, and a log or memory without room. What
they answer when nothing is in their way stands in testdata/redis."""

import re

import pytest

from mansio.codec.amqp_properties import Properties
from mansio.core.errors import AccessRefused
from mansio.core.rights import Permission
from mansio.protocol.resp import access, transactions
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error, World
from tests.protocol.talk import Talker


def declare(world: World, *names: str) -> Talker:
    """A client of AMQP that has declared durable queues."""
    amqp = world.client()
    for name in names:
        session = amqp.front.session
        assert session is not None
        world.broker.definitions.declare_queue(session, name, True, False, False, {})
    world.turn()
    return amqp


# -- keys that expire


def test_a_key_goes_in_the_millisecond_behind_its_last() -> None:
    world = World()
    client = world.redis()
    client.ask("SET a 1 PX 100")
    client.ask("RPUSH l 1 2")
    client.ask("PEXPIRE l 100")
    world.pass_ms(100)
    assert client.pipeline("GET a", "LLEN l", "PTTL a") == [b"1", 2, 0]
    world.pass_ms(1)
    assert client.pipeline("GET a", "LLEN l", "EXISTS a l", "DBSIZE") == [None, 0, 0, 0]
    assert not world.broker.keyspace("/").strings


def test_what_expires_goes_though_nobody_looks() -> None:
    world = World()
    client = world.redis()
    for i in range(5000):
        client.send("SET", f"key {i}", "x", "PX", 100 + i % 7)
    world.turn()
    client.hear()
    client.ask("XADD x 1-1 f v")
    client.ask("PEXPIRE x 100")
    keys = world.broker.keyspace("/")
    world.pass_ms(200)
    for _ in range(5):
        world.turn()
    assert not keys.strings and not keys.times and not keys.held_bytes
    assert "x" not in world.broker.vhosts["/"].queues


def test_a_list_that_was_empty_lives_for_ever_again() -> None:
    world = World()
    client = world.redis()
    assert client.pipeline("LPUSH l 1", "EXPIRE l 1", "RPOP l", "LPUSH l 2", "TTL l")[-1] == -1
    world.pass_ms(2000)
    assert client.ask("LLEN l") == 1


def test_the_queue_of_an_expired_key_stays_if_it_was_declared() -> None:
    world = World()
    declare(world, "q")
    client = world.redis()
    client.ask("LPUSH q 1 2")
    client.ask("PEXPIRE q 5")
    world.pass_ms(10)
    assert world.broker.vhosts["/"].queues["q"].ready_count == 0
    assert client.ask("EXISTS q") == 0


# -- beside queues


def test_a_string_does_not_take_the_place_of_messages() -> None:
    world = World()
    amqp = declare(world, "q")
    client = world.redis()
    amqp.publish(1, "q", b"task")
    world.turn()
    for line in ("SET q 1", "MSET a 1 q 2", "SETEX q 10 1", "COPY s q REPLACE"):
        client.ask("SET s 1")
        assert isinstance(client.ask(line), Error), line
    assert client.ask("EXISTS a") == 0
    assert client.ask("TYPE q") == "list"
    assert isinstance(client.ask("RENAME q r"), Error)
    assert client.ask("LPOP q") == b"task"
    assert client.ask("SET q 1") == "OK"
    assert client.pipeline("TYPE q", "DEL q", "TYPE q") == ["string", 1, "none"]


def test_a_list_of_redis_is_overwritten_by_a_string() -> None:
    client = World().redis()
    client.ask("LPUSH l 1")
    assert client.pipeline("SET l 1", "TYPE l", "INCR l") == ["OK", "string", 2]


@pytest.mark.parametrize(
    "line", ["GET l", "INCR l", "APPEND l x", "STRLEN l", "GETEX l", "SETRANGE l 0 x", "GETDEL l"]
)
def test_a_list_is_no_string(line: str) -> None:
    client = World().redis()
    client.ask("LPUSH l 1")
    assert client.ask(line).startswith("WRONGTYPE")
    assert client.pipeline("MGET l", "LLEN l") == [[None], 1]


def test_flushdb_empties_declared_queues_and_removes_others() -> None:
    world = World()
    amqp = declare(world, "q")
    client = world.redis()
    amqp.publish(1, "q")
    client.pipeline("SET a 1 EX 100", "LPUSH l 1", "XADD x 1-1 f v", "LPUSH q 1", "EXPIRE q 100")
    client.ask("SELECT 1")
    client.ask("SET other 1")
    client.ask("SELECT 0")
    assert client.pipeline("FLUSHDB", "DBSIZE", "TTL q") == ["OK", 0, -2]
    assert list(world.broker.vhosts["/"].queues) == ["q"]
    client.ask("SELECT 1")
    assert client.ask("DBSIZE") == 1
    client.ask("SELECT 0")
    client.ask("FLUSHALL")
    client.ask("SELECT 1")
    assert client.ask("DBSIZE") == 0


def test_lists_are_renamed_and_copied_with_their_properties() -> None:
    world = LastingRedisWorld()
    amqp = world.client()
    client = world.redis()
    client.ask("LPUSH l 1 2 3")
    amqp.publish(1, "l", b"task", properties=Properties(delivery_mode=2))
    world.turn()
    client.ask("EXPIRE l 100")
    assert client.pipeline("COPY l c", "RENAME l r", "TTL r", "TTL c", "EXISTS l") == [
        1,
        "OK",
        100,
        100,
        0,
    ]
    world = world.restarted()
    client = world.redis()
    expected = [b"task", b"3", b"2", b"1"]
    assert client.pipeline("LRANGE r 0 -1", "LRANGE c 0 -1", "TTL c") == [expected, expected, 100]


def test_who_waits_for_a_list_gets_what_is_renamed_to_it() -> None:
    world = World()
    waiter, client = world.redis(), world.redis()
    waiter.send("BRPOP", "new", 0)
    world.turn()
    client.pipeline("LPUSH old 1", "RENAME old new")
    assert waiter.hear() == [[b"new", b"1"]]


# -- over a restart


def test_strings_and_times_come_back() -> None:
    world = LastingRedisWorld()
    client = world.redis()
    client.pipeline(
        "SET a 1", "SET b 2 PX 500", "SET c 3 PX 50", "LPUSH l 1", "PEXPIRE l 500", "DEL nothing"
    )
    client.pipeline("INCR a", "APPEND b x", "RENAME a d")
    world.pass_ms(100)
    world = world.restarted()
    client = world.redis()
    assert client.pipeline("MGET a b c d", "PTTL b", "PTTL l", "DBSIZE") == [
        [None, b"2x", None, b"2"],
        400,
        400,
        3,
    ]
    world.pass_ms(401)
    assert client.pipeline("MGET b d", "LLEN l") == [[None, b"2"], 0]
    assert world.restarted().redis().pipeline("MGET b d", "LLEN l") == [[None, b"2"], 0]


def test_flushed_keys_stay_away() -> None:
    world = LastingRedisWorld()
    client = world.redis()
    client.pipeline("MSET a 1 b 2", "LPUSH l 1", "EXPIRE l 10")
    client.pipeline("FLUSHALL", "SET c 3")
    client = world.restarted().redis()
    assert client.ask("KEYS *") == [b"c"]


def test_a_reply_waits_until_the_log_has_the_change() -> None:
    world = World()
    client, other = world.redis(), world.redis()
    client.send("SET", "a", 1)
    other.send("GET", "a")
    world.turn(durable=False)
    assert client.hear() == [] and other.hear() == []
    world.log()
    assert client.hear() == ["OK"] and other.hear() == [b"1"]


# -- transactions


def test_a_transaction_is_one_entry_whatever_else_is_in_the_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mansio.core.journal.PART_BYTES_MAX", 100)
    world = World()
    client, other = world.redis(), world.redis()
    other.send("SET", "before", "x" * 90)
    long = "y" * 60
    for line in ("MULTI", f"SET a {long}", f"LPUSH l {long}", f"LPUSH l {long}", f"LPUSH l {long}",
                 f"XADD x 1-1 f {long}", f"XADD x 1-2 f {long}", "EXEC"):  # fmt: skip
        client.send(*line.split())
    records = [b"".join(parts) for parts in world.broker.end_turn()]
    breaks = world.broker.journal.breaks
    ours = [i for i, record in enumerate(records) if b"yy" in record]
    assert len(ours) > 3 and any(at <= ours[0] for at in breaks)
    assert not any(ours[0] < at <= ours[-1] for at in breaks)


def test_a_watched_list_has_changed_when_amqp_has_touched_it() -> None:
    world = World()
    amqp = declare(world, "q")
    client = world.redis()
    for change in (
        lambda: amqp.publish(1, "q"),
        lambda: world.broker.get(
            amqp.front.session.channels[1], world.broker.vhosts["/"].queues["q"], True
        ),
    ):
        client.pipeline("WATCH q", "MULTI", "SET a 1")
        change()
        world.turn()
        assert client.ask("EXEC") is NULL_ARRAY
    client.pipeline("WATCH q", "MULTI", "SET a 1")
    assert client.ask("EXEC") == ["OK"]


def test_a_watched_key_that_expires_has_changed() -> None:
    world = World()
    client = world.redis()
    client.pipeline("SET a 1 PX 100", "WATCH a", "MULTI", "GET a")
    world.pass_ms(101)
    assert client.ask("EXEC") is NULL_ARRAY


def test_nobody_watches_once_clients_are_gone() -> None:
    world = World()
    keys = world.broker.keyspace("/")
    clients = [world.redis() for _ in range(5)]
    for client in clients:
        client.pipeline("WATCH a b", "WATCH a")
    assert set(keys.watched) == {b"a", b"b"}
    clients[0].ask("UNWATCH")
    clients[1].pipeline("MULTI", "EXEC")
    clients[2].pipeline("MULTI", "DISCARD")
    clients[3].ask("RESET")
    clients[4].eof()
    assert not keys.watched


def test_commands_that_wait_do_not_in_a_transaction() -> None:
    world = World()
    client = world.redis()
    replies = client.pipeline("MULTI", "BRPOP l 0", "LPUSH l 1", "BLPOP l 0", "EXEC")
    assert replies[-1] == [NULL_ARRAY, 1, [b"l", b"1"]]


def test_a_transaction_may_select_another_database() -> None:
    world = World()
    client = world.redis()
    client.ask("SELECT 1")
    client.ask("SELECT 0")
    assert client.pipeline("MULTI", "SET a 0", "SELECT 1", "SET a 1", "EXEC")[-1] == ["OK"] * 3
    assert client.ask("GET a") == b"1"
    client.ask("SELECT 0")
    assert client.ask("GET a") == b"0"


def test_a_transaction_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "QUEUED_BYTES_MAX", 100)
    client = World().redis()
    client.ask("MULTI")
    assert client.call("SET", "a", "x" * 50) == "QUEUED"
    assert isinstance(client.call("SET", "a", "x" * 50), Error)
    assert client.ask("EXEC").startswith("EXECABORT")


# -- without room


def test_short_of_memory_nothing_is_added_but_all_may_be_taken_away() -> None:
    world = World(memory_bytes_max=200_000)
    client = world.redis()
    client.call("SET", "a", "x" * 300_000)
    assert world.broker.low_on_memory
    for line in ("SET b 1", "INCR c", "APPEND a x", "MSET b 1 c 2", "SETRANGE a 5 x", "COPY a b"):
        assert client.ask(line).startswith("OOM "), line
    assert client.pipeline("MULTI", "SET b 1", "DEL nothing", "EXEC")[-1][0].startswith("OOM ")
    assert client.pipeline("EXPIRE a 100", "STRLEN a", "DEL a") == [1, 300_000, 1]
    assert client.ask("SET b 1") == "OK"


def test_on_a_full_disk_nothing_is_added_but_all_may_be_taken_away() -> None:
    world = World()
    client = world.redis()
    client.ask("SET a 1")
    world.broker.journal.measured(0, True)
    for line in ("SET b 1", "INCR c", "APPEND a x", "MSET b 1 c 2"):
        assert client.ask(line).startswith("MISCONF "), line
    assert client.pipeline("GET a", "DEL a") == [b"1", 1]


def test_what_finds_no_room_in_a_turn_waits() -> None:
    world = World()
    client, other = world.redis(), world.redis()
    journal = world.broker.journal
    journal.measured(100, False)
    client.send("SET", "a", "x" * 60)
    other.send("SET", "b", "x" * 60)
    other.send("SET", "c", 1)
    world.turn()
    assert client.hear() == ["OK"] and other.hear() == []
    assert list(journal.waiters) == [other.front]
    journal.measured(1000, False)
    other.front.unblock()
    other.front.go_on(0)
    world.turn()
    assert other.hear() == ["OK", "OK"] and not journal.waiters


def test_a_transaction_waits_as_a_whole() -> None:
    world = World()
    client, other = world.redis(), world.redis()
    journal = world.broker.journal
    client.pipeline("MULTI", "SET a 1", "LPUSH l 1")
    client.call("SET", "b", "x" * 60)
    journal.measured(100, False)
    other.send("SET", "c", "x" * 60)
    client.send("EXEC")
    world.turn()
    assert client.hear() == [] and other.hear() == ["OK"]
    assert other.ask("EXISTS a l b") == 0
    journal.measured(10_000, False)
    client.front.unblock()
    client.front.go_on(0)
    world.turn()
    assert client.hear() == [["OK", 1, "OK"]]


# -- rights


def test_rights_are_asked_for_by_key() -> None:
    world = World()
    client = world.redis()
    client.pipeline("SET read.a 1", "SET write.a 1", "LPUSH write.l 1", "LPUSH own.l 1")
    permission = Permission("^own", "^(write|own)", "^(read|own)")
    world.broker.administration.permit("guest", "/", permission)
    allowed = """GET read.a|SET write.a 2|MSET write.b 1|DEL write.a|DEL own.l|EXISTS read.b|TTL read.a|WATCH read.a
        EXPIRE write.b 10|SET own.a 1|GETDEL own.a|FLUSHDB x"""
    refused = """GET write.a|SET read.a 2|MSET write.b 1 read.a 1|DEL write.l|DEL own.l read.a
        INCR write.b|GETSET write.b 1
        TYPE other|EXPIRE read.a 10|COPY read.a read.b|RENAME write.b read.b|WATCH write.a|MGET read.a write.b|FLUSHDB
        GETEX read.a PERSIST"""
    for line in re.split("[|\n]", allowed):
        assert not str(client.ask(line)).startswith("NOPERM"), line
    for line in re.split("[|\n]", refused):
        assert str(client.ask(line)).startswith("NOPERM"), line
    assert client.pipeline("MULTI", "GET read.a", "GET write.a", "EXEC")[-1][0] == b"1"


def test_whoever_may_do_everything_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    client = world.redis()

    def refuse(*what: str) -> None:
        raise AccessRefused("asked")

    monkeypatch.setattr(type(client.front.rights), "check_write", refuse, raising=True)
    assert client.ask("SET a 1") == "OK"
    assert access.writable(client.front, b"a") is client.front.keys
