"""Messages as bytes of ZMTP."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import zmtp
from mansio.codec.zmtp import split_command
from tests.codec.zmtp_reading import CODECS, NAMES, PURE, read


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_bytes_of_frames(codec: Any) -> None:
    assert codec.encode_message([b""]) == b"\0\0"
    assert codec.encode_message([b"", b"ab"]) == b"\1\0\0\2ab"
    long = b"x" * 256
    assert codec.encode_message([long, b"y" * 255]) == (
        b"\3\0\0\0\0\0\0\1\0" + long + b"\0\xff" + b"y" * 255
    )
    assert codec.encode_bodies([b"a", long]) == b"\0\1a\2\0\0\0\0\0\0\1\0" + long
    assert codec.encode_bodies([]) == b""
    assert codec.encode_messages([[b"a"], [b"b", b"c"]]) == b"\0\1a\1\1b\0\1c"
    assert codec.encode_command(b"PING", b"\0\1") == b"\4\7\4PING\0\1"
    assert codec.encode_command(b"X", bytes(254)) == b"\6\0\0\0\0\0\0\1\0\1X" + bytes(254)


@given(st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=4), max_size=6))
def test_what_is_encoded_is_read_again_by_both_forms(messages: list[list[bytes]]) -> None:
    data = zmtp.encode_messages(messages)
    assert data == PURE.encode_messages(messages)
    for codec in CODECS:
        assert read(codec, data, apart=True).heard == messages
    bodies = [frames[0] for frames in messages]
    assert zmtp.encode_bodies(bodies) == PURE.encode_bodies(bodies)
    assert read(zmtp, zmtp.encode_bodies(bodies)).heard == [[body] for body in bodies]


def test_a_command_has_a_name() -> None:
    assert split_command(b"\4PINGab") == (b"PING", b"ab")
    assert split_command(b"\4PING") == (b"PING", b"")
    for body in (b"", b"\0", b"\0ab", b"\5PING", b"\xff"):
        assert split_command(body) is None
