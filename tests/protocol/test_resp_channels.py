"""Publish and subscribe: who hears what, who may, and who does not read."""

from mansio.admin.passwords import hash_password
from mansio.core.rights import Permission
from tests.protocol.resp_talk import Error, Pushed, RedisTalker, World, command

MIB = 1 << 20


def subscriber(world: World, *names: str, proto: int = 2) -> RedisTalker:
    client = world.redis(proto)
    client.send("SUBSCRIBE", *names)
    client.hear()
    return client


def restricted(world: World, user: str, read: str, write: str, vhost: str = "/") -> RedisTalker:
    """A client of a new user with these permissions."""
    if world.broker.users.find(user) is None:
        world.broker.administration.put_user(user, *hash_password("x"))
        world.broker.administration.permit(user, vhost, Permission("", write, read))
    client = world.redis()
    assert client.ask(f"AUTH {user} x") == "OK"
    return client


def test_each_hears_it_in_its_own_words() -> None:
    world = World()
    old, new = subscriber(world, "news"), subscriber(world, "news", proto=3)
    assert world.redis().call("PUBLISH", "news", "a\r\n") == 2
    assert old.hear() == [[b"message", b"news", b"a\r\n"]]
    heard = new.hear()
    assert heard == [[b"message", b"news", b"a\r\n"]] and isinstance(heard[0], Pushed)


def test_a_message_for_many_is_encoded_once() -> None:
    world = World()
    listeners = [subscriber(world, "news") for _ in range(20)]
    assert world.redis().call("PUBLISH", "news", "hello") == 20
    pieces = [listener.front.data_to_send() for listener in listeners]
    assert len({id(piece) for [piece] in pieces}) == 1


def test_the_same_message_in_a_row_is_said_as_often() -> None:
    world = World()
    old, new = subscriber(world, "news"), subscriber(world, "news", proto=3)
    other = world.redis()
    other.send_bytes(command("PUBLISH", "news", "a") * 5 + command("PUBLISH", "news", "b") * 2)
    assert other.hear() == [2] * 7
    expected = [[b"message", b"news", word] for word in [b"a"] * 5 + [b"b"] * 2]
    assert (old.hear(), new.hear()) == (expected, expected)


def test_in_a_row_a_message_and_what_a_pattern_makes_of_it_take_turns() -> None:
    world = World()
    client = subscriber(world, "news", proto=3)
    client.call("PSUBSCRIBE", "n*")
    other = world.redis()
    other.send_bytes(command("PUBLISH", "news", "a") * 2)
    assert other.hear() == [2, 2]
    each = [[b"message", b"news", b"a"], [b"pmessage", b"n*", b"news", b"a"]]
    assert client.hear() == each * 2


def test_in_a_row_a_client_hears_itself_before_each_reply() -> None:
    world = World()
    client = subscriber(world, "news", proto=3)
    client.send_bytes(command("PUBLISH", "news", "a") * 2)
    assert client.hear() == [[b"message", b"news", b"a"], 1] * 2


def test_large_messages_in_a_row_are_not_multiplied() -> None:
    world = World()
    client = subscriber(world, "news")
    other = world.redis()
    body = "x" * 40_000
    other.send_bytes(command("PUBLISH", "news", body) * 3)
    assert other.hear() == [1] * 3
    assert client.hear() == [[b"message", b"news", body.encode()]] * 3


def test_pushes_stay_behind_replies_that_wait_for_the_log() -> None:
    world = World()
    client = subscriber(world, "news", proto=3)
    client.send("SET", "k", "v")
    world.redis().send("PUBLISH", "news", "hello")
    world.turn(durable=False)
    assert client.hear() == []
    world.log()
    assert client.hear() == ["OK", [b"message", b"news", b"hello"]]


def test_who_is_gone_hears_nothing() -> None:
    world = World()
    client = subscriber(world, "a", "b")
    client.send("PSUBSCRIBE", "*")
    client.eof()
    other = world.redis()
    assert other.call("PUBLISH", "a", 1) == 0
    assert other.call("PUBSUB", "CHANNELS") == [] and other.call("PUBSUB", "NUMPAT") == 0


def test_channels_are_the_same_in_all_databases() -> None:
    world = World()
    client, other = subscriber(world, "news"), world.redis()
    assert other.ask("SELECT 2") == "OK"
    assert other.ask("PUBLISH news hello") == 1
    assert client.hear() == [[b"message", b"news", b"hello"]]


def test_rights_to_read_and_to_write_are_asked_for_channels() -> None:
    world = World()
    client = restricted(world, "ann", "^in[.]", "^out[.]")
    refused = "NOPERM access to channel 'x' in vhost '/' refused for user 'ann'"
    assert client.ask("SUBSCRIBE in.a x") == Error(refused)
    assert client.ask("PSUBSCRIBE *").startswith("NOPERM")
    assert client.ask("PUBLISH x 1") == Error(refused)
    assert client.ask("PUBLISH out.a 1") == 0
    assert client.front.subscriptions == 0
    assert client.ask("SUBSCRIBE in.a") == [b"subscribe", b"in.a", 1]
    assert world.redis().ask("PUBLISH in.a 1") == 1


def test_a_pattern_brings_only_what_may_be_read() -> None:
    world = World()
    client = restricted(world, "ann", "news", "")
    assert client.ask("PSUBSCRIBE [news]*")[0] == b"psubscribe"
    other = world.redis()
    assert other.ask("PUBLISH secret 1") == 0
    assert other.ask("PUBLISH news 1") == 1
    assert client.hear() == [[b"pmessage", b"[news]*", b"news", b"1"]]


def test_what_is_published_in_another_virtual_host_needs_rights_there() -> None:
    world = World()
    other = world.redis()
    other.ask("SELECT 2")
    client = restricted(world, "ann", ".*", ".*")
    client.send("SUBSCRIBE", "news")
    client.hear()
    assert other.ask("PUBLISH news 1") == 0
    world.broker.administration.permit("ann", "2", Permission("", "", "news"))
    assert other.ask("PUBLISH news 1") == 1


def test_who_does_not_read_is_let_go() -> None:
    world = World()
    client = subscriber(world, "news")
    other = world.redis()
    client.front.set_writable(False)
    for _ in range(33):
        other.call("PUBLISH", "news", "x" * MIB)
        client.front.data_to_send()
    assert client.front.closed
    assert "it does not read: 32 MiB of messages wait" in client.front.close_reason
    assert other.call("PUBLISH", "news", "x") == 0


def test_who_reads_too_slowly_for_a_minute_is_let_go() -> None:
    world = World()
    client = subscriber(world, "news")
    client.front.set_writable(False)
    world.redis().call("PUBLISH", "news", "x" * 9 * MIB)
    client.front.tick(world.now_ns)
    client.front.tick(world.now_ns + 60_000_000_000)
    assert not client.front.closed
    client.front.tick(world.now_ns + 61_000_000_000)
    assert client.front.closed


def test_who_has_read_begins_anew() -> None:
    world = World()
    client = subscriber(world, "news")
    other = world.redis()
    for _ in range(10):
        client.front.set_writable(False)
        other.call("PUBLISH", "news", "x" * 9 * MIB)
        client.raw()
        client.front.set_writable(True)
        other.call("PUBLISH", "news", "y")
    assert not client.front.closed


def test_a_transaction_may_subscribe() -> None:
    client = World().redis()
    client.send_bytes(command("MULTI") + command("SUBSCRIBE", "a") + command("PING"))
    client.world.turn()
    client.hear()
    assert client.ask("EXEC") == [[b"subscribe", b"a", 1], [b"pong", b""]]
