"""The torture with Redis clients: its judges find what they must; and `python -m tests.torture.redis`, shortly."""

from __future__ import annotations

from collections.abc import Iterator
from random import SystemRandom

import pytest

from tests.differential.servers import Mansio, Redis, Server, is_installed
from tests.resp_client import RespClient
from tests.torture.redis import summary
from tests.torture.redis_rounds import OPTIONS, RedisTorture
from tests.torture.redis_workers import Jobs
from tests.torture.redis_writers import FAMILIES, Lines, Spoken, Writer

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not is_installed(), reason="there is no redis-server to compare with"),
]

WITHOUT_STREAMS = {"lists": 4, "strings": 2, "keys": 1, "transactions": 1}
"""What an append-only file of Redis brings back whole; groups of streams lose some of their counters."""
JOBS = b"jobs"


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    server = Redis()
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(redis: Server) -> Iterator[RespClient]:
    client = RespClient(redis.port)
    client.ask("FLUSHALL")
    yield client
    client.close()


def torture(server: Server, rounds: int, families: dict[str, int]) -> RedisTorture:
    return RedisTorture(server, SystemRandom().randrange(1 << 32), 0.3, families)


def test_a_redis_that_syncs_passes() -> None:
    with torture(Redis(durable=True), 4, WITHOUT_STREAMS) as run:
        report = run.run(4)
    print(summary(report))
    assert not report.findings, "\n".join(report.findings)
    assert report.counts["commands answered"]


def test_a_server_that_keeps_nothing_is_found_out() -> None:
    with torture(Redis(), 5, WITHOUT_STREAMS) as run:
        report = run.run(5)
    assert any("STATE" in finding for finding in report.findings)


def test_nothing_is_lost_in_a_few_kills() -> None:
    server = Mansio(durable=True, options=OPTIONS)
    with torture(server, 6, FAMILIES) as run:
        report = run.run(6)
    assert not report.findings, "\n".join(report.findings)
    assert report.counts["commands answered"] and report.counts["pushed"]


def jobs_after(client: RespClient, pushed: list[bytes], got: list[bytes]) -> Jobs:
    """A list to which these were pushed with answers, and of which those were got."""
    jobs = Jobs("LPUSH", 0)
    jobs._sent = dict.fromkeys(pushed, True)
    jobs._take(got, {})
    for element in pushed:
        if element not in got:
            client.ask("LPUSH", JOBS, element)
    return jobs


PUSHED = [b"1-%d-" % i for i in range(5)]


def test_what_is_there_may_be_there(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, PUSHED[:2])
    assert jobs.judge(redis.port) == []
    assert jobs.judge(redis.port) == []  # the next round begins with what is left


def test_an_element_that_is_gone_is_lost(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, [])
    client.ask("RPOP", JOBS)
    (finding,) = jobs.judge(redis.port)
    assert finding.startswith("LOST: 1 elements")


def test_a_reply_that_was_cut_off_excuses_one(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, [])
    jobs._cut = 1
    client.ask("RPOP", JOBS)
    assert jobs.judge(redis.port) == []
    client.ask("RPOP", JOBS)
    assert jobs.judge(redis.port)[0].startswith("LOST")


def test_an_element_that_was_got_does_not_come_back(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, PUSHED[:1])
    client.ask("RPUSH", JOBS, PUSHED[0])
    assert jobs.judge(redis.port)[0].startswith("BACK")


def test_an_element_is_got_once(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, [PUSHED[0], PUSHED[0]])
    assert jobs.judge(redis.port)[0].startswith("TWICE")


def test_elements_stay_in_order(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, [PUSHED[1], PUSHED[0]], [])
    assert jobs.judge(redis.port)[0].startswith("ORDER")
    jobs = jobs_after(client, PUSHED, [PUSHED[1], PUSHED[0]])
    assert jobs.judge(redis.port)[0].startswith("ORDER")


def test_what_nobody_pushed_is_found(redis: Server, client: RespClient) -> None:
    jobs = jobs_after(client, PUSHED, [])
    client.ask("LPUSH", JOBS, "9-9-")
    assert jobs.judge(redis.port)[0].startswith("NOWHERE")


def test_a_state_between_what_was_answered_and_what_was_sent_is_right(
    redis: Server, client: RespClient
) -> None:
    """Two of four commands were answered; the server has done three."""
    twin = Redis()
    try:
        twin.start()
        sent = [(b"SET", b"s1", b"a"), (b"INCR", b"n"), (b"INCR", b"n"), (b"LPUSH", b"l1", b"x")]
        for done, findings in ((1, 1), (2, 0), (3, 0), (4, 0)):
            client.ask("FLUSHALL")
            RespClient(twin.port).ask("FLUSHALL")
            for args in sent[:done]:
                client.ask(*args)
            writer = Writer(0, Lines(set(), {"strings": 1}))
            writer.spoken = [Spoken(sent, [b"+OK\r\n", b":1\r\n"])]
            assert len(writer.judge(redis.port, twin.port)) == findings
    finally:
        twin.close()
