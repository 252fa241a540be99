"""Accepts connections a few at a time, so that a crowd at the door never holds up those who are inside."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from mansio.server.tasks import Tasks
from mansio.server.tls_porter import Porter

logger = logging.getLogger("mansio.listeners")

ACCEPTS_PER_TURN: Final = 2
"""The event loop takes every waiting connection at once: 200 of them delayed all others by some 40 ms (measured)."""
PAUSE_S: Final = 1.0
"""How long nothing is accepted when the process has no file descriptor left."""

KEEPALIVE: Final = {"TCP_KEEPIDLE": 120, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 4}
"""Seconds of silence before a machine is asked, between questions, and how many go unanswered: one that was cut off is
gone behind 200 s, where no heartbeats of the protocol notice it before. A subscriber, say, has nothing to say."""

_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


Factory = Callable[[], asyncio.BufferedProtocol | None]


def tune(sock: socket.socket) -> None:
    """What all have: nothing waits for more to send, and the system asks who is silent whether he is there."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        option = getattr(socket, name, None)  # not every system has them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Acceptor:
    """One listening socket on the running loop."""

    def __init__(
        self, sock: socket.socket, factory: Factory, tasks: Tasks, porter: Porter | None = None
    ) -> None:
        """`factory` gives the protocol of a connection, or None to refuse it; with a `porter` it is for TLS."""
        self._sock = sock
        self._factory = factory
        self._tasks = tasks
        self._porter = porter
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Stop accepting; the socket stays open."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._porter is not None and self._porter.crowded:
                self._loop.remove_reader(self._sock)
                self._porter.when_free(self._resume)
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                self._pause(error)
                return
            protocol = self._factory()
            if protocol is None:
                sock.close()
                continue
            if self._porter is not None:
                protocol = self._porter.stream(protocol)
            sock.setblocking(False)
            tune(sock)
            self._tasks.start(self._connect(protocol, sock), "accept")

    async def _connect(self, protocol: asyncio.BaseProtocol, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except OSError as error:  # gone before it was looked at
            logger.debug("connection lost while it was accepted: %s", error)
            sock.close()

    def _pause(self, error: OSError) -> None:
        logger.error("cannot accept connections: %s; trying again in %g s", error, PAUSE_S)
        self._loop.remove_reader(self._sock)
        self._loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock, self._accept)
