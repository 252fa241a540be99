"""Fuzzes the ZeroMQ front with a Broker behind it: peers of all types, words and bytes in any order.

No exception may leave a front or the Broker; what a front sends is whole frames; the Broker's invariants hold after
every turn; peers that have gone leave nothing behind.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import random
from collections.abc import Callable

from mansio.codec.zmtp import encode_command, encode_message
from mansio.protocol.base import Credentials, Peer, Verdict
from mansio.protocol.zmtp.metadata import encode_metadata
from mansio.protocol.zmtp.roles import ROLES
from tests.fuzz import harness
from tests.fuzz.harness import Choices
from tests.protocol.zmtp_talk import World, ZmtpPeer, greeting, hello

NAME = "zmtp_front"
PEERS = 5
STEPS_MAX = 80
TYPES = (*ROLES, "PAIR")
VERBS = (b"PUT", b"CALL", b"GET", b"NEXT", b"ACK", b"NACK", b"EXTEND", b"LEN", b"PUB", b"PING")
QUEUES = (b"q", b"tasks", b"none", b"amq.x", b"", b"x" * 256, b"\xff")
NUMBERS = (b"0", b"1", b"2", b"10", b"1000", b"-1", b"", b"x", b"99999999999999999999")
JSON = (
    b"{}",
    b'{"delivery_mode": 1, "headers": {"a": [1, null]}}',
    b'{"priority": 3, "expiration": "5", "message_id": "m"}',
    b'{"op": "put", "queue": "q", "body": "x"}',
    b'{"op": "get", "queue": "q"}',
    b'{"op": "call", "queue": "q", "body": {}, "timeout_ms": 10}',
    b'{"op": 1}',
    b"[1]",
    b"{",
)
GUIDE = (
    b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"\1", b"\2", b"\3", b"\4", b"\5", b"\6", b"READY",
    b"mmi.service", b"titanic.request", b"titanic.reply", b"titanic.close", b"0" * 32, b"HEARTBEAT",
)  # fmt: skip
WORDS = (b"", b"", b"a", b"body", b"topic.a", b"\xff\xfe", b"x" * 300, *GUIDE, *JSON, *NUMBERS)
COMMANDS = (b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"ERROR", b"READY", b"HELLO", b"JOIN", b"")
METADATA: tuple[dict[str, bytes], ...] = (
    {},
    {},
    {"X-Queue": b"q"},
    {"X-Queue": b"q", "X-Prefetch": b"1", "X-Mode": b"call"},
    {"X-Queue": b"amq.x", "X-Mode": b"\xff", "X-Prefetch": b"-1"},
    {"X-VHost": b"none"},
    {"Identity": b"i" * 255, "X-Key": b"first"},
)


def pick(choices: Choices, options: tuple[bytes, ...]) -> bytes:
    return options[choices.below(len(options))]


def message(choices: Choices) -> list[bytes]:
    """What a program might say, more or less."""
    frames = [b""] * (choices.byte() & 1)
    kind = choices.below(8)
    if kind < 4:
        frames += [pick(choices, VERBS), pick(choices, QUEUES)]
    elif kind == 4:
        frames.append(pick(choices, VERBS))
    elif kind == 5:
        frames += [pick(choices, GUIDE), pick(choices, GUIDE), pick(choices, QUEUES)]
    frames += [pick(choices, WORDS) for _ in range(choices.below(5))]
    if choices.below(16) == 0:
        frames.append(choices.some())
    return frames or [b""]


def check_password(credentials: Credentials, peer: Peer, done: Callable[[Verdict], None]) -> None:
    """See `Authenticator`; to hash passwords would take most of the time."""
    right = (
        credentials.user == "guest" and credentials.password in ("guest", None) and peer.loopback
    )
    done(Verdict("guest") if right else Verdict(None, "no", passing=credentials.user == ""))


def arrive(world: World, choices: Choices) -> ZmtpPeer:
    """A new peer, whose handshake may fail."""
    kind = TYPES[choices.below(len(TYPES))]
    how = choices.byte()
    peer = world.socket(kind, loopback=how & 7 != 7)
    properties = {"Socket-Type": kind.encode()} | METADATA[choices.below(len(METADATA))]
    ready, version = encode_metadata(properties), (3, 1 - (how >> 3 & how >> 4 & 1))
    if how & 0x60 == 0x60:
        login = hello(b"guest", b"guest" if how & 0x80 else b"wrong")
        data = greeting("PLAIN", version) + login + encode_command(b"INITIATE", ready)
    else:
        data = greeting("NULL", version) + encode_command(b"READY", ready)
    if choices.below(32) == 31:
        data = choices.some() + data[choices.byte() :]
    peer.send_bytes(data)
    return peer


def step(world: World, peers: list[ZmtpPeer], choices: Choices) -> None:
    """One event of the world."""
    number = choices.below(PEERS)
    peer = peers[number]
    if peer.closed:
        peer.hear()
        peer.eof()
        peers[number] = arrive(world, choices)
        return
    kind = choices.below(64)
    front = peer.front
    if kind < 30:
        said = [message(choices) for _ in range(1 + choices.below(3))]
        peer.send_bytes(b"".join(map(encode_message, said)))
    elif kind < 33:
        data = encode_message(message(choices))
        peer.send_bytes(data, 1 + choices.below(9))
    elif kind < 37:
        name = pick(choices, COMMANDS)
        peer.command(name, pick(choices, WORDS) if choices.byte() & 1 else choices.some())
    elif kind < 38:
        peer.send_bytes(choices.some())
    elif kind < 50:
        world.turn()
    elif kind < 53:
        world.turn(durable=False)
    elif kind < 54:
        world.log(ok=choices.below(4) != 3)
    elif kind < 56:
        front.set_writable(kind == 55)
    elif kind < 59:
        world.pass_ms(choices.byte() * 50)
        front.tick(world.now_ns)
    elif kind < 60:
        world.broker.journal.measured(0, True)
    elif kind < 61:
        world.broker.journal.measured(1 << 40, False)
        for waiter in list(world.broker.journal.waiters):
            waiter.unblock()
            waiter.go_on(world.now_ns)
    elif kind < 62:
        front.finish("enough")
    else:
        peer.eof()
    if choices.byte() < 240:
        peer.hear()
        world.announced.clear()


def run(data: bytes) -> None:
    choices = Choices(data)
    world = World()
    world.users.begin = check_password  # type: ignore[method-assign]
    world.broker.journal.measured(1 << 40, False)
    peers = [arrive(world, choices) for _ in range(PEERS)]
    for _ in range(STEPS_MAX):
        if not choices:
            break
        step(world, peers, choices)
    world.broker.journal.measured(1 << 40, False)
    world.turn(durable=False)
    world.log()
    for peer in peers:
        peer.hear()
        peer.eof()
    world.turn()
    assert not world.broker.sessions and not world.broker.journal.waiters


def seeds() -> list[bytes]:
    """Long rows of choices: what they mean is decided as they are read."""
    rng = random.Random(0)
    return [rng.randbytes(60 << (n // 4)) for n in range(24)]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
