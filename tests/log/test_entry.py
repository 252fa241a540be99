"""The entry format: round trip, known bytes, and every kind of damage."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mansio.log.base import EPOCH_MAX, NONCE_MAX, Damaged
from mansio.log.entry import (
    ENTRY_BYTES_MAX,
    FENCE,
    Lineage,
    Record,
    decode_entry,
    encode_entry,
    encode_fence,
    entry_id,
    read_owner,
)

U64 = st.integers(0, NONCE_MAX)
PARTS = st.binary(max_size=40)
RECORDS = st.lists(
    st.one_of(
        PARTS,
        PARTS.map(bytearray),
        PARTS.map(lambda part: memoryview(part)),
        st.lists(PARTS, max_size=4).map(tuple),
        st.just((b"x",) * 50),
    ),
    max_size=6,
)
ENTRIES = st.builds(encode_entry, U64, U64, U64, st.lists(PARTS, max_size=4))

VERSION_1 = bytes.fromhex(
    "4d730100 00000037 0000000000000002 0000000000000003 0000000000000004 00000002"
    "0000002c 0000002e 6162 636465660f a6691abf".replace(" ", "")
)
"""encode_entry(2, 3, 4, [b"ab", b"cdef\\x0f"])"""


def flat(record: Record) -> bytes:
    return b"".join(record) if isinstance(record, tuple) else bytes(record)


def resealed(entry: bytes) -> bytes:
    """With a right CRC, as someone would make it who wants to crash the decoder."""
    return entry[:-4] + struct.pack(">I", crc32(entry[:-4]))


@given(U64, U64, U64, RECORDS, st.sampled_from([0, FENCE]))
@example(EPOCH_MAX, NONCE_MAX, NONCE_MAX, [], FENCE)
@example(1, 0, 0, [b"", (), (b"",)], 0)
def test_round_trip(
    epoch: int, nonce: int, prev_seq: int, records: list[Record], flags: int
) -> None:
    data = encode_entry(epoch, nonce, prev_seq, records, flags)
    entry = decode_entry(data)
    assert (entry.epoch, entry.nonce, entry.prev_seq) == (epoch, nonce, prev_seq)
    assert entry.fence == bool(flags)
    assert entry.records == [flat(record) for record in records]
    for start, record in zip(entry.starts, entry.records, strict=True):
        assert data[start : start + len(record)] == record
    assert read_owner(data) == (flags, epoch, nonce, prev_seq)


def test_version_1_bytes() -> None:
    assert encode_entry(2, 3, 4, [b"ab", b"cdef\x0f"]) == VERSION_1
    assert decode_entry(VERSION_1).records == [b"ab", b"cdef\x0f"]


@given(ENTRIES, st.data())
def test_any_changed_byte_is_detected(entry: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entry) - 1))
    changed = bytearray(entry)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        decode_entry(bytes(changed))


def test_every_bit_of_an_entry_is_guarded() -> None:
    for bit in range(len(VERSION_1) * 8):
        changed = bytearray(VERSION_1)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            decode_entry(bytes(changed))


@given(ENTRIES, st.data())
def test_any_truncation_is_detected(entry: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(entry) - 1))
    with pytest.raises(Damaged):
        decode_entry(entry[:size])


@given(ENTRIES, st.binary(min_size=1, max_size=50))
def test_trailing_bytes_are_detected(entry: bytes, more: bytes) -> None:
    with pytest.raises(Damaged):
        decode_entry(entry + more)


@given(ENTRIES, st.data())
def test_decoder_trusts_no_number_even_with_a_right_crc(entry: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entry) - 5))
    changed = bytearray(entry)
    changed[at] = data.draw(st.integers(0, 255))
    try:
        found = decode_entry(resealed(bytes(changed)))
    except Damaged:
        return
    size = sum(map(len, found.records))
    assert size + 40 + 4 * len(found.records) == len(entry)


@pytest.mark.parametrize("starts", [(0x2B, 0x2E), (0x2D, 0x2E), (0x2C, 0x2B), (0x2C, 0x34)])
def test_starts_out_of_order(starts: tuple[int, int]) -> None:
    changed = VERSION_1[:36] + struct.pack(">2I", *starts) + VERSION_1[44:]
    with pytest.raises(Damaged, match="order"):
        decode_entry(resealed(changed))


@given(st.binary(max_size=120))
def test_garbage_is_damaged(garbage: bytes) -> None:
    with pytest.raises(Damaged):
        decode_entry(garbage)
    with pytest.raises(Damaged):
        decode_entry(b"Ms" + garbage)


@pytest.mark.parametrize("at", [2, 3])
def test_newer_version_or_flag_is_named(at: int) -> None:
    changed = bytearray(VERSION_1)
    changed[at] = 2
    with pytest.raises(Damaged, match="newer Mansio"):
        decode_entry(resealed(bytes(changed)))


def test_damage_says_what_and_where() -> None:
    with pytest.raises(Damaged) as caught:
        decode_entry(VERSION_1[:-1])
    assert caught.value.offset == len(VERSION_1) - 1
    assert "54 bytes" in caught.value.what
    assert str(caught.value.at("a.log, seq 9")).startswith("a.log, seq 9, byte 54: ")


@pytest.mark.parametrize(
    ("epoch", "nonce", "prev_seq", "flags"),
    [(-1, 0, 0, 0), (1 << 64, 0, 0, 0), (1, -1, 0, 0), (1, 0, 1 << 64, 0), (1, 0, 0, 256)],
)
def test_numbers_out_of_range(epoch: int, nonce: int, prev_seq: int, flags: int) -> None:
    with pytest.raises(ValueError, match="range"):
        encode_entry(epoch, nonce, prev_seq, [b"a"], flags)


def test_too_large_an_entry_is_refused_before_it_is_built() -> None:
    part = memoryview(bytes(1 << 20))
    with pytest.raises(ValueError, match="exceeds"):
        encode_entry(1, 0, 0, [(part,) * (ENTRY_BYTES_MAX >> 20)])


def test_wide_memoryview_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than a byte"):
        encode_entry(1, 0, 0, [memoryview(bytes(8)).cast("I")])


@given(st.data())
def test_entry_id_tells_entries_apart(data: st.DataObject) -> None:
    small = st.tuples(
        st.integers(1, 2), st.integers(0, 1), st.integers(0, 1), st.binary(max_size=1)
    )
    one, two = data.draw(small), data.draw(small)
    same = entry_id(encode_entry(*one[:3], [one[3]])) == entry_id(encode_entry(*two[:3], [two[3]]))
    assert same == (one == two)


def plain(epoch: int, nonce: int, prev_seq: int) -> bytes:
    return encode_entry(epoch, nonce, prev_seq, [b"r"])


def test_lineage_admits_the_owner_only() -> None:
    lineage = Lineage()
    steps = [
        (encode_fence(1, 5, 0), True),
        (plain(1, 5, 1), True),
        (encode_fence(3, 6, 2), True),
        (plain(1, 5, 2), False),
        (plain(2, 5, 3), False),
        (plain(3, 5, 3), False),
        (encode_fence(3, 7, 0), False),
        (plain(3, 6, 3), True),
        (plain(3, 6, 8), True),
        (encode_fence(4, 0, 0), True),
    ]
    for seq, (entry, admitted) in enumerate(steps, 1):
        assert lineage.admit(seq, entry) is admitted, seq
    assert (lineage.epoch, lineage.nonce, lineage.last_seq) == (4, 0, 10)


@pytest.mark.parametrize(
    "entry", [plain(1, 5, 1), plain(1, 5, 3), plain(2, 5, 2), encode_fence(2, 5, 1)]
)
def test_lineage_notices_a_hole(entry: bytes) -> None:
    lineage = Lineage()
    assert lineage.admit(1, encode_fence(1, 5, 0))
    assert lineage.admit(2, plain(1, 5, 1))
    with pytest.raises(Damaged, match="missing"):
        lineage.admit(4, entry)
    assert (lineage.epoch, lineage.last_seq) == (1, 2)
