"""Values and bodies of messages as replies; values as contents of AMQP messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from mansio.core.routing import Route
from mansio.core.run import Run, make_run
from tests.codec.reading import publish
from tests.codec.resp_reading import CODECS, NAMES

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)
FRAME_MAX = 4096


def content(body: bytes, persistent: bool) -> bytes:
    properties = Properties(delivery_mode=2) if persistent else Properties()
    frames = [m.frame(2, 0, encode_header_payload(len(body), properties))]
    step = FRAME_MAX - 8
    return b"".join(
        frames + [m.frame(3, 0, body[at : at + step]) for at in range(0, len(body), step)]
    )


values = st.lists(
    st.sampled_from([b"", b"a", b"bb", b"cc", b"x" * 4088, b"y" * 4089, b"z" * 9000]), max_size=6
)


@given(values, st.booleans())
def test_contents_are_those_of_amqp(bodies: list[bytes], persistent: bool) -> None:
    frames = [content(body, persistent) for body in bodies]
    for codec in CODECS:
        data, stride, ends = codec.encode_contents(bodies, persistent, FRAME_MAX)
        assert data == b"".join(frames)
        if not bodies:
            continue
        made = make_run(frames, Route("", "q", ()), persistent)
        assert (made.data, made.stride, made.ends) == (data, stride, ends)
        run = (data, stride, ends, (0,), None)
        assert codec.bodies(*run, 0, len(bodies)) == bodies
        assert codec.bodies(*run, 1, len(bodies)) == bodies[1:]


@every_form
@pytest.mark.parametrize("alike", [True, False])
def test_bodies_of_amqp_messages(codec: Any, alike: bool) -> None:
    """Of several routes, in several body frames."""
    frames = [publish("q", b"hello"), publish("longer", b"hello")]
    routes = [len(m.method_frame(1, m.BasicPublish("", key))) for key in ("q", "longer")]
    if not alike:
        frames += [publish("longer", b"abcdef", pieces=(1, 2)), publish("q", b"")]
    which = [0, 1, 1, 0][: len(frames)]
    ends = [sum(map(len, frames[: i + 1])) for i in range(len(frames))]
    run = Run(b"".join(frames), len(frames), 0, _pack(ends), ())
    told = (run.data, run.stride, run.ends, tuple(routes), bytes(which))
    bodies = [b"hello", b"hello", b"abcdef", b""][: len(frames)]
    assert codec.bodies(*told, 0, len(frames)) == bodies
    bulks = [b"$%d\r\n%b\r\n" % (len(body), body) for body in bodies]
    assert codec.encode_bodies(*told, 0, len(frames)) == b"".join(bulks)
    assert codec.encode_bodies(*told, 0, len(frames), True) == b"".join(bulks[::-1])
    assert codec.encode_bodies(*told, 1, 2) == bulks[1]
    assert codec.encode_bodies(*told, 1, 1) == b""


def _pack(ends: list[int]) -> bytes:
    return b"".join(end.to_bytes(4, "little") for end in ends)


@every_form
def test_replies(codec: Any) -> None:
    def rare(value: Any, proto: int) -> bytes:
        return b"(%d)" % proto

    def encode(value: Any, proto: int = 2) -> bytes:
        return bytes(codec.encode_reply(value, proto, rare))

    assert encode(b"") == b"$0\r\n\r\n"
    for size in (1, 9, 10, 99, 100, 12_345):
        assert encode(b"x" * size) == b"$%d\r\n" % size + b"x" * size + b"\r\n"
    assert encode(-7) == b":-7\r\n"
    assert encode(None) == b"$-1\r\n" and encode(None, 3) == b"_\r\n"
    assert encode("OK\udcff") == b"+OK\xff\r\n"
    assert encode([1, [b"a", None], []], 3) == b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n*0\r\n"
    assert encode({1: 2}, 3) == b"(3)" and encode(True) == b"(2)"
    assert codec.encode_integers(5, 1, 3) == b":5\r\n:6\r\n:7\r\n"
    assert codec.encode_integers(5, 0, 2) == b":5\r\n" * 2
    assert codec.encode_integers(5, 1, 0) == b""
