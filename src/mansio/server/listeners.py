"""Listening sockets: opened before anything else starts, with faults that say what to do."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from mansio.server.acceptor import Acceptor, Factory
from mansio.server.logs import fields
from mansio.server.tasks import Tasks
from mansio.server.tls_porter import Porter

logger = logging.getLogger("mansio.listeners")

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; a reconnecting fleet comes at once."""

_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenError(Exception):
    """An address that cannot be listened on; the text is one line for the user. `taken`: somebody listens there."""

    def __init__(self, text: str, taken: bool = False) -> None:
        super().__init__(text)
        self.taken = taken


class Listeners:
    """The sockets of one front, with TLS and without. A host name may have several, such as 127.0.0.1 and ::1."""

    def __init__(self, porter: Porter | None = None) -> None:
        """`porter`: lets connections to addresses with TLS in."""
        self.porter = porter
        self._plain: list[socket.socket] = []
        self._tls: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []

    @property
    def strangers(self) -> int:
        """Connections that were accepted and have not shaken hands."""
        return 0 if self.porter is None else self.porter.strangers

    @property
    def addresses(self) -> list[str]:
        """`host:port` of each socket without TLS, with the port that the kernel chose for 0."""
        return [shown(*sock.getsockname()[:2]) for sock in self._plain]

    @property
    def tls_addresses(self) -> list[str]:
        """The same of those with TLS."""
        return [shown(*sock.getsockname()[:2]) for sock in self._tls]

    def open(
        self,
        host: str,
        port: int,
        tls: bool = False,
        settings: tuple[str, str] = ("--port", "--bind"),
    ) -> None:
        """Bind every address of `host`; accepts nothing yet. `settings`: where port and host are set, for the user.

        Raises ListenError, and then nothing is open any more.

        A name may stand for addresses that this machine lacks (localhost for ::1, without IPv6):
        they are left out as long as another one works.
        """
        opened = self._tls if tls else self._plain
        missing: ListenError | None = None
        for family, address in _resolve(host, port, settings[1]):
            if port == 0 and opened:  # the same free port on each address
                address = (address[0], opened[0].getsockname()[1], *address[2:])
            try:
                opened.append(_bound(family, address))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                fault = ListenError(explain(error, str(address[0]), port, *settings), taken)
                if error.errno not in _NOT_HERE:
                    self.close()
                    raise fault from error
                missing = missing or fault
        if not opened and missing is not None:
            self.close()
            raise missing

    def serve(self, factory: Factory, tasks: Tasks) -> None:
        """Accept from now on; `factory` gives the protocol of each connection, None refuses it."""
        self._acceptors = [Acceptor(sock, factory, tasks) for sock in self._plain]
        self._acceptors += [Acceptor(sock, factory, tasks, self.porter) for sock in self._tls]

    def close(self) -> None:
        """Stop accepting; connections that exist go on, those that shake hands do not."""
        if self.porter is not None:
            self.porter.close()
        for acceptor in self._acceptors:
            acceptor.close()
        for sock in (*self._plain, *self._tls):
            sock.close()
        self._acceptors.clear()
        self._plain.clear()
        self._tls.clear()


class Gate:
    """The protocol factory with a limit: at most `connections_max` connections at a time."""

    def __init__(self, factory: Factory, count: Callable[[], int], connections_max: int) -> None:
        self._factory = factory
        self._count = count
        self._connections_max = connections_max
        self._refused = 0

    def __call__(self) -> asyncio.BufferedProtocol | None:
        if self._count() < self._connections_max:
            self._refused = 0
            return self._factory()
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:  # the 1st, 2nd, 4th, 8th … in a row
            logger.warning(
                "connection refused: %d are open, the limit by connections_max or open files; refused"
                " in a row: %d",
                self._connections_max,
                self._refused,
                extra=fields(connections_max=self._connections_max, refused=self._refused),
            )
        return None


def shown(host: str, port: int) -> str:
    """`127.0.0.1:5672`, `[::1]:5672`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(family: int, address: Any) -> socket.socket:
    """A listening socket, not blocking. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _resolve(host: str, port: int, place: str) -> list[tuple[int, Any]]:
    """Every (family, address) of a host name or address. Raises ListenError.

    `::` stands for every address, so 0.0.0.0 goes with it, as a socket of its own: peers' IPv4
    addresses then look as they always do.
    """
    if host.strip("[]") == "::":
        return [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("0.0.0.0", port))]
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise ListenError(
            f"cannot find the address {host!r} to listen on ({reason}); choose one of this"
            f" machine's with {place}"
        ) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def explain(
    error: OSError, host: str, port: int, setting: str = "--port", place: str = "--bind"
) -> str:
    """One line for the user: what is wrong, and which settings for port and place to change."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use: another broker may be running there; stop it or"
            f" choose another port with {setting}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to listen on port {port} on {host}; ports below 1024 need a"
            f" privilege: choose another port with {setting}"
        )
    if error.errno in _NOT_HERE:
        return f"{host} is not an address of this machine; choose another one with {place}"
    return f"cannot listen on {shown(host, port)}: {error.strerror or error}"
