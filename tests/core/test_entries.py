"""Entries of streams as Redis clients have them, against a model: ids, ranges, deletions, trims; over restarts."""

import random
from typing import Any

import pytest

from mansio.core.batch import Trim
from mansio.core.entries import NODE
from mansio.core.packing import PACK_RUNS
from mansio.core.records import TOPOLOGY
from mansio.core.stream import Stream
from mansio.core.stream_ids import make_id, next_id
from tests.core.play import Client, make_run
from tests.core.test_groups import group, offsets_in
from tests.core.test_streams import Play


def add(play: Play, number: int, id: int = 0, trim: Trim | None = None) -> int:
    """An entry that says its number; its id."""
    broker, stream = play.broker, play.stream
    id = id or next_id(stream.last_id, broker.now_ms)
    broker.streams.entries.add(stream, make_run([number]).data, id, trim)
    return id


def found(play: Play, low: int = 0, high: int = 1 << 128, count: int = 1 << 40, **how: Any) -> list:
    """(id, number) of the entries with ids from low to high."""
    from mansio.core.stream_ids import id_at

    entries, stream = play.broker.streams.entries, play.stream
    start, stop = entries.offset_of(stream, low), entries.offset_of(stream, high + 1)
    result = []
    for run, first, last in entries.slices(stream, start, stop, count, **how):
        part = [(id_at(run, i), int(run.content(i)[:8])) for i in range(first, last)]
        result += part[::-1] if how else part
    return result


def again(play: Play) -> Play:
    """The same after a restart, everything in memory."""
    other = play.restarted()
    other.__class__ = Play
    stream = other.queue("s")
    assert isinstance(stream, Stream)
    other.stream = stream
    fetch(other)
    return other


def fetch(play: Play) -> None:
    """Reads what is paged out."""
    for span in play.stream.ready:
        if not span.run.data:
            play.broker.paging.keep(span.run)
            play.loading.want(span.run)
    while play.loading.wanted:
        play.load()


def test_entries_of_one_turn_are_one_run_with_one_number() -> None:
    play = Play()
    play.broker.now_ms = 7
    ids = [add(play, number) for number in range(3)]
    assert ids == [make_id(7, 0), make_id(7, 1), make_id(7, 2)]
    play.turn()
    (span,) = play.stream.ready
    assert span.run.count == 3 and span.run.ids == 0
    play.put(3)
    assert play.stream.ready[1].run.ids == 3, "what comes over AMQP goes on"
    assert found(again(play)) == list(zip([*ids, make_id(7, 3)], range(4), strict=True))


def test_the_order_of_both_fronts_is_kept() -> None:
    play = Play()
    add(play, 0)
    play.client.publish(play.stream, 1)
    add(play, 2)
    assert [number for _, number in found(play)] == [0, 1, 2]
    play.turn()
    assert [span.run.count for span in play.stream.ready] == [1, 1, 1]


def test_ids_that_were_chosen_are_kept() -> None:
    play = Play()
    ids = [make_id(5, 1), make_id(5, 3), make_id(1 << 50, 0)]
    for number, id in enumerate(ids):
        add(play, number, id)
    play.turn()
    play.put(3)
    ids.append(make_id(1 << 50, 1))
    play = again(play)
    assert [id for id, _ in found(play)] == ids, "the clock is behind the last id"
    assert found(play, make_id(5, 2), make_id(6, 0)) == [(ids[1], 1)]


def test_what_was_stored_before_there_were_ids_gets_some() -> None:
    play = Play()
    play.broker.now_ms = 3
    for numbers in (0, 1), (2,):
        run = play.client.publish(play.stream, *numbers)
        for span in play.stream.ready:
            span.run.ids = None
        del run
    for parts in play.broker.journal._records:
        del parts
    play.broker.journal._records.clear()
    play.broker.journal._owners.clear()
    for span in play.stream.ready:
        play.broker.journal.publish(span.run)
    records, owners = play.broker.journal.take(), play.broker.journal.owners
    play.log.append(records, owners)
    assert found(again(play)) == [(make_id(3, i), i) for i in range(3)]


def test_deleted_entries_are_gone_for_amqp_too() -> None:
    play = Play()
    play.put(0, 1, 2, 3)
    play.put(4)
    play.put(5, 6)
    queue = group(play)
    ids = [id for id, _ in found(play)]
    entries = play.broker.streams.entries
    assert entries.delete(play.stream, [ids[1], ids[4], ids[4], 17]) == 2
    play.turn()
    assert len(play.stream.ready) == 2, "a run of which nothing is left is given up"
    assert play.reader().heard.take_numbers() == [0, 2, 3, 5, 6]
    assert offsets_in(queue) == [0, 2, 3, 5, 6]
    assert entries.delete(play.stream, ids[:3]) == 2
    assert play.stream.first == 3
    play.turn()
    for _ in range(2):
        play = again(play)
        assert [number for _, number in found(play)] == [3, 5, 6]
        assert offsets_in(play.queue("g")) == [3, 5, 6]
        assert not play.broker.notices, "nothing is lost"
        assert play.stream.deleted_id == ids[4]


def test_a_group_gets_nothing_that_was_deleted_before_it_was_durable() -> None:
    play = Play()
    queue = group(play)
    run = play.client.publish(play.stream, 0, 1, 2)
    del run
    ids = [id for id, _ in found(play)]
    play.broker.streams.entries.delete(play.stream, [ids[1]])
    play.turn()
    play.turn()
    assert offsets_in(queue) == [0, 2]


def test_packing_leaves_out_what_is_not_whole() -> None:
    play = Play()
    for number in range(PACK_RUNS):
        play.put(2 * number, 2 * number + 1)
    ids = [id for id, _ in found(play)]
    play.broker.streams.entries.delete(play.stream, [ids[9]])
    for number in range(PACK_RUNS, 2 * PACK_RUNS):
        play.put(2 * number, 2 * number + 1)
    play.turn()
    expected = [number for number in range(4 * PACK_RUNS) if number != 9]
    assert [number for _, number in found(play)] == expected
    assert len(play.stream.ready) < PACK_RUNS
    assert [number for _, number in found(again(play))] == expected


def test_what_is_packed_keeps_its_ids() -> None:
    play = Play()
    for number in range(PACK_RUNS + 2):
        play.broker.now_ms += number % 3
        play.put(number)
    play.turn()
    assert play.stream.ready[0].run.count == PACK_RUNS
    ids = [id for id, _ in found(play)]
    assert len(set(ids)) == PACK_RUNS + 2
    assert [id for id, _ in found(again(play))] == ids


def test_what_is_deleted_while_it_is_packed_stays_deleted() -> None:
    play = Play()
    for number in range(PACK_RUNS + 1):
        play.client.publish(play.stream, number)
        play.turn()
        if play.stream.packing is not None:
            break
    ids = [id for id, _ in found(play)]
    play.broker.streams.entries.delete(play.stream, ids[3:5])
    play.turn()
    play.turn()
    expected = [number for number in range(len(ids)) if number not in (3, 4)]
    assert [number for _, number in found(play)] == expected
    assert [number for _, number in found(again(play))] == expected


def test_a_trim_that_is_not_exact_takes_whole_nodes() -> None:
    play = Play()
    play.put(*range(3 * NODE + 20))
    entries = play.broker.streams.entries
    assert entries.trim(play.stream, Trim(False, 3 * NODE, False, 0)) == 0
    assert entries.trim(play.stream, Trim(False, 120, False, NODE)) == NODE, "at most so many"
    assert entries.trim(play.stream, Trim(False, 120, False, 0)) == NODE
    assert entries.trim(play.stream, Trim(False, 0, True, 0)) == NODE + 20
    play.turn()
    assert not play.stream.ready and play.stream.next_position == 3 * NODE + 20
    last = play.stream.last_id
    play = again(play)
    assert play.stream.last_id == last
    play.put(7)
    assert found(play)[0][0] > last


def test_a_protected_group_is_not_trimmed() -> None:
    play = Play()
    play.put(0, 1, 2)
    client = Client(play.broker)
    arguments = {"x-stream": "s", "x-stream-offset": 1, "x-stream-protected": True}
    queue = client.declare("g", durable=True, arguments=arguments)
    entries = play.broker.streams.entries
    assert entries.trim(play.stream, Trim(False, 0, True, 0)) == 0
    play.broker.settling.drop_ready(queue)
    assert entries.trim(play.stream, Trim(False, 0, True, 0)) == 3


def test_a_declared_stream_that_is_reset_begins_again() -> None:
    play = Play()
    add(play, 1, make_id(9, 9))
    play.broker.streams.entries.reset(play.stream)
    assert play.stream.last_id == 0 and play.stream.next_position == 1
    add(play, 2, make_id(1, 1))
    play.turn()
    assert found(again(play)) == [(make_id(1, 1), 2)]


def step(play: Play, model: dict[int, int], dice: random.Random) -> Play:
    entries, stream, broker = play.broker.streams.entries, play.stream, play.broker
    what = dice.randrange(12)
    if what < 3:
        for _ in range(dice.randint(1, 9)):
            id = next_id(stream.last_id, broker.now_ms)
            if dice.random() < 0.1:
                id += dice.choice((1, 5, 1 << 64))
            exact = dice.random() < 0.7
            trim = None
            if dice.random() < 0.1:
                trim = Trim(False, dice.choice((5, 30, 150)), exact, 0)
            model[add(play, dice.randrange(10**6), id, trim)] = 0
            if trim is not None or dice.random() < 0.1:
                entries.flush(stream)
                model.clear()
                model.update(found(play))
        return play
    if what < 5:
        play.client.publish(stream, *range(dice.randint(1, 150 if dice.random() < 0.1 else 3)))
    elif what < 7 and model:
        ids = dice.sample(sorted(model), min(len(model), dice.choice((1, 3, 20))))
        assert entries.delete(stream, ids) == len(ids)
        for id in ids:
            del model[id]
        return play
    elif what == 7:
        least = dice.choice((0, 3, 50))
        gone = entries.trim(stream, Trim(False, least, True, 0))
        assert gone == max(len(model) - least, 0)
        for id in sorted(model)[:gone]:
            del model[id]
        return play
    elif what == 8 and model:
        least = dice.choice(sorted(model)) + 1
        gone = entries.trim(stream, Trim(True, least, True, 0))
        assert gone == sum(id < least for id in model)
        for id in sorted(model)[:gone]:
            del model[id]
        return play
    elif what == 9:
        broker.now_ms += dice.choice((0, 1, 1000))
    elif what == 10:
        play.turn()
    elif dice.random() < 0.3:
        play.turn()
        play = again(play)
        assert not play.broker.notices
    model_now = dict(found(play))
    if what in (3, 4):
        assert {id: model_now[id] for id in model if model[id]} == {
            id: number for id, number in model.items() if number
        }
        assert model.keys() <= model_now.keys()
    else:
        assert model_now.keys() == model.keys()
    model.clear()
    model.update(model_now)
    return play


@pytest.mark.parametrize("seed", range(12))
def test_as_the_model(seed: int) -> None:
    dice = random.Random(seed)
    play = Play(bucket_bytes=4096, stream_max_segment_size_bytes=20_000)
    queue = group(play)
    model: dict[int, int] = {}
    for _ in range(250):
        play = step(play, model, dice)
        fetch(play)
        broker, stream = play.broker, play.stream
        entries = broker.streams.entries
        assert entries.length(stream) == len(model)
        ids = sorted(model)
        if ids:
            low, high = sorted(dice.choices(ids, k=2))
            low, high = low + dice.choice((0, 1)), high - dice.choice((0, 1))
            expected = [id for id in ids if low <= id <= high]
            count = dice.choice((1, 7, 10**6))
            assert [id for id, _ in found(play, low, high, count)] == expected[:count]
            backwards = [id for id, _ in found(play, low, high, count, reverse=True)]
            assert backwards == expected[::-1][:count]
            assert entries.first_id(stream) == ids[0]
            assert entries.at(stream, ids[0]) is not None
    play.turn()
    play.turn()
    fetch(play)
    reader = play.reader("first", 10**6)
    Play.serve(play)
    numbers = [number for _, number in found(play)]
    assert reader.heard.take_numbers() == numbers
    queue = play.queue("g")
    assert queue.ready_count == len(offsets_in(queue)) <= len(model)
    play.stream.groups[0].begin  # noqa: B018


def test_what_was_cut_stays_so_when_the_rest_is_carried() -> None:
    play = Play()
    run = play.put(*range(10))
    del run
    (span,) = play.stream.ready
    play.broker.streams.entries.trim(play.stream, Trim(False, 6, True, 0))
    ids = [id for id, _ in found(play)]
    play.broker.streams.entries.delete(play.stream, ids[2:3])
    play.turn()
    before = max(play.log.entries)
    play.broker.journal.carry(span.run)
    play.turn()
    for seq in range(1, before + 1):
        kept = [each for each in play.log.entries[seq] if each[0] == TOPOLOGY]
        play.log.entries[seq] = kept
    assert [number for _, number in found(again(play))] == [4, 5, 7, 8, 9]


def test_what_a_group_still_has_does_not_hide_what_is_gone_from_packing() -> None:
    play = Play()
    queue = group(play)
    member = Client(play.broker)
    member.consume(queue)
    for number in range(PACK_RUNS):
        play.put(2 * number, 2 * number + 1)
    tags = {number: tag for _, tag, number, _ in member.heard.deliveries}
    for number, tag in tags.items():
        if number != 1:
            member.settle(tag)
    ids = [id for id, _ in found(play)]
    play.broker.streams.entries.delete(play.stream, ids[:1])
    first = play.stream.ready[0].run
    assert first.live == first.count == 2
    for number in range(PACK_RUNS, PACK_RUNS + 3):
        play.put(2 * number, 2 * number + 1)
        member.settle_until(0)
    assert [number for _, number in found(play)] == list(range(1, 2 * PACK_RUNS + 6))
