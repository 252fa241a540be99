"""The oracle finds each kind of lie that is put into a journal, and nothing in an honest one."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.torture.bodies import HEAD_BYTES, make_body, read_body
from tests.torture.journal import Event, Journal, read_block, read_file, write_file
from tests.torture.judge import judge_file
from tests.torture.oracle import Oracle, Received, Sent
from tests.torture.topology import mask

Q, R = "t.q0", "t.q1"
PUB, CON, TX, LOOK = 1, 2, 3, 4
"""Connections; a publisher has ten times the number of its connection."""


def message(number: int, *queues: str, persistent: bool = True) -> Sent:
    """A message that went to queues, Q if there are none."""
    return number, mask(*(queues or (Q,))), persistent, 100, number * 7


def delivery(number: int, again: bool = False, publisher: int = 10) -> Received:
    """That message, delivered; `again`: redelivered."""
    return publisher, number, again, 100, number * 7


class Play:
    """Writes a journal. `findings`: kinds of what the oracle says of it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.incarnation = 0
        self.start(crashed=False)

    def __call__(self, *event: object) -> None:
        self.events.append(event)

    def start(self, crashed: bool = True) -> None:
        """A broker, with a publisher in confirm mode."""
        self.incarnation += 1
        self("started", self.incarnation, crashed)
        base = 100 * (self.incarnation - 1)
        self.pub, self.con = base + PUB, base + CON
        for connection in (self.pub, self.con):
            self("opened", connection)
        self("publisher", self.pub, 10 * self.pub, True)

    def publish(self, *messages: Sent, confirm: bool = True) -> None:
        """Messages in confirm mode."""
        self("sent", 10 * self.pub, 0, list(messages))
        if confirm:
            self("confirmed", 10 * self.pub, messages[-1][0], True, True)

    def consume(self, *messages: Received, queue: str = Q, strict: bool = False) -> None:
        """A new consumer gets these."""
        reader = len(self.events) + 1000
        self("consuming", self.con, reader, queue, strict)
        self("received", reader, list(messages))

    def ack(self, *numbers: int, queue: str = Q, publisher: int = 10) -> None:
        """The consumers' connection acks."""
        self("settled", self.con, 0, queue, [(publisher, number) for number in numbers])

    def prove(self, number: int) -> None:
        """A message of the publisher to R is confirmed."""
        self.publish(message(number, R))

    def ask(self) -> None:
        """Something that the consumers' connection sent is answered."""
        self("asked", self.con, 5)
        self("answered", self.con, 5)

    def drain(self, horizon: int = 10**6) -> None:
        """All queues were emptied."""
        self("drained", horizon)

    @property
    def findings(self) -> list[str]:
        """What the oracle says: its kinds."""
        oracle = Oracle()
        for event in self.events:
            oracle.apply(event)
        return [text.partition(":")[0] for text in oracle.check()[0]]


@pytest.fixture
def play() -> Play:
    return Play()


def test_an_honest_journal(play: Play) -> None:
    play.publish(message(1), message(2), message(3, persistent=False))
    play.consume(delivery(1), delivery(2))
    play.ack(1)
    play.ask()
    play.prove(4)
    play.start()
    play("counted", Q, 1)
    play("counted", R, 1)
    play.consume(delivery(2, True), strict=True)
    play.ack(2)
    play.consume(delivery(4, True), queue=R, strict=True)
    play.ack(4, queue=R)
    play.drain()
    assert play.findings == []


# -- LOST


def test_a_confirmed_message_is_missed_at_a_drain(play: Play) -> None:
    play.publish(message(1))
    play.start()
    play.drain()
    assert play.findings == ["LOST"]


def test_a_confirmed_message_is_missed_at_a_look(play: Play) -> None:
    play.publish(message(1), message(2))
    play.start()
    play("counted", Q, 1)
    assert play.findings == ["LOST"]


def test_a_message_is_missed_in_one_of_its_queues(play: Play) -> None:
    play.publish(message(1, Q, R))
    play.consume(delivery(1))
    play.ack(1)
    play.drain()
    assert play.findings == ["LOST"]


@pytest.mark.parametrize("end", ["unconfirmed", "refused", "transient", "returned", "loose"])
def test_messages_that_are_not_owed(play: Play, end: str) -> None:
    if end == "loose":
        play.publish(message(1, "t.loose"))
    else:
        play.publish(message(1, persistent=end != "transient"), confirm=end == "transient")
    if end == "refused":
        play("confirmed", 10, 1, False, False)
    if end == "returned":
        play("returned", 10, 1)
        play("confirmed", 10, 1, False, True)
    play.start()
    play.drain()
    assert play.findings == []


def test_what_has_survived_a_restart_is_owed_though_it_was_not_confirmed(play: Play) -> None:
    play.publish(message(1), confirm=False)
    play.start()
    play.consume(delivery(1))
    play("ended", play.con)
    play.start()
    play("counted", Q, 0)
    assert play.findings == ["LOST"]


def test_a_transient_message_is_owed_while_the_broker_runs(play: Play) -> None:
    play.publish(message(1, persistent=False))
    play.drain()
    assert play.findings == ["LOST"]


def test_what_came_back_is_owed_again(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play.start()
    play.consume(delivery(1, True))
    play.start()
    play.drain()
    assert play.findings == ["LOST"]


# -- BACK


def back(play: Play, prove: Callable[[], None], again: bool = True) -> list[str]:
    """A message is acked, then something happens, and after a crash it comes back."""
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    prove()
    play.start()
    play.consume(delivery(1, again))
    return play.findings


def test_an_ack_that_nothing_proved_may_be_undone(play: Play) -> None:
    assert back(play, lambda: None) == []


def test_an_ack_is_synced_by_a_later_confirm_on_its_connection(play: Play) -> None:
    def prove() -> None:
        play("publisher", play.con, 21, True)
        play("sent", 21, 0, [message(1, R)])
        play("confirmed", 21, 1, False, True)

    assert back(play, prove) == ["BACK"]


def test_an_ack_is_synced_by_a_confirm_elsewhere_if_it_was_processed_before(play: Play) -> None:
    def prove() -> None:
        play.ask()
        play.prove(2)

    assert back(play, prove) == ["BACK"]


@pytest.mark.parametrize("what", ["unprocessed", "transient", "unroutable", "early", "refused"])
def test_confirms_that_prove_nothing(play: Play, what: str) -> None:
    def prove() -> None:
        if what == "early":
            play.publish(message(2, R), confirm=False)
        if what != "unprocessed":
            play.ask()
        if what == "transient":
            play.publish(message(2, R, persistent=False))
        elif what == "unroutable":
            play.publish((2, 0, True, 100, 14))
        elif what == "early":
            play("confirmed", 10, 2, False, True)
        else:
            play.publish(message(2, R), confirm=what == "unprocessed")
        if what == "refused":
            play("confirmed", 10, 2, False, False)

    assert back(play, prove) == []


def test_an_ack_on_a_living_connection_holds(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play.consume(delivery(1, True))
    assert play.findings == ["BACK"]


def test_an_ack_that_was_processed_outlives_its_connection(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play.ask()
    play("ended", play.con)
    play("opened", 99)
    play("consuming", 99, 98, Q, False)
    play("received", 98, [delivery(1, True)])
    assert play.findings == ["BACK"]


def test_an_ack_that_was_cut_off_with_its_connection_may_be_undone(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play("ended", play.con)
    play("opened", 99)
    play("consuming", 99, 98, Q, False)
    play("received", 98, [delivery(1, True)])
    assert play.findings == []


def test_an_orderly_stop_makes_durable_what_was_processed(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play.ask()
    play.start(crashed=False)
    play.consume(delivery(1, True))
    assert play.findings == ["BACK"]


def test_nothing_comes_back_after_a_drain(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.ack(1)
    play.drain()
    play.start()
    play.consume(delivery(1, True))
    assert play.findings == ["BACK"]


def test_a_transient_message_does_not_outlive_its_broker(play: Play) -> None:
    play.publish(message(1, persistent=False))
    play.start()
    play.consume(delivery(1, True))
    assert play.findings == ["BACK"]


def test_a_purge_that_is_proved_holds(play: Play) -> None:
    play.publish(message(1, "c.q0"))
    play("purged", play.pub, "c.q0")
    play.prove(2)
    play.start()
    play("counted", "c.q0", 1)
    play.consume(delivery(1, True), queue="c.q0")
    assert play.findings == ["COUNT", "BACK"]


# -- FLAG, ORDER, TWICE, NOWHERE, DAMAGED, COUNT


def test_a_second_delivery_is_flagged(play: Play) -> None:
    assert back(play, lambda: None, again=False) == ["FLAG"]


def test_a_requeued_message_is_flagged(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play("requeued", play.con, Q, [(10, 1)])
    play.consume(delivery(1))
    assert play.findings == ["FLAG"]


def test_first_deliveries_to_one_consumer_are_in_order(play: Play) -> None:
    play.publish(message(1), message(2), message(3))
    play.consume(delivery(1), delivery(3), delivery(2))
    assert play.findings == ["ORDER"]


def test_two_consumers_may_be_seen_in_any_order(play: Play) -> None:
    play.publish(message(1), message(2))
    play("consuming", CON, 51, Q, False)
    play("consuming", CON, 52, Q, False)
    play("received", 52, [delivery(2)])
    play("received", 51, [delivery(1)])
    assert play.findings == []


def test_a_consumer_does_not_get_for_the_first_time_what_lay_before_its_beginning(
    play: Play,
) -> None:
    play.publish(message(1), message(2))
    play.consume(delivery(2))
    play.consume(delivery(1))
    assert play.findings == ["ORDER"]


def test_redelivered_messages_may_come_in_any_order_but_on_a_drain(play: Play) -> None:
    play.publish(message(1), message(2))
    play.start()
    play.consume(delivery(2, True), delivery(1, True))
    assert play.findings == []
    play.events.pop()
    play("received", play.events[-1][2], [])
    play.consume(delivery(2, True), delivery(1, True), strict=True)
    assert play.findings == ["ORDER"]


def test_a_message_that_is_held_is_not_delivered(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play.consume(delivery(1, True))
    assert play.findings == ["TWICE"]


def test_what_was_held_comes_again_when_the_connection_has_ended(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(1))
    play("ended", play.con)
    play("opened", 99)
    play("consuming", 99, 98, Q, False)
    play("received", 98, [delivery(1, True)])
    assert play.findings == []


def test_a_message_from_nowhere(play: Play) -> None:
    play.publish(message(1))
    play.consume(delivery(2))
    play.consume(delivery(1), queue=R)
    play.consume((10, 1, False, 100, -1))
    assert play.findings == ["NOWHERE", "NOWHERE", "DAMAGED"]


def test_a_confirm_from_nowhere(play: Play) -> None:
    play.publish(message(1))
    play("confirmed", 10, 1, False, True)
    assert play.findings == ["NOWHERE"]


def test_a_queue_that_is_too_long(play: Play) -> None:
    play.publish(message(1), message(2, persistent=False), message(3), confirm=False)
    play("counted", Q, 3)
    play.start()
    play("counted", Q, 2)
    play("counted", Q, 3)
    assert play.findings == ["COUNT"]


# -- transactions


def transaction(play: Play, end: str, old: int = 1) -> None:
    """Message `old` of Q is acknowledged, messages go to Q and R."""
    play.publish(message(old))
    play("opened", TX)
    play("publisher", TX, 30, False)
    play("consuming", TX, 31, Q, False)
    play("received", 31, [delivery(old)])
    play("sent", 30, 7, [message(1, Q), message(2, R)])
    play("settled", TX, 7, Q, [(10, old)])
    if end == "rolled back":
        play("rolled_back", 7)
    elif end != "open":
        play("commit", 7)
    if end == "committed":
        play("committed", 7)
    play("ended", TX)


OLD, NEW_Q, NEW_R = "old", "new in Q", "new in R"


@pytest.mark.parametrize("end", ["open", "rolled back", "asked", "committed"])
@pytest.mark.parametrize("mask_found", range(8))
def test_a_transaction_is_done_or_not(play: Play, end: str, mask_found: int) -> None:
    found = {what for i, what in enumerate((OLD, NEW_Q, NEW_R)) if mask_found >> i & 1}
    transaction(play, end)
    play.start()
    if OLD in found:
        play.consume(delivery(1, True))
        play.ack(1)
    if NEW_Q in found:
        play.consume(delivery(1, True, 30))
        play.ack(1, publisher=30)
    if NEW_R in found:
        play.consume(delivery(2, True, 30), queue=R)
        play.ack(2, queue=R, publisher=30)
    play.drain()
    nothing, everything = found == {OLD}, found == {NEW_Q, NEW_R}
    if end == "asked":
        assert bool(play.findings) != (nothing or everything), play.findings
    elif end == "committed":
        assert bool(play.findings) != everything
    else:
        assert bool(play.findings) != nothing


def test_commit_ok_proves_what_came_before(play: Play) -> None:
    play.publish(message(5))
    play.consume(delivery(5))
    play.ack(5)
    play.ask()
    transaction(play, "committed", old=6)
    play.start()
    play.consume(delivery(5, True))
    assert play.findings == ["BACK"]


def test_an_empty_commit_proves_nothing(play: Play) -> None:
    def prove() -> None:
        play.ask()
        play("opened", TX)
        play("publisher", TX, 30, False)
        play("sent", 30, 7, [message(1, persistent=False)])
        play("commit", 7)
        play("committed", 7)

    assert back(play, prove) == []


# -- topology

DECLARED, BOUND = {"queue c.q0": True}, {"binding c.x0 to c.q0": True}
DELETED = {"queue c.q0": False, "binding c.x0 to c.q0": False}
NOTHING = DELETED


def declare(play: Play) -> None:
    """A queue, proved, then a binding and its deletion, the first of which is answered."""
    play("changing", PUB, 1, DECLARED, ())
    play("changed", PUB, 1)
    play.prove(1)
    play("changing", PUB, 2, BOUND, ())
    play("changed", PUB, 2)
    play("changing", PUB, 3, DELETED, ("c.q0",))


@pytest.mark.parametrize(
    ("found", "findings"),
    [
        (DECLARED | {"binding c.x0 to c.q0": False}, []),
        (DECLARED | BOUND, []),
        (DELETED, []),
        ({"queue c.q0": False, "binding c.x0 to c.q0": True}, ["TOPOLOGY"]),
    ],
)
def test_after_a_crash_some_prefix_is_there(
    play: Play, found: dict[str, bool], findings: list[str]
) -> None:
    declare(play)
    play.start()
    play("found", found)
    assert play.findings == findings


def test_what_is_proved_stays(play: Play) -> None:
    declare(play)
    play.events.pop()
    play.start()
    play("found", NOTHING)
    assert play.findings == ["TOPOLOGY"]


def test_without_a_crash_all_that_was_answered_stays(play: Play) -> None:
    declare(play)
    play("found", DECLARED | {"binding c.x0 to c.q0": False})
    assert play.findings == ["TOPOLOGY"]


def test_a_reply_that_is_proof(play: Play) -> None:
    oracle = Oracle(reply_is_proof=True)
    play("changing", PUB, 1, DECLARED, ())
    play("changed", PUB, 1)
    play.start()
    play("found", NOTHING)
    for event in play.events:
        oracle.apply(event)
    assert oracle.check()[0][0].startswith("TOPOLOGY")


def test_messages_are_owed_again_when_the_delete_of_their_queue_is_undone(play: Play) -> None:
    play("changing", PUB, 1, DECLARED, ())
    play("changed", PUB, 1)
    play.publish(message(1, "c.q0"))
    play("changing", PUB, 3, DELETED, ("c.q0",))
    play.start()
    play("found", DECLARED | {"binding c.x0 to c.q0": False})
    play.drain()
    assert play.findings == ["LOST"]


def test_messages_of_a_deleted_queue_stay_away(play: Play) -> None:
    play("changing", PUB, 1, DECLARED, ())
    play.publish(message(1, "c.q0"))
    play("changing", PUB, 3, DELETED, ("c.q0",))
    play.start()
    play("found", DELETED)
    play("changing", play.pub, 4, DECLARED, ())
    play.consume(delivery(1, True), queue="c.q0")
    assert play.findings == ["BACK"]


# -- the way there


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    blocks: list[bytes] = []
    journal = Journal(blocks.append)
    events = [("sent", 1, 0, [message(i)]) for i in range(500)]
    for event in events:
        journal(*event)
    journal.flush()
    journal.flush()
    path = tmp_path / "journal.bin"
    with path.open("wb") as file:
        for block in blocks:
            write_file(file, block)
    assert [event for block in blocks for event in read_block(block)] == events
    assert list(read_file(path)) == events
    assert len(blocks) > 1 and marshal.loads(blocks[0])


def test_a_kept_journal_is_judged_again(tmp_path: Path, play: Play) -> None:
    play.publish(message(1))
    play.start()
    play("check", 1)
    play.drain()
    path = tmp_path / "journal.bin"
    with path.open("wb") as file:
        write_file(file, marshal.dumps(play.events))
    findings, counts = judge_file(path, False)
    assert len(findings) == 1 and counts["LOST"] == 1


def test_bodies_say_which_message_they_are_and_notice_damage() -> None:
    rng = Random(1)
    for size in (HEAD_BYTES, HEAD_BYTES + 1, 5000, 1 << 20):
        body, crc = make_body(3, 9, size)
        assert read_body(body) == (3, 9, size, crc)
        at = rng.randrange(size)
        damaged = bytearray(body)
        damaged[at] ^= 1
        assert read_body(bytes(damaged))[2:] == (size, -1)
        assert read_body(body[:-1])[3] == -1
    assert read_body(b"x") == (-1, -1, 1, -1)
