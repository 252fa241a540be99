"""What is beyond the budget is paged out, and read back, unchanged and in order, before anybody needs it."""

from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import PreconditionFailed
from mansio.core.limits import Limits
from mansio.core.queue import Queue
from mansio.core.records import Damaged, encode_topology
from mansio.core.restore import Restore
from mansio.core.run import Run
from mansio.core.topology_records import take_snapshot
from tests.core.play import SIZE, Client, Scribe, make_run

BUDGET = 40 * SIZE
"""A queue that is alone keeps half of it, and reads a quarter of it ahead."""


class Kept:
    """A log: entries by seq, as far as they are not cut off."""

    def __init__(self) -> None:
        self.entries: dict[int, list[bytes]] = {}
        self.last_seq = 0

    def append(self, parts: list[Any], owners: Any) -> tuple[int, int, list[Any]]:
        """What `Journal.placed` is told of it."""
        records = [b"".join(each) for each in parts]
        self.last_seq = seq = self.last_seq + 1
        self.entries[seq] = records
        starts = [sum(map(len, records[:i])) for i in range(len(records))]
        placed = [(owner, seq, starts[number], len(records[number])) for number, owner in owners]
        return seq, self.size(seq), placed

    def size(self, seq: int) -> int:
        return sum(map(len, self.entries[seq]))

    def read(self, run: Run) -> bytes:
        return b"".join(self.entries[run.seq])[run.offset : run.offset + run.size]

    def cut(self, upto: int) -> None:
        for seq in [seq for seq in self.entries if seq <= upto]:
            del self.entries[seq]


class Keeper:
    """A broker between a log and a spool in which a turn's records are durable at once. `now_ms`: when it begins."""

    now_ms = 0

    def __init__(self, budget: int = BUDGET, spool: bool = True, **limits: Any) -> None:
        self.broker = Broker(Limits(page_bytes=budget, **limits), Scribe())
        self.broker.now_ms = self.now_ms
        self.paging = self.broker.paging
        self.loading = self.broker.paging.loading
        self.paging.spooling = spool
        self.client = Client(self.broker)
        self.broker.journal.started("test", new=True)
        self.log = Kept()
        self.spool = Kept()
        self.read: list[Run] = []  # in the order in which they were
        self._number = 0

    def turn(self) -> None:
        """Ends a turn, and whatever follows from it but for reads."""
        journal = self.broker.journal
        for _ in range(2):
            if records := self.broker.end_turn():
                journal.placed(*self.log.append(records, journal.owners))
                self.log.cut(journal.retention.cut())
            self.spool.cut(self.paging.spool.cut())
            records, owners = self.paging.take_spooled()
            if records:
                self.spool.cut(self.paging.spooled(*self.spool.append(records, owners)))
        check(self.broker)

    def load(self) -> None:
        """Reads what is wanted."""
        for run in self.loading.take(1 << 40):
            self.read.append(run)
            self.loading.loaded(run, self.record(run))
        check(self.broker)

    def record(self, run: Run) -> bytes:
        return (self.log if run.places else self.spool).read(run)

    def restarted(self) -> "Keeper":
        """The broker dies, and another one takes over with the log."""
        keeper = Keeper(self.paging.budget_bytes)
        keeper.log = self.log
        restore = Restore(keeper.broker)
        for seq, records in self.log.entries.items():
            restore.entry(seq, self.log.size(seq))
            offset = 0
            for record in records:
                restore.apply(record, offset)
                offset += len(record)
        restore.finish()
        keeper.turn()
        return keeper

    def queue(self, name: str) -> Queue:
        return self.broker.vhosts["/"].queues[name]

    def publish(self, queue: Queue, runs: int, persistent: bool = True) -> list[Run]:
        """Runs of one message each, with rising numbers, a turn for each."""
        published = []
        for _ in range(runs):
            published.append(self.client.publish(queue, self._number, persistent=persistent))
            self._number += 1
            self.turn()
        return published

    def settle(self) -> None:
        """Turns and reads until nothing happens any more."""
        while self.broker.unfinished or self.loading.wanted:
            self.turn()
            self.load()
        self.turn()


def resident(runs: list[Run]) -> list[bool]:
    return [bool(run.data) for run in runs]


def test_the_deep_end_goes_and_the_head_stays() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 100)
    assert resident(runs) == [True] * 39 + [False] * 60 + [True], "the last one was not durable"
    assert keeper.broker.memory_bytes == BUDGET


def test_what_is_not_durable_stays() -> None:
    keeper = Keeper(spool=False)
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 100, persistent=False)
    assert resident(runs) == [True] * 100
    more = keeper.client.publish(queue, 100, persistent=True)
    keeper.broker.end_turn()
    assert more.data, "its record is not durable yet"


def test_everything_comes_back_in_order() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 300)
    keeper.client.consume(queue, no_ack=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == list(range(300))
    assert keeper.read == sorted(keeper.read, key=lambda run: run.seq) and len(keeper.read) == 260
    assert not keeper.broker.memory_bytes


def test_a_part_is_read_ahead_while_the_one_before_is_handed_out() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 200)
    keeper.broker.set_prefetch(keeper.client.channel, 1, False)
    keeper.client.consume(queue)
    tag, stalls = 0, 0
    while tag < 150:
        keeper.turn()
        heard = keeper.client.heard.deliveries
        if heard[-1][1] == tag:
            stalls += 1
        else:
            tag += 1
            assert heard[-1][1] == tag
            keeper.client.settle(tag)
        keeper.load()
        assert sum(resident(runs[tag:])) <= 40, "no more than a window"
    assert not stalls


def test_one_queue_does_not_page_out_the_window_of_another() -> None:
    keeper = Keeper()
    quiet, loud = (keeper.client.declare(name, durable=True) for name in ("a", "b"))
    first = keeper.publish(quiet, 8)
    keeper.publish(loud, 200)
    assert all(resident(first))


def test_what_cannot_go_does_not_drive_out_the_window() -> None:
    keeper = Keeper(spool=False)
    quiet, loud = keeper.client.declare("a", durable=True), keeper.client.declare("b")
    first = keeper.publish(quiet, 25)
    keeper.publish(loud, 100, persistent=False)
    assert resident(first) == [True] * 20 + [False] * 5


def test_the_longest_queue_gives_first() -> None:
    keeper = Keeper()
    long, short = (keeper.client.declare(name, durable=True) for name in ("a", "b"))
    first = keeper.publish(long, 38)
    second = keeper.publish(short, 12)
    assert resident(first) == [True] * 28 + [False] * 10
    assert all(resident(second))


def test_who_fetches_waits_until_the_message_is_there() -> None:
    keeper = Keeper(budget=1)
    queue = keeper.client.declare(durable=True)
    (run,) = keeper.publish(queue, 1)
    assert not run.data
    assert keeper.loading.must_wait(queue, "me")
    assert not keeper.loading.awake
    keeper.load()
    assert keeper.loading.take_woken() == ["me"]
    assert not keeper.loading.must_wait(queue, "me")
    got = keeper.broker.get(keeper.client.channel, queue, False)
    assert got is not None and got.run.message(got.i).startswith(b"00000000")


def test_who_waits_for_what_is_gone_hears_of_it() -> None:
    keeper = Keeper(budget=1)
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 1)
    assert keeper.loading.must_wait(queue, "me")
    (run,) = keeper.loading.take(1000)
    record = keeper.record(run)
    keeper.broker.settling.drop_ready(queue)
    assert keeper.loading.take_woken() == ["me"]
    keeper.loading.loaded(run, record)
    keeper.turn()
    assert not run.data and not keeper.broker.memory_bytes


def test_a_run_is_summed_up_when_it_goes_first_and_checked_whenever_it_is_back() -> None:
    run = make_run([1, 2])
    data = run.data
    run.page_out()
    assert run.page_in(2, data, None, None)
    run.data = b"changed"
    run.page_out()
    assert not run.page_in(2, b"changed", None, None)
    assert run.page_in(2, data, None, None)


def test_changed_bytes_are_never_handed_out() -> None:
    keeper = Keeper(budget=1)
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 3)
    keeper.client.consume(queue)
    keeper.turn()
    (run,) = keeper.loading.take(1)
    record = bytearray(keeper.record(run))
    for at in (0, 10, len(record) - 1):
        record[at] ^= 4
        with pytest.raises(Damaged):
            keeper.loading.loaded(run, bytes(record))
        record[at] ^= 4
    keeper.loading.lost(run)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [], "the queue stops where it cannot be read"
    with pytest.raises(PreconditionFailed, match=r"queue 'q' .* cannot be read"):
        keeper.loading.must_wait(queue, "me")
    keeper.broker.settling.drop(queue, queue.take_head(1))
    keeper.broker.dispatcher.touch(queue)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [1, 2]


def test_a_read_that_failed_is_asked_for_again() -> None:
    keeper = Keeper(budget=1)
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 1)
    keeper.client.consume(queue)
    keeper.turn()
    (run,) = keeper.loading.take(1)
    assert not keeper.loading.wanted
    keeper.loading.failed(run)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [0]


def test_transient_messages_go_by_way_of_the_spool() -> None:
    keeper = Keeper(bucket_bytes=500)
    queue = keeper.client.declare()
    runs = keeper.publish(queue, 200, persistent=False)
    assert resident(runs) == [True] * 40 + [False] * 160
    keeper.client.consume(queue, no_ack=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == list(range(200))
    assert len(keeper.spool.entries) < 20, "cut off behind what was read"


def test_a_spool_is_not_pinned_by_one_message() -> None:
    keeper = Keeper(bucket_bytes=500, garbage_bytes=1000)
    stuck, busy = keeper.client.declare("stuck"), keeper.client.declare("busy")
    runs = keeper.publish(stuck, 45, persistent=False)
    for _ in range(20):
        keeper.publish(busy, 50, persistent=False)
        keeper.broker.settling.drop_ready(busy)
        keeper.settle()
    assert not all(resident(runs))
    assert sum(map(keeper.spool.size, keeper.spool.entries)) < 15_000


def test_without_a_spool_from_now_on() -> None:
    keeper = Keeper()
    queue = keeper.client.declare()
    keeper.publish(queue, 60, persistent=False)
    keeper.client.publish(queue, 60)
    keeper.broker.end_turn()
    keeper.broker.end_turn()
    keeper.paging.spool_lost()
    last = keeper.client.publish(queue, 61)
    keeper.paging.spool_lost()
    keeper.broker.end_turn()
    assert last.data
    assert keeper.broker.memory_bytes == 42 * SIZE


def test_what_waits_in_memory_when_the_spool_is_lost_stays_there() -> None:
    keeper = Keeper()
    queue = keeper.client.declare()
    runs = keeper.publish(queue, 30, persistent=False)
    keeper.paging.spool_lost()
    runs += keeper.publish(queue, 100, persistent=False)
    assert all(resident(runs))
    assert not keeper.paging.leaving_bytes, "nobody would ever take it"


def test_a_run_in_several_queues_is_there_for_each() -> None:
    keeper = Keeper(budget=1)
    queues = [keeper.client.declare(name, durable=True) for name in "abc"]
    for i in range(50):
        run = keeper.client.publish(queues[0], i, persistent=True)
        assert run
        keeper.turn()
    client = keeper.client
    for i in range(50, 60):
        keeper.broker.publish(client.channel, make_run([i], True), tuple(queues))
        keeper.turn()
    for queue in reversed(queues):
        client.consume(queue, queue.name, no_ack=True)
        keeper.settle()
        start = 0 if queue.name == "a" else 50
        assert client.heard.take_numbers() == list(range(start, 60))


def test_what_is_requeued_is_read_again() -> None:
    keeper = Keeper(budget=1)
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 5)
    keeper.client.consume(queue)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [0, 1, 2, 3, 4]
    keeper.client.settle_until(5, requeue=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [0, 1, 2, 3, 4]


def test_a_bound_in_bytes_needs_no_bytes() -> None:
    keeper = Keeper(budget=1)
    arguments = {"x-max-length-bytes": 10 * SIZE}
    queue = keeper.client.declare(durable=True, arguments=arguments)
    keeper.publish(queue, 30)
    assert queue.ready_count == 10
    assert not keeper.read
    keeper.client.consume(queue, no_ack=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == list(range(20, 30))


def test_a_record_that_has_to_move_is_read_first() -> None:
    keeper = Keeper(budget=1, bucket_bytes=500, garbage_bytes=1000)
    stuck, busy = (keeper.client.declare(name, durable=True) for name in ("stuck", "busy"))
    (run,) = keeper.publish(stuck, 1)
    assert not run.data
    seq = run.seq
    for _ in range(40):
        keeper.publish(busy, 2)
        keeper.broker.settling.drop_ready(busy)
        keeper.settle()
    assert run.seq > seq and run in keeper.read
    keeper.client.consume(stuck)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [0]


def test_memory_blocks_publishers_only_when_paging_out_does_not_help() -> None:
    keeper = Keeper(memory_bytes_max=2 * BUDGET, run_bytes=0)
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 500)
    assert not keeper.broker.blocked
    for i in range(100):
        keeper.client.publish(queue, 500 + i, persistent=True)
    keeper.broker.end_turn()
    assert keeper.broker.blocked, "nothing of it is durable"


def test_nothing_is_paged_out_without_a_budget() -> None:
    keeper = Keeper(budget=0)
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 100)
    assert all(resident(runs)) and runs[0].home is None


def test_after_a_restart_everything_is_paged_out() -> None:
    before = Keeper()
    before.publish(before.client.declare(durable=True), 100)
    keeper = before.restarted()
    assert not keeper.broker.memory_bytes
    keeper.client.consume(keeper.queue("q"), no_ack=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == list(range(100))


def test_after_a_restart_runs_that_were_published_alike_share_their_routes() -> None:
    before = Keeper()
    before.publish(before.client.declare(durable=True), 3)
    runs = [span.run for span in before.restarted().queue("q").ready]
    assert runs[0].routes is runs[1].routes is runs[2].routes


@pytest.mark.parametrize("known_late", [False, True], ids=["declared-first", "snapshot-only"])
def test_after_a_restart_a_bound_in_bytes_holds(known_late: bool) -> None:
    before = Keeper()
    queue = before.client.declare(durable=True, arguments={"x-max-length-bytes": 10 * SIZE})
    before.publish(queue, 10)
    if known_late:
        first = min(before.log.entries)
        before.broker.journal.write(encode_topology(take_snapshot(before.broker)))
        before.turn()
        del before.log.entries[first]
    keeper = before.restarted()
    queue = keeper.queue("q")
    keeper.publish(queue, 4)
    assert queue.ready_count == 10
    keeper.client.consume(queue, no_ack=True)
    keeper.settle()
    assert keeper.client.heard.take_numbers() == [*range(4, 10), *range(4)]


def test_what_was_read_back_outlasts_what_arrives() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    runs = keeper.publish(queue, 100)
    keeper.broker.set_prefetch(keeper.client.channel, 45, False)
    keeper.client.consume(queue)
    keeper.settle()
    ahead = [run for run in runs[45:] if run.data]
    assert len(ahead) > 5
    keeper.publish(queue, 100)
    assert all(resident(ahead))


def test_reads_that_take_their_time_hold_up_nobody() -> None:
    keeper = Keeper()
    queue = keeper.client.declare(durable=True)
    keeper.publish(queue, 200)
    keeper.broker.set_prefetch(keeper.client.channel, 1, False)
    keeper.client.consume(queue)
    tag = stalls = 0
    reading: list[list[Run]] = []
    while tag < 150:
        keeper.turn()
        if keeper.client.heard.deliveries[-1][1] == tag:
            stalls += 1
        else:
            tag += 1
            keeper.client.settle(tag)
        reading.append(keeper.loading.take(1 << 40))
        if len(reading) > 3:
            for run in reading.pop(0):
                keeper.loading.loaded(run, keeper.record(run))
    assert 0 < stalls < 5, "only where the first run was missing"


def test_a_bound_that_drops_what_is_being_read_lets_the_rest_go_on() -> None:
    keeper = Keeper(budget=1, spool=False)
    queue = keeper.client.declare(durable=True, arguments={"x-max-length": 5})
    other = keeper.client.declare("other", durable=True)
    keeper.broker.publish(keeper.client.channel, make_run([1, 2, 3], True), (queue, other))
    keeper.turn()
    keeper.client.consume(queue)
    keeper.turn()
    for number in range(10, 15):
        keeper.client.publish(queue, number)
    keeper.turn()
    assert keeper.client.heard.take_numbers() == [10, 11, 12, 13, 14]


def test_sizes_of_bodies_are_known_after_a_restart_whichever_queue_comes_first() -> None:
    keeper = Keeper(budget=0)
    plain = keeper.client.declare("a", durable=True)
    bounded = keeper.client.declare("b", durable=True, arguments={"x-max-length-bytes": 10 * SIZE})
    keeper.broker.publish(keeper.client.channel, make_run([0], True), (plain, bounded))
    keeper.turn()
    again = keeper.restarted()
    assert again.queue("b").ready[0].run.bodies == SIZE
