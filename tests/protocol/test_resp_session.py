"""Commands on the connection itself, and the order of what a Redis client is told."""

import pytest

from mansio.admin.passwords import hash_password
from mansio.core.rights import EVERYTHING
from tests.protocol.resp_talk import Error, World, command


def test_ping_and_echo() -> None:
    client = World().redis()
    assert client.ask("PING") == "PONG"
    assert client.ask("ping hello") == b"hello"
    assert client.ask("Echo hello") == b"hello"
    assert client.ask("PING a b") == Error("ERR wrong number of arguments for 'ping' command")


def test_a_pipeline_is_answered_in_order() -> None:
    client = World().redis()
    assert client.pipeline("ECHO a", "PING", "NOSUCH x", "ECHO b") == [
        b"a",
        "PONG",
        Error("ERR unknown command 'NOSUCH', with args beginning with: 'x' "),
        b"b",
    ]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_commands_may_come_in_pieces(size: int) -> None:
    client = World().redis()
    data = command("ECHO", "a\r\nb") + b"PING\r\n" + command("ECHO", "")
    for at in range(0, len(data), size):
        client.send_bytes(data[at : at + size])
    client.world.turn()
    assert client.hear() == [b"a\r\nb", "PONG", b""]


def test_quit_is_answered_and_ends() -> None:
    client = World().redis()
    client.send_bytes(command("QUIT") + command("PING"))
    assert client.hear() == ["OK"]
    assert client.front.closed and not client.front.close_reason


def test_the_same_many_times_is_answered_as_often() -> None:
    client = World().redis()
    client.send_bytes(b"PING\r\n" * 1000 + command("ECHO", "a") * 3 + command("ECHO", "b"))
    client.world.turn()
    assert client.hear() == ["PONG"] * 1000 + [b"a"] * 3 + [b"b"]


def test_a_long_pipeline_lets_others_have_their_turn() -> None:
    world = World()
    first, second = world.redis(), world.redis()
    first.send_bytes(b"".join(command("ECHO", i) for i in range(2000)))
    second.send("PING")
    assert second.hear() == ["PONG"]
    assert len(first.hear()) == 512 and first.front.waiting
    world.turn()
    assert first.hear() == [b"%d" % i for i in range(512, 2000)]


def test_replies_to_a_client_that_does_not_read_are_bounded() -> None:
    client = World().redis()
    client.front.set_writable(False)
    said = 0
    for _ in range(40):
        client.send("ECHO", "x" * (1 << 20))
        client.world.turn()
        said += len(client.raw())
    assert 16 << 20 < said < 18 << 20
    assert client.front.paused
    client.front.set_writable(True)
    client.world.turn()
    assert len(client.raw()) > 0 and not client.front.paused


def test_a_fault_is_told_behind_all_replies() -> None:
    client = World().redis()
    client.send_bytes(command("PING") + b"*x\r\n")
    assert client.hear() == ["PONG", Error("ERR Protocol error: invalid multibulk length")]
    assert client.front.closed
    assert client.front.close_reason == "Protocol error: invalid multibulk length"


def test_before_a_login_there_are_narrow_limits() -> None:
    client = World().redis(loopback=False)
    assert client.ask("PING") == Error("NOAUTH Authentication required.")
    assert client.ask("NOSUCH").startswith("ERR unknown command 'NOSUCH'")
    client.send_bytes(b"*11\r\n")
    assert client.hear() == [Error("ERR Protocol error: unauthenticated multibulk length")]


def test_behind_a_login_in_the_same_packet_the_wide_limits_hold() -> None:
    world = World()
    world.broker.administration.put_user("ann", *hash_password("secret"), ["administrator"])
    world.broker.administration.permit("ann", "/", EVERYTHING)
    world.turn()
    client = world.redis(loopback=False)
    client.send_bytes(command("AUTH", "ann", "secret") + command(*["PING"] * 20))
    world.turn()
    assert client.hear() == ["OK", Error("ERR wrong number of arguments for 'ping' command")]


def test_logins() -> None:
    client = World().redis()
    assert client.ask("AUTH guest guest") == "OK"
    assert client.ask("AUTH guest") == "OK"
    wrong = Error("WRONGPASS invalid username-password pair or user is disabled.")
    assert client.ask("AUTH guest x") == wrong
    assert client.ask("AUTH x") == wrong
    assert client.ask("AUTH a b c") == Error("ERR syntax error")
    assert client.ask("ACL WHOAMI") == b"guest"


def test_a_certificate_logs_in() -> None:
    world = World()
    world.broker.administration.put_user("ann", "", "", [])
    world.broker.administration.permit("ann", "/", EVERYTHING)
    client = world.redis(loopback=False, certificate_user="ann")
    world.turn()
    assert client.pipeline("ACL WHOAMI", "LPUSH l a") == [b"ann", 1]
    assert client.pipeline("RESET", "ACL WHOAMI") == ["RESET", b"ann"]
    assert client.pipeline("SELECT 0", "HELLO 3", "RESET", "PING")[-2:] == ["RESET", "PONG"]
    for name in ("", "bob"):
        stranger = world.redis(loopback=False, certificate_user=name)
        world.turn()
        assert stranger.ask("LLEN l").startswith("NOAUTH")
        local = world.redis(certificate_user=name)
        world.turn()
        assert local.ask("ACL WHOAMI") == b"guest"
    assert world.redis(certificate_user="ann").ask("ACL WHOAMI") == b"ann"


def test_hello() -> None:
    client = World().redis()
    about = client.ask("HELLO 3 AUTH guest guest SETNAME bob")
    assert about[b"proto"] == 3 and about[b"id"] == 1 and about[b"server"] == b"redis"
    assert list(client.ask("HELLO 2"))[4:6] == [b"proto", 2]
    assert client.ask("HELLO 4") == Error("NOPROTO unsupported protocol version")
    assert client.ask("HELLO x") == Error("ERR Protocol version is not an integer or out of range")
    assert client.ask("HELLO 3 FOO") == Error("ERR Syntax error in HELLO option 'FOO'")
    assert client.ask("HELLO 3 AUTH guest x").startswith("WRONGPASS")
    assert client.front.proto == 2
    assert client.front.name == b"bob"


def test_hello_takes_what_stands_before_a_wrong_option() -> None:
    client = World().redis()
    assert client.ask("HELLO 3 SETNAME bob FOO") == Error("ERR Syntax error in HELLO option 'FOO'")
    assert (client.front.name, client.front.proto) == (b"bob", 2)
    wrong = client.call("HELLO", "3", "SETNAME", "ann", "SETNAME", "a b")
    assert wrong == Error("ERR Client names cannot contain spaces, newlines or special characters.")
    assert client.front.name == b"ann"
    assert client.ask("HELLO 3 SETNAME eve AUTH guest x").startswith("WRONGPASS")
    assert client.front.name == b"eve"
    assert client.ask("HELLO 3 AUTH guest x SETNAME joe").startswith("WRONGPASS")
    assert client.front.name == b"eve"
    stranger = World().redis(loopback=False)
    assert stranger.ask("HELLO 3 AUTH guest guest SETNAME bob FOO").startswith("WRONGPASS")
    assert stranger.ask("HELLO 3 SETNAME bob").startswith("NOAUTH")
    assert (stranger.front.name, stranger.front.known) == (b"bob", False)
    assert client.ask("HELLO 3 AUTH guest guest SETNAME tom FOO").startswith("ERR Syntax error")
    assert client.front.name == b"tom"


def test_databases_are_virtual_hosts() -> None:
    world = World()
    client = world.redis()
    assert client.ask("SELECT 16") == Error("ERR DB index is out of range")
    assert client.ask("SELECT x") == Error("ERR value is not an integer or out of range")
    assert client.ask("SELECT 3") == "OK"
    assert "3" in world.broker.vhosts
    assert client.front.session is not None and client.front.session.vhost == "3"
    world.broker.administration.put_user("bob", *hash_password("b"), [])
    other = world.redis()
    assert other.ask("AUTH bob b") == "OK"
    assert other.ask("SELECT 4").startswith(
        "ERR database 4 is virtual host '4', which there is not"
    )
    assert other.ask("SELECT 3").startswith("NOPERM access to vhost '3' refused for user 'bob'")
    world.broker.administration.permit("bob", "3", EVERYTHING)
    assert other.ask("SELECT 3") == "OK"


def test_a_client_is_one_connection_wherever_it_goes() -> None:
    world = World()
    client = world.redis()
    administration, counts = world.broker.administration, world.broker.counts
    administration.put_user("bob", *hash_password("b"), [])
    administration.permit("bob", "/", EVERYTHING)
    for line in ("SELECT 1", "SELECT 0", "AUTH bob b", "RESET", "SELECT 2", "SELECT 0"):
        client.ask(line)
    assert (counts.sessions_opened, len(world.broker.sessions)) == (1, 1)
    administration.limit_user("guest", {"max-connections": 1})
    administration.limit_vhost("/", {"max-connections": 1})
    assert client.pipeline("SELECT 1", "SELECT 0", "AUTH guest guest", "RESET")[-1] == "RESET"
    assert client.front.session is not None
    assert world.redis().ask("LLEN k").startswith("NOPERM")
    client.eof()
    world.redis()
    assert (counts.sessions_opened, len(world.broker.sessions)) == (2, 1)


def test_what_was_changed_is_told_when_it_is_durable_also_in_another_database() -> None:
    world = World()
    client = world.redis()
    client.send_bytes(command("SELECT", 3) + command("SELECT", 4) + command("PING"))
    assert client.hear() == []
    world.turn(durable=False)
    client.send_bytes(command("SELECT", 5) + command("QUIT"))
    assert client.hear() == [] and not client.front.closed
    world.log()
    assert client.hear() == []
    world.turn()
    assert client.hear() == ["OK", "OK", "PONG", "OK", "OK"]
    assert client.front.closed


def test_reset() -> None:
    client = World().redis(3)
    assert client.pipeline("SELECT 1", "SUBSCRIBE a", "RESET")[-1] == "RESET"
    front = client.front
    assert (front.proto, front.database, front.subscriptions) == (2, 0, 0)
