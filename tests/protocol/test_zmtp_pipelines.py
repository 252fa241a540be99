"""Sockets that PUSH and PULL, and what is between them."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.protocol.talk import Message, Talker
from tests.protocol.zmtp_talk import Command, World, ZmtpPeer

KIB = 1024


def queue(world: World, name: str = "tasks", vhost: str = "/") -> Any:
    return world.broker.vhosts[vhost].queues[name]


def bodies(world: World, name: str = "tasks") -> list[bytes]:
    found = queue(world, name)
    return [
        body
        for span in found.spans()
        for body in world.broker.letters.bodies(span.run, span.start, span.stop)
    ]


def numbers(start: int, stop: int) -> list[list[bytes]]:
    return [[b"%d" % i] for i in range(start, stop)]


def get(talker: Talker, name: str = "tasks") -> Message:
    (item,) = talker.call(1, m.BasicGet(name, no_ack=True))
    assert isinstance(item, Message), item
    return item


def pong(peer: ZmtpPeer) -> None:
    """The peer's socket takes all that it was sent."""
    assert not peer.hear()
    commands, peer.commands = peer.commands, []
    for name, data in commands:
        assert name == b"PING"
        peer.command(b"PONG", data[2:])
    peer.world.turn()


# -- PUSH


def test_what_is_pushed_is_one_run_in_a_durable_queue() -> None:
    world = World()
    push = world.peer("PUSH", {"X-Queue": b"jobs"})
    assert push.metadata["socket-type"] == b"PULL"
    push.send(*numbers(0, 50))
    world.turn()
    assert queue(world, "jobs").durable
    assert [span.run.count for span in queue(world, "jobs").spans()] == [50]
    assert bodies(world, "jobs") == [b"%d" % i for i in range(50)]


@pytest.mark.parametrize(
    ("wish", "mode", "logged"), [({}, 2, True), ({"X-Persistent": b"0"}, None, False)]
)
def test_tasks_are_persistent_unless_they_need_not_be(
    wish: dict[str, bytes], mode: int | None, logged: bool
) -> None:
    world = World()
    push = world.peer("PUSH", wish)
    push.send([b"one"], [b"t", b"wo"])
    runs = [span.run for span in queue(world).spans()]
    assert [bool(run.places) for run in runs] == [logged, logged]
    talker = world.client()
    one, two = get(talker), get(talker)
    assert (one.body, one.properties) == (b"one", Properties(delivery_mode=mode))
    headers = {"x-zmq-parts": [1, 2]}
    assert two.body == b"two"
    assert two.properties == Properties(headers=headers, delivery_mode=mode)


def test_a_queue_that_is_deleted_is_made_again() -> None:
    world = World()
    push = world.peer("PUSH")
    push.send([b"1"])
    world.client().call(1, m.QueueDelete("tasks"))
    push.send([b"2"])
    world.turn()
    assert bodies(world) == [b"2"]


def test_full_queues_are_waited_for_and_nothing_is_dropped() -> None:
    world = World()
    talker = world.client()
    talker.call(
        1, m.QueueDeclare("q", arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    )
    push = world.peer("PUSH", {"X-Queue": b"q"})
    push.send(*numbers(0, 8))
    world.turn()
    assert bodies(world, "q") == [b"0", b"1", b"2"]
    assert push.front.waiting
    push.front.tick(1)
    assert any("is full" in notice for notice in world.broker.notices)
    talker.send(1, m.BasicQos(prefetch_count=2), m.BasicConsume("q", "c"))
    world.turn()
    world.go_on()
    assert bodies(world, "q") == [b"2", b"3", b"4"]
    talker.send(1, m.BasicAck(0, multiple=True))
    world.turn()
    world.go_on()
    world.turn()
    assert bodies(world, "q") == [b"4", b"5", b"6"]
    talker.hear()
    for _ in range(3):  # nobody is woken by that
        get(talker, "q")
    assert push.front.waiting
    push.front.tick(2)
    world.go_on()
    world.turn()
    assert bodies(world, "q") == [b"7"]
    assert not push.front.waiting
    push.send([b"8"])
    assert bodies(world, "q") == [b"7", b"8"]


def test_bounds_by_bytes() -> None:
    world = World()
    talker = world.client()
    limits = {"x-max-length-bytes": 25, "x-overflow": "reject-publish"}
    talker.call(1, m.QueueDeclare("q", arguments=limits))
    push = world.peer("PUSH", {"X-Queue": b"q"})
    push.send(*[[b"%d" % i * 10] for i in range(4)])
    world.turn()
    assert bodies(world, "q") == [b"0" * 10, b"1" * 10]
    get(talker, "q")
    push.front.tick(1)
    world.go_on()
    world.turn()
    assert bodies(world, "q") == [b"1" * 10, b"2" * 10]


def test_a_queue_that_drops_its_head_never_stops_anybody() -> None:
    world = World()
    world.client().call(1, m.QueueDeclare("q", arguments={"x-max-length": 2}))
    push = world.peer("PUSH", {"X-Queue": b"q"})
    push.send(*numbers(0, 5))
    world.turn()
    assert bodies(world, "q") == [b"3", b"4"]
    assert not push.front.waiting


def test_short_of_memory_nothing_more_is_taken() -> None:
    world = World(memory_bytes_max=10 * KIB)
    push = world.peer("PUSH")
    push.send([bytes(20 * KIB)])
    world.turn()
    assert world.broker.blocked
    push.send([b"1"], [b"2", b"3"], [b"4"])
    push.send([b"5"])
    assert push.front.paused
    assert queue(world).ready_count == 1
    get(world.client())
    world.turn()
    assert not world.broker.blocked
    push.front.unblock()
    push.front.go_on(0)
    world.turn()
    assert bodies(world) == [b"1", b"23", b"4", b"5"]


def test_short_of_disk_what_is_not_for_the_log_goes_on() -> None:
    world = World()
    durable = world.peer("PUSH")
    transient = world.peer("PUSH", {"X-Persistent": b"0", "X-Queue": b"other"})
    world.turn()
    world.broker.journal.measured(1000, False)
    durable.send([bytes(2000)])
    transient.send([bytes(2000)])
    assert queue(world).ready_count == 0
    assert queue(world, "other").ready_count == 1
    assert list(world.broker.journal.waiters) == [durable.front]
    world.broker.journal.measured(10_000, False)
    durable.front.unblock()
    durable.front.go_on(0)
    assert queue(world).ready_count == 1


def test_who_may_not_publish_is_refused() -> None:
    world = World()
    world.broker.users.rights("guest", "/").permit(None)
    peer = world.socket("PUSH")
    with pytest.raises(AssertionError):
        peer.open()
    assert "refused" in peer.reason


@pytest.mark.parametrize(
    ("kind", "wish", "text"),
    [
        ("PUSH", {"X-Persistent": b"maybe"}, "X-Persistent is 'maybe': it may be 1, 0"),
        ("PULL", {"X-Prefetch": b"0"}, "X-Prefetch is '0': it may be 1 to"),
        ("PULL", {"X-Prefetch": b"many"}, "X-Prefetch is 'many'"),
        ("REP", {"X-Errors": b"\xff"}, "X-Errors is '\\\\xff': it may be reply, reject, requeue"),
        ("PUSH", {"X-Queue": b"amq.mine"}, "reserved prefix"),
        ("SUB", {"X-Exchange": b"none"}, "no exchange 'none'"),
        ("PUB", {"X-Exchange": b"amq.headers"}, "routes by more than topics"),
    ],
)
def test_wishes_that_cannot_be(kind: str, wish: dict[str, bytes], text: str) -> None:
    peer = World().socket(kind)
    with pytest.raises(AssertionError):
        peer.open(wish)
    assert text in peer.reason


def test_a_message_of_too_many_frames_ends_the_connection() -> None:
    world = World()
    push = world.peer("PUSH")
    world.turn()
    push.send([b"1"], [b""] * 513)
    assert push.reason == "a message of more than 512 frames"
    assert bodies(world) == [b"1"]


def test_a_stream_takes_what_is_pushed() -> None:
    world = World()
    world.client().call(1, m.QueueDeclare("s", durable=True, arguments={"x-queue-type": "stream"}))
    push = world.peer("PUSH", {"X-Queue": b"s"})
    push.send(*numbers(0, 3))
    world.turn()
    assert queue(world, "s").ready_count == 3


# -- PULL


def test_frames_are_pulled_as_they_were_pushed() -> None:
    world = World()
    pull = world.peer("PULL")
    assert pull.metadata["socket-type"] == b"PUSH"
    push = world.peer("PUSH")
    messages = [[b"1"], [b"2", b"", b"x" * 300], [b""], [b"4" * 70_000]]
    push.send(*messages)
    world.turn()
    assert pull.hear() == messages


def test_what_the_socket_has_taken_is_acknowledged() -> None:
    world = World()
    pull = world.peer("PULL", {"X-Prefetch": b"8"})
    world.peer("PUSH").send(*numbers(0, 20))
    world.turn()
    assert len(pull.hear()) == 8
    assert queue(world).in_flight == 8
    pings, pull.commands = pull.commands, []
    assert [name for name, _ in pings] == [b"PING"] * 4
    pull.command(b"PONG", pings[0].data[2:])
    world.turn()
    assert pull.hear() == numbers(8, 10)
    assert queue(world).in_flight == 8
    pull.command(b"PONG", pings[3].data[2:])
    pull.command(b"PONG", pings[2].data[2:])  # older than the last one
    pull.command(b"PONG", b"\xff" * 8)
    pull.command(b"PONG", b"")
    world.turn()
    assert pull.hear() == numbers(10, 16)
    assert queue(world).in_flight == 8 and not pull.closed


def test_what_comes_one_by_one_is_acknowledged_in_a_while() -> None:
    world = World()
    pull = world.peer("PULL")
    push = world.peer("PUSH")
    push.send([b"1"])
    world.turn()
    assert pull.hear() == [[b"1"]] and not pull.commands
    assert queue(world).in_flight == 1
    pull.front.tick(1)
    pong(pull)
    assert queue(world).in_flight == 0
    pull.front.tick(2)
    assert not pull.take_commands()


def test_peers_share_a_queue_and_a_slow_one_gets_little() -> None:
    world = World()
    fast, slow = (world.peer("PULL", {"X-Prefetch": b"4"}) for _ in range(2))
    push = world.peer("PUSH")
    push.send(*numbers(0, 20))
    world.turn()
    heard = [fast.hear(), slow.hear()]
    assert heard == [numbers(0, 8)[::2], numbers(1, 8)[::2]]
    for _ in range(3):
        pong(fast)
        fast.hear()
    pong(fast)
    assert queue(world).ready_count == 0
    assert queue(world).in_flight == 4


def test_nothing_is_given_twice() -> None:
    world = World()
    first = world.peer("PULL", {"X-Prefetch": b"4"})
    world.peer("PUSH").send(*numbers(0, 6))
    world.turn()
    first.eof()
    second = world.peer("PULL")
    world.turn()
    assert second.hear() == numbers(4, 6)


def test_a_peer_of_version_3_0_is_done_with_what_was_written() -> None:
    world = World()
    pull = world.peer("PULL", version=(3, 0))
    world.peer("PUSH").send(*numbers(0, 3))
    world.turn()
    assert pull.hear() == numbers(0, 3) and not pull.commands
    assert queue(world).in_flight == 0
    pull.front.tick(1)
    assert not pull.take_commands()


def test_a_peer_that_is_busy_is_not_asked_whether_it_is_there() -> None:
    world = World()
    pull = world.peer("PULL")
    world.peer("PUSH").send([b"1"])
    world.turn()
    pull.hear()
    for seconds in range(0, 3600, 5):
        pull.front.tick(seconds * 1_000_000_000)
    assert not pull.closed
    assert pull.take_commands() == [Command(b"PING", b"\0\0" + (1).to_bytes(8, "big"))]


def test_the_end_of_its_queue_ends_the_connection() -> None:
    world = World()
    pull = world.peer("PULL")
    world.client().call(1, m.QueueDelete("tasks"))
    world.turn()
    assert pull.closed and pull.reason == "queue 'tasks' in vhost '/' is deleted"


def test_tasks_of_amqp_clients_and_of_redis_clients() -> None:
    world = World()
    pull = world.peer("PULL")
    world.client().publish(1, "tasks", b"amqp", properties=Properties(headers={"a": 1}))
    world.redis().call("LPUSH", "tasks", "redis")
    world.turn()
    assert pull.hear() == [[b"amqp"], [b"redis"]]
