"""A scan returns every key that is there all the time, whatever comes and goes meanwhile."""

import random

import pytest

from mansio.core import key_scan
from mansio.core.broker import Broker
from mansio.core.draws import Draws
from mansio.core.globs import glob
from mansio.core.keyspace import Keyspace
from tests.core.play import Client, make_run


@pytest.fixture
def client() -> Client:
    broker = Broker()
    broker.now_ms = 1000
    return Client(broker)


def names(first: int, stop: int) -> list[bytes]:
    return [b"key %d" % i for i in range(first, stop)]


def scan_all(keys: Keyspace, count: int = 10) -> list[bytes]:
    found: list[bytes] = []
    cursor = -1
    while cursor:
        cursor, some = keys.scan.scan(max(cursor, 0), count, None, None)
        assert len(some) <= count and cursor < 1 << 53
        found += some
    return found


def fill(client: Client, *queues: str) -> None:
    for name in queues:
        queue = client.declare(name)
        client.broker.intake.put(make_run([1]), (queue,))


@pytest.mark.parametrize("listed", [0, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_keys_that_stay_are_returned(
    client: Client, seed: int, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_scan, "LISTED_MIN", listed)
    monkeypatch.setattr(key_scan, "LISTS_MAX", 2)
    rng = random.Random(seed)
    keys = client.broker.keyspace("/")
    stay = {name for name in names(0, 200) if rng.random() < 0.5}
    for name in names(0, 200):
        keys.put(name, b"")
    fill(client, "a", "b", "c")
    scans: list[tuple[int, set[bytes]]] = [(0, set()) for _ in range(5)]
    done = 0
    while done < 5:
        i = rng.randrange(5)
        cursor, found = scans[i]
        if cursor < 0:
            continue
        cursor, some = keys.scan.scan(cursor, rng.randint(1, 12), None, None)
        found.update(some)
        scans[i] = (cursor or -1), found
        done += not cursor
        for name in rng.sample(names(0, 400), 5):
            if name not in stay:
                if rng.random() < 0.5:
                    keys.put(name, b"")
                else:
                    keys.delete(name)
    for _, found in scans:
        assert stay | {b"a", b"b", b"c"} <= found


def test_a_quiet_scan_returns_each_key_once(client: Client) -> None:
    keys = client.broker.keyspace("/")
    for name in names(0, 2500):
        keys.put(name, b"")
    fill(client, "a", "b")
    client.declare("empty")
    assert sorted(scan_all(keys)) == sorted([*names(0, 2500), b"a", b"b"])
    assert sorted(scan_all(keys, 100_000)) == sorted(scan_all(keys))


def test_by_pattern_and_kind(client: Client) -> None:
    keys = client.broker.keyspace("/")
    for name in names(0, 20):
        keys.put(name, b"")
    fill(client, "key list")
    assert keys.scan.scan(0, 100, glob(b"*1"), "string") == (0, [b"key 1", b"key 11"])
    assert keys.scan.scan(0, 100, glob(b"key*"), "list") == (0, [b"key list"])
    assert keys.scan.matching(glob(b"*li*")) == [b"key list"]
    assert keys.scan.size() == 21


def test_what_has_expired_is_not_returned(client: Client) -> None:
    keys = client.broker.keyspace("/")
    for name in names(0, 5):
        keys.put(name, b"")
    keys.expire(b"key 2", 1500)
    client.broker.now_ms = 1501
    assert scan_all(keys) == [b"key 0", b"key 1", b"key 3", b"key 4"]
    keys.expire(b"key 3", 1600)
    client.broker.now_ms = 1601
    assert len(keys.scan.matching(None)) == 3


def test_a_cursor_that_never_was_does_no_harm(client: Client) -> None:
    keys = client.broker.keyspace("/")
    for name in names(0, 5):
        keys.put(name, b"")
    for cursor in (1, 7, 12345, (1 << 64) - 1):
        assert keys.scan.scan(cursor, 10, None, None)[0] == 0 or cursor & 1 == 0


def test_any_key_may_be_the_random_one(client: Client) -> None:
    keys = client.broker.keyspace("/")
    draws = Draws(1)
    assert keys.scan.random(draws) is None
    for name in names(0, 5):
        keys.put(name, b"")
    fill(client, "a")
    keys.expire(b"key 0", 1500)
    client.broker.now_ms = 1501
    assert {keys.scan.random(draws) for _ in range(200)} == {*names(1, 5), b"a"}
