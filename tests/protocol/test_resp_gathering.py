"""Pushes of one turn that become one run, and rows of pops that are taken at once: as if each had come alone."""

import random

import pytest

from mansio.codec import amqp_methods as m
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error, RedisTalker, World, command


def sent(client: RedisTalker, *lines: str) -> None:
    client.send_bytes(b"".join(command(*line.split()) for line in lines))


def runs(world: World, name: str) -> int:
    return len(world.broker.vhosts["/"].queues[name].ready)


def test_pushes_of_several_clients_in_one_turn_are_one_run() -> None:
    world = LastingRedisWorld()
    clients = [world.redis() for _ in range(5)]
    for i, client in enumerate(clients):
        sent(client, f"LPUSH k {i}")
    world.turn()
    assert [client.hear() for client in clients] == [[1], [2], [3], [4], [5]]
    assert runs(world, "k") == 1
    assert world.restarted().redis().ask("LRANGE k 0 -1") == [b"4", b"3", b"2", b"1", b"0"]


def test_rows_of_one_client() -> None:
    client = World().redis()
    assert client.pipeline("LPUSH k a", "LPUSH k b c", "LPUSH k d", "LPUSH k d") == [1, 3, 4, 5]
    assert client.pipeline(*["RPUSH k e"] * 3) == [6, 7, 8]
    assert client.pipeline(*["LPOP k"] * 3) == [b"d", b"d", b"c"]
    assert client.pipeline(*["RPOP k"] * 7) == [b"e", b"e", b"e", b"a", b"b", None, None]
    assert client.pipeline(*["RPOP k 2"] * 2) == [NULL_ARRAY, NULL_ARRAY]
    assert client.pipeline(*["LLEN k"] * 2) == [0, 0]
    client.ask("SET k x")
    assert {type(each) for each in client.pipeline(*["LPUSH k a"] * 3)} == {Error}


def test_whoever_looks_sees_what_was_gathered() -> None:
    world = World()
    pusher, other = world.redis(), world.redis()
    pusher.ask("LPUSH k 0")
    looks = ["LLEN k", "LRANGE k 0 -1", "TYPE k", "LINDEX k 0", "RPUSH k x", "RPOP k", "LREM k 0 1"]
    for line in looks:
        pusher.pipeline("DEL k", "LPUSH k 0")
        sent(pusher, "LPUSH k 1", "LPUSH k 2")
        sent(other, line)
        sent(pusher, "LPUSH k 3")
        world.turn()
        expected = {
            "LLEN k": 3,
            "LRANGE k 0 -1": [b"2", b"1", b"0"],
            "TYPE k": "list",
            "LINDEX k 0": b"2",
            "RPUSH k x": 4,
            "RPOP k": b"0",
            "LREM k 0 1": 1,
        }
        assert other.hear() == [expected[line]], line
        last = {"RPUSH k x": 5, "RPOP k": 3, "LREM k 0 1": 3}.get(line, 4)
        assert pusher.hear() == [2, 3, last], line


def test_a_watched_list_that_is_pushed_to_has_changed() -> None:
    world = World()
    pusher, watcher = world.redis(), world.redis()
    pusher.pipeline("LPUSH k 0", "LPUSH other 0")
    watcher.pipeline("WATCH k", "MULTI", "LLEN k")
    sent(pusher, "LPUSH k 1", "LPUSH k 2")
    sent(watcher, "EXEC")
    world.turn()
    assert watcher.hear() == [NULL_ARRAY]


def test_a_queue_that_is_deleted_takes_nothing_along_with_it_that_was_pushed_elsewhere() -> None:
    world = World()
    client, amqp = world.redis(), world.client()
    client.pipeline("LPUSH k 0", "LPUSH j 0")
    sent(client, "LPUSH k 1", "LPUSH j 1", "LPUSH k 2", "LPUSH j 2")
    amqp.send(1, m.QueueDelete("k"))
    world.turn()
    assert client.hear() == [2, 2, 3, 3]
    assert client.pipeline("LLEN k", "LLEN j") == [0, 3]


def test_a_queue_with_what_was_pushed_in_this_turn_is_not_empty() -> None:
    world = World()
    client, amqp = world.redis(), world.client()
    client.pipeline("LPUSH k 0", "RPOP k", "LPUSH j 0")
    sent(client, "LPUSH k 1", "LPUSH j 1")
    amqp.send(1, m.QueueDelete("j"))
    amqp.send(1, m.QueueDelete("k", if_empty=True))
    world.turn()
    assert amqp.names() == ["queue.delete-ok", "channel.close"]
    assert client.hear() == [1, 2]
    assert client.pipeline("LLEN k", "LLEN j") == [1, 0]


@pytest.mark.parametrize("seed", range(6))
def test_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    world = LastingRedisWorld()
    model: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
    clients = [world.redis() for _ in range(3)]
    for _ in range(80):
        expected: list[list[object]] = [[], [], []]
        for _ in range(chance.randrange(12)):
            number, key = chance.randrange(3), chance.choice("abc")
            kind = chance.choice(["LPUSH", "LPUSH", "LPUSH", "RPUSH", "RPOP", "LPOP", "LLEN"])
            times = chance.choice([1, 1, 3])
            value = b"%d" % chance.randrange(10)
            values = [] if kind not in ("LPUSH", "RPUSH") else [value] * chance.choice([1, 2])
            for _ in range(times):
                found = model[key]
                if kind == "LPUSH":
                    found[:0] = values
                elif kind == "RPUSH":
                    found += values
                taken = None
                if kind in ("RPOP", "LPOP") and found:
                    taken = found.pop(-1 if kind == "RPOP" else 0)
                expected[number].append(taken if "POP" in kind else len(found))
            clients[number].send_bytes(command(kind, key, *values) * times)
        world.turn()
        assert [client.hear() for client in clients] == expected
        if chance.random() < 0.1:
            world = world.restarted()
            clients = [world.redis() for _ in range(3)]
    for key, values in model.items():
        assert clients[0].call("LRANGE", key, 0, -1) == values
