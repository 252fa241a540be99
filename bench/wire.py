"""Just enough of an AMQP 0-9-1 client for set-up work: a handshake, and frames to spoil."""

import re
import socket
import struct

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_END = b"\xce"
METHOD, HEADER, BODY = 1, 2, 3
TIMEOUT_S = 10.0


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame (AMQP 0-9-1, section 4.2.3)."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """A method frame from encoded arguments."""
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def short(text: str) -> bytes:
    """A short string."""
    raw = text.encode()
    return bytes([len(raw)]) + raw


def start_ok(user: str = "guest", password: str = "guest") -> bytes:
    """connection.start-ok with PLAIN and no client properties."""
    plain = f"\0{user}\0{password}".encode()
    arguments = struct.pack(">I", 0) + short("PLAIN")
    return method(0, 10, 11, arguments + struct.pack(">I", len(plain)) + plain + short("en_US"))


def tune_ok(channel_max: int = 2047, frame_max: int = 131072) -> bytes:
    """connection.tune-ok without heartbeats."""
    return method(0, 10, 31, struct.pack(">HIH", channel_max, frame_max, 0))


CONNECTION_OPEN = method(0, 10, 40, short("/") + b"\0\0")
CHANNEL_OPEN = method(1, 20, 10, b"\0")
HANDSHAKE = PROTOCOL_HEADER + start_ok() + tune_ok() + CONNECTION_OPEN + CHANNEL_OPEN


def publish(routing_key: str, exchange: str = "") -> bytes:
    """The basic.publish method frame alone, on channel 1."""
    return method(1, 60, 40, b"\0\0" + short(exchange) + short(routing_key) + b"\0")


def read_method(sock: socket.socket) -> tuple[int, int, bytes]:
    """The next frame's class, method and arguments; only for the lock step of a handshake.

    Errors: ConnectionError when the peer closes, TimeoutError.
    """
    _, _, size = struct.unpack(">BHI", _read(sock, 7))
    payload = _read(sock, size + 1)[:-1]
    class_id, method_id = struct.unpack_from(">HH", payload)
    return class_id, method_id, payload[4:]


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("the peer closed the connection")
        data += part
    return data


def hello(port: int) -> tuple[socket.socket, bytes]:
    """Connect and send the protocol header; answers the socket and connection.start's arguments.

    Errors: OSError, also when the answer is something else.
    """
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    try:
        sock.sendall(PROTOCOL_HEADER)
        class_id, method_id, arguments = read_method(sock)
        if (class_id, method_id) != (10, 10):
            raise ConnectionError(f"method {class_id}.{method_id} instead of connection.start")
    except BaseException:
        sock.close()
        raise
    return sock, arguments


def connect(port: int) -> socket.socket:
    """An open connection with channel 1 open, no heartbeats. Errors: OSError."""
    sock, _ = hello(port)
    try:
        steps = (
            (start_ok(), (10, 30)),
            (tune_ok() + CONNECTION_OPEN, (10, 41)),
            (CHANNEL_OPEN, (20, 11)),
        )
        for data, wanted in steps:
            sock.sendall(data)
            class_id, method_id, _ = read_method(sock)
            if (class_id, method_id) != wanted:
                raise ConnectionError(f"method {class_id}.{method_id} during the handshake")
    except BaseException:
        sock.close()
        raise
    return sock


def server_property(start_arguments: bytes, name: str) -> str:
    """A text among the server properties of connection.start, or ''."""
    found = re.search(short(name) + b"S(....)", start_arguments, re.DOTALL)
    if not found:
        return ""
    (size,) = struct.unpack(">I", found[1])
    return start_arguments[found.end() : found.end() + size].decode(errors="replace")
