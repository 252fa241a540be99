"""The hot codec of RESP: receive buffers in, commands out; values and bodies of messages in, replies out.

This file is both the compiled form (Cython, types in `resp.pxd`) and the fallback: branches on `cython.compiled` hold
the few lines that differ. What is a command, and which bytes are none, is as redis-server 7.0.15 has it.

    *2\\r\\n$4\\r\\nLLEN\\r\\n$1\\r\\nq\\r\\n       an array of bulk strings
    LLEN q\\r\\n  LLEN "q"\\n                the same, inline: see `split_line`

Clients repeat themselves, above all in pipelines: bytes of a command that are those of the one before are not parsed
again, and what is alike comes out as one item (see `Scan.scan`).
"""

from array import array
from itertools import accumulate
from typing import Any

try:
    import cython
except ImportError:  # pragma: no cover - where Cython is not installed
    from mansio.codec import _cython as cython

if not cython.compiled:  # names that `resp.pxd` gives the compiled form
    memchr: Any = None
    memcmp: Any = None
    memcpy: Any = None
    buffer_chars: Any = None
    chars: Any = None
    new_bytes: Any = None
    numbers: Any = None

COMPILED: bool = cython.compiled

ARGUMENTS_MAX = 1_048_576
"""Of one command; redis-server 6 has this limit, version 7 takes 2 ** 31 - 1."""
BULK_BYTES_MAX = 512 << 20
"""Of one argument: proto-max-bulk-len."""
COMMAND_BYTES_MAX = 1 << 30
"""Of one command: client-query-buffer-limit."""
LINE_BYTES_MAX = 65_536
"""Of an inline command, and of the line that says how long something is."""
STRANGER_ARGUMENTS_MAX, STRANGER_BYTES_MAX = 10, 16_384
"""Of clients that have not logged in: arguments of a command, and bytes of each."""
KEPT_BYTES = 16_384
"""Up to this size an incomplete command is left to the caller and read again; a larger one is put together here."""

_WAIT, _FAULT = -1, -2
_NEGATIVE, _NO_NUMBER = -1, -2
_DIGITS_MAX = 18
_COUNTS = {b"*%d" % count: count for count in range(1, 65)}
_WALKS_MAX = 8
"""How often a buffer is split by the pure form, which takes longer the more of it is left."""


class Scan:
    """Reads the commands of one connection, one buffer at a time. What it keeps between two calls is a large command
    of which a part has arrived: its size is never believed, memory grows with what comes."""

    def __init__(self) -> None:
        self.trusted = True
        """Whether the client has logged in. One that has not is read command by command, with narrow limits."""
        self.line_max = LINE_BYTES_MAX
        self.kept_max = KEPT_BYTES
        self.fault = ""
        """What the client is told of bytes that are no command; nothing can be read behind them."""
        self.args: Any = None  # of the command that is read; None: there is none
        self.left = 0  # how many more arguments it has
        self.size = 0  # bytes of these so far
        self.at = 0  # where to go on
        self.bulk: bytearray | None = None  # the argument that is put together
        self.bulk_left = 0  # what it still needs, with its line end
        self._forget()

    def _forget(self) -> None:
        self.first: list[bytes] | None = None  # the open item: the first of its commands
        self.last: list[bytes] = []  # the latest of them, which is the model to compare with
        self.times = 0
        self.pushes = False  # they are LPUSH or RPUSH
        self.values: list[bytes] | None = None  # of pushes that are not all the same
        self.counts: list[int] | None = None  # of these, by command; None: one each
        self.model_at = 0
        self.model_len = 0

    @property
    def assembling(self) -> bool:
        """Whether a part of a large command is kept here."""
        return self.args is not None

    def scan(self, buf: bytearray, pos: int, end: int, out: list[Any]) -> int:
        """Puts out the commands of `buf[pos:end]` and answers the position that it got to; what is behind it is to be
        given again, with more. At a `fault` it stops.

        An item is a list of arguments, or, for several alike in a row, a tuple of four:

            (args, times, None, None)        the same command so many times
            (args, times, values, counts)    LPUSH or RPUSH to one key, args the first of them: all values in order,
                                             and how many each command has, None if each has one
        """
        if cython.compiled:
            p = buffer_chars(buf)
        else:
            p = buf
        if self.args is not None:
            pos = self._resume(buf, p, pos, end)
            if self.args is not None or self.fault:
                return pos
            out.append(self.last)
            if not self.trusted:
                return pos
        self._forget()
        walks = _WALKS_MAX
        while pos < end:
            length = self.model_len
            if length:
                model_at = self.model_at
                at = pos
                n = 0
                if cython.compiled:
                    while pos + length <= end and memcmp(p + pos, p + model_at, length) == 0:
                        pos += length
                        n += 1
                else:
                    model = bytes(buf[model_at : model_at + length])
                    while pos + length <= end and buf.startswith(model, pos):
                        pos += length
                        n += 1
                if n:
                    self._again(n)
                    continue
            at = pos
            if not cython.compiled and self.trusted and walks:
                walks -= 1
                pos = self._walk(buf, pos, end, out)
                if pos != at:
                    continue
            if p[pos] == 42:  # *
                n = self._array(buf, p, pos, end)
            else:
                n = self._inline(buf, p, pos, end)
            if n < 0:
                if n == _WAIT:
                    pos = self._keep(buf, pos, end)
                break
            pos = n
            args: Any = self.args
            self.args = None
            if args:
                self._take(args, out)
                self.model_at = at
                self.model_len = pos - at
                if not self.trusted:
                    break
        self._close(out)
        return pos

    def one(self, buf: bytearray, end: int) -> list[bytes] | None:
        """The command, where `buf[:end]` is one whole array of somebody trusted and nothing else: the quick part of
        `scan`. None, and nothing has changed, for all that needs a closer look."""
        if self.args is not None or not self.trusted or not end:
            return None
        if not cython.compiled:
            pieces = bytes(buf[:end]).split(b"\r\n")
            count = _COUNTS.get(pieces[0], 0)
            if not count or len(pieces) != 2 * count + 2 or pieces[-1]:
                return None
            words = pieces[2::2]
            return words if pieces[1:-1:2] == [b"$%d" % len(word) for word in words] else None
        p = buffer_chars(buf)
        if p[0] != 42:
            return None
        n = self._array(buf, p, 0, end)
        args: Any = self.args
        self.args = None
        if n == end and args:
            return args  # type: ignore[no-any-return]
        self.fault = ""
        return None

    def _walk(self, buf: bytearray, pos: int, end: int, out: list[Any]) -> int:
        """The quick way of the pure form: where line ends stand between arguments only, splitting finds them all. Takes
        commands up to one that needs to be looked at closely; the position behind them."""
        pieces = bytes(buf[pos:end]).split(b"\r\n")
        last = len(pieces) - 1
        alone = self.model_len == 0
        i = 0
        while i < last:
            count = _COUNTS.get(pieces[i], 0)
            stop = i + 1 + 2 * count
            if not count or stop > last:
                break
            sizes, args = pieces[i + 1 : stop : 2], pieces[i + 2 : stop : 2]
            if sizes != [b"$%d" % len(arg) for arg in args]:
                break
            length = len(pieces[i]) + 2 + sum(map(len, sizes)) + sum(map(len, args)) + 4 * count
            model = buf[self.model_at : self.model_at + self.model_len]
            if self.first is not None and length == len(model) and buf.startswith(model, pos):
                self._again(1)
            else:
                self._take(args, out)
            self.model_at, self.model_len = pos, length
            pos += length
            i = stop
            if alone and buf.startswith(bytes(buf[pos - length : pos]), pos):
                break  # a row of these: they need not even be split
            alone = False
        return pos

    # -- items

    def _again(self, n: int) -> None:
        """The latest command came `n` times more."""
        if self.values is not None:
            more = self.last[2:]
            self.values.extend(more * n)
            if self.counts is not None:
                self.counts.extend([len(more)] * n)
        self.times += n

    def _take(self, args: list[bytes], out: list[Any]) -> None:
        """A command that is not, byte for byte, the one before."""
        if self.pushes and len(args) > 2:
            first: Any = self.first
            if args[1] == first[1] and args[0] == first[0]:
                self._add_push(args, first)
                return
        self._close(out)
        self.first = self.last = args
        self.times = 1
        self.pushes = len(args) > 2 and _is_push(args[0])

    def _add_push(self, args: list[bytes], first: list[bytes]) -> None:
        if self.values is None:
            self.values = first[2:] * self.times
            self.counts = None if len(first) == 3 else [len(first) - 2] * self.times
        if self.counts is None and len(args) > 3:
            self.counts = [1] * self.times
        if len(args) == 3:
            self.values.append(args[2])
        else:
            self.values.extend(args[2:])
        if self.counts is not None:
            self.counts.append(len(args) - 2)
        self.times += 1
        self.last = args

    def _close(self, out: list[Any]) -> None:
        """The open item is whole."""
        first = self.first
        if first is None:
            return
        times = self.times
        if times == 1:
            out.append(first)
        elif not self.pushes:
            out.append((first, times, None, None))
        else:
            values, counts = self.values, self.counts
            if values is None:
                values = first[2:] * times
                counts = None if len(first) == 3 else [len(first) - 2] * times
            out.append((first, times, values, counts))
        self.first = None
        self.values = self.counts = None
        self.pushes = False

    # -- commands

    def _inline(self, buf: bytearray, p: Any, pos: int, end: int) -> int:
        """The command of a line: the position behind it, or _WAIT or _FAULT."""
        at = _find(buf, p, 10, pos, end)
        if (end if at < 0 else at) - pos > self.line_max:
            return self._fail("too big inline request")
        if at < 0:
            return _WAIT
        args = split_line(bytes(buf[pos:at]))
        if args is None:
            return self._fail("unbalanced quotes in request")
        self.args = args
        return at + 1

    def _array(self, buf: bytearray, p: Any, pos: int, end: int) -> int:
        """The command of an array: the position behind it, or _WAIT or _FAULT."""
        at = _find(buf, p, 13, pos, end)
        if (end if at < 0 else at) - pos > self.line_max:
            return self._fail("too big mbulk count string")
        if at < 0 or at + 2 > end:
            return _WAIT
        count = _number(p, pos + 1, at)
        if count == _NO_NUMBER or count > ARGUMENTS_MAX:
            return self._fail("invalid multibulk length")
        if count > STRANGER_ARGUMENTS_MAX and not self.trusted:
            return self._fail("unauthenticated multibulk length")
        self.args = []
        self.left = max(count, 0)
        self.size = 0
        return self._arguments(buf, p, at + 2, end)

    def _arguments(self, buf: bytearray, p: Any, pos: int, end: int) -> int:
        """The arguments that are left: the position behind the last one, or _WAIT (from `at` on) or _FAULT."""
        args: Any = self.args
        size: int
        while self.left:
            self.at = pos
            at = _find(buf, p, 13, pos, end)
            if (end if at < 0 else at) - pos > self.line_max:
                return self._fail("too big bulk count string")
            if at < 0 or at + 2 > end:
                return _WAIT
            if p[pos] != 36:  # $
                got = bytes((p[pos],)).decode("utf-8", "surrogateescape")
                return self._fail(f"expected '$', got '{got}'")
            size = _number(p, pos + 1, at)
            if size < 0 or size > BULK_BYTES_MAX:
                return self._fail("invalid bulk length")
            if size > STRANGER_BYTES_MAX and not self.trusted:
                return self._fail("unauthenticated bulk length")
            if self.size + size > COMMAND_BYTES_MAX:
                return self._fail("too big request")
            pos = at + 2
            if end - pos < size + 2:
                return _WAIT
            if cython.compiled:
                args.append(new_bytes(p + pos, size))
            else:
                args.append(bytes(buf[pos : pos + size]))
            pos += size + 2
            self.size += size
            self.left -= 1
        return pos

    def _fail(self, text: str) -> int:
        self.args = None
        self.fault = f"Protocol error: {text}"
        return _FAULT

    # -- large commands

    def _keep(self, buf: bytearray, pos: int, end: int) -> int:
        """The command at `pos` is not whole: where to go on when there is more."""
        if self.args is None or end - pos <= self.kept_max:
            self.args = None
            return pos
        return self._keep_bulk(buf, self.at, end)

    def _keep_bulk(self, buf: bytearray, pos: int, end: int) -> int:
        """Begins to put together the argument at `pos`, if much of it is there: where to go on."""
        at = buf.find(b"\r", pos, end) + 2
        if end - pos <= self.kept_max or at < 2 or at > end:
            return pos  # it is short, or it is not said yet how long it is
        self.bulk_left = int(buf[pos + 1 : at - 2]) + 2 - (end - at)
        self.bulk = buf[at:end]
        return end

    def _resume(self, buf: bytearray, p: Any, pos: int, end: int) -> int:
        """Goes on with a command that is put together here: where it got to. `args` is None when it is whole, and then
        it is `last`."""
        args: Any = self.args
        if self.bulk is not None:
            bulk: Any = self.bulk
            stop = min(end, pos + self.bulk_left)
            bulk += buf[pos:stop]
            self.bulk_left -= stop - pos
            pos = stop
            if self.bulk_left:
                return pos
            self.bulk = None
            del bulk[-2:]
            args.append(bytes(bulk))
            self.size += len(bulk)
            self.left -= 1
        n = self._arguments(buf, p, pos, end)
        if n == _WAIT:
            return self._keep_bulk(buf, self.at, end)
        if n == _FAULT:
            return pos
        self.last = args
        self.args = None
        return n


def apart(
    args: list[bytes], times: int, values: list[bytes] | None, counts: list[int] | None
) -> list[list[bytes]]:
    """The commands of an item of `Scan.scan` that are alike, one by one."""
    if values is None:
        return [args] * times
    ends = list(accumulate(counts if counts is not None else [1] * times))
    return [args[:2] + values[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _is_push(name: bytes) -> bool:
    if len(name) != 5:
        return False
    upper = name.upper()
    return upper == b"LPUSH" or upper == b"RPUSH"


def _find(buf: bytearray, p: Any, char: int, pos: int, end: int) -> int:
    """Where `char` is in `buf[pos:end]`, or -1."""
    if cython.compiled:
        found = cython.cast("uchar*", memchr(p + pos, char, end - pos))
        if found == cython.NULL:
            return -1
        return found - p  # type: ignore[no-any-return]
    return buf.find(char, pos, end)


def _number(p: Any, pos: int, stop: int) -> int:
    """The number that stands in [pos, stop), as redis-server writes numbers; _NEGATIVE for all below 0."""
    if pos >= stop or stop - pos > _DIGITS_MAX:
        return _NO_NUMBER
    negative = p[pos] == 45
    if negative:
        pos += 1
        if pos >= stop:
            return _NO_NUMBER
    if p[pos] == 48 and (negative or stop - pos > 1):
        return _NO_NUMBER
    value: int = 0
    while pos < stop:
        digit: int = p[pos] - 48
        if digit < 0 or digit > 9:
            return _NO_NUMBER
        value = value * 10 + digit
        pos += 1
    return _NEGATIVE if negative else value


_SPACES = b" \t\n\v\f\r"
_ESCAPED = {110: 10, 114: 13, 116: 9, 98: 8, 97: 7}
_SIMPLE = bytes(set(range(256)) - set(b"\0\v\f\"'"))


def split_line(line: bytes) -> list[bytes] | None:
    """The words of an inline command, as redis-server splits it (sdssplitargs): words may be in quotes, with escapes
    such as \\n and \\x0d between double ones. None: quotes are not closed, or something follows at once."""
    if not line.translate(None, _SIMPLE):
        return line.split()
    line = line.partition(b"\0")[0]
    words: list[bytes] = []
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in _SPACES:
            at += 1
        if at >= end:
            return words
        at = _word(line, at, end, words)
        if at < 0:
            return None


def _word(line: bytes, at: int, end: int, words: list[bytes]) -> int:
    """One word from `at` on: the position behind it, or -1."""
    word = bytearray()
    while at < end:
        char = line[at]
        if char in b" \n\r\t":
            break
        at += 1
        if char == 34 or char == 39:
            at = _quoted(line, at, end, char, word)
            if at < 0 or (at < end and line[at] not in _SPACES):
                return -1
            break
        word.append(char)
    words.append(bytes(word))
    return at


def _quoted(line: bytes, at: int, end: int, quote: int, word: bytearray) -> int:
    """Adds what is in quotes from `at` on to the word: the position behind the closing one, or -1."""
    while at < end:
        char = line[at]
        at += 1
        if char == quote:
            return at
        if char == 92 and at < end:
            if quote == 39:
                if line[at] == 39:
                    char = 39
                    at += 1
            elif line[at] == 120 and _is_hex(line[at + 1 : at + 3]):
                char = int(line[at + 1 : at + 3], 16)
                at += 3
            else:
                char = _ESCAPED.get(line[at], line[at])
                at += 1
        word.append(char)
    return -1


def _is_hex(digits: bytes) -> bool:
    return len(digits) == 2 and all(digit in b"0123456789abcdefABCDEF" for digit in digits)


def encode_reply(value: Any, proto: int, rare: Any) -> bytes:
    """A reply for a client that speaks version `proto`: bytes, int, None, str (a simple string) and lists of these; of
    all else `rare(value, proto)` knows the bytes."""
    kind = type(value)
    if kind is bytes:
        return _bulk(value)
    if kind is int:
        return b":%d\r\n" % value
    if value is None:
        return b"_\r\n" if proto == 3 else b"$-1\r\n"
    if kind is list:
        parts: list[bytes] = []
        _encode_list(value, proto, rare, parts)
        return b"".join(parts)
    if kind is str:
        return b"+%b\r\n" % value.encode("utf-8", "surrogateescape")
    return rare(value, proto)  # type: ignore[no-any-return]


def _encode_list(items: list[Any], proto: int, rare: Any, parts: list[bytes]) -> None:
    parts.append(b"*%d\r\n" % len(items))
    for item in items:
        if type(item) is list:
            _encode_list(item, proto, rare, parts)
        else:
            parts.append(encode_reply(item, proto, rare))


def _bulk(value: bytes) -> bytes:
    size = len(value)
    if cython.compiled:
        result = new_bytes(cython.NULL, size + _digits(size) + 5)
        _put_bulk(chars(result), chars(value), size)
        return result  # type: ignore[no-any-return]
    return b"$%d\r\n%b\r\n" % (size, value)


def _digits(value: int) -> int:
    """How many digits it has."""
    count: int = 1
    while value >= 10:
        value //= 10
        count += 1
    return count


def _put_head(w: Any, sign: int, value: int) -> Any:  # pragma: no cover - compiled only
    """Writes a sign, a number and a line end; where it ends."""
    n = _digits(value)
    w[0] = sign
    at = n
    while at:
        w[at] = 48 + value % 10
        value //= 10
        at -= 1
    w[n + 1] = 13
    w[n + 2] = 10
    return w + n + 3


def _put_bulk(w: Any, source: Any, size: int) -> Any:  # pragma: no cover - compiled only
    """Writes a bulk string; where it ends."""
    w = _put_head(w, 36, size)
    memcpy(w, source, size)
    w[size] = 13
    w[size + 1] = 10
    return w + size + 2


def encode_integers(first: int, step: int, count: int) -> bytes:
    """`count` numbers from `first` on, as replies."""
    return b"".join([b":%d\r\n" % (first + step * i) for i in range(count)])


def encode_contents(
    values: list[bytes], persistent: bool, frame_max: int
) -> tuple[bytes, int, bytes | None]:
    """Each value as the content of an AMQP message on channel 0: header frame, body frames. Data, stride and ends as a
    run has them: see `core.run`. At most 4 GiB.

    `frame_max`: bytes of the largest frame, its eight bytes of framing included.
    """
    tail = b"\x10\x00\x02\xce" if persistent else b"\x00\x00\xce"
    head = (b"\x02\0\0\0\0\0\x0f" if persistent else b"\x02\0\0\0\0\0\x0e") + b"\0\x3c\0\0"
    room = frame_max - 8
    fixed = len(head) + 8 + len(tail)
    tops: list[int] | None = None  # where messages end, once two are not of one size
    total: int = 0
    first: int = 0
    for i, value in enumerate(values):
        size: int = len(value)
        size += fixed + (size + room - 1) // room * 8
        if i == 0:
            first = size
        elif tops is None and size != first:
            tops = list(range(first, total + 1, first))
        total += size
        if tops is not None:
            tops.append(total)
    ends = array("I", tops).tobytes() if tops is not None else None
    if cython.compiled:
        data = _write_contents(values, head, tail, room, total)
    else:
        parts: list[bytes] = []
        for value in values:
            parts += (head, len(value).to_bytes(8, "big"), tail)
            for start in range(0, len(value), room):
                piece = value[start : start + room]
                parts += (b"\x03\0\0", len(piece).to_bytes(4, "big"), piece, b"\xce")
        data = b"".join(parts)
    return data, (first if ends is None else 0), ends


def _write_contents(
    values: list[bytes], head: bytes, tail: bytes, room: int, total: int
) -> bytes:  # pragma: no cover - compiled only
    """`encode_contents` in C: one allocation, one copy."""
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    for value in values:
        source = chars(value)
        left = len(value)
        memcpy(w, chars(head), 11)
        _put_u32(w, 11, left >> 32)
        _put_u32(w, 15, left & 0xFFFFFFFF)
        memcpy(w + 19, chars(tail), len(tail))
        w += 19 + len(tail)
        while left:
            size = min(left, room)
            w[0] = 3
            w[1] = w[2] = 0
            _put_u32(w, 3, size)
            memcpy(w + 7, source, size)
            w[7 + size] = 0xCE
            w += size + 8
            source += size
            left -= size
    return result  # type: ignore[no-any-return]


def bodies(
    data: bytes,
    stride: int,
    ends: bytes | None,
    skips: tuple[int, ...],
    which: bytes | None,
    start: int,
    stop: int,
) -> list[bytes]:
    """The bodies of messages `start` to `stop` - 1 of a run: see `core.run`.

    `skips`: for each route of the run the length of its publish method frame.
    """
    if cython.compiled:
        return _bodies(data, stride, ends, skips, which, start, stop)
    out: list[bytes] = []
    skip = skips[0]
    table: Any = memoryview(ends).cast("I") if ends is not None else None
    for i in range(start, stop):
        if table is None:
            at, end = i * stride, (i + 1) * stride
        else:
            at, end = (table[i - 1] if i else 0), table[i]
        if which is not None:
            skip = skips[which[i]]
        at += skip
        at += 8 + _u32(data, at + 3)
        body_end = at + 8 + _u32(data, at + 3) if at < end else at
        if body_end >= end:  # none, or one frame
            out.append(data[at + 7 : end - 1] if at < end else b"")
            continue
        pieces: list[bytes] = []
        while at < end:
            body_end = at + 7 + _u32(data, at + 3)
            pieces.append(data[at + 7 : body_end])
            at = body_end + 1
        out.append(b"".join(pieces))
    return out


def encode_bodies(
    data: bytes,
    stride: int,
    ends: bytes | None,
    skips: tuple[int, ...],
    which: bytes | None,
    start: int,
    stop: int,
    reverse: bool = False,
) -> bytes:
    """`bodies` as bulk strings, in order or the last one first."""
    if cython.compiled:
        return _encode_bodies(data, stride, ends, skips, which, start, stop, reverse)
    found = bodies(data, stride, ends, skips, which, start, stop)
    if reverse:
        found.reverse()
    return b"".join([b"$%d\r\n%b\r\n" % (len(body), body) for body in found])


def _u32(p: Any, i: int) -> int:
    return (p[i] << 24) | (p[i + 1] << 16) | (p[i + 2] << 8) | p[i + 3]  # type: ignore[no-any-return]


def _put_u32(w: Any, at: int, value: int) -> None:  # pragma: no cover - compiled only
    w[at] = (value >> 24) & 0xFF
    w[at + 1] = (value >> 16) & 0xFF
    w[at + 2] = (value >> 8) & 0xFF
    w[at + 3] = value & 0xFF


def _end_of(table: Any, stride: int, i: int) -> int:  # pragma: no cover - compiled only
    """Where message i ends; number -1 ends where the first one begins."""
    if table == cython.NULL:
        return (i + 1) * stride
    return table[i] if i >= 0 else 0


def _content_at(
    p: Any, stride: int, table: Any, skips: Any, routes: Any, i: int
) -> int:  # pragma: no cover - compiled only
    """Where the body frames of message i begin."""
    at = _end_of(table, stride, i - 1)
    at += skips[routes[i] if routes != cython.NULL else 0]
    return at + 8 + _u32(p, at + 3)  # type: ignore[no-any-return]


def _body_size(p: Any, at: int, stop: int) -> int:  # pragma: no cover - compiled only
    """Bytes of the body whose frames lie in [at, stop)."""
    size = 0
    while at < stop:
        part = _u32(p, at + 3)
        size += part
        at += part + 8
    return size


def _put_body(w: Any, p: Any, at: int, stop: int) -> Any:  # pragma: no cover - compiled only
    """Copies the body whose frames lie in [at, stop); where it ends."""
    while at < stop:
        part = _u32(p, at + 3)
        memcpy(w, p + at + 7, part)
        w += part
        at += part + 8
    return w


def _bodies(
    data: bytes, stride: int, ends: Any, skips: Any, which: Any, start: int, stop: int
) -> list[bytes]:  # pragma: no cover - compiled only
    table = cython.NULL
    routes = cython.NULL
    if ends is not None:
        table = numbers(ends)
    if which is not None:
        routes = chars(which)
    p = chars(data)
    out: list[bytes] = []
    for i in range(start, stop):
        at = _content_at(p, stride, table, skips, routes, i)
        end = _end_of(table, stride, i)
        body = new_bytes(cython.NULL, _body_size(p, at, end))
        _put_body(chars(body), p, at, end)
        out.append(body)
    return out


def _encode_bodies(
    data: bytes,
    stride: int,
    ends: Any,
    skips: Any,
    which: Any,
    start: int,
    stop: int,
    reverse: bool,
) -> bytes:  # pragma: no cover - compiled only
    """`encode_bodies` in C: one allocation, one copy."""
    table = cython.NULL
    routes = cython.NULL
    if ends is not None:
        table = numbers(ends)
    if which is not None:
        routes = chars(which)
    p = chars(data)
    total = 0
    for i in range(start, stop):
        at = _content_at(p, stride, table, skips, routes, i)
        end = _end_of(table, stride, i)
        size = _body_size(p, at, end)
        total += size + _digits(size) + 5
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    for n in range(stop - start):
        i = stop - 1 - n if reverse else start + n
        at = _content_at(p, stride, table, skips, routes, i)
        end = _end_of(table, stride, i)
        w = _put_head(w, 36, _body_size(p, at, end))
        w = _put_body(w, p, at, end)
        w[0] = 13
        w[1] = 10
        w += 2
    return result  # type: ignore[no-any-return]
