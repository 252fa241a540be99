"""Workers that are REP or ROUTER sockets."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.rights import Permission
from mansio.protocol.zmtp.addresses import is_address
from tests.protocol.talk import Message, Talker
from tests.protocol.zmtp_talk import World

LIMIT_MS = 1_800_000


def queue(world: World, name: str = "tasks") -> Any:
    return world.broker.vhosts["/"].queues[name]


def caller(world: World) -> Talker:
    """A client that waits for answers in a queue of its own."""
    talker = world.client()
    talker.call(1, m.QueueDeclare("answers", exclusive=True))
    talker.call(1, m.BasicConsume("answers", "c", no_ack=True))
    return talker


def call(talker: Talker, body: bytes, number: str) -> None:
    asked = Properties(reply_to="answers", correlation_id=number)
    talker.publish(1, "tasks", body, properties=asked)
    talker.world.turn()


def answers(talker: Talker) -> list[tuple[str | None, bytes]]:
    return [
        (item.properties.correlation_id, item.body)
        for _, item in talker.hear()
        if isinstance(item, Message)
    ]


def tasks(worker: Any) -> list[list[bytes]]:
    """What it has been given, without the addresses in front."""
    heard = worker.hear()
    assert all(is_address(message[0]) for message in heard)
    return [message[1:] for message in heard]


@pytest.mark.parametrize("kind", ["REP", "ROUTER"])
def test_tasks_come_one_at_a_time_and_replies_acknowledge_them(kind: str) -> None:
    world = World()
    worker = world.peer(kind)
    assert worker.metadata["socket-type"] == b"DEALER"
    push = world.peer("PUSH")
    push.send([b"1"], [b"2", b"two"], [b"3"])
    for task in ([b"1"], [b"2", b"two"], [b"3"]):
        world.turn()
        assert tasks(worker) == [[b"", *task]]
        world.turn()
        assert tasks(worker) == []
        worker.send([b"", b"done"])
    world.turn()
    assert (queue(world).ready_count, queue(world).in_flight) == (0, 0)


def test_a_reply_is_the_answer_of_whoever_waits() -> None:
    world = World()
    worker = world.peer("REP")
    talker = caller(world)
    call(talker, b"2 + 2", "one")
    assert tasks(worker) == [[b"", b"2 + 2"]]
    assert answers(talker) == []
    worker.send([b"", b"4"])
    world.turn()
    assert answers(talker) == [("one", b"4")]
    call(talker, b"3 + 3", "two")
    worker.hear()
    worker.send([b"", b"si", b"x"])
    world.turn()
    assert answers(talker) == [("two", b"six")]
    assert queue(world).in_flight == 0


def test_a_worker_that_dies_gives_its_task_back() -> None:
    world = World()
    first, second = world.peer("REP"), world.peer("REP")
    push = world.peer("PUSH")
    push.send([b"1"], [b"2"])
    world.turn()
    assert (tasks(first), tasks(second)) == ([[b"", b"1"]], [[b"", b"2"]])
    first.eof()
    second.send([b"", b"ok"])
    world.turn()
    assert tasks(second) == [[b"", b"1"]]
    second.send([b"", b"ok"])
    world.turn()
    assert (queue(world).ready_count, queue(world).in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("meaning", "tasks", "dead"), [(b"reply", 0, 0), (b"reject", 0, 1), (b"requeue", 1, 0)]
)
def test_errors(meaning: bytes, tasks: int, dead: int) -> None:
    world = World()
    talker = caller(world)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    talker.call(1, m.QueueDeclare("tasks", arguments=arguments), m.QueueDeclare("dead"))
    worker = world.peer("REP", {"X-Errors": meaning})
    call(talker, b"1", "one")
    worker.hear()
    worker.send([b"", b"ERR no such thing"])
    world.turn()
    assert queue(world).in_flight == tasks
    assert queue(world, "dead").ready_count == dead
    assert answers(talker) == ([] if tasks or dead else [("one", b"ERR no such thing")])


def test_a_reply_to_nothing_ends_the_connection() -> None:
    world = World()
    worker = world.peer("REP")
    world.turn()
    worker.send([b"", b"?"])
    assert worker.reason == "it has replied to nothing"
    other = world.peer("ROUTER")
    world.peer("PUSH").send([b"1"])
    world.turn()
    other.send([b"", b"done"], [b"", b"again"])
    assert other.reason == "it has replied to nothing"
    assert queue(world).in_flight == 0


def test_a_late_reply_is_not_one_to_the_next_task() -> None:
    """libzmq's sockets send it over the next connection."""
    world = World()
    talker = caller(world)
    worker = world.peer("REP")
    call(talker, b"1", "one")
    ((late, *_),) = worker.hear()
    other = world.peer("REP")
    worker.eof()
    world.turn()
    assert tasks(other) == [[b"", b"1"]]
    again = world.peer("REP")
    again.send([late, b"", b"of one"])
    call(talker, b"2", "two")
    ((address, *task),) = again.hear()
    again.send([late, b"", b"of one"])
    world.turn()
    assert (task, answers(talker), queue(world).in_flight) == ([b"", b"2"], [], 2)
    again.send([address, b"", b"of two"], [address, b"", b"twice"])
    world.turn()
    assert answers(talker) == [("two", b"of two")]
    assert not again.closed
    assert len([text for text in world.broker.notices if "a late reply is dropped" in text]) == 3


def test_a_worker_that_takes_too_long() -> None:
    world = World()
    worker = world.peer("REP")
    world.peer("PUSH").send([b"1"])
    world.turn()
    worker.hear()
    world.pass_ms(LIMIT_MS + 200_000)
    world.turn()
    assert "did not reply in time" in worker.reason
    other = world.peer("REP")
    world.turn()
    assert tasks(other) == [[b"", b"1"]]


def test_the_end_of_its_queue_ends_the_connection() -> None:
    world = World()
    worker = world.peer("REP")
    talker = caller(world)
    call(talker, b"1", "one")
    worker.hear()
    world.client().call(1, m.QueueDelete("tasks"))
    assert worker.closed and "is deleted" in worker.reason
    assert answers(talker) == []


def test_who_may_not_answer_only_acknowledges() -> None:
    world = World()
    world.turn()
    talker = caller(world)
    worker = world.peer("REP")
    call(talker, b"1", "one")
    worker.hear()
    world.broker.users.rights("guest", "/").permit(Permission(".*", "^$", ".*"))
    worker.send([b"", b"4"])
    world.turn()
    assert answers(talker) == []
    assert queue(world).in_flight == 0
    assert "its replies reach nobody" in world.broker.notices[-1]


def test_an_answer_waits_for_room_in_the_log_with_its_acknowledgement() -> None:
    world = World()
    talker = world.client()
    talker.call(1, m.QueueDeclare("answers", durable=True))
    worker = world.peer("REP")
    world.turn()
    asked = Properties(reply_to="answers", correlation_id="one", delivery_mode=2)
    talker.publish(1, "tasks", b"1", properties=asked)
    world.turn()
    worker.hear()
    world.broker.journal.measured(10, False)
    worker.send([b"", b"4"])
    assert (queue(world, "answers").ready_count, queue(world).in_flight) == (0, 1)
    world.broker.journal.measured(10_000, False)
    worker.front.unblock()
    worker.front.go_on(0)
    assert (queue(world, "answers").ready_count, queue(world).in_flight) == (1, 0)


def test_short_of_memory_answers_go_on() -> None:
    world = World(memory_bytes_max=1000)
    worker = world.peer("REP")
    talker = caller(world)
    call(talker, bytes(2000), "one")
    assert world.broker.blocked
    worker.hear()
    worker.send([b"", b"4"])
    world.turn()
    assert answers(talker) == [("one", b"4")]
    assert not world.broker.blocked


def test_streams_are_read_by_groups() -> None:
    world = World()
    world.broker.forgetful = True  # what streams get is read at once
    talker = world.client()
    stream = {"x-queue-type": "stream"}
    talker.call(1, m.QueueDeclare("s", durable=True, arguments=stream))
    talker.call(1, m.QueueDeclare("g", durable=True, arguments={"x-stream": "s"}))
    for kind, name, text in (("REP", b"s", "is a stream"), ("PUSH", b"g", "from a stream")):
        peer = world.socket(kind)
        with pytest.raises(AssertionError):
            peer.open({"X-Queue": name})
        assert text in peer.reason
    worker = world.peer("REP", {"X-Queue": b"g"})
    reader = world.peer("PULL", {"X-Queue": b"s", "X-Prefetch": b"2"})
    world.turn()
    world.peer("PUSH", {"X-Queue": b"s"}).send([b"1"], [b"2"], [b"3"])
    world.turn()
    world.turn()
    assert tasks(worker) == [[b"", b"1"]]
    worker.send([b"", b"done"])
    world.turn()
    assert tasks(worker) == [[b"", b"2"]]
    assert reader.hear() == [[b"1"], [b"2"]]
    name, data = reader.commands[-1]
    assert name == b"PING"
    reader.command(b"PONG", data[2:])
    world.turn()
    assert reader.hear() == [[b"3"]]


def test_who_may_not_read_is_refused() -> None:
    world = World()
    world.broker.users.rights("guest", "/").permit(Permission(".*", ".*", "^other$"))
    for kind in ("REP", "PULL"):
        peer = world.socket(kind)
        with pytest.raises(AssertionError):
            peer.open()
        assert "access to queue 'tasks'" in peer.reason
