"""Every verb of REQ and DEALER peers, and every way in which it can go wrong."""

import json
from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.core.rights import Permission
from mansio.protocol.zmtp.leases import SEATS_MAX
from mansio.protocol.zmtp.messages import PARTS_MAX
from tests.protocol.zmtp_talk import World, ZmtpPeer

PLAIN = b'{"delivery_mode": 2}'


@pytest.fixture
def world() -> World:
    return World()


def task(peer: ZmtpPeer, queue: bytes = b"q", verb: bytes = b"GET") -> tuple[bytes, list[bytes]]:
    """Takes a task: its tag, and what comes behind that."""
    status, tag, *rest = peer.ask(verb, queue)
    assert status == b"200"
    return tag, rest


# -- PUT


def test_put_answers_with_positions(world: World) -> None:
    peer = world.peer()
    assert [peer.ask(b"PUT", b"q", b"x") for _ in range(3)] == [
        [b"200", b"0"],
        [b"200", b"1"],
        [b"200", b"2"],
    ]
    assert peer.ask(b"LEN", b"q") == [b"200", b"3", b"0", b"0"]


def test_put_answers_only_when_the_message_is_durable(world: World) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"x")  # from here on the queue is there
    peer.send([b"", b"PUT", b"q", b"x"], [b"", b"PUT", b"q", b"y", b'{"priority": 1}'])
    world.turn(durable=False)
    assert peer.hear() == []
    world.log()
    assert peer.hear() == [[b"", b"200", b"1"], [b"", b"200", b"2"]]


def test_put_in_memory_only_answers_at_once(world: World) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"x")
    peer.send([b"", b"PUT", b"q", b"x", b'{"delivery_mode": 1}'])
    world.turn(durable=False)
    assert peer.hear() == [[b"", b"200", b"1"]]


def test_a_log_that_fails_is_told(world: World) -> None:
    peer = world.peer("DEALER")
    peer.call(b"PUT", b"q", b"x")
    peer.send([b"a", b"", b"PUT", b"q", b"x"], [b"b", b"", b"PUT", b"q", b"y", b'{"type": "t"}'])
    world.turn(durable=False)
    world.log(ok=False)
    failed = [b"500", b"it could not be stored"]
    assert peer.hear() == [[b"a", b"", *failed], [b"b", b"", *failed]]


def test_properties_reach_amqp_consumers(world: World) -> None:
    props = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"a": 1, "b": [True, None, {"c": 0.5}], "d": "é"},
        "priority": 7,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": 60000,
        "message_id": "m",
        "timestamp": 1,
        "type": "t",
        "user_id": "guest",
        "app_id": "app",
    }
    peer = world.peer()
    assert peer.ask(b"PUT", b"q", b"x", json.dumps(props).encode())[0] == b"200"
    run = world.broker.vhosts["/"].queues["q"].ready[0].run
    assert (run.persistent, run.priority, run.expiration_ms) == (True, 7, 60000)
    _, (_, body, found) = task(world.peer())
    assert body == b"x"
    assert json.loads(found) == props | {"delivery_mode": 2, "expiration": "60000"}


def test_several_frames_are_one_body_for_everybody_else(world: World) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"one", b"", b"two", b"", b"four")
    run = world.broker.vhosts["/"].queues["q"].ready[0].run
    assert world.broker.letters.bodies(run, 0, 1) == [b"onetwofour"]
    _, rest = task(peer)
    assert rest == [b"0", b"one", PLAIN, b"two", b"", b"four"]


def test_a_delayed_message_comes_later(world: World) -> None:
    peer = world.peer()
    assert peer.ask(b"PUT", b"q", b"x", b'{"delay": 1000}') == [b"200", b""]
    assert peer.ask(b"GET", b"q") == [b"204"]
    world.pass_ms(1000)
    assert task(peer)[1][1] == b"x"


def test_a_message_that_is_sent_again_is_taken_once(world: World) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    world.broker.definitions.declare_queue(
        amqp.front.session, "once", True, False, False, {"x-message-deduplication": True}
    )
    peer = world.peer()
    assert peer.ask(b"PUT", b"once", b"x", b'{"message_id": "7"}') == [b"200", b"0"]
    assert peer.ask(b"PUT", b"once", b"x", b'{"message_id": "7"}') == [b"200", b""]
    assert peer.ask(b"LEN", b"once")[1] == b"1"


def test_a_full_queue_says_so(world: World) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    world.broker.definitions.declare_queue(
        amqp.front.session,
        "full",
        True,
        False,
        False,
        {"x-max-length": 2, "x-overflow": "reject-publish"},
    )
    peer = world.peer("DEALER")
    peer.send(*([b"%d" % n, b"", b"PUT", b"full", b"x"] for n in range(4)))
    world.turn()
    heard = peer.hear()
    assert [reply[0] for reply in heard] == [b"0", b"1", b"2", b"3"]
    assert [reply[2] for reply in heard] == [b"200", b"200", b"507", b"507"]
    for props in (b'{"delivery_mode": 1}', b'{"delivery_mode": 1, "message_id": "m"}'):
        assert peer.call(b"PUT", b"full", b"x", props)[0] == b"507"


def test_a_stream_answers_with_offsets(world: World) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    world.broker.definitions.declare_queue(
        amqp.front.session, "s", True, False, False, {"x-queue-type": "stream"}
    )
    peer = world.peer()
    assert peer.ask(b"PUT", b"s", b"x") == [b"200", b"0"]
    assert peer.ask(b"PUT", b"s", b"x", b'{"type": "t"}') == [b"200", b"1"]
    assert peer.ask(b"GET", b"s")[0] == b"400"
    assert peer.ask(b"NEXT", b"s")[0] == b"400"
    assert peer.ask(b"CALL", b"s", b"", b"x")[0] == b"400"


@pytest.mark.parametrize(
    "request_",
    [
        [b"PUT"],
        [b"PUT", b"q"],
        [b"PUT", b"q", b"x", b"no json"],
        [b"PUT", b"q", b"x", b"[1]"],
        [b"PUT", b"q", b"x", b"[" * 100_000],
        [b"PUT", b"q", b"x", b'{"colour": "red"}'],
        [b"PUT", b"q", b"x", b'{"delivery_mode": 3}'],
        [b"PUT", b"q", b"x", b'{"delivery_mode": true}'],
        [b"PUT", b"q", b"x", b'{"priority": 256}'],
        [b"PUT", b"q", b"x", b'{"priority": "high"}'],
        [b"PUT", b"q", b"x", b'{"expiration": "soon"}'],
        [b"PUT", b"q", b"x", b'{"expiration": -1}'],
        [b"PUT", b"q", b"x", b'{"delay": 1.5}'],
        [b"PUT", b"q", b"x", b'{"type": 1}'],
        [b"PUT", b"q", b"x", b'{"type": "\\ud800"}'],
        [b"PUT", b"q", b"x", b'{"headers": []}'],
        [b"PUT", b"q", b"x", b'{"headers": {"n": 9223372036854775808}}'],
        [b"PUT", b"q", b"x", b'{"headers": {"n": NaN}}'],
        [b"PUT", b"q", b"x", b'{"headers": {"n": %s}}' % (b"[" * 50 + b"]" * 50)],
        [b"PUT", b"q", b"x", b'{"headers": {"CC": "q"}}'],
        [b"PUT", b"q", b"x", b'{"user_id": "somebody"}'],
        [b"PUT", b"n" * 256, b"x"],
        [b"CALL", b"q", b"1000"],
        [b"CALL", b"q", b"soon", b"x"],
        [b"CALL", b"q", b"0", b"x"],
        [b"CALL", b"q", b"-1", b"x"],
        [b"CALL", b"q", b"1000", b"x", b'{"reply_to": "r"}'],
        [b"GET"],
        [b"GET", b"q", b"now"],
        [b"NEXT"],
        [b"ACK"],
        [b"NACK"],
        [b"NACK", b"x", b"2"],
        [b"NACK", b"x", b"1", b"1"],
        [b"EXTEND", b"x"],
        [b"EXTEND", b"x", b"%d" % (1 << 60)],
        [b"LEN"],
        [b"LEN", b"q", b"q"],
        [b"PUB", b"topic"],
    ],
)
def test_what_is_no_request_is_refused(world: World, request_: list[bytes]) -> None:
    world.client()
    for user in world.broker.users:
        user.tags = ()
    peer = world.peer()
    reply = peer.ask(*request_)
    assert reply[0] == b"400" and len(reply) == 2, reply
    assert peer.ask(b"LEN", b"q")[0] in (b"404", b"200")
    queue = world.broker.vhosts["/"].queues.get("q")
    assert queue is None or queue.ready_count == 0


@pytest.mark.parametrize(
    "request_",
    [
        [b"PUT", b"q", b"x", b"", *[b"x"] * PARTS_MAX],
        [b"PUT", b"q", b"x", b'{"headers": {"h": "%s"}}' % (b"x" * 140_000)],
        [b"PUT", b"q", b"x", b'{"headers": {"%s": 1}}' % (b"x" * 256)],
        [b"PUT", b"q", b"x", b'{"type": "%s"}' % (b"x" * 256)],
        [b"CALL", b"q", b"", b"x", b"", *[b"x"] * PARTS_MAX],
        [b"PUB", b"t" * 256, b"x"],
    ],
)
def test_what_is_too_large_is_refused(world: World, request_: list[bytes]) -> None:
    reply = world.peer().ask(*request_)
    assert reply[0] == b"413" and len(reply) == 2, reply


# -- rights, memory, disk


def test_rights_are_those_of_amqp(world: World) -> None:
    peer = world.peer("REQ")
    assert peer.front.session is not None
    rights = peer.front.session.rights
    peer.ask(b"PUT", b"q", b"x")
    rights.permit(Permission("^mine", "^$", "^mine"))
    assert peer.ask(b"PUT", b"q", b"x")[0] == b"403"
    assert peer.ask(b"CALL", b"q", b"", b"x")[0] == b"403"
    assert peer.ask(b"GET", b"q")[0] == b"403"
    assert peer.ask(b"NEXT", b"q")[0] == b"403"
    assert peer.ask(b"PUB", b"t", b"x")[0] == b"403"
    assert peer.ask(b"x")[0].startswith(b"403 ")
    rights.permit(Permission("^mine", ".*", ".*"))
    assert peer.ask(b"PUT", b"other", b"x")[0] == b"403"
    assert peer.ask(b"GET", b"other", b"1000")[0] == b"403"
    assert peer.ask(b"PUT", b"mine", b"x")[0] == b"200"
    assert peer.ask(b"PUT", b"amq.mine", b"x")[0] == b"404"


def test_a_queue_of_another_connection_is_not_read(world: World) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    world.broker.definitions.declare_queue(amqp.front.session, "mine", False, True, False, {})
    peer = world.peer()
    assert peer.ask(b"GET", b"mine")[0] == b"403"
    assert peer.ask(b"LEN", b"mine")[0] == b"403"
    assert peer.ask(b"PUT", b"mine", b"x")[0] == b"200"


def test_who_may_not_answer_keeps_the_task(world: World) -> None:
    peer = world.peer()
    assert peer.front.session is not None
    peer.ask(b"PUT", b"q", b"x", b'{"reply_to": "r"}')
    tag, _ = task(peer)
    peer.front.session.rights.permit(Permission(".*", "^$", ".*"))
    assert peer.ask(b"ACK", tag, b"result")[0] == b"403"
    assert peer.ask(b"ACK", tag) == [b"200"]


@pytest.mark.parametrize(("short", "status"), [("low_on_memory", b"503"), ("low_on_disk", b"507")])
def test_a_broker_that_is_short_refuses(world: World, short: str, status: bytes) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"x", b'{"reply_to": "r"}')
    tag, _ = task(peer)
    setattr(world.broker, short, True)
    requests: list[list[bytes]] = [
        [b"PUT", b"q", b"x"],
        [b"PUT", b"q", b"x", b'{"type": "t"}'],
        [b"CALL", b"q", b"", b"x"],
        [b"ACK", tag, b"result"],
    ]
    for request in requests:
        peer.send([b"", *request])
        assert peer.hear()[0][1] == status, request
    setattr(world.broker, short, False)
    assert peer.ask(b"ACK", tag) == [b"200"]


def test_requests_wait_while_the_log_is_busy(world: World) -> None:
    peer = world.peer("DEALER")
    peer.call(b"PUT", b"q", b"x")
    journal = world.broker.journal
    room, journal.room_bytes = journal.room_bytes, 10
    peer.send([b"PING"], [b"PUT", b"q", b"y"], [b"PING"])
    world.turn()
    assert peer.hear() == [[b"200", b"PONG"]]
    journal.room_bytes = room
    peer.front.unblock()
    peer.front.go_on(world.now_ns)
    world.turn()
    assert sorted(peer.hear()) == [[b"200", b"1"], [b"200", b"PONG"]]


# -- GET, NEXT


def test_get_on_nothing(world: World) -> None:
    peer = world.peer()
    assert peer.ask(b"GET", b"q")[0] == b"404"
    peer.ask(b"PUT", b"q", b"x")
    assert task(peer)[1] == [b"0", b"x", PLAIN]
    assert peer.ask(b"GET", b"q") == [b"204"]


def test_get_waits_so_long(world: World) -> None:
    peer = world.peer()
    peer.send([b"", b"GET", b"q", b"1000"])
    world.pass_ms(999)
    assert peer.hear() == []
    world.pass_ms(1)
    assert peer.hear() == [[b"", b"204"]]
    assert peer.ask(b"LEN", b"q") == [b"200", b"0", b"0", b"0"]


def test_get_waits_until_something_comes(world: World) -> None:
    worker, client = world.peer(), world.peer()
    worker.send([b"", b"GET", b"q", b"1000"])
    world.turn()
    client.ask(b"PUT", b"q", b"x")
    ((_, status, tag, redelivered, body, _),) = worker.hear()
    assert (status, redelivered, body) == (b"200", b"0", b"x")
    assert client.ask(b"LEN", b"q") == [b"200", b"0", b"1", b"1"]
    assert worker.ask(b"ACK", tag) == [b"200"]
    assert client.ask(b"LEN", b"q") == [b"200", b"0", b"0", b"0"]
    world.pass_ms(2000)
    assert worker.hear() == []


def test_next_is_done_with_one_and_takes_another(world: World) -> None:
    worker, client = world.peer(), world.peer()
    for body in (b"a", b"b"):
        client.ask(b"PUT", b"q", body)
    tag, rest = task(worker, verb=b"NEXT")
    assert rest[1] == b"a"
    _, tag, _, body, _ = worker.ask(b"NEXT", b"q", tag)
    assert body == b"b"
    worker.send([b"", b"NEXT", b"q", tag])
    world.turn()
    assert worker.hear() == []
    assert client.ask(b"LEN", b"q") == [b"200", b"0", b"0", b"1"]
    client.ask(b"PUT", b"q", b"c")
    assert worker.hear()[0][4] == b"c"


def test_next_goes_on_from_a_get_and_to_another_queue(world: World) -> None:
    worker, client = world.peer(), world.peer()
    for queue in (b"p", b"q", b"r"):
        client.ask(b"PUT", queue, queue)
    tag, _ = task(worker, b"p")
    _, tag, _, body, _ = worker.ask(b"NEXT", b"q", tag)
    assert body == b"q"
    assert worker.ask(b"NEXT", b"r", tag)[3] == b"r"
    assert [client.ask(b"LEN", queue)[1:] for queue in (b"p", b"q")] == [[b"0", b"0", b"0"]] * 2


def test_workers_are_served_in_turn(world: World) -> None:
    workers = [world.peer() for _ in range(3)]
    client = world.peer()
    for worker in workers:
        worker.send([b"", b"NEXT", b"q"])
        world.turn()
    got: list[int] = []
    for _ in range(6):
        client.ask(b"PUT", b"q", b"x")
        for number, worker in enumerate(workers):
            for heard in worker.hear():
                got.append(number)
                worker.send([b"", b"NEXT", b"q", heard[2]])
        world.turn()
    assert got == [0, 1, 2, 0, 1, 2]


def test_workers_take_turns_with_amqp_consumers(world: World) -> None:
    worker, client, amqp = world.peer(), world.peer(), world.client()
    client.ask(b"PUT", b"q", b"first")
    assert task(worker, verb=b"NEXT")[1][1] == b"first"
    amqp.call(1, m.BasicQos(prefetch_count=1), m.BasicConsume(queue="q", consumer_tag="c"))
    tag = b"token1-1"
    for _ in range(4):
        client.ask(b"PUT", b"q", b"x")
    assert len(amqp.hear()) == 1
    assert worker.ask(b"NEXT", b"q", tag)[0] == b"200"
    assert client.ask(b"LEN", b"q") == [b"200", b"2", b"2", b"2"]


def test_waiting_is_limited(world: World) -> None:
    peer = world.peer("DEALER")
    peer.send(*([b"NEXT", b"q"] for _ in range(SEATS_MAX + 1)))
    world.turn()
    ((status, _),) = peer.hear()
    assert status == b"429"


def test_whoever_waits_at_a_queue_that_goes_is_told(world: World) -> None:
    peer, amqp = world.peer(), world.client()
    peer.send([b"", b"NEXT", b"q"])
    world.turn()
    assert amqp.front.session is not None
    queue = world.broker.vhosts["/"].queues["q"]
    world.broker.definitions.delete_queue(amqp.front.session, queue, False, False)
    world.turn()
    assert [reply[1] for reply in peer.hear()] == [b"404"]


def test_each_waits_as_long_as_it_has_said(world: World) -> None:
    peer = world.peer("DEALER")
    peer.send(*([b"%d" % ms, b"", b"GET", b"q", b"%d" % ms] for ms in (300, 100, 200)))
    for ms in (b"100", b"200", b"300"):
        world.pass_ms(99)
        assert peer.hear() == []
        world.pass_ms(1)
        assert peer.hear() == [[ms, b"", b"204"]]


# -- what becomes of a task


def test_an_end_gives_tasks_back(world: World) -> None:
    client, worker, other = world.peer(), world.peer(), world.peer()
    for _ in range(2):
        client.ask(b"PUT", b"q", b"x")
    task(worker)
    task(worker, verb=b"NEXT")
    worker.eof()
    assert client.ask(b"LEN", b"q") == [b"200", b"2", b"0", b"0"]
    assert task(other)[1] == [b"1", b"x", PLAIN]


def test_a_worker_that_gives_up_waiting_takes_nothing_with_it(world: World) -> None:
    client, worker = world.peer(), world.peer()
    worker.send([b"", b"GET", b"q", b"5000"])
    world.turn()
    worker.eof()
    client.ask(b"PUT", b"q", b"x")
    assert client.ask(b"LEN", b"q") == [b"200", b"1", b"0", b"0"]
    role: Any = worker.front.role
    assert not len(role._timers)
    world.pass_ms(6000)


def test_next_of_a_queue_that_is_taken_leaves_the_task_with_its_worker(world: World) -> None:
    amqp = world.client()
    amqp.call(1, m.QueueDeclare("r", durable=True))
    amqp.call(1, m.BasicConsume("r", "c", exclusive=True))
    worker = world.peer()
    worker.ask(b"PUT", b"q", b"x")
    tag, _ = task(worker)
    assert worker.ask(b"NEXT", b"r", tag)[0] == b"403"
    assert worker.ask(b"LEN", b"q")[2] == b"1"
    assert worker.ask(b"ACK", tag) == [b"200"]


@pytest.mark.parametrize("verb", [b"GET", b"NEXT"])
def test_nack_gives_back_or_rejects(world: World, verb: bytes) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"x")
    for word in ([], [b""], [b"1"]):
        tag, _ = task(peer, verb=verb)
        assert peer.ask(b"NACK", tag, *word) == [b"200"]
    tag, rest = task(peer, verb=verb)
    assert rest[0] == b"1"
    assert peer.ask(b"NACK", tag, b"0") == [b"200"]
    assert peer.ask(b"LEN", b"q") == [b"200", b"0", b"0", b"0"]


def test_ack_answers_only_when_it_is_durable(world: World) -> None:
    peer = world.peer()
    peer.ask(b"PUT", b"q", b"x")
    tag, _ = task(peer)
    peer.send([b"", b"ACK", tag])
    world.turn(durable=False)
    assert peer.hear() == []
    world.log()
    assert peer.hear() == [[b"", b"200"]]


@pytest.mark.parametrize("verb", [b"GET", b"NEXT"])
def test_next_gives_the_next_task_only_when_the_last_one_is_durably_done(
    world: World, verb: bytes
) -> None:
    peer, other = world.peer(), world.peer()
    for body in (b"a", b"b"):
        other.ask(b"PUT", b"q", body)
    tag, _ = task(peer, verb=verb)
    peer.send([b"", b"NEXT", b"q", tag])
    world.turn(durable=False)
    assert peer.hear() == []
    world.log()
    (reply,) = peer.hear()
    assert reply[:2] == [b"", b"200"] and reply[4] == b"b"
    peer.send([b"", b"NEXT", b"q", reply[2]])
    world.turn()
    assert peer.hear() == []
    other.send([b"", b"PUT", b"q", b"c"])
    world.turn(durable=False)
    assert [frames[4] for frames in peer.hear()] == [b"c"]  # there is nothing to wait for


@pytest.mark.parametrize(
    "request_",
    [[b"ACK", b"TAG"], [b"NACK", b"TAG"], [b"EXTEND", b"TAG", b"1"], [b"NEXT", b"q", b"TAG"]],
)
def test_tags_are_known_once_and_to_one_connection(world: World, request_: list[bytes]) -> None:
    peer, other = world.peer(), world.peer()
    for _ in range(2):
        peer.ask(b"PUT", b"q", b"x")
    tag, _ = task(peer)
    task(other)

    def ask(who: ZmtpPeer, tag: bytes) -> bytes:
        return who.ask(*[tag if word == b"TAG" else word for word in request_])[0]

    assert ask(other, tag) == b"410"
    peer.ask(b"ACK", tag)
    for wrong in (tag, b"x", b"token1-", b"token1-9", b"-1", b"\xff", b"token1-" + b"1" * 5000):
        assert ask(peer, wrong) == b"410"


def test_a_late_worker_has_lost_its_task(world: World) -> None:
    amqp = world.client()
    assert amqp.front.session is not None
    world.broker.definitions.declare_queue(
        amqp.front.session, "q", True, False, False, {"x-consumer-timeout": 1000}
    )
    peer = world.peer()
    for _ in range(4):
        peer.ask(b"PUT", b"q", b"x")
    got, _ = task(peer)
    lost, _ = task(peer)
    late, _ = task(peer, verb=b"NEXT")
    kept, _ = task(peer, verb=b"NEXT")
    assert peer.ask(b"EXTEND", kept, b"60000") == [b"200"]
    world.pass_ms(2500)
    world.pass_ms(2500)
    assert peer.ask(b"LEN", b"q")[1] == b"3"
    role: Any = peer.front.role
    assert len(role.leases) == 3
    assert peer.ask(b"ACK", got)[0] == b"410"
    role.tick(0)
    assert len(role.leases) == 1
    assert peer.ask(b"ACK", lost)[0] == b"410"
    assert peer.ask(b"ACK", late)[0] == b"410"
    assert peer.ask(b"ACK", kept) == [b"200"]


# -- LEN, PUB, PING


def test_ping(world: World) -> None:
    assert world.peer().ask(b"PING") == [b"200", b"PONG"]


def test_pub_is_for_who_listens(world: World) -> None:
    peer, amqp = world.peer(), world.client()
    assert peer.ask(b"PUB", b"weather.berlin", b"sun") == [b"200"]
    amqp.call(1, m.ExchangeDeclare(exchange="zmq.topic", type="topic", durable=True))
    amqp.call(1, m.QueueDeclare(queue="w"))
    amqp.call(1, m.QueueBind(queue="w", exchange="zmq.topic", routing_key="weather.*"))
    assert peer.ask(b"PUB", b"weather.berlin", b"rain", b"5 mm") == [b"200"]
    assert task(peer, b"w")[1][1] == b"rain"


# -- CHANGES


def test_a_queue_that_is_made_is_durable(world: World) -> None:
    peer = world.peer()
    peer.send([b"", b"NEXT", b"made"])
    world.turn()
    queue: Any = world.broker.vhosts["/"].queues["made"]
    assert queue.durable and not queue.auto_delete and queue.owner is None


# -- rows


def test_messages_with_the_same_properties_are_one_run(world: World) -> None:
    peer = world.peer("DEALER")
    props = b'{"priority": 3, "expiration": 9000, "headers": {"a": 1}}'
    bodies = [b"", b"x", b"y" * 300_000]
    peer.send(*([b"%d" % n, b"", b"PUT", b"q", body, props] for n, body in enumerate(bodies)))
    world.turn()
    assert [reply[2:] for reply in peer.hear()] == [[b"200", b"0"], [b"200", b"1"], [b"200", b"2"]]
    runs = [span.run for span in world.broker.vhosts["/"].queues["q"].ready]
    assert [(run.count, run.priority, run.expiration_ms) for run in runs] == [(3, 3, 9000)]
    amqp = world.client()
    _, *messages = amqp.call(1, m.BasicConsume(queue="q"))  # asserts that no frame is too large
    for body, got in zip(bodies, messages, strict=True):
        assert got.body == body
        assert got.properties.headers == {"a": 1}


def test_a_row_ends_where_requests_differ(world: World) -> None:
    peer = world.peer("DEALER", {"X-Queue": b"q"})
    peer.send(
        [b"", b"PUT", b"q", b"0"],
        [b"i", b"", b"PUT", b"q", b"1"],
        [b"PUT", b"q", b"2"],
        [b"", b"PUT", b"q", b"3", b'{"priority": 1}'],
        [b"", b"PUT", b"q", b"4", b'{"priority": 2}'],
        [b"", b"PUT", b"q", b"5", b'{"message_id": "m"}'],
        [b"", b"6"],
        [b"", b'{"n": 7}'],
        [b"", b"LEN", b"q"],
        [b"", b"PUT", b"other", b"8"],
        [b"", b"PUT", b"q", b"9", b""],
    )
    world.turn()
    heard = peer.hear()
    assert heard[0] == [b"", b"200", b"8", b"0", b"0"]
    assert heard[1:] == [
        [b"", b"200", b"0"],
        [b"i", b"", b"200", b"1"],
        [b"200", b"2"],
        [b"", b"200", b"3"],
        [b"", b"200", b"4"],
        [b"", b"200", b"5"],
        [b"", b"200 6"],
        [b"", b'{"status": 200, "id": 7}'],
        [b"", b"200", b"0"],
        [b"", b"200", b"8"],
    ]
    bodies = [task(world.peer())[1][1] for _ in range(9)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b'{"n": 7}', b"9"]


def test_pub_reaches_sub_peers(world: World) -> None:
    sub, peer = world.peer("SUB"), world.peer()
    sub.subscribe(b"weather")
    assert peer.ask(b"PUB", b"weather.berlin", b"rain", b"5 mm") == [b"200"]
    assert peer.ask(b"PUB", b"news", b"none") == [b"200"]
    assert sub.hear() == [[b"weather.berlin", b"rain", b"5 mm"]]


def test_a_row_ends_where_majordomo_begins(world: World) -> None:
    peer = world.peer("DEALER", {"X-Queue": b"q"})
    peer.send([b"a", b"b", b"", b"x"], [b"MDPC02", b"\x01", b"", b"x"], [b"a", b"b", b"", b"x"])
    world.turn()
    assert [reply[:2] for reply in peer.hear()] == [
        [b"MDPC02", b"\x03"],
        [b"a", b"b"],
        [b"a", b"b"],
    ]


def test_a_peer_that_does_not_read_is_not_heard_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mansio.protocol.zmtp.answering.UNREAD_BYTES_MAX", 1000)
    peer = world.peer("DEALER")
    peer.front.set_writable(False)
    for _ in range(100):
        peer.send([b"PING"], [b"PING"])
        world.turn()
    said = peer.hear()
    assert 50 < len(said) < 100
    peer.front.set_writable(True)
    world.turn()
    assert len(said) + len(peer.hear()) == 200
