"""Frames of ZMTP as they arrive: whole, byte by byte, and with others' bytes behind."""

from typing import Any

import pytest

from mansio.codec.zmtp import BODIES, COMMANDED, MESSAGES, encode_command, encode_message
from tests.codec.zmtp_reading import CODECS, MESSAGE_MAX, NAMES, read

pytestmark = pytest.mark.parametrize("codec", CODECS, ids=NAMES)

PING = encode_command(b"PING", b"\0\x0a")
JUNK = b"\0\x01j"
MESSAGES_OF_ALL_SIZES = [
    [b""],
    [b"x"],
    [b"y" * 255],
    [b"z" * 256],
    [b"", b"PUT", b"q", b"body"],
    [b"a" * 40_000, b"", b"b" * 70_000],
    [bytes(range(256)) * 300],
    [b"last"],
]


def frame(flags: int, body: bytes) -> bytes:
    return bytes((flags, len(body))) + body


@pytest.mark.parametrize("size", [0, 1, 7, 1000, 65_536])
@pytest.mark.parametrize("junk", [b"", JUNK])
def test_messages_come_out_as_they_were(codec: Any, size: int, junk: bytes) -> None:
    data = b"".join(map(encode_message, MESSAGES_OF_ALL_SIZES))
    reader = read(codec, data, size, junk)
    assert reader.heard == MESSAGES_OF_ALL_SIZES
    assert reader.tail == b"" and not reader.fault and not reader.scan.assembling


@pytest.mark.parametrize("size", [0, 1])
def test_messages_of_one_frame_are_a_row_and_commands_stand_between(codec: Any, size: int) -> None:
    data = frame(0, b"a") + frame(0, b"b") + PING + frame(0, b"c") + frame(1, b"d") + frame(0, b"e")
    reader = read(codec, data, size)
    assert reader.heard == [[b"a"], [b"b"], PING[2:], [b"c"], [b"d", b"e"]]
    if not size:
        assert reader.items == [
            (BODIES, [b"a", b"b"]),
            (COMMANDED, PING[2:]),
            (BODIES, [b"c"]),
            (MESSAGES, [[b"d", b"e"]]),
        ]


def test_messages_of_one_frame_may_be_wanted_as_lists(codec: Any) -> None:
    data = frame(0, b"a") + frame(1, b"d") + frame(0, b"e") + frame(0, b"z" * 200)
    reader = read(codec, data, apart=True)
    assert reader.items == [(MESSAGES, [[b"a"], [b"d", b"e"], [b"z" * 200]])]


@pytest.mark.parametrize("size", [0, 1])
def test_a_command_may_come_between_the_frames_of_a_message(codec: Any, size: int) -> None:
    reader = read(codec, frame(1, b"one") + PING + frame(0, b"two"), size)
    assert reader.heard == [PING[2:], [b"one", b"two"]]


def test_a_short_body_may_come_in_a_long_frame(codec: Any) -> None:
    reader = read(codec, b"\x02" + (3).to_bytes(8, "big") + b"abc" + frame(0, b"d"))
    assert reader.items == [(BODIES, [b"abc", b"d"])]


def test_what_is_not_whole_is_left_to_the_caller_while_it_is_short(codec: Any) -> None:
    reader = read(codec, frame(0, b"a") + frame(0, b"b" * 100)[:50])
    assert reader.heard == [[b"a"]] and len(reader.tail) == 50 and not reader.scan.assembling
    reader = read(codec, encode_message([b"c" * 100_000])[:50_000])
    assert reader.tail == b"" and reader.scan.assembling


def test_sizes_are_not_believed(codec: Any) -> None:
    reader = read(codec, b"\x02" + MESSAGE_MAX.to_bytes(8, "big") + b"x" * 20_000)
    assert reader.scan.assembling and not reader.fault


def test_a_message_may_be_as_large_as_allowed_and_not_larger(codec: Any) -> None:
    exactly = encode_message([b"x" * 600, b"y" * 400])
    assert read(codec, exactly, message_max=1000).heard == [[b"x" * 600, b"y" * 400]]
    for data in (
        encode_message([b"x" * 600, b"y" * 401]),
        encode_message([b"x" * 1001]),
        encode_message([b"x" * 1001, b""]),
    ):
        for size in (0, 1):
            reader = read(codec, data, size, message_max=1000)
            assert reader.fault == "a message of 1001 bytes: the largest may have 1000"
            assert reader.heard == []


@pytest.mark.parametrize("first", [0x40, 0x7F, 0x80, 0xFF])
def test_a_size_beyond_62_bits_is_a_fault(codec: Any, first: int) -> None:
    reader = read(codec, b"\x02" + bytes((first,)) + b"\0" * 7 + b"x")
    assert reader.fault.startswith("a message of 2^62 or more bytes")
    reader = read(codec, b"\x06" + bytes((first,)) + b"\0" * 7 + b"x")
    assert reader.fault == "a command of 2^62 or more bytes"
    largest = b"\x02\x3f" + b"\xff" * 7
    reader = read(codec, largest + b"x")
    assert reader.fault == f"a message of {2**62 - 1} bytes: the largest may have {MESSAGE_MAX}"
    reader = read(codec, frame(1, b"x") + largest)
    assert reader.fault == f"a message of {2**62} bytes: the largest may have {MESSAGE_MAX}"


@pytest.mark.parametrize("flags", [8, 0x10, 0x20, 0x40, 0x80, 9])
def test_flags_that_there_are_not(codec: Any, flags: int) -> None:
    reader = read(codec, frame(0, b"a") + frame(flags, b"b"))
    assert reader.heard == [[b"a"]] and f"0x{flags:02x}" in reader.fault


def test_a_command_has_one_frame_and_a_limit(codec: Any) -> None:
    assert read(codec, frame(5, b"\x01a")).fault == "a command of several frames"
    whole = b"\x06" + (65_536).to_bytes(8, "big") + b"c" * 65_536
    assert read(codec, whole, 1000).heard == [b"c" * 65_536]
    assert "a command of 65537 bytes" in read(codec, b"\x06" + (65_537).to_bytes(8, "big")).fault


def test_a_message_has_only_so_many_frames(codec: Any) -> None:
    many = [b""] * 4096
    assert read(codec, encode_message(many)).heard == [many]
    assert "more than 4096 frames" in read(codec, encode_message([*many, b""])).fault


def test_nothing_is_read_behind_a_fault(codec: Any) -> None:
    reader = read(codec, frame(1, b"a") + frame(8, b"") + frame(0, b"b"), 1)
    assert reader.heard == [] and not reader.scan.assembling


def test_before_the_end_of_the_handshake_commands_come_one_by_one(codec: Any) -> None:
    reader = read(codec, b"", opened=False)
    out: list[Any] = []
    buf = bytearray(PING + PING)
    assert reader.scan.scan(buf, 0, len(buf), out) == len(PING)
    assert out == [(COMMANDED, PING[2:])]
    assert "before the end of the handshake" in read(codec, frame(0, b"a"), opened=False).fault
    assert "before the end of the handshake" in read(codec, frame(1, b"a"), opened=False).fault
    long = b"\x06" + (8193).to_bytes(8, "big")
    assert "a command of 8193 bytes" in read(codec, long, opened=False).fault
    whole = b"\x06" + (8192).to_bytes(8, "big") + b"c" * 8192
    assert read(codec, whole, 500, opened=False).heard == [b"c" * 8192]
