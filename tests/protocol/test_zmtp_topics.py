"""Sockets that PUBlish and SUBscribe, and AMQP clients at the exchange between them."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core.rights import Permission, TopicPermission
from mansio.protocol.zmtp import feeding
from tests.protocol.talk import Message, Talker
from tests.protocol.zmtp_talk import Command, World, ZmtpPeer


def subscriber(world: World, *prefixes: bytes, **how: Any) -> ZmtpPeer:
    peer = world.peer("SUB", **how)
    for prefix in prefixes:
        peer.subscribe(prefix)
    return peer


def drain(talker: Talker, queue: str) -> list[tuple[str, bytes, Any]]:
    found = []
    while True:
        *_, item = talker.call(1, m.BasicGet(queue, no_ack=True))
        if not isinstance(item, Message):
            return found
        found.append((item.method.routing_key, item.body, item.properties.headers))


def bound(world: World, *keys: str, exchange: str = "zmq.topic") -> Talker:
    """A client with the queue q."""
    talker = world.client()
    talker.call(1, m.ExchangeDeclare(exchange, "topic", durable=True))
    talker.call(1, m.QueueDeclare("q"))
    for key in keys:
        talker.call(1, m.QueueBind("q", exchange, key))
    return talker


# -- SUB


@pytest.mark.parametrize("version", [(3, 0), (3, 1)])
@pytest.mark.parametrize("kind", ["SUB", "XSUB"])
def test_topics_are_prefixes_of_bytes(kind: str, version: tuple[int, int]) -> None:
    world = World()
    sub = world.peer(kind, version=version)
    assert sub.metadata["socket-type"] == b"XPUB"
    sub.subscribe(b"a.")
    sub.subscribe(b"b")
    pub = world.peer("PUB")
    messages = [[b"a.1", b"x"], [b"a", b"x"], [b"bc", b"y", b"z"], [b"c", b""], [b"b", b""]]
    pub.send(*messages)
    world.turn()
    assert sub.hear() == [messages[0], messages[2], messages[4]]
    sub.cancel(b"b")
    pub.send(*messages)
    world.turn()
    assert sub.hear() == [messages[0]]


def test_subscriptions_are_counted() -> None:
    world = World()
    sub = subscriber(world, b"a", b"a")
    pub = world.peer("PUB")
    for cancelled in range(3):
        pub.send([b"a", b"%d" % cancelled])
        world.turn()
        sub.cancel(b"a")
    assert sub.hear() == [[b"a", b"0"], [b"a", b"1"]]
    sub.cancel(b"never")
    assert not sub.closed


def test_peers_that_are_gone_leave_nothing() -> None:
    world = World()
    peers = [subscriber(world, b"a", b"b") for _ in range(3)]
    for peer in peers:
        peer.eof()
    assert world.broker.vhosts["/"].exchanges["zmq.topic"].feed is None
    world.turn()


def test_amqp_clients_are_heard() -> None:
    world = World()
    sub = subscriber(world, b"news.")
    talker = world.client()
    for key in ("news.a", "news", "news.b"):
        talker.publish(1, key, b"1", exchange="zmq.topic")
    headers = {"x-zmq-parts": [1, 2]}
    talker.publish(
        1, "news.c", b"123", exchange="zmq.topic", properties=Properties(headers=headers)
    )
    world.turn()
    assert sub.hear() == [[b"news.a", b"1"], [b"news.b", b"1"], [b"news.c", b"1", b"23"]]


def test_other_exchanges_can_be_heard() -> None:
    world = World()
    sub = subscriber(world, b"k", metadata={"X-Exchange": b"amq.fanout"})
    world.client().publish(1, "key", b"1", exchange="amq.fanout")
    world.turn()
    assert sub.hear() == [[b"key", b"1"]]


def test_the_end_of_the_exchange_is_the_end_of_the_connection() -> None:
    world = World()
    sub = subscriber(world, b"")
    world.turn()
    world.client().call(1, m.ExchangeDelete("zmq.topic"))
    assert sub.reason == "exchange 'zmq.topic' is deleted"


def test_who_does_not_read_misses_messages_and_others_do_not() -> None:
    world = World()
    slow, fast = subscriber(world, b""), subscriber(world, b"")
    world.turn()
    slow.hear()
    slow.front.set_writable(False)
    pub = world.peer("PUB")
    big = bytes(300_000)
    for i in range(6):
        pub.send([b"%d" % i, big])
        world.turn()
        assert fast.hear() == [[b"%d" % i, big]]
    assert [topic for topic, _ in slow.hear()] == [b"0", b"1", b"2"]
    assert world.broker.feeds.dropped_messages == 3
    slow.front.set_writable(True)
    pub.send([b"6", b"", b""], [b"7", b"", b""])
    world.turn()
    assert slow.hear() == [[b"6", b"", b""], [b"7", b"", b""]]
    slow.eof()
    notices = world.broker.notices
    assert any("are dropped" in each for each in notices) and "missed 3 messages" in notices[-1]


def test_a_burst_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "BURST_BYTES_MAX", 1000)
    world = World()
    sub = subscriber(world, b"")
    world.turn()
    sub.hear()
    pubs = [world.peer("PUB") for _ in range(4)]
    for pub in pubs:
        pub.send([b"t", bytes(400)])
    world.turn()
    assert len(sub.hear()) == 2
    pubs[0].send([b"t", bytes(900)])
    world.turn()
    assert len(sub.hear()) == 1


def test_too_many_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "SUBSCRIPTIONS_MAX", 2)
    world = World()
    world.peer("SUB").eof()
    world.turn()
    sub = subscriber(world, b"a", b"b", b"a")
    assert not sub.closed
    sub.subscribe(b"c")
    assert sub.reason == "it has more than 2 subscriptions"


def test_so_many_bytes_of_subscriptions_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "TOPICS_BYTES_MAX", 10)
    world = World()
    world.peer("SUB").eof()
    world.turn()
    sub = subscriber(world, b"a" * 5, b"b" * 5, b"a" * 5)
    sub.cancel(b"b" * 5)
    sub.subscribe(b"c" * 5)
    assert not sub.closed
    sub.subscribe(b"d")
    assert sub.reason == "its subscriptions have more than 10 bytes"


def test_what_one_may_hear() -> None:
    world = World()
    world.peer("SUB").eof()
    world.turn()
    rights = world.broker.users.rights("guest", "/")
    rights.permit_topic("zmq.topic", TopicPermission("", "^a"))
    sub = subscriber(world, b"ab")
    assert not sub.closed
    sub.subscribe(b"b")
    assert "access to topic 'b#'" in sub.reason
    rights.permit_topic("zmq.topic", TopicPermission("", "^news$"))
    sub = subscriber(world, b"news")
    assert "access to topic 'news#'" in sub.reason  # there may be a topic news.secret
    rights.permit(Permission("", "", "^tasks$"))
    peer = world.socket("SUB")
    with pytest.raises(AssertionError):
        peer.open()
    assert "access to exchange 'zmq.topic'" in peer.reason


# -- PUB


def test_a_publisher_is_asked_for_everything() -> None:
    world = World()
    pub = world.peer("PUB")
    assert pub.metadata["socket-type"] == b"XSUB"
    assert pub.commands == [Command(b"SUBSCRIBE", b"")]
    old = world.socket("XPUB")
    with pytest.raises(AssertionError):
        old.open(version=(3, 0))
    assert not old.closed


def test_amqp_clients_hear_publishers_by_words() -> None:
    world = World()
    pub = world.peer("PUB")
    talker = bound(world, "a.*", "c.#")
    pub.send(
        [b"a.1", b"one"], [b"a", b"-"], [b"c.d.e", b"x", b"yz"], [b"a.2", b"two"], [b"b", b"-"]
    )
    world.turn()
    assert drain(talker, "q") == [
        ("a.1", b"one", None),
        ("c.d.e", b"xyz", {"x-zmq-parts": [1, 2]}),
        ("a.2", b"two", None),
    ]


def test_messages_of_one_frame_begin_with_their_topic() -> None:
    """As those of the weather of the guide: b"10001 -5 30"."""
    world = World()
    first = subscriber(world, b"10001 ", b"2000")
    other = subscriber(world, b"10001 -5 3")
    talker = bound(world, "10001", "2.#")
    pub = world.peer("PUB")
    pub.send([b"10001 -5 30"], [b"100010 1 2"], [b"10001 -6 31"], [b"2.3.4"], [b"20001 3 4"])
    world.turn()
    assert first.hear() == [[b"10001 -5 30"], [b"10001 -6 31"], [b"20001 3 4"]]
    assert other.hear() == [[b"10001 -5 30"]]
    assert drain(talker, "q") == [
        ("10001", b"10001 -5 30", None),
        ("10001", b"10001 -6 31", None),
        ("2.3.4", b"2.3.4", None),
    ]
    assert not world.broker.memory_bytes


def test_long_topics() -> None:
    world = World()
    long = b"t" * 300
    sub = subscriber(world, long[:299])
    talker = bound(world, "#")
    pub = world.peer("PUB")
    messages = [[b"t", b"-"], [long, b"1", b"2"], [long[:298], b"-"], [long, b"3"], [b"t", b"+"]]
    pub.send(*messages)
    world.turn()
    assert sub.hear() == [messages[1], messages[3]]
    assert [(key, body) for key, body, _ in drain(talker, "q")] == [
        ("t", b"-"),
        ("t" * 255, long + b"12"),
        ("t" * 255, long[:298] + b"-"),
        ("t" * 255, long + b"3"),
        ("t", b"+"),
    ]


def test_topics_that_are_no_text() -> None:
    world = World()
    sub = subscriber(world, b"\xff\x00")
    pub = world.peer("PUB")
    pub.send([b"\xff\x00\xc3", b"1"], [b"\xff", b"2"], [b"\xff\x00 \xc3"])
    world.turn()
    assert sub.hear() == [[b"\xff\x00\xc3", b"1"], [b"\xff\x00 \xc3"]]


def test_order_holds_in_each_queue() -> None:
    world = World()
    talker = bound(world, "a.#", "b.#")
    talker.call(1, m.QueueDeclare("other"))
    talker.call(1, m.QueueBind("other", "zmq.topic", "b.#"))
    talker.call(1, m.QueueBind("other", "zmq.topic", "c.#"))
    pub = world.peer("PUB")
    topics = [b"a.1", b"c.1", b"b.1", b"a.2", b"c.2", b"b.2", b"b.3", b"a.3", b"d"]
    pub.send(*[[topic, b"%d" % i] for i, topic in enumerate(topics)])
    world.turn()
    assert [body for _, body, _ in drain(talker, "q")] == [b"0", b"2", b"3", b"5", b"6", b"7"]
    assert [body for _, body, _ in drain(talker, "other")] == [b"1", b"2", b"4", b"5", b"6"]


def test_many_topics_at_once() -> None:
    world = World()
    sub = subscriber(world, b"t")
    pub = world.peer("PUB")
    messages = [[b"t%d" % (i % 600), b"%d" % i] for i in range(2000)]
    pub.send(*messages)
    world.turn()
    assert sub.hear() == messages


def test_topics_that_nobody_wants_are_counted() -> None:
    world = World()
    pub = world.peer("PUB")
    pub.send(*[[b"%d" % i, b""] for i in range(700)], [b"one frame"], [b"t" * 300, b""])
    world.turn()
    assert world.broker.counts.dropped == 702


def test_topics_that_one_may_not_publish_with_are_dropped() -> None:
    world = World()
    world.peer("SUB").eof()
    world.turn()
    talker = bound(world, "#")
    world.broker.users.rights("guest", "/").permit_topic("zmq.topic", TopicPermission("^a", ""))
    pub = world.peer("PUB")
    pub.send([b"b", b"1"], [b"a", b"2"], [b"b", b"3"])
    world.turn()
    assert [body for _, body, _ in drain(talker, "q")] == [b"2"]
    assert sum("access to topic 'b'" in each for each in world.broker.notices) == 1
    assert not pub.closed


def test_an_exchange_that_was_deleted_is_made_again() -> None:
    world = World()
    pub = world.peer("PUB")
    world.turn()
    world.client().call(1, m.ExchangeDelete("zmq.topic"))
    pub.send([b"a", b"1"])
    sub = subscriber(world, b"a")
    pub.send([b"a", b"2"])
    world.turn()
    assert sub.hear() == [[b"a", b"2"]]


def test_short_of_memory_a_publisher_is_not_read() -> None:
    world = World(memory_bytes_max=10_000)
    pub = world.peer("PUB")
    talker = bound(world, "#")
    pub.send([b"a", bytes(20_000)])
    world.turn()
    pub.send([b"b", b"1"], [b"c 2"])
    assert pub.front.paused
    drain(talker, "q")
    pub.front.unblock()
    pub.front.go_on(0)
    world.turn()
    assert [key for key, _, _ in drain(talker, "q")] == ["b", "c"]
