"""Delayed messages come out in the order in which they are due, by the bindings of then, whatever happens meanwhile."""

import random
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from mansio.core import delay_packing, delays
from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.delay_packing import mix
from mansio.core.held import Held
from mansio.core.queue import Queue
from mansio.core.restore import Restore
from tests.core.play import Client, number
from tests.core.test_paging import Keeper

HOUR = 3_600_000
NO_BUDGET = 1 << 40


def content(i: int, size: int = 8) -> bytes:
    """The frames of a message, as far as the core looks at them: a header frame, and a number."""
    header = b"\x00\x3c\x00\x00" + size.to_bytes(8, "big")
    return b"\x02\x00\x01\x00\x00\x00\x0c" + header + b"\xce" + number(i).ljust(size, b".")


def hold(
    client: Client,
    numbers: Sequence[int],
    delay: "int | Sequence[int]",
    persistent: bool = False,
    exchange: str = "",
    key: str = "q",
    size: int = 8,
) -> None:
    """Publishes messages with one delay, or one for each."""
    broker = client.broker
    route = broker.delays("/").route(exchange, key)
    run = mix([content(i, size) for i in numbers], [route] * len(numbers), persistent)
    run.held = Held(run, delay if isinstance(delay, int) else array("Q", delay))
    broker.publish(client.channel, run, ())


def ready(queue: Queue) -> list[int]:
    """The numbers of what is ready, in order."""
    return [
        int(span.run.content(i)[20:28])
        for span in queue.spans()
        for i in range(span.start, span.stop)
    ]


def pass_time(broker: Broker, ms: int) -> None:
    """Turns until nothing more is due at a time so much later."""
    broker.now_ms += ms
    broker.end_turn()
    while broker.deadlines.next_ms <= broker.now_ms:
        broker.end_turn()
    check(broker)


@pytest.fixture
def client() -> Client:
    broker = Broker()
    broker.now_ms = 1_000_000
    return Client(broker)


def test_held_until_it_is_due(client: Client) -> None:
    queue = client.declare()
    hold(client, [1, 2], 500)
    pass_time(client.broker, 499)
    assert ready(queue) == [] and client.broker.delays("/").count == 2
    pass_time(client.broker, 1)
    assert ready(queue) == [1, 2] and client.broker.delays("/").count == 0
    assert queue.ready[0].run.arrived_ms == client.broker.now_ms


def test_order_is_that_of_deadlines_then_of_arrival(client: Client) -> None:
    queue = client.declare()
    hold(client, [1, 2, 3], [30, 10, 20])
    hold(client, [4, 5], 10)
    hold(client, [6], 5)
    pass_time(client.broker, 100)
    assert ready(queue) == [6, 2, 4, 5, 3, 1]


def test_routed_by_the_bindings_of_then(client: Client) -> None:
    broker, session = client.broker, client.session
    before, after = client.declare("before"), client.declare("after")
    client.exchange("x")
    broker.definitions.bind_queue(session, "before", "x", "k", {})
    hold(client, [1], 10, exchange="x", key="k")
    broker.definitions.unbind_queue(session, "before", "x", "k", {})
    broker.definitions.bind_queue(session, "after", "x", "k", {})
    pass_time(broker, 10)
    assert (ready(before), ready(after)) == ([], [1])


def test_without_an_exchange_or_a_queue_it_is_dropped(client: Client) -> None:
    broker = client.broker
    client.exchange("x")
    hold(client, [1, 2], 10, exchange="x", key="k")
    hold(client, [3], 10, exchange="", key="nobody")
    broker.definitions.delete_exchange(client.session, "x", False)
    pass_time(broker, 10)
    assert broker.counts.dropped == 3 and broker.counts.published == 3
    assert broker.notices == [
        "2 delayed messages for exchange 'x' in vhost '/' were due and are dropped: it is gone"
    ]


def test_in_a_transaction_the_delay_begins_at_the_commit(client: Client) -> None:
    queue = client.declare()
    client.broker.select_tx(client.channel)
    hold(client, [1], 100)
    pass_time(client.broker, 100)
    assert client.broker.delays("/").count == 0
    client.broker.commit(client.channel)
    pass_time(client.broker, 99)
    assert ready(queue) == []
    pass_time(client.broker, 1)
    assert ready(queue) == [1]


def test_rolled_back_it_never_comes(client: Client) -> None:
    client.broker.select_tx(client.channel)
    hold(client, [1], 100)
    client.broker.rollback(client.channel)
    pass_time(client.broker, HOUR)
    assert client.broker.counts.delayed == 0


def test_delays_of_ages_neither_overflow_nor_hurry(client: Client) -> None:
    queue = client.declare()
    hold(client, [1, 2], [(1 << 63) - 1, 10 * 365 * 24 * HOUR])
    pass_time(client.broker, 10 * 365 * 24 * HOUR)
    assert ready(queue) == [2]
    assert [each.due_ms for each in client.broker.delays("/")] == [(1 << 63) - 1]


def test_listed_and_cancelled(client: Client) -> None:
    queue = client.declare()
    hold(client, [1, 2, 3], [30, 10, 20])
    hold(client, [4], 40, exchange="amq.direct", key="k")
    store = client.broker.delays("/")
    now_ms = client.broker.now_ms
    listed = {each.id: each for each in store}
    assert [listed[i].due_ms - now_ms for i in range(4)] == [30, 10, 20, 40]
    assert (listed[3].exchange, listed[3].key, listed[3].bytes) == ("amq.direct", "k", 28)
    assert store.cancel(2) and not store.cancel(2) and not store.cancel(99)
    check(client.broker)
    pass_time(client.broker, 100)
    assert ready(queue) == [2, 1] and client.broker.counts.cancelled == 1


def test_a_turn_takes_a_bounded_part(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "FIRED_MAX", 10)
    queue = client.declare()
    hold(client, list(range(25)), 10)
    client.broker.now_ms += 10
    for count in (10, 20, 25):
        client.broker.end_turn()
        check(client.broker)
        assert ready(queue) == list(range(count))


def test_many_loose_messages_are_packed_and_keep_their_ids_and_order(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delay_packing, "PACKED_MAX", 8)
    monkeypatch.setattr(delays, "LOOSE_MAX", 40)
    queue = client.declare()
    rng = random.Random(5)
    due = [rng.randrange(1, 30) for _ in range(40)]
    for i in range(40):
        hold(client, [i], due[i], persistent=i % 3 == 0)
    store = client.broker.delays("/")
    listed = {each.id: each.due_ms for each in store}
    client.broker.end_turn()
    check(client.broker)
    runs = {id(held.run) for _, _, held in (*store.near, *store.far)}
    assert len(runs) == 2 + 4, "14 persistent and 26 transient messages in runs of 8"
    assert {each.id: each.due_ms for each in store} == listed
    spans = sorted(
        (min(held.due), max(held.due))
        for _, _, held in (*store.near, *store.far)
        if not held.run.persistent and not isinstance(held.due, int)
    )
    assert all(a[1] <= b[0] for a, b in pairwise(spans)), "each run is for a time of its own"
    store.cancel(7)
    pass_time(client.broker, 100)
    left = [i for i in range(40) if i != 7]
    assert ready(queue) == sorted(left, key=lambda i: (due[i], i))
    assert not store.near and not store.far and not store.loose


def test_what_came_out_before_it_was_packed_is_forgotten(client: Client) -> None:
    client.declare()
    store = client.broker.delays("/")
    for i in range(3 * delay_packing.LOOSE_MAX // 2):
        hold(client, [i], 1)
        if i % 500 == 0:
            pass_time(client.broker, 1)
    pass_time(client.broker, 1)
    assert (store.loose, store.loose_count, store.loose_bytes) == ({}, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_as_a_model_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random runs, cancellations, times and packing against a list that is sorted."""
    rng = random.Random(seed)
    monkeypatch.setattr(delays, "LOOSE_MAX", rng.choice((5, 30)))
    monkeypatch.setattr(delays, "FIRED_MAX", rng.choice((3, 100)))
    monkeypatch.setattr(delay_packing, "PACKED_MAX", rng.choice((2, 7)))
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    waiting: dict[int, tuple[int, int]] = {}  # by number: when it is due, id
    expected: list[int] = []
    last = position = 0
    ids: dict[int, int] = {}
    for _ in range(150):
        act = rng.randrange(8)
        if act < 4:
            count = rng.choice((1, 1, 2, 5))
            same = rng.random() < 0.5
            wait = [rng.randrange(1, 50)] * count if same else rng.choices(range(1, 50), k=count)
            hold(client, range(last, last + count), wait[0] if same else wait, rng.random() < 0.5)
            known = {each.id for each in broker.delays("/")}
            for n, id in enumerate(sorted(known - ids.keys())):
                ids[id] = last + n
                waiting[last + n] = broker.now_ms + wait[n], id
            last += count
        elif act == 4 and waiting:
            gone = rng.choice(list(waiting))
            assert broker.delays("/").cancel(waiting.pop(gone)[1])
            check(broker)
        else:
            pass_time(broker, rng.randrange(12))
            due = [i for i, (when, _) in waiting.items() if when <= broker.now_ms]
            expected += sorted(due, key=waiting.__getitem__)
            for i in due:
                del waiting[i]
            assert ready(queue)[position:] == expected[position:]
            position = len(expected)
    assert {each.id for each in broker.delays("/")} == {id for _, id in waiting.values()}


def test_what_has_left_is_let_go(client: Client) -> None:
    """Nothing waits for Python's collector of cycles, which does not run in a busy server."""
    client.declare()
    hold(client, [1], 10)
    hold(client, [2], 20)
    runs = [held.run for _, _, held in client.broker.delays("/").far]
    assert all(run.held is not None for run in runs)
    client.broker.delays("/").cancel(1)
    pass_time(client.broker, 10)
    assert [run.held for run in runs] == [None, None]


# -- in the log, and out of memory


def test_a_restart_brings_back_what_was_not_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "FIRED_MAX", 2)
    keeper = Keeper(NO_BUDGET)
    keeper.client.declare(durable=True)
    hold(keeper.client, [1, 2, 3, 4], [40, 10, 30, 20], persistent=True)
    hold(keeper.client, [5], 5, persistent=False)
    hold(keeper.client, [6, 7], 35, persistent=True)
    keeper.turn()
    keeper.broker.now_ms += 20
    keeper.turn()
    assert ready(keeper.queue("q")) == [5, 2, 4]
    store = keeper.broker.delays("/")
    store.cancel(2)  # message 3
    keeper.turn()
    before = {each.id: each.due_ms for each in store}
    after = keeper.restarted()
    assert {each.id: each.due_ms for each in after.broker.delays("/")} == before
    after.broker.now_ms = HOUR
    drain(after)
    assert ready(after.queue("q")) == [2, 4, 6, 7, 1], "overdue, in the order of their deadlines"


def drain(keeper: Keeper) -> None:
    """Turns and reads until nothing is due any more."""
    for _ in range(10_000):
        keeper.turn()
        if keeper.broker.deadlines.next_ms > keeper.broker.now_ms and not keeper.loading.wanted:
            break
        keeper.load()
    for queue in keeper.broker.vhosts["/"].queues.values():
        for span in queue.spans():
            if not span.run.data:
                keeper.loading.want(span.run)
    keeper.load()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message is worth a run of its own."""
    monkeypatch.setattr(delay_packing, "LOOSE_EACH_BYTES", 0)


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.usefixtures("large")
def test_what_is_not_due_soon_is_paged_out_and_read_in_time(persistent: bool) -> None:
    keeper = Keeper(4000)
    keeper.client.declare(durable=True)
    for i in range(40):
        hold(keeper.client, [i], HOUR + 1000 * (39 - i), persistent, size=200)
        keeper.turn()
    assert keeper.paging.resident_bytes <= 1000, "a quarter of the budget"
    keeper.broker.now_ms += HOUR - delays.AHEAD_MS
    keeper.turn()
    assert keeper.loading.wanted, "read before it is due"
    keeper.load()
    keeper.broker.now_ms += delays.AHEAD_MS
    for i in range(40):
        keeper.turn()
        assert keeper.queue("q").ready_count == i + 1
        keeper.load()
        keeper.broker.now_ms += 1000
    drain(keeper)
    assert ready(keeper.queue("q")) == list(range(39, -1, -1))


@pytest.mark.usefixtures("large")
def test_what_is_due_waits_for_what_is_read_before_it() -> None:
    keeper = Keeper(4000)
    keeper.client.declare(durable=True)
    for i in range(20):
        hold(keeper.client, [i], 100_000 - i, persistent=True, size=300)
        keeper.turn()
    keeper.broker.now_ms += 200_000
    keeper.turn()
    assert keeper.queue("q").ready_count < 20
    drain(keeper)
    assert ready(keeper.queue("q")) == list(range(19, -1, -1))


@pytest.mark.usefixtures("large")
def test_a_message_larger_than_what_stays_in_memory_is_not_lost() -> None:
    keeper = Keeper(4000)
    keeper.client.declare(durable=True)
    hold(keeper.client, [1], 10_000, persistent=True, size=1500)
    keeper.turn()
    assert keeper.paging.resident_bytes == 0
    keeper.broker.now_ms += 10_000
    drain(keeper)
    assert ready(keeper.queue("q")) == [1]
    assert not keeper.broker.notices


@pytest.mark.usefixtures("large")
def test_what_cannot_be_read_is_dropped_and_told() -> None:
    keeper = Keeper(4000)
    keeper.client.declare(durable=True)
    for i in range(20):
        hold(keeper.client, [i], 1000 + i, persistent=True, size=300)
        keeper.turn()
    keeper.broker.now_ms += 5000
    keeper.turn()
    while keeper.loading.wanted or keeper.broker.deadlines.next_ms <= keeper.broker.now_ms:
        for run in keeper.loading.take(1 << 30):
            keeper.loading.lost(run)
        keeper.turn()
    store = keeper.broker.delays("/")
    assert store.count == 0 and not store.near and not store.far
    assert keeper.broker.counts.dropped + keeper.queue("q").ready_count == 20
    assert keeper.broker.notices[0] == (
        "1 delayed messages in vhost '/' cannot be read, and are dropped: the log is damaged there"
    )


def test_carried_with_what_is_left_of_it() -> None:
    keeper = Keeper(NO_BUDGET, bucket_bytes=200, garbage_bytes=0)
    client = keeper.client
    queue = client.declare(durable=True)
    hold(client, list(range(6)), [10, HOUR, 20, HOUR + 1, 30, HOUR + 2], persistent=True)
    keeper.turn()
    first = max(keeper.log.entries)
    keeper.broker.now_ms += 100
    keeper.turn()
    for i in range(30):
        client.publish(queue, 100 + i, persistent=True)
        keeper.turn()
        keeper.broker.settling.drop_ready(queue)
        keeper.turn()
    assert min(keeper.log.entries) > first, "the log was cut behind the record"
    after = keeper.restarted()
    assert [each.due_ms for each in after.broker.delays("/")] == [HOUR, HOUR + 1, HOUR + 2]
    after.broker.now_ms = 2 * HOUR
    drain(after)
    assert ready(after.queue("q")) == [1, 3, 5]


def test_while_the_log_is_low_it_waits_for_room() -> None:
    keeper = Keeper(NO_BUDGET)
    keeper.client.declare(durable=True)
    hold(keeper.client, [1], 10, persistent=True)
    keeper.turn()
    journal = keeper.broker.journal
    journal.measured(0, True)
    keeper.broker.now_ms += 10
    keeper.turn()
    assert keeper.queue("q").ready_count == 0
    journal.spare_bytes = 1 << 20
    keeper.broker.now_ms += delays.ROOM_RETRY_MS
    keeper.turn()
    assert ready(keeper.queue("q")) == [1], (
        "what it takes is given back: the log must not stay full for ever"
    )


@pytest.mark.parametrize("seed", range(12))
def test_restarts_at_random_lose_and_repeat_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(delays, "LOOSE_MAX", rng.choice((6, 1000)))
    monkeypatch.setattr(delay_packing, "PACKED_MAX", 3)
    how: dict[str, Any] = {"bucket_bytes": 500, "garbage_bytes": 1000}
    keeper = Keeper(rng.choice((3000, NO_BUDGET)), **how)
    keeper.client.declare(durable=True)
    due: dict[int, int] = {}
    for i in range(120):
        count = rng.choice((1, 1, 3))
        wait = [rng.randrange(1, 60) for _ in range(count)]
        for n in range(count):
            due[10 * i + n] = keeper.broker.now_ms + wait[n]
        hold(keeper.client, [10 * i + n for n in range(count)], wait, persistent=True)
        keeper.turn()
        if rng.random() < 0.3:
            keeper.broker.now_ms += rng.randrange(20)
            drain(keeper)
        if rng.random() < 0.1:
            now_ms = keeper.broker.now_ms
            keeper = restarted(keeper, now_ms, how)
    keeper = restarted(keeper, keeper.broker.now_ms + HOUR, how)
    drain(keeper)
    found = ready(keeper.queue("q"))
    assert sorted(found) == sorted(due)
    assert found == sorted(due, key=lambda i: due[i]) or len({*due.values()}) < len(due)
    assert [due[i] for i in found] == sorted(due.values()), "in the order of their deadlines"


def restarted(keeper: Keeper, now_ms: int, how: dict[str, Any]) -> Keeper:
    after = Keeper(keeper.paging.budget_bytes, **how)
    after.log = keeper.log
    after.broker.end_turn()  # a log that is gone on with is not new
    after.broker.journal.started("test", new=False)
    after.broker.now_ms = now_ms
    restore = Restore(after.broker)
    for seq, records in after.log.entries.items():
        restore.entry(seq, after.log.size(seq))
        offset = 0
        for record in records:
            restore.apply(record, offset)
            offset += len(record)
    restore.finish()
    check(after.broker)
    return after
