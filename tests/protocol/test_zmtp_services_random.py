"""Whatever clients and workers of services say, in whichever order: nothing is raised, and nothing is lost."""

import random

import pytest

from mansio.protocol.zmtp.settings import ZmtpSettings
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.zmtp_talk import World, ZmtpPeer

WORDS = [
    b"",
    b"MDPC01",
    b"MDPC02",
    b"MDPW01",
    b"MDPW02",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\x06",
    b"READY",
    b"echo",
    b"tasks",
    b"mmi.service",
    b"titanic.request",
    b"titanic.reply",
    b"titanic.close",
    b"1",
    b"2",
    b"x",
    b"\xff",
    b"0123456789abcdef0123456789abcdef",
]
HEADS = [
    [b"", b"MDPC01"],
    [b"MDPC02", b"\x01"],
    [b"", b"MDPW01"],
    [b"MDPW02"],
    [b"", b"MDPC01", b"titanic.request"],
    [b""],
    [],
]
SENSE = [
    [b"", b"MDPC01", b"echo", b"x"],
    [b"MDPC02", b"\x01", b"echo", b"x", b"y"],
    [b"", b"MDPC01", b"titanic.request", b"echo", b"x"],
    [b"", b"MDPW01", b"\x01", b"echo"],
    [b"", b"MDPW01", b"\x01", b"echo"],
    [b"MDPW02", b"\x01", b"echo"],
    [b"", b"MDPW01", b"\x04"],
    [b"", b"READY"],
    [b"\x01"],
    [b"\x02"],
    [b"", b"plain"],
]
HOW = ZmtpSettings(majordomo_expiry_ms=20_000, titanic_ttl_ms=60_000, default_mode="call")


class Loud(LastingRedisWorld, World):
    """See both."""


Replies = list[tuple[ZmtpPeer, list[bytes]]]


def say(draw: random.Random, peer: ZmtpPeer, addresses: Replies) -> None:
    """A reply to something that somebody was asked, what makes sense, or anything at all."""
    mine = [message for whose, message in addresses if whose is peer or draw.random() < 0.1]
    if mine and draw.random() < 0.5:
        peer.send(draw.choice(mine))
    elif draw.random() < 0.7:
        peer.send(draw.choice(SENSE))
    else:
        words = draw.choices(WORDS, k=draw.randint(1, 4))
        peer.send([*draw.choice(HEADS), *words])


def note_addresses(peer: ZmtpPeer, addresses: Replies) -> None:
    """What could be said to what the peer has heard."""
    for message in peer.hear():
        if message[1:3] == [b"MDPW01", b"\x02"]:
            addresses.append((peer, [b"", b"MDPW01", b"\x03", *message[3:]]))
        elif message[:2] == [b"MDPW02", b"\x02"]:
            addresses.append(
                (peer, [b"MDPW02", b"\x03" if len(message[2]) % 2 else b"\x04", *message[2:]])
            )
        elif len(message) in (3, 4):
            addresses.append((peer, message))


@pytest.mark.parametrize("seed", range(12))
def test_anything_may_be_said(seed: int) -> None:
    draw = random.Random(seed)
    world = Loud()
    peers: list[ZmtpPeer] = []
    addresses: Replies = []
    for _ in range(150):
        peers = [peer for peer in peers if not peer.closed]
        if len(peers) < 4 or draw.random() < 0.1:
            peers.append(world.peer(draw.choice(["REQ", "DEALER"]), settings=HOW))
        peer = draw.choice(peers)
        dice = draw.random()
        if dice < 0.05:
            peer.eof()
        elif dice < 0.15:
            world.pass_ms(draw.choice([100, 2_500, 10_000]))
            peer.front.tick(world.now_ns)
        else:
            say(draw, peer, addresses)
        if draw.random() < 0.7:
            world.turn()
        peer = draw.choice(peers)
        note_addresses(peer, addresses)
        del addresses[:-8]
    for peer in peers:
        peer.eof()
    world.turn()
    host = world.broker.vhosts["/"]
    assert not any(queue.in_flight or queue.consumers for queue in host.queues.values())
    assert not world.broker.sessions
    world.pass_ms(120_000)
    world.turn()
    assert not [name for name in host.queues if name.startswith("titanic.reply.")]
    assert not any(queue.ready_count for queue in host.queues.values())
