"""Small runs of a stream become large ones, and nobody notices."""

from typing import Any

import pytest

from mansio.core.packing import PACK_MS, PACK_RUNS
from mansio.core.records import ENTRIES
from tests.core.play import SIZE
from tests.core.test_groups import group, member, offsets_in
from tests.core.test_streams import Play


def filled(count: int = PACK_RUNS + 1, **arguments: Any) -> Play:
    """Runs of one message each, whose numbers are their offsets."""
    play = Play(**arguments)
    for number in range(count):
        play.put(number)
    return play


def read(play: Any) -> list[int]:
    client = Play.reader(play, "first", 10_000)
    Play.serve(play)
    numbers: list[int] = client.heard.take_numbers()
    return numbers


def test_small_runs_become_one() -> None:
    play = filled()
    play.turn()
    assert [span.run.count for span in play.stream.ready] == [PACK_RUNS, 1]
    assert play.broker.settling.runs == 2
    assert read(play) == list(range(PACK_RUNS + 1))
    for number in range(PACK_RUNS + 1, 3 * PACK_RUNS + 4):
        play.put(number)
    assert [span.run.count for span in play.stream.ready][:3] == [PACK_RUNS] * 3
    again = play.restarted()
    assert read(again) == list(range(3 * PACK_RUNS + 4))
    assert len(again.queue("s").ready) == len(play.stream.ready)


def test_a_restart_before_the_large_run_is_durable_finds_the_small_ones() -> None:
    play = filled()
    assert play.stream.packing is None
    entries = {
        seq: [record for record in records if len(record) < 20 * SIZE]
        for seq, records in play.log.entries.items()
    }
    play.log.entries = entries
    again = play.restarted()
    assert read(again) == list(range(PACK_RUNS + 1))


def test_readers_go_on_where_they_are() -> None:
    play = Play()
    slow = play.reader("first", prefetch=1)
    for number in range(PACK_RUNS + 20):
        play.put(number)
        if number % 3 == 0:
            slow.settle_until(0)
    seen = slow.heard.take_numbers()
    for _ in range(2 * PACK_RUNS):
        slow.settle_until(0)
        play.turn()
        seen += slow.heard.take_numbers()
    assert seen == list(range(PACK_RUNS + 20))


def test_what_a_group_has_not_settled_is_left_as_it_is() -> None:
    play = Play()
    queue = group(play)
    client = member(play, queue, prefetch=1000)
    for number in range(PACK_RUNS + 10):
        play.put(number)
    assert all(span.run.count == 1 for span in play.stream.ready)
    client.settle_until(PACK_RUNS + 5)
    play.turn()
    for number in range(PACK_RUNS + 10, PACK_RUNS + 14):
        play.put(number)
    assert play.stream.ready[0].run.count == PACK_RUNS
    again = play.restarted()
    assert offsets_in(again.queue("g")) == list(range(PACK_RUNS + 5, PACK_RUNS + 14))
    assert read(again) == list(range(PACK_RUNS + 14))
    assert offsets_in(again.restarted().queue("g"))[0] == PACK_RUNS + 5


def hold_back(play: Play) -> tuple[list[Any], Any]:
    """Publishes until runs are being packed; answers the record of that, which is not durable."""
    number = 0
    while play.stream.packing is None:
        play.client.publish(play.stream, number)
        records, owners = play.broker.end_turn(), play.broker.journal.owners
        play.broker.journal.placed(*play.log.append(records, owners))
        number += 1
    return play.broker.end_turn(), play.broker.journal.owners


def test_a_group_that_comes_meanwhile_gets_them_once() -> None:
    play = Play()
    records, owners = hold_back(play)
    queue = play.client.declare(
        "g", durable=True, arguments={"x-stream": "s", "x-stream-offset": "first"}
    )
    count = play.stream.ready_count
    play.broker.journal.placed(*play.log.append(records, owners))
    play.turn()
    assert play.stream.packing is None and play.stream.ready[0].run.count == 1
    assert offsets_in(queue) == list(range(count))
    again = play.restarted()
    assert offsets_in(again.queue("g")) == list(range(count)) and read(again) == list(range(count))


def test_segments_that_go_meanwhile() -> None:
    play = Play(max_length_bytes=1, stream_max_segment_size_bytes=(PACK_RUNS + 1) * SIZE)
    records, owners = hold_back(play)
    play.client.publish(play.stream, 5000, 5001)
    more = play.broker.end_turn()
    play.broker.journal.placed(*play.log.append(records + more, owners))
    play.turn()
    for number in range(3):
        play.put(5002 + number)
    assert play.stream.first >= PACK_RUNS
    assert play.broker.settling.runs == len(play.stream.ready)


def test_a_stream_that_is_deleted_meanwhile() -> None:
    play = Play()
    records, owners = hold_back(play)
    play.broker.definitions.delete_queue(play.client.session, play.stream, False, False)
    play.broker.journal.placed(*play.log.append(records, owners))
    play.turn()
    assert play.broker.settling.runs == 0 == play.broker.memory_bytes


def test_large_runs_are_left_alone() -> None:
    play = Play(budget=1 << 30)
    for number in range(PACK_RUNS + 3):
        play.client.publish(play.stream, *([number] * 500))
        play.turn()
    assert all(span.run.count == 500 for span in play.stream.ready)
    assert play.stream.packed >= 2


@pytest.mark.parametrize("routes", [1, 3])
def test_messages_keep_their_routes(routes: int) -> None:
    play = Play()
    for number in range(PACK_RUNS + 1):
        run = play.client.publish(play.stream, number)
        play.turn()
        assert run.count == 1
    packed = play.stream.ready[0].run
    assert packed.count == PACK_RUNS
    assert [packed.route(i).routing_key for i in range(3)] == ["key"] * 3


def test_a_small_run_that_was_carried_does_not_take_the_large_one_s_place() -> None:
    play = filled()
    play.turn()
    last = max(play.log.entries)
    smalls = []
    for seq, records in play.log.entries.items():
        if seq < last - 1:  # the packed run and what came with it stay
            smalls += [each for each in records if each[0] == ENTRIES and len(each) < 20 * SIZE]
            play.log.entries[seq] = [each for each in records if each not in smalls]
    play.log.append([(smalls[0],)], [])
    assert len(smalls) > PACK_RUNS - 3
    assert read(play.restarted()) == list(range(PACK_RUNS + 1))


def test_what_lies_far_apart_in_time_is_not_packed() -> None:
    play = Play()
    for number in range(3 * PACK_RUNS):
        play.broker.now_ms = number * PACK_MS // 10
        play.put(number)
    counts = {span.run.count for span in play.stream.ready}
    assert max(counts) == 11 and play.stream.packed > 2
    play.broker.now_ms = (3 * PACK_RUNS - 1) * PACK_MS // 10
    reader = play.reader("10m", 10_000)
    numbers = reader.heard.take_numbers()
    assert (
        3 * PACK_RUNS - 112 <= numbers[0] <= 3 * PACK_RUNS - 101
        and numbers[-1] == 3 * PACK_RUNS - 1
    )


def test_what_groups_have_settled_is_in_the_log_behind_the_large_run() -> None:
    """The small runs go from the log, and with them the records that say what was settled of them."""
    play = Play(bucket_bytes=300)
    client = member(play, group(play), prefetch=1000)
    for number in range(6 * PACK_RUNS):
        play.put(number)
        client.settle_until(0)
        play.turn()
    assert min(play.log.entries) > PACK_RUNS
    again = play.restarted()
    assert offsets_in(again.queue("s")) == list(range(6 * PACK_RUNS))
    assert again.queue("g").ready_count == 0
