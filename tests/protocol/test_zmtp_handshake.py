"""The first words between a ZeroMQ peer and the broker."""

import pytest

from mansio.codec.zmtp import encode_command
from tests.protocol.zmtp_talk import LOGIN, World


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("version", [(3, 0), (3, 1)])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("REQ", b"ROUTER"),
        ("DEALER", b"ROUTER"),
        ("PUSH", b"PULL"),
        ("PULL", b"PUSH"),
        ("SUB", b"XPUB"),
        ("XSUB", b"XPUB"),
        ("PUB", b"XSUB"),
        ("XPUB", b"XSUB"),
        ("REP", b"DEALER"),
        ("ROUTER", b"DEALER"),
    ],
)
def test_each_socket_type_is_met_by_the_other_one(
    theirs: str, ours: bytes, login: tuple[bytes, bytes] | None, version: tuple[int, int]
) -> None:
    world = World()
    peer = world.peer(theirs, login=login, version=version)
    assert peer.metadata["socket-type"] == ours
    assert peer.front.user == "guest" and peer.front.minor == version[1]
    peer.eof()
    assert not world.broker.sessions


def test_a_refused_password_and_an_unknown_user_look_alike() -> None:
    from tests.protocol.zmtp_talk import greeting, hello

    heard = []
    for user, password in ((b"guest", b"wrong"), (b"nobody", b"wrong")):
        peer = World().socket()
        peer.send_bytes(greeting("PLAIN") + hello(user, password))
        assert peer.closed and "invalid credentials" in peer.reason
        heard.append(peer.raw())
    assert heard[0] == heard[1]
    assert heard[0][64:] == b"\x04\x09^RROR\x03400"


def test_from_elsewhere_one_has_to_log_in() -> None:
    from tests.protocol.zmtp_talk import greeting

    peer = World().socket(loopback=False)
    peer.send_bytes(greeting() + encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x03REQ"))
    assert peer.closed and "logged in" in peer.reason
    assert peer.raw()[64:] == encode_command(b"ERROR", b"\x03400")
