"""Consumer groups: queues that a stream feeds, whose members share its entries."""

from typing import Any

import pytest

from mansio.core.errors import PreconditionFailed
from mansio.core.group import Group
from mansio.core.queue import Queue
from tests.core.play import SIZE, Client, make_run
from tests.core.test_paging import Keeper
from tests.core.test_streams import Play


def group(play: Keeper, name: str = "g", **arguments: Any) -> Group:
    asked = {"x-stream": "s", "x-stream-offset": "first"} | {
        "x-" + key.replace("_", "-"): value for key, value in arguments.items()
    }
    made = play.client.declare(name, durable=True, arguments=asked)
    play.turn()
    assert isinstance(made, Group)
    return made


def member(play: Keeper, queue: Queue, prefetch: int = 10, name: str = "m") -> Client:
    client = Client(play.broker, name)
    play.broker.set_prefetch(client.channel, prefetch, False)
    client.consume(queue)
    play.turn()
    return client


def offsets_in(queue: Queue) -> list[int]:
    """Of what is ready."""
    return [span.base + i for span in queue.spans() for i in range(span.start, span.stop)]


def test_members_share_what_every_group_gets() -> None:
    play = Play()
    play.put(0, 1)
    billing, audit = group(play), group(play, "audit")
    one, two = member(play, billing), member(play, billing)
    three = member(play, audit)
    play.put(2, 3, 4, 5)
    assert sorted(one.heard.take_numbers() + two.heard.take_numbers()) == list(range(6))
    assert three.heard.take_numbers() == list(range(6))
    assert play.stream.ready_count == 6, "the stream keeps them"


@pytest.mark.parametrize(("offset", "expected"), [("next", [3]), (1, [1, 2, 3]), ("last", [2, 3])])
def test_a_group_begins_where_it_asks_to(offset: Any, expected: list[int]) -> None:
    play = Play()
    play.put(0, 1)
    play.put(2)
    queue = group(play, stream_offset=offset)
    play.put(3)
    assert offsets_in(queue) == expected
    again = play.restarted()
    assert offsets_in(again.queue("g")) == expected


def test_settlements_and_offsets_are_durable() -> None:
    play = Play()
    play.put(*range(4))
    play.put(*range(4, 8))
    client = member(play, group(play), prefetch=6)
    client.settle(1, 3)
    client.settle(6)
    play.turn()
    client.settle(5, requeue=True)
    play.turn()
    again = play.restarted()
    assert offsets_in(again.queue("g")) == [3, 4, 6, 7]
    assert offsets_in(again.queue("s")) == list(range(8))
    once_more = again.restarted()
    assert offsets_in(once_more.queue("g")) == [3, 4, 6, 7]


def test_what_a_member_leaves_goes_to_another_one() -> None:
    play = Play()
    play.put(0, 1, 2)
    queue = group(play, queue_type="quorum", delivery_limit=1)
    one = member(play, queue)
    assert one.heard.take_numbers() == [0, 1, 2]
    one.settle(2)
    play.broker.close_session(one.session)
    two = member(play, queue)
    assert [(d[2], d[3]) for d in two.heard.deliveries] == [(0, True), (2, True)]
    two.settle(1, requeue=True)
    play.turn()
    letters = play.broker.vhosts["/"].queues["mansio.quarantine"]
    assert letters.ready_count == 1, "given back too often"


def test_one_member_at_a_time() -> None:
    play = Play()
    queue = group(play, single_active_consumer=True)
    one, two = member(play, queue), member(play, queue)
    play.put(0, 1)
    assert one.heard.take_numbers() == [0, 1] and two.heard.take_numbers() == []
    play.broker.close_session(one.session)
    play.turn()
    assert two.heard.take_numbers() == [0, 1]


def test_retention_takes_what_a_group_has_not_read() -> None:
    play = Play(max_length_bytes=4 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    queue = group(play)
    client = member(play, queue, prefetch=1)
    for number in range(9):
        play.put(number)
    assert offsets_in(queue) == [6, 7, 8]
    assert len(play.broker.notices) == 3 and "'x-stream-protected' would" in play.broker.notices[0]
    client.settle_until(1)
    play.turn()
    assert client.heard.take_numbers() == [0, 6]
    assert offsets_in(play.restarted().queue("g")) == [6, 7, 8]


def test_retention_waits_for_a_protected_group() -> None:
    play = Play(max_length_bytes=2 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    queue = group(play, stream_protected=True)
    client = member(play, queue, prefetch=100)
    for number in range(9):
        play.put(number)
    assert play.stream.first == 0 and queue.floor == 0
    client.settle_until(5)
    play.turn()
    assert queue.floor == 5
    play.put(9)
    play.put(10)
    assert play.stream.first == 4
    play.broker.definitions.delete_queue(play.client.session, queue, False, False)
    play.put(11)
    play.put(12)
    assert play.stream.first == 12


def test_what_waited_for_a_protected_group_goes_when_that_has_settled_it() -> None:
    play = Play(max_length_bytes=2 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    client = member(play, group(play, stream_protected=True), prefetch=100)
    for number in range(6):
        play.put(number)
    assert play.stream.first == 0
    client.settle_until(0)
    play.turn()
    assert play.stream.first == 4, "although nothing has come since"


def test_what_waited_for_a_protected_group_goes_when_that_is_deleted() -> None:
    play = Play(max_length_bytes=2 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    queue = group(play, stream_protected=True)
    member(play, queue, prefetch=100)
    for number in range(6):
        play.put(number)
    play.broker.definitions.delete_queue(play.client.session, queue, False, False)
    play.turn()
    assert play.stream.first == 4


def test_nobody_looks_again_and_again_at_what_waits_for_a_protected_group() -> None:
    play = Play(max_age="1s", stream_max_segment_size_bytes=SIZE)
    client = member(play, group(play, stream_protected=True))
    play.put(0)
    play.put(1)
    play.broker.now_ms = 5000
    play.turn()
    assert play.stream.first == 0 and play.broker.deadlines.next_ms > 5000
    client.settle_until(0)
    play.turn()
    assert play.stream.first == 1


def test_retention_at_a_restart_waits_for_protected_groups_and_takes_from_others() -> None:
    play = Play(max_age="1s", stream_max_segment_size_bytes=SIZE)
    guarded, free = group(play, stream_protected=True), group(play, "free")
    for number in range(4):
        play.put(number)
    client = member(play, guarded, prefetch=2)
    client.settle_until(0)
    play.turn()
    Keeper.now_ms = 5000
    try:
        again = play.restarted()
    finally:
        Keeper.now_ms = 0
    assert offsets_in(again.queue("s")) == offsets_in(again.queue("g")) == [2, 3]
    assert offsets_in(again.queue(free.name)) == [2, 3]


def test_what_a_group_has_deferred_outlives_a_restart() -> None:
    play = Play()
    play.put(0, 1)
    queue = group(play, retry={"delays": [500]})
    client = member(play, queue)
    client.settle(1, requeue=True)
    play.turn()
    again = play.restarted()
    found = again.queue("g")
    assert offsets_in(found) == [1]
    other = member(again, found)
    again.broker.now_ms = 500
    again.settle()
    assert other.heard.take_numbers() == [0, 1]
    other.settle_until(0)
    again.turn()
    assert isinstance(found, Group) and not found.left and found.floor == 2


def test_what_is_only_in_flight_in_a_group_is_not_in_the_stream_after_a_restart() -> None:
    size = 2 * SIZE
    play = Play(bucket_bytes=500, max_length_bytes=size, stream_max_segment_size_bytes=size)
    client = member(play, group(play), prefetch=1)
    for number in range(200):  # the log is cut, and the run in flight is carried
        play.put(number)
    assert client.heard.take_numbers() == [0] and play.stream.first == 198
    assert min(play.log.entries) > 1
    again = play.restarted()
    assert offsets_in(again.queue("s")) == offsets_in(again.queue("g")) == [198, 199]


def test_a_group_reads_from_the_log_what_is_not_in_memory() -> None:
    play = Play(budget=20 * SIZE)
    for number in range(0, 100, 2):
        play.put(number, number + 1)
    client = member(play, group(play), prefetch=7)
    seen: list[int] = []
    for _ in range(100):
        play.serve()
        seen += client.heard.take_numbers()
        client.settle_until(0)
    assert seen == list(range(100))
    assert play.paging.resident_bytes <= 20 * SIZE
    assert client.broker.vhosts["/"].queues["g"].ready_count == 0


def test_the_log_is_cut_when_stream_and_groups_are_done() -> None:
    play = Play(max_length_bytes=2 * SIZE, stream_max_segment_size_bytes=2 * SIZE)
    queue = group(play)
    client = member(play, queue, prefetch=100)
    for number in range(40):
        play.put(number)
        client.settle_until(0)
    play.turn()
    assert play.stream.ready_count <= 4 and queue.in_flight == queue.ready_count == 0
    assert play.broker.memory_bytes <= 4 * SIZE
    assert not queue.left


def test_a_log_comes_to_rest_although_groups_have_settled_what_a_stream_keeps() -> None:
    """What is carried has to say again what groups have settled: that is no garbage which could be won."""
    play = Play(bucket_bytes=1000)
    members = [member(play, group(play, f"g{i}"), prefetch=100) for i in range(20)]
    for number in range(20):
        play.put(number)
        for client in members:
            client.settle_until(0)
        play.turn()
    for _ in range(300):
        play.turn()
    last_seq = play.log.last_seq
    play.turn()
    assert play.log.last_seq == last_seq
    again = play.restarted()
    assert offsets_in(again.queue("s")) == list(range(20)) and not again.queue("g7").ready_count


def test_deleting_the_stream_deletes_its_groups() -> None:
    play = Play()
    play.put(0, 1)
    client = member(play, group(play))
    group(play, "idle")
    play.broker.definitions.delete_queue(play.client.session, play.stream, False, False)
    play.turn()
    assert ("cancelled", 1, "c") in client.heard.take()
    assert not play.broker.vhosts["/"].queues
    play.broker.close_session(client.session)
    play.turn()
    assert play.broker.memory_bytes == 0
    assert not play.restarted().broker.vhosts["/"].queues


def test_nothing_else_comes_into_a_group() -> None:
    play = Play()
    queue = group(play)
    with pytest.raises(PreconditionFailed, match="cannot be bound"):
        play.broker.definitions.bind_queue(play.client.session, "g", "amq.direct", "k", {})
    assert (
        play.broker.route(play.broker.users.rights("guest", "/"), "", "g", False, 1, 0).queues == ()
    )
    play.broker.publish(play.client.channel, make_run([1]), (play.stream,))
    play.turn()
    assert offsets_in(queue) == [0]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"x-stream": "none"}, "no stream 'none'"),
        ({"x-stream": "q"}, "no stream 'q'"),
        ({"x-stream": 5}, "unacceptable_type"),
        ({"x-stream": "s", "x-queue-type": "stream"}, "x-stream"),
        ({"x-stream": "s", "x-max-length": 5}, "x-max-length"),
        ({"x-stream": "s", "x-stream-offset": "soon"}, "invalid_stream_offset_arg"),
        ({"x-stream": "s", "x-stream-protected": "yes"}, "unacceptable_type"),
    ],
)
def test_what_a_group_cannot_be(arguments: dict[str, Any], fault: str) -> None:
    play = Play()
    play.client.declare("q")
    with pytest.raises(PreconditionFailed, match=fault):
        play.client.declare("g", durable=True, arguments=arguments)
