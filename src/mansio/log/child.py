"""The store's process: reads requests from a socket pair, one at a time, until the other end closes.

It is a process because a thread would wait for the GIL beside a busy loop. It imports no asyncio.
It ignores the signals that end its parent, so that the parent can let work under way finish; when the parent is gone,
however it went, the socket is closed, the request under way is finished, and this process ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from mansio.log.base import LogError, Unavailable
from mansio.log.patience import Patience
from mansio.log.segments.files import DiskFiles
from mansio.log.segments.settings import StoreSettings
from mansio.log.segments.store import SegmentStore
from mansio.log.wire import (
    APPEND,
    BOUNDS,
    BOUNDS_ANSWER,
    DONE,
    EXTENT_ANSWER,
    EXTENTS,
    OPEN,
    READ,
    READ_ITEM,
    READ_SIZE,
    REPLY,
    REQUEST,
    SPACE,
    SPACE_ANSWER,
    TRIM,
    encode_error,
)

INBOX_BYTES: Final = (1 << 20) + (256 << 10)
"""Holds the largest entry that group commit makes; a larger one is written in pieces of this size."""
RETRY_S: Final = 1.0
"""Between two tries to sync; appends that need it try themselves, and tell why it fails."""
_JOINED_BYTES_MAX: Final = 64 << 10
"""Up to here, a copy costs less than further calls."""

Answer = tuple[int, list[bytes]]
"""The value of a reply and the bytes behind it."""


class Closed(Exception):
    """The other end closed the socket."""


class Inbox:
    """Received bytes that are not used up yet."""

    __slots__ = ("_buffer", "_end", "_socket", "_start", "_view")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray(INBOX_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    @property
    def empty(self) -> bool:
        """Is nothing here, and nothing waiting in the socket?"""
        if self._start != self._end:
            return False
        self._start = self._end = 0
        try:
            self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        return False

    def wait(self) -> None:
        """Until something is here. Errors: Closed."""
        if self._start == self._end:
            self._receive(0)

    def take(self, length: int) -> memoryview:
        """The next bytes, at most INBOX_BYTES; valid until the next call. Errors: Closed."""
        if self._start + length > len(self._buffer):
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        while self._end - self._start < length:
            self._receive(0)
        start = self._start
        self._start += length
        return self._view[start : start + length]

    def parts(self, length: int) -> Iterator[memoryview]:
        """The next bytes, of any number, in pieces. Errors: Closed."""
        while length:
            piece = self.take(min(length, INBOX_BYTES))
            length -= len(piece)
            yield piece

    def _receive(self, flags: int) -> None:
        count = self._socket.recv_into(self._view[self._end :], 0, flags)
        if not count:
            raise Closed
        self._end += count


class Server:
    """Answers requests with a store."""

    def __init__(
        self, connection: socket.socket, store: SegmentStore, settings: StoreSettings
    ) -> None:
        self._socket = connection
        self._inbox = Inbox(connection)
        self._store = store
        self._interval_s = settings.interval_ms / 1000 if settings.sync == "interval" else None
        self._sync_at: float | None = None
        # On a processor alone, it would keep its parent from asking.
        self._spins = len(os.sched_getaffinity(0)) > 1
        self._patience = Patience()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._answers: dict[int, Callable[[int, int, int], Answer]] = {
            OPEN: self._open, APPEND: self._append, READ: self._read, TRIM: self._trim,
            BOUNDS: self._bounds, EXTENTS: self._extents, SPACE: self._space,
        }  # fmt: skip

    def run(self) -> None:
        """Answer until the other end closes."""
        try:
            while True:
                more = True
                while more and self._inbox.empty:
                    more = self._store.tend()
                if not more:
                    self._await_request()
                self._answer()
                self._sync_when_due()
        except (Closed, ConnectionError):
            self._store.close()

    def reply(self, value: int, behind: list[bytes], status: int = DONE) -> None:
        """Send a reply. Errors: ConnectionError."""
        size = sum(map(len, behind))
        head = REPLY.pack(status, self._store.low, size, value, self._store.room_bytes)
        if size <= _JOINED_BYTES_MAX:
            self._socket.sendall(b"".join([head, *behind]))
        else:
            for part in (head, *behind):
                self._socket.sendall(part)

    def _answer(self) -> None:
        op, size, a, b = REQUEST.unpack(self._inbox.take(REQUEST.size))
        try:
            value, behind = self._answers[op](size, a, b)
        except (Closed, ConnectionError):
            raise
        except Exception as error:
            status, text = encode_error(error)
            self.reply(0, [text], status)
            if not isinstance(error, LogError | OSError | ValueError):
                raise  # a mistake of ours: a new process starts from what is on the disk
        else:
            self.reply(value, behind)

    def _await_request(self) -> None:
        """Sleep, or look again and again if that is likely to be short."""
        since_ns = now_ns = time.monotonic_ns()
        until_ns = since_ns + self._patience.spin_ns if self._spins else 0
        while now_ns < until_ns and self._inbox.empty:
            now_ns = time.monotonic_ns()
        if now_ns >= until_ns:
            self._sync_until_asked()
            self._inbox.wait()
            now_ns = time.monotonic_ns()
        self._patience.waited(now_ns - since_ns)

    def _sync_until_asked(self) -> None:
        """Returns when there is a request, or nothing is to be synced."""
        while self._sync_at is not None:
            left = self._sync_at - time.monotonic()
            if left > 0 and self._poll.poll(left * 1000):
                return
            self._sync_when_due()

    def _sync_when_due(self) -> None:
        if self._interval_s is None:
            return
        if not self._store.unsynced:
            self._sync_at = None
        elif self._sync_at is None:
            self._sync_at = time.monotonic() + self._interval_s
        elif time.monotonic() >= self._sync_at:
            self._sync_at = None
            try:
                self._store.sync()
            except Unavailable:
                self._sync_at = time.monotonic() + RETRY_S

    def _open(self, _size: int, epoch: int, nonce: int) -> Answer:
        return self._store.open(epoch, nonce), []

    def _append(self, size: int, _a: int, _b: int) -> Answer:
        parts = self._inbox.parts(size)
        try:
            return self._store.append_parts(size, next(parts), parts), []
        finally:
            for _ in parts:
                pass

    def _read(self, size: int, _a: int, _b: int) -> Answer:
        items = list(READ_ITEM.iter_unpack(b"".join(map(bytes, self._inbox.parts(size)))))
        found = [self._store.read(*item) for item in items]
        return 0, [part for data in found for part in (READ_SIZE.pack(len(data)), data)]

    def _trim(self, _size: int, epoch: int, upto_seq: int) -> Answer:
        self._store.trim(epoch, upto_seq)
        return 0, []

    def _bounds(self, _size: int, _a: int, _b: int) -> Answer:
        return 0, [BOUNDS_ANSWER.pack(*self._store.bounds())]

    def _extents(self, _size: int, _a: int, _b: int) -> Answer:
        return 0, [EXTENT_ANSWER.pack(*extent) for extent in self._store.extents()]

    def _space(self, _size: int, _a: int, _b: int) -> Answer:
        return 0, [SPACE_ANSWER.pack(*self._store.space())]


def main(argument: str) -> None:
    """Run as a process. `argument`: JSON, made by process.py."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    given: dict[str, Any] = json.loads(argument)
    settings = StoreSettings(**given["settings"])
    files = DiskFiles(given["path"], settings.bytes_max)
    serve(given["socket"], settings, lambda: SegmentStore(files, settings, _token, given["fresh"]))


def serve(socket_fd: int, settings: StoreSettings, make_store: Callable[[], SegmentStore]) -> None:
    """Make a store and answer requests with it; if it cannot be made, say why and return."""
    connection = socket.socket(fileno=socket_fd)
    try:
        store = make_store()
    except Exception as error:
        status, text = encode_error(error)
        connection.sendall(REPLY.pack(status, 0, len(text), 0, 0) + text)
        return
    server = Server(connection, store, settings)
    try:
        server.reply(0, [json.dumps(store.cut).encode()])
    except ConnectionError:
        store.close()
        return
    server.run()


def _token() -> int:
    return int.from_bytes(os.urandom(8), "big")


if __name__ == "__main__":
    main(sys.argv[1])
