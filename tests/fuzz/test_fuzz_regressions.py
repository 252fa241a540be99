"""What the fuzzers found, once each."""

import pytest

from mansio.codec import amqp
from mansio.codec import amqp_methods as m
from mansio.core.check import check
from tests.fuzz import fuzz_scan
from tests.fuzz.harness import Choices
from tests.fuzz.phrases import handshake
from tests.fuzz.world import World

CODECS = [amqp, fuzz_scan.PURE]


def scanned(codec: object, stream: bytes) -> list[object]:
    out: list[object] = []
    codec.Scan(131_072).scan(bytearray(stream), 0, len(stream), {}, out)  # type: ignore[attr-defined]
    return out


@pytest.mark.parametrize("codec", CODECS, ids=["built", "pure"])
def test_the_highest_tag_is_not_followed_by_tag_0(codec: object) -> None:
    """Compiled, 2**64 - 1 and one more was 0: two acknowledgements became an interval."""
    stream = m.method_frame(1, m.BasicAck((1 << 64) - 1)) + m.method_frame(1, m.BasicAck(0))
    top = (1 << 64) - 1
    assert scanned(codec, stream) == [
        (amqp.SETTLE, 1, amqp.ACK_ID, top, top, 0),
        (amqp.SETTLE, 1, amqp.ACK_ID, 0, 0, 0),
    ]


@pytest.mark.parametrize("codec", CODECS, ids=["built", "pure"])
@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [1, 2, 3, 8])
def test_a_size_with_its_highest_bit_set(codec: object, size: int, kind: int) -> None:
    """Compiled, the size was negative, and memory in front of the buffer was read."""
    found = scanned(codec, bytes((kind, 0, 1)) + size.to_bytes(4, "big") + bytes(64))
    assert [(item[0], item[1]) for item in found] == [(amqp.FAULT, 501)]  # type: ignore[index]


@pytest.mark.parametrize("codec", CODECS, ids=["built", "pure"])
def test_sizes_with_their_highest_bit_set_inside_of_a_publish(codec: object) -> None:
    """The same for the header frame, the body frame, and the table of headers."""
    method = m.method_frame(1, m.BasicPublish("", "q"))
    for size in (0x80000000, 0xFFFFFFF2, 0xFFFFFFFF):
        wire = size.to_bytes(4, "big")
        header = m.frame(2, 1, b"\0\x3c\0\0" + bytes(7) + b"\1" + b"\0\0")
        table = m.frame(2, 1, b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + wire + bytes(8))
        for rest in (b"\2\0\1" + wire, header + b"\3\0\1" + wire, table):
            found = scanned(codec, method + rest + bytes(64))
            assert found[0][0] in (amqp.METHOD, amqp.MISS)  # type: ignore[index]


def opened() -> World:
    """A world whose first client has a handshake and two channels behind it."""
    world = World()
    world.clients[0].receive(handshake(Choices(b"")))
    return world


def send(world: World, *methods: m.Method) -> None:
    for method in methods:
        world.clients[0].receive(m.method_frame(1, method))
        check(world.broker)
    world.end_turn()
    assert not world.clients[0].front.closed and not world.clients[0].answers


def test_deleting_an_exchange_and_then_a_queue_that_was_bound_to_it() -> None:
    """The queue kept its binding to the exchange that was gone: KeyError when it went too."""
    world = opened()
    send(
        world,
        m.QueueDeclare("q"),
        m.ExchangeDeclare("x"),
        m.QueueBind("q", "x", "k"),
        m.ExchangeBind("x", "x", "k"),
        m.ExchangeDelete("x"),
        m.QueueDelete("q"),
    )
    world.settle_down()


@pytest.mark.parametrize("table", [{"$bytes": "zz"}, {"$bytes": "00"}, {"$number": "x"}])
def test_argument_tables_that_look_like_the_logs_own_forms(table: dict[str, str]) -> None:
    """World.end_turn reads every record back; such a table made it unreadable."""
    world = opened()
    send(world, m.QueueDeclare("q", durable=True, arguments={"t": dict(table)}))
    world.settle_down()
