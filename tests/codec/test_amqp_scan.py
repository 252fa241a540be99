"""The scanner: every kind of input whole, in all ways to split it in two, byte by byte, and with bytes behind it."""

from math import inf, isfinite, nan
from struct import pack
from typing import Any

import pytest

from mansio.codec import amqp
from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties, encode_header_payload
from tests.codec.reading import (
    CODECS,
    FRAME_MAX,
    NAMES,
    PURE,
    Reader,
    ack,
    nack,
    publish,
    raw_publish,
    read,
    reject,
)

PERSISTENT, SPECIAL = amqp.PERSISTENT, amqp.SPECIAL
ACK, NACK, REJECT = amqp.ACK_ID, amqp.NACK_ID, amqp.REJECT_ID
TAG_MAX = (1 << 64) - 1

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)


QOS = m.method_frame(1, m.BasicQos(prefetch_count=10))
BEAT = m.frame(8, 0, b"")
BIG = publish("a", bytes(amqp.WHOLE_BYTES_MAX + 1), pieces=[4000] * 32)

CASES: dict[str, bytes] = {
    "one publish": publish("a"),
    "the same thrice": publish("a") * 3,
    "other sizes": publish("a", b"1") + publish("a", b"22") * 2 + publish("a", b"1"),
    "an empty body": publish("a", b"") * 2 + publish("a", b"x"),
    "several body frames": publish("a", b"abcdef", pieces=[1, 2]) * 2 + publish("a", b"abcdef"),
    "other properties": publish("a", properties=Properties(app_id="x")) + publish("a"),
    "routes take turns": (publish("a") + publish("b")) * 3,
    "same queues, other key": publish("ab") + publish("ba") + publish("ab"),
    "overlapping queues": publish("ab") + publish("bc") + publish("ab"),
    "nowhere": publish("") + publish("a") + publish(""),
    "persistent and not": publish("a", properties=Properties(delivery_mode=2)) + publish("a"),
    "special": publish("a") + publish("a", properties=Properties(expiration="9")) + publish("a"),
    "channels": publish("a") + publish("a", channel=2) + publish("a"),
    "unknown route": publish("a") + publish("!") + publish("a"),
    "acks": ack(1) + ack(2) + ack(3),
    "all kinds of settling": ack(1) + nack(2) + reject(3) + ack(4, multiple=True),
    "publishes among acks": publish("a") + ack(1) + publish("a") + ack(2) + publish("a", b"z"),
    "another method between": publish("a") + QOS + publish("a") + BEAT + ack(1),
    "largest frame": publish("a", bytes(FRAME_MAX)) + publish("a"),
}
HEADER = encode_header_payload(3, Properties())
BROKEN: dict[str, tuple[bytes, list[int]]] = {
    "heartbeat inside of a content": (publish("a")[:18] + BEAT + publish("a")[18:], [1, 8, 2, 3]),
    "heartbeat inside of a body": (raw_publish("a", HEADER) + BEAT + m.frame(3, 1, b"abc"), [1, 2, 8, 3]),
    "a header without a publish": (publish("a")[18:], [2, 3]),
    "a publish in a publish": (publish("a")[:18] + QOS, [1, 1]),
    "header on another channel": (publish("a")[:18] + m.frame(2, 2, HEADER) + m.frame(3, 1, b"abc"), [1, 2, 3]),
    "body on another channel": (raw_publish("a", HEADER) + m.frame(3, 2, b"abc"), [1, 2, 3]),
    "more body than announced": (raw_publish("a", HEADER, b"abcd"), [1, 2, 3]),
    "an empty body frame": (raw_publish("a", HEADER) + m.frame(3, 1, b"") + m.frame(3, 1, b"abc"), [1, 2, 3, 3]),
    "a second body that is none": (raw_publish("a", HEADER, b"a") + m.frame(2, 1, b"bc"), [1, 2, 3, 2]),
    "a short header": (raw_publish("a", bytes((0, 60)) + bytes(11)), [1, 2]),
    "another class": (raw_publish("a", b"\0\x3d" + bytes(12)), [1, 2]),
    "a weight": (raw_publish("a", b"\0\x3c\0\1" + bytes(10)), [1, 2]),
    "a truncated method": (m.frame(1, 1, b"\0\x3c") + m.frame(1, 1, b""), [1, 1]),
    "an ack that is too long": (m.frame(1, 1, ACK.to_bytes(4, "big") + bytes(10)), [1]),
}  # fmt: skip
GOOD_FIRST = publish("a", b"abc") + publish("a", b"abc", pieces=[1])
CASES |= {f"broken: {name}": GOOD_FIRST + data for name, (data, _) in BROKEN.items()}
assert publish("a")[17:19] == b"\xce\x02", "18 bytes are the method frame"


@every_form
@pytest.mark.parametrize("name", CASES)
def test_however_it_is_split_it_says_the_same(codec: Any, name: str) -> None:
    data = CASES[name]
    whole = read(codec, data)
    assert whole.tail == b"" and whole.fault is None
    taken = b"".join(raw for _, raw, _ in whole.messages())
    taken += b"".join(m.frame(*single) for single in whole.singles)
    assert len(taken) + 21 * len(whole.settles) == len(data), "something was lost"
    step = 1 if len(data) < 600 else 97
    for cut in range(1, len(data), step):
        reader = Reader(codec)
        reader.receive(data[:cut])
        reader.receive(data[cut:])
        assert reader.told() == whole.told(), cut
    reader = Reader(codec)
    for i in range(0, len(data), step):
        reader.receive(data[i : i + step])
    assert reader.told() == whole.told()


@every_form
@pytest.mark.parametrize("name", CASES)
def test_bytes_behind_the_input_are_not_looked_at(codec: Any, name: str) -> None:
    data = CASES[name]
    whole = read(codec, data)
    for behind in (b"\xce" * 40, data, b"\xff" * 8):
        for end in range(max(0, len(data) - 30), len(data) + 1):
            reader, fresh = Reader(codec), Reader(codec)
            reader.receive(data[:end], behind=data[end:] + behind)
            fresh.receive(data[:end])
            assert reader.items == fresh.items and reader.tail == fresh.tail
    reader = Reader(codec)
    reader.receive(data + publish("zz")[:20])
    assert reader.tail == publish("zz")[:20]
    assert reader.told()[:3] == whole.told()[:3]


@pytest.mark.skipif(not amqp.COMPILED, reason="there is one form only")
@pytest.mark.parametrize("name", CASES)
def test_compiled_and_pure_agree_item_by_item(name: str) -> None:
    assert read(amqp, CASES[name]).items == read(PURE, CASES[name]).items


@every_form
@pytest.mark.parametrize("name", BROKEN)
def test_broken_contents_come_frame_by_frame(codec: Any, name: str) -> None:
    data, kinds = BROKEN[name]
    for front in (b"", GOOD_FIRST):
        reader = read(codec, front + data)
        assert [single[0] for single in reader.singles] == kinds
        assert b"".join(raw for _, raw, _ in reader.messages()) == front


@every_form
@pytest.mark.parametrize("started", [publish("a")[:18], raw_publish("a", HEADER)])
def test_what_cannot_become_a_content_is_not_waited_for(codec: Any, started: bytes) -> None:
    """The first octet of the next frame tells that it is neither a header nor a body."""
    for next_frame in (b"\x08", b"\x01\0"):
        reader = Reader(codec)
        reader.receive(started)
        assert reader.singles == []
        reader.receive(next_frame)
        assert reader.singles and reader.tail == next_frame


@every_form
def test_a_damaged_end_of_a_header_is_a_fault(codec: Any) -> None:
    data = bytearray(raw_publish("a", HEADER, b"abc"))
    data[18 + 7 + len(HEADER)] = 0
    reader = read(codec, bytes(data))
    assert reader.messages() == [] and reader.fault is not None


@every_form
def test_a_uniform_run_has_a_stride_and_no_table(codec: Any) -> None:
    one = publish("a")
    ((routes, which, data, count, stride, ends, flags),) = read(codec, one * 5).runs
    assert (len(routes), which, count, stride, ends, flags) == (1, None, 5, len(one), None, 0)
    assert data == one * 5


@every_form
def test_a_run_of_varied_sizes_has_a_table(codec: Any) -> None:
    parts = [publish("a", bytes(n)) for n in (3, 3, 0, 200, 3)]
    ((_, which, data, count, stride, ends, _),) = read(codec, b"".join(parts)).runs
    assert (which, count, stride, data) == (None, 5, 0, b"".join(parts))
    bounds = [codec.bounds(i, stride, ends) for i in range(5)]
    assert [data[a:b] for a, b in bounds] == parts


@every_form
def test_a_message_above_the_limit_comes_frame_by_frame(codec: Any) -> None:
    reader = read(codec, BIG + publish("a"))
    assert [kind for kind, _, _ in reader.singles] == [1, 2] + [3] * 33
    assert [raw for _, raw, _ in reader.messages()] == [publish("a")]
    below = publish("a", bytes(amqp.WHOLE_BYTES_MAX - 1000), pieces=[4000] * 32)
    assert [raw for _, raw, _ in read(codec, below).messages()] == [below]


@every_form
def test_a_large_message_is_not_waited_for(codec: Any) -> None:
    reader = Reader(codec)
    reader.receive(BIG[:60])
    assert [kind for kind, _, _ in reader.singles] == [1, 2], "its announced size is enough to know"
    assert len(reader.tail) < 30


@every_form
@pytest.mark.parametrize("huge", [1 << 32, 1 << 63, TAG_MAX])
def test_an_announced_size_is_never_trusted(codec: Any, huge: int) -> None:
    data = raw_publish("a", encode_header_payload(huge, Properties()), b"xyz")
    assert [kind for kind, _, _ in read(codec, data).singles] == [1, 2, 3]


PROPERTY_VALUES: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "headers": {"a": 1, "list": [1, "two"]},
    "delivery_mode": 2,
    "priority": 2,
    "correlation_id": "c" * 255,
    "reply_to": "amq.rabbitmq",
    "message_id": "",
    "timestamp": 2,
    "type": "t",
    "app_id": "app",
}


@every_form
def test_persistence_is_seen_behind_every_combination_of_properties(codec: Any) -> None:
    names = list(PROPERTY_VALUES)
    for bits in range(1 << len(names)):
        chosen = {name: PROPERTY_VALUES[name] for i, name in enumerate(names) if bits >> i & 1}
        ((_, _, flags),) = read(codec, publish("a", properties=Properties(**chosen))).messages()
        assert flags == (PERSISTENT if "delivery_mode" in chosen else 0), chosen
    ((_, _, flags),) = read(
        codec, publish("a", properties=Properties(delivery_mode=1, priority=2))
    ).messages()
    assert flags == 0


@every_form
@pytest.mark.parametrize(
    "properties",
    [
        {"expiration": "100"},
        {"user_id": "guest"},
        {"cluster_id": "x", "expiration": "1"},
        {"delivery_mode": 3},
        {"reply_to": "amq.rabbitmq.reply-to"},
        {"reply_to": "amq.rabbitmq.reply-to", "delivery_mode": 2, "message_id": "m"},
        {"headers": {"CC": ["b"]}},
        {"headers": {"x": 1, "BCC": ["b"]}, "delivery_mode": 2},
        {"headers": {"x" * 200: "y" * 200, "BCC": ["b"]}},
        {"headers": {"a": {"b": 1}, "x-receipt": True}, "reply_to": "r"},
    ],
)
def test_messages_that_bytes_do_not_tell_all_of_are_runs_of_their_own(
    codec: Any, properties: dict[str, Any]
) -> None:
    special = publish("a", properties=Properties(**properties))
    reader = read(codec, publish("a") + special * 2 + publish("a"))
    assert [run[3] for run in reader.runs] == [1, 2, 1]
    assert [flags & SPECIAL for _, _, flags in reader.messages()] == [0, SPECIAL, SPECIAL, 0]


@every_form
@pytest.mark.parametrize(
    "headers", [{"x-receipts": 1}, {"x-receip": 1}, {"x": {"x-receipt": True, "CC": ["b"]}}]
)
def test_headers_of_other_names_or_deeper_down_are_nothing_special(
    codec: Any, headers: dict[str, Any]
) -> None:
    ((_, _, flags),) = read(codec, publish("a", properties=Properties(headers=headers))).messages()
    assert not flags & SPECIAL


@every_form
@pytest.mark.parametrize(("kind", "form"), [("f", ">f"), ("d", ">d")])
def test_floats_that_are_no_finite_numbers_are_looked_at_by_others(
    codec: Any, kind: str, form: str
) -> None:
    largest = {"f": 3.4028234e38, "d": 1.7976931348623157e308}[kind]
    for value in (0.0, -0.0, 1.5, largest, -largest, inf, -inf, nan, -nan):
        entry = b"\x01a" + kind.encode() + pack(form, value)
        for inner in (entry, b"\x01tF" + pack(">I", len(entry)) + entry):
            table = pack(">I", len(inner)) + inner
            header = b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + table
            ((_, _, flags),) = read(codec, raw_publish("a", header)).messages()
            assert flags == (0 if isfinite(value) else SPECIAL), value


@every_form
@pytest.mark.parametrize("flags", [0x0001, 0x0002, 0x8000, 0x2000, 0x0040, 0x1000, 0xFFFC])
def test_properties_that_do_not_fit_their_flags_are_looked_at_by_others(
    codec: Any, flags: int
) -> None:
    header = b"\0\x3c\0\0" + bytes(8) + flags.to_bytes(2, "big")
    for rest in (b"", b"\xff", b"\xff\xff\xff\xff"):
        ((_, _, found),) = read(codec, raw_publish("a", header + rest)).messages()
        assert found & SPECIAL
    ((_, _, found),) = read(codec, raw_publish("a", bytes(header[:12]) + bytes(3))).messages()
    assert found & SPECIAL, "bytes behind the properties"


@every_form
def test_one_takes_any_frame_by_itself(codec: Any) -> None:
    data = bytearray(publish("a") + ack(1) + BEAT)
    scan, pos, kinds = codec.Scan(FRAME_MAX), 0, []
    while pos < len(data):
        out: list[Any] = []
        for end in range(pos, len(data)):
            out = []
            new = scan.one(data, pos, end, out)
            if out:
                break
            assert new == pos
        else:
            new = scan.one(data, pos, len(data), out)
        kind, channel, payload = out[0]
        assert data[pos:new] == m.frame(kind, channel, payload)
        kinds.append(kind)
        pos = new
    assert kinds == [1, 2, 3, 1, 8]
    out = []
    assert scan.one(bytearray(b"\1\0\1\0\0\0\0\0"), 0, 8, out) == 0
    assert out[0][0] == amqp.FAULT
