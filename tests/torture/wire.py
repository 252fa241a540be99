"""A small AMQP 0-9-1 client on asyncio, made for speed and for dying brokers.

`Connection` is one TCP connection. Deliveries and confirms go to callbacks, a call waits for its reply, and when the
connection is lost, everything that waits hears `Lost`.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_values import CodecError

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
CALL_S_MAX = 60.0
"""No reply for so long is a broker that hangs."""
CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
}
_HEAD = struct.Struct(">BHI")
_CONTENT = struct.Struct(">BHIHHQH")  # the header frame of a message up to its properties
_HEADERS, _DELIVERY_MODE = 0x2000, 0x1000
_OFFSET = b"\x0fx-stream-offsetl"
_WRITE_HIGH_BYTES = 1 << 20

Content = Callable[[Any, bytes], None]
Confirm = Callable[[int, bool, bool], None]


class Lost(Exception):
    """The connection is over."""


class ChannelClosed(Exception):
    """The server closed the channel: `code`, text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Unexpected(Exception):
    """The server did what no server does: a finding, not a lost connection."""


def offset_in(header: bytes) -> int:
    """The offset of an entry of a stream, by the payload of its header frame; -1: there is none."""
    at = header.find(_OFFSET) + len(_OFFSET)
    return int.from_bytes(header[at : at + 8], "big") if at >= len(_OFFSET) else -1


class Channel:
    """Callbacks and pending calls of one channel. `closing`: the client asked to close it.

    `header`: the payload of the header frame of the message at hand.
    """

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.on_deliver: Content | None = None
        self.on_confirm: Confirm | None = None
        self.on_return: Content | None = None
        self.on_get: Content | None = None  # hears of a get-ok at once, as on_deliver of a delivery
        self.header = b""
        self.closing = False
        self.open = True
        self.calls: deque[tuple[tuple[type, ...], asyncio.Future[Any]]] = deque()

    def send(self, method: m.Method) -> None:
        """A method without content, and no waiting."""
        self.connection.write(m.method_frame(self.number, method))

    async def call(self, method: m.Method, *replies: type) -> Any:
        """Send and wait for the reply. Lost, ChannelClosed, TimeoutError."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(method)
        self.calls.append((replies, future))
        async with asyncio.timeout(CALL_S_MAX):
            return await future

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        persistent: bool,
        mandatory: bool = False,
        headers: bytes = b"",
    ) -> None:
        """One message. `headers`: a table, encoded."""
        route = (self.number, exchange, key, mandatory)
        method = _publish_frames.get(route)
        if method is None:
            method = m.method_frame(self.number, m.BasicPublish(exchange, key, mandatory))
            _publish_frames[route] = method
        flags = _DELIVERY_MODE | (_HEADERS if headers else 0)
        header = _CONTENT.pack(2, self.number, 15 + len(headers), 60, 0, len(body), flags)
        parts = [method, header, headers, b"\x02\xce" if persistent else b"\x01\xce"]
        step = self.connection.frame_max - 8
        for at in range(0, len(body), step):
            part = body[at : at + step]
            parts += (_HEAD.pack(3, self.number, len(part)), part, b"\xce")
        self.connection.write(b"".join(parts))

    async def close(self) -> None:
        """Close it in order; what it still delivers meanwhile is dropped, as the specification wants it."""
        self.closing = True
        await self.call(m.ChannelClose(200, "bye"), m.ChannelCloseOk)
        self.open = False
        del self.connection.channels[self.number]

    def reply(self, method: Any, body: bytes | None = None) -> None:
        """A reply came for the oldest call."""
        if not self.calls or not isinstance(method, self.calls[0][0]):
            raise Unexpected(f"channel {self.number}: {method} while waiting for {self.calls}")
        _, future = self.calls.popleft()
        if body is not None and self.on_get is not None:
            self.on_get(method, body)
        if not future.done():
            future.set_result(method)

    def fail(self, error: Exception) -> None:
        """Nothing more comes on this channel."""
        self.open = False
        while self.calls:
            _, future = self.calls.popleft()
            if not future.done():
                future.set_exception(error)


_publish_frames: dict[tuple[int, str, str, bool], bytes] = {}


class Connection(asyncio.Protocol):
    """See the top of this file. `writable`, `unblocked`: set while one may send, or publish."""

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.frame_max = 131072
        self.lost = False
        self.fault: Exception | None = None
        self.on_end: Callable[[], None] | None = None
        self.blocked_count = 0
        self.ended = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.changed = asyncio.Event()  # set by every confirm, and by connection.blocked
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._content: tuple[int, Any, bytes, int, list[bytes]] | None = None
        self._control = self.channels[0] = Channel(self, 0)

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect and log in. Lost, OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CALL_S_MAX):
            _, connection = await loop.create_connection(cls, "127.0.0.1", port)
            control = connection._control
            start = connection._expect(m.ConnectionStart)
            connection.write(PROTOCOL_HEADER)
            await start
            properties = {"capabilities": CAPABILITIES, "product": "torture"}
            plain = b"\0guest\0guest"
            tune = await control.call(
                m.ConnectionStartOk(cast(Any, properties), "PLAIN", plain), m.ConnectionTune
            )
            connection.frame_max = min(tune.frame_max or 131072, 131072)
            control.send(m.ConnectionTuneOk(2047, connection.frame_max, 0))
            await control.call(m.ConnectionOpen("/"), m.ConnectionOpenOk)
        return connection

    async def channel(self) -> Channel:
        """Open the next channel."""
        number = next(i for i in range(1, 2047) if i not in self.channels)
        channel = self.channels[number] = Channel(self, number)
        await channel.call(m.ChannelOpen(), m.ChannelOpenOk)
        return channel

    async def close(self) -> None:
        """Close in order: what was sent before has been processed then."""
        for channel in self.channels.values():
            channel.closing = True
        await self._control.call(m.ConnectionClose(200, "bye"), m.ConnectionCloseOk)
        self.abort()

    def abort(self) -> None:
        """Cut it without a word; nothing that still comes is looked at."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def write(self, data: bytes) -> None:
        """Bytes to the server. Lost."""
        if self.lost or self._transport is None or self._transport.is_closing():
            raise Lost
        self._transport.write(data)

    async def wait(self, event: asyncio.Event) -> None:
        """Until `event`, Lost if the connection ends before."""
        if not event.is_set() and not self.lost:
            async with asyncio.timeout(CALL_S_MAX):
                await event.wait()
        if self.lost:
            raise Lost

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_HIGH_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server is gone."""
        self._end()

    def pause_writing(self) -> None:
        """Much is waiting to be sent."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """It has been sent."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """Whole frames are taken at once."""
        if self.lost:
            return
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        try:
            while end - at >= 8 and not self.lost:
                kind, number, size = _HEAD.unpack_from(buffer, at)
                stop = at + 8 + size
                if stop > end:
                    break
                if buffer[stop - 1] != 0xCE:
                    raise Unexpected(f"frame of type {kind} without an end")
                self._frame(kind, number, bytes(buffer[at + 7 : stop - 1]))
                at = stop
        except (Unexpected, CodecError) as error:
            self.fault = error
            self.abort()
        del buffer[:at]

    # --

    def _expect(self, reply: type) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._control.calls.append(((reply,), future))
        return future

    def _end(self) -> None:
        if self.lost:
            return
        self.lost = True
        for channel in self.channels.values():
            channel.fail(Lost())
        for event in (self.ended, self.writable, self.changed, self.unblocked):
            event.set()
        if self.on_end is not None:
            self.on_end()

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == m.FRAME_METHOD:
            method = m.decode_method(payload)
            if method.CONTENT:
                self._content = (number, method, b"", -1, [])
            else:
                self._method(number, method)
        elif kind != m.FRAME_HEARTBEAT:
            if self._content is None or self._content[0] != number:
                raise Unexpected(f"content on channel {number}")
            _, method, header, left, parts = self._content
            if kind == m.FRAME_HEADER:
                header, left = payload, int.from_bytes(payload[4:12], "big")
            else:
                left -= len(payload)
                parts.append(payload)
            self._content = (number, method, header, left, parts) if left else None
            if not left:
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                self._whole(number, method, header, body)

    def _whole(self, number: int, method: Any, header: bytes, body: bytes) -> None:
        channel = self.channels.get(number)
        if channel is None or channel.closing:
            return
        channel.header = header
        if isinstance(method, m.BasicDeliver):
            if channel.on_deliver is not None:
                channel.on_deliver(method, body)
        elif isinstance(method, m.BasicReturn):
            if channel.on_return is not None:
                channel.on_return(method, body)
        else:
            channel.reply(method, body)

    def _method(self, number: int, method: Any) -> None:
        channel = self.channels.get(number)
        if channel is None:
            raise Unexpected(f"{method} on channel {number}, which is not open")
        if isinstance(method, m.BasicAck | m.BasicNack):
            self.changed.set()
            if channel.on_confirm is not None and not channel.closing:
                ok = isinstance(method, m.BasicAck)
                channel.on_confirm(method.delivery_tag, method.multiple, ok)
        elif isinstance(method, m.ChannelClose):
            self.write(m.method_frame(number, m.ChannelCloseOk()))
            del self.channels[number]
            channel.fail(ChannelClosed(method.reply_code, method.reply_text))
        elif isinstance(method, m.ConnectionClose):
            if method.reply_code not in (200, 320):
                self.fault = Unexpected(f"connection.close {method.reply_code} {method.reply_text}")
            self.write(m.method_frame(0, m.ConnectionCloseOk()))
            if self._transport is not None:
                self._transport.close()
            self._end()
        elif isinstance(method, m.ConnectionBlocked):
            self.blocked_count += 1
            self.unblocked.clear()
            self.changed.set()
        elif isinstance(method, m.ConnectionUnblocked):
            self.unblocked.set()
        elif isinstance(method, m.BasicCancel):
            pass  # its queue was deleted
        else:
            channel.reply(method)
