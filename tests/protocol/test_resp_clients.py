"""CLIENT, MONITOR, INFO and CONFIG where clients concern each other."""

import re

import pytest

from mansio.admin.passwords import hash_password
from mansio.core.rights import EVERYTHING
from tests.protocol.resp_talk import NULL_ARRAY, Error, RedisTalker, Text, World, command


def ann(world: World) -> RedisTalker:
    """A client of a user who is no administrator."""
    if world.broker.users.find("ann") is None:
        world.broker.administration.put_user("ann", *hash_password("x"))
        world.broker.administration.permit("ann", "/", EVERYTHING)
    client = world.redis()
    assert client.ask("AUTH ann x") == "OK"
    return client


def names(listing: bytes) -> list[bytes]:
    return re.findall(rb" name=(\S*)", listing)


def test_clients_are_listed() -> None:
    world = World()
    first, second = world.redis(), world.redis(3)
    first.ask("CLIENT SETNAME first")
    second.ask("CLIENT SETINFO LIB-NAME some-lib")
    second.ask("CLIENT SETINFO LIB-VER 1.2")
    world.now_ns += 5_000_000_000
    listing = first.ask("CLIENT LIST")
    assert names(listing) == [b"first", b""]
    line = listing.splitlines()[1]
    assert line.startswith(b"id=2 addr=127.0.0.1:2 laddr=127.0.0.1:6379 ")
    assert (
        b" age=5 idle=5 flags=N db=0 " in line and b" resp=3 lib-name=some-lib lib-ver=1.2" in line
    )
    assert b" cmd=client|setinfo user=guest " in line
    assert names(first.ask("CLIENT LIST ID 2 1")) == [b"", b"first"]
    assert isinstance(second.ask("CLIENT INFO"), Text)
    second.ask("SUBSCRIBE x")
    assert first.ask("CLIENT LIST TYPE pubsub").startswith(b"id=2 ")
    assert first.ask("CLIENT LIST TYPE normal").startswith(b"id=1 ")


def test_others_are_shown_to_administrators_only() -> None:
    world = World()
    world.redis().ask("CLIENT SETNAME boss")
    client = ann(world)
    client.ask("CLIENT SETNAME me")
    assert names(client.ask("CLIENT LIST")) == [b"me"]
    assert client.ask("CLIENT LIST ID 1") == b""
    for line in ("CLIENT KILL ID 1", "CLIENT UNBLOCK 1", "CLIENT PAUSE 1", "MONITOR"):
        assert client.ask(line).startswith("NOPERM this user has no permissions to run the '")
    assert client.ask("CONFIG SET timeout 1").startswith("NOPERM")


@pytest.mark.parametrize(
    "how", ["ID 2", "ADDR 127.0.0.1:2", "TYPE normal", "USER guest", "127.0.0.1:2"]
)
def test_clients_are_killed(how: str) -> None:
    world = World()
    first, second = world.redis(), world.redis()
    assert first.ask(f"CLIENT KILL {how}") == ("OK" if how == "127.0.0.1:2" else 1)
    assert second.front.closed and not first.front.closed
    assert second.front.close_reason == "it was ended by CLIENT KILL"


def test_a_client_kills_itself() -> None:
    client = World().redis()
    assert client.ask("CLIENT KILL ID 1") == 0
    assert client.ask("CLIENT KILL ID 1 SKIPME no") == 1
    assert client.front.closed


def test_clients_that_wait_are_unblocked() -> None:
    world = World()
    first, second = world.redis(), world.redis()
    assert first.ask("CLIENT UNBLOCK 2") == 0
    second.send_bytes(command("BLPOP", "q", 0) + command("PING"))
    assert b" flags=b " in first.ask("CLIENT LIST ID 2")
    assert first.ask("CLIENT UNBLOCK 2") == 1
    world.turn()
    assert second.hear() == [NULL_ARRAY, "PONG"]
    second.send("BLPOP", "q", 0)
    assert first.ask("CLIENT UNBLOCK 2 ERROR") == 1
    assert second.hear() == [Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    assert first.ask("CLIENT UNBLOCK 2") == 0
    assert first.ask("LPUSH q a") == 1


def test_writers_are_paused() -> None:
    world = World()
    first, second = world.redis(), world.redis()
    assert first.ask("CLIENT PAUSE 100 WRITE") == "OK"
    assert second.ask("GET k") is None
    second.send_bytes(command("SET", "k", "v") + command("PING"))
    world.turn()
    assert second.hear() == []
    world.pass_ms(99)
    assert second.hear() == []
    world.pass_ms(1)
    assert second.hear() == ["OK", "PONG"]


def test_all_are_paused_until_an_administrator_ends_it() -> None:
    world = World()
    first, second = world.redis(), world.redis()
    assert first.pipeline("CLIENT PAUSE 100000", "PING") == ["OK"]
    second.send("PING")
    world.pass_ms(100_000)
    assert second.hear() == ["PONG"] and first.hear() == ["PONG"]
    first.ask("CLIENT PAUSE 100000 WRITE")
    second.send("SET", "k", "v")
    assert first.ask("CLIENT UNPAUSE") == "OK"
    world.turn()
    assert second.hear() == ["OK"]


def test_monitors_see_what_others_do() -> None:
    world = World()
    monitor, client = world.redis(), world.redis()
    assert monitor.ask("MONITOR") == "OK"
    client.ask("SELECT 1")
    client.send("SET", 'a"\x01', "b\\\n")
    client.pipeline("MULTI", "PING", "EXEC")
    client.send("AUTH", "guest", "guest")
    client.send("HELLO", 2, "AUTH", "guest", "guest")
    client.send_bytes(b"PING\r\n" * 2)
    client.pipeline("CONFIG GET save", "CLIENT LIST", "NOSUCH", "GET")
    heard = [re.sub(r"^\d{10}[.]\d{6} ", "", line) for line in monitor.hear()]
    where = "[1 127.0.0.1:2]"
    assert heard == [
        f'{where} "SELECT" "1"',
        where + r' "SET" "a\"\x01" "b\\\n"',
        f'{where} "MULTI"',
        f'{where} "PING"',
        f'{where} "EXEC"',
        f'{where} "AUTH" "(redacted)" "(redacted)"',
        f'{where} "HELLO" "2" "AUTH" "(redacted)" "(redacted)"',
        f'{where} "PING"',
        f'{where} "PING"',
    ]
    assert monitor.ask("RESET") == "RESET"
    client.ask("PING")
    assert monitor.hear() == []
    assert not world.broker.redis.watching


def test_info() -> None:
    world = World()
    client = world.redis()
    client.ask("SET k v")
    text = client.ask("INFO").decode()
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert facts["redis_version"] == "7.2.4" and facts["redis_mode"] == "standalone"
    assert facts["mansio_version"] and facts["role"] == "master" and facts["loading"] == "0"
    assert facts["maxmemory_policy"] == "noeviction" and facts["connected_clients"] == "1"
    assert facts["db0"] == "keys=1,expires=0,avg_ttl=0"
    assert facts["total_commands_processed"] == "1"
    assert [line for line in text.splitlines() if line.startswith("#")][:2] == [
        "# Server",
        "# Clients",
    ]
    assert client.ask("INFO keyspace").startswith(b"# Keyspace\r\ndb0:")
    assert client.ask("INFO server clients").count(b"# ") == 2
    assert isinstance(world.redis(3).ask("INFO cluster"), Text)


def test_the_table_of_commands() -> None:
    client = World().redis(3)
    listed = client.ask("COMMAND")
    assert len(listed) == client.ask("COMMAND COUNT") == len(client.ask("COMMAND LIST"))
    assert client.ask("COMMAND INFO get")[0][:6] == [b"get", 2, ["readonly"], 1, 1, 1]
    assert client.ask("COMMAND INFO client|list nosuch")[0][0] == b"client|list"
    assert b"summary" in client.ask("COMMAND DOCS ping")[b"ping"]
    assert client.ask("COMMAND GETKEYS MSET a 1 b 2") == [b"a", b"b"]
    assert client.ask("COMMAND GETKEYS BLMPOP 0 2 a b LEFT") == [b"a", b"b"]


def test_settings_are_told_again() -> None:
    client = World().redis(3)
    assert client.ask("CONFIG SET slowlog-max-len 5 Timeout 9") == "OK"
    assert client.ask("CONFIG GET slowlog-max-len timeout") == {
        b"slowlog-max-len": b"5",
        b"timeout": b"9",
    }
    assert client.ask("CONFIG SET appendonly no").endswith("can't set immutable config")
    assert client.ask("CONFIG SET appendonly yes") == "OK"
