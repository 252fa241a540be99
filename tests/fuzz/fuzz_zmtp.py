"""Fuzzes what ZeroMQ peers may say: greetings, metadata, and frames whole, split anywhere, with stale bytes behind,
compiled and pure, against readers that are too simple to be wrong (`plain_...`)."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mansio.codec import zmtp
from mansio.codec.zmtp import COMMAND_BYTES_MAX, STRANGER_BYTES_MAX, encode_messages, split_command
from mansio.protocol.zmtp.greeting import Greeting, parse_greeting
from mansio.protocol.zmtp.metadata import decode_metadata, encode_metadata
from tests.codec.zmtp_reading import PURE, Reader
from tests.fuzz import harness
from tests.fuzz.harness import Choices

NAME = "zmtp"
MESSAGE_MAX = 300
KEPT_MAX = 40


def seeds() -> list[bytes]:
    def frame(flags: int, body: bytes) -> bytes:
        return bytes((flags, len(body))) + body

    ping = zmtp.encode_command(b"PING", b"\0\x0actx")
    ready = encode_metadata({"Socket-Type": b"REQ", "Identity": b"", "X-Queue": b"tasks"})
    greeting = zmtp_greeting(b"NULL")
    streams = [
        encode_messages([[b"a"], [b"b"], [b"", b"PUT", b"q", b"body"], [b"c" * 260]]) + ping,
        frame(1, b"one") + ping + frame(1, b"") + frame(0, b"two") + frame(0, b"d") * 5,
        b"\2" + (3).to_bytes(8, "big") + b"abc" + b"\3" + (200).to_bytes(8, "big") + b"x" * 200,
        ping * 3 + zmtp.encode_command(b"SUBSCRIBE", b"topic" * 60) + b"\4\1\0",
        encode_messages([[b"x" * 200, b"y" * 100], [b"x" * 200, b"", b"y" * 101]]),
        frame(1, b"x") + b"\2\x3f" + b"\xff" * 7,
        b"\2\x7f" + b"\xff" * 7,
        b"\6\x80" + b"\0" * 7,
        b"\0\5ab",
        frame(8, b"x"),
        frame(5, b"x"),
    ]
    flags = (b"\1\0\5\3", b"\3\3\0\7", b"\5\1\1\1", b"\x11\5\3\2", b"\x1f\7\7\5", b"\0\x0d\1\1")
    found = [flag + stream for stream in streams for flag in flags]
    found += [b"\x40\0\0\0" + each for each in (ready, ready * 3, ready[:-1], b"\1A\0\0\0\1x")]
    strangers = [b"GET / HTTP/1.1\r\n", b"\1\0", b"*1\r\n$4\r\nPING\r\n", b"AMQP\0\0\x09\1"]
    found += [b"\x80\0\0\0" + each for each in (greeting, zmtp_greeting(b"PLAIN"), *strangers)]
    return found


def zmtp_greeting(mechanism: bytes) -> bytes:
    return b"\xff" + bytes(8) + b"\x7f\3\1" + mechanism.ljust(20, b"\0") + bytes(32)


def plain(data: bytes, opened: bool) -> tuple[list[Any], str]:
    """What a stream says, and the fault that it ends with: a message is a list of frames, a command bytes."""
    heard: list[Any] = []
    frames: list[bytes] = []
    at = 0
    while len(data) - at >= 2:
        flags = data[at]
        if flags > 7 and not flags & 2:
            return heard, f"a frame begins with flags 0x{flags:02x}"
        start = at + (9 if flags & 2 else 2)
        if start > len(data):
            break
        size = int.from_bytes(data[at + 1 : start], "big")
        fault = _plain_fault(flags, size, opened, frames)
        if fault:
            return heard, fault
        if start + size > len(data):
            break
        body, at = data[start : start + size], start + size
        if flags & 4:
            heard.append(body)
            continue
        frames.append(body)
        if not flags & 1:
            heard.append(frames)
            frames = []
    return heard, ""


def _plain_fault(flags: int, size: int, opened: bool, frames: list[bytes]) -> str:
    before = sum(map(len, frames))
    shown = "2^62 or more" if size >= 1 << 62 else str(size + before * (not flags & 4))
    if flags > 7:
        return f"a frame begins with flags 0x{flags:02x}"
    if flags & 4:
        if flags & 1:
            return "a command of several frames"
        limit = COMMAND_BYTES_MAX if opened else STRANGER_BYTES_MAX
        return f"a command of {shown} bytes" if size > limit else ""
    if not opened:
        return "a message before the end of the handshake"
    if size + before > MESSAGE_MAX:
        return f"a message of {shown} bytes: the largest may have {MESSAGE_MAX}"
    return ""


def read(
    codec: Any, data: bytes, opened: bool, apart: bool, sizes: list[int], junk: bytes
) -> Reader:
    """A reader that has received the stream in pieces of these sizes, and the rest at once."""
    reader = Reader(codec, opened, MESSAGE_MAX, apart)
    reader.scan.kept_max = KEPT_MAX
    at = 0
    for size in sizes:
        reader.receive(data[at : at + size], junk)
        at += size
    reader.receive(data[at:], junk)
    return reader


def check_frames(choices: Choices, flags: int, pieces: int, seed: int) -> None:
    opened, apart = bool(flags & 1), bool(flags & 16)
    junk = b"\0\1j\4\5\4PING" if flags & 2 else b""
    stream = choices.take(harness.INPUT_BYTES_MAX)
    heard, fault = plain(stream, opened)
    whole = read(zmtp, stream, opened, apart, [], junk)
    assert whole.heard == heard, (whole.heard, heard)
    assert whole.fault == fault, (whole.fault, fault)
    sizes = [1 + (seed * (i + 3)) % 23 for i in range(pieces)]
    split = read(zmtp, stream, opened, apart, sizes, junk)
    assert (split.heard, split.fault) == (heard, fault), (split.heard, split.fault)
    if not fault and opened:
        said = encode_messages([each for each in heard if isinstance(each, list)])
        assert read(zmtp, said, True, True, [], b"").heard == [
            each for each in heard if isinstance(each, list)
        ]
    for each in heard:
        if isinstance(each, bytes) and (command := split_command(each)) is not None:
            assert bytes((len(command[0]),)) + command[0] + command[1] == each and command[0]
    if flags & 12:  # most: the pure form is slow
        return
    pure = read(PURE, stream, opened, apart, [], junk)
    assert (pure.items, pure.fault, pure.tail) == (whole.items, fault, whole.tail), pure.items
    pure = read(PURE, stream, opened, apart, sizes, junk)
    assert (pure.heard, pure.fault) == (heard, fault), (pure.heard, pure.fault)
    assert pure.tail == split.tail


def plain_metadata(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Names and values in order, as they were written; None: they are malformed."""
    found = []
    while data:
        name, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        size = int.from_bytes(data[:4], "big")
        if not name or len(data) < 4 + size:
            return None
        found.append((name, data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def check_metadata(data: bytes) -> None:
    pairs, found = plain_metadata(data), decode_metadata(data)
    letters = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+")
    if pairs is None or any(not letters.issuperset(name) for name, _ in pairs):
        assert found is None, (found, pairs)
        return
    expected: dict[str, bytes] = {}
    for name, value in pairs:
        expected.setdefault(name.decode().lower(), value)
    assert found == expected, (found, expected)
    assert decode_metadata(encode_metadata(expected)) == expected


def check_greeting(data: bytes) -> None:
    """What a beginning means, it means with more behind it, too; and 64 bytes are enough for anything."""
    first: Any = None
    for size in range(1, min(len(data), 64) + 1):
        found = parse_greeting(data[:size], ("NULL", "PLAIN"))
        if first is None:
            first = found
        else:
            assert type(found) is type(first), (first, found, size)
    assert first is not None or len(data) < 64
    if isinstance(first, Greeting):
        assert data[0] == 0xFF and data[9] == 0x7F and data[10] >= 3
        assert first.mechanism.encode().ljust(20, b"\0") == data[12:32]
        assert parse_greeting(data, ("NULL", "PLAIN")) == first


def run(data: bytes) -> None:
    choices = Choices(data)
    kind, flags = choices.byte(), choices.byte()
    pieces, seed = choices.byte() & 31, choices.byte()
    if kind & 0x80:
        check_greeting(choices.take(harness.INPUT_BYTES_MAX))
    elif kind & 0x40:
        check_metadata(choices.take(harness.INPUT_BYTES_MAX))
    else:
        check_frames(choices, kind, pieces, flags ^ seed)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
