"""Streams: entries stay, readers have places of their own, old segments go; over paging and restarts."""

from typing import Any

import pytest

from mansio.core.errors import PreconditionFailed, Unsupported
from mansio.core.marks import Marks
from mansio.core.producers import Producers, producer_id
from mansio.core.records import encode_topology
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.core.stream import Stream
from mansio.core.topology_records import take_snapshot
from tests.core.play import SIZE, Client, make_run
from tests.core.test_paging import Keeper

FIRST = {"x-stream-offset": "first"}


class Timestamp(int):
    """As the codec has it."""


class Play(Keeper):
    """A broker with a stream `s`, whose clock a test moves."""

    def __init__(
        self, budget: int = 1 << 20, bucket_bytes: int = 1 << 20, **arguments: Any
    ) -> None:
        super().__init__(budget, bucket_bytes=bucket_bytes, garbage_bytes=2 * bucket_bytes)
        asked = {"x-queue-type": "stream"} | {
            "x-" + key.replace("_", "-"): value for key, value in arguments.items()
        }
        self.stream = self.client.declare("s", durable=True, arguments=asked)
        self.turn()

    def put(self, *numbers: int) -> Run:
        """One run, in a turn of its own."""
        run = self.client.publish(self.stream, *numbers)
        self.turn()
        return run

    def reader(self, offset: Any = "first", prefetch: int = 100, name: str = "r") -> Client:
        client = Client(self.broker, name)
        self.broker.set_prefetch(client.channel, prefetch, False)
        arguments = {} if offset is None else {"x-stream-offset": offset}
        client.consume(self.broker.vhosts["/"].queues["s"], "c", arguments=arguments)
        self.turn()
        return client

    def serve(self) -> None:
        """Reads what is asked for until nobody asks any more."""
        self.turn()
        while self.loading.wanted:
            self.load()
            self.turn()


def test_every_reader_gets_every_entry_in_order() -> None:
    play = Play()
    one, two = play.reader(), play.reader()
    play.put(0, 1, 2)
    play.put(3)
    assert one.heard.take_numbers() == two.heard.take_numbers() == [0, 1, 2, 3]
    assert play.reader().heard.take_numbers() == [0, 1, 2, 3], "they are still there"
    assert play.stream.ready_count == 4


def test_nobody_sees_what_is_not_durable() -> None:
    play = Play()
    reader = play.reader()
    play.client.publish(play.stream, 7)
    journal = play.broker.journal
    records, owners = play.broker.end_turn(), journal.owners
    play.broker.end_turn()
    assert reader.heard.take_numbers() == [], "after a crash another message may have its offset"
    journal.placed(*play.log.append(records, owners))
    assert play.broker.unfinished
    play.turn()
    assert reader.heard.take_numbers() == [7]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("first", [0, 1, 2, 3, 4, 5]),
        ("last", [5]),
        ("next", []),
        (None, []),
        (0, [0, 1, 2, 3, 4, 5]),
        (2, [2, 3, 4, 5]),
        (4, [4, 5]),
        (-3, [0, 1, 2, 3, 4, 5]),
        (Timestamp(0), [0, 1, 2, 3, 4, 5]),
        (Timestamp(11), [2, 3, 4, 5]),
        (Timestamp(20), [5]),
        (Timestamp(21), []),
        ("10s", [5]),
        ("11s", [2, 3, 4, 5]),
        ("1h", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_reader_begins_where_it_asks_to(offset: Any, expected: list[int]) -> None:
    play = Play()
    for at_ms, numbers in (0, (0, 1)), (15_000, (2, 3, 4)), (20_000, (5,)):
        play.broker.now_ms = at_ms
        play.put(*numbers)
    play.broker.now_ms = 26_000
    if offset == "10s":
        play.broker.now_ms = 29_000
    reader = play.reader(offset)
    assert reader.heard.take_numbers() == expected
    play.put(6)
    assert reader.heard.take_numbers() == [6], "and goes on"


def test_an_offset_that_is_not_there_yet_is_waited_for() -> None:
    play = Play()
    play.put(0, 1)
    reader = play.reader(4)
    play.put(2, 3)
    assert reader.heard.take_numbers() == []
    play.put(4, 5)
    assert reader.heard.take_numbers() == [4, 5]


def test_acknowledgements_give_credit() -> None:
    play = Play()
    play.put(*range(10))
    reader = play.reader(prefetch=4)
    assert reader.heard.take_numbers() == [0, 1, 2, 3]
    reader.settle_until(3)
    play.turn()
    assert reader.heard.take_numbers() == [4, 5, 6]
    play.broker.close_channel(reader.channel)
    play.turn()
    assert play.stream.in_flight == 0 and play.stream.ready_count == 10
    assert [d[3] for d in play.reader().heard.deliveries] == [False] * 10, "never redelivered"


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.REQUEUE])
def test_what_was_read_cannot_be_given_back(outcome: Outcome) -> None:
    play = Play()
    play.put(0)
    reader = play.reader()
    with pytest.raises(
        Unsupported, match=r"basic[.]nack and basic[.]reject not supported by stream"
    ):
        play.broker.settle(reader.channel, 1, 1, False, outcome)
    play.turn()


@pytest.mark.parametrize("multiple", [False, True])
def test_what_was_refused_before_a_stream_s_delivery_is_settled(multiple: bool) -> None:
    """Refusals that come together are applied together; unless they are one method, one after the other."""
    play = Play()
    queue = play.client.declare("q")
    play.client.publish(queue, 7)
    reader = play.reader()
    reader.consume(queue, "of q")
    play.turn()
    play.put(0)
    assert reader.heard.take_numbers() == [7, 0]
    with pytest.raises(Unsupported):
        play.broker.settle(reader.channel, 1, 2, multiple, Outcome.REJECT)
    assert queue.in_flight == 0
    assert queue.ready_count == multiple


def test_transient_messages_stay_as_well() -> None:
    play = Play()
    play.put(0)
    queue = play.client.declare("q")
    play.broker.publish(play.client.channel, make_run([1]), (queue, play.stream))
    play.turn()
    again = play.restarted()
    stream = again.queue("s")
    assert isinstance(stream, Stream) and stream.ready_count == 2 == stream.committed
    assert not [span for span in stream.spans() if span.redelivered]


def test_a_restart_goes_on_with_the_offsets() -> None:
    play = Play(max_length_bytes=4 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    for number in range(9):
        play.put(number)
    assert (play.stream.first, play.stream.next_position) == (6, 9)
    again = play.restarted()
    stream = again.queue("s")
    assert isinstance(stream, Stream)
    assert (stream.first, stream.next_position, stream.committed) == (6, 9, 9)
    again.client.publish(stream, 9)
    again.turn()
    assert stream.next_position == 10


def test_segments_go_when_they_are_too_many() -> None:
    play = Play(max_length_bytes=5 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    reader = play.reader(prefetch=1)
    for number in range(8):
        play.put(number)
    assert play.stream.first == 4 and play.stream.ready_count == 4
    assert reader.heard.take_numbers() == [0]
    reader.settle(1)
    play.turn()
    assert reader.heard.take_numbers() == [4], "what is gone is skipped"


def test_the_last_segment_never_goes() -> None:
    play = Play(max_length_bytes=1)
    for number in range(4):
        play.put(number)
    assert play.stream.ready_count == 4


def test_segments_go_when_they_are_too_old() -> None:
    play = Play(max_age="10s", stream_max_segment_size_bytes=2 * SIZE)
    for number in range(5):
        play.broker.now_ms = number * 1000
        play.put(number)
    play.broker.now_ms = 11_000
    play.turn()
    assert play.stream.first == 0
    assert play.broker.deadlines.next_ms == 11_001
    play.broker.now_ms = 11_001
    play.turn()
    assert play.stream.first == 2
    play.broker.now_ms = 60_000
    play.turn()
    assert play.stream.first == 4, "the last segment stays"


def test_only_what_is_durable_goes_and_it_goes_when_it_is() -> None:
    play = Play(max_length_bytes=1, stream_max_segment_size_bytes=SIZE)
    play.client.publish(play.stream, 0)
    play.client.publish(play.stream, 1)
    journal = play.broker.journal
    records, owners = play.broker.end_turn(), journal.owners
    assert play.stream.first == 0
    journal.placed(*play.log.append(records, owners))
    assert play.stream.first == 1
    play.turn()


def test_what_a_stream_got_is_not_returned() -> None:
    play = Play()
    play.client.exchange("x", "x-recent-history")
    play.client.broker.definitions.bind_queue(play.client.session, "s", "x", "k", {})
    run = make_run([0])
    run.routes[0].mandatory = True
    history = play.broker.definitions.history(play.client.session, "x")
    assert history is not None
    play.broker.publish(play.client.channel, run, (play.stream, history))
    play.turn()
    assert ("returned", 1, 0) not in play.client.heard.take()
    assert play.stream.ready_count == history.ready_count == 1


def test_a_message_that_a_stream_got_is_no_duplicate() -> None:
    play = Play()
    queue = play.client.declare("q", arguments={"x-message-deduplication": True})
    for number in range(2):
        run = make_run([number])
        run.marks = Marks("same")
        play.broker.publish(play.client.channel, run, (queue, play.stream))
        play.turn()
    assert (queue.ready_count, play.stream.ready_count) == (1, 2)
    assert play.broker.counts.duplicates == 0


def test_what_was_read_from_a_deleted_stream_may_be_rejected() -> None:
    play = Play()
    play.put(0)
    reader = play.reader()
    play.client.declare("other", durable=True, arguments={"x-queue-type": "stream"})
    play.broker.definitions.delete_queue(play.client.session, play.stream, False, False)
    play.broker.settle(reader.channel, 1, 1, False, Outcome.REJECT)
    play.turn()
    assert not reader.channel.ledger.total


def test_what_goes_is_written_down_although_nobody_reads() -> None:
    play = Play(max_length_bytes=1, stream_max_segment_size_bytes=SIZE)
    play.client.publish(play.stream, 0)
    play.client.publish(play.stream, 1)
    journal = play.broker.journal
    records, owners = play.broker.end_turn(), journal.owners
    journal.placed(*play.log.append(records, owners))
    assert play.stream.first == 1 and play.broker.unfinished
    play.turn()


def test_a_deleted_stream_leaves_nothing_in_the_log() -> None:
    play = Play()
    play.put(0, 1, 2)
    reader = play.reader()
    play.broker.definitions.delete_queue(play.client.session, play.stream, False, False)
    play.turn()
    assert ("cancelled", 1, "c") in reader.heard.take()
    assert play.broker.memory_bytes == 0 and not len(play.broker.streams)
    assert "s" not in play.restarted().broker.vhosts["/"].queues


@pytest.mark.parametrize("prefetch", [1, 7, 1000])
def test_readers_far_behind_read_from_the_log(prefetch: int) -> None:
    play = Play(budget=20 * SIZE)
    for number in range(0, 100, 2):
        play.put(number, number + 1)
    assert play.paging.resident_bytes <= 20 * SIZE
    assert sum(not span.run.data for span in play.stream.ready) > 30
    readers = [play.reader(offset, prefetch, f"r{offset}") for offset in ("first", 31, 90)]
    seen: list[list[int]] = [[], [], []]
    for _ in range(400):
        play.serve()
        for reader, numbers in zip(readers, seen, strict=True):
            numbers += reader.heard.take_numbers()
            reader.settle_until(0)
    assert seen == [list(range(100)), list(range(31, 100)), list(range(90, 100))]
    assert play.paging.resident_bytes <= 40 * SIZE


def test_however_little_may_be_in_memory_a_reader_goes_on() -> None:
    play = Play(budget=1)
    for number in range(5):
        play.put(number)
    reader = play.reader()
    play.serve()
    assert reader.heard.take_numbers() == [0, 1, 2, 3, 4]


def test_the_newest_entries_stay_in_memory() -> None:
    play = Play(budget=20 * SIZE)
    for number in range(60):
        play.put(number)
    resident = [bool(span.run.data) for span in play.stream.ready]
    assert resident[-8:] == [True] * 8 and not any(resident[:30])


def test_a_damaged_entry_stops_its_readers_and_no_others() -> None:
    play = Play(budget=10 * SIZE)
    for number in range(40):
        play.put(number)
    reader = play.reader("first")
    for run in play.loading.take(1 << 40):
        if run is play.stream.ready[0].run:
            play.loading.lost(run)
        else:
            play.loading.loaded(run, play.record(run))
    play.serve()
    assert reader.heard.take_numbers() == []
    other = play.reader("last")
    play.serve()
    assert other.heard.take_numbers() == [39]


def damaged(play: Play, *offsets: int) -> Play:
    """A broker on the same log without the entries that these messages are in, and its stream."""
    lost = {span.run.seq for span in play.stream.ready if span.base in offsets}
    for seq in lost:
        play.log.entries[seq] = []
    play.log.append([encode_topology(take_snapshot(play.broker))], [])
    again = play.restarted()
    stream = again.queue("s")
    assert isinstance(stream, Stream)
    play.broker, play.client, play.stream = again.broker, again.client, stream
    play.paging, play.loading = again.paging, again.loading
    return play


@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_what_damage_has_taken_from_a_stream_is_skipped(budget: int) -> None:
    play = Play(budget)
    for number in range(0, 12, 2):
        play.put(number, number + 1)
    play = damaged(play, 0, 4, 6, 10)
    assert "6 messages of the stream are lost" in play.broker.notices[0]
    offsets: tuple[Any, ...] = ("first", 0, 2, 3, 5, 6, 8, 9, 10, "last", 11, 12)
    readers = [play.reader(offset, 3, f"r{offset}") for offset in offsets]
    play.serve()
    got = [reader.heard.take_numbers() for reader in readers]
    assert got == [[2, 3, 8]] * 3 + [[3, 8, 9]] + [[8, 9]] * 3 + [[9], [], [8, 9], [], []]
    for reader in readers:
        reader.settle_until(0)
    play.serve()
    assert [reader.heard.take_numbers() for reader in readers][:4] == [[9], [9], [9], []]
    play.put(12, 13)
    play.serve()
    assert [reader.heard.take_numbers() for reader in readers] == [[12, 13]] * 12
    assert play.stream.ready_count == 6 and play.stream.next_position == 14


def test_what_is_around_a_gap_is_not_packed_into_one() -> None:
    play = Play(0)
    for number in range(6):
        play.put(number)
    play = damaged(play, 3)
    for number in range(6, 300):
        play.put(number)
    assert play.reader(prefetch=1000).heard.take_numbers() == [0, 1, 2, *range(4, 300)]
    assert play.reader(4, prefetch=2).heard.take_numbers() == [4, 5]
    assert len(play.stream.ready) < 150


def test_what_a_stream_refuses() -> None:
    play = Play()
    client = Client(play.broker, "other")
    with pytest.raises(PreconditionFailed, match="prefetch"):
        client.consume(play.stream)
    play.broker.set_prefetch(client.channel, 10, False)
    with pytest.raises(Unsupported, match="automatic acknowledgement"):
        client.consume(play.stream, no_ack=True)
    with pytest.raises(PreconditionFailed, match="x-priority"):
        client.consume(play.stream, arguments={"x-priority": 1})
    with pytest.raises(PreconditionFailed, match="x-stream-offset"):
        client.consume(play.stream, arguments={"x-stream-offset": "soon"})
    with pytest.raises(Unsupported, match=r"basic[.]get"):
        play.broker.get(client.channel, play.stream, False)
    with pytest.raises(Unsupported, match=r"queue[.]purge"):
        play.broker.definitions.purge_queue(client.session, play.stream)
    with pytest.raises(PreconditionFailed, match="non-durable"):
        client.declare("t", arguments={"x-queue-type": "stream"})
    play.turn()


def put_numbered(play: Play, number: int, producer: str = "p") -> None:
    """A message with a publishing id, in a turn of its own."""
    run = make_run([number])
    run.marks = Marks(producer_id(producer, number))
    play.broker.publish(play.client.channel, run, (play.stream,))
    play.turn()


def test_what_a_producer_publishes_again_is_stored_once() -> None:
    play = Play(message_deduplication=True)
    for number in (1, 2, 2, 5, 3, 6):
        put_numbered(play, number)
    put_numbered(play, 2, "other")
    play.put(100)
    assert play.reader().heard.take_numbers() == [1, 2, 5, 6, 2, 100]
    assert play.broker.counts.deduplicated == 2


def test_what_a_producer_has_published_is_known_after_a_restart() -> None:
    play = Play(message_deduplication=True)
    put_numbered(play, 7)
    play.log.append([encode_topology(take_snapshot(play.broker))], [])
    put_numbered(play, 8)
    again = play.restarted()
    stream = again.queue("s")
    for number in (7, 8, 9):
        run = make_run([number])
        run.marks = Marks(producer_id("p", number))
        again.broker.publish(again.client.channel, run, (stream,))
    again.turn()
    assert stream.ready_count == 3


def test_producers_that_were_not_heard_for_longest_are_forgotten() -> None:
    producers = Producers()
    producers.size = 2
    for name in ("a", "b", "a", "c"):
        producers.remember(producer_id(name, 1), 0, True)
    assert [producers.knows(producer_id(name, 1), 0) for name in "abc"] == [True, False, True]
    for other in ("an id of another kind", "a\0b", "a\0", "a\0-1", "a\0\u00b2", "\0"):
        producers.remember(other, 0, True)
        assert not producers.knows(other, 0)
