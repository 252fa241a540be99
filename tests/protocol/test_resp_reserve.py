"""Elements of lists that are reserved and acknowledged later."""

import pytest

from mansio.codec import amqp_methods as m
from mansio.core.rights import EVERYTHING
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error, World


def test_an_element_is_reserved_until_it_is_acknowledged() -> None:
    world = LastingRedisWorld()
    client = world.redis()
    client.ask("LPUSH k a b")
    id, body = client.ask("MANSIO.RESERVE k")
    assert body == b"a"
    assert client.ask("LRANGE k 0 -1") == [b"b"]
    assert client.call("MANSIO.ACK", id, "1-99", "nonsense", "99-1") == 1
    assert client.call("MANSIO.ACK", id) == 0
    assert world.restarted().redis().ask("LRANGE k 0 -1") == [b"b"]


def test_what_is_not_acknowledged_comes_back() -> None:
    world = LastingRedisWorld()
    client, other = world.redis(), world.redis()
    client.ask("LPUSH k a b c")
    client.ask("MANSIO.RESERVE k")
    id, _ = client.ask("MANSIO.RESERVE k")
    assert client.call("MANSIO.NACK", id, "requeue") == 1
    assert other.ask("LRANGE k 0 -1") == [b"c", b"b"]
    client.eof()
    world.turn()
    assert other.ask("LRANGE k 0 -1") == [b"c", b"b", b"a"]
    other.ask("MANSIO.RESERVE k")
    assert world.restarted().redis().ask("LLEN k") == 3


def test_ids_hold_on_other_connections_of_the_same_database() -> None:
    world = World()
    client, other, stranger = world.redis(), world.redis(), world.redis()
    world.broker.administration.put_vhost("1")
    world.broker.administration.permit("guest", "1", EVERYTHING)
    assert stranger.ask("SELECT 1") == "OK"
    client.ask("LPUSH k a")
    id, _ = client.ask("MANSIO.RESERVE k")
    assert stranger.call("MANSIO.ACK", id) == 0
    assert other.call("MANSIO.ACK", id) == 1


def test_it_waits() -> None:
    world = World()
    client = world.redis()
    assert client.ask("MANSIO.RESERVE k") is NULL_ARRAY
    client.send("MANSIO.RESERVE", "k", 1)
    world.pass_ms(1000)
    assert client.hear() == [NULL_ARRAY]
    client.send("MANSIO.RESERVE", "k", 0)
    world.turn()
    assert world.redis().ask("LPUSH k a") == 1
    ((id, body),) = client.hear()
    assert body == b"a"
    assert client.call("MANSIO.NACK", id) == 1
    assert client.ask("LLEN k") == 1


def test_refused_ones_are_dead_lettered() -> None:
    world = World()
    amqp = world.client()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    amqp.call(1, m.QueueDeclare("k", durable=True, arguments=arguments), m.QueueDeclare("dead"))
    client = world.redis()
    client.ask("LPUSH k a b")
    first, _ = client.ask("MANSIO.RESERVE k")
    second, _ = client.ask("MANSIO.RESERVE k")
    assert client.call("MANSIO.NACK", first, "REJECT", second) == 2
    assert client.ask("LRANGE dead 0 -1") == [b"a"]
    assert client.ask("LRANGE k 0 -1") == [b"b"]


def test_the_timeout_may_be_extended() -> None:
    world = World()
    arguments = {"x-consumer-timeout": 1000}
    world.client().call(1, m.QueueDeclare("k", durable=True, arguments=arguments))
    client = world.redis()
    client.ask("LPUSH k a b")
    slow, _ = client.ask("MANSIO.RESERVE k")
    client.ask("MANSIO.RESERVE k")
    assert client.call("MANSIO.EXTEND", slow, 5) == 1
    world.pass_ms(3000)
    assert client.ask("LRANGE k 0 -1") == [b"b"]
    world.pass_ms(3000)
    assert client.ask("LRANGE k 0 -1") == [b"b", b"a"]
    assert client.call("MANSIO.EXTEND", slow, 5) == 0
    assert client.call("MANSIO.ACK", slow) == 0


@pytest.mark.parametrize(
    "line", ["MANSIO.RESERVE k 1 2", "MANSIO.NACK REQUEUE", "MANSIO.EXTEND 1-1 x", "MANSIO.ACK"]
)
def test_what_is_refused(line: str) -> None:
    assert isinstance(World().redis().ask(line), Error)


def test_kinds() -> None:
    client = World().redis()
    client.pipeline("SET s x", "XADD x * f v")
    for key in ("s", "x"):
        for line in (
            "MANSIO.RESERVE {}",
            "LPUSH {} v",
            "RPOP {}",
            "LLEN {}",
            "BLPOP {} 0",
            "LSET {} 0 x",
        ):
            assert client.ask(line.format(key)).startswith("WRONGTYPE"), line
