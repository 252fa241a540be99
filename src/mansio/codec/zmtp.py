"""The hot codec of ZMTP 3: receive buffers in, messages and commands out; frames in, bytes out (RFC 23 and 37).

This file is both the compiled form (Cython, types in `zmtp.pxd`) and the fallback: branches on `cython.compiled` hold
the few lines that differ.

    flags  size                body
    1      1, or 8 if LONG     size bytes          MORE: the message goes on with the next frame

Commands may stand between the frames of a message (libzmq sends PING there), so that is allowed.
"""

from typing import Any

try:
    import cython
except ImportError:  # pragma: no cover - where Cython is not installed
    from mansio.codec import _cython as cython

if not cython.compiled:  # names that `zmtp.pxd` gives the compiled form
    memcpy: Any = None
    buffer_chars: Any = None
    chars: Any = None
    new_bytes: Any = None

COMPILED: bool = cython.compiled

MORE, LONG, COMMAND = 1, 2, 4
"""Flags of a frame. The others are 0."""
SHORT_BYTES_MAX = 255

BODIES, MESSAGES, COMMANDED = 1, 2, 3
"""Kinds of items, see `Scan.scan`."""

FRAMES_MAX = 4096
"""Of one message: each is an object of ours, however short it is."""
COMMAND_BYTES_MAX = 65_536
"""Of one command; subscriptions are the longest."""
STRANGER_BYTES_MAX = 8192
"""The same of a peer whose handshake is not over."""
KEPT_BYTES = 16_384
"""Up to this size an incomplete frame is left to the caller and read again; a larger one is put together here."""


class Scan:
    """Reads what one peer says behind its greeting, one buffer at a time. What it keeps between two calls are the
    frames of a message of which a part has arrived: sizes are never believed, memory grows with what comes."""

    def __init__(self, message_max: int) -> None:
        """`message_max`: bytes of the largest message, all frames together."""
        self.message_max = message_max
        self.open = False
        """Whether the handshake is over. Before, there are commands only, read one by one, with narrow limits."""
        self.apart = False
        """Whether messages of one frame come as a list of frames like all others."""
        self.kept_max = KEPT_BYTES
        self.fault = ""
        """What is wrong with bytes that are no frames; nothing can be read behind them."""
        self.frames: Any = None  # of the message that is read; None: there is none
        self.size = 0  # bytes of these
        self.flags = 0  # of the frame that is put together
        self.bulk: bytearray | None = None
        self.bulk_left = 0  # what it still needs
        self.row: Any = None  # the open item's list
        self.row_kind = 0

    @property
    def assembling(self) -> bool:
        """Whether a part of a message is kept here."""
        return self.frames is not None or self.bulk is not None

    def scan(self, buf: bytearray, pos: int, end: int, out: list[Any]) -> int:
        """Puts out what is whole in `buf[pos:end]` and answers the position that it got to; what is behind it is to be
        given again, with more. At a `fault` it stops; before the end of the handshake, behind each command.

            (BODIES, [body, ...])              messages of one frame, in a row
            (MESSAGES, [[frame, ...], ...])    messages of several
            (COMMANDED, body)                  a command: its name, with its length in front, and its data
        """
        if cython.compiled:
            p = buffer_chars(buf)
        else:
            p = buf
        if self.bulk is not None:
            pos = self._resume(buf, pos, end, out)
        limit: int = self.message_max
        while pos < end:
            flags: int = p[pos]
            at: int = pos + 2
            if at > end:
                break
            if flags & LONG:
                at = pos + 9
                if at > end:
                    break
                size = _long(p, pos + 1)
            else:
                size = p[pos + 1]
            if flags == 0 and size <= limit and self.frames is None and self.open:
                if size > end - at:
                    pos = self._keep(buf, pos, at, end, flags, size)
                    break
                if cython.compiled:
                    body = new_bytes(p + at, size)
                else:
                    body = bytes(buf[at : at + size])
                self._take_body(body, out)
                pos = at + size
                continue
            if self._check(flags, size) < 0:
                break
            if size > end - at:
                pos = self._keep(buf, pos, at, end, flags, size)
                break
            if cython.compiled:
                body = new_bytes(p + at, size)
            else:
                body = bytes(buf[at : at + size])
            pos = at + size
            self._take(flags, body, out)
            if not self.open:
                break
        self._close(out)
        return pos

    def _take_body(self, body: bytes, out: list[Any]) -> None:
        """A message of one frame."""
        if self.apart:
            self._put(MESSAGES, [body], out)
        else:
            self._put(BODIES, body, out)

    def _put(self, kind: int, message: Any, out: list[Any]) -> None:
        if self.row_kind != kind:
            self._close(out)
            self.row_kind = kind
            self.row = []
        self.row.append(message)

    def _close(self, out: list[Any]) -> None:
        """The open item is whole."""
        if self.row_kind:
            out.append((self.row_kind, self.row))
            self.row_kind = 0
            self.row = None

    def _take(self, flags: int, body: bytes, out: list[Any]) -> None:
        """A whole frame."""
        if flags & COMMAND:
            self._close(out)
            out.append((COMMANDED, body))
            return
        frames = self.frames
        if frames is None:
            if not flags & MORE:
                self._take_body(body, out)
                return
            self.frames = [body]
            self.size = len(body)
            return
        frames.append(body)
        self.size += len(body)
        if not flags & MORE:
            self.frames = None
            self.size = 0
            self._put(MESSAGES, frames, out)

    def _check(self, flags: int, size: int) -> int:
        """Whether there may be such a frame now: 0, or -1 and `fault`."""
        if flags > 7:
            return self._fail(f"a frame begins with flags 0x{flags:02x}")
        if flags & COMMAND:
            if flags & MORE:
                return self._fail("a command of several frames")
            if size < 0 or size > (COMMAND_BYTES_MAX if self.open else STRANGER_BYTES_MAX):
                return self._fail(f"a command of {_shown(size)} bytes")
            return 0
        if not self.open:
            return self._fail("a message before the end of the handshake")
        if size < 0 or size > self.message_max - self.size:
            return self._fail(
                f"a message of {_shown(size, self.size)} bytes: the largest may have {self.message_max}"
            )
        if self.frames is not None and len(self.frames) >= FRAMES_MAX:
            return self._fail(f"a message of more than {FRAMES_MAX} frames")
        return 0

    def _fail(self, text: str) -> int:
        self.frames = None
        self.fault = text
        return -1

    # -- large frames

    def _keep(self, buf: bytearray, pos: int, at: int, end: int, flags: int, size: int) -> int:
        """The frame at `pos`, whose body begins at `at`, is not whole: where to go on when there is more."""
        if end - pos <= self.kept_max:
            return pos
        self.flags = flags
        self.bulk = buf[at:end]
        self.bulk_left = size - (end - at)
        return end

    def _resume(self, buf: bytearray, pos: int, end: int, out: list[Any]) -> int:
        """Goes on with a frame that is put together here: where it got to."""
        bulk: Any = self.bulk
        stop = min(end, pos + self.bulk_left)
        bulk += buf[pos:stop]
        self.bulk_left -= stop - pos
        if not self.bulk_left:
            self.bulk = None
            self._take(self.flags, bytes(bulk), out)
        return stop


def _long(p: Any, at: int) -> int:
    """The size of a long frame; -1: 2 ** 62 or more, so that sums are none that overflow."""
    size: int = 0
    for i in range(8):
        if i == 0 and p[at] > 63:
            return -1
        size = (size << 8) | p[at + i]
    return size


def _shown(size: int, before: int = 0) -> str:
    return "2^62 or more" if size < 0 else str(size + before)


def encode_message(frames: list[bytes]) -> bytes:
    """One message; `frames` has at least one."""
    return encode_messages([frames])


def encode_messages(messages: list[list[bytes]]) -> bytes:
    """Messages of any number of frames, one behind the other."""
    if not cython.compiled:
        return b"".join([_joined(frames) for frames in messages])
    total: int = 0
    for frames in messages:
        for body in frames:
            total += _frame_bytes(len(body))
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    for frames in messages:
        last = len(frames) - 1
        for i in range(last + 1):
            body = frames[i]
            w = _put_frame(w, MORE if i < last else 0, body)
    return result  # type: ignore[no-any-return]


def _joined(frames: list[bytes]) -> bytes:
    heads = [_head(MORE, len(body)) + body for body in frames[:-1]]
    return b"".join(heads) + _head(0, len(frames[-1])) + frames[-1]


def encode_bodies(bodies: list[bytes]) -> bytes:
    """Messages of one frame each, one behind the other."""
    if not cython.compiled:
        return b"".join([_head(0, len(body)) + body for body in bodies])
    total: int = 0
    for body in bodies:
        total += _frame_bytes(len(body))
    result = new_bytes(cython.NULL, total)
    w = chars(result)
    for body in bodies:
        w = _put_frame(w, 0, body)
    return result  # type: ignore[no-any-return]


def encode_command(name: bytes, data: bytes) -> bytes:
    """A command frame."""
    body = bytes((len(name),)) + name + data
    return _head(COMMAND, len(body)) + body


def split_command(body: bytes) -> tuple[bytes, bytes] | None:
    """The name and the data of a command; None: it is none."""
    if not body or not body[0] or len(body) <= body[0]:
        return None
    return body[1 : 1 + body[0]], body[1 + body[0] :]


def _head(flags: int, size: int) -> bytes:
    if size > SHORT_BYTES_MAX:
        return bytes((flags | LONG,)) + size.to_bytes(8, "big")
    return bytes((flags, size))


def _frame_bytes(size: int) -> int:
    return size + (9 if size > SHORT_BYTES_MAX else 2)


def _put_frame(w: Any, flags: int, body: bytes) -> Any:  # pragma: no cover - compiled only
    size: int = len(body)
    if size > SHORT_BYTES_MAX:
        w[0] = flags | LONG
        for i in range(8):
            w[1 + i] = (size >> (56 - 8 * i)) & 0xFF
        w += 9
    else:
        w[0] = flags
        w[1] = size
        w += 2
    memcpy(w, chars(body), size)
    return w + size
