"""The scanner: settlements that follow each other, and bytes that are no frames."""

from typing import Any

import pytest

from mansio.codec import amqp
from mansio.codec import amqp_methods as m
from tests.codec.reading import (
    CODECS,
    FRAME_MAX,
    NAMES,
    Reader,
    ack,
    nack,
    publish,
    read,
    reject,
)

ACK, REJECT = amqp.ACK_ID, amqp.REJECT_ID
TAG_MAX = (1 << 64) - 1
QOS = m.method_frame(1, m.BasicQos(prefetch_count=10))

every_form = pytest.mark.parametrize("codec", CODECS, ids=NAMES)


@every_form
def test_rows_of_tags_become_one_item(codec: Any) -> None:
    data = b"".join(map(ack, range(5, 900))) + b"".join(map(reject, range(900, 905)))
    assert read(codec, data).items == [
        (amqp.SETTLE, 1, ACK, 5, 899, 0),
        (amqp.SETTLE, 1, REJECT, 900, 904, 1),
    ]


@every_form
@pytest.mark.parametrize("body", [b"", b"hello"])
def test_where_ids_count_a_settlement_comes_before_what_is_published_behind_it(
    codec: Any, body: bytes
) -> None:
    order = "A1AA2bA3bA"
    data = b"".join(
        ack(int(what)) if what.isdigit() else publish(what, body=body) for what in order
    )
    found = ""
    for item in read(codec, data).items:
        found += str(item[3]) if item[0] == amqp.SETTLE else f"({item[4]})"
    assert found == "(1)1(2)2(2)(1)3(1)", "b does not look at ids"


@every_form
@pytest.mark.parametrize(
    ("data", "count"),
    [
        (ack(1) + ack(2, channel=2), 2),
        (ack(1) + reject(2, requeue=False), 2),
        (ack(1) + nack(2, requeue=False), 2),
        (nack(1, requeue=False) + nack(2, requeue=True), 2),
        (reject(1, requeue=False) + reject(2, requeue=True), 2),
        (ack(1) + ack(1), 2),
        (ack(2) + ack(1), 2),
        (ack(1) + ack(3), 2),
        (ack(1) + ack(2, multiple=True), 2),
        (ack(1, multiple=True) + ack(2, multiple=True), 2),
        (ack(TAG_MAX - 1) + ack(TAG_MAX), 1),
        (ack(TAG_MAX) + ack(0), 2),
        (ack(0) + ack(1), 1),
        (nack(7) + nack(8), 1),
    ],
)
def test_only_settlements_of_one_kind_in_a_row_are_folded(
    codec: Any, data: bytes, count: int
) -> None:
    reader = read(codec, data)
    assert len(reader.items) == count
    expected = []
    for at in range(0, len(data), 21):
        frame = data[at : at + 21]
        method, tag = int.from_bytes(frame[7:11], "big"), int.from_bytes(frame[11:19], "big")
        expected.append((frame[2], method, tag, frame[19]))
    assert reader.settles == expected


@every_form
@pytest.mark.parametrize("front", [b"", publish("a"), ack(1), publish("a") * 2 + QOS])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"\x04\0\1\0\0\0\0\xce", "unknown frame type 4"),
        (b"A", "unknown frame type 65"),
        (b"\0", "unknown frame type 0"),
        (b"\1\0\1\0\0\0\0\xcd", "not 206"),
        (publish("a")[:-1] + b"\0", "not 206"),
        (b"\3\0\1\xff\xff\xff\xff", "too large"),
        (b"\1\0\1" + (FRAME_MAX + 1).to_bytes(4, "big"), "too large"),
    ],
)
def test_what_is_no_frame_is_a_fault_behind_what_was_good(
    codec: Any, front: bytes, wrong: bytes, said: str
) -> None:
    whole, single = read(codec, front + wrong), Reader(codec)
    for octet in front + wrong:
        single.receive(bytes((octet,)))
    for reader in (whole, single):
        assert reader.fault is not None and reader.fault[1] == 501 and said in reader.fault[2]
        assert reader.told()[:2] == read(codec, front).told()[:2]
