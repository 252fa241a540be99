"""Offsets in messages of a stream, compared with properties that are taken apart, changed and written again."""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import OFFSET_MAX
from mansio.codec.amqp_fields import Fields
from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import Long, Timestamp, encode_table
from tests.codec.reading import CODECS, NAMES, publish, raw_publish

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)

KEYS = ("key", "", "k" * 200)
SKIPS = tuple(len(m.method_frame(1, m.BasicPublish("", key))) for key in KEYS)
HEADER = b"\x00\x3c\x00\x00" + (4).to_bytes(8, "big")
"""Payload of a header frame up to its flag word, for a body of four bytes."""
OFFSET = "x-stream-offset"
ALL = Properties(
    content_type="text/plain", content_encoding="utf-8", headers={"a": 1, "z": [1, {"b": None}]},
    delivery_mode=2, priority=9, correlation_id="c", reply_to="r", expiration="1",
    message_id="m", timestamp=5, type="t", user_id="u", app_id="a", cluster_id="k",
)  # fmt: skip
KINDS = {
    "none": Properties(),
    "mode": Properties(delivery_mode=2),
    "content-type": Properties(content_type="text/plain", delivery_mode=2),
    "encoding": Properties(content_encoding="gzip"),
    "both": Properties(content_type="c" * 255, content_encoding="", app_id="a"),
    "empty": Properties(headers={}, delivery_mode=1),
    "before": Properties(headers={"a": "b"}),
    "behind": Properties(headers={"x-streams": True, "y": 1}, delivery_mode=2),
    "around": Properties(content_type="c", headers={"a": 1, "x-stream": 2, "x-z": 3}, type="t"),
    "unsorted": Properties(headers={"z": 1, "a": {"z": 1}, "m": [b"x"]}, message_id="m"),
    "numbered": Properties(content_type="c", headers={OFFSET: 7}, priority=1),
    "numbered as text": Properties(headers={"a": 1, OFFSET: "first", "z": 2}),
    "all": ALL,
}  # fmt: skip


def cut(data: bytes, stride: int, ends: bytes | None) -> list[bytes]:
    """The messages of a run."""
    stops = list(array("I", ends)) if ends is not None else range(stride, len(data) + 1, stride)
    return [data[a:b] for a, b in zip([0, *stops], stops, strict=False)]


def join(messages: Sequence[bytes], as_ends: bool = False) -> tuple[bytes, int, int, bytes | None]:
    """Data, count, stride and ends of a run."""
    sizes = [len(each) for each in messages]
    data = b"".join(messages)
    if len(set(sizes)) == 1 and not as_ends:
        return data, len(messages), sizes[0], None
    return data, len(messages), 0, array("I", accumulate(sizes)).tobytes()


def expected(message: bytes, skip: int, offset: int) -> bytes:
    """By way of `Fields`, which decodes everything."""
    size = int.from_bytes(message[skip + 3 : skip + 7], "big")
    fields = Fields(message[skip + 19 : skip + 7 + size])
    fields.set(OFFSET, Long(offset))
    fields.sort()
    payload = message[skip + 7 : skip + 19] + fields.encode()
    channel = int.from_bytes(message[skip + 1 : skip + 3], "big")
    return message[:skip] + m.frame(2, channel, payload) + message[skip + 8 + size :]


def stamped(codec: Any, message: bytes, offset: int = 0, skip: int = SKIPS[0]) -> bytes:
    """One message."""
    data, stride, ends = codec.stamp_offsets(message, 1, len(message), None, (skip,), None, offset)
    assert stride == len(data) and ends is None
    return bytes(data)


def properties_of(message: bytes, skip: int = SKIPS[0]) -> Properties:
    size = int.from_bytes(message[skip + 3 : skip + 7], "big")
    return decode_properties(message, skip + 19, skip + 7 + size)


@every_form
def test_the_bytes_of_a_bare_message(codec: Any) -> None:
    method = m.method_frame(1, m.BasicPublish("", "key"))
    entry = b"\x0fx-stream-offsetl" + (258).to_bytes(8, "big")
    header = HEADER + b"\x20\x00" + (25).to_bytes(4, "big") + entry
    found = stamped(codec, raw_publish("key", HEADER + b"\0\0", b"body"), 258)
    assert found == method + m.frame(2, 1, header) + m.frame(3, 1, b"body")


@every_form
@pytest.mark.parametrize("offset", [0, 1, 255, 2**32 - 1, 2**32, 2**40, OFFSET_MAX])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_properties(codec: Any, kind: str, offset: int) -> None:
    before = KINDS[kind]
    for pieces in ((), (1, 2)):
        message = publish("key", b"body", before, pieces=pieces)
        found = stamped(codec, message, offset)
        assert found == expected(message, SKIPS[0], offset)
    after = properties_of(found)
    headers = {**(before.headers or {}), OFFSET: offset}
    assert after.headers == headers and list(after.headers) == sorted(headers)
    after.headers = before.headers
    assert after == before, "the others stay"


@every_form
def test_a_header_whose_name_is_the_beginning_of_another_comes_first(codec: Any) -> None:
    names = ["", "X-Z", "x", "x-stream-offse", OFFSET, f"{OFFSET}s", "x-z", "é"]
    message = publish("key", b"", Properties(headers=dict.fromkeys(names, 1)))
    found = properties_of(stamped(codec, message, 9)).headers or {}
    assert list(found) == names and found[OFFSET] == 9


@every_form
def test_of_headers_with_one_name_the_first_stays(codec: Any) -> None:
    entries = [encode_table({"a": n})[4:] for n in (1, 2)]
    table = b"".join(entries)
    header = HEADER + b"\x20\0" + len(table).to_bytes(4, "big") + table
    found = stamped(codec, raw_publish("key", header, b"body"), 3)
    entry = b"\x0fx-stream-offsetl" + (3).to_bytes(8, "big")
    assert entries[0] + entry in found and entries[1] not in found


@every_form
def test_a_float_that_is_no_number_and_an_unknown_flag_stay(codec: Any) -> None:
    """A message in a log is not refused for what nobody has to read."""
    table = b"\x01ad\x7f\xf8" + bytes(6)
    header = HEADER + b"\x20\x02" + len(table).to_bytes(4, "big") + table
    found = stamped(codec, raw_publish("key", header, b"body"), 3)
    assert table + b"\x0fx-stream-offset" in found
    assert found[SKIPS[0] + 19 : SKIPS[0] + 21] == b"\x20\x02"


def test_every_kind_of_value_is_passed_over() -> None:
    kinds = {b"tbB": 1, b"su": 2, b"Iif": 4, b"lLdT": 8, b"D": 5, b"V": 0}
    values = [bytes((kind,)) + bytes(size) for row, size in kinds.items() for kind in row]
    values += [bytes((kind,)) + b"\0\0\0\x02" + b"VV" for kind in b"SxA"]
    values.append(b"F\0\0\0\x03\x01aV")
    for codec in CODECS:
        for value in values:
            entries = b"\x01a" + value + b"\x01yt\x01"
            header = HEADER + b"\x20\0" + len(entries).to_bytes(4, "big") + entries
            found = stamped(codec, raw_publish("key", header, b"body"))
            assert b"\x01a" + value + b"\x0fx-stream-offsetl" + bytes(8) + b"\x01yt\x01" in found


@every_form
def test_messages_that_are_alike_stay_of_one_size(codec: Any) -> None:
    for kind in ("none", "all", "unsorted", "numbered"):
        messages = [publish("key", b"%04d" % i, KINDS[kind]) for i in range(50)]
        for as_ends in (False, True):
            run = join(messages, as_ends)
            data, stride, ends = codec.stamp_offsets(*run, SKIPS[:1], None, 2**40)
            assert ends is None and stride * 50 == len(data)
            assert cut(data, stride, ends) == [
                expected(each, SKIPS[0], 2**40 + i) for i, each in enumerate(messages)
            ]


@every_form
def test_messages_of_one_size_may_become_different(codec: Any) -> None:
    plain = publish("key", b"body" + bytes(4), Properties())
    with_headers = publish("key", b"body", Properties(headers={}))
    assert len(plain) == len(with_headers)
    messages = [plain, plain, plain, with_headers, plain]
    data, stride, ends = codec.stamp_offsets(*join(messages), SKIPS[:1], None, 0)
    assert stride == 0 and ends is not None
    assert cut(data, 0, ends) == [expected(each, SKIPS[0], i) for i, each in enumerate(messages)]


@every_form
def test_messages_of_several_routes(codec: Any) -> None:
    which = bytes((0, 2, 1, 1, 2, 0))
    messages = [publish(KEYS[n], b"body", KINDS["around"]) for n in which]
    data, stride, ends = codec.stamp_offsets(*join(messages), SKIPS, which, 10)
    assert cut(data, stride, ends) == [
        expected(each, SKIPS[n], 10 + i)
        for i, (n, each) in enumerate(zip(which, messages, strict=True))
    ]


@every_form
def test_a_message_without_a_method_frame(codec: Any) -> None:
    message = publish("key", b"body", ALL)[SKIPS[0] :]
    assert stamped(codec, message, 4, skip=0) == expected(message, 0, 4)


@every_form
def test_more_headers_than_anybody_sends(codec: Any) -> None:
    headers: dict[str, Any] = {f"h{n * 7919 % 3000}": n for n in range(3000)}
    message = publish("key", b"body", Properties(headers=headers))
    assert stamped(codec, message, 4) == expected(message, SKIPS[0], 4)


@every_form
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_is_cut_off_anywhere_is_refused(codec: Any, kind: str) -> None:
    message = publish("key", b"body", KINDS[kind])
    header_end = len(message) - 12
    for stop in range(len(message)):
        if stop >= header_end:  # bodies are not looked at
            assert stamped(codec, message[:stop]) == stamped(codec, message)[: stop - len(message)]
            continue
        for behind in (b"", message):
            data = message[:stop] + behind
            run = (data, 2, 0, array("I", [stop, len(data)]).tobytes()) if behind else join([data])
            with pytest.raises(ValueError, match=r"cut off|are no"):
                codec.stamp_offsets(*run, SKIPS[:1], None, 0)


UNSOUND = {
    "a second flag word": b"\x00\x01\x00\x00",
    "no content type": b"\x80\x00",
    "content type too long": b"\x80\x00\x05text",
    "no encoding": b"\xc0\x00\x01c",
    "only an encoding is said": b"\x40\x00",
    "encoding too long": b"\x40\x00\x02g",
    "no table": b"\x20\x00",
    "half a table length": b"\x20\x00\x00\x00\x00",
    "table too long": b"\x20\x00\x00\x00\x00\x05\x01at\x01",
    "table by far too long": b"\x20\x00\xff\xff\xff\xff\x01at\x01",
    "name without a value": b"\x20\x00\x00\x00\x00\x02\x01a",
    "name too long": b"\x20\x00\x00\x00\x00\x02\xffa",
    "value cut off": b"\x20\x00\x00\x00\x00\x04\x01al\x01" + bytes(7),
    "string cut off": b"\x20\x00\x00\x00\x00\x05\x01aS\x00\x00" + bytes(7),
    "string cut off at the end": b"\x20\x00\x00\x00\x00\x04\x01aS\x00",
    "string too long": b"\x20\x00\x00\x00\x00\x08\x01aS\x00\x00\x00\x02x" + bytes(7),
    "string by far too long": b"\x20\x00\x00\x00\x00\x08\x01aS\xff\xff\xff\xffx",
    "unknown type": b"\x20\x00\x00\x00\x00\x04\x01a?\x01",
    "unsound after one that is out of order": b"\x20\x00\x00\x00\x00\x09\x01bV\x01aV\x01c?",
}


@every_form
@pytest.mark.parametrize("what", UNSOUND)
def test_unsound_properties_are_refused(codec: Any, what: str) -> None:
    good, bad = publish("key", b"body"), raw_publish("key", HEADER + UNSOUND[what])
    for messages in ([bad], [good, bad], [good, bad, good]):
        with pytest.raises(ValueError, match=f"message {messages.index(bad)} of"):
            codec.stamp_offsets(*join(messages), SKIPS[:1], None, 0)


@every_form
def test_runs_that_are_none_are_refused(codec: Any) -> None:
    one = publish("key", b"body")
    long = publish("key", bytes(40))
    size = len(one)
    ends = array("I", [size, size * 2]).tobytes()
    back = array("I", [size * 2, size]).tobytes()
    far = array("I", [size, 2**32 - 1]).tobytes()
    for run in (
        (one * 2, 1, size, None, SKIPS, None),  # trailing bytes
        (one * 2, 3, size, None, SKIPS, None),
        (one * 2, 2, size + 1, None, SKIPS, None),
        (one, 1, size + 1, None, SKIPS, None),
        (one, 1, 0, None, SKIPS, None),
        (one, 1, -size, None, SKIPS, None),
        (one * 2, 2, 0, ends[:-1], SKIPS, None),
        (one * 2, 2, 0, ends + ends, SKIPS, None),
        (one * 2, 2, 0, back, SKIPS, None),
        (one * 2, 2, 0, far, SKIPS, None),
        (one * 2, 2, size, None, SKIPS, b"\0"),
        (one, 1, size, None, (SKIPS[0] + 1,), None),
        (one, 1, size, None, (-1,), None),
        (one * 2, 2, size, None, (SKIPS[0], SKIPS[0] - size), b"\0\1"),
        (long, 1, len(long), None, (len(long) - 48,), None),  # where its body frame begins
        (one, 1, size, None, (2**40,), None),
        (b"", 1, 0, None, SKIPS, None),
        (one, 2**60, 0, None, SKIPS, None),
    ):
        with pytest.raises(ValueError):
            codec.stamp_offsets(*run, 0)
    with pytest.raises(IndexError):
        codec.stamp_offsets(one, 1, size, None, SKIPS, b"\x03", 0)


@every_form
@pytest.mark.parametrize("first", [-1, OFFSET_MAX, OFFSET_MAX + 1, 2**64])
def test_offsets_that_have_no_place_are_refused(codec: Any, first: int) -> None:
    one = publish("key", b"body")
    with pytest.raises(OverflowError):
        codec.stamp_offsets(one * 2, 2, len(one), None, SKIPS, None, first)
    last = codec.stamp_offsets(one * 2, 2, len(one), None, SKIPS, None, OFFSET_MAX - 1)[0]
    assert last.endswith(expected(one, SKIPS[0], OFFSET_MAX))


short = st.text(max_size=12)
names = st.one_of(
    short, st.sampled_from(["a", "b", OFFSET, OFFSET, "x-stream-offse", f"{OFFSET}t"])
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.booleans(), st.none(), short, st.binary(max_size=5),
        st.integers(-(2**31), 2**31 - 1), st.integers(0, OFFSET_MAX).map(Long),
        st.integers(0, 2**64 - 1).map(Timestamp), st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(short, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
properties = st.builds(
    Properties,
    content_type=st.none() | short,
    content_encoding=st.none() | short,
    headers=st.none() | st.dictionaries(names, values, max_size=6),
    delivery_mode=st.sampled_from([None, 1, 2]),
    correlation_id=st.none() | short,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    cluster_id=st.none() | short,
)
sent = st.tuples(st.integers(0, len(KEYS) - 1), properties, st.binary(max_size=20))


@given(
    st.lists(sent, min_size=1, max_size=6), st.integers(0, OFFSET_MAX - 6),
    st.booleans(), st.booleans(), st.sampled_from([(), (1,), (3, 3)]),
)  # fmt: skip
def test_any_run_is_what_the_reference_says(
    drawn: list[Any], first: int, one_route: bool, same: bool, pieces: tuple[int, ...]
) -> None:
    if one_route:
        drawn = [(0, *rest) for _, *rest in drawn]
    if same:
        drawn = drawn[:1] * len(drawn)
    messages = [publish(KEYS[n], body, about, 1, pieces) for n, about, body in drawn]
    which = None if one_route else bytes(n for n, *_ in drawn)
    skips = SKIPS[:1] if one_route else SKIPS
    wanted = [
        expected(message, SKIPS[n], first + i)
        for i, (message, (n, *_)) in enumerate(zip(messages, drawn, strict=True))
    ]
    for codec in CODECS:
        data, stride, ends = codec.stamp_offsets(*join(messages), skips, which, first)
        assert (data, stride, ends) == (join(wanted)[0], *join(wanted)[2:])
        for i, message in enumerate(cut(data, stride, ends)):
            n, about, _ = drawn[i]
            headers = properties_of(message, SKIPS[n]).headers
            assert headers == {**(about.headers or {}), OFFSET: first + i}


def outcome(codec: Any, *arguments: Any) -> Any:
    try:
        return codec.stamp_offsets(*arguments)
    except (ValueError, IndexError) as error:
        return type(error), str(error)


@given(
    st.lists(sent, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(-5, 5), st.integers(0, 40), st.booleans(),
)  # fmt: skip
def test_both_forms_make_the_same_of_damaged_runs(
    drawn: list[Any], damage: list[tuple[int, bytes]], off: int, skip_off: int, at_front: bool
) -> None:
    data, count, stride, ends = join([publish("key", body, about) for _, about, body in drawn])
    damaged = bytearray(data)
    for at, instead in damage:
        at %= 80 if at_front else len(data)
        damaged[at : at + len(instead)] = instead
    skips = (SKIPS[0] + (skip_off - 30 if skip_off > 30 else 0),)
    stride += off if ends is None else 0
    found = {outcome(codec, bytes(damaged), count, stride, ends, skips, None, 0)
             for codec in CODECS}  # fmt: skip
    assert len(found) == 1
    (answer,) = found
    if answer[0] is IndexError:
        raise AssertionError("something was read that is not there")
