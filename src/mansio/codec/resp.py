"""The hot codec of RESP: receive buffers in, commands out.

*2\\r\\n$4\\r\\nLLEN\\r\\n$1\\r\\nq\\r\\n       a command: an array of bulk strings
LLEN q\\r\\n                             the same, inline
"""

from typing import Final

ARGUMENTS_MAX: Final = 1_048_576
BULK_BYTES_MAX: Final = 512 << 20
INLINE_BYTES_MAX: Final = 65_536


class Malformed(Exception):
    """Bytes that are no command; the text is what the client is told."""


def scan(buf: bytearray, pos: int, end: int, out: list[list[bytes]]) -> int:
    """Puts out every whole command of `buf[pos:end]`; the position behind the last one. Malformed."""
    while pos < end:
        after = _command(buf, pos, end, out)
        if after < 0:
            break
        pos = after
    return pos


def _command(buf: bytearray, pos: int, end: int, out: list[list[bytes]]) -> int:
    line_end = buf.find(b"\r\n", pos, end)
    if buf[pos] != 0x2A:
        at = buf.find(b"\n", pos, end)
        if at < 0:
            if end - pos > INLINE_BYTES_MAX:
                raise Malformed("Protocol error: too big inline request")
            return -1
        words = bytes(buf[pos:at]).split()
        if words:
            out.append(words)
        return at + 1
    if line_end < 0:
        if end - pos > INLINE_BYTES_MAX:
            raise Malformed("Protocol error: too big mbulk count string")
        return -1
    count = _number(bytes(buf[pos + 1 : line_end]), ARGUMENTS_MAX, "multibulk")
    at = line_end + 2
    args: list[bytes] = []
    for _ in range(count):
        line_end = buf.find(b"\r\n", at, end)
        if at < end and buf[at] != 0x24:
            raise Malformed(f"Protocol error: expected '$', got '{chr(buf[at])}'")
        if line_end < 0:
            return -1
        size = _number(bytes(buf[at + 1 : line_end]), BULK_BYTES_MAX, "bulk")
        if size < 0:
            raise Malformed("Protocol error: invalid bulk length")
        at = line_end + 2
        if at + size + 2 > end:
            return -1
        args.append(bytes(buf[at : at + size]))
        at += size + 2
    if args:
        out.append(args)
    return at


def _number(text: bytes, most: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = most + 1
    if value > most:
        raise Malformed(f"Protocol error: invalid {what} length")
    return value
