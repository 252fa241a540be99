"""A network that fails: a TCP relay whose connections are cut or freeze, where a test wants it to the byte."""

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass

_RESET = struct.pack("ii", 1, 0)
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Fate:
    """What becomes of one connection: after so many bytes of one direction it fails, in both."""

    up: int | None = None
    """Bytes of the client that reach the broker; None: all."""
    down: int | None = None
    """The same of the broker's bytes."""
    freezes: bool = False
    """It is not cut: nothing more goes through, and nobody is told."""


class Line:
    """One connection of a client, and its other half to the broker."""

    def __init__(self, client: socket.socket, broker: socket.socket, fate: Fate) -> None:
        self.ends = (client, broker)
        self.fate = fate
        self.frozen = threading.Event()
        self.carried = {client: 0, broker: 0}
        self._left = {client: fate.up, broker: fate.down}
        for source, sink in ((client, broker), (broker, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._left[source] != 0 and (data := source.recv(_PIECE_BYTES)):
                left = self._left[source]
                if left is not None:
                    data = data[:left]
                    self._left[source] = left - len(data)
                if self.frozen.is_set():
                    break
                self.carried[source] += len(data)  # now: who hears an answer to it may look
                sink.sendall(data)
            if self.fate.freezes and self._left[source] == 0:
                self.frozen.set()
        if not self.frozen.is_set():
            self.cut()

    def cut(self) -> None:
        """Both ends hear of it at once, and what was on its way is lost."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Relay:
    """Listens at `port` and passes everything on, both ways, but for what the fates say."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.fates: deque[Fate] = deque()
        """Of the next connections; those behind the last one do not fail."""
        self.lines: list[Line] = []
        """Every connection that there was."""
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while all(key.fileobj is self._listener for key, _ in selector.select()):
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                fate = self.fates.popleft() if self.fates else Fate()
                self.lines.append(Line(client, broker, fate))

    def cut(self) -> None:
        """All connections that there are."""
        for line in self.lines:
            line.cut()

    def freeze(self) -> None:
        """All connections that there are; later ones work."""
        for line in self.lines:
            line.frozen.set()

    def frozen(self) -> bool:
        """Whether the last connection is."""
        return bool(self.lines) and self.lines[-1].frozen.is_set()

    def carried_up_bytes(self) -> int:
        """By the last connection, to the broker."""
        return self.lines[-1].carried[self.lines[-1].ends[0]] if self.lines else 0

    def close(self) -> None:
        """Ends everything."""
        self._stop.close()
        self._thread.join()
        for end in (self._listener, self._stopped):
            end.close()
        self.cut()
