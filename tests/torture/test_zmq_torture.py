"""The torture with ZeroMQ clients: its ledger finds what it must; and `python -m tests.torture.zmq`, shortly."""

from __future__ import annotations

from random import SystemRandom

import pytest

from tests.torture.zmq import summary
from tests.torture.zmq_ledger import Held, Ledger
from tests.torture.zmq_rounds import ZmqTorture
from tests.torture.zmq_tasks import CALL, PUT, TRANSIENT, frames_of, result_of

SEEDS_MAX = 1 << 32


@pytest.mark.process
@pytest.mark.timeout(180)
def test_nothing_is_lost_in_a_few_kills() -> None:
    seed = SystemRandom().randrange(SEEDS_MAX)
    with ZmqTorture(seed, kill_s_max=0.4) as torture:
        report = torture.run(6)
    assert not report.findings, "\n".join([f"seed {seed}", *report.findings])
    assert report.starts > 6
    counts = report.counts
    print(f"seed {seed}\n{summary(report)}")
    assert counts["puts confirmed"] and counts["acks confirmed"] and counts["drains"]


@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_broker_that_keeps_nothing_is_found_out() -> None:
    with ZmqTorture(1, durable=False) as torture:
        report = torture.run(4)
    assert any("LOST" in finding for finding in report.findings)


# -- the ledger


def bodies(*names: bytes) -> list[bytes]:
    """As they are in the queue."""
    return [b"".join(frames_of(name)) for name in names]


class Queue:
    """A ledger, and what one worker says to it."""

    def __init__(self) -> None:
        self.ledger = Ledger("q")
        self.held = Held()
        self.producer = self.ledger.producer()
        self.number = 0

    def send(self, kind: bytes = PUT, confirmed: bool = True) -> bytes:
        """A task, put and confirmed unless it is a call."""
        name = self.ledger.sending(kind, self.producer, self.number)
        if confirmed and kind != CALL:
            self.ledger.put(name, [b"200", b"%d" % self.number])
        self.number += 1
        return name

    def receive(self, name: bytes, redelivered: bytes = b"0", held: Held | None = None) -> None:
        """By the worker, or another."""
        self.ledger.received(held or self.held, frames_of(name), redelivered)

    def ack(self, name: bytes) -> None:
        """And the 200."""
        self.ledger.settling(name)
        self.ledger.acked(name, b"ACK")

    def judge(self, *names: bytes) -> list[str]:
        """The first words of what is wrong, behind a restart, when these are in the queue."""
        self.ledger.restarting()
        return [finding.split(":")[0] for finding in self.ledger.judge(bodies(*names))]


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_what_is_right_is_no_finding(queue: Queue) -> None:
    ready, unsure, done, had, rejected = [queue.send() for _ in range(5)]
    queue.send(confirmed=False)
    queue.send(TRANSIENT)
    call = queue.send(CALL)
    for name in (unsure, done, had, rejected, call):
        queue.receive(name)
    queue.ledger.settling(unsure)
    queue.ack(done)
    queue.ledger.settling(rejected, reject=True)
    queue.ledger.settling(call)
    assert queue.ledger.called(call, [b"200", *result_of(call)])
    assert queue.judge(ready, had) == []
    queue.receive(ready)
    queue.receive(had, b"1")
    assert queue.judge(ready, had) == []


def test_what_was_confirmed_is_there(queue: Queue) -> None:
    queue.send()
    assert queue.judge() == ["LOST"]
    name = queue.send()
    queue.receive(name)
    assert queue.judge() == ["LOST"]


def test_what_was_not_settled_by_a_tag_that_was_unknown_is_there(queue: Queue) -> None:
    name = queue.send()
    queue.receive(name)
    epoch = queue.ledger.epoch
    queue.ledger.restarting()
    queue.ledger.settling(name)
    queue.ledger.unknown(name, epoch)
    assert queue.judge() == ["LOST"]


def test_a_tag_of_the_broker_that_runs_is_known(queue: Queue) -> None:
    name = queue.send()
    queue.receive(name)
    queue.ledger.settling(name)
    queue.ledger.unknown(name, queue.ledger.epoch)
    assert queue.judge(name) == ["UNKNOWN"]


def test_what_was_acknowledged_does_not_come_back(queue: Queue) -> None:
    name = queue.send()
    queue.receive(name)
    queue.ack(name)
    assert queue.judge(name) == ["BACK"]
    queue.receive(name, b"1")
    assert queue.judge() == ["BACK"]


def test_what_was_gone_does_not_come_back(queue: Queue) -> None:
    name = queue.send(confirmed=False)
    assert queue.judge() == []
    assert queue.judge(name) == ["BACK"]
    queue.receive(name, b"1")
    assert queue.judge() == ["BACK"]


def test_what_was_not_put_does_not_come(queue: Queue) -> None:
    assert queue.judge(b"P-9-9-") == ["NOWHERE"]
    queue.receive(b"P-9-9-")
    assert queue.judge() == ["NOWHERE"]


def test_what_a_worker_had_is_flagged(queue: Queue) -> None:
    name = queue.send()
    queue.receive(name)
    queue.ledger.released([name])
    queue.receive(name, held=Held())
    assert queue.judge(name) == ["FLAG"]


def test_what_a_worker_has_nobody_else_gets(queue: Queue) -> None:
    name = queue.send()
    queue.receive(name)
    queue.receive(name, b"1", Held())
    assert queue.judge(name) == ["TWICE"]


def test_tasks_are_there_once_and_in_order(queue: Queue) -> None:
    first, second = queue.send(), queue.send()
    assert queue.judge(second, first) == ["ORDER"]
    assert queue.judge(first, first, second) == ["TWICE", "ORDER"]
    queue.receive(second)
    queue.receive(first)
    assert queue.judge(first, second) == ["ORDER"]


def test_tasks_are_not_damaged(queue: Queue) -> None:
    name = queue.send()
    assert queue.ledger.judge([bodies(name)[0] + b"x"])[0].startswith("DAMAGED")
    queue.ledger.received(queue.held, [*frames_of(name), b""], b"0")
    assert queue.judge(name) == ["DAMAGED"]


def test_a_call_has_one_reply_and_the_right_one(queue: Queue) -> None:
    names = [queue.send(CALL) for _ in range(4)]
    for name in names[:3]:
        queue.receive(name)
    right = [b"200", *result_of(names[0])]
    queue.ledger.called(names[0], right)
    queue.ledger.called(names[0], [b"408", b"late"])
    queue.ledger.called(names[1], right)
    queue.ledger.called(names[2], [b"500", b"rejected"])
    queue.ledger.called(names[3], [b"200", *result_of(names[3])])
    assert queue.judge() == ["ANSWER", "ANSWER", "STATUS", "NOWHERE"]


def test_what_comes_out_is_what_was_in(queue: Queue) -> None:
    first, second, call = queue.send(), queue.send(), queue.send(CALL)
    there = bodies(first, second, call)
    queue.ledger.drained(there, [first, second])
    assert queue.judge(first, second) == []
    queue.ledger.drained(there, [second, first])
    assert queue.judge(first, second) == ["ORDER"]
    queue.ledger.drained(there, [first, call])
    assert queue.judge(first, second) == ["LOST"]
