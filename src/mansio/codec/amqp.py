"""The hot codec of AMQP 0-9-1: whole receive buffers in, runs out; slices of runs in, deliveries out.

This file is both the compiled form (Cython, types in `amqp.pxd`) and the fallback: branches on `cython.compiled`
hold the few lines that differ. Frames are those of the specification, sections 2.3.5 and 4.2.

    method  01 | channel u16 | size u32 | class u16 | method u16 | arguments | CE
    header  02 | channel u16 | size u32 | class u16 | weight u16 | body size u64 | flags u16 | properties | CE
    body    03 | channel u16 | size u32 | bytes | CE

A *message* here is the publish method frame, its header frame and its body frames, as they came. A publisher repeats
itself, so the bytes up to the body of one message (its *preamble*) are compared with those of the message before: where
they agree, nothing is parsed. Messages that follow each other with the same method frame form a *segment*; segments of
one buffer whose routes lead to the same queues become one run, also when routes alternate (`_Grouping`).
"""

from array import array
from typing import Any

try:
    import cython
except ImportError:  # pragma: no cover - where Cython is not installed
    from mansio.codec import _cython as cython

if not cython.compiled:  # names that `amqp.pxd` gives the compiled form
    memcmp: Any = None
    memcpy: Any = None
    chars: Any = None
    buffer_chars: Any = None
    new_bytes: Any = None
    numbers: Any = None

COMPILED: bool = cython.compiled

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
"""Kinds of item that `Scan.scan` puts out: the frame types, `(kind, channel, payload)` …"""
RUN, SETTLE, MISS, FAULT = 16, 17, 18, 19
"""… and `(RUN, routes, which, data, count, stride, ends, flags)`, `(SETTLE, channel, method id, first, last, bits)`,
`(MISS, channel, frame)` and `(FAULT, reply code, text)`."""

PERSISTENT, SPECIAL, DELAYED = 1, 2, 4
"""Flags of a run. A special message stands alone in its run: its properties say more than bytes can be compared for.
Delayed messages have an x-delay header."""

PUBLISH_ID, ACK_ID, REJECT_ID, NACK_ID = 0x3C0028, 0x3C0050, 0x3C005A, 0x3C0078

WHOLE_BYTES_MAX = 131_072
"""A message up to this size is waited for and taken whole; a larger one is put together frame by frame."""

TABLE_DEPTH_MAX = 64
"""Nesting of field tables, as in `amqp_values`: a deeper one is refused."""

OFFSET_MAX = (1 << 63) - 1
"""The last offset that an x-stream-offset header holds."""

_REPLY_TO = b"amq.rabbitmq.reply-to"
_RECEIPT = b"x-receipt"
_DELAY = b"x-delay"
_OFFSET = b"x-stream-offset"
_OFFSET_ENTRY = b"\x0fx-stream-offsetl"  # as it begins; i64 follows
_OFFSET_ENTRY_BYTES = 25
_UNSORTED, _UNSOUND = -1, -2
_WAIT, _ALONE, _MISSING, _FAULTY, _LATER = 0, -1, -2, -3, -4
_END = 0xCE
# content-type, content-encoding | priority is one octet | correlation-id … cluster-id: short strings but for timestamp
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION, _REPLY, _EXPIRATION, _TIMESTAMP, _USER = 0x0400, 0x0200, 0x0100, 0x0040, 0x0010
_SPECIAL_BITS = _EXPIRATION | _USER | 0x0003


def _u16(p: Any, i: int) -> int:
    return (p[i] << 8) | p[i + 1]  # type: ignore[no-any-return]


def _u32(p: Any, i: int) -> int:
    return (_u16(p, i) << 16) | _u16(p, i + 2)  # unsigned throughout, also when compiled


def _u64(p: Any, i: int) -> int:
    return (_u32(p, i) << 32) | _u32(p, i + 4)


def _value_end(p: Any, at: int, stop: int) -> int:
    """Where the field value at `at` ends, whatever lies inside of it; -1 if it is none that ends in `stop`."""
    kind = p[at]
    at += 1
    if kind == 83 or kind == 120 or kind == 70 or kind == 65:  # S x F A: u32 length, content
        if stop - at < 4:
            return -1
        at += 4 + _u32(p, at)
    elif kind == 116 or kind == 98 or kind == 66:  # t b B
        at += 1
    elif kind == 115 or kind == 117:  # s u
        at += 2
    elif kind == 73 or kind == 105 or kind == 102:  # I i f
        at += 4
    elif kind == 108 or kind == 76 or kind == 100 or kind == 84:  # l L d T
        at += 8
    elif kind == 68:  # D
        at += 5
    elif kind != 86:  # V
        return -1
    return at if at <= stop else -1


class Scan:
    """Reads the frames of one connection, one buffer at a time; keeps nothing between two calls but its limits."""

    def __init__(self, frame_max: int) -> None:
        """`frame_max`: bytes of the largest frame as negotiated, its eight bytes of framing included."""
        self.frame_max = frame_max
        self.whole_max = WHOLE_BYTES_MAX
        self.grouping = True
        """Whether segments may be joined over others in between. Without, runs come in the order of publishing."""
        self.segments: list[Any] = []
        self.settles: list[Any] = []
        self._reset()

    def _reset(self) -> None:
        self.fault: tuple[int, int, str] | None = None
        self.route: Any = None
        # The open segment's route wants what was settled before it to be settled.
        self.ordered = False
        self.frame_at = 0  # where the method frame of the open segment lies
        self.frame_len = 0
        self.start = 0
        self.stop = 0
        self.count = 0
        self.stride = 0
        self.ends: list[int] | None = None
        self.flags = 0
        self.model_len = 0  # the preamble to compare with: 0 for none
        self.model_total = 0
        self.model: bytes = b""
        self.model_at = 0
        self.settle_key = 0
        self.settle_first = 0
        self.settle_last = 0

    def scan(
        self, buf: bytearray, pos: int, end: int, routes: dict[bytes, Any], out: list[Any]
    ) -> int:
        """Parses `buf[pos:end]`, appends items to `out`, and answers the position that it got to.

        `routes` maps whole publish method frames to routes; a route has `group`, a frozenset of what it leads to, and
        `in_order`: it matters there what was settled before.
        Stops behind each frame that is neither a publish nor a settlement, so that the caller may act on it, and
        before the method frame of an unknown route (MISS). The rest is an incomplete frame or message.
        """
        self._reset()
        self.buf = buf
        if cython.compiled:
            p = buffer_chars(buf)
        else:
            p = buf
        self.p = p
        while pos < end:
            length = self.model_len
            if length:
                total = self.model_total
                at = pos
                if cython.compiled:
                    model_at = self.model_at
                    while (
                        pos + total <= end
                        and p[pos + total - 1] == _END
                        and memcmp(p + pos, p + model_at, length) == 0
                    ):
                        pos += total
                else:
                    model = self.model
                    same = buf.startswith
                    while pos + total <= end and same(model, pos) and p[pos + total - 1] == _END:
                        pos += total
                if pos != at:
                    self._extend(at, pos, total)
                    continue
            n = self._next(pos, end, routes)
            if n > 0:
                pos += n
                continue
            self._flush(out)
            if n == _ALONE:
                n = self._frame(pos, end)
                if n > 0:
                    out.append((p[pos], _u16(p, pos + 1), bytes(buf[pos + 7 : pos + n - 1])))
                    return pos + n
            if n == _MISSING:
                out.append((MISS, _u16(p, pos + 1), bytes(buf[pos : pos + 8 + _u32(p, pos + 3)])))
            elif n == _FAULTY:
                out.append(self.fault)
            return pos
        self._flush(out)
        return pos

    def one(self, buf: bytearray, pos: int, end: int, out: list[Any]) -> int:
        """Takes one frame at `pos` as it is: `(type, channel, payload)`, or a FAULT, or nothing yet."""
        self.buf = buf
        if cython.compiled:
            self.p = buffer_chars(buf)
        else:
            self.p = buf
        n = self._frame(pos, end)
        if n > 0:
            out.append((buf[pos], _u16(self.p, pos + 1), bytes(buf[pos + 7 : pos + n - 1])))
            return pos + n
        if n == _FAULTY:
            out.append(self.fault)
        return pos

    def _next(self, pos: int, end: int, routes: dict[bytes, Any]) -> int:
        """The length of the publish or settlement at `pos`, taken in; or _WAIT, _ALONE, _MISSING, _FAULTY, _LATER."""
        n = self._frame(pos, end)
        if n <= 0:
            return n
        p = self.p
        if p[pos] != METHOD or n < 12:
            return _ALONE
        method = _u32(p, pos + 7)
        if method == PUBLISH_ID:
            return self._publish(pos, end, n, routes)
        if n == 21 and (method == ACK_ID or method == NACK_ID or method == REJECT_ID):
            self._settle(pos, method)
            return n
        return _ALONE

    def _frame(self, pos: int, end: int) -> int:
        """The length of the complete frame at `pos`, or _WAIT, or _FAULTY."""
        p = self.p
        if pos >= end:
            return _WAIT
        kind = p[pos]
        if kind != METHOD and kind != HEADER and kind != BODY and kind != HEARTBEAT:
            self.fault = (FAULT, 501, f"unknown frame type {kind}")
            return _FAULTY
        if end - pos < 7:
            return _WAIT
        size = _u32(p, pos + 3)
        if size > self.frame_max:  # eight bytes more than agreed are let through, as RabbitMQ does
            self.fault = (
                FAULT,
                501,
                f"frame of {size} bytes is too large, the limit is {self.frame_max}",
            )
            return _FAULTY
        if end - pos < size + 8:
            return _WAIT
        if p[pos + size + 7] != _END:
            self.fault = (FAULT, 501, f"frame ends with octet {p[pos + size + 7]}, not {_END}")
            return _FAULTY
        return size + 8

    def _publish(self, pos: int, end: int, frame_len: int, routes: dict[bytes, Any]) -> int:
        """Takes the message whose method frame of `frame_len` bytes lies at `pos` into a segment."""
        p = self.p
        head = pos + frame_len
        if end - head < 7:
            return _WAIT if head == end or p[head] == HEADER else _ALONE
        if p[head] != HEADER or _u16(p, head + 1) != _u16(p, pos + 1):
            return _ALONE
        size = _u32(p, head + 3)
        if size < 14 or size > self.frame_max - 8:
            return _ALONE
        body = head + size + 8
        if body - pos > self.whole_max:
            return _ALONE
        if body > end:
            return _WAIT
        if p[body - 1] != _END or _u32(p, head + 7) != 0x3C0000:
            return _ALONE
        left = _u64(p, head + 11)
        if left > self.whole_max:
            return _ALONE
        stop = self._body(pos, body, end, left)
        if stop <= 0:
            return stop
        flags = self._classify(head + 19, body - 1)
        if flags & SPECIAL and (self.settle_key or self.settles):
            return _LATER  # it may be refused, and what was settled before it is settled
        if not self._same_frame(pos, frame_len) or flags != self.flags:
            route = routes.get(_take(self.buf, pos, head))
            if route is None:
                return _MISSING
            if route.in_order and (self.settle_key or self.settles):
                return _LATER
            self._open(route, pos, frame_len, flags)
        elif self.ordered and (self.settle_key or self.settles):
            return _LATER
        self._extend(pos, stop, stop - pos)
        if not flags & SPECIAL:
            self.model_len = body + 7 - pos if left else head + size + 8 - pos
            self.model_total = stop - pos
            self.model_at = pos
            if not cython.compiled:
                self.model = bytes(self.buf[pos : pos + self.model_len])
            if left and stop != body + 8 + left:
                self.model_len = 0  # several body frames: only the first length would be compared
        return stop - pos

    def _body(self, pos: int, at: int, end: int, left: int) -> int:
        """Where the body frames that begin at `at` end, when they hold exactly `left` bytes; or _WAIT, _ALONE."""
        p = self.p
        while left:
            if at - pos > self.whole_max:
                return _ALONE
            if end - at < 7:
                return _WAIT if at == end or p[at] == BODY else _ALONE
            size = _u32(p, at + 3)
            if p[at] != BODY or _u16(p, at + 1) != _u16(p, pos + 1) or size == 0 or size > left:
                return _ALONE
            if size > self.frame_max - 8 or at - pos + size > self.whole_max:
                return _ALONE
            if end - at < size + 8:
                return _WAIT
            if p[at + size + 7] != _END:
                return _ALONE
            left -= size
            at += size + 8
        return at

    def _classify(self, at: int, stop: int) -> int:
        """The flags of a message whose property flags lie at `at` and whose properties end at `stop`."""
        p = self.p
        bits = _u16(p, at)
        if bits & _SPECIAL_BITS:
            return SPECIAL
        at += 2
        flags = 0
        bit = _CONTENT_TYPE
        while bit >= 4:
            if bits & bit:
                if at >= stop:
                    return SPECIAL
                if bit == _HEADERS:
                    size = _u32(p, at) + 4 if stop - at >= 4 else stop
                    if at + size > stop:
                        return SPECIAL
                    flags = self._table(at + 4, at + size, 0)
                    if flags & SPECIAL:  # also if it is -1
                        return SPECIAL
                elif bit == _MODE or bit == _PRIORITY:
                    if bit == _MODE:
                        if p[at] == 2:
                            flags |= PERSISTENT
                        elif p[at] != 1:
                            return SPECIAL
                    size = 1
                elif bit == _TIMESTAMP:
                    size = 8
                else:
                    size = p[at] + 1
                    if (
                        bit == _REPLY
                        and size > 21
                        and at + size <= stop
                        and self.buf.startswith(_REPLY_TO, at + 1)
                    ):
                        return SPECIAL
                at += size
            bit >>= 1
        return flags if at == stop else SPECIAL

    def _table(self, at: int, stop: int, depth: int) -> int:
        """Flags for the field table entries in [at, stop), by which of them act; -1 if they are not sound.

        Those that act, on the level of the headers themselves, are CC, BCC, x-receipt and x-delay.
        """
        p = self.p
        acts = 0
        while at < stop:
            name = at + 1
            size = p[at]
            at = name + size
            if at >= stop:
                return -1
            if depth == 0 and size < 10:
                if size == 2 or size == 3:
                    if p[at - 1] == 67 and p[at - 2] == 67 and (size == 2 or p[name] == 66):
                        acts |= SPECIAL
                elif p[name] == 120:  # x: all others need no call
                    if size == 9 and self.buf.startswith(_RECEIPT, name):
                        acts |= SPECIAL
                    elif size == 7 and self.buf.startswith(_DELAY, name):
                        acts |= DELAYED
            at = self._value(at, stop, depth)
            if at < 0:
                return -1
        return acts

    def _value(self, at: int, stop: int, depth: int) -> int:
        """Where the field value at `at` ends, or -1 if it is none (types: RabbitMQ's table of 4.2.1).

        Floats that are no finite numbers are none either, as for `amqp_values`: who takes the message apart later, to
        dead-letter it, could not read them.
        """
        p = self.p
        kind = p[at]
        end = _value_end(p, at, stop)
        if end > 0 and (kind == 102 or kind == 100) and p[at + 1] & 0x7F == 0x7F:  # f d
            return end if p[at + 2] < (0x80 if kind == 102 else 0xF0) else -1
        if end < 0 or (kind != 83 and kind != 120 and kind != 70 and kind != 65):  # S x F A
            return end
        if depth >= TABLE_DEPTH_MAX:
            return -1
        at += 5
        if kind == 70 and self._table(at, end, depth + 1) < 0:
            return -1
        while kind == 65 and at < end:
            at = self._value(at, end, depth + 1)
            if at < 0:
                return -1
        return end

    def _same_frame(self, pos: int, frame_len: int) -> bool:
        if self.route is None or frame_len != self.frame_len:
            return False
        if cython.compiled:
            return memcmp(self.p + pos, self.p + self.frame_at, frame_len) == 0  # type: ignore[no-any-return]
        return (
            self.buf[pos : pos + frame_len] == self.buf[self.frame_at : self.frame_at + frame_len]
        )

    def _open(self, route: Any, pos: int, frame_len: int, flags: int) -> None:
        self._close()
        self.route = route
        self.ordered = route.in_order
        self.frame_at = pos
        self.frame_len = frame_len
        self.flags = flags
        self.start = pos
        self.stop = pos
        self.model_len = 0

    def _extend(self, at: int, stop: int, total: int) -> None:
        """Adds the messages of `total` bytes each that lie in `[at, stop)` to the open segment."""
        if (
            self.count and at != self.stop
        ):  # something lay between: the bytes are no longer in one piece
            route, frame_at, frame_len, flags = (
                self.route,
                self.frame_at,
                self.frame_len,
                self.flags,
            )
            self._close()
            self.route, self.frame_at, self.frame_len, self.flags = (
                route,
                frame_at,
                frame_len,
                flags,
            )
        if not self.count:
            self.start = at
            self.stride = total
        elif self.ends is None and total != self.stride:
            self.ends = list(range(self.stride, self.stop - self.start + 1, self.stride))
        if self.ends is not None:
            self.ends.extend(range(at - self.start + total, stop - self.start + 1, total))
        self.count += (stop - at) // total
        self.stop = stop

    def _close(self) -> None:
        if self.count:
            self.segments.append(
                (self.route, self.start, self.stop, self.count, self.stride, self.ends, self.flags)
            )
        self.route = None
        self.count = 0
        self.ends = None

    def _settle(self, pos: int, method: int) -> None:
        """Folds the ack, nack or reject at `pos` into the one before where their tags follow each other."""
        p = self.p
        tag = _u64(p, pos + 11)
        bits = p[pos + 19]
        key = (method << 24) | (_u16(p, pos + 1) << 8) | bits
        multiple = bits & 1 if method != REJECT_ID else 0
        if key == self.settle_key and tag and tag == self.settle_last + 1 and not multiple:
            self.settle_last = tag
            return
        self._close_settle()
        if self.ordered:
            self.model_len = 0  # the next message is looked at
        self.settle_key = key
        self.settle_first = tag
        self.settle_last = tag

    def _close_settle(self) -> None:
        key = self.settle_key
        if key:
            item = (
                SETTLE,
                (key >> 8) & 0xFFFF,
                key >> 24,
                self.settle_first,
                self.settle_last,
                key & 0xFF,
            )
            self.settles.append(item)
        self.settle_key = 0

    def _flush(self, out: list[Any]) -> None:
        """Puts out what has been gathered. Settlements go behind the publishes of the same buffer: nobody can tell."""
        if not self.segments and self.count:  # most often there is one
            out.append(
                _run(
                    self.buf,
                    self.route,
                    self.start,
                    self.stop,
                    self.count,
                    self.stride,
                    self.ends,
                    self.flags,
                )
            )
            self.count = 0
        self._close()
        self._close_settle()
        if self.segments:
            if len(self.segments) > 1 and self.grouping:
                _group(self.buf, self.segments, out)
            else:
                for route, start, stop, count, stride, ends, flags in self.segments:
                    out.append(_run(self.buf, route, start, stop, count, stride, ends, flags))
            self.segments = []
        if self.settles:
            out.extend(self.settles)
            self.settles = []
        self.model_len = 0


def _run(
    buf: bytearray,
    route: Any,
    start: int,
    stop: int,
    count: int,
    stride: int,
    ends: list[int] | None,
    flags: int,
) -> Any:
    """The item for one segment."""
    if ends is None:
        return RUN, (route,), None, _take(buf, start, stop), count, stride, None, flags
    return RUN, (route,), None, _take(buf, start, stop), count, 0, _pack(ends), flags


def _take(buf: bytearray, start: int, stop: int) -> bytes:
    if cython.compiled:
        return new_bytes(buffer_chars(buf) + start, stop - start)  # type: ignore[no-any-return]
    with memoryview(buf) as view:
        return bytes(view[start:stop])


def _pack(ends: list[int] | None) -> bytes | None:
    """Ends of messages as native u32, as `encode_deliveries` reads them."""
    return array("I", ends).tobytes() if ends is not None else None


class _Gathered:
    """Segments of one buffer that lead to the same queues, on their way to one run."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.routes: list[Any] = []
        self.index: dict[int, int] = {}
        self.which = bytearray()
        self.pieces: list[bytes] = []
        self.count = 0
        self.size = 0
        self.stride = 0
        self.ends: list[int] | None = None

    def add(
        self, piece: bytes, route: Any, count: int, stride: int, ends: list[int] | None
    ) -> None:
        """Adds a segment's bytes: `count` messages of `stride` bytes each, or those that `ends` delimits."""
        number = self.index.get(id(route), -1)
        if number < 0:
            number = len(self.routes)
            self.index[id(route)] = number
            self.routes.append(route)
        if count == 1:
            self.which.append(number)
        else:
            self.which.extend(bytes((number,)) * count)
        if not self.count and ends is None:
            self.stride = stride
        elif self.ends is None and (ends is not None or stride != self.stride):
            self.ends = list(range(self.stride, self.size + 1, self.stride)) if self.count else []
        if self.ends is not None:
            size = self.size
            self.ends.extend(
                [size + e for e in ends]
                if ends is not None
                else range(size + stride, size + count * stride + 1, stride)
            )
        self.pieces.append(piece)
        self.count += count
        self.size += len(piece)

    def item(self) -> Any:
        which = bytes(self.which) if len(self.routes) > 1 else None
        stride = 0 if self.ends is not None else self.stride
        return (
            RUN,
            tuple(self.routes),
            which,
            b"".join(self.pieces),
            self.count,
            stride,
            _pack(self.ends),
            self.flags,
        )


def _group(buf: bytearray, segments: list[Any], out: list[Any]) -> None:
    """Joins segments that lead to the same queues, as long as no queue would see two messages change places."""
    groups: dict[Any, Any] = {}
    taken: set[Any] = set()  # what the groups lead to
    for route, start, stop, count, stride, ends, flags in segments:
        goal = route.group
        group = groups.get(goal)
        if (
            group is None
            or group.flags != flags
            or flags & SPECIAL
            or len(group.routes) > 254  # `which` has one octet a message
        ):
            if group is not None or flags & SPECIAL or not taken.isdisjoint(goal):
                out.extend([g.item() for g in groups.values()])
                groups.clear()
                taken.clear()
            taken.update(goal)
            group = _Gathered(flags)
            groups[goal] = group
        group.add(_take(buf, start, stop), route, count, stride, ends)
    out.extend([g.item() for g in groups.values()])


def bounds(i: int, stride: int, ends: bytes | None) -> tuple[int, int]:
    """Where message `i` of a run lies in its data: [start, stop)."""
    if ends is None:
        return i * stride, (i + 1) * stride
    with memoryview(ends).cast("I") as table:
        return (table[i - 1] if i else 0), table[i]


def encode_deliveries(
    data: bytes,
    stride: int,
    ends: bytes | None,
    which: bytes | None,
    tails: tuple[Any, ...],
    start: int,
    count: int,
    step: int,
    prefix: bytes,
    tag: int,
    channel: int,
) -> bytes:
    """`count` messages of a run, from number `start` in steps of `step`, as basic.deliver frames with tags from `tag`.

    `prefix`: class, method and consumer tag. `tails`: for each route of the run (length of its publish method frame,
    the bytes behind the delivery tag [redelivered, exchange, routing key, CE], channel that it was published on).
    """
    if cython.compiled:
        return _encode(  # type: ignore[no-any-return]
            data, stride, ends, which, tails, start, count, step, prefix, tag, channel
        )
    parts: list[bytes] = []
    stop = start + count * step
    if which is None and tails[0][2] == channel:
        skip, tail, _ = tails[0]
        head = _deliver_head(channel, prefix, tail)
        if ends is None:
            # One comprehension: the cheapest loop that Python has.
            parts = [
                part
                for o, t in zip(
                    range(start * stride, stop * stride, step * stride),
                    range(tag, tag + count),
                    strict=True,
                )
                for part in (head, t.to_bytes(8, "big"), tail, data[o + skip : o + stride])
            ]
            return b"".join(parts)
        for i, t in zip(range(start, stop, step), range(tag, tag + count), strict=True):
            a, b = bounds(i, 0, ends)
            parts += (head, t.to_bytes(8, "big"), tail, data[a + skip : b])
        return b"".join(parts)
    for i, t in zip(range(start, stop, step), range(tag, tag + count), strict=True):
        skip, tail, source = tails[which[i] if which is not None else 0]
        a, b = bounds(i, stride, ends)
        raw = data[a + skip : b]
        if source != channel:
            raw = rechannel(raw, channel)
        parts += (_deliver_head(channel, prefix, tail), t.to_bytes(8, "big"), tail, raw)
    return b"".join(parts)


def _deliver_head(channel: int, prefix: bytes, tail: bytes) -> bytes:
    size = len(prefix) + 8 + len(tail) - 1
    return b"\x01" + channel.to_bytes(2, "big") + size.to_bytes(4, "big") + prefix


def rechannel(raw: bytes, channel: int) -> bytes:
    """The frames in `raw` with another channel number."""
    patched = bytearray(raw)
    at = 0
    while at < len(patched):
        patched[at + 1 : at + 3] = channel.to_bytes(2, "big")
        at += _u32(patched, at + 3) + 8
    return bytes(patched)


def _encode(
    data: Any,
    stride: int,
    ends: Any,
    which: Any,
    tails: Any,
    start: int,
    count: int,
    step: int,
    prefix: Any,
    tag: int,
    channel: int,
) -> Any:  # pragma: no cover - compiled only
    """`encode_deliveries` in C: one allocation, two copies a message."""
    table = cython.NULL
    routes = cython.NULL
    if ends is not None:
        table = numbers(ends)
    if which is not None:
        routes = chars(which)
    source = chars(data)
    front = chars(prefix)
    front_len = len(prefix)
    skip, tail, origin = tails[0]
    total = 0
    i = start
    for _ in range(count):
        if routes != cython.NULL:
            skip, tail, origin = tails[routes[i]]
        total += (
            (_end_of(table, i, stride) - _start_of(table, i, stride))
            - skip
            + 15
            + front_len
            + len(tail)
        )
        i += step
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    i = start
    skip, tail, origin = tails[0]
    ending = chars(tail)
    tail_len = len(tail)
    for _ in range(count):
        if routes != cython.NULL:
            skip, tail, origin = tails[routes[i]]
            ending = chars(tail)
            tail_len = len(tail)
        w[0] = 1
        w[1] = channel >> 8
        w[2] = channel & 0xFF
        _put_u32(w, 3, front_len + 7 + tail_len)
        memcpy(w + 7, front, front_len)
        w += 7 + front_len
        _put_u32(w, 0, tag >> 32)
        _put_u32(w, 4, tag & 0xFFFFFFFF)
        memcpy(w + 8, ending, tail_len)
        w += 8 + tail_len
        at = _start_of(table, i, stride) + skip
        size = _end_of(table, i, stride) - at
        memcpy(w, source + at, size)
        if origin != channel:
            _patch(w, size, channel)
        w += size
        tag += 1
        i += step
    return result


def _start_of(table: Any, i: int, stride: int) -> int:  # pragma: no cover - compiled only
    if table == cython.NULL:
        return i * stride
    return table[i - 1] if i else 0


def _end_of(table: Any, i: int, stride: int) -> int:  # pragma: no cover - compiled only
    if table == cython.NULL:
        return (i + 1) * stride
    return table[i]  # type: ignore[no-any-return]


def _put_u32(w: Any, at: int, value: int) -> None:
    w[at] = (value >> 24) & 0xFF
    w[at + 1] = (value >> 16) & 0xFF
    w[at + 2] = (value >> 8) & 0xFF
    w[at + 3] = value & 0xFF


def _patch(w: Any, size: int, channel: int) -> None:  # pragma: no cover - compiled only
    at = 0
    while at + 7 < size:
        w[at + 1] = channel >> 8
        w[at + 2] = channel & 0xFF
        at += _u32(w, at + 3) + 8


def stamp_offsets(
    data: bytes,
    count: int,
    stride: int,
    ends: bytes | None,
    skips: tuple[int, ...],
    which: bytes | None,
    first: int,
) -> tuple[bytes, int, bytes | None]:
    """The messages of a run with the header `x-stream-offset` (type l): `first`, `first + 1`, … Data, stride and ends.

    `skips`: for each route of the run the length of its publish method frame. Headers get the order of their names, as
    RabbitMQ 3.10.8 makes it when it adds this one; it takes the place of one of its name, and of others with one name
    the first stays. All else stays byte for byte. ValueError: these are no whole messages with sound properties as far
    as the headers; OverflowError: an offset below 0 or above `OFFSET_MAX`.
    """
    if first < 0 or first > OFFSET_MAX - count + 1:
        raise OverflowError(f"{count} offsets from {first} on are not within 0 and {OFFSET_MAX}")
    if count > len(data):
        raise ValueError(f"{len(data)} bytes are no {count} messages")
    if ends is not None and len(ends) != 4 * count:
        raise ValueError(f"{len(ends)} bytes do not delimit {count} messages")
    if which is not None and len(which) != count:
        raise ValueError(f"{len(which)} bytes do not tell the routes of {count} messages")
    return _stamp(data, count, stride, ends, skips, which, first)


def _stamp(
    data: bytes,
    count: int,
    stride: int,
    ends: bytes | None,
    skips: tuple[int, ...],
    which: bytes | None,
    offset: int,
) -> tuple[bytes, int, bytes | None]:
    """`stamp_offsets` of what has been checked as far as that is possible from outside."""
    length = len(data)
    room = length + count * (_OFFSET_ENTRY_BYTES + 4)
    result: Any
    if cython.compiled:
        table = cython.NULL
        if ends is not None:
            table = numbers(ends)
        p = chars(data)
        result = new_bytes(cython.NULL, room)
        w = chars(result)
    else:
        p = data
        result = w = bytearray(room)
    size = 0
    tops: list[int] | None = None  # where messages end, once two are not of one size
    at = 0
    to = 0
    skip = skips[0]
    for i in range(count):
        if cython.compiled:
            stop = _end_of(table, i, stride)
        else:
            stop = bounds(i, stride, ends)[1]
        if which is not None:
            skip = skips[which[i]]
        begin = to
        to = _stamp_one(w, to, p, data, at, at + skip, min(stop, length), offset + i)
        if to < 0:
            raise ValueError(f"message {i} of {count} is cut off or has unsound properties")
        if i == 0:
            size = to
        elif tops is None and to - begin != size:
            tops = list(range(size, begin + 1, size))
        if tops is not None:
            tops.append(to)
        at = stop
    if at != length:
        raise ValueError(f"{count} messages end at byte {at} of {length}")
    if to < room or not cython.compiled:
        result = bytes(result[:to])
    return result, 0 if tops is not None else size, _pack(tops)


def _stamp_one(
    w: Any, to: int, p: Any, data: bytes, start: int, head: int, stop: int, offset: int
) -> int:
    """Writes the message in [start, stop), its header frame at `head`, to `w[to:]`: where it ends, -1 if it is none."""
    if stop - head < 22 or head < start or p[head] != HEADER:
        return -1
    size = _u32(p, head + 3)
    if size < 14 or size > stop - head - 8:
        return -1
    last = head + 7 + size
    bits = _u16(p, head + 19)
    at = head + 21
    if bits & _CONTENT_TYPE:
        at += 1 + p[at]
    if bits & _ENCODING and at <= last:
        at += 1 + p[at]
    if bits & 1 or at > last:
        return -1
    entries = at
    end = at
    if bits & _HEADERS:
        if last - at < 4:
            return -1
        entries = at + 4
        end = entries + _u32(p, at)
        if end > last:
            return -1
    place = _offset_place(p, entries, end)
    if place == _UNSOUND:
        return -1
    header = to + head - start
    to = _copy(w, to, p, start, at)
    table = to
    to += 4
    if place == _UNSORTED:
        ordered = _order_entries(p, data, entries, end, offset)
        if cython.compiled:
            to = _copy(w, to, chars(ordered), 0, len(ordered))
        else:
            to = _copy(w, to, ordered, 0, len(ordered))
    else:
        to = _copy(w, to, p, entries, place)
        if cython.compiled:
            to = _copy(w, to, chars(_OFFSET_ENTRY), 0, 17)
        else:
            to = _copy(w, to, _OFFSET_ENTRY, 0, 17)
        _put_u32(w, to, offset >> 32)
        _put_u32(w, to + 4, offset & 0xFFFFFFFF)
        to = _copy(w, to + 8, p, place, end)
    _put_u32(w, table, to - table - 4)
    _put_u32(w, header + 3, size + (to - table) - (end - at))
    w[header + 19] |= _HEADERS >> 8
    return _copy(w, to, p, end, stop)


def _offset_place(p: Any, at: int, stop: int) -> int:
    """Where in the table entries [at, stop) x-stream-offset goes, by the order of names.

    _UNSORTED if names do not rise, or it is there; _UNSOUND if these are no entries. This and `_order_entries` are all
    that knows the order.
    """
    place = stop
    answer = 0
    before = -1
    while at < stop:
        value = at + 1 + p[at]
        if value >= stop:
            return _UNSOUND
        if cython.compiled:
            order = _compare(p, at, chars(_OFFSET_ENTRY), 0)
        else:
            order = _compare(p, at, _OFFSET_ENTRY, 0)
        if order == 0 or (before >= 0 and _compare(p, before, p, at) >= 0):
            answer = _UNSORTED
        elif order > 0 and place == stop:
            place = at
        before = at
        at = _value_end(p, value, stop)
        if at < 0:
            return _UNSOUND
    return answer or place


def _compare(p: Any, a: int, q: Any, b: int) -> int:
    """Below 0, 0 or above 0: how the short string at `p[a]` compares with that at `q[b]`, by their bytes."""
    if cython.compiled:
        order: int = memcmp(p + a + 1, q + b + 1, min(p[a], q[b]))
        return order if order else int(p[a]) - int(q[b])
    left, right = bytes(p[a + 1 : a + 1 + p[a]]), bytes(q[b + 1 : b + 1 + q[b]])
    return (left > right) - (left < right)


def _order_entries(p: Any, data: bytes, at: int, stop: int, offset: int) -> bytes:
    """The table entries [at, stop) in the order of their names, with this offset; of each name the first."""
    found: dict[bytes, bytes] = {}
    while at < stop:
        value = at + 1 + p[at]
        end = _value_end(p, value, stop)
        found.setdefault(data[at + 1 : value], data[at:end])
        at = end
    found[_OFFSET] = _OFFSET_ENTRY + offset.to_bytes(8, "big")
    return b"".join([found[name] for name in sorted(found)])


def _copy(w: Any, to: int, p: Any, start: int, stop: int) -> int:
    """Puts `p[start:stop]` to `w[to:]`: where it ends there."""
    size = stop - start
    if cython.compiled:
        memcpy(w + to, p + start, size)
    else:
        w[to : to + size] = p[start:stop]
    return to + size
