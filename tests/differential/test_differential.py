"""The short form of the differential test; `make differential` is the long one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.differential.cli import Outcome, Plan, compare
from tests.differential.met_before import scenarios
from tests.differential.runner import Plant, Runner
from tests.differential.servers import Mansio, Redis, Server, is_installed
from tests.differential.side import Side
from tests.differential.steps import Arg
from tests.resp_client import RespClient

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not is_installed(), reason="there is no redis-server to compare with"),
]

COMMANDS = 20_000


def started(server: Server) -> Iterator[Server]:
    """The server, until its last test is over."""
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    yield from started(Redis())


@pytest.fixture(scope="module")
def second_redis() -> Iterator[Server]:
    yield from started(Redis())


@pytest.fixture(scope="module")
def mansio() -> Iterator[Server]:
    yield from started(Mansio())


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    yield from started(Mansio(durable=True))


def expect_same(outcome: Outcome) -> None:
    assert not outcome.findings, "\n".join(outcome.findings)
    assert outcome.commands >= 1_000


def test_redis_and_redis_are_the_same(redis: Server, second_redis: Server) -> None:
    outcome = compare(Plan(seed=2, commands=COMMANDS), redis, second_redis)
    expect_same(outcome)
    assert outcome.missing == []


@pytest.mark.parametrize(("protocol", "seed"), [(2, 1), (3, 7)])
def test_redis_and_mansio_are_the_same(
    redis: Server, mansio: Server, protocol: int, seed: int
) -> None:
    """The same commands each time: a difference comes from the change at hand, and not from the dice."""
    outcome = compare(Plan(seed, COMMANDS, protocols=(protocol,)), redis, mansio)
    expect_same(outcome)
    assert outcome.missing == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_was_met_before(redis: Server, mansio: Server, protocol: int) -> None:
    sides = Side("redis", redis.port), Side("mansio", mansio.port)
    runner = Runner(*sides)
    found = [runner.run(scenario) for scenario in scenarios(protocol)]
    for side in sides:
        side.end()
        side.close()
    assert not any(found), "\n".join(map(str, filter(None, found)))


def test_mansio_keeps_what_it_has_said(redis: Server, durable: Server) -> None:
    """It is killed behind each scenario, and compared again."""
    expect_same(compare(Plan(1, 3_000, durable=True), redis, durable))


def one_too_many(args: Sequence[Arg], raw: bytes) -> bytes:
    """LLEN of long lists."""
    return b":99\r\n" if args[0] == b"LLEN" and raw in (b":4\r\n", b":5\r\n") else raw


def bulk_for_simple(args: Sequence[Arg], raw: bytes) -> bytes:
    return b"$4\r\nlist\r\n" if raw == b"+list\r\n" else raw


def nothing_for_null(args: Sequence[Arg], raw: bytes) -> bytes:
    return b"*0\r\n" if args[0] == b"LPOS" and raw in (b"_\r\n", b"$-1\r\n") else raw


def another_text(args: Sequence[Arg], raw: bytes) -> bytes:
    return raw.replace(b"syntax error", b"Syntax error") if args[0] == b"SET" else raw


def late_expiry(args: Sequence[Arg], raw: bytes) -> bytes:
    if args[0] != b"TTL" or not raw.startswith(b":") or int(raw[1:]) < 0:
        return raw
    return b":%d\r\n" % (int(raw[1:]) + 60)


def wrong_counter(args: Sequence[Arg], raw: bytes) -> bytes:
    return raw.replace(b":1\r\n", b":2\r\n") if args[0] == b"XPENDING" else raw


def served_other(args: Sequence[Arg], raw: bytes) -> bytes:
    """A client that waited is told of another list."""
    return raw.replace(b"l1", b"l2") if args[0] == b"BLPOP" else raw


PLANTED = (
    one_too_many,
    bulk_for_simple,
    nothing_for_null,
    another_text,
    late_expiry,
    wrong_counter,
    served_other,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_wrong_reply_is_found(redis: Server, second_redis: Server, plant: Plant) -> None:
    plan = Plan(seed=3, commands=200_000)
    outcome = compare(plan, redis, second_redis, plant)
    (finding,) = outcome.findings
    assert len(finding.splitlines()) < 16, f"it was not shrunk:\n{finding}"
    assert "it did not come again" not in finding


def test_a_lost_write_is_found(redis: Server, second_redis: Server) -> None:
    """What no reply tells is seen when everything is looked at."""

    class Forgetful:
        """Drops a key of the second server when the first reply of RPUSH comes."""

        done = False

        def __call__(self, args: Sequence[Arg], raw: bytes) -> bytes:
            if args[0] == b"RPUSH" and raw == b":3\r\n" and not self.done:
                client = RespClient(second_redis.port)
                client.ask("SET", "planted", "x")
                client.close()
                self.done = True
            return raw

    outcome = compare(
        Plan(seed=4, commands=5_000, families=("lists",)), redis, second_redis, Forgetful()
    )
    assert outcome.findings and "planted" in outcome.findings[0]
