"""Fuzzes the AMQP front with a Broker behind it: several clients, good and bad frames in any order.

No exception may leave a front or the Broker; what a front sends is whole frames and whole contents;
what the Broker writes to the log can be read back; the Broker's invariants hold after every step;
and nothing grows without bound.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import random

from mansio.codec import amqp_methods as m
from mansio.core.check import check
from tests.fuzz import harness
from tests.fuzz.harness import Choices
from tests.fuzz.phrases import SCENE, SUBSCRIBE, client_bytes, handshake
from tests.fuzz.world import CLIENTS, World

NAME = "connection"
STEPS_MAX = 64
SECOND_NS = 1_000_000_000


def start(world: World, number: int, choices: Choices) -> None:
    """A new client in the place of one that is gone."""
    world.clients[number] = client = world.client()
    client.receive(handshake(choices))


def step(world: World, choices: Choices) -> None:
    """One event of the world."""
    number = choices.below(CLIENTS)
    client = world.clients[number]
    if client.over:
        start(world, number, choices)
        return
    kind = choices.below(64)
    if kind < 36:
        client.receive(client_bytes(choices, client))
    elif kind < 40:
        data, size = client_bytes(choices, client), 1 + choices.byte()
        size = max(size, len(data) // 16)
        for at in range(0, len(data), size):
            client.receive(data[at : at + size])
    elif kind < 52:
        world.end_turn()
        world.answer(True)
    elif kind < 54:
        world.end_turn()
    elif kind < 55:
        world.answer(choices.below(4) != 3)
    elif kind < 59:
        client.front.set_writable(kind != 55)
    elif kind < 61:
        world.now_ns += choices.byte() * SECOND_NS // 32
        client.front.tick(world.now_ns)
    elif kind < 62:
        client.receive(m.method_frame(0, m.ConnectionClose(200, "bye")))
    elif kind < 63:
        client.front.receive_eof()
    elif choices.below(8) == 7:
        client.front.shutdown(320, "shutdown")
    if choices.byte() < 240:
        client.answer()


def run(data: bytes) -> None:
    choices = Choices(data)
    world = World()
    for client in world.clients:
        client.receive(handshake(choices))
    scene = choices.byte()
    if scene & 1:
        world.clients[0].receive(SCENE)
    for number, client in enumerate(world.clients):
        if scene >> number & 2:
            client.receive(m.method_frame(2, m.BasicQos(0, scene >> 6)) + SUBSCRIBE)
    for _ in range(STEPS_MAX):
        if not choices:
            break
        step(world, choices)
        check(world.broker)
    world.settle_down()


def seeds() -> list[bytes]:
    """Long rows of choices: what they mean is decided as they are read."""
    rng = random.Random(0)
    return [bytes((1, 0, 0, n * 37 % 256)) + rng.randbytes(40 << (n // 4)) for n in range(24)]


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
