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


class Scan:
    """Reads the commands of one connection, one buffer at a time. What it keeps between two calls is a large command
    of which a part has arrived: its size is never believed, memory grows with what comes."""

    def __init__(self) -> None:
        self.trusted = True
        """Whether the client has logged in. One that has not is read command by command, with narrow limits."""
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
        if (end if at < 0 else at) - pos > LINE_BYTES_MAX:
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
        if (end if at < 0 else at) - pos > LINE_BYTES_MAX:
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
            if (end if at < 0 else at) - pos > LINE_BYTES_MAX:
                return self._fail("too big bulk count string")
            if at < 0 or at + 2 > end:
                return _WAIT
            if p[pos] != 36:  # $
                return self._fail(f"expected '$', got '{chr(p[pos])}'")
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
        if self.args is None or end - pos <= KEPT_BYTES:
            self.args = None
            return pos
        return self._keep_bulk(buf, self.at, end)

    def _keep_bulk(self, buf: bytearray, pos: int, end: int) -> int:
        """Begins to put together the argument at `pos`, if much of it is there: where to go on."""
        at = buf.find(b"\r", pos, end) + 2
        if end - pos <= KEPT_BYTES or at < 2:
            return pos
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
        found = memchr(p + pos, char, end - pos)
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


def encode_contents(
    values: list[bytes], persistent: bool, frame_max: int
) -> tuple[bytes, int, bytes | None]:
    """Each value as the content of an AMQP message on channel 0: header frame, body frames. Data, stride and ends as a
    run has them: see `core.run`.

    `frame_max`: bytes of the largest frame, its eight bytes of framing included.
    """
    tail = b"\x10\x00\x02\xce" if persistent else b"\x00\x00\xce"
    head = (b"\x02\0\0\0\0\0\x0f" if persistent else b"\x02\0\0\0\0\0\x0e") + b"\0\x3c\0\0"
    room = frame_max - 8
    parts: list[bytes] = []
    sizes: list[int] = []
    for value in values:
        size = len(value)
        at = len(parts)
        parts += (head, size.to_bytes(8, "big"), tail)
        if size <= room:
            if size:
                parts += (b"\x03\0\0", size.to_bytes(4, "big"), value, b"\xce")
        else:
            for start in range(0, size, room):
                piece = value[start : start + room]
                parts += (b"\x03\0\0", len(piece).to_bytes(4, "big"), piece, b"\xce")
        sizes.append(sum(map(len, parts[at:])))
    if len(set(sizes)) == 1:
        return b"".join(parts), sizes[0], None
    return b"".join(parts), 0, array("I", accumulate(sizes)).tobytes()


def encode_integers(first: int, step: int, count: int) -> bytes:
    """`count` numbers from `first` on, as replies."""
    return b"".join([b":%d\r\n" % n for n in range(first, first + step * count, step)])


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
    out: list[bytes] = []
    table = memoryview(ends).cast("I") if ends is not None else None
    skip = skips[0]
    for i in range(start, stop):
        if table is None:
            at, end = i * stride, (i + 1) * stride
        else:
            at, end = (table[i - 1] if i else 0), table[i]
        if which is not None:
            skip = skips[which[i]]
        at += skip
        at += 8 + int.from_bytes(data[at + 3 : at + 7], "big")
        if at == end:
            out.append(b"")
            continue
        body_end = at + 7 + int.from_bytes(data[at + 3 : at + 7], "big")
        if body_end + 1 == end:
            out.append(data[at + 7 : body_end])
            continue
        pieces: list[bytes] = []
        while at < end:
            body_end = at + 7 + int.from_bytes(data[at + 3 : at + 7], "big")
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
    found = bodies(data, stride, ends, skips, which, start, stop)
    if reverse:
        found.reverse()
    return b"".join([b"$%d\r\n%b\r\n" % (len(body), body) for body in found])
