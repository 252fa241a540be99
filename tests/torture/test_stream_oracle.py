"""The oracle finds each kind of lie about streams and groups, and nothing in an honest journal."""

from __future__ import annotations

import pytest

from tests.torture.ledger import Copy
from tests.torture.oracle import Sent
from tests.torture.stream_ledger import OVERHEAD_BYTES, RUN_BYTES_MAX
from tests.torture.stream_oracle import Entry, StreamOracle
from tests.torture.test_oracle import Play as QueuePlay
from tests.torture.topology import (
    CHURN_STREAM,
    LOG,
    MARKS,
    MEASURES,
    READINGS,
    STREAMS,
    mask,
    queue_entity,
)

GROUP, WORKER, PROTECTED = "g.log", "w.0", "g.measures"
SIZE = 100


def message(number: int, *queues: str, persistent: bool = True, size: int = SIZE) -> Sent:
    """A message that went to queues, to the stream LOG if there are none."""
    return number, mask(*(queues or (LOG,))), persistent, size, number * 7


def entry(
    offset: int, number: int, again: bool = False, publisher: int = 10, size: int = SIZE
) -> Entry:
    """That message at an offset; `again`: redelivered."""
    return offset, publisher, number, again, size, number * 7


class Play(QueuePlay):
    """Writes a journal in which there are streams and groups."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = 500
        self.reader = 0

    def form(self, *groups: str, begin: int | str = "first") -> None:
        """Groups are declared."""
        for name in groups:
            self("forming", name, begin)
            self("formed", name)

    def read(self, *entries: Entry, begin: int | str = "first", stream: str = LOG) -> None:
        """A new reader gets these."""
        self._reader += 1
        self.reader = self._reader
        self("reading", self.con, self.reader, stream, begin)
        self("read", self.reader, list(entries))

    def take(self, *entries: Entry, group: str = GROUP, strict: bool = False) -> None:
        """A new member of a group gets these."""
        self._reader += 1
        self("consuming", self.con, self._reader, group, strict)
        self("read", self._reader, list(entries))

    def whole(self, *entries: Entry, stream: str = LOG) -> None:
        """This is all that the stream has."""
        self.read(*entries, stream=stream)
        self("whole", self.reader, len(entries))

    def number(
        self, *numbers: int, tags: int = 1, confirm: bool = True, stream: str = MEASURES
    ) -> None:
        """Producer 5 sends these."""
        sender = 10 * self.pub
        notes = [(tags + i, 5, number, SIZE, number * 7) for i, number in enumerate(numbers)]
        self("numbered", sender, stream, notes)
        if confirm:
            self("confirmed", sender, tags + len(numbers) - 1, True, True)

    def mark(self, number: int) -> None:
        """A message elsewhere is confirmed."""
        self.publish(message(number, MARKS))

    def judge(self) -> StreamOracle:
        """The oracle that has heard everything."""
        oracle = StreamOracle()
        for event in self.events:
            oracle.apply(event)
        return oracle

    @property
    def findings(self) -> list[str]:
        """What the oracle says: its kinds."""
        return [text.partition(":")[0] for text in self.judge().check()[0]]


@pytest.fixture
def play() -> Play:
    return Play()


def test_an_honest_journal(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), message(2), message(3, persistent=False))
    play.publish(message(4), message(5), confirm=False)
    play.read(entry(0, 1), entry(1, 2))
    play.take(entry(0, 1), entry(1, 2))
    play.ack(1, queue=GROUP)
    play.start()
    play("counted", LOG, 4)
    play("counted", GROUP, 3)
    play.take(entry(1, 2, True), entry(2, 3, True), entry(3, 4, True), strict=True)
    play.ack(2, 3, 4, queue=GROUP)
    play.read(entry(2, 3), entry(3, 4), begin=2)
    play.whole(entry(0, 1), entry(1, 2), entry(2, 3), entry(3, 4))
    play.drain()
    assert play.findings == []


# -- LOST, GONE


def test_a_confirmed_entry_is_missed_at_the_end(play: Play) -> None:
    play.publish(message(1), message(2))
    play.start()
    play.whole(entry(0, 1))
    assert play.findings == ["LOST"]


def test_a_transient_message_stays_in_a_stream(play: Play) -> None:
    play.publish(message(1, persistent=False))
    play.start()
    play.whole()
    assert play.findings == ["LOST"]


def test_a_stream_is_too_short_or_too_long(play: Play) -> None:
    play.publish(message(1), message(2))
    play("counted", LOG, 1)
    play("counted", LOG, 3)
    assert play.findings == ["LOST", "COUNT"]


def test_an_entry_that_was_seen_is_owed_though_it_was_not_confirmed(play: Play) -> None:
    play.publish(message(1), confirm=False)
    play.read(entry(0, 1))
    play.start()
    play.whole()
    assert play.findings == ["GONE"]


def test_an_entry_that_a_group_has_seen_is_owed_as_well(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), confirm=False)
    play.take(entry(0, 1))
    play.start()
    play.whole()
    assert play.findings == ["GONE"]


def test_a_stream_owes_nothing_that_was_neither_confirmed_nor_seen(play: Play) -> None:
    play.publish(message(1), confirm=False)
    play.start()
    play.whole()
    assert play.findings == []


def test_a_reader_gets_less_than_there_is(play: Play) -> None:
    play.publish(message(1), message(2), confirm=False)
    play.read(entry(0, 1))
    play("whole", play.reader, 2)
    assert play.findings == ["COUNT"]


def test_an_entry_that_was_not_there_on_a_look_at_everything_does_not_come_later(
    play: Play,
) -> None:
    play.publish(message(1), message(2), confirm=False)
    play.whole(entry(0, 1))
    play.drain()
    play.start()
    play.read(entry(0, 1), entry(1, 2))
    assert play.findings == ["BACK"]


# -- MOVED, TWICE, GAP


def test_an_entry_has_another_offset_after_a_restart(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 1), entry(1, 2))
    play.start()
    play.read(entry(0, 2))
    assert play.findings == ["MOVED"]


def test_an_offset_has_another_entry_after_a_restart(play: Play) -> None:
    play.publish(message(1), message(2), confirm=False)
    play.read(entry(0, 1))
    play.start()
    play.read(entry(0, 2))
    assert play.findings == ["MOVED"]


def test_readers_and_groups_agree_about_offsets(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), message(2))
    play.read(entry(0, 1))
    play.take(entry(0, 2))
    assert play.findings == ["MOVED"]


def test_an_entry_is_stored_twice(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 1), entry(1, 1))
    assert play.findings == ["TWICE", "ORDER"]


def test_a_reader_gets_an_entry_again(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 1), entry(0, 1))
    assert play.findings == ["TWICE", "ORDER"]


def test_a_reader_that_goes_on_gets_what_it_had(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 1))
    play.start()
    play.read(entry(0, 1), begin=1)
    assert play.findings == ["TWICE"]


@pytest.mark.parametrize("begin", [0, "first"])
def test_a_reader_passes_over_an_entry(play: Play, begin: int | str) -> None:
    play.publish(message(1), message(2))
    play.read(entry(1, 2), begin=begin)
    assert play.findings == ["GAP"]


def test_there_is_a_gap_in_the_middle(play: Play) -> None:
    play.publish(message(1), message(2), message(3))
    play.read(entry(0, 1), entry(2, 3), begin="last")
    assert play.findings == ["GAP"]


def test_readers_may_begin_elsewhere(play: Play) -> None:
    play.publish(message(1), message(2), message(3))
    play.read(entry(2, 3), begin=2)
    play.read(entry(1, 2), entry(2, 3), begin="last")
    play.publish(message(4))
    play.read(entry(3, 4), begin="next")
    assert play.findings == []


def test_what_comes_next_was_not_seen_before(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 1), entry(1, 2))
    play.read(entry(1, 2), begin="next")
    assert play.findings == ["BACK"]


# -- ORDER, FLAG, NOWHERE, DAMAGED


def test_entries_of_one_publisher_are_in_order(play: Play) -> None:
    play.publish(message(1), message(2))
    play.read(entry(0, 2), entry(1, 1))
    assert play.findings == ["ORDER"]


def test_nothing_in_a_stream_is_redelivered(play: Play) -> None:
    play.publish(message(1))
    play.start()
    play.read(entry(0, 1, True))
    assert play.findings == ["FLAG"]


def test_an_entry_from_nowhere(play: Play) -> None:
    play.publish(message(1), message(2, MARKS))
    play.read(entry(0, 2))
    play.read((0, 10, 1, False, SIZE, -1))
    assert play.findings == ["NOWHERE", "DAMAGED"]


@pytest.mark.parametrize("end", ["staged", "rolled back", "asked", "committed"])
def test_what_is_seen_of_a_transaction_is_committed(play: Play, end: str) -> None:
    play("opened", 3)
    play("publisher", 3, 30, False)
    play("sent", 30, 7, [message(1), message(2, MARKS)])
    if end == "rolled back":
        play("rolled_back", 7)
    elif end != "staged":
        play("commit", 7)
    if end == "committed":
        play("committed", 7)
    play.read(entry(0, 1, publisher=30))
    play.whole(entry(0, 1, publisher=30))
    if end in ("asked", "committed"):
        assert play.findings == []
        play.drain()
        assert play.findings == ["LOST"], "the other message of the transaction"
    else:
        assert play.findings == ["NOWHERE", "NOWHERE"]


def test_a_transaction_is_in_the_stream_or_nowhere(play: Play) -> None:
    play("opened", 3)
    play("publisher", 3, 30, False)
    play("sent", 30, 7, [message(1), message(2, MARKS)])
    play("commit", 7)
    play.start()
    play.consume((30, 2, True, SIZE, 14), queue=MARKS)
    play("settled", play.con, 0, MARKS, [(30, 2)])
    play.whole()
    play.drain()
    assert play.findings == ["LOST"]


# -- retention

LIMIT = STREAMS[READINGS].bytes_max
SEGMENT = STREAMS[READINGS].segment_bytes
BODY = 10_000
SEGMENT_ENTRIES = SEGMENT // (BODY + OVERHEAD_BYTES) + 1


def fill(play: Play, size: int = 2 * LIMIT, queue: str = READINGS) -> int:
    """Messages of BODY bytes, in all about this size, are confirmed; how many."""
    count = size // BODY
    play.publish(*(message(i, queue, size=BODY) for i in range(1, count + 1)))
    return count


def entries(first: int, count: int) -> list[Entry]:
    """Those at offsets `first` to `count`, exclusive, again."""
    return [entry(i, i + 1, size=BODY) for i in range(first, count)]


def test_retention_takes_the_oldest_segments(play: Play) -> None:
    count = fill(play)
    play.read(*entries(0, 50), stream=READINGS)
    first = count - LIMIT // BODY
    play.read(*entries(first, count), begin=50, stream=READINGS)
    play.whole(*entries(first + SEGMENT_ENTRIES, count), stream=READINGS)
    assert play.findings == []


def test_what_must_stay_is_gone(play: Play) -> None:
    count = fill(play)
    kept = (LIMIT - SEGMENT - RUN_BYTES_MAX) // (BODY + OVERHEAD_BYTES)
    play.whole(*entries(count - kept, count), stream=READINGS)
    assert play.findings == []
    play.whole(*entries(count - kept + SEGMENT_ENTRIES, count), stream=READINGS)
    assert play.findings[0] == "GAP" and set(play.findings[1:]) == {"GONE"}


def test_more_is_there_than_may_be(play: Play) -> None:
    count = fill(play)
    play.whole(*entries(0, count), stream=READINGS)
    assert play.findings == ["EXCESS"]


def test_an_entry_in_the_middle_is_gone(play: Play) -> None:
    count = fill(play, LIMIT // 2)
    play.whole(*entries(0, 20), *entries(21, count), stream=READINGS)
    assert "GAP" in play.findings


def test_only_whole_segments_go(play: Play) -> None:
    count = fill(play)
    first = count - LIMIT // BODY
    play.read(*entries(first, first + 1), stream=READINGS)
    play.read(*entries(0, 1), begin=0, stream=READINGS)
    assert play.findings == ["BACK"]
    del play.events[-2:]
    play.read(*entries(first, count), stream=READINGS)
    play.read(*entries(first + 1, count), stream=READINGS)
    assert play.findings == ["PIECE"]


def test_a_crash_may_undo_what_retention_took_until_a_drain(play: Play) -> None:
    count = fill(play)
    first = count - LIMIT // BODY
    play.read(*entries(first, count), stream=READINGS)
    play.start()
    play.whole(*entries(first - SEGMENT_ENTRIES, count), stream=READINGS)
    assert play.findings == []
    play.drain()
    play.start()
    play.read(*entries(first - 2 * SEGMENT_ENTRIES, count), stream=READINGS)
    assert set(play.findings) == {"BACK", "TWICE"}


def test_a_protected_group_keeps_what_it_has_not_settled(play: Play) -> None:
    play.form(PROTECTED)
    count = fill(play, queue=MEASURES)
    first = count - LIMIT // BODY
    play.take(*entries(0, 30), group=PROTECTED)
    play.ack(*range(1, 31), queue=PROTECTED)
    play.read(*entries(30, count), begin=0, stream=MEASURES)
    assert play.findings == []
    play.whole(*entries(first, count), stream=MEASURES)
    assert play.findings[0] == "GAP" and set(play.findings[1:]) == {"GONE"}


# -- groups


def test_a_group_misses_an_entry(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), message(2))
    play.take(entry(0, 1))
    play.ack(1, queue=GROUP)
    play.start()
    play("counted", GROUP, 0)
    play.whole(entry(0, 1), entry(1, 2))
    play.drain()
    assert play.findings == ["LOST", "LOST"]


def test_a_group_has_more_than_it_can(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), message(2))
    play.take(entry(0, 1))
    play.ack(1, queue=GROUP)
    play("counted", GROUP, 2)
    play.ask()
    play.mark(3)
    play("counted", GROUP, 2)
    assert play.findings == ["COUNT"]


@pytest.mark.parametrize("proved", [False, True])
def test_what_a_group_has_settled_comes_back(play: Play, proved: bool) -> None:
    play.form(GROUP)
    play.publish(message(1))
    play.take(entry(0, 1))
    play.ack(1, queue=GROUP)
    play.ask()
    if proved:
        play.mark(2)
    play.start()
    play.take(entry(0, 1, True))
    assert play.findings == (["BACK"] if proved else [])


def test_what_a_group_had_settled_before_a_drain_comes_back(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1))
    play.take(entry(0, 1))
    play.ack(1, queue=GROUP)
    play.whole(entry(0, 1))
    play.drain()
    play.start()
    play.take(entry(0, 1, True))
    assert play.findings == ["BACK"]


def test_a_second_delivery_in_a_group_is_flagged(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1))
    play.take(entry(0, 1))
    play.start()
    play.take(entry(0, 1))
    assert play.findings == ["FLAG"]


def test_an_entry_is_held_by_one_member_at_a_time(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1))
    play.take(entry(0, 1))
    play.take(entry(0, 1, True))
    assert play.findings == ["TWICE"]


def test_a_member_gets_first_deliveries_by_offset(play: Play) -> None:
    play.form(GROUP)
    play.publish(message(1), message(2), message(3))
    play.take(entry(1, 2), entry(0, 1), entry(2, 3))
    assert play.findings == ["ORDER"]


@pytest.mark.parametrize(("group", "findings"), [(GROUP, []), (WORKER, ["ORDER"])])
def test_first_deliveries_of_a_partition_are_in_order_for_all_members(
    play: Play, group: str, findings: list[str]
) -> None:
    play.form(group)
    stream = LOG if group == GROUP else "p.0"
    play.publish(message(1, stream), message(2, stream))
    play("consuming", play.con, 51, group, False)
    play("consuming", play.con, 52, group, False)
    play("read", 52, [entry(1, 2)])
    play("read", 51, [entry(0, 1)])
    assert play.findings == findings


@pytest.mark.parametrize("end", ["settled", "requeued", "ended", "held"])
def test_a_partition_has_one_active_member(play: Play, end: str) -> None:
    play.form(WORKER)
    play.publish(message(1, "p.0"), message(2, "p.0"))
    play.take(entry(0, 1), group=WORKER)
    if end == "settled":
        play.ack(1, queue=WORKER)
    elif end == "requeued":
        play("requeued", play.con, WORKER, [(10, 1)])
    elif end == "ended":
        play("ended", play.con)
    play("opened", 99)
    play("consuming", 99, 98, WORKER, False)
    play("read", 98, [entry(1, 2)])
    assert play.findings == (["ACTIVE"] if end == "held" else [])


def test_two_groups_settle_apart(play: Play) -> None:
    play.publish(message(1))
    play.form(GROUP, "g.single")
    for group in (GROUP, "g.single"):
        play.take(entry(0, 1), group=group)
    play.ack(1, queue=GROUP)
    play.ask()
    play.mark(2)
    play.start()
    play("counted", GROUP, 0)
    play("counted", "g.single", 0)
    assert play.findings == ["LOST"]


@pytest.mark.parametrize(("begin", "count"), [("first", 3), (1, 2), (3, 0), ("next", 0)])
def test_a_group_begins_where_it_was_asked_to(play: Play, begin: int | str, count: int) -> None:
    play.publish(message(1), message(2), message(3))
    play.read(entry(0, 1), entry(1, 2), entry(2, 3))
    play.form("c.g1", begin=begin)
    play("counted", "c.g1", count)
    assert play.findings == []
    if count < 3:
        play.take(entry(2 - count, 3 - count), group="c.g1")
        assert play.findings == ["BACK"]
        play.events.pop()
    if count:
        play("counted", "c.g1", count - 1)
        assert play.findings == ["LOST"]


def test_a_group_that_begins_at_what_comes_next_gets_all_of_that(play: Play) -> None:
    play.publish(message(1), confirm=False)
    play("forming", "c.g1", "next")
    play.publish(message(2), confirm=False)
    play("formed", "c.g1")
    play.publish(message(3))
    play.read(entry(0, 1), entry(1, 2), entry(2, 3))
    play("counted", "c.g1", 0)
    assert play.findings == ["LOST"]
    play.events.pop()
    play("counted", "c.g1", 1)
    play.take(entry(1, 2), group="c.g1")
    play("counted", "c.g1", 1)
    assert play.findings == ["LOST"]


def test_a_group_that_is_declared_again_gets_everything_again(play: Play) -> None:
    group = "c.g1"
    there, gone = {queue_entity(group): True}, {queue_entity(group): False}
    play.publish(message(1))
    play("forming", group, "first")
    play("changing", play.pub, 2, there, ())
    play("changed", play.pub, 2)
    play("formed", group)
    play.take(entry(0, 1), group=group)
    play("changing", play.pub, 3, gone, (group,))
    play.start()
    before = len(play.events)
    play("counted", group, 0)
    play("found", there)
    play("counted", group, 1)
    assert play.findings == []
    play("counted", group, 0)
    assert play.findings == ["LOST"], "its deletion was undone"
    del play.events[before:]
    play("found", gone)
    play.form(group)
    play.take(entry(0, 1), group=group)
    assert play.findings == []
    play("counted", group, 2)
    assert play.findings == ["COUNT"]


def test_a_group_that_was_not_declared_before_a_crash_owes_nothing(play: Play) -> None:
    play.publish(message(1))
    play("forming", "c.g1", "first")
    play.start()
    play.whole(entry(0, 1))
    play("found", {queue_entity("c.g1"): False})
    play.drain()
    assert play.findings == []


def test_a_purge_of_a_group_is_a_settlement(play: Play) -> None:
    play.form("c.g0")
    play.publish(message(1, CHURN_STREAM))
    play("purged", play.pub, "c.g0")
    play("counted", "c.g0", 0)
    play.mark(2)
    play.start()
    play.take(entry(0, 1, True), group="c.g0")
    assert play.findings == ["BACK"]


def test_a_stream_that_was_declared_again_begins_at_nought(play: Play) -> None:
    play("fresh", CHURN_STREAM)
    play.publish(message(1, CHURN_STREAM))
    play.read(entry(0, 1), stream=CHURN_STREAM)
    play("changing", play.pub, 1, {queue_entity(CHURN_STREAM): False}, (CHURN_STREAM,))
    play("changed", play.pub, 1)
    play.mark(2)
    play("fresh", CHURN_STREAM)
    play.publish(message(3, CHURN_STREAM))
    play.whole(entry(0, 3), stream=CHURN_STREAM)
    assert play.findings == []
    play.start()
    play.read(entry(0, 1), stream=CHURN_STREAM)
    assert play.findings == ["NOWHERE"]


# -- numbered producers


def numbered(offset: int, number: int) -> Entry:
    """A message of producer 5."""
    return entry(offset, number, publisher=5)


def test_a_numbered_message_that_was_sent_again_is_there_once(play: Play) -> None:
    play.number(1, 2, 3, confirm=False)
    play.start()
    play.number(1, 2, 3, 4)
    play.number(4, tags=5)
    play.whole(*(numbered(i, i + 1) for i in range(4)), stream=MEASURES)
    assert play.findings == []


def test_a_numbered_message_is_stored_twice(play: Play) -> None:
    play.number(1, 2)
    play.read(numbered(0, 1), stream=MEASURES)
    play.start()
    play.number(2)
    play.read(numbered(0, 1), numbered(1, 2), numbered(2, 2), stream=MEASURES)
    assert play.findings == ["TWICE", "ORDER"]


def test_the_confirm_of_a_second_try_is_a_confirm(play: Play) -> None:
    play.number(1, confirm=False)
    play.number(1, tags=2)
    play.start()
    play.whole(stream=MEASURES)
    assert play.findings == ["LOST"]


def test_a_numbered_message_that_was_lost_may_come_by_a_later_try(play: Play) -> None:
    play.number(1, confirm=False)
    play.start()
    play.whole(stream=MEASURES)
    play.drain()
    play.start()
    play.number(1)
    play.whole(numbered(0, 1), stream=MEASURES)
    assert play.findings == []


def test_a_numbered_message_that_retention_took_does_not_come_again(play: Play) -> None:
    count = 2 * LIMIT // BODY
    notes = [(i, 5, i, BODY, i * 7) for i in range(1, count + 1)]
    play("numbered", 10 * play.pub, MEASURES, notes)
    play("confirmed", 10 * play.pub, count, True, True)
    there = [entry(i, i + 1, publisher=5, size=BODY) for i in range(count)]
    play.whole(*there[count // 2 :], stream=MEASURES)
    play.drain()
    assert play.findings == []
    play.start()
    play("numbered", 10 * play.pub, MEASURES, [(1, 5, 1, BODY, 7)])
    play("confirmed", 10 * play.pub, 1, False, True)
    play.read((count, 5, 1, False, BODY, 7), begin=count, stream=MEASURES)
    assert play.findings == ["BACK"]


def test_what_is_sent_again_may_push_others_out(play: Play) -> None:
    many = [(i, 5, i, BODY, i * 7) for i in range(1, LIMIT // BODY)]
    play("numbered", 10 * play.pub, MEASURES, many)
    play.start()
    play.publish(*(message(i, MEASURES, size=2000) for i in range(1, 200)))
    there = [entry(i, i + 1, publisher=1010, size=2000) for i in range(199)]
    play.read(*there, stream=MEASURES)
    play.start()
    play("numbered", 10 * play.pub, MEASURES, many)
    play.read(*there[-10:], begin=0, stream=MEASURES)
    assert play.findings == []


def test_what_a_dead_broker_was_sent_and_nobody_sends_again_pushes_nothing_out(play: Play) -> None:
    fill(play, LIMIT, MEASURES)
    del play.events[-1]
    play.start()
    play.publish(*(message(i, MEASURES, size=2000) for i in range(1, 200)))
    there = [entry(i, i + 1, publisher=1010, size=2000) for i in range(199)]
    play.read(*there, stream=MEASURES)
    play.start()
    play.read(*there[-10:], begin=0, stream=MEASURES)
    assert play.findings == ["GAP"]


def test_a_copy_says_where_it_is() -> None:
    copy = Copy(1, 2, 0, 3, 4, True, 1)
    assert "offset" not in repr(copy)
    copy.offset = 0
    assert repr(copy).endswith("offset 0")
