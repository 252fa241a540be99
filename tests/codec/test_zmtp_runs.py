"""Runs as frames of ZMTP, and messages of several frames as contents of AMQP messages."""

import importlib.util
from array import array
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import amqp_methods as m
from mansio.codec import zmtp_runs
from mansio.codec.amqp_properties import Properties, decode_properties, encode_header_payload
from mansio.codec.amqp_values import Long, Value

SOURCE = Path(__file__).resolve().parents[2] / "src/mansio/codec/zmtp_runs.py"


def load_pure() -> ModuleType:
    """The plain-Python form of the codec, under a name of its own."""
    spec = importlib.util.spec_from_file_location("mansio.codec._zmtp_runs_of_tests", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


CODECS: list[Any] = [zmtp_runs] if not zmtp_runs.COMPILED else [zmtp_runs, load_pure()]
every_form = pytest.mark.parametrize("codec", CODECS)
FRAME_MAX = 4096


def messages_of(data: bytes) -> list[list[bytes]]:
    """What a peer reads."""
    found: list[list[bytes]] = []
    more = False
    at = 0
    while at < len(data):
        flags = data[at]
        width = 8 if flags & 2 else 1
        size = int.from_bytes(data[at + 1 : at + 1 + width], "big")
        assert flags <= 3 and (width == 8) == (size > 255)
        at += 1 + width
        if not more:
            found.append([])
        found[-1].append(data[at : at + size])
        at += size
        more = flags & 1 == 1
    assert at == len(data) and not more
    return found


frames = st.sampled_from([b"", b"a", b"bb", b"c" * 255, b"d" * 256, b"e" * 4088, b"f" * 9000])
messages = st.lists(st.lists(frames, min_size=1, max_size=5), min_size=1, max_size=5)


@given(messages, st.booleans(), st.data())
def test_messages_go_into_runs_and_come_out_again(
    given: list[list[bytes]], persistent: bool, data: st.DataObject
) -> None:
    which = bytes(data.draw(st.lists(st.integers(0, 1), min_size=len(given), max_size=len(given))))
    for codec in CODECS:
        run = codec.encode_contents(given, 0, persistent, FRAME_MAX)
        out = codec.encode_run(*run, (0,), None, (b"",), None, 0, len(given), 1)
        assert messages_of(out) == given
        heads = (b"\x01\x01x", b"\x01\x00")
        out = codec.encode_run(*run, (0, 0), which, heads, None, 0, (len(given) + 1) // 2, 2)
        fronts = [[b"x"] if number == 0 else [b""] for number in which]
        expected = [front + frames for front, frames in zip(fronts, given, strict=True)]
        assert messages_of(out) == expected[::2]
        out = codec.encode_run(*run, (0, 0), which, heads, b"\0\1", 0, len(given), 1)
        assert messages_of(out) == [e for e, number in zip(expected, which, strict=True) if number]


@every_form
@pytest.mark.parametrize("persistent", [True, False])
def test_contents_are_those_of_amqp(codec: Any, persistent: bool) -> None:
    given = [[b"topic", b"one"], [b"topic", b"two", b"", b"x" * 5000], [b"topic", b""]]
    data, stride, ends = codec.encode_contents(given, 1, persistent, FRAME_MAX)
    assert stride == 0
    at = 0
    mode = 2 if persistent else None
    for frames, end in zip(given, array("I", ends), strict=True):
        parts = frames[1:]
        headers = None if len(parts) == 1 else {"x-zmq-parts": [len(part) for part in parts]}
        body = b"".join(parts)
        properties = Properties(headers=headers, delivery_mode=mode)  # type: ignore[arg-type]
        expected = [m.frame(2, 0, encode_header_payload(len(body), properties))]
        step = FRAME_MAX - 8
        expected += [m.frame(3, 0, body[i : i + step]) for i in range(0, len(body), step)]
        assert data[at:end] == b"".join(expected)
        at = end


@every_form
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], [b"a", b"bc"]),
        ([Long(1), 0, Long(2)], [b"a", b"", b"bc"]),
        ([3], [b"abc"]),
        ([1, 1], [b"abc"]),
        ([1, 3], [b"abc"]),
        ([4, -1], [b"abc"]),
        ([Long(-1), 4], [b"abc"]),
        ([True, 2], [b"abc"]),
        ([1, "2"], [b"abc"]),
        ([], [b"abc"]),
        ("12", [b"abc"]),
        (3, [b"abc"]),
    ],
)
def test_sizes_that_somebody_else_wrote(codec: Any, value: Value, expected: list[bytes]) -> None:
    properties = Properties(headers={"other": "x-zmq", "x-zmq-parts": value}, delivery_mode=2)
    data = m.frame(2, 0, encode_header_payload(3, properties)) + m.frame(3, 0, b"abc")
    out = codec.encode_run(data, len(data), None, (0,), None, (b"",), None, 0, 1, 1)
    assert messages_of(out) == [expected]
    assert decode_properties(data, 19, data.index(b"\xce\x03")).headers["x-zmq-parts"] == value  # type: ignore[index]


@every_form
def test_a_header_that_is_cut_off_is_none(codec: Any) -> None:
    whole = encode_header_payload(3, Properties(headers={"x-zmq-parts": [1, 2]}))
    for end in range(15, len(whole)):
        data = m.frame(2, 0, whole[:end]) + m.frame(3, 0, b"abc")
        out = codec.encode_run(data, len(data), None, (0,), None, (b"",), None, 0, 1, 1)
        assert messages_of(out) == [[b"abc"]]
