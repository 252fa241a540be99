"""Every error code on its level: what closes a channel leaves the connection as it is, and the other way round."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.protocol.amqp.replies import CHANNEL_LEVEL, NAMES, reply_text
from mansio.protocol.amqp.states import State
from tests.protocol.talk import Talker, World, publish_frames


def method(channel: int, *methods: Any) -> bytes:
    return b"".join(m.method_frame(channel, each) for each in methods)


def in_content(payload: bytes) -> bytes:
    """A publish with this header."""
    return method(1, m.BasicPublish("", "q")) + m.frame(2, 1, payload)


def with_properties(**properties: Any) -> bytes:
    return publish_frames(1, "q", properties=Properties(**properties))


CHANNEL_ERRORS: dict[str, tuple[bytes, int, str]] = {
    "an unknown queue": (method(1, m.QueueDeclare("none", passive=True)), 404, "no queue 'none' in vhost '/'"),
    "an unknown exchange": (
        method(1, m.ExchangeDeclare("none", passive=True)),
        404, "no exchange 'none' in vhost '/'",
    ),
    "no queue declared before": (method(1, m.BasicGet()), 404, "no previously declared queue"),
    "publishing to an unknown exchange": (
        publish_frames(1, "k", exchange="none"),
        404, "no exchange 'none' in vhost '/'",
    ),
    "a reserved name": (
        method(1, m.QueueDeclare("amq.mine")),
        403, "queue name 'amq.mine' contains reserved prefix 'amq.*'",
    ),
    "somebody else's queue": (
        method(1, m.BasicGet("locked")),
        405, "cannot obtain exclusive access to locked queue 'locked'",
    ),
    "not the same queue": (method(1, m.QueueDeclare("q", durable=True)), 406, "inequivalent arg 'durable'"),
    "an unknown tag": (method(1, m.BasicAck(5)), 406, "unknown delivery tag 5"),
    "commit without tx": (method(1, m.TxCommit()), 406, "channel is not transactional"),
    "confirm in tx": (method(1, m.TxSelect(), m.ConfirmSelect()), 406, "cannot switch from tx to confirm mode"),
    "tx in confirm": (method(1, m.ConfirmSelect(), m.TxSelect()), 406, "cannot switch from confirm to tx mode"),
    "another user's id": (
        with_properties(user_id="root"),
        406, "user_id property set to 'root' but authenticated user was 'guest'",
    ),
    "no expiration": (with_properties(expiration="soon"), 406, "invalid expiration 'soon'"),
    "a negative expiration": (with_properties(expiration="-1"), 406, "invalid expiration '-1'"),
    "an empty expiration": (with_properties(expiration=""), 406, "invalid expiration ''"),
    "a strange delivery mode": (with_properties(delivery_mode=3), 406, "delivery_mode_unknown,3"),
    "CC that is no list": (with_properties(headers={"CC": "q"}), 406, 'unacceptable_type_in_header,"CC",longstr'),
    "no reply consumer": (
        with_properties(reply_to="amq.rabbitmq.reply-to"),
        406, "fast reply consumer does not exist",
    ),
    "a reply consumer that acknowledges": (
        method(1, m.BasicConsume("amq.rabbitmq.reply-to")),
        406, "reply consumer cannot acknowledge",
    ),
    "a body that is too large": (
        in_content(encode_header_payload(1 << 40, Properties())),
        406, "is larger than configured max size",
    ),
}  # fmt: skip
CONNECTION_ERRORS: dict[str, tuple[bytes, int, str]] = {
    "a tag that is in use": (
        method(1, m.BasicConsume("q", "t"), m.BasicConsume("q", "t")),
        530, "attempt to reuse consumer tag 't'",
    ),
    "a method of the server": (method(1, m.QueueDeclareOk("q")), 503, "unimplemented method"),
    "an exchange type that is unknown": (
        method(1, m.ExchangeDeclare("e", "nope")),
        503, "invalid exchange type 'nope'",
    ),
    "a second open": (method(1, m.ChannelOpen()), 504, "second 'channel.open' seen"),
    "a channel that is not open": (method(9, m.QueueDeclare("x")), 504, "expected 'channel.open'"),
    "acks on a channel that is not open": (method(9, m.BasicAck(1)), 504, "expected 'channel.open'"),
    "publishes on a channel that is not open": (publish_frames(9, "q"), 504, "expected 'channel.open'"),
    "flow off": (method(1, m.ChannelFlow(False)), 540, "active=false"),
    "prefetch in bytes": (method(1, m.BasicQos(prefetch_size=1)), 540, "prefetch_size!=0 (1)"),
    "recover without requeue": (method(1, m.BasicRecover(False)), 540, "requeue=false"),
    "immediate": (publish_frames(1, "q", immediate=True), 540, "immediate=true"),
    "an unknown method": (m.frame(1, 1, b"\0\x3c\0\xff"), 540, ""),
    "a header of another class": (
        in_content(b"\0\x3d" + bytes(12)),
        505, "expected content header for class 60, got one for class 61 instead",
    ),
    "a header with a weight": (
        in_content(b"\0\x3c\0\1" + bytes(10)),
        505, "expected content header for class 60, got non content header frame instead",
    ),
    "a short header": (in_content(b"\0\x3c"), 505, "expected content header"),
    "a method in place of a header": (
        method(1, m.BasicPublish("", "q"), m.BasicQos()),
        505, "expected content header",
    ),
    "a method in place of a body": (
        in_content(encode_header_payload(3, Properties())) + method(1, m.BasicQos()),
        505, "expected content body",
    ),
    "more body than announced": (
        in_content(encode_header_payload(3, Properties())) + m.frame(3, 1, b"abcd"),
        505, "expected content body",
    ),
    "a float that is no number": (
        in_content(b"\0\x3c" + bytes(10) + b"\x20\0\0\0\0\x0b\x01ad\x7f\xf8" + bytes(6)),
        502, "float is not a finite number",
    ),
    "a malformed method": (m.frame(1, 1, m.QueueDeclare("q").encode()[:-1]), 501, ""),
}  # fmt: skip
FAULTS: dict[str, tuple[bytes, int, str]] = {
    "an unknown frame type": (b"\x07\0\1\0\0\0\0\xce", 501, "unknown frame type 7"),
    "a frame that is too large": (b"\1\0\1\0\xff\xff\xff", 501, "too large"),
    "a frame without its end": (method(1, m.BasicQos())[:-1] + b"\0", 501, "not 206"),
    "a heartbeat on a channel": (m.frame(8, 1, b""), 505, ""),
    "a heartbeat with something in it": (m.frame(8, 0, b"x"), 501, ""),
}


def prepared() -> tuple[World, Talker]:
    world = World()
    owner, talker = world.client(), world.client(channels=2)
    owner.send(1, m.QueueDeclare("locked", exclusive=True))
    talker.send(1, m.QueueDeclare("q"))
    talker.send(2, m.QueueDeclare("q2"))
    talker.send(1, m.ChannelClose())
    talker.send(1, m.ChannelOpen())
    talker.hear()
    return world, talker


@pytest.mark.parametrize("name", CHANNEL_ERRORS)
@pytest.mark.parametrize("split", [False, True])
def test_what_closes_a_channel(name: str, split: bool) -> None:
    data, code, said = CHANNEL_ERRORS[name]
    world, talker = prepared()
    for piece in [bytes((octet,)) for octet in data] if split else [data]:
        talker.send_bytes(piece)
    world.turn()
    number, close = talker.hear()[-1]
    assert (number, close.NAME, close.reply_code) == (1, "channel.close", code)
    assert said in close.reply_text and close.reply_text.startswith(f"{NAMES[code]} - ")
    assert close.class_id << 16 | close.method_id in m.METHODS, "it names the method"
    assert code in CHANNEL_LEVEL
    talker.send_bytes(data)  # on its way already: ignored
    assert (talker.front.state, talker.hear()) == (State.OPEN, [])
    assert talker.call(2, m.BasicGet("q2"))[0].NAME == "basic.get-empty"
    talker.send(1, m.ChannelCloseOk(), m.ChannelOpen())
    assert talker.names() == ["channel.open-ok"]


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
@pytest.mark.parametrize("split", [False, True])
def test_what_closes_the_connection(name: str, split: bool) -> None:
    data, code, said = CONNECTION_ERRORS[name]
    world, talker = prepared()
    for piece in [bytes((octet,)) for octet in data] if split else [data]:
        talker.send_bytes(piece)
    world.turn()
    number, close = talker.hear()[-1]
    assert (number, close.NAME, close.reply_code) == (0, "connection.close", code)
    assert said in close.reply_text and close.reply_text.startswith(f"{NAMES[code]} - ")
    assert code not in CHANNEL_LEVEL
    front = talker.front
    assert (front.state, front.closed, front.channels) == (State.CLOSING, False, {})
    assert len(world.broker.sessions) == 1, "the other one's"
    talker.send_bytes(publish_frames(2, "q2") + method(2, m.QueueDeclare("new")))
    assert talker.hear() == [] and "new" not in world.broker.vhosts["/"].queues
    talker.send(0, m.ConnectionCloseOk())
    assert front.closed and front.close_reason == close.reply_text


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("split", [False, True])
def test_what_cannot_be_read_ends_the_connection_at_once(name: str, split: bool) -> None:
    data, code, said = FAULTS[name]
    _, talker = prepared()
    good = publish_frames(2, "q2")
    for piece in [bytes((octet,)) for octet in good + data] if split else [good + data]:
        talker.send_bytes(piece)
    ((number, close),) = talker.hear()
    assert (number, close.NAME, close.reply_code) == (0, "connection.close", code)
    assert said in close.reply_text
    assert talker.front.closed and talker.front.close_reason == close.reply_text
    assert talker.world.broker.vhosts["/"].queues["q2"].ready_count == 1, "what came before counts"
    talker.send_bytes(good)
    assert talker.world.broker.vhosts["/"].queues["q2"].ready_count == 1


def test_too_many_channels() -> None:
    world = World()
    talker = world.talker()
    talker.open(channel_max=2)
    talker.send(1, m.ChannelOpen())
    talker.send(2, m.ChannelOpen())
    talker.send(3, m.ChannelOpen())
    assert talker.names() == ["channel.open-ok", "channel.open-ok", "connection.close"]


def test_what_followed_an_error_in_the_same_bytes_is_ignored() -> None:
    world, talker = prepared()
    queue = world.broker.vhosts["/"].queues["q"]
    good = publish_frames(1, "q")
    talker.send_bytes(
        good + method(1, m.BasicQos()) + publish_frames(1, "k", exchange="none") + good
    )
    assert talker.names() == ["basic.qos-ok", "channel.close"]
    assert queue.ready_count == 1


def test_what_followed_in_the_same_run_of_bytes_is_ignored_too() -> None:
    """The route is known, so that nothing stands between the publish that is refused and the next."""
    world, talker = prepared()
    good, bad = publish_frames(1, "q"), with_properties(user_id="root")
    talker.send_bytes(good + bad + good + good)
    assert talker.names() == ["channel.close"]
    assert world.broker.vhosts["/"].queues["q"].ready_count == 1


def test_routes_of_a_closed_channel_are_forgotten() -> None:
    _, talker = prepared()
    talker.send_bytes(publish_frames(1, "q") + method(1, m.ChannelClose()) + publish_frames(1, "q"))
    assert talker.names() == ["channel.close-ok", "connection.close"]


def test_routes_follow_the_topology() -> None:
    world, talker = prepared()
    other = world.client()
    talker.publish(1, "q", b"lost")
    other.call(1, m.QueueDelete("q"), m.QueueDeclare("q"))
    talker.publish(1, "q", b"new")
    (got,) = other.call(1, m.BasicGet("q"))
    assert got.body == b"new"
    talker.publish(1, "k", b"nowhere", exchange="amq.topic")
    other.call(1, m.QueueBind("q", "amq.topic", "#"))
    talker.publish(1, "k", b"topic", exchange="amq.topic")
    (got,) = other.call(1, m.BasicGet("q"))
    assert (got.body, got.method.message_count) == (b"topic", 0)


def test_texts_are_cut_to_a_short_string() -> None:
    for name in ("x" * 255, "ü" * 127):
        _, talker = prepared()
        (close,) = talker.call(1, m.QueueDeclare(name, passive=True))
        assert len(close.reply_text.encode("utf-8", "surrogateescape")) <= 255
        assert close.reply_text.startswith("NOT_FOUND - no queue '")
    assert reply_text(404, "short") == "NOT_FOUND - short"
    assert reply_text(404, "x" * 300).endswith("...")


def test_a_close_from_both_sides() -> None:
    _, talker = prepared()
    talker.send(1, m.QueueDeclare("none", passive=True), m.ChannelClose(), m.ChannelCloseOk())
    assert talker.names() == ["channel.close", "channel.close-ok"]
    assert 1 not in talker.front.channels
    talker.send(9, m.QueueDeclare("x"))
    assert talker.names() == ["connection.close"]
    talker.send(0, m.ConnectionClose(200, "bye"))
    assert talker.names() == ["connection.close-ok"] and talker.front.closed


def test_the_reason_is_kept_when_the_peer_just_leaves() -> None:
    """It belongs into the log: a client that closes the socket on an error is the usual case."""
    _, talker = prepared()
    talker.send(9, m.QueueDeclare("x"))
    talker.front.receive_eof()
    assert "expected 'channel.open'" in talker.front.close_reason
    _, other = prepared()
    other.front.receive_eof()
    assert other.front.close_reason == "client unexpectedly closed TCP connection"
