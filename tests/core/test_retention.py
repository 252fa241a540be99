"""The log is cut in front, and what is still needed lives on: runs that are carried, snapshots, positions."""

import random
from collections.abc import Callable

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.inflight import Piece
from mansio.core.journal import Journal, Owners
from mansio.core.limits import Limits
from mansio.core.records import SNAPSHOT
from mansio.core.restore import Restore
from mansio.core.retention import Retention
from mansio.core.run import Run
from tests.core.test_restore import Writer, durable_part

LIMITS = Limits(bucket_bytes=400, garbage_bytes=2000)


class Cutter(Writer):
    """A writer with a log of one entry a turn, which is cut as the broker says."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self.entries: dict[int, list[bytes]] = {}
        self.seq = 1

    def turn(self) -> None:
        records = [b"".join(parts) for parts in self.broker.end_turn()]
        if not records:
            return
        self.seq += 1
        self.entries[self.seq] = records
        starts = [sum(map(len, records[:i])) for i in range(len(records))]
        journal = self.broker.journal
        placed = [
            (owner, self.seq, starts[number], len(records[number]))
            for number, owner in journal.owners
        ]
        journal.placed(self.seq, sum(map(len, records)), placed)
        upto = journal.retention.cut()
        for seq in [seq for seq in self.entries if seq <= upto]:
            del self.entries[seq]

    @property
    def log_bytes(self) -> int:
        return sum(len(record) for records in self.entries.values() for record in records)

    def restored(self) -> Broker:
        broker = Broker(LIMITS)
        restore = Restore(broker)
        for seq, records in self.entries.items():
            restore.entry(seq, sum(map(len, records)))
            offset = 0
            for record in records:
                restore.apply(record, offset)
                offset += len(record)
        restore.finish()
        check(broker)
        return broker

    def declare(self, *names: str) -> None:
        for name in names:
            self.broker.definitions.declare_queue(self.session, name, True, False, False, {})

    def take(self, name: str, count: int) -> None:
        """Consumes and acknowledges."""
        queue = self.broker.vhosts["/"].queues[name]
        for _ in range(count):
            got = self.broker.get(self.channel, queue, False)
            assert got is not None
            self.broker.settle(self.channel, got.tag, got.tag, False, False)


def test_a_log_of_settled_messages_stays_short() -> None:
    writer = Cutter()
    writer.declare("q")
    for _ in range(500):
        writer.publish("", "q", 3)
        writer.turn()
        writer.take("q", 3)
        writer.turn()
        assert writer.log_bytes < 8000
    assert writer.seq > 1000
    assert durable_part(writer.restored()) == durable_part(writer.broker)


def test_a_message_that_nobody_takes_does_not_keep_the_log() -> None:
    """It is carried, with what is settled of its run, in every queue that the run went to."""
    writer = Cutter()
    writer.declare("q", "old")
    definitions = writer.broker.definitions
    for name in ("q", "old"):
        definitions.bind_queue(writer.session, name, "amq.fanout", "", {})
    writer.publish("amq.fanout", "", 5)
    writer.turn()
    writer.take("q", 5)
    writer.take("old", 2)
    writer.turn()
    expected = durable_part(writer.broker)["queues"]["old"]
    for _ in range(300):
        writer.publish("", "q", 2)
        writer.turn()
        writer.take("q", 2)
        writer.turn()
        assert writer.log_bytes < 8000
    assert min(writer.entries) > 100, "the first entries are cut off"
    assert durable_part(writer.restored())["queues"]["old"] == expected
    assert durable_part(writer.restored()) == durable_part(writer.broker)


def test_messages_are_not_carried_to_win_what_is_won_by_a_snapshot() -> None:
    """With many queues the topology is most of a log at rest; it stays in front until as much is behind it."""
    writer = Cutter()
    writer.declare("q", *(f"queue number {i}" for i in range(100)))
    for _ in range(200):
        writer.publish("", "q", 2)
        writer.turn()
        writer.take("q", 2)
        writer.turn()
    for _ in range(10):
        writer.publish("", "q", 1)
        writer.turn()
    for _ in range(300):
        writer.turn()
    seq = writer.seq
    writer.turn()
    assert writer.seq == seq
    assert durable_part(writer.restored()) == durable_part(writer.broker)


def test_positions_go_on_where_everything_was_settled_and_cut_off() -> None:
    """Otherwise a settlement that is still in the log would take away a message that comes later."""
    writer = Cutter()
    writer.declare("quiet", "busy")
    writer.publish("", "quiet", 4)
    writer.turn()
    writer.take("quiet", 4)
    for _ in range(100):
        writer.publish("", "busy", 4)
        writer.turn()
        writer.take("busy", 4)
        writer.turn()
    queues = writer.restored().vhosts["/"].queues
    assert (queues["quiet"].next_position, queues["busy"].next_position) == (4, 400)


def test_ids_of_queues_go_on_where_their_records_were_cut_off() -> None:
    writer = Cutter()
    for i in range(60):
        writer.declare(f"passing{i}")
        writer.turn()
        writer.broker.definitions.drop_queue(writer.broker.vhosts["/"].queues[f"passing{i}"])
        writer.turn()
    assert min(writer.entries) > 30
    assert writer.restored().definitions.next_queue_id == 61


def test_a_record_that_is_not_durable_yet_keeps_the_place_of_its_run() -> None:
    """Between the turn that carries a run and its entry, the old record is the only one."""
    writer = Cutter()
    writer.declare("old", "q")
    writer.publish("", "old")
    writer.turn()
    cuts: list[int] = []
    placed = Journal.placed
    while not cuts:
        writer.publish("", "q", 2)
        writer.take("q", 2)
        (span,) = writer.broker.vhosts["/"].queues["old"].ready
        bucket = span.run.bucket
        records = writer.broker.end_turn()
        if bucket is not None and span.run in bucket.moving:
            cuts.append(writer.broker.journal.retention.cut())
            assert cuts[0] < span.run.seq
        writer.seq += 1
        writer.entries[writer.seq] = [b"".join(parts) for parts in records]
        owners = [(o, writer.seq, 0, len(records[n][0])) for n, o in writer.broker.journal.owners]
        placed(writer.broker.journal, writer.seq, 500, owners)
    assert span.run.seq == writer.seq


def test_a_run_that_was_settled_early_keeps_its_record_until_the_settlement_is_durable() -> None:
    writer = Writer(LIMITS)
    broker = writer.broker
    queue = broker.definitions.declare_queue(writer.session, "q", True, False, False, {})
    turns: list[Owners] = []

    def turn() -> None:
        broker.end_turn()
        turns.append(broker.journal.owners)

    writer.publish("", "q")
    turn()
    broker.get(writer.channel, queue, True)
    turn()
    broker.journal.placed(1, 100, [(owner, 1, 0, 50) for _, owner in turns[0]])
    (bucket,) = broker.journal.retention.buckets
    assert bucket.needed
    writer.publish("", "q")
    turn()
    broker.journal.placed(2, 100, [(owner, 2, 0, 50) for _, owner in turns[1]])
    assert bucket.needed, "whether the settlement was in this entry is not known"
    broker.journal.placed(3, 400, [(owner, 3, 0, 50) for _, owner in turns[2]])
    assert not bucket.leaving


@pytest.mark.parametrize("seed", range(40))
def test_any_history_survives_cutting(seed: int) -> None:
    rng = random.Random(seed)
    writer = Cutter()
    broker = writer.broker
    names = ["a", "b", "c"]

    def declare() -> None:
        writer.declare(rng.choice(names))

    def drop() -> None:
        found = broker.vhosts["/"].queues.get(rng.choice(names))
        if found is not None and rng.random() < 0.3:
            broker.definitions.drop_queue(found)

    def bind() -> None:
        name = rng.choice(names)
        if name in broker.vhosts["/"].queues:
            broker.definitions.bind_queue(writer.session, name, "amq.fanout", rng.choice("xy"), {})

    def publish() -> None:
        if rng.random() < 0.5:
            writer.publish("amq.fanout", "", rng.randint(1, 5), rng.random() < 0.8)
        else:
            writer.publish("", rng.choice(names), rng.randint(1, 5), rng.random() < 0.8)

    def get() -> None:
        queue = broker.vhosts["/"].queues.get(rng.choice(names))
        for _ in range(rng.randint(1, 6)):
            if queue is not None:
                broker.get(writer.channel, queue, rng.random() < 0.3)

    def settle() -> None:
        pieces: list[Piece] = []
        for flight in writer.channel.ledger:
            pieces += flight.open_pieces(0, flight.count)
        if pieces:
            tag = rng.choice(pieces).first
            broker.settle(writer.channel, tag, tag, rng.random() < 0.5, rng.random() < 0.3)

    steps: list[Callable[[], None]] = [declare, drop, bind, *[publish, get, settle] * 4]
    for _ in range(400):
        rng.choice(steps)()
        if rng.random() < 0.4:
            writer.turn()
    writer.turn()
    assert durable_part(writer.restored()) == durable_part(broker)
    check(broker)


def test_after_an_orderly_stop_only_what_was_delivered_is_redelivered() -> None:
    writer = Cutter()
    writer.declare("q")
    writer.publish("", "q", 3)
    writer.turn()
    queue = writer.broker.vhosts["/"].queues["q"]
    got = writer.broker.get(writer.channel, queue, False)
    assert got is not None
    writer.broker.close_session(writer.session)
    writer.broker.journal.stopped()
    writer.turn()
    spans = writer.restored().vhosts["/"].queues["q"].ready
    assert [(s.start, s.stop, s.redelivered) for s in spans] == [(0, 1, True), (1, 3, False)]


def test_after_anything_else_everything_is_redelivered() -> None:
    """Also if an orderly stop lies further back: the broker that came after it may have delivered."""
    writer = Cutter()
    writer.declare("q")
    writer.publish("", "q", 3)
    writer.turn()
    writer.broker.journal.stopped()
    writer.turn()
    writer.broker.journal.started("test", new=False)
    writer.turn()
    (span,) = writer.restored().vhosts["/"].queues["q"].ready
    assert span.redelivered


def test_a_stop_is_in_order_although_there_is_something_to_tidy_up() -> None:
    writer = Cutter()
    writer.declare("stuck", "busy")
    writer.publish("", "stuck", 2)
    writer.turn()
    retention = writer.broker.journal.retention
    while retention.total_bytes - retention.live_bytes <= LIMITS.garbage_bytes:
        writer.publish("", "busy", 3)
        writer.turn()
        writer.take("busy", 3)
    writer.broker.close_session(writer.session)
    writer.broker.journal.stopped()
    writer.turn()
    ready = writer.restored().vhosts["/"].queues["stuck"].ready
    assert [span.redelivered for span in ready] == [False]


class Low:
    """Buckets of one entry each; each entry has one live run, or none."""

    def __init__(self, *live: int, size: int = 400) -> None:
        """`live`: of each entry, the bytes that live in it."""
        self.retention = Retention(LIMITS)
        self.runs: list[Run] = []
        for seq, live_bytes in enumerate(live, 1):
            self.retention.entry(seq, size)
            if live_bytes:
                run = Run(bytes(live_bytes), 1, live_bytes, None, ())
                run.live = 1
                self.runs.append(run)
                self.retention.place(run, seq, 0, live_bytes)
        self.seq = len(live)

    def carry(self, most_bytes: int = 1 << 62) -> list[Run]:
        return self.retention.take_carried(True, most_bytes)[0]

    def land(self, *owners: object, size: int = 400) -> int:
        """An entry with these records is durable; where the log is cut then."""
        self.seq += 1
        self.retention.entry(self.seq, size)
        for owner in owners:
            self.retention.place(owner, self.seq, 0, 50)
        return self.retention.cut()


def test_without_room_one_bucket_is_emptied_at_a_time() -> None:
    low = Low(50, 50, 0, 0, 0, 0)
    low.land(SNAPSHOT)
    assert low.carry() == low.runs[:1]
    assert low.carry() == [], "the first one is not durable yet"
    assert low.land(*low.runs[:1]) == 1
    assert low.carry() == low.runs[1:]
    assert low.land(*low.runs[1:]) == 6, "up to the snapshot"
    assert low.carry() == [], "what is left does not keep anything"


def test_without_room_nothing_is_carried_that_does_not_pin() -> None:
    low = Low(50, 0, 0, 0, 0, 0, 0)
    low.retention.settled(low.runs[0])
    assert low.carry() == [], "its settlement will give the bucket back"
    assert Low(0, 50, 0, 0, 0, 0, 0).carry() == [], "a snapshot will"
    assert Low(50, 350, 350, 350, 350, 350).carry() == [], "next to nothing would be won"


def test_no_more_is_carried_than_there_is_room_for() -> None:
    low = Low(1000, 0, 0, 0, 0, 0, 0, size=1000)
    assert low.carry(999) == []
    assert low.retention.take_carried(False, 999) == ([], [])
    assert low.carry(1000) == low.runs


def test_without_room_a_bucket_is_only_begun_if_it_can_be_emptied() -> None:
    """One entry may be many times the size of a bucket, with much in it that lives."""
    low = Low(0, size=10_000)
    for _ in range(30):
        run = Run(bytes(300), 1, 300, None, ())
        run.live = 1
        low.runs.append(run)
        low.retention.place(run, 1, 0, 300)
    for _ in range(30):
        low.land(size=1000)
    assert low.carry(1000) == []
    for run in low.runs[3:]:
        run.live = 0
        low.retention.settled(run)
    low.land(low.retention.take_leaving())
    assert low.carry(1000) == low.runs[:2]


def test_without_room_what_lives_is_not_carried_to_win_less() -> None:
    assert Low(*[300] * 40, 0).carry(2000) == []
    assert Low(*[150] * 40, 0).carry(4000)


@pytest.mark.parametrize(
    ("room_bytes", "low", "spare_bytes", "carried"),
    [
        (2000, False, 0, 1),
        (900, False, 0, 0),
        (900, False, 4000, 0),
        (0, True, 3900, 0),
        (0, True, 4000, 1),
    ],
)
def test_a_large_message_that_pins_is_carried_where_that_is_safe(
    room_bytes: int, low: bool, spare_bytes: int, carried: int
) -> None:
    """In the room for publishes, or in a quarter of what is left behind it."""
    journal = Broker(LIMITS).journal
    playing = Low(1000, 0, 0, 0, 0, 0, 0, size=1000)
    journal.retention = playing.retention
    journal.spare_bytes = spare_bytes
    journal.measured(room_bytes, low)
    journal.take()
    assert len(playing.retention.buckets[0].moving) == carried


def test_what_is_carried_waits_for_room_when_the_log_is_slow() -> None:
    """Otherwise turns would hand it more and more, while it has not even said that it is getting full."""
    journal = Broker(LIMITS).journal
    journal.retention = Low(*[300] * 20, *[0] * 40).retention
    room_bytes = 3000
    for _ in range(50):
        journal.measured(room_bytes, False)
        journal._stirred = True
        journal.take()
        room_bytes -= 300 * sum(owner is not SNAPSHOT for _, owner in journal.owners)
    assert -800 <= room_bytes < 2000


def test_without_room_a_snapshot_comes_as_soon_as_it_frees_something() -> None:
    retention = Low(0, 50).retention
    assert not retention.take_snapshot_due(low=False)
    assert retention.take_snapshot_due(low=True)
    assert not retention.take_snapshot_due(low=True), "it is under way"
    assert not Low(50, 0).retention.take_snapshot_due(low=True)
    large = Low(0, 0, 50)
    large.retention.place(SNAPSHOT, 1, 0, 1000)
    assert not large.retention.take_snapshot_due(low=True), "it would take more than it frees"


@pytest.mark.parametrize("waits", [False, True])
def test_a_log_without_room_gets_short_by_itself(waits: bool) -> None:
    """Also where it is not low, but somebody waits for more than there is."""
    writer = Cutter()
    writer.declare("q", "old")
    writer.publish("", "old")
    writer.turn()
    for _ in range(20):
        writer.publish("", "q", 1)
        writer.turn()
        writer.take("q", 1)
        writer.turn()
        if writer.broker.journal.retention.total_bytes > 1800:
            break
    before = writer.log_bytes
    assert before > 1700
    if waits:
        writer.broker.journal.waiters["somebody"] = None
    writer.broker.journal.measured(0, not waits)
    writer.turn()
    for _ in range(4):
        writer.publish("", "q", 1)
        writer.turn()
        writer.take("q", 1)
        writer.turn()
    assert writer.log_bytes < before - 400
    assert durable_part(writer.restored()) == durable_part(writer.broker)
