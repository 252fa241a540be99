"""The simulated log: each fault does what it says, one seed gives one history, and a
GroupCommit on it neither loses nor doubles what it called durable."""

from __future__ import annotations

from random import Random

import pytest

from mansio.log.base import Fenced, Full, LogError, Unavailable
from mansio.log.group_commit import GroupCommit
from mansio.log.memory import MemoryStore
from tests.log.conformance import entry
from tests.log.faulty import NO_FAULTS, ROUGH, Committer, Faults, FaultyLog

NEVER = 10**12


def make(faults: Faults, seed: int = 1) -> FaultyLog:
    log = FaultyLog(Random(seed), MemoryStore(), faults)
    assert log.open(1, 7) == 1
    return log


def stored(store: MemoryStore) -> list[bytes]:
    return [record for _, found in store.replay(1) for record in found.records]


def test_append_takes_virtual_time() -> None:
    log = make(Faults(append_ns=(500, 500)))
    log.start_append(entry(1, b"a"), 1, now_ns=1000)
    log.start_append(entry(2, b"b"), 2, now_ns=1200)
    assert log.next_ns() == 1500
    assert log.advance(1499) == []
    assert stored(log.store) == []
    assert log.advance(1500) == [2]
    assert log.advance(NEVER) == [3]
    assert log.next_ns() is None
    assert stored(log.store) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("faults", "error", "at_once", "later"),
    [
        (Faults(landed=1), Unavailable, [b"a"], [b"a"]),
        (Faults(lost=1), Unavailable, [], []),
        (Faults(late=1), Unavailable, [], [b"a"]),
        (Faults(full=1), Full, [], []),
    ],
)
def test_faults(
    faults: Faults, error: type[LogError], at_once: list[bytes], later: list[bytes]
) -> None:
    log = make(faults)
    log.start_append(entry(1, b"a"), 1, now_ns=0)
    due_ns = log.next_ns()
    assert due_ns is not None
    results = log.advance(due_ns)
    assert [type(result) for result in results] == [error]
    assert stored(log.store) == at_once
    assert log.advance(NEVER) == []
    assert stored(log.store) == later


def test_full_lasts_for_a_while() -> None:
    log = make(Faults(full=1, full_ns=(5000, 5000), append_ns=(1, 1)))
    log.start_append(entry(1, b"a"), 1, now_ns=0)
    log._faults = NO_FAULTS
    log.start_append(entry(1, b"a"), 1, now_ns=4999)
    log.start_append(entry(1, b"a"), 1, now_ns=5000)
    results = log.advance(NEVER)
    assert [type(result) for result in results] == [Full, Full, int]


def test_stale_owner_is_fenced_when_its_append_arrives() -> None:
    log = make(NO_FAULTS)
    log.start_append(entry(1, b"a"), 1, now_ns=0)
    FaultyLog(Random(1), log.store).open(2, 8)
    assert [type(result) for result in log.advance(NEVER)] == [Fenced]
    assert stored(log.store) == []


def test_tail_may_be_unreadable() -> None:
    with pytest.raises(Unavailable):
        make(Faults(unreadable=1)).tail()
    bounds, last_entry = make(NO_FAULTS).tail()
    assert bounds == (1, 1, 1)
    assert last_entry is not None


def test_crash_keeps_a_prefix() -> None:
    seen = set()
    for seed in range(50):
        log = make(NO_FAULTS, seed)
        for at in (1, 2, 3):
            log.start_append(entry(at, b"%d" % at), at, now_ns=0)
        log.crash()
        assert log.next_ns() is None
        kept = stored(log.store)
        assert kept == [b"1", b"2", b"3"][: len(kept)]
        seen.add(len(kept))
    assert seen == {0, 1, 2, 3}


class Owner:
    """A broker's share of the simulation: it writes numbered records and confirms tickets."""

    def __init__(self, rng: Random, store: MemoryStore, epoch: int, confirmed: list[bytes]) -> None:
        log = FaultyLog(rng, store, ROUGH)
        self.commit = GroupCommit(epoch, epoch, log.open(epoch, epoch), group_bytes_max=200)
        self.committer = Committer(self.commit, log)
        self.confirmed = confirmed
        self.turns: dict[int, list[bytes]] = {}
        self.durable = 0

    def add(self, records: list[bytes]) -> None:
        self.turns[self.commit.add(records)] = records

    def step(self, now_ns: int) -> None:
        durable = self.committer.step(now_ns)
        for ticket in range(self.durable + 1, durable + 1):
            self.confirmed += self.turns[ticket]
        self.durable = durable


def simulate(seed: int) -> tuple[list[str], dict[str, int]]:
    """Owners write; some crash, some live on as rivals of the next one. All from one seed.

    Returns what happened, and how often each kind of thing did.
    """
    rng = Random(seed)
    store = MemoryStore()
    now_ns, number = 0, 0
    confirmed: list[bytes] = []
    happened: list[str] = []
    counts = {"confirmed": 0, "fenced rivals": 0, "crashes": 0}
    rival: Owner | None = None
    for epoch in range(1, 7):
        owner = Owner(rng, store, epoch, confirmed)
        for _ in range(rng.randint(20, 80)):
            for writer in [owner] if rival is None else [rival, owner]:
                records = [b"%d" % (number + n) for n in range(rng.randint(1, 5))]
                number += len(records)
                writer.add(records)
                writer.step(now_ns)
            next_ns = owner.committer.next_ns()
            now_ns = max(now_ns, next_ns or 0) if rng.random() < 0.5 else now_ns + 50_000
            commit = owner.commit
            happened.append(f"{now_ns} {commit.state.name} {commit.durable} {commit.last_seq}")
        assert owner.commit.fatal is None, "the owner of the highest epoch is never fenced"
        counts["fenced rivals"] += rival is not None and rival.commit.fatal is not None
        rival = None
        if rng.random() < 0.5:
            rival = owner
        else:
            owner.committer.log.crash()
            counts["crashes"] += 1
        kept = stored(store)
        assert len(set(kept)) == len(kept), "twice in the log"
        assert set(confirmed) <= set(kept), "confirmed, but not in the log"
        assert len(set(confirmed)) == len(confirmed), "confirmed twice"
    counts["confirmed"] = len(confirmed)
    return happened, counts


def test_nothing_is_lost_or_doubled_through_crashes_and_rivals() -> None:
    total: dict[str, int] = {}
    for seed in range(40):
        _, counts = simulate(seed)
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    assert total["confirmed"] > 1000
    assert min(total.values()) > 10, f"the seeds exercise too little: {total}"


def test_one_seed_gives_one_history() -> None:
    assert simulate(3) == simulate(3)
    assert simulate(3) != simulate(4)


def test_committer_gets_everything_through_a_rough_log() -> None:
    for seed in range(30):
        log = make(ROUGH, seed)
        commit = GroupCommit(1, 7, 1, group_bytes_max=100)
        committer = Committer(commit, log)
        records = [b"%d" % number for number in range(50)]
        now_ns = 0
        for record in records:
            commit.add([record])
            committer.step(now_ns)
            now_ns += 100_000
        while not commit.idle:
            next_ns = committer.next_ns()
            assert next_ns is not None, "stuck"
            committer.step(now_ns := max(now_ns, next_ns))
        assert commit.durable == 50
        assert stored(log.store) == records
