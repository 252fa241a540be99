"""A scripted AMQP 0-9-1 client on a plain socket: it sends what a transcript says, right or wrong.

`Wire` is one TCP connection. It knows frames and nothing else: no state machine, no automatic answers, so that
every mistake a client can make can be made. `login` is the one convenience: the usual handshake.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.interop.methods import BY_ID, BY_NAME, PROPERTIES, Method
from tests.interop.values import Table, Value, decode_table, encode_table, to_bytes, to_text

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
CLASS_BASIC = 60
INTEGERS = {"o": ">B", "h": ">H", "l": ">I", "L": ">Q"}

# What a client announces when a transcript does not say otherwise.
CAPABILITIES: Table = {
    "publisher_confirms": ("t", 1),
    "exchange_exchange_bindings": ("t", 1),
    "basic.nack": ("t", 1),
    "consumer_cancel_notify": ("t", 1),
    "connection.blocked": ("t", 1),
    "authentication_failure_close": ("t", 1),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; for the server's answer to a wrong protocol header type is -1 and payload all of it."""

    type: int
    channel: int
    payload: bytes

    def encode(self, end: int = FRAME_END) -> bytes:
        """The frame's bytes."""
        head = struct.pack(">BHI", self.type, self.channel, len(self.payload))
        return head + self.payload + bytes([end])


def encode_fields(fields: tuple[tuple[str, str], ...], values: Mapping[str, Any]) -> bytes:
    """Method arguments; fields that are not given are zero or empty. Neighbouring bits share an octet."""
    out = bytearray()
    bits: list[int] = []
    for name, kind in (*fields, ("", "")):
        if kind == "b":
            bits.append(int(values.get(name, 0)))
            continue
        if bits:
            out += bytes([sum(bit << i for i, bit in enumerate(bits))])
            bits = []
        if kind:
            out += encode_field(kind, values.get(name))
    return bytes(out)


def encode_field(kind: str, value: Any) -> bytes:
    """One argument or property that is not a bit; None is zero or empty."""
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value or 0)
    if kind == "F":
        return encode_table(value or {})
    raw = to_bytes(value or "")
    return (bytes([len(raw)]) if kind == "s" else struct.pack(">I", len(raw))) + raw


def decode_field(kind: str, raw: bytes, pos: int) -> tuple[Any, int]:
    """Inverse of encode_field: the value and the position behind it."""
    if kind in INTEGERS:
        size = struct.calcsize(INTEGERS[kind])
        return struct.unpack_from(INTEGERS[kind], raw, pos)[0], pos + size
    if kind == "F":
        return decode_table(raw, pos)
    if kind == "s":
        size, start = raw[pos], pos + 1
    else:
        (size,), start = struct.unpack_from(">I", raw, pos), pos + 4
    return to_text(raw[start : start + size]), start + size


def decode_method(payload: bytes) -> tuple[Method, dict[str, Any]]:
    """The method of a method frame and its arguments; raises KeyError for an unknown one."""
    class_id, method_id = struct.unpack_from(">HH", payload)
    method = BY_ID[class_id, method_id]
    values: dict[str, Any] = {}
    pos, bit = 4, 0
    for name, kind in method.fields:
        if kind == "b":
            values[name] = payload[pos] >> bit & 1
            bit += 1
            continue
        if bit:
            pos, bit = pos + 1, 0
        values[name], pos = decode_field(kind, payload, pos)
    return method, values


def method_payload(name: str, values: Mapping[str, Any]) -> bytes:
    """Payload of a method frame."""
    method = BY_NAME[name]
    unknown = set(values) - {field for field, _ in method.fields}
    if unknown:
        raise ValueError(f"{name} has no field {', '.join(sorted(unknown))}")
    ids = struct.pack(">HH", method.class_id, method.method_id)
    return ids + encode_fields(method.fields, values)


def header_payload(
    size: int, properties: Mapping[str, Any], class_id: int = CLASS_BASIC, weight: int = 0
) -> bytes:
    """Payload of a content header frame."""
    flags, out = 0, bytearray()
    for index, (name, kind) in enumerate(PROPERTIES):
        if name in properties:
            flags |= 1 << (15 - index)
            out += encode_field(kind, properties[name])
    return struct.pack(">HHQH", class_id, weight, size, flags) + bytes(out)


def decode_header(payload: bytes) -> tuple[int, dict[str, Any]]:
    """Body size and properties of a content header frame."""
    _, _, size, flags = struct.unpack_from(">HHQH", payload)
    properties: dict[str, Any] = {}
    pos = 14
    for index, (name, kind) in enumerate(PROPERTIES):
        if flags & 1 << (15 - index):
            properties[name], pos = decode_field(kind, payload, pos)
    return size, properties


def content_frames(channel: int, body: bytes, frame_max: int, header: bytes) -> Iterator[Frame]:
    """Header frame and as many body frames as frame_max (octets, whole frame) asks for."""
    yield Frame(HEADER, channel, header)
    step = frame_max - 8
    for start in range(0, len(body), step):
        yield Frame(BODY, channel, body[start : start + step])


class Wire:
    """One TCP connection to a broker."""

    def __init__(self, host: str, port: int, timeout_seconds: float = 5.0) -> None:
        self.begin()
        self.sock = socket.create_connection((host, port), timeout=timeout_seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> None:
        """Nothing has been received yet."""
        self.buffer = bytearray()
        self.closed = False
        self.frame_max = 131072

    def send(self, *frames: Frame) -> None:
        """Send frames in one write."""
        self.send_raw(b"".join(frame.encode() for frame in frames))

    def send_raw(self, raw: bytes) -> None:
        """Send bytes; a peer that has gone away is seen later by `frame`, not here."""
        try:
            self.sock.settimeout(5.0)
            self.sock.sendall(raw)
        except OSError:
            pass

    def maybe_frame(self, timeout_seconds: float) -> Frame | None:
        """The next frame, or None when none is complete in time or the peer closed (then `closed` is set)."""
        while True:
            frame = self._take_frame()
            if frame is not None or self.closed:
                return frame
            received = self.maybe_received(timeout_seconds)
            if received is None:
                return None
            self.closed = not received
            self.buffer += received

    def maybe_received(self, timeout_seconds: float) -> bytes | None:
        """What has arrived, b"" when the peer has closed, or None when nothing comes in time."""
        try:
            self.sock.settimeout(timeout_seconds or 1e-6)
            return self.sock.recv(1 << 18)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError:
            return b""

    def _take_frame(self) -> Frame | None:
        """Cut one whole frame from the front of the buffer."""
        if self.buffer[:4] == b"AMQP" and len(self.buffer) >= 8:
            raw = bytes(self.buffer[:8])
            del self.buffer[:8]
            return Frame(-1, 0, raw)
        if len(self.buffer) < 8:
            return None
        kind, channel, size = struct.unpack_from(">BHI", self.buffer)
        if len(self.buffer) < size + 8:
            return None
        if self.buffer[size + 7] != FRAME_END:
            raise AssertionError(
                f"the server's frame does not end with CE: {self.buffer[:80].hex()}"
            )
        payload = bytes(self.buffer[7 : size + 7])
        del self.buffer[: size + 8]
        return Frame(kind, channel, payload)

    def expect(self, name: str, timeout_seconds: float = 10.0) -> dict[str, Any]:
        """Wait for one method (skipping others) and return its arguments; raises AssertionError."""
        while True:
            frame = self.maybe_frame(timeout_seconds)
            if frame is None:
                raise AssertionError(f"{name} expected, but nothing came (closed: {self.closed})")
            if frame.type != METHOD:
                continue
            method, values = decode_method(frame.payload)
            if method.name == name:
                return values
            if method.name in ("connection.close", "channel.close"):
                raise AssertionError(f"{name} expected, but {method.name} {values} came")

    def call(self, channel: int, name: str, answer: str, **values: Any) -> dict[str, Any]:
        """Send a method and wait for its answer."""
        self.send(Frame(METHOD, channel, method_payload(name, values)))
        return self.expect(answer)

    def login(self, options: Mapping[str, Value]) -> None:
        """Protocol header to connection.open-ok, or only until connection.`start` or `tune` has come.

        Options (table values): user, password, vhost, channel_max, frame_max, heartbeat, capabilities (a table),
        until.
        """
        plain = {name: value[1] for name, value in options.items()}
        user, password = plain.get("user", "guest"), plain.get("password", "guest")
        self.send_raw(PROTOCOL_HEADER)
        self.expect("connection.start")
        if plain.get("until") == "start":
            return
        start_ok = {
            "client_properties": {"capabilities": ("F", plain.get("capabilities", CAPABILITIES))},
            "mechanism": "PLAIN",
            "response": f"\0{user}\0{password}",
            "locale": "en_US",
        }
        tune = self.call(0, "connection.start-ok", "connection.tune", **start_ok)
        if plain.get("until") == "tune":
            return
        self.frame_max = int(plain.get("frame_max", tune["frame_max"]))
        tune_ok = {
            "channel_max": plain.get("channel_max", tune["channel_max"]),
            "frame_max": self.frame_max,
            "heartbeat": plain.get("heartbeat", 0),
        }
        self.send(Frame(METHOD, 0, method_payload("connection.tune-ok", tune_ok)))
        vhost = plain.get("vhost", "/")
        self.call(0, "connection.open", "connection.open-ok", virtual_host=vhost)

    def open_channel(self, channel: int) -> None:
        """Open a channel."""
        self.call(channel, "channel.open", "channel.open-ok")

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
