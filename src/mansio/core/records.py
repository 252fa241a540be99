"""What the Broker writes to the log, and how it is read back. All integers are big-endian.

    PUBLISH   01 | queues u32 | routes u16 | count u32 | stride u32 | ends u32 | which u32 | due u32
              | arrived u64, Unix time in ms | expiration u64 in ms, all ones: none | priority u8 | marks u16
              | queues × (id u64, position i64)
              | routes × (skip u16, channel u16, frame-max u32, exchange, routing key: u8 length + bytes)
              | marks, JSON as of `Marks`; empty when it has none | due | ends | which | data
    SETTLE    02 | queue id u64 | ranges × (first position i64, count u32, step u32)
    TOPOLOGY  03 | JSON, UTF-8: {"do": what, …}
    RETURNED  04 | as SETTLE: at an orderly stop, the messages of a queue that had been delivered before
    COUNTED   05 | queue id u64 | deliveries u32 | due u64 | ranges as in SETTLE: how often these were given back by
              now, and when they are ready again, Unix time in ms, 0: at once
    ITEMS     06 | see `item_records`
    ENTRIES   07 | as PUBLISH, into a stream; in the place of `due` the ids of its entries: one u64, the number of the
              first, whose ms is `arrived`; or ms u64, number u64 of each (stream_ids.py)

`due` is there for delayed messages, whose only place is the store of their virtual host: Unix times in ms, u64, one
for all messages or one for each. If each has one, an id for each may follow, u64; else their positions are their ids.

Positions name messages: the first of a queue is 0, and each publish says where its run begins in each queue. What was
pushed in front of a list is below that.
Changing a record: give it a new number, read the old one for as long as logs with it may exist, and add a transcript
of the old form.
"""

import json
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from mansio.core.item_records import ITEMS, Stored, decode_items
from mansio.core.marks import Marks, unpack_marks
from mansio.core.run import Place, Range, Run

PUBLISH, SETTLE, TOPOLOGY, RETURNED, COUNTED, ENTRIES = 1, 2, 3, 4, 5, 7

SNAPSHOT, STARTED, STOPPED = "snapshot", "start", "stop"
"""What TOPOLOGY records do beside changes: all of it at once; a broker goes on with the log; it has ended in order."""

Parts = tuple[bytes, ...]
_PUBLISH = struct.Struct(">BIHIIIIIQQBH")
_PLACE = struct.Struct(">Qq")
_ROUTE = struct.Struct(">HHIB")
_SETTLE = struct.Struct(">BQ")
_COUNTED = struct.Struct(">BQIQ")
_RANGE = struct.Struct(">qII")
_U64 = struct.Struct(">Q")
_NO_EXPIRATION = (1 << 64) - 1
_IS_BIG_ENDIAN = array("H", b"\x00\x01")[0] == 1


class Damaged(ValueError):
    """A record that cannot be read: what and where."""


class PublishedRoute(NamedTuple):
    """What messages of a run were published with; `skip`: bytes of the publish method frame."""

    skip: int
    channel: int
    frame_max: int
    exchange: str
    key: str


class Published(NamedTuple):
    """A run and its places: (queue id, position of its first message)."""

    places: list[Place]
    messages: int
    stride: int
    ends: bytes | None
    which: bytes | None
    routes: list[PublishedRoute]
    data: bytes
    arrived_ms: int = 0
    expiration_ms: int | None = None
    priority: int = 0
    marks: Marks | None = None
    due: "array[int] | None" = None
    """Of delayed messages: times, and maybe ids."""
    ids: "int | array[int] | None" = None
    """Of the entries of a stream, as a run has them."""


class Settled(NamedTuple):
    """Messages of one queue that are done with: ranges of (first position, count, step)."""

    queue: int
    ranges: list[Range]


class Returned(NamedTuple):
    """Messages of one queue that were delivered before and wait again."""

    queue: int
    ranges: list[Range]


class Counted(NamedTuple):
    """Messages of one queue that were given back so often by now, and are ready again at this time, 0: at once."""

    queue: int
    deliveries: int
    due_ms: int
    ranges: list[Range]


def encode_publish(run: Run, places: Sequence[Place]) -> Parts:
    """A run that went to these (queue id, position) places, as parts of a record."""
    ends, which = run.ends or b"", run.which or b""
    marks = b"" if run.marks is None else json.dumps(run.marks.pack()).encode()
    kind, due = PUBLISH, b""
    if run.held is not None:
        due = _big_endian(run.held.table())
    elif run.ids is not None:
        kind = ENTRIES
        due = _U64.pack(run.ids) if isinstance(run.ids, int) else _big_endian(run.ids)
    expiration = _NO_EXPIRATION if run.expiration_ms is None else run.expiration_ms
    head = _PUBLISH.pack(
        kind,
        len(places),
        len(run.routes),
        run.count,
        run.stride,
        len(ends),
        len(which),
        len(due),
        run.arrived_ms,
        expiration,
        run.priority,
        len(marks),
    )
    parts = [head]
    parts += [_PLACE.pack(*place) for place in places]
    for route in run.routes:
        exchange = route.exchange.encode("utf-8", "surrogateescape")
        key = route.routing_key.encode("utf-8", "surrogateescape")
        parts += [
            _ROUTE.pack(route.skip, route.channel, route.frame_max, len(exchange)),
            exchange,
            bytes((len(key),)),
            key,
        ]
    parts.append(marks)
    if due:
        parts.append(due)
    if ends:
        parts.append(_big_endian(array("I", ends)))
    if which:
        parts.append(which)
    return b"".join(parts), run.data


def encode_settle(queue_id: int, ranges: Sequence[Range]) -> Parts:
    """Messages of a queue that are done with."""
    return (_SETTLE.pack(SETTLE, queue_id) + b"".join([_RANGE.pack(*each) for each in ranges]),)


def encode_returned(queue_id: int, ranges: Sequence[Range]) -> Parts:
    """Messages of a queue that were delivered before and wait again."""
    return (_SETTLE.pack(RETURNED, queue_id) + b"".join([_RANGE.pack(*each) for each in ranges]),)


def encode_counted(queue_id: int, deliveries: int, due_ms: int, ranges: Sequence[Range]) -> Parts:
    """Messages of a queue that were given back so often by now, and when they are ready again, 0: at once."""
    head = _COUNTED.pack(COUNTED, queue_id, deliveries, due_ms)
    return (head + b"".join([_RANGE.pack(*each) for each in ranges]),)


def encode_topology(change: Mapping[str, Any]) -> Parts:
    """A change of exchanges, queues or bindings."""
    return (bytes((TOPOLOGY,)) + json.dumps(change, separators=(",", ":")).encode(),)


Record = Published | Settled | Returned | Counted | Stored | dict[str, Any]


def decode(record: bytes | memoryview) -> Record:
    """What a record says, in bytes of its own; Damaged when it cannot be read."""
    try:
        kind = record[0]
        if kind in (PUBLISH, ENTRIES):
            return _decode_publish(record)
        if kind in (SETTLE, RETURNED):
            _, queue = _SETTLE.unpack_from(record)
            ranges = list(_RANGE.iter_unpack(record[_SETTLE.size :]))
            return Settled(queue, ranges) if kind == SETTLE else Returned(queue, ranges)
        if kind == COUNTED:
            _, queue, deliveries, due_ms = _COUNTED.unpack_from(record)
            return Counted(
                queue, deliveries, due_ms, list(_RANGE.iter_unpack(record[_COUNTED.size :]))
            )
        if kind == ITEMS:
            return decode_items(record)
        if kind == TOPOLOGY:
            change = json.loads(bytes(record[1:]))
            if isinstance(change, dict):
                return change
    except (struct.error, IndexError, ValueError) as error:
        raise Damaged(f"record of {len(record)} bytes: {error}") from error
    raise Damaged(f"record of {len(record)} bytes: unknown kind {bytes(record[:1]).hex()}")


def _decode_publish(record: bytes | memoryview) -> Published:
    head = _PUBLISH.unpack_from(record)
    kind, queues, routes, count, stride, ends_size, which_size, due_size, *traits = head
    at = _PUBLISH.size
    places = list(_PLACE.iter_unpack(record[at : at + queues * _PLACE.size]))
    at += queues * _PLACE.size
    found: list[PublishedRoute] = []
    for _ in range(routes):
        skip, channel, frame_max, size = _ROUTE.unpack_from(record, at)
        at += _ROUTE.size
        exchange = str(record[at : at + size], "utf-8", "surrogateescape")
        at += size
        size = record[at]
        key = str(record[at + 1 : at + 1 + size], "utf-8", "surrogateescape")
        at += 1 + size
        found.append(PublishedRoute(skip, channel, frame_max, exchange, key))
    arrived_ms, expiration, priority, marks_size = traits
    marks = unpack_marks(json.loads(bytes(record[at : at + marks_size]))) if marks_size else None
    at += marks_size
    due = _native("Q", bytes(record[at : at + due_size])) if due_size else None
    ids: int | array[int] | None = None
    if kind == ENTRIES and due is not None:
        ids, due = (due[0] if due_size == 8 else due), None
    at += due_size
    ends = _native("I", bytes(record[at : at + ends_size])).tobytes() if ends_size else None
    at += ends_size
    which = bytes(record[at : at + which_size]) if which_size else None
    data = bytes(record[at + which_size :])
    expiration_ms = None if expiration == _NO_EXPIRATION else expiration
    published = Published(
        places,
        count,
        stride,
        ends,
        which,
        found,
        data,
        arrived_ms,
        expiration_ms,
        priority,
        marks,
        due,
        ids,
    )
    _check_sizes(published, queues, ends_size, which_size, due_size)
    return published


def _check_sizes(
    found: Published, places: int, ends_size: int, which_size: int, due_size: int
) -> None:
    """Raises Damaged where a publish does not hold what it announces: slicing does not notice."""
    count = found.messages
    ends, which = found.ends or b"", found.which or b""
    data_size = array("I", ends)[-1] if ends else count * found.stride
    which_max = max(which) if which else 0
    if (
        len(found.places) != places
        or len(ends) != ends_size
        or ends_size not in (0, count * 4)
        or len(which) != which_size
        or which_size not in (0, count)
        or due_size not in (0, 8, count * 8, count * 16)
        or (due_size and len(found.places) > 1)
        or (found.ids is not None and due_size not in (8, count * 16))
        or which_max >= len(found.routes)
        or len(found.data) != data_size
        or not data_size
    ):
        raise Damaged(f"publish of {count} messages with {len(found.data)} bytes of data")


def _big_endian(table: "array[int]") -> bytes:
    if not _IS_BIG_ENDIAN:
        table = table[:]
        table.byteswap()
    return table.tobytes()


def _native(kind: str, big_endian: bytes) -> "array[int]":
    table = array(kind, big_endian)
    if not _IS_BIG_ENDIAN:
        table.byteswap()
    return table


class Timestamp(int):
    """A field table's timestamp, which differs from the integer of the same value."""


def pack_table(table: Mapping[str, Any]) -> Any:
    """A field table as JSON that gives every type back: what JSON lacks is an object with one key, its type."""
    return _pack(table)


def unpack_table(packed: Any) -> dict[str, Any]:
    """The table that `pack_table` was given; Damaged when it was another value."""
    try:
        table = _unpack(packed)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"not a table: {packed!r}") from error
    if not isinstance(table, dict) or list(packed) != ["F"]:
        raise Damaged(f"not a table: {packed!r}")
    return table


def _pack(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {"F": {key: _pack(item) for key, item in value.items()}}
    if isinstance(value, list):
        return [_pack(item) for item in value]
    if isinstance(value, bytes):
        return {"x": value.hex()}
    if isinstance(value, Decimal):
        return {"D": str(value)}
    if type(value).__name__ == "Timestamp":
        return {"T": int(value)}
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *more = value.items()
    if more or kind not in _UNPACK:
        raise Damaged(f"unknown type of value: {sorted(value)}")
    return _UNPACK[kind](content)


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "F": lambda content: {key: _unpack(item) for key, item in content.items()},
    "x": bytes.fromhex,
    "D": Decimal,
    "T": Timestamp,
}
