"""From the protocol header to an open connection, and every way in which that can end."""

from typing import Any

import pytest

from mansio import __version__
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import encode_shortstr, encode_table
from mansio.protocol.amqp.connection import PROTOCOL_HEADER
from mansio.protocol.amqp.states import State
from tests.protocol.talk import CAPABLE, S, Talker, World, name_of


def started(world: World | None = None, loopback: bool = True) -> Talker:
    talker = (world or World()).talker(loopback)
    talker.send_bytes(PROTOCOL_HEADER)
    talker.hear()
    return talker


def tuning(**limits: Any) -> Talker:
    talker = started(World(**limits))
    talker.send(0, m.ConnectionStartOk(CAPABLE, "PLAIN", b"\0guest\0guest"))
    talker.hear()
    return talker


def closed_with(talker: Talker) -> m.ConnectionClose:
    ((channel, close),) = talker.hear()
    assert channel == 0 and isinstance(close, m.ConnectionClose)
    assert talker.front.state is State.CLOSING and not talker.front.closed
    return close


def test_the_whole_of_it_byte_by_byte() -> None:
    talker = World().talker()
    data = PROTOCOL_HEADER
    for method in (
        m.ConnectionStartOk(CAPABLE, "PLAIN", b"\0guest\0guest"),
        m.ConnectionTuneOk(100, 8192, 30),
        m.ConnectionOpen("/"),
    ):
        data += m.method_frame(0, method)
    data += m.method_frame(1, m.ChannelOpen())
    for octet in data:
        talker.send_bytes(bytes((octet,)))
    assert talker.names() == [
        "connection.start",
        "connection.tune",
        "connection.open-ok",
        "channel.open-ok",
    ]
    front = talker.front
    assert (front.frame_max, front.channel_max, front.heartbeat_ns) == (8192, 100, 30 * S)
    assert front.session is not None and front.session.user == "guest"


def test_start_says_who_we_are() -> None:
    talker = World().talker()
    talker.send_bytes(PROTOCOL_HEADER)
    ((_, start),) = talker.hear()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert set(start.mechanisms.split()) == {b"PLAIN", b"AMQPLAIN"}
    assert start.locales == b"en_US"
    capabilities = start.server_properties["capabilities"]
    assert capabilities["basic.nack"] is True and capabilities["publisher_confirms"] is True
    assert start.server_properties["product"] == "RabbitMQ"
    assert start.server_properties["version"] == "3.13.7"
    assert start.server_properties["mansio_version"] == __version__


def test_start_says_what_the_settings_say() -> None:
    talker = World(server_product="Other", server_version="4.3.0").talker()
    talker.send_bytes(PROTOCOL_HEADER)
    ((_, start),) = talker.hear()
    assert start.server_properties["product"] == "Other"
    assert start.server_properties["version"] == "4.3.0"
    assert start.server_properties["mansio_version"] == __version__


@pytest.mark.parametrize(
    "data",
    [
        b"AMQP\0\0\x09\0",
        b"AMQP\x01\x01\x08\0",
        b"AMQP\x01\x01\0\x0a",
        b"GET / HTTP/1.1\r\n",
        b"A\0",
        b"\0",
        b"AMQPX",
    ],
)
def test_another_protocol_is_told_ours_and_closed(data: bytes) -> None:
    for split in (False, True):
        talker = World().talker()
        for piece in [bytes((octet,)) for octet in data] if split else [data]:
            talker.send_bytes(piece)
        assert talker.hear() == [(-1, PROTOCOL_HEADER)]
        assert talker.front.closed and "is not AMQP 0-9-1" in talker.front.close_reason
        assert talker.front in talker.world.announced or not talker.raw()


def amqplain(**fields: Any) -> bytes:
    return encode_table(fields)[4:]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0guest\0guest"),
        ("PLAIN", b"admin\0guest\0guest"),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD="guest")),
        ("AMQPLAIN", amqplain(x=1, PASSWORD="guest", LOGIN="guest")),
    ],
)
def test_ways_to_log_in(mechanism: str, response: bytes) -> None:
    talker = started()
    talker.send(0, m.ConnectionStartOk(CAPABLE, mechanism, response))
    assert talker.names() == ["connection.tune"]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0guest\0wrong"),
        ("PLAIN", b"\0guest\0"),
        ("PLAIN", b"\0nobody\0"),
        ("PLAIN", b"guest"),
        ("PLAIN", b""),
        ("PLAIN", b"\0guest\0guest\0more"),
        ("PLAIN", b"\0gu\xffst\0\xff"),
        ("AMQPLAIN", b""),
        ("AMQPLAIN", b"\x05LOGIN"),
        ("AMQPLAIN", amqplain(LOGIN="guest")),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD=1)),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD="\udcff")),
    ],
)
@pytest.mark.parametrize("capable", [True, False])
def test_a_refused_login_is_said_to_those_who_understand(
    mechanism: str, response: bytes, capable: bool
) -> None:
    talker = started()
    talker.send(0, m.ConnectionStartOk(CAPABLE if capable else {}, mechanism, response))
    if capable:
        close = closed_with(talker)
        assert close.reply_code == 403
        assert close.reply_text == (
            f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
            "For details see the broker logfile."
        )
    else:
        assert talker.hear() == [] and talker.front.closed
    assert talker.front.close_reason, "the log says why"


def test_an_unknown_mechanism_is_an_error() -> None:
    talker = started()
    talker.send(0, m.ConnectionStartOk(CAPABLE, "GSSAPI", b""))
    assert closed_with(talker).reply_text == (
        "SYNTAX_ERROR - unknown authentication mechanism 'GSSAPI'"
    )


@pytest.mark.parametrize(
    ("user", "mechanisms"),
    [
        (None, b"PLAIN AMQPLAIN"),
        ("", b"PLAIN AMQPLAIN EXTERNAL"),
        ("x", b"PLAIN AMQPLAIN EXTERNAL"),
    ],
)
def test_external_is_offered_to_those_who_have_presented_a_certificate(
    user: str | None, mechanisms: bytes
) -> None:
    talker = World().talker(certificate_user=user)
    talker.send_bytes(PROTOCOL_HEADER)
    ((_, start),) = talker.hear()
    assert start.mechanisms == mechanisms


@pytest.mark.parametrize("response", [b"", b"guest", b"admin", b"\0\xff"])
def test_the_user_is_whom_the_certificate_names(response: bytes) -> None:
    talker = World().talker(certificate_user="guest")
    talker.send_bytes(PROTOCOL_HEADER)
    talker.hear()
    talker.send(0, m.ConnectionStartOk(CAPABLE, "EXTERNAL", response))
    assert talker.names() == ["connection.tune"] and talker.front.user == "guest"


@pytest.mark.parametrize(
    ("user", "loopback", "reason"),
    [
        (None, True, "EXTERNAL login refused: the client has presented no certificate"),
        ("", True, "EXTERNAL login refused: there is no name in the client's certificate"),
        ("ann", True, "EXTERNAL login refused: unknown"),
        ("guest", False, "EXTERNAL login refused: user 'guest' can only connect via localhost"),
    ],
)
def test_certificates_that_stand_for_nobody(user: str | None, loopback: bool, reason: str) -> None:
    talker = World().talker(loopback, user)
    talker.send_bytes(PROTOCOL_HEADER)
    talker.hear()
    talker.send(0, m.ConnectionStartOk(CAPABLE, "EXTERNAL", b"guest"))
    close = closed_with(talker)
    assert (close.reply_code, close.reply_text) == (
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. "
        "For details see the broker logfile.",
    )
    assert talker.front.close_reason == reason


def test_tls_on_a_port_without_is_told_as_any_other_protocol() -> None:
    talker = World().talker()
    talker.send_bytes(b"\x16\x03\x01\x02\x00\x01\x00")
    assert talker.hear() == [(-1, PROTOCOL_HEADER)]
    assert talker.front.closed
    assert talker.front.close_reason.startswith("it speaks TLS, and this port is one without")


def test_guest_is_for_this_machine_only() -> None:
    talker = started(loopback=False)
    talker.send(0, m.ConnectionStartOk(CAPABLE, "PLAIN", b"\0guest\0guest"))
    assert closed_with(talker).reply_code == 403
    assert (
        talker.front.close_reason
        == "PLAIN login refused: user 'guest' can only connect via localhost"
    )


@pytest.mark.parametrize(
    ("wanted", "agreed"),
    [((0, 0, 0), (2047, 131072)), ((1, 4096, 5), (1, 4096)), ((2047, 131072, 0), (2047, 131072))],
)
def test_tuning(wanted: tuple[int, int, int], agreed: tuple[int, int]) -> None:
    talker = tuning()
    talker.send(0, m.ConnectionTuneOk(*wanted))
    assert (talker.front.channel_max, talker.front.frame_max) == agreed
    assert talker.front.heartbeat_ns == wanted[2] * S
    assert talker.front.state is State.OPENING


@pytest.mark.parametrize(
    "wanted", [(0, 4095, 0), (0, 131073, 0), (2048, 0, 0), (65535, 4096, 0), (0, 1, 0)]
)
def test_tuning_outside_of_what_was_proposed(wanted: tuple[int, int, int]) -> None:
    talker = tuning()
    talker.send(0, m.ConnectionTuneOk(*wanted))
    assert closed_with(talker).reply_code == 530


def test_an_unknown_virtual_host() -> None:
    talker = tuning()
    talker.send(0, m.ConnectionTuneOk(0, 0, 0), m.ConnectionOpen("/nope"))
    close = closed_with(talker)
    assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - vhost /nope not found")
    assert (close.class_id, close.method_id) == (10, 40)


def test_no_other_channel_before_open() -> None:
    talker = tuning()
    talker.send(1, m.ChannelOpen())
    assert closed_with(talker).reply_code == 505


def test_a_frame_that_is_too_large_before_tuning_too() -> None:
    talker = started(World(frame_max=8192))
    talker.send_bytes(b"\1\0\0\0\x01\0\0")
    assert talker.names() == ["connection.close"]
    assert talker.front.closed, "what follows cannot be read"


@pytest.mark.parametrize("steps", range(4))
def test_a_handshake_that_takes_too_long_ends_without_a_word(steps: int) -> None:
    world = World(handshake_ns=10 * S)
    talker = world.talker()
    sent = [
        PROTOCOL_HEADER[:3],
        PROTOCOL_HEADER[3:],
        m.method_frame(0, m.ConnectionStartOk(CAPABLE, "PLAIN", b"\0guest\0guest")),
        m.method_frame(0, m.ConnectionTuneOk(0, 0, 0)),
    ]
    for data in sent[: steps + 1]:
        world.now_ns += S
        talker.send_bytes(data)
    talker.hear()
    talker.front.tick(10 * S - 1)
    assert not talker.front.closed
    talker.front.tick(10 * S)
    assert talker.front.closed and talker.raw() == b""
    assert "handshake took too long" in talker.front.close_reason


@pytest.mark.parametrize("steps", range(5))
def test_a_peer_that_leaves_during_the_handshake_leaves_nothing(steps: int) -> None:
    world = World()
    talker = world.talker()
    sent = [
        PROTOCOL_HEADER,
        m.method_frame(0, m.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest")),
        m.method_frame(0, m.ConnectionTuneOk(0, 0, 0)),
        m.method_frame(0, m.ConnectionOpen("/")),
    ]
    for data in sent[:steps]:
        talker.send_bytes(data)
    talker.front.receive_eof()
    assert talker.front.closed and talker.front.close_reason
    assert not world.broker.sessions


def test_client_properties_may_be_anything() -> None:
    for properties in (
        {"capabilities": 1},
        {"capabilities": {"basic.nack": "yes"}},
        {"x": [1, {}]},
    ):
        talker = started()
        talker.send(0, m.ConnectionStartOk(properties, "PLAIN", b"\0guest\0guest"))
        assert [name_of(item) for _, item in talker.hear()] == ["connection.tune"]
        assert not talker.front.capable("basic.nack")


def test_malformed_arguments_of_a_method_close_with_their_code() -> None:
    talker = started()
    start_ok = (0x000A000B).to_bytes(4, "big") + encode_table({}) + encode_shortstr("PLAIN")
    talker.send_bytes(m.frame(1, 0, start_ok))
    assert closed_with(talker).reply_code in (501, 502)
