"""Deliveries: slices of runs as frames, compared with a reference that goes message by message."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from tests.codec.reading import CODECS, NAMES, Reader, publish, read

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)


class Slice(NamedTuple):
    """Which messages go out, and how."""

    start: int
    count: int
    step: int
    tag: int
    channel: int
    redelivered: bool


def split_frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """(type, channel, payload) of each."""
    found = []
    while data:
        size = int.from_bytes(data[3:7], "big")
        assert data[7 + size] == 0xCE
        found.append((data[0], int.from_bytes(data[1:3], "big"), data[7 : 7 + size]))
        data = data[8 + size :]
    return found


def expected(messages: list[tuple[str, bytes]], how: Slice, consumer: str) -> bytes:
    """The deliveries as the generated methods write them."""
    out = b""
    for n in range(how.count):
        key, raw = messages[how.start + n * how.step]
        method = m.BasicDeliver(consumer, how.tag + n, how.redelivered, "", key)
        out += m.method_frame(how.channel, method)
        for kind, _, payload in split_frames(raw)[1:]:
            out += m.frame(kind, how.channel, payload)
    return out


def encode(codec: Any, run: Any, how: Slice, consumer: str) -> bytes:
    routes, which, data, _, stride, ends, _ = run
    tails = tuple(
        (
            len(route.frame),
            bytes((how.redelivered, 0, len(route.key))) + route.key.encode() + b"\xce",
            route.channel,
        )
        for route in routes
    )
    prefix = m.BasicDeliver.ID.to_bytes(4, "big") + bytes((len(consumer),)) + consumer.encode()
    result: bytes = codec.encode_deliveries(
        data, stride, ends, which, tails,
        how.start, how.count, how.step, prefix, how.tag, how.channel,
    )  # fmt: skip
    return result


def run_of(codec: Any, messages: list[tuple[str, bytes]]) -> Any:
    """One run of these publishes, whose keys have the same letters."""
    reader = Reader(codec)
    for key in {key for key, _ in messages}:
        reader.receive(publish(key))
    reader.runs.clear()
    reader.receive(b"".join(raw for _, raw in messages))
    (run,) = reader.runs
    return run


@st.composite
def slices(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], Slice, str]:
    keys = draw(st.sampled_from([["ab"], ["ab", "ba"], ["ab", "ba", "abab"]]))
    sizes = draw(st.lists(st.sampled_from([0, 1, 5, 5, 5, 300]), min_size=1, max_size=20))
    if draw(st.booleans()):
        sizes = sizes[:1] * len(sizes)
    properties = Properties(headers={"x": "y"}) if draw(st.booleans()) else None
    messages = []
    for i, size in enumerate(sizes):
        key = keys[i % len(keys)]
        pieces = (100, 100) if size > 200 else ()
        messages.append((key, publish(key, b"%05d" % i * (size // 5 + 1), properties, 1, pieces)))
    start = draw(st.integers(0, len(messages) - 1))
    step = draw(st.integers(1, 4))
    count = draw(st.integers(1, (len(messages) - 1 - start) // step + 1))
    tag = draw(st.sampled_from([1, 255, 1 << 32, (1 << 32) - 2, (1 << 64) - count]))
    how = Slice(start, count, step, tag, draw(st.sampled_from([1, 2, 65535])), draw(st.booleans()))
    return messages, how, draw(st.sampled_from(["", "tag", "t" * 255]))


@given(slices())
def test_any_slice_is_what_the_reference_says(
    drawn: tuple[list[tuple[str, bytes]], Slice, str],
) -> None:
    messages, how, consumer = drawn
    for codec in CODECS:
        run = run_of(codec, messages)
        assert encode(codec, run, how, consumer) == expected(messages, how, consumer)


@every_form
def test_an_empty_slice_is_empty(codec: Any) -> None:
    run = run_of(codec, [("ab", publish("ab"))] * 2)
    assert encode(codec, run, Slice(0, 0, 1, 1, 1, False), "c") == b""
    assert encode(codec, run, Slice(1, 0, 1, 1, 2, False), "c") == b""


@every_form
def test_the_publishers_bytes_stay_as_they_are(codec: Any) -> None:
    raw = publish("ab", b"body")
    run = run_of(codec, [("ab", raw)] * 3)
    before = bytes(run[2])
    out = encode(codec, run, Slice(0, 3, 1, 1, 7, False), "c")
    assert {channel for _, channel, _ in split_frames(out)} == {7}
    assert run[2] == before == raw * 3, "the run is shared: another channel's number goes elsewhere"


@every_form
def test_rechannel_reaches_every_frame(codec: Any) -> None:
    raw = publish("ab", b"abcdef", pieces=(1, 2))
    frames = split_frames(codec.rechannel(raw, 513))
    assert [channel for _, channel, _ in frames] == [513] * 5
    assert [frame[2] for frame in frames] == [frame[2] for frame in split_frames(raw)]


@every_form
def test_bounds_of_both_kinds_of_run(codec: Any) -> None:
    same = read(codec, publish("a") * 3).runs[-1]
    one = len(publish("a"))
    assert [codec.bounds(i, same[4], same[5]) for i in range(3)] == [
        (0, one),
        (one, 2 * one),
        (2 * one, 3 * one),
    ]
