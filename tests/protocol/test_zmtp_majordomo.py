"""Majordomo on one connection: clients and workers of both versions, with AMQP on the other side, too; mmi."""

import pytest

from mansio.admin.passwords import hash_password
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.rights import Permission
from mansio.protocol.zmtp.majordomo_frames import Word
from mansio.protocol.zmtp.majordomo_worker import TABLE, Event, State
from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol.zmtp_talk import World, ZmtpPeer

BEAT_MS = 2_500
W1 = [b"", b"MDPW01"]
W2 = [b"MDPW02"]
BEAT = [*W1, b"\x04"]
GOODBYE = [*W1, b"\x05"]


def worker(world: World, service: bytes = b"echo", version: int = 1) -> ZmtpPeer:
    """One that has said READY."""
    peer = world.peer("DEALER")
    peer.send([*(W1 if version == 1 else W2), b"\x01", service])
    world.turn()
    assert peer.hear() == []
    return peer


def request(peer: ZmtpPeer, body: list[bytes], head: list[bytes] = W1) -> bytes:
    """The only thing that a worker has heard is a request with this body: its address."""
    (message,) = peer.hear()
    size = len(head)
    assert message[:size] == head
    assert message[size] == b"\x02"
    assert message[size + 2] == b""
    assert message[size + 3 :] == body
    assert message[size + 1]
    return message[size + 1]


def ready(world: World, queue: str) -> tuple[int, int]:
    """Messages of a queue that are ready, and in flight."""
    found = world.broker.vhosts["/"].queues[queue]
    return found.ready_count, found.in_flight


def pass_beats(world: World, peer: ZmtpPeer, count: int) -> None:
    """Time passes in steps of a heartbeat, and the peer's connection is looked at twice in each."""
    for _ in range(count):
        world.pass_ms(BEAT_MS)
        for _ in range(2):
            peer.front.tick(world.now_ns)
        world.turn()


def test_a_request_goes_to_a_worker_and_its_reply_to_the_client() -> None:
    world = World()
    echo = worker(world)
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"echo", b"one", b"", b"two"])
    world.turn()
    address = request(echo, [b"one", b"", b"two"])
    assert client.hear() == []
    assert ready(world, "echo") == (0, 1)
    echo.send([*W1, b"\x03", address, b"", b"eins", b"zwei"])
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"echo", b"eins", b"zwei"]]
    assert ready(world, "echo") == (0, 0)
    assert echo.hear() == []


def test_a_dealer_may_ask_before_it_hears_and_behind_a_proxy() -> None:
    world = World()
    client = world.peer("DEALER")
    client.send([b"", b"MDPC01", b"echo", b"1"], [b"id", b"", b"MDPC01", b"echo", b"2"])
    echo = worker(world, b"other")
    assert ready(world, "echo") == (2, 0)
    echo = world.peer("DEALER")
    echo.send([*W1, b"\x01", b"echo"])
    world.turn()
    first = request(echo, [b"1"])
    echo.send([*W1, b"\x03", first, b"", b"a1"])
    world.turn()
    second = request(echo, [b"2"])
    assert second != first
    echo.send([*W1, b"\x03", second, b"", b"a2"])
    world.turn()
    assert client.hear() == [
        [b"", b"MDPC01", b"echo", b"a1"],
        [b"id", b"", b"MDPC01", b"echo", b"a2"],
    ]


def test_parts_of_an_answer_go_to_the_client_as_they_come() -> None:
    world = World()
    feed = worker(world, b"feed", 2)
    client = world.peer("DEALER")
    client.send([b"MDPC02", b"\x01", b"feed", b"", b"q"])
    world.turn()
    address = request(feed, [b"", b"q"], W2)
    feed.send([*W2, b"\x03", address, b"", b"p1", b"p2"])
    world.turn()
    assert client.hear() == [[b"MDPC02", b"\x02", b"feed", b"p1", b"p2"]]
    feed.send([*W2, b"\x03", address, b"", b"p3"], [*W2, b"\x04", address, b"", b"end"])
    world.turn()
    assert client.hear() == [
        [b"MDPC02", b"\x02", b"feed", b"p3"],
        [b"MDPC02", b"\x03", b"feed", b"end"],
    ]
    assert ready(world, "feed") == (0, 0)


def test_a_client_of_the_first_version_gets_parts_as_one_reply() -> None:
    world = World()
    feed = worker(world, b"feed", 2)
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"feed", b"q"])
    world.turn()
    address = request(feed, [b"q"], W2)
    feed.send([*W2, b"\x03", address, b"", b"p1"])
    world.turn()
    assert client.hear() == []
    feed.send([*W2, b"\x04", address, b"", b"end"])
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"feed", b"p1", b"end"]]


def test_workers_take_turns_with_one_request_each() -> None:
    world = World()
    workers = [worker(world) for _ in range(3)]
    client = world.peer("DEALER")
    client.send(*([b"", b"MDPC01", b"echo", b"%d" % i] for i in range(5)))
    world.turn()
    heard = [peer.hear() for peer in workers]
    assert [len(each) for each in heard] == [1, 1, 1]
    assert {each[0][-1] for each in heard} == {b"0", b"1", b"2"}
    assert ready(world, "echo") == (2, 3)


@pytest.mark.parametrize("how", ["eof", "disconnect", "ready", "wrong address", "invalid"])
def test_what_a_worker_does_not_answer_goes_to_another_one(how: str) -> None:
    world = World()
    first = worker(world)
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    address = request(first, [b"x"])
    second = worker(world)
    said = {
        "disconnect": [*W1, b"\x05"],
        "ready": [*W1, b"\x01", b"echo"],
        "wrong address": [*W1, b"\x03", address + b"0", b"", b"y"],
        "invalid": [*W1, b"\x09"],
    }
    if how == "eof":
        first.eof()
    else:
        first.send(said[how])
    world.turn()
    if how not in ("eof", "disconnect"):
        assert first.hear() == [GOODBYE]
    address = request(second, [b"x"])
    second.send([*W1, b"\x03", address, b"", b"y"])
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"echo", b"y"]]
    assert first.hear() == []


@pytest.mark.parametrize("said", [b"\x03", b"\x04"])
def test_who_is_no_worker_is_told_to_register(said: bytes) -> None:
    """As behind a restart of the broker, when libzmq has connected again by itself."""
    world = World()
    peer = world.peer("DEALER")
    rest = [b"7", b"", b"x"] if said == b"\x03" else []
    peer.send([*W1, said, *rest])
    world.turn()
    assert peer.hear() == [GOODBYE]
    peer.send([*W1, b"\x01", b"echo"])
    world.turn()
    assert peer.hear() == []
    assert len(world.broker.vhosts["/"].queues["echo"].consumers) == 1


def test_the_broker_sends_heartbeats_to_idle_and_busy_workers() -> None:
    world = World()
    echo = worker(world)
    echo.front.tick(world.now_ns)
    assert echo.hear() == []
    pass_beats(world, echo, 1)
    assert echo.hear() == [BEAT]
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    request(echo, [b"x"])
    pass_beats(world, echo, 2)
    assert echo.hear() == [BEAT, BEAT]


def test_an_idle_worker_that_is_silent_gets_no_requests() -> None:
    world = World()
    echo = worker(world)
    pass_beats(world, echo, 2)
    echo.send(BEAT)
    pass_beats(world, echo, 2)
    queue = world.broker.vhosts["/"].queues["echo"]
    assert len(queue.consumers) == 1
    pass_beats(world, echo, 1)
    assert not queue.consumers
    echo.hear()
    pass_beats(world, echo, 2)
    assert echo.hear() == []  # nothing more is sent to it
    echo.send(BEAT)
    world.turn()
    assert echo.hear() == [GOODBYE]


def test_a_busy_worker_may_be_silent_if_it_never_was_otherwise() -> None:
    world = World()
    echo = worker(world)
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    address = request(echo, [b"x"])
    pass_beats(world, echo, 10)
    assert ready(world, "echo") == (0, 1)
    echo.send([*W1, b"\x03", address, b"", b"y"])
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"echo", b"y"]]


def test_a_busy_worker_that_has_sent_heartbeats_while_busy_has_to_go_on_with_it() -> None:
    world = World()
    echo = worker(world)
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    address = request(echo, [b"x"])
    for _ in range(4):
        pass_beats(world, echo, 1)
        echo.send(BEAT)
    assert ready(world, "echo") == (0, 1)
    pass_beats(world, echo, 3)
    assert ready(world, "echo") == (1, 0)
    echo.hear()
    echo.send([*W1, b"\x03", address, b"", b"late"])
    world.turn()
    assert echo.hear() == [GOODBYE]
    assert client.hear() == []


def test_one_look_is_not_enough_to_find_a_worker_silent() -> None:
    """The loop may have been busy; what has arrived meanwhile is read between two looks."""
    world = World()
    echo = worker(world)
    world.pass_ms(60_000)
    echo.front.tick(world.now_ns)
    echo.send(BEAT)
    echo.front.tick(world.now_ns)
    assert len(world.broker.vhosts["/"].queues["echo"].consumers) == 1


def test_the_period_and_the_patience_can_be_set() -> None:
    world = World()
    peer = world.peer(
        "DEALER", settings=ZmtpSettings(majordomo_heartbeat_ms=100, majordomo_liveness=5)
    )
    peer.send([*W1, b"\x01", b"echo"])
    world.turn()
    for _ in range(4):
        world.pass_ms(100)
        peer.front.tick(world.now_ns)
        peer.front.tick(world.now_ns)
    assert peer.hear() == [BEAT] * 4
    assert world.broker.vhosts["/"].queues["echo"].consumers
    world.pass_ms(100)
    peer.front.tick(world.now_ns)
    peer.front.tick(world.now_ns)
    assert not world.broker.vhosts["/"].queues["echo"].consumers


def test_a_worker_whose_queue_is_deleted_is_told_to_come_again() -> None:
    world = World()
    echo = worker(world)
    queue = world.broker.vhosts["/"].queues["echo"]
    world.broker.definitions.drop_queue(queue)
    world.turn()
    assert echo.hear() == [GOODBYE]


def test_a_worker_that_is_too_late_for_the_queue_is_dismissed() -> None:
    world = World()
    amqp = world.client()
    amqp.call(
        1,
        m.QueueDeclare(queue="slow", durable=True, arguments={"x-consumer-timeout": 60_000}),
    )
    slow = worker(world, b"slow")
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"slow", b"x"])
    world.turn()
    address = request(slow, [b"x"])
    world.pass_ms(130_000)
    world.turn()
    assert slow.hear() == [GOODBYE]
    assert ready(world, "slow") == (1, 0)
    slow.send([*W1, b"\x03", address, b"", b"late"])
    world.turn()
    assert slow.hear() == [GOODBYE]


@pytest.mark.parametrize("service", [b"mmi.service", b"mmi.other", b"amq.x", b"s" * 256])
def test_workers_of_names_that_nobody_may_have_are_refused(service: bytes) -> None:
    """After a pause: they come again at once."""
    world = World()
    peer = world.peer("DEALER")
    peer.send([*W1, b"\x01", service], BEAT)
    world.turn()
    assert peer.hear() == []
    assert len(world.broker.notices) == 1
    world.pass_ms(BEAT_MS - 500)
    peer.send(BEAT)
    world.pass_ms(500)
    peer.front.tick(world.now_ns)
    assert peer.hear() == [GOODBYE]
    peer.send([*W1, b"\x01", b"other"])
    pass_beats(world, peer, 1)
    assert peer.hear() == [BEAT]


def test_workers_and_clients_need_rights() -> None:
    world = World()
    world.broker.administration.put_user("joe", *hash_password("joe"))
    world.broker.administration.permit("joe", "/", Permission("^own$", "", "^own$"))
    peer = world.peer("DEALER", login=(b"joe", b"joe"))
    peer.send([*W1, b"\x01", b"other"], [b"", b"MDPC01", b"own", b"x"])
    world.turn()
    (refused,) = peer.hear()
    pass_beats(world, peer, 1)
    assert peer.hear() == [GOODBYE]
    assert refused[:4] == [b"", b"MDPC01", b"own", b"403"]


def test_mmi_says_whether_somebody_works_for_a_service() -> None:
    world = World()
    client = world.peer("REQ")
    assert client.ask(b"MDPC01", b"mmi.service", b"echo") == [b"MDPC01", b"mmi.service", b"404"]
    echo = worker(world)
    assert client.ask(b"MDPC01", b"mmi.service", b"echo") == [b"MDPC01", b"mmi.service", b"200"]
    echo.eof()
    assert client.ask(b"MDPC01", b"mmi.service", b"echo") == [b"MDPC01", b"mmi.service", b"404"]
    assert client.ask(b"MDPC01", b"mmi.service", b"titanic.reply")[2:] == [b"200"]
    assert client.ask(b"MDPC01", b"mmi.workers", b"x") == [b"MDPC01", b"mmi.workers", b"501"]
    dealer = world.peer("DEALER")
    answer = dealer.call(b"MDPC02", b"\x01", b"mmi.service", b"echo")
    assert answer == [b"MDPC02", b"\x03", b"mmi.service", b"404"]


def test_what_is_no_request_gets_one_reply() -> None:
    world = World()
    client = world.peer("REQ")
    assert client.ask(b"MDPC01", b"echo")[:3] == [b"MDPC01", b"echo", b"400"]
    assert client.ask(b"MDPC01")[:3] == [b"MDPC01", b"", b"400"]
    assert client.ask(b"MDPC01", b"amq.x", b"y")[:3] == [b"MDPC01", b"amq.x", b"404"]


def test_a_full_queue_refuses() -> None:
    world = World()
    amqp = world.client()
    amqp.call(
        1,
        m.QueueDeclare(
            queue="small",
            durable=True,
            arguments={"x-max-length": 1, "x-overflow": "reject-publish"},
        ),
    )
    client = world.peer("DEALER")
    client.send([b"", b"MDPC01", b"small", b"1"], [b"", b"MDPC01", b"small", b"2"])
    world.turn()
    (answer,) = client.hear()
    assert answer[:4] == [b"", b"MDPC01", b"small", b"507"]
    assert ready(world, "small") == (1, 0)


def test_requests_expire_when_nobody_works() -> None:
    world = World()
    client = world.peer("DEALER", settings=ZmtpSettings(majordomo_expiry_ms=60_000))
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    assert ready(world, "echo") == (1, 0)
    world.pass_ms(60_001)
    assert ready(world, "echo") == (0, 0)


def test_a_worker_may_take_longer_than_a_request_may_wait_but_not_for_ever() -> None:
    world = World(consumer_timeout_ms=1_800_000)
    first = worker(world)
    client = world.peer("DEALER", settings=ZmtpSettings(majordomo_expiry_ms=60_000))
    client.send([b"", b"MDPC01", b"echo", b"x"])
    world.turn()
    address = request(first, [b"x"])
    world.pass_ms(1_000_000)
    client.front.tick(world.now_ns)
    first.send([*W1, b"\x03", address, b"", b"y"])
    client.send([b"", b"MDPC01", b"echo", b"z"])
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"echo", b"y"]]
    amqp = world.client()
    first.eof()
    world.turn()
    (got,) = amqp.call(1, m.BasicGet(queue="echo", no_ack=True))
    world.pass_ms(1_860_001)
    client.front.tick(world.now_ns)
    properties = Properties(correlation_id=got.properties.correlation_id)
    amqp.publish(1, got.properties.reply_to, b"late", properties=properties)
    world.turn()
    assert client.hear() == []


def test_an_amqp_worker_answers_a_majordomo_client() -> None:
    world = World()
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"shout", b"x"])
    world.turn()
    amqp = world.client()
    (got,) = amqp.call(1, m.BasicGet(queue="shout", no_ack=True))
    assert got.body == b"x"
    properties = Properties(correlation_id=got.properties.correlation_id)
    amqp.publish(1, got.properties.reply_to, b"X!", properties=properties)
    world.turn()
    assert client.hear() == [[b"", b"MDPC01", b"shout", b"X!"]]


def test_every_pair_of_state_and_word_is_in_the_table() -> None:
    words = [word for word in Word if word is not Word.REQUEST]
    expected = {(state, word) for state in State for word in words}
    expected |= {(state, event) for state in (State.IDLE, State.BUSY) for event in Event}
    assert set(TABLE) == expected
