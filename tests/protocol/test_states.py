"""Every method in every state: the table of the test is written out again, by hand."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.protocol.amqp.connection import PROTOCOL_HEADER
from mansio.protocol.amqp.states import CHANNEL, CONNECTION, State
from tests.protocol.talk import CAPABLE, Talker, World, publish_frames

METHODS = sorted(m.METHODS.values(), key=lambda method: method.ID)
START_OK = m.ConnectionStartOk(CAPABLE, response=b"\0guest\0guest")
WITH_VALUES: dict[type, Any] = {
    m.ConnectionStartOk: START_OK,
    m.ConnectionTuneOk: m.ConnectionTuneOk(10, 8192, 0),
    m.ConnectionOpen: m.ConnectionOpen("/"),
    m.ChannelFlow: m.ChannelFlow(True),
    m.BasicRecover: m.BasicRecover(True),
    m.BasicRecoverAsync: m.BasicRecoverAsync(True),
    m.ExchangeDeclare: m.ExchangeDeclare("amq.direct", type="direct", passive=True),
}


def instance(method: Any) -> Any:
    return WITH_VALUES.get(method) or method()


def send(talker: Talker, channel: int, method: Any) -> None:
    talker.send(channel, instance(method))
    if method is m.BasicPublish:  # it is waited for whole
        talker.send_bytes(publish_frames(channel, "", b"")[len(m.method_frame(1, method())) :])


def talker_in(state: State) -> Talker:
    talker = World().talker()
    if state is State.HEADER:
        return talker
    talker.send_bytes(PROTOCOL_HEADER)
    for method in (START_OK, m.ConnectionTuneOk(0, 0, 0), m.ConnectionOpen("/")):
        if talker.front.state is not state:
            talker.send(0, method)
    if state is State.CLOSING:
        talker.front.shutdown(320, "bye")
    if state is State.CLOSED:
        talker.send(0, m.ConnectionClose(200, "bye"))
    assert talker.front.state is state
    talker.hear()
    return talker


GOOD: dict[tuple[State, type], tuple[State, list[str]]] = {
    (State.START, m.ConnectionStartOk): (State.TUNE, ["connection.tune"]),
    (State.TUNE, m.ConnectionTuneOk): (State.OPENING, []),
    (State.OPENING, m.ConnectionOpen): (State.OPEN, ["connection.open-ok"]),
    (State.OPEN, m.ConnectionUpdateSecret): (State.OPEN, ["connection.update-secret-ok"]),
    (State.CLOSING, m.ConnectionCloseOk): (State.CLOSED, []),
} | {
    (state, m.ConnectionClose): (State.CLOSED, ["connection.close-ok"])
    for state in (State.START, State.TUNE, State.OPENING, State.OPEN, State.CLOSING)
}
RUNNING = [State.START, State.TUNE, State.OPENING, State.OPEN, State.CLOSING, State.CLOSED]


@pytest.mark.parametrize("state", RUNNING)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.NAME))
def test_on_channel_zero(state: State, method: Any) -> None:
    talker = talker_in(state)
    send(talker, 0, method)
    heard = talker.hear()
    names = [item.NAME for _, item in heard]
    if (state, method) in GOOD:
        assert (talker.front.state, names) == GOOD[state, method]
        return
    if state in (State.CLOSING, State.CLOSED):
        assert (talker.front.state, names) == (state, [])
        return
    assert (talker.front.state, names) == (State.CLOSING, ["connection.close"])
    close = heard[0][1]
    assert close.reply_code == 504
    assert (close.class_id << 16 | close.method_id) == method.ID
    texts = ("unexpected method in connection state", "expected 'channel.open'")
    assert any(text in close.reply_text for text in texts)


def test_the_tables_name_handlers_that_are_there() -> None:
    world = World()
    talker = world.client()
    for handler in CONNECTION.values():
        assert callable(getattr(talker.front, handler))
    for handler in CHANNEL.values():
        assert callable(getattr(talker.front.channels[1], handler))
    assert set(CONNECTION) == {(state, method.ID) for state, method in GOOD}  # type: ignore[attr-defined]


ANSWERS: dict[type, list[str]] = {
    m.ChannelFlow: ["channel.flow-ok"],
    m.ChannelClose: ["channel.close-ok"],
    m.ExchangeDeclare: ["exchange.declare-ok"],
    m.QueueDeclare: ["queue.declare-ok"],
    m.BasicQos: ["basic.qos-ok"],
    m.BasicCancel: ["basic.cancel-ok"],
    m.BasicCancelOk: [],
    m.BasicRecover: ["basic.recover-ok"],
    m.BasicRecoverAsync: [],
    m.ConfirmSelect: ["confirm.select-ok"],
    m.TxSelect: ["tx.select-ok"],
}
CHANNEL_CLOSED: dict[type, int] = {
    # Nothing was declared on this channel, the default exchange is not to be touched, tag 0 is unknown.
    m.QueueBind: 404, m.QueueUnbind: 404, m.QueuePurge: 404, m.QueueDelete: 404,
    m.BasicConsume: 404, m.BasicGet: 404,
    m.ExchangeDelete: 403, m.ExchangeBind: 403, m.ExchangeUnbind: 403,
    m.BasicAck: 406, m.BasicNack: 406, m.BasicReject: 406,
    m.TxCommit: 406, m.TxRollback: 406,
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.NAME))
def test_on_an_open_channel(method: Any) -> None:
    world = World()
    talker = world.client()
    send(talker, 1, method)
    world.turn()
    heard = talker.hear()
    names = [item.NAME for _, item in heard]
    if method in ANSWERS:
        assert names == ANSWERS[method]
        assert (1 in talker.front.channels) == (method is not m.ChannelClose)
    elif method in CHANNEL_CLOSED:
        assert names == ["channel.close"]
        assert heard[0][0] == 1 and heard[0][1].reply_code == CHANNEL_CLOSED[method]
        assert talker.front.state is State.OPEN and talker.front.channels[1].closing
    elif method is m.BasicPublish:
        assert names == [], "it leads nowhere and is not mandatory"
    else:
        assert names == ["connection.close"]
        assert heard[0][1].reply_code == (504 if method is m.ChannelOpen else 503)
        assert heard[0][1].class_id << 16 | heard[0][1].method_id == method.ID


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.NAME))
def test_on_a_channel_that_is_not_open(method: Any) -> None:
    talker = World().client(channels=0)
    send(talker, 7, method)
    heard = talker.hear()
    if method is m.ChannelOpen:
        assert [(number, item.NAME) for number, item in heard] == [(7, "channel.open-ok")]
        return
    ((number, close),) = heard
    assert (number, close.NAME) == (0, "connection.close")
    assert close.reply_code == (503 if method.ID >> 16 == 10 else 504)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.NAME))
def test_on_a_channel_that_we_closed(method: Any) -> None:
    talker = World().client()
    talker.send(1, m.QueueDeclare("nope", passive=True))
    assert talker.names() == ["channel.close"]
    send(talker, 1, method)
    names = talker.names()
    if method is m.ChannelClose:
        assert names == ["channel.close-ok"]
    elif method is m.ChannelCloseOk:
        assert names == []
        talker.send(1, m.ChannelOpen())
        assert talker.names() == ["channel.open-ok"]
        return
    elif method is m.ChannelOpen:
        assert names == ["connection.close"]
        return
    else:
        assert names == [], "ignored until the client has seen the close"
    assert talker.front.channels[1].closing


@pytest.mark.parametrize("kind", [2, 3])
def test_contents_on_channels_where_none_is_due(kind: int) -> None:
    frame = m.frame(kind, 1, bytes(14))
    for channels in (0, 1):
        talker = World().client(channels)
        talker.send_bytes(frame)
        ((_, close),) = talker.hear()
        assert (close.NAME, close.reply_code) == ("connection.close", 505)
    talker = World().client()
    talker.send(1, m.QueueDeclare("nope", passive=True))
    talker.hear()
    talker.send_bytes(frame)
    assert talker.names() == [], "the client does not know of the close yet"
