"""The first words between a ZeroMQ peer and the broker: greeting, mechanism, metadata, and who may come in."""

import pytest

from mansio.codec.zmtp import encode_command
from mansio.core.limits import NS, Limits
from mansio.core.rights import Permission
from mansio.core.users import MAX_CONNECTIONS
from mansio.protocol.base import Verdict
from mansio.protocol.zmtp.curve import Curve
from mansio.protocol.zmtp.metadata import encode_metadata
from mansio.protocol.zmtp.settings import ZmtpSettings
from mansio.protocol.zmtp.states import COMMANDS, State
from tests.protocol.curve_talk import CurveClient
from tests.protocol.zmtp_talk import LOGIN, SIGNATURE, Command, World, ZmtpPeer, greeting, hello

REFUSED = b"\x03400"
PAIRS = [
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
]


def ready(name: bytes = b"READY", **properties: bytes) -> bytes:
    """READY of a REQ with more metadata; `_` stands for `-`."""
    metadata = {key.replace("_", "-"): value for key, value in properties.items()}
    return encode_command(name, encode_metadata({"Socket-Type": b"REQ"} | metadata))


def last_word(peer: ZmtpPeer) -> Command:
    (command,) = peer.take_commands()
    return command


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("version", [(3, 0), (3, 1), (3, 9), (4, 0)])
@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_each_socket_type_is_met_by_the_other_one(
    theirs: str, ours: bytes, login: tuple[bytes, bytes] | None, version: tuple[int, int]
) -> None:
    world = World()
    peer = world.peer(theirs, login=login, version=version)
    assert peer.metadata == {"socket-type": ours}
    assert peer.front.user == "guest" and peer.front.socket_type == theirs
    assert peer.front.minor == (0 if version == (3, 0) else 1)
    assert peer.greeting[10:12] == b"\3\1"
    assert peer.greeting[12:33].rstrip(b"\0") == (
        b"PLAIN".ljust(20, b"\0") + b"\1" if login else b"NULL"
    )
    peer.eof()
    assert not world.broker.sessions and peer.reason == ""


@pytest.mark.parametrize("size", [1, 3, 11])
def test_the_handshake_may_come_in_pieces(size: int) -> None:
    peer = World().socket()
    peer.send_bytes(greeting("PLAIN") + hello(*LOGIN) + ready(b"INITIATE"), size)
    assert [each.name for each in peer.take_commands()] == [b"WELCOME", b"READY"]
    peer.send([b"", b"x"])
    assert not peer.closed


def test_the_broker_says_as_much_as_a_peer_needs_for_its_next_step() -> None:
    """libzmq waits for the signature before it names its version, and for that before it says the rest."""
    peer = World().socket()
    assert peer.raw() == b""
    peer.send_bytes(SIGNATURE[:1])
    assert peer.raw() == b"\xff\0\0\0\0\0\0\0\0\x7f\3\1"
    peer.send_bytes(SIGNATURE[1:] + b"\3")
    assert peer.raw() == b""
    peer.send_bytes(greeting()[11:])
    assert peer.raw() == b"NULL".ljust(20, b"\0") + bytes(32)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "it speaks HTTP"),
        (b"POST /", "it speaks HTTP"),
        (b"AMQP\0\0\x09\1", "it speaks AMQP"),
        (b"\x16\x03\x01\x02", "it speaks TLS"),
        (b"*1\r\n$4\r\nPING\r\n", "it speaks Redis"),
        (b"ping\r\n", "it speaks Redis"),
        (b"howdy", "it does not speak ZMTP"),
        (b"\x01\x00", "it speaks ZMTP 1.0"),
        (b"\x05\x00name", "it speaks ZMTP 1.0"),
        (SIGNATURE + b"\1\5\0\0", "it speaks ZMTP 2.0"),
        (SIGNATURE[:9] + b"\0", "it does not speak ZMTP"),
        (greeting("GSSAPI"), "the security mechanism 'GSSAPI'"),
        (greeting("NU\xffL"), "the security mechanism"),
        (greeting("PLAIN")[:32] + b"\1" + bytes(31), "wants to be the server"),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_others_hear_nothing_more_and_the_log_says_who_they_are(
    data: bytes, reason: str, size: int
) -> None:
    peer = World().socket()
    peer.send_bytes(data, size)
    assert peer.closed and reason in peer.reason and not peer.front.lingers
    assert len(peer.raw()) <= 12


def test_a_refused_password_and_an_unknown_user_look_alike() -> None:
    heard = []
    for user in (b"guest", b"nobody"):
        peer = World().socket()
        peer.send_bytes(greeting("PLAIN") + hello(user, b"wrong") + ready(b"INITIATE"))
        assert peer.closed and peer.front.lingers and "invalid credentials" in peer.reason
        heard.append(peer.raw())
    assert heard[0] == heard[1]
    assert heard[0][64:] == b"\x04\x09^RROR\x03400"


def test_a_name_need_not_be_text() -> None:
    peer = World().socket()
    peer.send_bytes(greeting("PLAIN") + hello(b"\xff\xfe", b"\xff"))
    assert peer.closed and "invalid credentials" in peer.reason


@pytest.mark.parametrize(
    "data", [b"", b"\5gues", b"\5guest", b"\5guest\6guest", b"\5guest\5guestx"]
)
def test_a_hello_that_is_malformed(data: bytes) -> None:
    peer = World().socket()
    peer.send_bytes(greeting("PLAIN") + encode_command(b"HELLO", data))
    assert peer.closed and peer.reason == "a HELLO that is malformed"


def test_from_elsewhere_one_has_to_log_in() -> None:
    world = World()
    peer = world.socket(loopback=False)
    peer.send_bytes(greeting() + ready())
    assert peer.closed and "it has not logged in" in peer.reason
    assert last_word(peer) == (b"ERROR", REFUSED)
    assert not world.broker.sessions


@pytest.mark.parametrize("user", ["", "nobody"])
def test_on_this_machine_too_where_nobody_is_let_in_without(user: str) -> None:
    peer = World().socket(settings=ZmtpSettings(user=user))
    peer.send_bytes(greeting() + ready())
    assert peer.closed and "it has not logged in" in peer.reason


def test_metadata_say_queue_and_virtual_host_and_more() -> None:
    world = World()
    world.broker.administration.put_vhost("shop")
    world.broker.administration.permit("guest", "shop", Permission("", "", ""))
    metadata = {"X-Queue": "jöbs".encode(), "X-VHost": b"shop", "Identity": b"me", "Resource": b"/"}
    peer = world.peer("DEALER", metadata)
    front = peer.front
    assert front.queue_name == "jöbs" and front.identity == b"me"
    assert front.session is not None and front.session.vhost == "shop"
    assert front.metadata["x-queue"] == "jöbs".encode() and front.channel.session is front.session
    assert world.peer("PUSH").front.queue_name == "tasks"
    assert world.peer("PUSH", {"X-Queue": b" with spaces "}).front.queue_name == "with spaces"
    assert world.peer(settings=ZmtpSettings(default_queue="jobs")).front.queue_name == "jobs"


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"Socket_Type": b"PAIR"}, "a socket of type 'PAIR'"),
        ({"Socket_Type": b""}, "a socket of type ''"),
        ({"Socket_Type": b"\xff"}, "a socket of type '\\\\xff'"),
        ({"Identity": b"x" * 256}, "an identity of 256 bytes"),
        ({"X_Queue": b"\xff"}, "X-Queue is not UTF-8"),
        ({"X_Queue": b"q" * 256}, "X-Queue has 256 bytes"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(properties: dict[str, bytes], reason: str) -> None:
    world = World()
    peer = world.socket()
    peer.send_bytes(greeting() + ready(**properties))
    assert peer.closed and reason in peer.reason and peer.front.lingers
    name, data = last_word(peer)
    assert name == b"ERROR" and data[1:].decode() == peer.reason and data[0] == len(data) - 1
    assert not world.broker.sessions


def test_an_identity_may_have_255_bytes_and_a_reason_no_more_than_fits() -> None:
    world = World()
    assert len(world.peer("DEALER", {"Identity": b"x" * 255}).front.identity) == 255
    peer = world.socket()
    peer.send_bytes(greeting() + ready(Socket_Type=b"T" * 300))
    assert len(last_word(peer).data) == 241 and "T" * 300 in peer.reason


def test_names_of_metadata_have_no_case_and_the_first_of_two_counts() -> None:
    metadata = encode_metadata({"SOCKET-type": b"REQ", "x-QUEUE": b"one", "X-Queue": b"two"})
    peer = World().socket()
    peer.send_bytes(greeting() + encode_command(b"READY", metadata))
    assert peer.front.queue_name == "one" and not peer.closed


def test_a_virtual_host_where_one_may_not_be() -> None:
    for vhost in (b"nowhere", b"shop", b"\xff"):
        world = World()
        world.broker.administration.put_vhost("shop")
        peer = world.socket()
        peer.send_bytes(greeting() + ready(X_VHost=vhost))
        assert peer.closed and last_word(peer) == (b"ERROR", REFUSED)
        assert "vhost" in peer.reason and not world.broker.sessions


def test_a_user_may_have_only_so_many_connections() -> None:
    world = World()
    world.broker.administration.limit_user("guest", {MAX_CONNECTIONS: 1})
    first, second = world.peer(), world.socket()
    second.send_bytes(greeting() + ready())
    assert "connection limit" in second.reason and len(world.broker.sessions) == 1
    assert second.take_commands() == [] and not second.front.lingers  # libzmq tries again
    first.eof()
    world.peer()


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
@pytest.mark.parametrize(
    "name", [b"READY", b"HELLO", b"INITIATE", b"WELCOME", b"PING", b"ERROR", b"X"]
)
def test_commands_in_another_order_are_the_end(mechanism: str, name: bytes) -> None:
    first = State.READY if mechanism == "NULL" else State.HELLO
    if name == b"ERROR" or (first, name) in COMMANDS:
        return
    peer = World().socket()
    peer.send_bytes(greeting(mechanism) + encode_command(name, b"\0\0"))
    assert peer.closed and f"a command {name.decode()} when" in peer.reason


def keyed(world: World) -> tuple[ZmtpPeer, CurveClient]:
    """A peer for which the broker has a key."""
    secret = bytes(range(32))
    curve = Curve(secret, {}, lambda size: bytes(range(1, size + 1)))
    client = CurveClient(curve.public_key, bytes(range(1, 33)))
    return world.socket(settings=ZmtpSettings(curve=curve)), client


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    "name", [b"READY", b"HELLO", b"INITIATE", b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"X"]
)
def test_every_pair_of_state_and_command(state: State, name: bytes) -> None:
    """What the table does not have is an error in every state but OPEN."""
    peer, client = keyed(World())
    before = {
        State.READY: greeting(),
        State.HELLO: greeting("PLAIN"),
        State.INITIATE: greeting("PLAIN") + hello(*LOGIN),
        State.CURVE_HELLO: greeting("CURVE"),
        State.CURVE_INITIATE: greeting("CURVE") + client.hello(),
        State.OPEN: greeting() + ready(),
    }
    if state not in before:
        assert not [known for known in COMMANDS if known[0] is state]
        return
    peer.send_bytes(before[state])
    assert peer.front.state is state
    peer.take_commands()
    peer.send_bytes(encode_command(name, b"\0\0"))
    understood = (state, name) in COMMANDS or state is State.OPEN
    assert understood != (f"a command {name.decode()} when" in peer.reason)


@pytest.mark.parametrize("login", [False, True])
def test_a_peer_may_give_up(login: bool) -> None:
    peer = World().socket()
    peer.send_bytes(greeting("PLAIN") + hello(*LOGIN) if login else greeting())
    peer.send_bytes(encode_command(b"ERROR", b"\x04cold"))
    assert peer.closed and peer.reason == "the peer has given up: 'cold'"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\1x", "a message before the end"),
        (b"\x0c\1x", "flags 0x0c"),
        (b"\4\0", "a command without a name"),
        (b"\4\2\5X", "a command without a name"),
        (encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x04REQ"), "metadata that are malformed"),
        (encode_command(b"READY", b"\0\0\0\0\0"), "metadata that are malformed"),
        (encode_command(b"READY", b"\1\xff\0\0\0\0"), "metadata that are malformed"),
    ],
)
def test_what_is_no_handshake_is_the_end(data: bytes, reason: str) -> None:
    peer = World().socket()
    peer.send_bytes(greeting() + data)
    assert peer.closed and reason in peer.reason
    assert last_word(peer).name == b"ERROR"


def test_a_handshake_has_only_so_much_time() -> None:
    limit_ns = Limits().handshake_ns
    for data, state in ((b"", "GREETING"), (greeting(), "READY"), (greeting("PLAIN"), "HELLO")):
        world = World()
        peer = world.socket()
        peer.send_bytes(data)
        peer.front.tick(limit_ns - 1)
        assert not peer.closed
        peer.front.tick(limit_ns)
        assert peer.reason == f"the handshake took too long, at {state}"
    world = World()
    known = world.peer()
    known.front.tick(100 * NS)
    assert not known.closed


def test_a_password_is_checked_while_nothing_is_read() -> None:
    world = World()
    waiting = []
    world.users.begin = lambda credentials, peer, done: waiting.append(done)  # type: ignore[method-assign]
    peer = world.socket()
    peer.send_bytes(greeting("PLAIN") + hello(*LOGIN) + ready(b"INITIATE"))
    front = peer.front
    assert front.waiting and front.state is State.CHECKING and peer.take_commands() == []
    (done,) = waiting
    done(Verdict("guest"))
    front.go_on(0)
    assert [each.name for each in peer.take_commands()] == [b"WELCOME", b"READY"]
    gone = world.socket()
    gone.send_bytes(greeting("PLAIN") + hello(*LOGIN))
    gone.eof()
    waiting[1](Verdict("guest"))
    assert gone.closed and gone.raw() == b"" and gone.reason == "closed during the handshake"


def test_a_password_that_was_not_looked_at_may_be_tried_again() -> None:
    world = World()
    late = Verdict(None, "too many logins at a time: not checked", passing=True)
    world.users.begin = lambda credentials, peer, done: done(late)  # type: ignore[method-assign]
    peer = world.socket()
    peer.send_bytes(greeting("PLAIN") + hello(*LOGIN))
    assert peer.closed and peer.reason == late.reason and peer.take_commands() == []


def test_who_leaves_without_a_word_is_not_in_the_log() -> None:
    peer = World().socket()
    peer.eof()
    assert peer.closed and peer.reason == ""
