"""Titanic: requests and replies that outlive clients, workers and the broker."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol import zmtp_talk
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.zmtp_talk import ZmtpPeer

W1 = [b"", b"MDPW01"]
W2 = [b"MDPW02"]
DAY_MS = 86_400_000
UNKNOWN = b"0123456789abcdef0123456789ABCDEF"


class World(LastingRedisWorld, zmtp_talk.World):
    """One whose log is kept: it can be restarted."""

    def after_a_crash(self) -> "World":
        """What survives is what was durable."""
        world = World([list(part) for part in self.parts])
        world.broker.now_ms = self.broker.now_ms
        return world


def titanic(peer: ZmtpPeer, verb: bytes, *frames: bytes) -> list[bytes]:
    """A request to one of the three services: the body of the reply."""
    header, service, *body = peer.ask(b"MDPC01", b"titanic." + verb, *frames)
    assert (header, service) == (b"MDPC01", b"titanic." + verb)
    return body


def order(peer: ZmtpPeer, *frames: bytes) -> bytes:
    """The UUID of a new request."""
    status, uuid = titanic(peer, b"request", *frames)
    assert status == b"200"
    assert len(uuid) == 32 and set(uuid) <= set(b"0123456789abcdef")
    return uuid


def worker(world: zmtp_talk.World, service: bytes = b"echo", head: list[bytes] = W1) -> ZmtpPeer:
    peer = world.peer("DEALER")
    peer.send([*head, b"\x01", service])
    world.turn()
    return peer


def work(world: zmtp_talk.World, peer: ZmtpPeer, *answer: bytes) -> list[bytes]:
    """Takes a request and answers it: its body."""
    (message,) = peer.hear()
    assert message[:3] == [*W1, b"\x02"]
    peer.send([*W1, b"\x03", message[3], b"", *answer])
    world.turn()
    return message[5:]


def queues(world: World) -> list[str]:
    return [name for name in world.broker.vhosts["/"].queues if name.startswith("titanic")]


def test_a_request_is_kept_executed_and_answered_until_it_is_closed() -> None:
    world = World()
    client = world.peer("REQ")
    uuid = order(client, b"echo", b"hello", b"", b"world")
    assert titanic(client, b"reply", uuid) == [b"300"]
    echo = worker(world)
    assert work(world, echo, b"HELLO", b"", b"WORLD") == [b"hello", b"", b"world"]
    for _ in range(2):
        assert titanic(client, b"reply", uuid) == [b"200", b"HELLO", b"", b"WORLD"]
    assert titanic(world.peer("REQ"), b"reply", uuid.upper())[0] == b"200"
    assert titanic(client, b"close", uuid) == [b"200"]
    assert titanic(client, b"reply", uuid) == [b"400"]
    assert titanic(client, b"close", uuid) == [b"200"]
    assert queues(world) == []


def test_the_200_waits_for_the_log() -> None:
    world = World()
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"titanic.request", b"echo", b"x"])
    world.turn(durable=False)
    assert client.hear() == []
    world.log()
    (reply,) = client.hear()
    assert reply[3] == b"200"


def test_a_reply_that_somebody_has_heard_is_in_the_log() -> None:
    world = zmtp_talk.World()  # where nothing is in the log before it says so
    client = world.peer("REQ")
    uuid = order(client, b"echo", b"x")
    echo = worker(world)
    ((*_, address, _, _),) = echo.hear()
    echo.send([*W1, b"\x03", address, b"", b"y"])
    world.turn(durable=False)
    client.send([b"", b"MDPC01", b"titanic.reply", uuid])
    world.turn(durable=False)
    assert client.hear() == []
    world.log()
    (reply,) = client.hear()
    assert reply[3:] == [b"200", b"y"]


def test_a_reply_that_is_in_the_log_is_said_at_once() -> None:
    world = World()
    client = world.peer("REQ")
    uuid = order(client, b"echo", b"x")
    work(world, worker(world), b"y")
    client.send([b"", b"MDPC01", b"titanic.reply", uuid])
    world.turn(durable=False)
    ((*_, status, body),) = client.hear()
    assert (status, body) == (b"200", b"y")


def test_what_got_its_200_survives_the_broker() -> None:
    world = World()
    client = world.peer("REQ")
    uuid = order(client, b"echo", b"hello")
    world = world.after_a_crash()
    client = world.peer("REQ")
    assert titanic(client, b"reply", uuid) == [b"300"]
    echo = worker(world)
    assert work(world, echo, b"HELLO") == [b"hello"]
    world = world.after_a_crash()
    client = world.peer("REQ")
    assert world.ready("echo") == 0
    assert titanic(client, b"reply", uuid) == [b"200", b"HELLO"]  # it is read from the log first
    assert titanic(client, b"close", uuid) == [b"200"]
    world = world.after_a_crash()
    assert titanic(world.peer("REQ"), b"reply", uuid) == [b"400"]


def test_a_request_that_a_worker_has_not_answered_is_executed_behind_the_crash() -> None:
    world = World()
    uuid = order(world.peer("REQ"), b"echo", b"hello")
    echo = worker(world)
    assert len(echo.hear()) == 1
    world = world.after_a_crash()
    assert work(world, worker(world), b"HELLO") == [b"hello"]
    assert titanic(world.peer("REQ"), b"reply", uuid) == [b"200", b"HELLO"]


def test_what_is_closed_before_it_is_executed_is_not_executed() -> None:
    world = World()
    client = world.peer("REQ")
    first = order(client, b"echo", b"1")
    order(client, b"echo", b"2")
    titanic(client, b"close", first)
    echo = worker(world)
    assert work(world, echo, b"II") == [b"2"]
    assert world.ready("echo") == 0
    assert world.broker.vhosts["/"].queues["echo"].in_flight == 0


def test_parts_of_an_answer_are_kept_as_one_reply() -> None:
    world = World()
    client = world.peer("REQ")
    uuid = order(client, b"feed", b"q")
    feed = worker(world, b"feed", W2)
    ((_, _, address, *_),) = feed.hear()
    feed.send([*W2, b"\x03", address, b"", b"p1", b"p2"])
    world.turn()
    assert titanic(client, b"reply", uuid) == [b"300"]
    feed.send([*W2, b"\x04", address, b"", b"end"])
    world.turn()
    assert titanic(client, b"reply", uuid) == [b"200", b"p1", b"p2", b"end"]


def test_an_amqp_worker_executes_a_request() -> None:
    world = World()
    client = world.peer("REQ")
    uuid = order(client, b"echo", b"hello")
    amqp = world.client()
    (got,) = amqp.call(1, m.BasicGet(queue="echo", no_ack=True))
    assert got.properties.correlation_id == uuid.decode()
    properties = Properties(correlation_id=got.properties.correlation_id, delivery_mode=2)
    amqp.publish(1, got.properties.reply_to, b"HELLO", properties=properties)
    world.turn()
    assert titanic(client, b"reply", uuid) == [b"200", b"HELLO"]


@pytest.mark.parametrize("word", [b"", b"x", UNKNOWN, UNKNOWN[:-1], UNKNOWN + b"0"])
def test_nobody_knows_a_uuid_that_was_not_given(word: bytes) -> None:
    client = World().peer("REQ")
    assert titanic(client, b"reply", word) == [b"400"]
    assert titanic(client, b"close", word) == [b"200"]


@pytest.mark.parametrize(
    "frames",
    [(b"echo",), (b"", b"x"), (b"mmi.service", b"x"), (b"titanic.close", b"x"), (b"amq.x", b"y")],
)
def test_what_cannot_be_executed_is_refused(frames: tuple[bytes, ...]) -> None:
    world = World()
    assert titanic(world.peer("REQ"), b"request", *frames)[0] == b"400"
    assert queues(world) == []


def test_a_full_queue_is_an_error_that_passes() -> None:
    world = World()
    amqp = world.client()
    limits: Any = {"x-max-length": 0, "x-overflow": "reject-publish"}
    amqp.call(1, m.QueueDeclare(queue="small", durable=True, arguments=limits))
    assert titanic(world.peer("REQ"), b"request", b"small", b"x")[0] == b"500"
    assert queues(world) == []


def test_it_all_goes_when_nobody_closes_it() -> None:
    world = World()
    how = ZmtpSettings(titanic_ttl_ms=DAY_MS)
    client = world.peer("DEALER", settings=how)
    peer = world.peer("REQ", settings=how)
    pending = order(peer, b"none", b"x")
    done = order(peer, b"echo", b"x")
    echo = worker(world)
    work(world, echo, b"y")
    world.pass_ms(DAY_MS - 1000)
    assert titanic(peer, b"reply", pending) == [b"300"]
    assert titanic(peer, b"reply", done)[0] == b"200"
    world.pass_ms(2000)
    assert titanic(peer, b"reply", pending) == [b"400"]
    assert world.ready("none") == 0
    assert titanic(peer, b"reply", done)[0] == b"200"
    world.pass_ms(DAY_MS + 1000)
    assert titanic(peer, b"reply", done) == [b"400"]
    assert client.hear() == []


def test_a_worker_may_offer_titanic_itself() -> None:
    world = World()
    own = worker(world, b"titanic.request")
    client = world.peer("REQ")
    client.send([b"", b"MDPC01", b"titanic.request", b"echo", b"x"])
    world.turn()
    assert work(world, own, b"200", b"abc") == [b"echo", b"x"]
    assert client.hear() == [[b"", b"MDPC01", b"titanic.request", b"200", b"abc"]]
