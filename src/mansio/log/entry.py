"""One entry of the log: what an owner appends in one go, usually the records of one turn.

    byte
      0  ┌────────────────────┐
         │ magic "Ms"         │ 2
      2  │ version            │ 1   now 1
      3  │ flags              │ 1   bit 0: fence; the other bits are zero
      4  │ length             │ 4   of the whole entry, in bytes
      8  │ epoch              │ 8   of the owner that wrote it
     16  │ nonce              │ 8   of that owner
     24  │ prev_seq           │ 8   seq of the entry before; in a fence 0 means "not known"
     32  │ count              │ 4   of records
     36  ├────────────────────┤
         │ start of record 0  │ 4   from byte 0 of the entry; records lie end to end
         │ …                  │ 4 × count in all
         ├────────────────────┤
         │ record 0           │
         │ …                  │
         ├────────────────────┤
     -4  │ CRC-32 (zlib)      │ 4   over everything before it
         └────────────────────┘
    All numbers are unsigned and big-endian.

Changing this format:
1. Raise VERSION, draw the new layout beside the old one, and say which release wrote which.
2. Keep decode_entry able to read every version that a release has written.
3. Magic, version, length (byte 4) and a CRC at the end stay where they are: an old build must be
   able to tell "newer than me" from "damaged".
4. Keep entry_id a function of the owner, the place and the content of the entry.
5. Add an entry of the old version, as bytes, to tests/log/test_entry.py.
6. Say in CHANGELOG.md from which release on older builds cannot read the log any more.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias
from zlib import crc32

from mansio.log.base import Damaged

Bytes: TypeAlias = bytes | bytearray | memoryview
Record: TypeAlias = Bytes | tuple[Bytes, ...]
"""A record is opaque to the log. A tuple is one record, given in parts to save a copy.

A memoryview must be contiguous and of single bytes. Empty records and parts are allowed.
"""

VERSION = 1
FENCE = 1
"""Flag of the entry that `open` appends."""

ENTRY_BYTES_MAX = 768 << 20
"""Above RabbitMQ's largest message (512 MiB), below SQLite's largest blob (10^9 bytes)."""

HEAD_BYTES = 36
_CRC_BYTES = 4
_START_BYTES = 4
ENTRY_OVERHEAD_BYTES = HEAD_BYTES + _CRC_BYTES
"""Bytes of an entry without records."""
RECORD_OVERHEAD_BYTES = _START_BYTES
"""Bytes that each record adds to an entry besides its own."""

_MAGIC = b"Ms"
_HEAD = struct.Struct(">2sBBIQQQI")
_OWNER = struct.Struct(">BIQQQ")
_CRC = struct.Struct(">I")
_COUNT = struct.Struct(">I")

_CRC_PARTS_MAX = 32
"""From here on, joining the parts first (a copy) is cheaper than one crc32 call for each."""


class Entry(NamedTuple):
    """A decoded entry. `starts[i]` is the byte of the entry at which `records[i]` begins."""

    epoch: int
    nonce: int
    prev_seq: int
    fence: bool
    records: list[bytes]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole entry."""
        if not self.records:
            return ENTRY_OVERHEAD_BYTES
        return self.starts[-1] + len(self.records[-1]) + _CRC_BYTES


def encode_entry(
    epoch: int, nonce: int, prev_seq: int, records: Sequence[Record], flags: int = 0
) -> bytes:
    """Encode records as one entry.

    Numbers as drawn above. Cost: one join and one CRC over the whole.
    Errors: ValueError if a number is out of range, the entry exceeds ENTRY_BYTES_MAX, or a
    memoryview is not of single bytes.
    """
    count = len(records)
    offset = HEAD_BYTES + _START_BYTES * count
    starts: list[int] = []
    parts: list[Bytes] = [b""]
    for record in records:
        starts.append(offset)
        if isinstance(record, tuple):
            parts += record
            offset += sum(map(len, record))
        else:
            parts.append(record)
            offset += len(record)
    length = offset + _CRC_BYTES
    if length > ENTRY_BYTES_MAX:
        raise ValueError(f"an entry of {length} bytes exceeds {ENTRY_BYTES_MAX}")
    try:
        head = _HEAD.pack(_MAGIC, VERSION, flags, length, epoch, nonce, prev_seq, count)
    except struct.error as error:
        raise ValueError(f"epoch, nonce, prev_seq or flags out of range: {error}") from None
    parts[0] = head + struct.pack(f">{count}I", *starts)
    if len(parts) > _CRC_PARTS_MAX:
        parts = [b"".join(parts)]
    crc = 0
    for part in parts:
        crc = crc32(part, crc)
    parts.append(_CRC.pack(crc))
    entry = b"".join(parts)
    if len(entry) != length:
        raise ValueError("a record is a memoryview of items larger than a byte")
    return entry


def encode_fence(epoch: int, nonce: int, prev_seq: int) -> bytes:
    """The entry that `open` appends. `prev_seq` 0: the engine cannot know what lies before it."""
    return encode_entry(epoch, nonce, prev_seq, (), FENCE)


def decode_entry(entry: bytes) -> Entry:
    """Check and decode an entry.

    Errors: Damaged if a byte was changed, is missing or was added, or if a newer version of
    Mansio wrote the entry.
    """
    size = len(entry)
    if size < ENTRY_OVERHEAD_BYTES:
        raise Damaged(f"{size} bytes are too few for an entry", size)
    magic, version, flags, length, epoch, nonce, prev_seq, count = _HEAD.unpack_from(entry)
    if magic != _MAGIC:
        raise Damaged(f"starts with {magic!r}, not {_MAGIC!r}")
    if length != size:
        raise Damaged(f"has {size} bytes, but should have {length}", min(size, length))
    found = crc32(memoryview(entry)[:-_CRC_BYTES])
    stored = _CRC.unpack_from(entry, size - _CRC_BYTES)[0]
    if found != stored:
        raise Damaged(f"CRC is {found:08x}, but should be {stored:08x}", size - _CRC_BYTES)
    if version != VERSION or flags & ~FENCE:
        raise Damaged(f"version {version}, flags {flags:#x} are of a newer Mansio", 2)
    end = size - _CRC_BYTES
    if count > (end - HEAD_BYTES) // _START_BYTES:
        raise Damaged(f"{count} records do not fit", 32)
    starts: tuple[int, ...] = struct.unpack_from(f">{count}I", entry, HEAD_BYTES)
    ends = (*starts[1:], end)
    if starts:
        rising = all(map(int.__le__, starts, ends))
        if not rising or starts[0] != HEAD_BYTES + _START_BYTES * count:
            raise Damaged("the starts of its records are out of order", HEAD_BYTES)
    elif end != HEAD_BYTES:
        raise Damaged("bytes that belong to no record", HEAD_BYTES)
    records = [entry[start:stop] for start, stop in zip(starts, ends, strict=count > 0)]
    return Entry(epoch, nonce, prev_seq, bool(flags & FENCE), records, starts)


def record_place(entry: bytes, number: int) -> tuple[int, int]:
    """(offset, size) of one record of an entry, read without checking the CRC."""
    count = _COUNT.unpack_from(entry, HEAD_BYTES - _COUNT.size)[0]
    at = HEAD_BYTES + _START_BYTES * number
    start: int = _COUNT.unpack_from(entry, at)[0]
    if number == count - 1:
        return start, len(entry) - _CRC_BYTES - start
    return start, _COUNT.unpack_from(entry, at + _START_BYTES)[0] - start


def read_owner(entry: Bytes) -> tuple[int, int, int, int]:
    """(flags, epoch, nonce, prev_seq) of an entry, read without checking the CRC.

    Errors: Damaged if the bytes are no entry at all.
    """
    if len(entry) < ENTRY_OVERHEAD_BYTES or entry[:2] != _MAGIC:
        raise Damaged("does not start like an entry")
    flags, _, epoch, nonce, prev_seq = _OWNER.unpack_from(entry, 3)
    return flags, epoch, nonce, prev_seq


def entry_id(entry: bytes) -> bytes:
    """What tells this entry from every other one in its log: its head and its CRC, 40 bytes."""
    return entry[:HEAD_BYTES] + entry[-_CRC_BYTES:]


class Lineage:
    """Decides which entries of a log are part of it, and which are stale.

    Given the entries in order, from the start of the log or from any entry that is not stale.
    `epoch`, `nonce`: the owner as of the last entry seen. `last_seq`: the last one not stale.
    """

    __slots__ = ("epoch", "last_seq", "nonce")

    def __init__(self) -> None:
        self.epoch = 0
        self.nonce = 0
        self.last_seq = 0

    def admit(self, seq: int, entry: bytes) -> bool:
        """Is the entry at seq part of the log? False means that it is stale.

        Errors: Damaged if an entry between the last one and this one is missing.
        """
        flags, epoch, nonce, prev_seq = read_owner(entry)
        if flags & FENCE:
            if epoch <= self.epoch:
                return False
            follows = prev_seq in (0, self.last_seq)
        elif epoch < self.epoch or (epoch == self.epoch and nonce != self.nonce):
            return False
        else:
            follows = epoch == self.epoch and prev_seq == self.last_seq
        if not follows and self.last_seq != 0:
            raise Damaged(
                f"follows seq {prev_seq} in epoch {epoch}, but the last entry here is seq "
                f"{self.last_seq} in epoch {self.epoch}: an entry is missing",
                24,
            )
        self.epoch, self.nonce, self.last_seq = epoch, nonce, seq
        return True
