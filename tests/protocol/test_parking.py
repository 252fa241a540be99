"""What is published while the log has no room: it is parked, settlements overtake it, all else waits behind it."""

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.protocol.amqp.flow import TELL_NS
from mansio.protocol.amqp.states import State
from tests.protocol.talk import Talker, World, publish_frames

KEPT = Properties(delivery_mode=2)
ROOM = 1 << 40
ACK = "basic.ack"


def keeping(room_bytes: int = ROOM, low: bool = False, **limits: int) -> tuple[World, Talker]:
    """A client with a durable queue q and confirms on channel 1, and a log with so much room."""
    world = World(**limits)
    talker = world.client(channels=2)
    talker.call(1, m.QueueDeclare("q", durable=True), m.ConfirmSelect())
    world.broker.journal.measured(room_bytes, low)
    return world, talker


def put(talker: Talker, *bodies: bytes, channel: int = 1, frame_max: int = 131_072) -> None:
    for body in bodies:
        talker.publish(channel, "q", body, properties=KEPT, frame_max=frame_max)


def make_room(world: World, *talkers: Talker, room_bytes: int = ROOM) -> None:
    """The log has looked, and found room."""
    world.broker.journal.measured(room_bytes, False)
    for talker in talkers:
        talker.front.unblock()
        if talker.front.waiting:
            talker.front.go_on(world.now_ns)
    world.turn()


def ready(world: World, queue: str = "q") -> int:
    return world.broker.vhosts["/"].queues[queue].ready_count


@pytest.mark.parametrize("frame_max", [131_072, 20])
def test_what_does_not_fit_waits_and_comes_in_order(frame_max: int) -> None:
    world, talker = keeping(500)
    put(talker, b"a" * 100, b"b" * 900, b"c" * 100, frame_max=frame_max)
    world.turn()
    assert ready(world) == 1, "what came behind a message that waits waits too"
    assert talker.names() == [ACK]
    assert talker.front.paused
    make_room(world, talker)
    assert talker.names() == [ACK]
    assert not talker.front.paused and not world.broker.journal.waiters
    talker.send(2, m.BasicConsume("q", "c"))
    world.turn()
    assert [body[:1] for body in talker.bodies()] == [b"a", b"b", b"c"]


def test_only_as_much_as_fits_goes_on() -> None:
    world, talker = keeping(0)
    put(talker, bytes(400), bytes(400), bytes(400))
    make_room(world, talker, room_bytes=1000)
    assert (ready(world), talker.front.paused) == (2, True)
    make_room(world, talker, room_bytes=1000)
    assert (ready(world), talker.front.paused) == (3, False)


def test_an_answer_of_the_log_within_a_turn_does_not_count_what_was_published_in_it() -> None:
    world, talker = keeping(1000)
    put(talker, bytes(400))
    world.broker.journal.measured(1000, False)
    put(talker, bytes(400))
    world.broker.journal.measured(1000, False)
    put(talker, bytes(400))
    assert ready(world) == 2
    world.broker.journal.measured(0, True)
    world.broker.journal.measured(1000, False)
    talker.front.unblock()
    assert ready(world) == 2
    world.turn()
    world.broker.journal.measured(1000, False)
    talker.front.unblock()
    assert ready(world) == 3


def test_the_peer_is_told_when_it_takes_long() -> None:
    world, talker = keeping(0)
    put(talker, bytes(400))
    talker.front.tick(TELL_NS - 1)
    assert talker.names() == []
    talker.front.tick(TELL_NS)
    talker.front.tick(TELL_NS + 1)
    ((_, blocked),) = talker.hear()
    assert (blocked.NAME, blocked.reason) == ("connection.blocked", "low on disk")
    assert len(world.broker.notices) == 1
    make_room(world, talker)
    assert talker.names() == ["connection.unblocked", ACK]


def test_the_peer_is_told_at_once_while_the_log_is_low() -> None:
    world, talker = keeping(0, low=True)
    put(talker, b"kept")
    assert talker.names() == ["connection.blocked"]
    assert world.broker.notices == []


def test_a_log_that_gets_low_meanwhile_is_told_with_the_next_tick() -> None:
    world, talker = keeping(0)
    put(talker, bytes(400))
    world.broker.journal.measured(0, True)
    talker.front.tick(1)
    assert talker.names() == ["connection.blocked"]
    assert world.broker.notices == []


def test_what_is_not_kept_waits_only_while_the_log_is_low() -> None:
    world, talker = keeping(0)
    talker.publish(1, "q", bytes(400))
    talker.publish(1, "q", bytes(400), frame_max=100)
    assert ready(world) == 2
    world.broker.journal.measured(0, True)
    talker.publish(1, "q", bytes(400))
    talker.publish(1, "q", bytes(400), frame_max=100)
    assert ready(world) == 2
    make_room(world, talker, room_bytes=0)
    assert ready(world) == 4


def test_settlements_overtake_everything_else_stays_behind() -> None:
    world, talker = keeping()
    put(talker, b"1", b"2", b"3", b"4")
    talker.call(2, m.BasicConsume("q", "c"))
    world.broker.journal.measured(0, True)
    put(talker, b"parked")
    assert not talker.front.paused, "it has something to acknowledge"
    talker.hear()
    talker.send(2, m.BasicAck(1), m.BasicNack(2, requeue=False), m.BasicReject(3, requeue=False))
    queue = world.broker.vhosts["/"].queues["q"]
    assert (queue.in_flight, queue.ready_count) == (1, 0)
    talker.send(1, m.QueuePurge("q"))
    assert talker.front.waiting
    assert talker.names() == []
    make_room(world, talker)
    assert sorted(talker.names()) == [ACK, "connection.unblocked", "queue.purge-ok"]
    assert (queue.in_flight, queue.ready_count) == (1, 0), "purged behind the publish"


def test_a_peer_that_owes_settlements_parks_up_to_a_limit() -> None:
    world, talker = keeping(parked_bytes_max=1000)
    put(talker, b"1")
    talker.call(2, m.BasicConsume("q", "c"))
    world.broker.journal.measured(0, True)
    put(talker, bytes(400))
    assert not talker.front.paused
    put(talker, bytes(1000))
    assert talker.front.paused


def test_a_parked_publish_goes_where_it_would_go_now() -> None:
    world, talker = keeping(0)
    other = world.client()
    put(talker, b"same name", b"other queue")
    other.call(1, m.QueueDelete("q"), m.QueueDeclare("q", durable=True))
    make_room(world, talker)
    assert ready(world) == 2
    assert talker.names() == [ACK]


def test_a_queue_that_is_bounded_meanwhile_takes_what_was_parked() -> None:
    world, talker = keeping()
    talker.call(1, m.QueueDeclare("p", durable=True))
    put(talker, b"1")
    talker.publish(1, "p", b"2", properties=KEPT)
    world.turn()
    talker.names()
    world.broker.journal.measured(0, False)
    frames = [publish_frames(1, key, b"more", KEPT) for key in ("q", "p", "q")]
    talker.send_bytes(b"".join(frames))
    world.broker.policies.put("/", "a", "^q$", {"max-length": 2, "overflow": "reject-publish"})
    make_room(world, talker)
    acks = [method for _, method in talker.hear()]
    assert acks == [m.BasicAck(5, True)], "nobody knows any more which number a message had"
    assert (ready(world), ready(world, "p")) == (3, 2)
    put(talker, b"6")
    world.turn()
    assert talker.names() == ["basic.nack"]
    assert ready(world) == 3


def test_a_parked_publish_fails_as_it_would_now() -> None:
    world, talker = keeping()
    talker.call(1, m.ExchangeDeclare("x", "fanout"))
    world.broker.journal.measured(0, False)
    talker.publish(1, "q", exchange="x", properties=KEPT)
    put(talker, b"behind it", b"on another channel", channel=1)
    put(talker, b"on another channel", channel=2)
    world.client().call(1, m.ExchangeDelete("x"))
    make_room(world, talker)
    assert talker.names() == ["channel.close"]
    assert ready(world) == 1, (
        "what came behind it on the channel is ignored, the other channel goes on"
    )


def test_the_end_of_a_connection_forgets_what_is_parked() -> None:
    for end in ("eof", "shutdown"):
        world, talker = keeping(0)
        put(talker, b"lost")
        if end == "eof":
            talker.front.receive_eof()
        else:
            talker.front.shutdown(320, "bye")
            assert talker.names() == ["connection.close"]
            talker.send(0, m.ConnectionCloseOk())
            assert talker.front.state is State.CLOSED
        assert not world.broker.journal.waiters
        make_room(world, talker)
        assert ready(world) == 0


def test_a_close_waits_for_what_was_published_before() -> None:
    world, talker = keeping(0)
    put(talker, b"kept")
    talker.send(0, m.ConnectionClose())
    assert talker.names() == [] and talker.front.waiting
    make_room(world, talker)
    assert talker.names()[-1] == "connection.close-ok"
    assert ready(world) == 1


def test_a_commit_waits_for_room_and_is_whole() -> None:
    world, talker = keeping()
    talker.call(2, m.TxSelect())
    world.broker.journal.measured(500, False)
    put(talker, bytes(400), bytes(400), channel=2)
    assert not talker.front.waiting, "nothing is written yet"
    talker.send(2, m.TxCommit())
    world.turn()
    assert talker.front.waiting and talker.names() == []
    make_room(world, talker, room_bytes=500)
    assert talker.front.waiting and ready(world) == 0
    make_room(world, talker, room_bytes=2000)
    assert talker.names() == ["tx.commit-ok"]
    assert (talker.front.waiting, ready(world)) == (False, 2)


def test_a_commit_of_settlements_never_waits() -> None:
    world, talker = keeping()
    put(talker, b"1")
    talker.call(2, m.TxSelect(), m.BasicConsume("q", "c"))
    world.broker.journal.measured(0, True)
    assert talker.call(2, m.BasicAck(1), m.TxCommit()) == [m.TxCommitOk()]


def test_a_commit_of_what_is_not_kept_needs_no_room() -> None:
    world, talker = keeping()
    talker.call(2, m.TxSelect())
    world.broker.journal.measured(0, False)
    talker.publish(2, "q", bytes(400))
    assert talker.call(2, m.TxCommit()) == [m.TxCommitOk()]


def test_memory_that_is_short_keeps_parked_publishes_back() -> None:
    world, talker = keeping(memory_bytes_max=1000)
    other = world.client()
    world.broker.journal.measured(100, False)
    put(talker, bytes(400))
    other.publish(1, "q", bytes(2000))
    world.turn()
    assert world.broker.low_on_memory
    make_room(world, talker)
    assert ready(world) == 1 and talker.front.paused
