"""Peers that come in with keys: CURVE, its handshake and its messages, whole, in pieces and forged."""

import hashlib
from itertools import count
from typing import Any

import pytest
from nacl import bindings as nacl

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.zmtp.curve import Curve
from mansio.protocol.zmtp.metadata import decode_metadata
from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol.curve_talk import CurveClient
from tests.protocol.zmtp_talk import Command, World, ZmtpPeer, greeting

SERVER, ANN, STRANGER = (hashlib.sha256(name).digest() for name in (b"s", b"a", b"x"))
REFUSED = (b"ERROR", b"\x03400")


def public(secret: bytes) -> bytes:
    key: bytes = nacl.crypto_scalarmult_base(secret)
    return key


def settings(only: bool = False, user: str = "guest") -> ZmtpSettings:
    numbers = count()

    def random(size: int) -> bytes:
        return hashlib.shake_128(b"%d" % next(numbers)).digest(size)

    return ZmtpSettings(curve=Curve(SERVER, {public(ANN): user}, random), curve_only=only)


class Talker:
    """A peer that speaks CURVE."""

    def __init__(
        self, world: World | None = None, secret: bytes = ANN, size: int = 0, **how: Any
    ) -> None:
        self.world = world or World()
        self.peer: ZmtpPeer = self.world.socket("DEALER", settings=settings(**how))
        self.client = CurveClient(public(SERVER), secret)
        self.size = size

    def greet(self) -> list[Command]:
        self.peer.send_bytes(greeting("CURVE"), self.size)
        self.peer.send_bytes(self.client.hello(), self.size)
        return self.peer.take_commands()

    def open(self) -> "Talker":
        (welcome,) = self.greet()
        assert welcome.name == b"WELCOME"
        metadata = {"Socket-Type": b"DEALER", "Identity": b"me", "X-Queue": b"jobs"}
        self.peer.send_bytes(self.client.initiate(welcome.data, metadata), self.size)
        (ready,) = self.peer.take_commands()
        assert ready.name == b"READY", self.peer.reason
        assert decode_metadata(self.client.ready(ready.data)) == {"socket-type": b"ROUTER"}
        return self

    def hear(self) -> list[tuple[int, bytes]]:
        heard = self.peer.hear()
        assert all(len(frames) == 1 for frames in heard)
        return [self.client.open(frames[0]) for frames in heard]


@pytest.mark.parametrize("size", [0, 1, 50])
def test_a_peer_with_a_known_key_is_somebody(size: int) -> None:
    talker = Talker(size=size).open()
    front = talker.peer.front
    assert front.user == "guest" and front.mechanism == "CURVE"
    assert front.identity == b"me" and front.queue_name == "jobs"
    assert talker.peer.greeting[12:33] == b"CURVE".ljust(20, b"\0") + b"\1"


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_messages_and_commands_both_ways(size: int) -> None:
    talker = Talker().open()
    client, peer = talker.client, talker.peer
    body = bytes(range(256)) * (10 if size == 1 else 1000)
    peer.send_bytes(
        client.message(b"", b"PUT", b"q", body)
        + client.seal(2, b"\x04PING\0\0ctx")
        + client.message(b"", b"PING"),
        size,
    )
    assert talker.hear() == [(2, b"\x04PONGctx")]
    peer.world.turn()
    heard = talker.hear()
    assert heard[:2] == heard[3:5] == [(1, b""), (1, b"200")]
    assert sorted(heard[2::3]) == [(0, b"0"), (0, b"PONG")]
    peer.send_bytes(client.message(b"", b"GET", b"q"), size)
    peer.world.turn()
    assert (1, body) in talker.hear()


def test_a_message_may_come_as_a_command_too() -> None:
    talker = Talker().open()
    sealed = talker.client.seal(0, b"x")
    assert sealed[0] == 0
    talker.peer.send_bytes(b"\4" + sealed[1:])
    assert not talker.peer.closed


def test_what_is_held_back_is_sealed_in_the_order_in_which_it_leaves() -> None:
    talker = Talker().open()
    front = talker.peer.front
    assert front.session is not None
    talker.world.broker.confirms.changed(front.session)
    front.send([b"held"])
    talker.peer.send_bytes(talker.client.seal(2, b"\x04PING\0\0"))
    assert talker.hear() == [(2, b"\x04PONG")]
    talker.world.turn()
    assert talker.hear() == [(0, b"held")]


def test_a_key_that_nobody_has() -> None:
    talker = Talker(secret=STRANGER)
    (welcome,) = talker.greet()
    talker.peer.send_bytes(talker.client.initiate(welcome.data, {"Socket-Type": b"DEALER"}))
    assert talker.peer.closed and talker.peer.take_commands() == [REFUSED]
    assert talker.peer.reason == "nobody in zmq_curve_users has its key"


def test_a_user_that_there_is_not() -> None:
    talker = Talker(user="nobody")
    (welcome,) = talker.greet()
    talker.peer.send_bytes(talker.client.initiate(welcome.data, {"Socket-Type": b"DEALER"}))
    assert talker.peer.closed and talker.peer.take_commands() == [REFUSED]


def test_hello_for_the_key_of_another_server() -> None:
    talker = Talker()
    talker.client.server_key = public(STRANGER)
    assert talker.greet() == [REFUSED]
    assert "not for the key of this broker" in talker.peer.reason


@pytest.mark.parametrize("at", [0, 74, 113, 114, 193])
def test_a_forged_hello(at: int) -> None:
    talker = Talker()
    forged = bytearray(talker.client.hello())
    forged[8 + at] ^= 1
    talker.peer.send_bytes(greeting("CURVE") + bytes(forged))
    assert talker.peer.closed and talker.peer.take_commands() == [REFUSED]


@pytest.mark.parametrize("data", [b"", b"\1\0" + bytes(191), b"\1\0" + bytes(193)])
def test_a_hello_of_another_size(data: bytes) -> None:
    talker = Talker()
    talker.peer.send_bytes(greeting("CURVE") + encode_command(b"HELLO", data))
    assert talker.peer.closed


def test_a_key_of_zeros_is_none() -> None:
    """X25519 makes the same of it with every other key."""
    talker = Talker()
    talker.client.short_public = bytes(32)
    assert talker.greet() == [REFUSED]


@pytest.mark.parametrize("at", [11, 11 + 96, 11 + 104, -1])
def test_a_forged_initiate(at: int) -> None:
    """In the cookie, the nonce, the box."""
    talker = Talker()
    (welcome,) = talker.greet()
    said = bytearray(talker.client.initiate(welcome.data, {"Socket-Type": b"DEALER"}))
    said[at + 8 if at > 0 else at] ^= 1
    talker.peer.send_bytes(bytes(said))
    assert talker.peer.closed and talker.peer.take_commands() == [REFUSED]
    assert talker.peer.reason == "an INITIATE that cannot be opened"


def test_a_vouch_for_something_else() -> None:
    """Whoever has opened a WELCOME needs the lasting key, too."""
    for vouched in (bytes(64), public(STRANGER) + public(SERVER)):
        talker = Talker()
        (welcome,) = talker.greet()
        talker.client.vouched = vouched
        talker.peer.send_bytes(talker.client.initiate(welcome.data, {"Socket-Type": b"DEALER"}))
        assert talker.peer.reason == "an INITIATE that cannot be opened"


def test_what_one_has_said_is_nothing_for_another() -> None:
    """A cookie belongs to its connection."""
    world = World()
    first, second = Talker(world), Talker(world)
    (welcome,) = first.greet()
    second.greet()
    second.peer.send_bytes(first.client.initiate(welcome.data, {"Socket-Type": b"DEALER"}))
    assert second.peer.reason == "an INITIATE that cannot be opened"


def test_metadata_that_cannot_be() -> None:
    talker = Talker()
    (welcome,) = talker.greet()
    talker.peer.send_bytes(talker.client.initiate(welcome.data, {"Socket-Type": b"PAIR"}))
    assert talker.peer.closed and "a socket of type 'PAIR'" in talker.peer.reason
    (error,) = talker.peer.take_commands()
    assert error.name == b"ERROR"  # in the clear: there is no READY that it would be sealed behind


@pytest.mark.parametrize("how", ["again", "forged", "plain", "short", "flags", "several", "empty"])
def test_a_message_that_is_none_ends_it_behind_those_before(how: str) -> None:
    talker = Talker().open()
    client, peer = talker.client, talker.peer
    good = client.message(b"", b"PING")
    bad = {
        "again": good,
        "forged": client.seal(0, b"x")[:-1] + b"\0",
        "plain": encode_message([b"in the clear"]),
        "short": encode_message([b"\x07MESSAGE" + bytes(10)]),
        "flags": client.seal(4, b"x"),
        "several": encode_message([client.seal(0, b"x")[2:], b""]),
        "empty": encode_message([b""]),
    }[how]
    if how == "several":
        bad += client.seal(0, b"")
    peer.send_bytes(good + bad + client.message(b"", b"PING"))
    assert peer.closed and peer.reason == "a MESSAGE of CURVE that cannot be opened"
    assert talker.hear() == [(1, b""), (1, b"200"), (0, b"PONG")]


def test_limits_hold_for_what_is_sealed() -> None:
    world = World(message_bytes_max=1000)
    talker = Talker(world).open()
    talker.peer.send_bytes(talker.client.message(b"", b"PING", bytes(996)))
    assert not talker.peer.closed
    talker.peer.send_bytes(talker.client.message(b"", b"PING", bytes(997)))
    assert talker.peer.reason == "a message of 1001 bytes: the largest may have 1000"
    talker = Talker(world).open()
    talker.peer.send_bytes(b"\2" + (1065).to_bytes(8, "big"))
    assert "a message of 1065 bytes" in talker.peer.reason


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_others_may_be_kept_out(mechanism: str) -> None:
    peer = World().socket(settings=settings(only=True))
    peer.send_bytes(greeting(mechanism))
    assert peer.closed and peer.reason.endswith("known here: CURVE")
    peer = World().socket(settings=settings())
    peer.send_bytes(greeting(mechanism))
    assert not peer.closed


def test_there_is_no_curve_without_a_key() -> None:
    peer = World().socket()
    peer.send_bytes(greeting("CURVE"))
    assert peer.closed and peer.reason.endswith("known here: NULL and PLAIN")
