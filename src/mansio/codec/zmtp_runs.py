"""The hot codec between ZMTP and runs: slices of runs in, frames out; messages of several frames in, contents out.

This file is both the compiled form (Cython, types in `zmtp_runs.pxd`) and the fallback: branches on `cython.compiled`
hold the few lines that differ. Frames of ZMTP are those of `zmtp.py`, runs those of `core.run`.

A message of several frames is one body, and says in a header where its frames end:

    x-zmq-parts   an array of their sizes, each a signed integer of 32 or 64 bits
"""

from array import array
from typing import Any

try:
    import cython
except ImportError:  # pragma: no cover - where Cython is not installed
    from mansio.codec import _cython as cython

if not cython.compiled:  # names that `zmtp_runs.pxd` gives the compiled form
    memcmp: Any = None
    memcpy: Any = None
    chars: Any = None
    new_bytes: Any = None
    numbers: Any = None

COMPILED: bool = cython.compiled

_MORE, _LONG = 1, 2
_SHORT_BYTES_MAX = 255
_PARTS = b"\x0bx-zmq-partsA"  # as the header begins; u32 size and the sizes follow
_PARTS_BYTES = 13
_PLAIN_BYTES = (
    15  # of the payload of a header frame that has no headers: no more than a delivery mode
)


def encode_run(
    data: bytes,
    stride: int,
    ends: bytes | None,
    skips: tuple[int, ...],
    which: bytes | None,
    heads: tuple[bytes, ...],
    wanted: bytes | None,
    start: int,
    count: int,
    step: int,
) -> bytes:
    """Messages `start`, `start + step` … of a run, `count` in all, as ZMTP.

    By the number of its route: `skips`, the length of its publish method frame; `heads`, what goes in front of each
    message, whole frames with the flag MORE; `wanted`, 0 for messages that are left out, None where none are.
    """
    if cython.compiled:
        return _encode_run(data, stride, ends, skips, which, heads, wanted, start, count, step)
    out: list[bytes] = []
    table: Any = memoryview(ends).cast("I") if ends is not None else None
    for i in range(start, start + count * step, step):
        number = which[i] if which is not None else 0
        if wanted is not None and not wanted[number]:
            continue
        if table is None:
            at, end = i * stride, (i + 1) * stride
        else:
            at, end = (table[i - 1] if i else 0), table[i]
        out.append(heads[number])
        _add_frames(data, at + skips[number], end, out)
    return b"".join(out)


def _add_frames(data: bytes, at: int, end: int, out: list[bytes]) -> None:
    """The frames of the message whose header frame lies at `at`."""
    size = _u32(data, at + 3)
    header_at, at = at + 7, at + 8 + size
    pieces: list[bytes] = []
    while at < end:
        body_end = at + 7 + _u32(data, at + 3)
        pieces.append(data[at + 7 : body_end])
        at = body_end + 1
    body = b"".join(pieces)
    left = _sizes(data, header_at, size, len(body)) if size > _PLAIN_BYTES else []
    left = left or [len(body)]
    at = 0
    for n, part in enumerate(left, 1):
        flags = _MORE if n < len(left) else 0
        if part > _SHORT_BYTES_MAX:
            out.append(bytes((flags | _LONG,)) + part.to_bytes(8, "big"))
        else:
            out.append(bytes((flags, part)))
        out.append(body[at : at + part])
        at += part


def _sizes(data: bytes, at: int, size: int, total: int) -> list[int]:
    """Of the frames that the payload of a header frame tells of; none if it does not, or of a body of another size."""
    end = at + size
    at = data.find(_PARTS, at, end - 4)
    if at < 0:
        return []
    at += _PARTS_BYTES + 4
    stop = at + _u32(data, at - 4)
    if stop > end:
        return []
    sizes: list[int] = []
    while at < stop:
        width = {73: 4, 108: 8}.get(data[at], 0)
        if not width or at + 1 + width > stop:
            return []
        sizes.append(int.from_bytes(data[at + 1 : at + 1 + width], "big", signed=True))
        at += 1 + width
    return sizes if sum(sizes) == total and min(sizes, default=-1) >= 0 else []


def _u32(p: Any, i: int) -> int:
    return (p[i] << 24) | (p[i + 1] << 16) | (p[i + 2] << 8) | p[i + 3]  # type: ignore[no-any-return]


def _put_u32(w: Any, at: int, value: int) -> None:  # pragma: no cover - compiled only
    w[at] = (value >> 24) & 0xFF
    w[at + 1] = (value >> 16) & 0xFF
    w[at + 2] = (value >> 8) & 0xFF
    w[at + 3] = value & 0xFF


def _encode_run(
    data: bytes,
    stride: int,
    ends: Any,
    skips: Any,
    which: Any,
    heads: Any,
    wanted: Any,
    start: int,
    count: int,
    step: int,
) -> bytes:  # pragma: no cover - compiled only
    """`encode_run` in C: one allocation, one copy."""
    table = cython.NULL
    routes = cython.NULL
    asked = cython.NULL
    if ends is not None:
        table = numbers(ends)
    if which is not None:
        routes = chars(which)
    if wanted is not None:
        asked = chars(wanted)
    p = chars(data)
    number = 0
    total = 0
    skip = skips[0]
    head = heads[0]
    for n in range(count):
        i = start + n * step
        if routes != cython.NULL:
            number = routes[i]
            if asked != cython.NULL and not asked[number]:
                continue
            skip = skips[number]
            head = heads[number]
        at = (i * stride if table == cython.NULL else (table[i - 1] if i else 0)) + skip
        end = (i + 1) * stride if table == cython.NULL else table[i]
        total += len(head) + _frames_bytes(p, at, end)
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    for n in range(count):
        i = start + n * step
        if routes != cython.NULL:
            number = routes[i]
            if asked != cython.NULL and not asked[number]:
                continue
            skip = skips[number]
            head = heads[number]
        at = (i * stride if table == cython.NULL else (table[i - 1] if i else 0)) + skip
        end = (i + 1) * stride if table == cython.NULL else table[i]
        size = len(head)
        if size:
            memcpy(w, chars(head), size)
            w += size
        w = _put_frames(w, p, at, end)
    return result  # type: ignore[no-any-return]


def _body_bytes(p: Any, at: int, end: int) -> int:  # pragma: no cover - compiled only
    """Of the body whose frames lie in [at, end)."""
    size = 0
    while at < end:
        part = _u32(p, at + 3)
        size += part
        at += part + 8
    return size


def _frames_bytes(p: Any, at: int, end: int) -> int:  # pragma: no cover - compiled only
    """What `_put_frames` writes."""
    size = _u32(p, at + 3)
    body = _body_bytes(p, at + 8 + size, end)
    if size > _PLAIN_BYTES:
        parts = _parts_at(p, at + 7, size, body)
        if parts:
            total = body
            stop = parts + 4 + _u32(p, parts)
            parts += 4
            while parts < stop:
                total += 9 if _part(p, parts) > _SHORT_BYTES_MAX else 2
                parts += 5 if p[parts] == 73 else 9
            return total
    return body + (9 if body > _SHORT_BYTES_MAX else 2)


def _parts_at(p: Any, at: int, size: int, total: int) -> int:  # pragma: no cover - compiled only
    """Where the array of sizes lies in the payload of a header frame; 0: see `_sizes`."""
    stop = at + size
    while at + _PARTS_BYTES + 4 <= stop:
        if p[at] == 11 and memcmp(p + at, chars(_PARTS), _PARTS_BYTES) == 0:
            break
        at += 1
    else:
        return 0
    first = at + _PARTS_BYTES
    end = first + 4 + _u32(p, first)
    at = first + 4
    if end > stop or at >= end:
        return 0
    left = total
    while at < end:
        if p[at] != 73 and p[at] != 108:
            return 0
        width = 4 if p[at] == 73 else 8
        if at + 1 + width > end:
            return 0
        size = _part(p, at)
        if size < 0 or size > left:
            return 0
        left -= size
        at += 1 + width
    return 0 if left else first


def _part(p: Any, at: int) -> int:  # pragma: no cover - compiled only
    """The size at `at`, behind its type; -1 for those that there are not."""
    if p[at + 1] & 0x80:
        return -1
    if p[at] == 73:
        return _u32(p, at + 1)
    size = 0
    for i in range(8):
        size = (size << 8) | p[at + 1 + i]
    return size


def _put_head(w: Any, flags: int, size: int) -> Any:  # pragma: no cover - compiled only
    if size > _SHORT_BYTES_MAX:
        w[0] = flags | _LONG
        _put_u32(w, 1, size >> 32)
        _put_u32(w, 5, size & 0xFFFFFFFF)
        return w + 9
    w[0] = flags
    w[1] = size
    return w + 2


def _put_frames(w: Any, p: Any, at: int, end: int) -> Any:  # pragma: no cover - compiled only
    """The message whose header frame lies at `at`, as frames; where it ends."""
    size = _u32(p, at + 3)
    body = _body_bytes(p, at + 8 + size, end)
    parts = _parts_at(p, at + 7, size, body) if size > _PLAIN_BYTES else 0
    at += 8 + size
    left = 0  # in the body frame before `at`
    stop = parts + 4 + _u32(p, parts) if parts else 0
    parts += 4
    while True:
        size = body
        flags = 0
        if stop:
            size = _part(p, parts)
            parts += 5 if p[parts] == 73 else 9
            flags = _MORE if parts < stop else 0
        w = _put_head(w, flags, size)
        while size:
            if not left:
                left = _u32(p, at + 3)
                at += left + 8
            part = min(size, left)
            memcpy(w, p + at - 1 - left, part)
            w += part
            left -= part
            size -= part
        if not flags:
            return w


def encode_contents(
    messages: list[list[bytes]], first: int, persistent: bool, frame_max: int
) -> tuple[bytes, int, bytes | None]:
    """Each message, from its frame number `first` on, as the content of an AMQP message on channel 0: header frame,
    body frames. It has at least one frame from there on, 2 GiB at most. Data, stride and ends as a run has them.

    `frame_max`: bytes of the largest frame, its eight bytes of framing included.
    """
    out: list[bytes] = []
    tops: list[int] = []
    total = 0
    room = frame_max - 8
    for frames in messages:
        if len(frames) - first == 1:
            body = frames[first]
            fields = b"\x10\x00\x02" if persistent else b"\0\0"
        else:
            parts = frames[first:]
            body = b"".join(parts)
            sizes = b"".join([b"I" + len(part).to_bytes(4, "big") for part in parts])
            header = _PARTS + len(sizes).to_bytes(4, "big") + sizes
            fields = b"\x30\0" if persistent else b"\x20\0"
            fields += len(header).to_bytes(4, "big") + header + (b"\x02" if persistent else b"")
        size = len(body)
        content = b"\x02\0\0%b\0\x3c\0\0%b%b\xce" % (
            (12 + len(fields)).to_bytes(4, "big"),
            size.to_bytes(8, "big"),
            fields,
        )
        if 0 < size <= room:
            content = b"%b\x03\0\0%b%b\xce" % (content, size.to_bytes(4, "big"), body)
        elif size:
            pieces = [content]
            for at in range(0, size, room):
                piece = body[at : at + room]
                pieces += (b"\x03\0\0", len(piece).to_bytes(4, "big"), piece, b"\xce")
            content = b"".join(pieces)
        out.append(content)
        total += len(content)
        tops.append(total)
    stride = len(out[0]) if out else 0
    if tops == list(range(stride, total + 1, stride or 1)):
        return b"".join(out), stride, None
    return b"".join(out), 0, array("I", tops).tobytes()
