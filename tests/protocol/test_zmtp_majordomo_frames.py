"""Majordomo messages, both versions."""

import pytest

from mansio.protocol.zmtp import majordomo_frames as frames
from mansio.protocol.zmtp.majordomo_frames import Asked, Said, Word


@pytest.mark.parametrize(
    ("message", "at"),
    [
        ([b"", b"MDPC01", b"echo", b"x"], 1),
        ([b"", b"MDPW01", b"\x04"], 1),
        ([b"MDPC02", b"\x01", b"echo", b"", b"MDPC01"], 0),
        ([b"MDPW02", b"\x04", b"1", b"", b"x"], 0),
        ([b"", b"MDPC02", b"\x01", b"echo", b"x"], 1),  # some clients of 0.2 send the empty frame
        ([b"proxy", b"peer", b"", b"MDPC01", b"echo", b"x"], 3),
        ([b"proxy", b"MDPC02", b"\x01", b"echo", b"x"], 1),
        ([b"proxy", b"MDPW02", b"\x05"], 1),
        ([b""], -1),
        ([b"task"], -1),
        ([b"task", b"MDPC01", b"echo"], -1),  # 0.1 has an empty frame in front
        ([b"task", b"MDPC02", b"echo"], -1),  # no command of a client
        ([b"", b"task", b"", b"MDPC01"], -1),  # behind the envelope there is something else
        ([b"", b"mdpc01", b"echo", b"x"], -1),
    ],
)
def test_the_header_is_found_behind_what_proxies_put_there(message: list[bytes], at: int) -> None:
    assert frames.header_at(message) == at


@pytest.mark.parametrize(
    ("header", "rest", "asked"),
    [
        (b"MDPC01", [b"echo", b"a", b"", b"b"], Asked(b"echo", [b"a", b"", b"b"])),
        (b"MDPC01", [b"echo"], None),
        (b"MDPC01", [], None),
        (b"MDPC01", [b"", b"x"], None),
        (b"MDPC02", [b"\x01", b"echo", b""], Asked(b"echo", [b""])),
        (b"MDPC02", [b"\x02", b"echo", b"x"], None),
        (b"MDPC02", [b"\x01", b"echo"], None),
        (b"MDPC02", [], None),
    ],
)
def test_requests(header: bytes, rest: list[bytes], asked: Asked | None) -> None:
    assert frames.parse_request(header, rest) == asked


@pytest.mark.parametrize(
    ("header", "rest", "said"),
    [
        (b"MDPW01", [b"\x01", b"echo"], Said(Word.READY, b"echo")),
        (b"MDPW01", [b"\x03", b"7", b"", b"a", b"b"], Said(Word.FINAL, b"7", [b"a", b"b"])),
        (b"MDPW01", [b"\x03", b"7", b""], Said(Word.FINAL, b"7", [b""])),
        (b"MDPW01", [b"\x04"], Said(Word.HEARTBEAT)),
        (b"MDPW01", [b"\x05"], Said(Word.DISCONNECT)),
        (b"MDPW02", [b"\x01", b"echo"], Said(Word.READY, b"echo")),
        (b"MDPW02", [b"\x03", b"7", b"", b"a"], Said(Word.PARTIAL, b"7", [b"a"])),
        (b"MDPW02", [b"\x04", b"7", b"", b"a"], Said(Word.FINAL, b"7", [b"a"])),
        (b"MDPW02", [b"\x05"], Said(Word.HEARTBEAT)),
        (b"MDPW02", [b"\x06"], Said(Word.DISCONNECT)),
        (b"MDPW01", [b"\x02", b"7", b"", b"a"], Said(Word.INVALID)),  # a worker asks nothing
        (b"MDPW02", [b"\x02", b"7", b"", b"a"], Said(Word.INVALID)),
        (b"MDPW01", [b"\x06"], Said(Word.INVALID)),
        (b"MDPW01", [], Said(Word.INVALID)),
        (b"MDPW01", [b"\x01"], Said(Word.INVALID)),
        (b"MDPW01", [b"\x01", b""], Said(Word.INVALID)),
        (b"MDPW01", [b"\x03", b"7", b"x", b"a"], Said(Word.INVALID)),
        (b"MDPW01", [b"\x03", b"", b"", b"a"], Said(Word.INVALID)),
        (b"MDPW01", [b"\x03"], Said(Word.INVALID)),
    ],
)
def test_what_workers_say(header: bytes, rest: list[bytes], said: Said) -> None:
    assert frames.parse_command(header, rest) == said


def test_what_workers_and_clients_are_told() -> None:
    assert frames.request(b"MDPW01", b"7", [b"x"]) == [b"MDPW01", b"\x02", b"7", b"", b"x"]
    assert frames.request(b"MDPW02", b"7", [b"x"]) == [b"MDPW02", b"\x02", b"7", b"", b"x"]
    assert frames.command(b"MDPW01", Word.HEARTBEAT) == [b"MDPW01", b"\x04"]
    assert frames.command(b"MDPW02", Word.DISCONNECT) == [b"MDPW02", b"\x06"]
    assert frames.reply(b"MDPC01", b"echo", [b"x", b"y"]) == [b"MDPC01", b"echo", b"x", b"y"]
    assert frames.reply(b"MDPC02", b"echo", [b"x"]) == [b"MDPC02", b"\x03", b"echo", b"x"]
    assert frames.reply(b"MDPC02", b"echo", [b"x"], True) == [b"MDPC02", b"\x02", b"echo", b"x"]
