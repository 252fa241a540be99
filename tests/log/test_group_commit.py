"""GroupCommit: every (state, event) pair, and its promises under random events."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.log import commit_states
from mansio.log.base import Damaged, Fenced, Full, LogError, Missing, Unavailable
from mansio.log.commit_states import NEXT, Event, State, WrongEvent
from mansio.log.entry import decode_entry, encode_fence, entry_id
from mansio.log.group_commit import GroupCommit, Placed

EPOCH, NONCE, FENCE_SEQ = 3, 9, 10
RIVAL = encode_fence(EPOCH + 1, 1, 0)


def fresh(group_bytes_max: int = 1000) -> GroupCommit:
    return GroupCommit(EPOCH, NONCE, FENCE_SEQ, group_bytes_max)


def take(commit: GroupCommit) -> bytes:
    taken = commit.take()
    assert taken is not None
    entry, expected_seq = taken
    assert expected_seq == commit.last_seq == decode_entry(entry).prev_seq
    return entry


def placed_of(commit: GroupCommit) -> list[Placed]:
    return [placed for landed in commit.take_landed() for placed in landed.placed]


def records(entry: bytes) -> list[bytes]:
    return decode_entry(entry).records


def in_state(state: State) -> tuple[GroupCommit, bytes]:
    """A machine in this state with ticket 1 in its entry, and the entry, if there is one."""
    commit = fresh()
    commit.add([b"one"])
    if state is State.OPEN:
        return commit, b""
    entry = take(commit)
    if state in (State.UNKNOWN, State.RESEND):
        commit.failed(Unavailable())
    if state is State.RESEND:
        commit.tail_read(FENCE_SEQ, None)
    elif state is State.BLOCKED:
        commit.failed(Full())
    elif state is State.FATAL:
        commit.failed(Fenced())
    assert commit.state is state
    return commit, entry


EVENTS: dict[Event, Callable[[GroupCommit, bytes], object]] = {
    Event.ADD: lambda commit, entry: commit.add([b"two"]),
    Event.TAKE: lambda commit, entry: commit.take(),
    Event.APPENDED: lambda commit, entry: commit.appended(FENCE_SEQ + 1),
    Event.UNAVAILABLE: lambda commit, entry: commit.failed(Unavailable()),
    Event.FULL: lambda commit, entry: commit.failed(Full()),
    Event.REFUSED: lambda commit, entry: commit.failed(Fenced()),
    Event.LANDED: lambda commit, entry: commit.tail_read(FENCE_SEQ + 1, entry),
    Event.ABSENT: lambda commit, entry: commit.tail_read(FENCE_SEQ, None),
    Event.FOREIGN: lambda commit, entry: commit.tail_read(FENCE_SEQ + 1, RIVAL),
    Event.RETRY: lambda commit, entry: commit.retry(),
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair(state: State, event: Event) -> None:
    commit, entry = in_state(state)
    if event is Event.LANDED and not entry:
        entry = RIVAL  # nothing can have landed; it must be refused whatever was read
    expected = NEXT[state].get(event)
    if expected is not None:
        EVENTS[event](commit, entry)
        assert commit.state is expected
    elif event is Event.TAKE:
        assert commit.take() is None
        assert commit.state is state
    else:
        before = (commit.durable, commit.last_seq, commit.pending_bytes, commit.fatal)
        with pytest.raises(WrongEvent, match=state.name):
            EVENTS[event](commit, entry)
        assert commit.state is state
        assert (commit.durable, commit.last_seq, commit.pending_bytes, commit.fatal) == before


def test_drawn_table_is_the_table() -> None:
    rows = re.findall(r"^\| (.*) \|$", commit_states.__doc__ or "", re.MULTILINE)
    header, *body = [[cell.strip() for cell in row.split("|")] for row in rows]
    drawn = {
        State[row[0]]: {
            Event[name]: State[cell]
            for name, cell in zip(header[1:], row[1:], strict=True)
            if cell != "-"
        }
        for row in body
    }
    assert header[1:] == [event.name for event in Event]
    assert drawn == NEXT


def test_turns_gather_while_an_append_is_in_flight() -> None:
    commit = fresh()
    assert commit.take() is None
    assert commit.add([b"a", (b"b", b"c")]) == 1
    first = take(commit)
    assert records(first) == [b"a", b"bc"]
    assert (commit.add([b"d"]), commit.add([b"e"])) == (2, 3)
    assert commit.take() is None
    assert commit.appended(FENCE_SEQ + 1) == 1
    assert not commit.idle
    second = take(commit)
    assert records(second) == [b"d", b"e"]
    assert commit.appended(FENCE_SEQ + 4) == 3, "the seqs of stale entries may be skipped"
    assert (commit.idle, commit.last_seq) == (True, FENCE_SEQ + 4)
    entry = decode_entry(second)
    assert (entry.epoch, entry.nonce, entry.prev_seq) == (EPOCH, NONCE, FENCE_SEQ + 1)


def test_unknown_outcome_that_landed() -> None:
    commit, entry = in_state(State.UNKNOWN)
    commit.add([b"two"])
    assert commit.unknown
    assert commit.take() is None
    assert commit.failed(Unavailable()) is State.UNKNOWN
    assert commit.durable == 0, "nothing is confirmed before the tail has been read"
    assert commit.tail_read(FENCE_SEQ + 1, entry) == 1
    assert records(take(commit)) == [b"two"]


def test_unknown_outcome_that_did_not_land() -> None:
    commit, entry = in_state(State.UNKNOWN)
    commit.add([b"two"])
    assert commit.tail_read(FENCE_SEQ, None) == 0
    assert take(commit) == entry, "the same bytes, so that a late first attempt does no harm"
    assert commit.appended(FENCE_SEQ + 1) == 1


def test_foreign_tail_is_fatal() -> None:
    commit, _ = in_state(State.UNKNOWN)
    commit.tail_read(FENCE_SEQ + 1, RIVAL)
    assert isinstance(commit.fatal, Fenced)
    assert commit.take_failed() == [1]


def test_shrunken_log_is_fatal() -> None:
    commit, entry = in_state(State.UNKNOWN)
    assert commit.tail_read(FENCE_SEQ - 1, entry) == 0
    assert isinstance(commit.fatal, Damaged)


def test_tail_without_its_entry_is_a_mistake_of_the_driver() -> None:
    commit, _ = in_state(State.UNKNOWN)
    with pytest.raises(ValueError, match="needed"):
        commit.tail_read(FENCE_SEQ + 1, None)
    assert commit.unknown


def test_full_keeps_the_entry() -> None:
    commit, entry = in_state(State.BLOCKED)
    commit.add([b"two"])
    assert commit.blocked
    assert commit.take() is None
    commit.retry()
    assert take(commit) == entry
    assert commit.failed(Full()) is State.BLOCKED
    assert commit.fatal is None


@pytest.mark.parametrize(
    "error", [Fenced(), Damaged("x"), Missing(), LogError(), OSError("an engine's mistake")]
)
def test_everything_else_is_fatal(error: Exception) -> None:
    commit = fresh()
    commit.add([b"durable"])
    take(commit)
    commit.appended(FENCE_SEQ + 1)
    commit.add([b"in flight"])
    take(commit)
    commit.add([b"pending"])
    assert commit.take_failed() == []
    assert commit.failed(error) is State.FATAL
    assert commit.fatal is error
    assert commit.pending_bytes == 0
    assert commit.take_failed() == [2, 3]
    assert commit.take_failed() == []
    assert commit.add([b"too late"]) == 4
    assert commit.take() is None
    assert commit.take_failed() == [4]
    assert commit.durable == 1


def test_impossible_calls() -> None:
    commit = fresh()
    with pytest.raises(ValueError, match="needs a record"):
        commit.add([])
    commit.add([b"a"])
    take(commit)
    with pytest.raises(ValueError, match="behind"):
        commit.appended(FENCE_SEQ)
    assert commit.appended(FENCE_SEQ + 1) == 1


def test_groups_are_cut_between_turns() -> None:
    commit = fresh(group_bytes_max=200)
    commit.add([b"a" * 50, b"b" * 50])
    commit.add([b"c" * 53])  # 40 + 2 * (4 + 50) + (4 + 48) would be 200
    commit.add([b"d" * 300, b"d" * 200])
    commit.add([b"e"])
    commit.add([b"f"])
    taken: list[tuple[int, list[bytes]]] = []
    while not commit.idle:
        entry = take(commit)
        taken.append((commit.appended(commit.last_seq + 1), records(entry)))
    assert taken == [
        (1, [b"a" * 50, b"b" * 50]),
        (2, [b"c" * 53]),
        (3, [b"d" * 300, b"d" * 200]),
        (5, [b"e", b"f"]),
    ], "a turn is in one entry, however large"
    assert commit.pending_bytes == 0


@pytest.mark.parametrize(("spare", "count"), [(0, 3), (1, 2)])
def test_an_entry_is_filled_to_the_last_byte(spare: int, count: int) -> None:
    commit = fresh(group_bytes_max=200)
    commit.add([b"a" * 50, b"b" * 50])
    commit.add([b"c" * (48 + spare)])
    entry = take(commit)
    assert len(records(entry)) == count
    assert len(entry) == (200 if count == 3 else 148)


def test_only_a_turn_that_no_entry_can_hold_is_cut() -> None:
    """Its ticket is durable with its last record."""
    commit = GroupCommit(EPOCH, NONCE, FENCE_SEQ, 100, entry_bytes_max=100)
    for turn in range(2):
        commit.add([b"%d" % n * 40 for n in range(3)], [(0, turn), (2, turn + 10)])
    for durable in (0, 0, 1, 1, 1, 2):
        assert len(records(take(commit))) == 1
        assert commit.appended(commit.last_seq + 1) == durable
    assert [(each.owner, each.seq - FENCE_SEQ, each.size) for each in placed_of(commit)] == [
        (0, 1, 40),
        (10, 3, 40),
        (1, 4, 40),
        (11, 6, 40),
    ]


def test_a_turn_is_cut_where_it_says() -> None:
    commit = GroupCommit(EPOCH, NONCE, FENCE_SEQ, 100, entry_bytes_max=1000)
    turn = [b"%d" % n * 40 for n in range(6)]
    ticket = commit.add(turn, [(0, "a"), (3, "b"), (5, "c")], [2, 5])
    for taken, durable in ((turn[:2], 0), (turn[2:5], 0), (turn[5:], ticket)):
        assert records(take(commit)) == taken
        assert commit.appended(commit.last_seq + 1) == durable
    placed = [(each.owner, each.seq - FENCE_SEQ) for each in placed_of(commit)]
    assert placed == [("a", 1), ("b", 2), ("c", 3)]


def test_owners_learn_where_their_records_lie() -> None:
    commit = fresh()
    commit.add([b"a", (b"bb", b"b"), b"cccc"], [(1, "B"), (2, "C")])
    commit.add([b"ddddd"], [(0, "D")])
    entry = take(commit)
    assert placed_of(commit) == []
    commit.appended(FENCE_SEQ + 1)
    placed = placed_of(commit)
    assert [(each.owner, each.seq) for each in placed] == [(n, FENCE_SEQ + 1) for n in "BCD"]
    assert [entry[each.offset :][: each.size] for each in placed] == [b"bbb", b"cccc", b"ddddd"]
    assert placed_of(commit) == []


def two_in_flight() -> tuple[GroupCommit, bytes, bytes]:
    commit = GroupCommit(EPOCH, NONCE, FENCE_SEQ, depth=2)
    entries = []
    for number in range(3):
        commit.add([b"%d" % number], [(0, number)])
        if number < 2:
            taken = commit.take()
            assert taken is not None and taken[1] == FENCE_SEQ + number
            assert decode_entry(taken[0]).prev_seq == FENCE_SEQ + number
            entries.append(taken[0])
    assert commit.take() is None, "two are enough"
    assert commit.entry_bytes == len(entries[0]) + len(entries[1])
    return commit, *entries


def test_a_second_entry_follows_the_first_one() -> None:
    commit, first, second = two_in_flight()
    assert commit.appended(FENCE_SEQ + 1) == 1 and commit.state is State.IN_FLIGHT
    taken = commit.take()
    assert taken is not None and taken[1] == FENCE_SEQ + 2, "behind the one in flight"
    assert commit.appended(FENCE_SEQ + 2) == 2 and commit.appended(FENCE_SEQ + 3) == 3
    assert commit.idle and commit.entry_bytes == 0
    landed = commit.take_landed()
    assert [each.seq - FENCE_SEQ for each in landed] == [1, 2, 3]
    assert [each.size for each in landed] == [len(first), len(second), len(taken[0])]
    assert [each.placed[0].owner for each in landed] == [0, 1, 2]


def test_a_little_waits_behind_one_in_flight() -> None:
    commit = GroupCommit(EPOCH, NONCE, FENCE_SEQ, depth=2, ahead_bytes_min=30)
    commit.add([b"a"])
    first = commit.take()
    assert first is not None, "nothing is in flight"
    commit.add([b"b" * 10])
    assert commit.take() is None, "the disk would sync once more for so little"
    commit.add([b"c" * 20])
    taken = commit.take()
    assert taken is not None and decode_entry(taken[0]).records == [b"b" * 10, b"c" * 20]
    assert commit.failed(Unavailable()) is State.UNKNOWN
    assert commit.tail_read(FENCE_SEQ + 1, first[0]) == 1
    assert commit.take() == taken, "what was sent ahead once is sent again, however small"


@pytest.mark.parametrize("landed", [0, 1, 2])
def test_what_of_two_entries_landed_is_found_out(landed: int) -> None:
    commit, *entries = two_in_flight()
    assert commit.failed(Unavailable()) is State.UNKNOWN and commit.take() is None
    last = entries[landed - 1] if landed else None
    assert commit.tail_read(FENCE_SEQ + landed, last) == landed
    assert commit.state is (State.OPEN if landed == 2 else State.RESEND)
    for number in range(landed, 2):
        assert commit.take() == (entries[number], FENCE_SEQ + number), "the same bytes again"
    if landed:
        taken = commit.take()
        assert taken is not None and taken[1] == FENCE_SEQ + 2, "there is room for another one"
    assert commit.take() is None
    assert len(commit.take_landed()) == landed
    assert commit.appended(FENCE_SEQ + landed + 1) == landed + 1
    assert len(commit.take_landed()) == 1


def test_two_entries_that_met_a_full_log_are_offered_again() -> None:
    commit, *entries = two_in_flight()
    assert commit.failed(Full()) is State.BLOCKED and commit.take() is None
    commit.retry()
    assert [commit.take(), commit.take()] == [(entries[0], FENCE_SEQ), (entries[1], FENCE_SEQ + 1)]


@dataclass
class Model:
    """A log that does what the drawn events say, and what the machine promised about it."""

    commit: GroupCommit
    log: list[bytes] = field(default_factory=list)
    added: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])
    under_way: list[tuple[bytes, int]] = field(default_factory=list)

    def add(self, sizes: list[int]) -> None:
        turn = [b"%d." % (len(self.added) + n) + bytes(size) for n, size in enumerate(sizes)]
        self.added += turn
        self.ends.append(len(self.added))
        assert self.commit.add(turn) == len(self.ends) - 1

    def step(self, event: str) -> None:
        commit = self.commit
        if commit.state is State.BLOCKED:
            commit.retry()
        elif commit.state is State.UNKNOWN:
            self._answer_tail(event)
        elif (taken := commit.take()) is not None:
            self.under_way.append(taken)
        elif self.under_way:
            self._end_append(event)

    def _end_append(self, event: str) -> None:
        entry, expected = self.under_way.pop(0)
        assert expected == FENCE_SEQ + len(self.log), "appended behind the log's last entry"
        if event in ("done", "landed", "both landed"):
            self.log.append(entry)
        if event == "done":
            self.commit.appended(FENCE_SEQ + len(self.log))
            return
        if event == "both landed":
            self.log += [each for each, _ in self.under_way]
        self.under_way.clear()
        errors: dict[str, LogError] = {"full": Full(), "fenced": Fenced()}
        self.commit.failed(errors.get(event, Unavailable()))

    def _answer_tail(self, event: str) -> None:
        if event in ("lost", "full"):
            self.commit.failed(Unavailable())
        elif event == "fenced":
            self.commit.tail_read(FENCE_SEQ + len(self.log) + 1, RIVAL)
        else:
            last = self.log[-1] if self.log else None
            self.commit.tail_read(FENCE_SEQ + len(self.log), last)

    def check(self, durable_before: int) -> None:
        stored = [record for entry in self.log for record in records(entry)]
        assert stored == self.added[: len(stored)], "in order, and nothing twice"
        assert len({entry_id(entry) for entry in self.log}) == len(self.log)
        assert durable_before <= self.commit.durable < len(self.ends)
        assert self.ends[self.commit.durable] <= len(stored), "durable, but not in the log"


EVENT = st.sampled_from(["done", "done", "landed", "both landed", "lost", "full"])
STEPS = st.lists(
    st.one_of(EVENT, st.lists(st.integers(0, 120), min_size=1, max_size=4)), max_size=60
)


@settings(max_examples=300)
@given(STEPS, st.booleans(), st.integers(1, 3), st.integers(0, 200))
def test_promises_under_random_events(
    steps: list[str | list[int]], fenced: bool, depth: int, ahead: int
) -> None:
    commit = GroupCommit(
        EPOCH, NONCE, FENCE_SEQ, group_bytes_max=300, depth=depth, ahead_bytes_min=ahead
    )
    model = Model(commit)
    for step in steps:
        durable = model.commit.durable
        if isinstance(step, list):
            model.add(step)
        else:
            model.step(step)
        model.check(durable)
    if fenced:
        model.add([1])
        while model.commit.fatal is None:
            model.step("fenced")
        model.check(model.commit.durable)
        expected = list(range(model.commit.durable + 1, len(model.ends)))
        assert model.commit.take_failed() == expected
    else:
        while not model.commit.idle:
            model.step("done")
        assert model.commit.durable == len(model.ends) - 1
        assert [r for entry in model.log for r in records(entry)] == model.added
