"""Listeners with TLS on real sockets, on both event loops, with an echo above: any front can stand there."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from mansio.server import clock, tls_porter
from mansio.server.listeners import Listeners
from mansio.server.tasks import Tasks
from mansio.server.tls_context import make_context
from mansio.server.tls_porter import Porter
from tests.certificates import client_context, server_config

MIB = 1 << 20
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Echo(asyncio.BufferedProtocol):
    """Sends back what comes; reads no more while that does not get away."""

    def __init__(self) -> None:
        self.buffer = bytearray(100_000)
        self.transport: asyncio.Transport
        self.paused = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=MIB, low=MIB // 2)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        half = nbytes // 2
        self.transport.writelines([self.buffer[:half], self.buffer[half:nbytes]])

    def pause_writing(self) -> None:
        self.paused += 1
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Place:
    """A listener with a free port, and the protocols that it has made."""

    def __init__(self, folder: Path) -> None:
        config = server_config(folder)
        self.folder = folder
        self.echoes: list[Echo] = []
        self.listeners = Listeners(Porter(make_context(config), config, clock))
        self.listeners.open("127.0.0.1", 0, tls=True)
        self.port = int(self.listeners.tls_addresses[0].rpartition(":")[2])
        self.tasks = Tasks()
        self.listeners.serve(self._echo, self.tasks)

    def _echo(self) -> Echo:
        self.echoes.append(Echo())
        return self.echoes[-1]

    async def connect(
        self, unread_bytes_max: int = 4 * MIB
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client. With little in `unread_bytes_max` uvloop's own TLS loses what is unread when the server closes."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # else all may fit in there
        return await asyncio.open_connection(
            sock=sock,
            ssl=client_context(self.folder),
            server_hostname="localhost",
            limit=unread_bytes_max,
        )


def play(
    folder: Path,
    factory: Callable[[], asyncio.AbstractEventLoop],
    scene: Callable[[Place], Awaitable[None]],
) -> None:
    """Runs a scene on a loop of this kind."""

    async def main() -> None:
        place = Place(folder)
        async with asyncio.timeout(50):
            await scene(place)
        place.listeners.close()
        await place.tasks.cancel_all()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", LOOPS)
def test_what_is_sent_comes_back(
    certificates: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene(place: Place) -> None:
        reader, writer = await place.connect()
        for size in (1, 1000, 20_000, 3 * MIB):
            data = os.urandom(size)
            writer.write(data)
            assert await reader.readexactly(size) == data
        writer.close()
        while not place.echoes[0].lost:
            await asyncio.sleep(0.001)

    play(certificates, factory, scene)


@pytest.mark.parametrize("factory", LOOPS)
def test_a_client_that_does_not_read_is_waited_for(
    certificates: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene(place: Place) -> None:
        reader, writer = await place.connect(65_536)
        data = os.urandom(MIB)
        writing = asyncio.ensure_future(write(writer, data * 24))
        while not place.echoes[0].paused:
            await asyncio.sleep(0.001)
        assert place.echoes[0].transport.get_write_buffer_size() < 2 * MIB
        for _ in range(24):
            assert await reader.readexactly(MIB) == data
        await writing
        writer.close()

    async def write(writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(0, len(data), 65_536):
            writer.write(data[at : at + 65_536])
            await writer.drain()

    play(certificates, factory, scene)


@pytest.mark.parametrize("factory", LOOPS)
def test_closing_leaves_nothing_behind(
    certificates: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene(place: Place) -> None:
        for end in ("client closes", "server closes", "server aborts"):
            reader, writer = await place.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            echo = place.echoes[-1]
            if end == "client closes":
                writer.close()
            elif end == "server closes":
                echo.transport.write(bytes(MIB))
                echo.transport.close()
                assert await reader.readexactly(MIB) == bytes(MIB)
                assert await reader.read() == b""
            else:
                echo.transport.abort()
            while not echo.lost:
                await asyncio.sleep(0.001)
            writer.close()

    play(certificates, factory, scene)


@pytest.mark.parametrize("factory", LOOPS)
def test_a_crowd_is_served_although_the_line_is_short(
    certificates: Path,
    factory: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_porter, "LINE_MAX", 2)

    async def scene(place: Place) -> None:
        async def one() -> None:
            reader, writer = await place.connect()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

        await asyncio.gather(*(one() for _ in range(40)))
        assert place.listeners.porter is not None and place.listeners.porter.handshakes == 40

    play(certificates, factory, scene)


@pytest.mark.parametrize("factory", LOOPS)
def test_closing_cuts_who_has_not_shaken_hands(
    certificates: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene(place: Place) -> None:
        reader, writer = await place.connect()
        stranger, other = await asyncio.open_connection("localhost", place.port)
        while not place.listeners.strangers:
            await asyncio.sleep(0.001)
        place.listeners.close()
        assert place.listeners.strangers == 0
        with contextlib.suppress(ConnectionResetError):
            assert await stranger.read() == b""
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        other.close()

    play(certificates, factory, scene)
