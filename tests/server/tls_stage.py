"""A TlsStream on a fake socket with a real TLS client at its other end, and time that the test moves."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from mansio.server.tls_context import make_context
from mansio.server.tls_porter import Porter
from mansio.server.tls_stream import TlsStream
from tests.certificates import client_context, server_config


class StageClock:
    """Time stands still until the test moves it; `wall` is Unix time, when all certificates are valid."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000
        self.wall = time.time()

    def now_ns(self) -> int:
        return self.ns

    def wall_s(self) -> float:
        return self.wall


class Socket(asyncio.Transport):
    """The socket's transport: what is written is kept, or piles up while `stuck`."""

    def __init__(self, protocol: TlsStream) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.reading = True
        self.closing = False
        self.ended = False  # written to the end
        self.gone = False
        self.pending_bytes = 0
        self.stuck = False
        self.limits: tuple[int | None, int | None] = (None, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 50123), "sockname": ("127.0.0.1", 5671)}.get(
            name, default
        )

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.pending_bytes

    def write(self, data: Any) -> None:
        assert not self.ended and not self.gone and not self.closing
        self.written += data
        if self.stuck:
            self.pending_bytes += len(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        assert not self.closing
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closing = True
        self._lose()

    def abort(self) -> None:
        self.closing = True
        self._lose()

    def _lose(self) -> None:
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def deliver(self, data: bytes) -> None:
        """The kernel has these bytes."""
        while data:
            assert self.reading, "nobody reads"
            buffer = memoryview(self.protocol.get_buffer(-1))
            n = min(len(data), len(buffer))
            buffer[:n] = data[:n]
            data = data[n:]
            self.protocol.buffer_updated(n)

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data


class App(asyncio.BufferedProtocol):
    """Keeps what it is told; `room` is how much it takes at a time."""

    def __init__(self, room: int = 100_000) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.portions: list[int] = []
        self.buffer = bytearray(room)
        self.transport: TlsStream | None = None
        self.pauses_after = 0
        """Stops to read when it has received so much; 0: never."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsStream)
        self.transport = transport
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.portions.append(nbytes)
        if self.pauses_after and len(self.received) >= self.pauses_after:
            assert self.transport is not None
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")

    def pause_writing(self) -> None:
        self.events.append("stuck")

    def resume_writing(self) -> None:
        self.events.append("unstuck")


class Line:
    """One connection: the stream on its fake socket, the protocol above it, and a client."""

    def __init__(self, stage: "TlsStage", client: ssl.SSLContext | None, app: App | None) -> None:
        self.app = app or App()
        self.stream = stage.porter.stream(self.app)
        self.socket = Socket(self.stream)
        self.stream.connection_made(self.socket)
        self.down, self.up = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client or client_context(stage.folder)
        self.tls = context.wrap_bio(self.down, self.up, server_hostname="localhost")

    async def shake_hands(self) -> None:
        """To the end. Errors: ssl.SSLError, as the client sees it."""
        for _ in range(10):
            try:
                self.tls.do_handshake()
                self.send()
                await settle()
                self.down.write(self.socket.take())
                return
            except ssl.SSLWantReadError:
                self.send()
            await settle()
            self.down.write(self.socket.take())
        raise AssertionError("no end of the handshake")

    def send(self, data: bytes = b"") -> None:
        """The client writes this, and it arrives."""
        if data:
            self.tls.write(data)
        self.socket.deliver(self.up.read())

    def hear(self) -> bytes:
        """What the client reads; the end of it is b"<end>"."""
        self.down.write(self.socket.take())
        out = bytearray()
        while True:
            try:
                data = self.tls.read(1 << 20)
            except ssl.SSLWantReadError:
                return bytes(out)
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                return bytes(out) + b"<end>"
            out += data


class TlsStage:
    """A porter, and what it needs."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.clock = StageClock()
        self.config = server_config(folder, **settings)
        self.porter = Porter(make_context(self.config), self.config, self.clock)

    def line(self, client: ssl.SSLContext | None = None, app: App | None = None) -> Line:
        """A connection that was just accepted."""
        return Line(self, client, app)

    async def open(self, client: ssl.SSLContext | None = None, app: App | None = None) -> Line:
        """A connection that has shaken hands."""
        line = self.line(client, app)
        await line.shake_hands()
        assert line.app.events == ["made"]
        return line


async def settle() -> None:
    """Lets everything happen that is due now."""
    for _ in range(10):
        await asyncio.sleep(0)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene on a loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(main())
