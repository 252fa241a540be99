"""Listeners at an exchange, as clients of AMQP publish to it."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.check import check
from mansio.core.errors import AccessRefused, NotFound
from mansio.core.rights import TopicPermission
from mansio.core.run import Run
from tests.protocol.talk import Message, Talker, World


class Ear:
    """A listener that renders keys and bodies, and counts how often it was asked to."""

    def __init__(self, world: World, *prefixes: bytes, exchange: str = "amq.topic") -> None:
        self.world = world
        self.heard: list[bytes] = []
        self.counts: list[int] = []
        self.rendered = 0
        self.why = ""
        self.exchange = exchange
        self.session = world.broker.open_session(self, "guest", "/", "ear")  # type: ignore[arg-type]
        for prefix in prefixes:
            self.listen(prefix)

    def listen(self, prefix: bytes) -> None:
        self.world.broker.feeds.listen(self.session, self.exchange, prefix, self)

    def leave(self, prefix: bytes) -> None:
        self.world.broker.feeds.leave("/", self.exchange, prefix, self)

    def render(self, run: Run, start: int, stop: int, wanted: bytes | None) -> bytes:
        self.rendered += 1
        bodies = self.world.broker.letters.bodies(run, start, stop)
        found = []
        for i, body in enumerate(bodies, start):
            number = run.which[i] if run.which is not None else 0
            if wanted is None or wanted[number]:
                found.append(run.routes[number].routing_key.encode() + b"=" + body)
        return b",".join(found)

    def hear(self, data: bytes, count: int) -> None:
        self.heard += data.split(b",")
        self.counts.append(count)

    def silenced(self, why: str) -> None:
        self.why = why


def publish(talker: Talker, key: str, body: bytes, **how: Any) -> None:
    talker.publish(1, key, body, exchange="amq.topic", **how)


def both() -> tuple[World, Talker]:
    world = World()
    return world, world.client()


def test_prefixes_of_bytes_choose() -> None:
    world, talker = both()
    ears = [Ear(world, b""), Ear(world, b"a.b"), Ear(world, b"a", b"a.b"), Ear(world, b"c")]
    for key in ("a.b.c", "a.bc", "a", "b"):
        publish(talker, key, b"1")
    world.turn()
    assert [ear.heard for ear in ears] == [
        [b"a.b.c=1", b"a.bc=1", b"a=1", b"b=1"],
        [b"a.b.c=1", b"a.bc=1"],
        [b"a.b.c=1", b"a.bc=1", b"a=1"],
        [],
    ]
    assert not world.broker.memory_bytes


def test_listeners_with_the_same_wishes_share_the_bytes() -> None:
    world, talker = both()
    ears = [Ear(world, b"a") for _ in range(5)]
    for key in ("a.1", "b", "a.2", "a.1"):
        publish(talker, key, b"x")
    world.turn()
    assert [ear.heard for ear in ears] == [[b"a.1=x", b"a.2=x", b"a.1=x"]] * 5
    assert sum(ear.rendered for ear in ears) == len(ears[0].counts)
    assert sum(ears[0].counts) == 3


def test_queues_that_are_bound_get_it_as_well() -> None:
    world, talker = both()
    talker.call(1, m.QueueDeclare("q", durable=True))
    talker.call(1, m.QueueBind("q", "amq.topic", "a.*"))
    ear = Ear(world, b"a")
    for key in ("a.1", "ab", "a.2"):
        publish(talker, key, b"x", properties=Properties(delivery_mode=2))
    check(world.broker)
    world.turn()
    assert ear.heard == [b"a.1=x", b"ab=x", b"a.2=x"]
    got = [talker.call(1, m.BasicGet("q", no_ack=True))[0] for _ in range(2)]
    assert [each.method.routing_key for each in got if isinstance(each, Message)] == ["a.1", "a.2"]
    assert not world.broker.memory_bytes


def test_who_leaves_hears_no_more_and_nobody_pays() -> None:
    world, talker = both()
    ear = Ear(world, b"a", b"b")
    publish(talker, "a", b"1")
    world.turn()
    ear.leave(b"a")
    ear.leave(b"a")
    publish(talker, "a", b"2")
    publish(talker, "b", b"3")
    world.turn()
    assert ear.heard == [b"a=1", b"b=3"]
    ear.leave(b"b")
    assert world.broker.vhosts["/"].exchanges["amq.topic"].feed is None
    dropped = world.broker.counts.dropped
    publish(talker, "b", b"4")
    world.turn()
    assert ear.heard == [b"a=1", b"b=3"]
    assert world.broker.counts.dropped == dropped + 1


def test_what_somebody_hears_is_not_returned() -> None:
    world, talker = both()
    Ear(world, b"a")
    publish(talker, "a", b"1", mandatory=True)
    publish(talker, "b", b"2", mandatory=True)
    world.turn()
    assert [item.body for _, item in talker.hear()] == [b"2"]


def test_a_message_that_expires_is_for_who_is_there() -> None:
    world, talker = both()
    ear = Ear(world, b"")
    publish(talker, "a", b"1", properties=Properties(expiration="0"))
    world.turn()
    assert ear.heard == [b"a=1"]


def test_an_exchange_that_is_bound_to_another() -> None:
    world, talker = both()
    talker.call(1, m.ExchangeBind("amq.topic", "amq.fanout"))
    ear = Ear(world, b"a")
    talker.publish(1, "a.x", b"1", exchange="amq.fanout")
    world.turn()
    assert ear.heard == [b"a.x=1"]


def test_the_end_of_an_exchange_is_told() -> None:
    world, talker = both()
    talker.call(1, m.ExchangeDeclare("x", "topic"))
    ear = Ear(world, b"", exchange="x")
    talker.publish(1, "k", b"1", exchange="x")
    talker.call(1, m.ExchangeDelete("x"))
    assert ear.why == "exchange 'x' is deleted"
    assert not world.broker.feeds.pending
    with pytest.raises(NotFound):
        Ear(world, b"", exchange="x")


def test_listening_needs_the_right_to_read() -> None:
    world, _ = both()
    rights = world.broker.users.rights("guest", "/")
    rights.permit_topic("amq.topic", TopicPermission("", "^a"))
    ear = Ear(world, b"ab")
    with pytest.raises(AccessRefused):
        ear.listen(b"b")


def test_topics_that_are_no_text() -> None:
    world, talker = both()
    ear = Ear(world, b"\xc3")
    feed = world.broker.vhosts["/"].exchanges["amq.topic"].feed
    assert feed is not None
    assert feed.wants("é") and not feed.wants("e")
    assert feed.may_want("") and not feed.wants("")
    ear.leave(b"\xc3")
    publish(talker, "é", b"1")
    world.turn()
    assert ear.heard == []
