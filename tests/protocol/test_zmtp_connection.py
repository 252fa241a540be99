"""What every role has of its connection: messages in order, back-pressure, output that waits, and the end."""

from typing import Any, ClassVar

import pytest

from mansio.codec.zmtp import encode_command, encode_message
from mansio.core.errors import AccessRefused
from mansio.core.run import Run
from mansio.protocol.zmtp import security
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.protocol.zmtp.role import Role
from tests.protocol.zmtp_talk import World, ZmtpPeer, greeting


class Recorder(Role):
    """Writes down what it hears; takes `allowed` messages, then no more."""

    socket_type = "PULL"

    def __init__(self, connection: ZmtpConnection) -> None:
        super().__init__(connection)
        self.heard: list[Any] = []
        self.allowed = 1 << 30

    def receive(self, messages: list[list[bytes]]) -> int:
        taken = min(self.allowed, len(messages))
        self.heard += messages[:taken]
        self.allowed -= taken
        return taken

    def subscribe(self, prefix: bytes) -> None:
        self.heard.append(("subscribe", prefix))

    def cancel(self, prefix: bytes) -> None:
        self.heard.append(("cancel", prefix))

    def go_on(self) -> None:
        self.heard.append("go on")

    def writable(self, yes: bool) -> None:
        self.heard.append(("writable", yes))

    def closed(self) -> None:
        assert self.connection.session is not None
        self.heard.append("closed")


class Together(Recorder):
    """The same, with messages of one frame in rows."""

    apart: ClassVar[bool] = False

    def receive_bodies(self, bodies: list[bytes]) -> int:
        taken = min(self.allowed, len(bodies))
        self.heard.append(bodies[:taken])
        self.allowed -= taken
        return taken


class Publishing(Recorder):
    """Publishes each message, as far as there is room."""

    def receive(self, messages: list[list[bytes]]) -> int:
        for n, message in enumerate(messages):
            if not self.connection.room(len(message[0])):
                return n
            self.heard.append(message)
        return len(messages)


@pytest.fixture(autouse=True)
def role(monkeypatch: pytest.MonkeyPatch) -> type[Role]:
    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Recorder))
    return Recorder


def heard(peer: ZmtpPeer) -> list[Any]:
    role: Any = peer.front.role
    found = list(role.heard)
    role.heard.clear()
    return found


def allow(peer: ZmtpPeer, count: int) -> None:
    role: Any = peer.front.role
    role.allowed = count


MESSAGES = [[b"a"], [b"b", b"c"], [b"d"], [b"e" * 100_000], [b""]]


@pytest.mark.parametrize("size", [0, 1000])
def test_messages_reach_the_role_in_order(size: int) -> None:
    peer = World().peer("PUSH")
    peer.send_bytes(b"".join(map(encode_message, MESSAGES)), size)
    assert heard(peer) == MESSAGES and peer.front.tail == b""


def test_bodies_in_rows_for_a_role_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Together))
    peer = World().peer("PUSH")
    peer.send(*MESSAGES)
    assert heard(peer) == [[b"a"], [b"b", b"c"], [b"d", b"e" * 100_000, b""]]
    allow(peer, 2)
    peer.send([b"1"], [b"2"], [b"3"], [b"4"])
    assert heard(peer) == [[b"1", b"2"]] and peer.front.waiting
    allow(peer, 9)
    peer.front.go_on_reading()
    peer.world.turn()
    assert heard(peer) == ["go on", [b"3", b"4"]]


@pytest.mark.parametrize("together", [False, True])
def test_what_is_not_taken_comes_again_and_nothing_is_read_meanwhile(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if together:
        monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Together))
    world = World()
    peer = world.peer("PUSH")
    allow(peer, 3)
    peer.send_bytes(b"".join(map(encode_message, [[b"%d" % i] for i in range(5)])) + b"\0\x05ab")
    peer.send_bytes(b"cde" + encode_command(b"PING", b"\0\0p") + encode_message([b"6"]))
    assert peer.front.waiting and peer.take_commands() == []
    world.turn()
    assert len(flat(heard(peer))) == 3  # nobody has said that it may go on
    allow(peer, 1)
    peer.front.go_on_reading()
    peer.front.go_on_reading()
    assert flat(heard(peer)) == []
    world.turn()
    assert flat(heard(peer)) == [b"3"] and peer.front.waiting
    allow(peer, 9)
    peer.front.go_on_reading()
    world.turn()
    assert flat(heard(peer)) == [b"4", b"abcde", b"6"] and not peer.front.waiting
    assert peer.take_commands() == [(b"PONG", b"p")]


def flat(items: list[Any]) -> list[bytes]:
    return [body for item in items if isinstance(item, list) for body in item]


def test_a_role_may_pause_behind_what_it_has_taken() -> None:
    peer = World().peer("PUSH")
    role: Any = peer.front.role
    receive = role.receive
    role.receive = lambda messages: (peer.front.pause(), receive(messages))[1]
    ping = encode_command(b"PING", b"\0\0p")
    peer.send_bytes(encode_message([b"1"]) + ping + encode_message([b"2"]))
    peer.send([b"3"])
    assert heard(peer) == [[b"1"]] and peer.front.waiting and peer.take_commands() == []
    role.receive = receive
    peer.front.go_on_reading()
    peer.world.turn()
    assert heard(peer) == ["go on", [b"2"], [b"3"]] and not peer.front.waiting
    assert peer.take_commands() == [(b"PONG", b"p")]


def test_bytes_that_are_no_frames_end_it_behind_what_came_before() -> None:
    peer = World().peer("PUSH")
    allow(peer, 1)
    peer.send_bytes(encode_message([b"1"]) + encode_message([b"2"]) + b"\x80\0")
    assert not peer.closed and heard(peer) == [[b"1"]]
    allow(peer, 1)
    peer.front.go_on_reading()
    peer.world.turn()
    assert heard(peer) == ["go on", [b"2"], "closed"]
    assert peer.closed and peer.reason == "a frame begins with flags 0x80"
    assert not peer.world.broker.sessions


@pytest.mark.parametrize("version", [(3, 0), (3, 1)])
@pytest.mark.parametrize("kind", ["SUB", "XSUB"])
def test_subscriptions_as_commands_and_as_messages(kind: str, version: tuple[int, int]) -> None:
    peer = World().peer(kind, version=version)
    peer.subscribe(b"a.")
    peer.subscribe(b"")
    peer.cancel(b"a.")
    assert heard(peer) == [("subscribe", b"a."), ("subscribe", b""), ("cancel", b"a.")]
    peer.send([b"\1x", b"y"], [b""], [b"\2"])
    assert heard(peer) == [[b"\1x", b"y"], [b""], [b"\2"]]


def test_messages_of_other_peers_are_no_subscriptions() -> None:
    peer = World().peer("PUSH")
    peer.send([b"\1x"], [b"\0x"])
    assert heard(peer) == [[b"\1x"], [b"\0x"]]


def test_commands_that_are_not_known_mean_nothing() -> None:
    peer = World().peer("PUSH")
    for name in (b"JOIN", b"LEAVE", b"READY", b"\xff"):
        peer.command(name, b"x")
    peer.send([b"1"])
    assert heard(peer) == [[b"1"]] and peer.take_commands() == []
    peer.send_bytes(b"\4\0")
    assert peer.closed and peer.reason == "it has sent a command without a name"


# -- room


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> ZmtpPeer:
    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Publishing))
    return World().peer("PUSH")


def test_what_there_is_no_room_for_in_the_log_waits(publisher: ZmtpPeer) -> None:
    world, front = publisher.world, publisher.front
    journal = world.broker.journal
    journal.measured(10, False)
    publisher.send([b"x" * 10], [b"y" * 11], [b"z"])
    assert heard(publisher) == [[b"x" * 10]]
    assert front in journal.waiters and front.paused and front.waiting and not front.may_go_on()
    journal.measured(11, False)
    front.unblock()
    front.go_on(world.now_ns)
    assert heard(publisher) == ["go on", [b"y" * 11], [b"z"]]
    assert not journal.waiters and front.may_go_on() and not front.waiting


def test_nothing_is_published_while_memory_is_short(publisher: ZmtpPeer) -> None:
    world, front = publisher.world, publisher.front
    world.broker.blocked = world.broker.low_on_memory = True
    publisher.send([b"x"])
    assert heard(publisher) == [] and front.blocked
    front.unblock()  # there is room in the log, and still none in memory
    assert front.paused
    world.broker.blocked = world.broker.low_on_memory = False
    front.unblock()
    front.go_on(world.now_ns)
    assert heard(publisher) == ["go on", [b"x"]] and not front.blocked


def test_who_leaves_waits_for_no_room(publisher: ZmtpPeer) -> None:
    publisher.world.broker.journal.measured(0, True)
    publisher.send([b"x"])
    assert publisher.world.broker.journal.waiters
    publisher.eof()
    assert not publisher.world.broker.journal.waiters


def test_who_was_told_to_go_is_not_listened_to_any_more(publisher: ZmtpPeer) -> None:
    world, front = publisher.world, publisher.front
    world.broker.journal.measured(0, True)
    publisher.send([b"x"])
    assert front.waiting and front.session is not None
    world.broker.confirms.changed(front.session)
    front.shutdown(320, "bye")
    publisher.send([b"y"])
    world.broker.journal.measured(1000, False)
    front.unblock()
    front.go_on(world.now_ns)
    assert heard(publisher) == [] and front.waiting and not front.closed
    world.turn()
    assert heard(publisher) == ["closed"] and front.closed


# -- output


def test_what_was_changed_is_told_when_it_is_durable() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    assert front.session is not None
    front.send([b"before"])
    world.broker.confirms.changed(front.session)
    front.send([b"first"])
    world.turn(durable=False)
    assert peer.hear() == [[b"before"]] and front.gated
    world.broker.confirms.changed(front.session)
    front.send_raw(encode_message([b"second"]))
    world.turn(durable=False)
    assert peer.hear() == []
    world.broker.durable(world.ticket - 1)
    assert peer.hear() == [[b"first"]]
    world.log()
    assert peer.hear() == [[b"second"]] and not front.gated


def test_what_cannot_be_made_durable_is_not_told() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    assert front.session is not None
    front.send([b"before"])
    world.broker.confirms.changed(front.session)
    front.send([b"never"])
    world.turn(durable=False)
    world.log(ok=False)
    assert peer.hear() == [[b"before"]]
    assert peer.closed and peer.reason == "the log could not be written"


def test_the_end_waits_for_what_is_held_back() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    assert front.session is not None
    world.broker.confirms.changed(front.session)
    front.send([b"last"])
    front.finish("enough")
    peer.send([b"not heard"])
    assert not peer.closed and front.waiting
    world.turn()
    assert peer.hear() == [[b"last"]] and peer.closed and peer.reason == "enough"
    assert [b"not heard"] not in heard(peer)


def test_what_was_handed_over_is_taken_back_unless_it_leaves() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    back: list[int] = []
    front.send([b"1"])
    front.hand_over(lambda: back.append(1))
    peer.hear()
    assert not front.unflushed
    for number in (2, 3):
        front.send([b"x"])
        front.hand_over(lambda number=number: back.append(number))
    front.data_to_send()
    peer.eof()
    assert back == [3, 2]


def test_a_pong_ahead_of_what_is_held_leaves_the_account_of_what_was_handed_over() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    assert front.session is not None
    back: list[int] = []
    front.send([b"1"])
    front.hand_over(lambda: back.append(1))
    world.broker.confirms.changed(front.session)
    front.send([b"2"])
    front.hand_over(lambda: back.append(2))
    peer.command(b"PING", b"\0\0")
    assert peer.hear() == [[b"1"]] and len(front.unflushed) == 1
    peer.eof()
    assert back == [2]


def test_a_client_that_does_not_read_is_told_to_the_role() -> None:
    peer = World().peer()
    peer.front.set_writable(False)
    assert peer.front.session is not None and not peer.front.session.writable
    peer.front.set_writable(True)
    assert heard(peer) == [("writable", False), ("writable", True)]


# -- the end


def test_a_role_may_refuse_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Recorder):
        def __init__(self, connection: ZmtpConnection) -> None:
            super().__init__(connection)
            assert connection.session is not None
            connection.broker.confirms.changed(connection.session)
            connection.send([b"too early"])
            raise AccessRefused("not for you")

        def closed(self) -> None:
            raise AssertionError("it was never there")

    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Closed))
    world = World()
    peer = world.socket("PULL")
    peer.send_bytes(greeting() + encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x04PULL"))
    assert peer.take_commands() == [(b"ERROR", b"\x03400")]
    assert peer.closed and peer.reason == "not for you" and not world.broker.sessions


@pytest.mark.parametrize("how", ["eof", "shutdown", "expelled", "finish"])
def test_the_role_hears_of_the_end_once(how: str) -> None:
    world = World()
    peer = world.peer()
    role = peer.front.role
    match how:
        case "eof":
            peer.eof()
        case "shutdown":
            peer.front.shutdown(320, "bye")
        case "expelled":
            peer.front.expelled("user is deleted")
        case _:
            peer.front.finish("enough")
    assert isinstance(role, Recorder) and role.heard == ["closed"]
    peer.eof()
    assert role.heard == ["closed"] and not world.broker.sessions
    reasons = {"eof": "", "shutdown": "", "expelled": "user is deleted", "finish": "enough"}
    assert peer.reason == reasons[how]
    peer.send([b"late"])
    peer.front.go_on(0)
    peer.front.tick(10**15)
    assert role.heard == ["closed"]


def test_what_the_broker_tells_goes_to_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    for name in ("confirmed", "refused", "returned", "cancelled", "deliver"):
        monkeypatch.setattr(Recorder, name, lambda self, *args: told.append(args))
    front = World().peer().front
    run: Any = Run(b"", 0, 0, None, (), None, False)
    front.confirmed(front.channel, 3, [(1, 2)])
    front.refused(front.channel, 4)
    front.returned(front.channel, run, 0, None)  # type: ignore[arg-type]
    front.cancelled(front.channel, "tag")
    front.deliver(None, run, 0, 1, 1, 1, False)  # type: ignore[arg-type]
    assert told == [
        (3, [(1, 2)]),
        (4,),
        (run, 0, None),
        ("tag",),
        (None, run, 0, 1, 1, 1, False),
    ]
