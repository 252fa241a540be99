"""Bytes of a segment file: one header, written twice, and frames end to end.

    byte                                          a frame
      0  ┌──────────────────────┐                   0  ┌───────────────────────┐
         │ header               │ 512                  │ magic "MsFr"          │ 4
         │ zeros                │                   4  │ kind                  │ 1
    4096 ├──────────────────────┤                      │ zeros                 │ 3
         │ the same header      │ 512               8  │ length of the entry   │ 4  0 without one
         │ zeros                │                  12  │ stamp of the segment  │ 8
    8192 ├──────────────────────┤                  20  │ seq                   │ 8
         │ frame                │                  28  │ synced                │ 8
         │ frame                │                  36  │ floor                 │ 8
         │ …                    │                  44  │ check                 │ 4  0 without entry
         │ what was there       │                  48  │ CRC-32 of bytes 0–47  │ 4
         │ before, or zeros     │                  52  ├───────────────────────┤
         └──────────────────────┘                      │ entry (log/entry.py)  │
      capacity                                         └───────────────────────┘
    All numbers are unsigned and big-endian. The header is drawn by HEADER_FIELDS below.

kind    seq                  meaning
ENTRY   of this entry        its bytes follow; the next frame begins behind them
MARK    of the last entry    keeps `floor`; the next frame begins behind it
SEAL    of the last entry    the log ends here, for now; the next frame is written over it

- *stamp*: 64 random bits, drawn anew whenever a file becomes a segment. So frames that an earlier
  life of the file left behind are never taken for frames of this one, and nobody who only sends
  messages can forge a frame.
- *synced*: every entry up to this seq was durable when the frame was written. An entry that fails
  its check is damage if any header or frame proves that it was once durable; otherwise it is a
  torn tail.
- *check*: the CRC-32 of the entry's head. A frame can reach the disk without its entry, and an
  entry of an earlier life of the file may stand right there, of the same length and whole.
- *floor*: the first seq that is kept; 0 where it is not recorded. Segments below it may be gone.

A header says where the segment before it ends: what lies behind that end is not part of the log,
whatever it looks like. That is how a segment is given up after a failed write.

Changing this format:
1. Raise VERSION, draw the new layout beside the old one, and say which release wrote which.
2. Keep decode_header and Frame.decode able to read every version that a release has written.
3. The first 10 bytes of a header, its size and the place of its CRC stay as they are: an old build
   must be able to tell "newer than me" from "damaged".
4. A new kind of frame is a new VERSION: an older build would end the log at it.
5. Add a segment of the old version, as bytes, to tests/log/segments/test_layout.py.
6. Say in CHANGELOG.md from which release on older builds cannot read the log any more.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from zlib import crc32

from mansio.log.base import Damaged, LogError
from mansio.log.entry import Bytes

VERSION: Final = 1
HEADER_BYTES: Final = 8192
"""Two blocks, so that one lost block of the disk does not take both copies."""
_COPY_AT: Final = 4096
_COPY_BYTES: Final = 512
FRAME_BYTES: Final = 52

ENTRY: Final = 1
MARK: Final = 2
SEAL: Final = 3

FRAME_MAGIC: Final = b"MsFr"
_HEADER_MAGIC: Final = b"MansioSg"
HEADER_FIELDS: Final = (
    "capacity 8: bytes of the file",
    "log 8: random, the same in all segments of a log",
    "stamp 8",
    "number 8: of this segment, as in its file name",
    "before 8: number of the segment before, 0 for none",
    "before_end 8: byte at which that one ends",
    "prev_seq 8: of the last entry before this segment",
    "synced 8",
    "floor 8",
    "epoch 8, nonce 8, lineage_seq 8: of the owner before this segment, see entry.Lineage",
    "tail_id 40: entry_id of entry lineage_seq, zeros for none",
)
"""After magic (8 bytes), VERSION (2) and 6 zeros; a CRC-32 is in the last 4 of the 512 bytes."""
_HEADER = struct.Struct(">8sH6x12Q40s")
_FRAME = struct.Struct(">4sB3xIQQQQI")
_CRC = struct.Struct(">I")
_NO_ID: Final = bytes(40)


class NewerFormat(LogError):
    """A newer Mansio wrote this, and this one cannot read it. Nothing was changed."""


class Header(NamedTuple):
    """See HEADER_FIELDS."""

    capacity: int
    log: int
    stamp: int
    number: int
    before: int
    before_end: int
    prev_seq: int
    synced: int
    floor: int
    epoch: int
    nonce: int
    lineage_seq: int
    tail_id: bytes

    def encode(self) -> bytes:
        """HEADER_BYTES bytes: both copies."""
        body = _HEADER.pack(_HEADER_MAGIC, VERSION, *self[:-1], self.tail_id or _NO_ID)
        body = body.ljust(_COPY_BYTES - _CRC.size, b"\0")
        copy = body + _CRC.pack(crc32(body))
        return copy.ljust(_COPY_AT, b"\0") + copy.ljust(HEADER_BYTES - _COPY_AT, b"\0")


class Frame(NamedTuple):
    """The fixed part of a frame. `length`: bytes of its entry, which follow; `check`: of its head."""

    kind: int
    length: int
    stamp: int
    seq: int
    synced: int
    floor: int
    check: int = 0

    def encode(self) -> bytes:
        """FRAME_BYTES bytes."""
        body = _FRAME.pack(FRAME_MAGIC, *self)
        return body + _CRC.pack(crc32(body))


def decode_header(data: bytes, number: int | None, place: str) -> Header | None:
    """The header of the segment with this number, from the first HEADER_BYTES bytes of its file.

    With None, of the highest number found. Answers None if neither copy is whole, or they are of
    another life of the file. Errors: NewerFormat, naming `place`.
    """
    found: Header | None = None
    for start in (0, _COPY_AT):
        copy = data[start : start + _COPY_BYTES]
        if len(copy) < _COPY_BYTES or not copy.startswith(_HEADER_MAGIC):
            continue
        if crc32(copy[: -_CRC.size]) != _CRC.unpack_from(copy, _COPY_BYTES - _CRC.size)[0]:
            continue
        _, version, *fields = _HEADER.unpack_from(copy)
        if version > VERSION:
            raise NewerFormat(
                f"{place} has format {version}; this Mansio reads up to {VERSION}: use the newer one"
            )
        *numbers, tail_id = fields
        header = Header._make([*numbers, b"" if tail_id == _NO_ID else tail_id])
        if number is not None and header.number != number:
            continue
        if found is None or header.number > found.number:
            found = header
    return found


def decode_frame(data: Bytes, offset: int, stamp: int | None) -> Frame | None:
    """The frame of the segment with this stamp that begins at offset of data; None: there is none.

    With stamp None, of any life of the file.
    """
    end = offset + FRAME_BYTES
    if end > len(data) or data[offset : offset + 4] != FRAME_MAGIC:
        return None
    fields = _FRAME.unpack_from(data, offset)
    if (stamp is not None and fields[3] != stamp) or not ENTRY <= fields[1] <= SEAL:
        return None
    if crc32(data[offset : end - _CRC.size]) != _CRC.unpack_from(data, end - _CRC.size)[0]:
        return None
    return Frame(*fields[1:])


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:016x}.seg"


def spare_name(number: int) -> str:
    """The file name of a spare: a file that waits to become a segment."""
    return f"spare-{number:016x}.seg"


def parse_name(name: str) -> tuple[int, bool] | None:
    """(number, is it a spare?) of a file of the log; None for any other file."""
    spare = name.startswith("spare-")
    digits = name.removeprefix("spare-").removesuffix(".seg")
    if not name.endswith(".seg") or len(digits) != 16 or digits.strip("0123456789abcdef"):
        return None
    return int(digits, 16), spare


def at_place(what: str, name: str, offset: int, seq: int) -> Damaged:
    """Damage in a file: `offset` is a byte of the file."""
    return Damaged(what, offset, f"{name}, seq {seq}")
