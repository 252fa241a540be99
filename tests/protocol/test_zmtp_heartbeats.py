"""PING and PONG, and peers that are not there any more."""

import pytest

from mansio.core.limits import NS
from mansio.core.run import Run
from mansio.protocol.zmtp import security
from mansio.protocol.zmtp.heartbeats import ASK_NS, GONE_NS, Heartbeats, Look
from mansio.protocol.zmtp.role import Role
from tests.protocol.zmtp_talk import Command, World, ZmtpPeer

S = NS


class Owing(Role):
    """Its peer has something that it has not settled."""

    socket_type = "DEALER"
    no_ack = False

    def __init__(self, connection: security.Security) -> None:
        super().__init__(connection)  # type: ignore[arg-type]
        broker, channel = connection.broker, connection.channel
        queue = broker.definitions.declare_queue(channel.session, "w", False, False, False, {})
        broker.consume(channel, queue, "w", self.no_ack, False, {})

    def deliver(
        self, consumer: object, run: Run, start: int, count: int, step: int, tag: int, again: bool
    ) -> None: ...


@pytest.fixture
def owing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "ROLES", dict.fromkeys(security.ROLES, Owing))


def tick(peer: ZmtpPeer, now_ns: int) -> list[Command]:
    peer.front.tick(now_ns)
    return peer.take_commands()


@pytest.mark.parametrize("context", [b"", b"x", b"sixteen bytes ok"])
def test_ping_is_answered_with_its_context(context: bytes) -> None:
    peer = World().peer()
    peer.command(b"PING", b"\0\0" + context)
    assert peer.take_commands() == [(b"PONG", context)]


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0" + b"x" * 17])
def test_a_ping_that_is_none_is_the_end(data: bytes) -> None:
    peer = World().peer()
    peer.command(b"PING", data)
    assert peer.reason == "a PING that is malformed"


def test_pong_does_not_wait_for_the_log() -> None:
    world = World()
    peer = world.peer()
    front = peer.front
    assert front.session is not None
    world.broker.confirms.changed(front.session)
    front.send([b"held"])
    peer.command(b"PING", b"\0\0c")
    assert peer.take_commands() == [(b"PONG", b"c")]
    world.turn()
    assert peer.hear() == [[b"held"]]


def test_a_peer_that_said_how_long_it_lives_is_gone_behind_that() -> None:
    world = World()
    peer = world.peer()
    peer.command(b"PING", b"\0\x14")  # 2 s
    peer.take_commands()
    assert tick(peer, 2 * S) == [] and not peer.closed
    assert tick(peer, 2 * S + 1) == [] and not peer.closed  # it may have spoken while nobody looked
    assert tick(peer, 2 * S + 2) == []
    assert peer.closed and peer.reason == "it was silent for 2.0 s"


def test_whatever_it_says_it_lives() -> None:
    world = World()
    peer = world.peer()
    peer.command(b"PING", b"\0\x14")
    peer.take_commands()
    for s in range(2, 20, 2):
        tick(peer, s * S + 1)
        world.now_ns = s * S + 1
        peer.command(b"PONG", b"")
    assert not peer.closed
    peer.command(b"PING", b"\0\0")  # for ever again
    peer.take_commands()
    tick(peer, 1000 * S)
    tick(peer, 1001 * S)
    assert not peer.closed


@pytest.mark.usefixtures("owing")
def test_a_silent_peer_that_owes_something_is_asked_and_then_given_up() -> None:
    peer = World().peer("REP")
    assert tick(peer, ASK_NS - 1) == []
    assert tick(peer, ASK_NS) == [(b"PING", b"\x01\x2c")]  # 30 s
    assert tick(peer, ASK_NS + 1) == []
    assert tick(peer, GONE_NS) == []
    assert tick(peer, GONE_NS + 1) == [] and not peer.closed
    assert tick(peer, GONE_NS + 2) == []
    assert peer.reason == "it was silent for 30.0 s"


@pytest.mark.usefixtures("owing")
def test_an_answer_is_enough_for_the_next_silence() -> None:
    world = World()
    peer = world.peer("REP")
    for _ in range(5):
        assert tick(peer, world.now_ns + ASK_NS) == [(b"PING", b"\x01\x2c")]
        world.now_ns += ASK_NS + 1
        peer.command(b"PONG")
        assert tick(peer, world.now_ns) == [] and not peer.closed


@pytest.mark.usefixtures("owing")
def test_peers_of_version_3_0_are_not_asked() -> None:
    peer = World().peer("REP", version=(3, 0))
    assert tick(peer, ASK_NS) == tick(peer, 10 * GONE_NS) == tick(peer, 11 * GONE_NS) == []
    assert not peer.closed


@pytest.mark.usefixtures("owing")
@pytest.mark.parametrize("why", ["no_ack", "patient"])
def test_nor_is_who_owes_nothing(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that acknowledges nothing, such as that of a client's answers; or a peer that says nothing while its
    socket is full, and answers nothing."""
    monkeypatch.setattr(Owing, why, True)
    peer = World().peer("REP")
    assert tick(peer, ASK_NS) == tick(peer, 10 * GONE_NS) == tick(peer, 11 * GONE_NS) == []
    assert not peer.closed


def test_who_is_not_listened_to_is_not_given_up_and_hears_that_we_are_there() -> None:
    world = World()
    peer = world.peer()
    assert (tick(peer, 0), peer.front.waiting) == ([], False)
    peer.command(b"PING", b"\0\x0a")
    peer.take_commands()
    peer.front.pause()
    assert tick(peer, 100 * S) == tick(peer, 200 * S) == [(b"PONG", b"")]
    assert not peer.closed
    peer.front.go_on_reading()
    world.now_ns = 200 * S
    world.go_on()
    assert tick(peer, 200 * S + NS // 2) == [] and not peer.closed
    assert tick(peer, 201 * S) == [] and not peer.closed
    assert tick(peer, 202 * S) == tick(peer, 203 * S) == [] and peer.closed


def test_silence_is_looked_at_twice() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.look(0, ASK_NS, True) is Look.ASK
    assert heartbeats.look(0, GONE_NS + 1, True) is Look.NOTHING
    assert heartbeats.look(0, 0, True) is Look.NOTHING  # it was heard
    assert heartbeats.look(0, GONE_NS + 1, True) is Look.ASK
    assert heartbeats.look(0, GONE_NS + 1, True) is Look.NOTHING
    assert heartbeats.look(0, GONE_NS + 1, True) is Look.GONE
