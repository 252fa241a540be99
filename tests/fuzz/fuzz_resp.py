"""Fuzzes the reader of Redis commands: buffers whole, split anywhere, with stale bytes behind, compiled and pure,
against a reader that is too simple to be wrong (`plain`)."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mansio.codec import resp
from mansio.codec.resp import ARGUMENTS_MAX, BULK_BYTES_MAX, split_line
from tests.codec.resp_reading import PURE, Reader
from tests.fuzz import harness
from tests.fuzz.harness import Choices

NAME = "resp"
LINE_MAX = 100
KEPT_MAX = 40


def seeds() -> list[bytes]:
    def command(*args: bytes) -> bytes:
        return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)

    push = command(b"LPUSH", b"q", b"a")
    streams = [
        command(b"PING") * 4,
        push * 3 + command(b"LPUSH", b"q", b"b", b"cc") * 2 + push + command(b"RPUSH", b"q", b"a"),
        command(b"SET", b"k", b"v\r\n$1\r\n") + b"PING\r\n" * 2 + b"ECHO \"a\\x0d\\n'\" 'b\\''\r\n",
        command(b"SET", b"k", bytes(range(200)))
        + command(b"MSET", *[b"k%d" % i for i in range(30)]),
        b"*-1\r\n*0\r\n\r\n \r\n*1\rX$4\rXPINGxx" + command(b""),
        b"*1000000000\r\n$1\r\n" + command(b"GET", b"a"),
        b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
        b"*1048576\r\n$1\r\na\r\n$01\r\n",
        b'PING "a"b\r\n',
    ]
    flags = (b"\0\5\3", b"\3\0\7", b"\1\1\1", b"\5\3\2", b"\7\7\5", b"\x0d\1\1", b"\x09\4\1")
    return [flag + stream for stream in streams for flag in flags]


def plain(data: bytes, trusted: bool) -> tuple[list[list[bytes]], str]:
    """The commands of a stream, and the fault that it ends with: redis-server's rules, one byte string at a time."""
    commands: list[list[bytes]] = []
    at = 0
    while at < len(data):
        if data[at] == 42:
            args, at, fault = _plain_array(data, at, trusted)
        else:
            args, at, fault = _plain_line(data, at)
        if args is None:
            return commands, fault
        if args:
            commands.append(args)
    return commands, ""


Found = tuple[list[bytes] | None, int, str]


def _plain_line(data: bytes, at: int) -> Found:
    line, newline, _ = data[at:].partition(b"\n")
    if len(line) > LINE_MAX:
        return None, at, "too big inline request"
    if not newline:
        return None, at, ""
    return split_line(line), at + len(line) + 1, "unbalanced quotes in request"


def _plain_size(data: bytes, at: int, what: str) -> tuple[int | None, int, str]:
    line, end, _ = data[at:].partition(b"\r")
    if len(line) > LINE_MAX:
        return None, at, f"too big {what} count string"
    if not end or at + len(line) + 2 > len(data):
        return None, at, ""
    text = line[1:]
    digits = text[1:] if text[:1] == b"-" else text
    sound = digits.isdigit() and len(text) <= 18 and (digits[:1] != b"0" or text == b"0")
    return (int(text) if sound else 1 << 62), at + len(line) + 2, ""


def _plain_array(data: bytes, at: int, trusted: bool) -> Found:
    count, at, fault = _plain_size(data, at, "mbulk")
    if count is None:
        return None, at, fault
    if count > ARGUMENTS_MAX:
        return None, at, "invalid multibulk length"
    if count > 10 and not trusted:
        return None, at, "unauthenticated multibulk length"
    args: list[bytes] = []
    for _ in range(count):
        start = at
        size, at, fault = _plain_size(data, at, "bulk")
        if size is None:
            return None, at, fault
        if data[start] != 36:
            got = data[start : start + 1].decode("utf-8", "surrogateescape")
            return None, at, f"expected '$', got '{got}'"
        if not 0 <= size <= BULK_BYTES_MAX:
            return None, at, "invalid bulk length"
        if size > 16_384 and not trusted:
            return None, at, "unauthenticated bulk length"
        if at + size + 2 > len(data):
            return None, at, ""
        args.append(data[at : at + size])
        at += size + 2
    return args, at, ""


def read(codec: Any, data: bytes, trusted: bool, sizes: list[int], junk: bytes) -> Reader:
    """A reader that has received the stream in pieces of these sizes, and the rest at once."""
    reader = Reader(codec, trusted)
    reader.scan.line_max = LINE_MAX
    reader.scan.kept_max = KEPT_MAX
    at = 0
    for size in sizes:
        reader.receive(data[at : at + size], junk)
        at += size
    reader.receive(data[at:], junk)
    return reader


def run(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    trusted = bool(flags & 1)
    junk = b"*1\r\n$4\r\nPING\r\n" if flags & 2 else b""
    pieces, seed = choices.byte() & 31, choices.byte()
    stream = choices.take(harness.INPUT_BYTES_MAX)
    commands, fault = plain(stream, trusted)
    fault = fault and f"Protocol error: {fault}"
    whole = read(resp, stream, trusted, [], junk)
    assert whole.commands == commands, (whole.commands, commands)
    assert whole.fault == fault, (whole.fault, fault)
    sizes = [1 + (seed * (i + 3)) % 23 for i in range(pieces)]
    split = read(resp, stream, trusted, sizes, junk)
    assert (split.commands, split.fault) == (commands, fault), (split.commands, split.fault)
    if flags & 12:  # most: the pure form is slow
        return
    pure = read(PURE, stream, trusted, [], junk)
    assert (pure.items, pure.fault, pure.tail) == (whole.items, fault, whole.tail), pure.items
    pure = read(PURE, stream, trusted, sizes, junk)
    assert (pure.commands, pure.fault) == (commands, fault), (pure.commands, pure.fault)
    assert pure.tail == split.tail


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
