"""A small Redis client for tests: bytes of commands out, whole replies in, as RESP2 and RESP3 have them.

simple string  str            bulk string  bytes       number   int         null  None     array  list
error          RespError      text         Verbatim    double   Double      null array  NULL_ARRAY
boolean        bool           map          Map (a list of pairs)            set  Set       push   Push (lists)
"""

import socket
from typing import Any, Final, NamedTuple

HOST: Final = "127.0.0.1"
TIMEOUT_S: Final = 30.0
RECEIVE_BYTES: Final = 1 << 18


class RespError(NamedTuple):
    """An error reply; the text begins with its prefix."""

    text: str


class Verbatim(NamedTuple):
    """Text for people, with its format."""

    text: bytes


class Double(NamedTuple):
    """A number with a fraction, as it was written."""

    text: bytes


class Map(list[tuple[Any, Any]]):
    """Pairs in the order in which they came."""


class Set(list[Any]):
    """Items in the order in which they came."""


class Push(list[Any]):
    """What came without having been asked for."""


class NullArray:
    """See `NULL_ARRAY`."""

    def __repr__(self) -> str:
        return "NULL_ARRAY"


NULL_ARRAY: Final = NullArray()


class NotResp(Exception):
    """Bytes that are no reply."""


def command(*args: bytes | str | int | float) -> bytes:
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def end_of(buf: bytes | bytearray, pos: int) -> int:
    """Where the reply that begins at `pos` ends; -1: it is not all there."""
    missing, size = 1, len(buf)
    while missing:
        eol = buf.find(b"\r\n", pos)
        if eol < 0:
            return -1
        sign = buf[pos]
        missing -= 1
        if sign in b"$=!":
            length = int(buf[pos + 1 : eol])
            pos = eol + 2 + (length + 2 if length >= 0 else 0)
            if pos > size:
                return -1
            continue
        if sign in b"*~>":
            missing += max(int(buf[pos + 1 : eol]), 0)
        elif sign in b"%|":
            missing += 2 * int(buf[pos + 1 : eol]) + (sign == 0x7C)
        elif sign not in b"+-:_#,(":
            raise NotResp(bytes(buf[pos : pos + 80]))
        pos = eol + 2
    return pos


def parse(buf: bytes | bytearray, pos: int = 0) -> tuple[Any, int]:
    """The reply at `pos`, which is all there (`end_of`), and where it ends. Errors: NotResp."""
    eol = buf.find(b"\r\n", pos)
    sign, line, pos = buf[pos], bytes(buf[pos + 1 : eol]), eol + 2
    if sign in b"$=!":
        length = int(line)
        if length < 0:
            return None, pos
        data = bytes(buf[pos : pos + length])
        if sign == 0x24:
            return data, pos + length + 2
        value = Verbatim(data) if sign == 0x3D else RespError(_text(data))
        return value, pos + length + 2
    if sign in b"*~>":
        return _items(buf, pos, sign, int(line))
    if sign == 0x25:
        pairs = Map()
        for _ in range(int(line)):
            key, pos = parse(buf, pos)
            item, pos = parse(buf, pos)
            pairs.append((key, item))
        return pairs, pos
    return _scalar(sign, line), pos


def _items(buf: bytes | bytearray, pos: int, sign: int, count: int) -> tuple[Any, int]:
    if count < 0:
        return NULL_ARRAY, pos
    items: list[Any] = {0x2A: list, 0x7E: Set, 0x3E: Push}[sign]()
    for _ in range(count):
        item, pos = parse(buf, pos)
        items.append(item)
    return items, pos


def _scalar(sign: int, line: bytes) -> Any:
    match chr(sign):
        case "+":
            return _text(line)
        case "-":
            return RespError(_text(line))
        case ":" | "(":
            return int(line)
        case "_":
            return None
        case "#":
            return line == b"t"
        case ",":
            return Double(line)
    raise NotResp(bytes([sign]) + line)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class RespClient:
    """A connection; every call waits for what it asks for."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket.create_connection((HOST, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buf = bytearray()

    def send(self, data: bytes) -> None:
        """Bytes as they are. Errors: OSError."""
        self.socket.sendall(data)

    def take_raw(self) -> bytes | None:
        """A whole reply that is there already."""
        end = end_of(self._buf, 0) if self._buf else -1
        if end < 0:
            return None
        raw = bytes(self._buf[:end])
        del self._buf[:end]
        return raw

    def receive(self) -> bool:
        """Waits for more bytes; whether there are any, or it is over. Errors: OSError."""
        data = self.socket.recv(RECEIVE_BYTES)
        self._buf += data
        return bool(data)

    def raw(self) -> bytes:
        """The next reply as bytes. Errors: ConnectionError when there is none, other OSError."""
        while (raw := self.take_raw()) is None:
            if not self.receive():
                raise ConnectionError("the server has closed the connection")
        return raw

    def raws(self, count: int) -> list[bytes]:
        """The next replies as bytes; fewer when the server closes the connection. Errors: OSError."""
        found: list[bytes] = []
        pos = 0
        while len(found) < count:
            end = end_of(self._buf, pos) if pos < len(self._buf) else -1
            if end >= 0:
                found.append(bytes(self._buf[pos:end]))
                pos = end
            elif not self.receive():
                break
        del self._buf[:pos]
        return found

    def reply(self) -> Any:
        """The next reply or push. Errors: ConnectionError, other OSError."""
        return parse(self.raw())[0]

    def ask(self, *args: bytes | str | int | float) -> Any:
        """A command's reply; an error reply is a RespError, not raised. Errors: OSError."""
        self.send(command(*args))
        return self.reply()

    def ask_many(self, *commands: tuple[bytes | str | int | float, ...]) -> list[Any]:
        """Commands in one write; their replies. Errors: OSError."""
        self.send(b"".join(command(*args) for args in commands))
        return [self.reply() for _ in commands]

    def close(self) -> None:
        """End the connection."""
        self.socket.close()
