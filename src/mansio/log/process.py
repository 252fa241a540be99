"""The parent's side of the store's process: starts it, sends requests, hands replies to who waits.

    no process ──call──► running ──it ends, for whatever reason──► no process
                                    every call under way: Unavailable

Bytes go through a plain socket in the loop's selector, not through a transport: an entry is sent
from where it lies, without a copy. That the process has ended is seen by a pipe that it holds open:
libuv stops to watch a socket that reports an error, as one does whose peer ended without having
read everything. Its reader is called once more (uvloop 0.23) and may find a last reply, not the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import mansio
from mansio.log.base import Unavailable
from mansio.log.entry import Bytes
from mansio.log.prompt import Prompt
from mansio.log.segments.recovery import Cut
from mansio.log.segments.settings import StoreSettings
from mansio.log.wire import DONE, REPLY, REQUEST, decode_error

SOCKET_BYTES: Final = 4 << 20
"""Wished for the socket's buffers, so that an entry of 1 MiB needs few turns of the loop."""
_INBOX_BYTES: Final = 64 << 10
_END_S: Final = 0.5
"""How long a killed process may take to be gone before a call gives up; the next one tries again."""
_SEND_PARTS_MAX: Final = 32

Reply = tuple[int, bytes | bytearray]
"""The value of a reply and the bytes behind it."""


class StoreProcess:
    """`low`: see Space, `room_bytes`: see Log, as of the last reply. `cut`: see SegmentStore, of the last start.

    `program`: what the process runs; it is given the folder of the package and what `main` needs.
    """

    # The folder is told, so that it works however mansio was installed; -S saves the time that
    # third-party .pth files take.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from mansio.log.child import main; main(sys.argv[2])"
    )

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        """`path`: the directory with the segments. Nothing is started yet."""
        self.low = False
        self.room_bytes = 0
        self.cut: Cut | None = None
        self.fresh = False
        self.lock_fd: int | None = None
        self._path = path
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lifeline = -1  # the pipe that ends with the process
        self._outbox: deque[memoryview] = deque()
        self._waiting: deque[asyncio.Future[Reply] | Prompt] = deque()
        self._inbox = bytearray(_INBOX_BYTES)
        self._received = 0
        self._behind: bytearray | None = None  # of the reply that is being received
        self._behind_received = 0
        self._head = (0, 0)  # its status and value
        self._starting = False  # is the next reply the one to the start?
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process and self._socket else None

    def call(self, op: int, a: int = 0, b: int = 0, behind: Bytes = b"") -> asyncio.Future[Reply]:
        """Send a request; requests take effect in the order of the calls.

        Errors: Unavailable if no process can be started; from the future: what wire.py names.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._request(future, op, a, b, behind)
        return future

    def submit(self, op: int, behind: Bytes) -> Prompt:
        """The same, where only the number of the reply counts, and is waited for by the disk."""
        prompt = Prompt()
        self._request(prompt, op, 0, 0, behind)
        return prompt

    def _request(
        self, waiter: asyncio.Future[Reply] | Prompt, op: int, a: int, b: int, behind: Bytes
    ) -> None:
        if self._socket is None:
            self._start().add_done_callback(_seen)  # what went wrong, this request is told as well
        self._waiting.append(waiter)
        head = REQUEST.pack(op, len(behind), a, b)
        self._send([head, behind] if behind else [head])

    def start(self) -> asyncio.Future[Reply]:
        """Start the process; the future ends when the store is open."""
        return self._start()

    async def drain(self) -> None:
        """Wait for the replies to everything that was sent."""
        last = next((each for each in reversed(self._waiting) if not each.done()), None)
        if last is not None:
            answered = asyncio.Event()
            last.add_done_callback(lambda _: answered.set())
            await answered.wait()

    async def close(self) -> None:
        """Let the process finish what it was sent, and end."""
        await self.drain()
        if self._socket is not None:
            self._ended.clear()
            with suppress(OSError):  # it is gone already
                self._socket.shutdown(socket.SHUT_WR)
            await self._ended.wait()

    def _start(self) -> asyncio.Future[Reply]:
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                raise Unavailable("the log's last process does not end") from None
        try:
            self._socket = self._spawn()
        except OSError as error:  # of file descriptors, memory or processes there are too few
            raise Unavailable(f"the log's process cannot be started: {error}") from error
        self._received, self._behind = 0, None
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._receive)
        loop.add_reader(self._lifeline, self._gone)
        self._starting = True
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append(future)
        return future

    def _spawn(self) -> socket.socket:
        """A new process, and our end of its socket. Errors: OSError, and nothing is left of it."""
        with ExitStack() as undo, ExitStack() as theirs_only:
            ours, theirs = map(undo.enter_context, socket.socketpair())
            theirs_only.callback(theirs.close)
            self._lifeline, held = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs_only.callback(os.close, held)
            ours.setblocking(False)
            for end in (ours, theirs):
                _widen(end)
            argument = json.dumps({
                "socket": theirs.fileno(), "path": str(self._path), "fresh": self.fresh,
                "settings": self._settings._asdict(),
            })  # fmt: skip
            root = str(Path(mansio.__file__).parent.parent)
            fds = [theirs.fileno(), held] + ([] if self.lock_fd is None else [self.lock_fd])
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", self.program, root, argument],
                stdin=subprocess.DEVNULL, pass_fds=fds, start_new_session=True,
            )  # fmt: skip
            undo.pop_all()
        return ours

    def _send(self, parts: Sequence[Bytes]) -> None:
        busy = bool(self._outbox)
        self._outbox.extend(map(memoryview, parts))
        if not busy:
            self._flush()
            if self._outbox and self._socket is not None:
                asyncio.get_running_loop().add_writer(self._socket, self._flush)

    def _flush(self) -> None:
        outbox = self._outbox
        assert self._socket is not None
        while outbox:
            try:
                sent = self._socket.sendmsg(
                    [outbox[at] for at in range(min(len(outbox), _SEND_PARTS_MAX))]
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # Half a request may be sent, and nothing may follow it, also where the process is
                # still there: it ends, and the reader sees that behind the last replies.
                self._outbox.clear()
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)
                break
            while sent:
                part = outbox.popleft()
                if len(part) > sent:
                    outbox.appendleft(part[sent:])
                    break
                sent -= len(part)
        asyncio.get_running_loop().remove_writer(self._socket)

    def _receive(self) -> bool:
        """Take what is there; False if nothing is there now."""
        assert self._socket is not None
        try:
            if self._behind is not None:
                view = memoryview(self._behind)[self._behind_received :]
                count = self._socket.recv_into(view)
                self._behind_received += count
            else:
                count = self._socket.recv_into(memoryview(self._inbox)[self._received :])
                self._received += count
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            count = 0
        if not count:
            self._lost(Unavailable("the log's process ended"))
        elif self._behind is None:
            self._take_replies()
        elif self._behind_received == len(self._behind):
            behind, self._behind = self._behind, None
            self._finish(*self._head, behind)
        return True

    def _gone(self) -> None:
        """The process has ended; its last replies may still be here."""
        self._reap()
        while self._socket is not None and self._receive():
            pass
        self._lost(Unavailable("the log's process ended"))

    def _take_replies(self) -> None:
        at, end = 0, self._received
        while end - at >= REPLY.size and self._socket is not None:
            status, low, size, value, self.room_bytes = REPLY.unpack_from(self._inbox, at)
            self.low = bool(low)
            start = at + REPLY.size
            if end - start < size:
                if size > _INBOX_BYTES - REPLY.size:
                    self._behind = bytearray(size)
                    self._behind[: end - start] = self._inbox[start:end]
                    self._behind_received = end - start
                    self._head = status, value
                    at = end
                break
            at = start + size
            self._finish(status, value, bytes(self._inbox[start:at]) if size else b"")
        if at:
            self._inbox[: end - at] = self._inbox[at:end]
            self._received = end - at

    def _finish(self, status: int, value: int, behind: bytes | bytearray) -> None:
        error = None if status == DONE else decode_error(status, behind)
        if self._starting:
            self._starting = False
            if error is not None:
                self._lost(error)
                return
            cut = json.loads(behind)
            self.cut = None if cut is None else Cut(*cut)
        waiter = self._waiting.popleft()
        if waiter.done():
            return
        if error is not None:
            waiter.set_exception(error)
        elif isinstance(waiter, Prompt):
            waiter.set_result(value)
        else:
            waiter.set_result((value, behind))

    def _lost(self, error: BaseException) -> None:
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        loop.remove_reader(self._lifeline)
        os.close(self._lifeline)
        self._outbox.clear()
        self._reap()
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(error)
        self._ended.set()

    def _reap(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _seen(future: asyncio.Future[Reply]) -> None:
    if not future.cancelled():
        future.exception()


def _widen(end: socket.socket) -> None:
    for forced, plain in ((32, socket.SO_SNDBUF), (33, socket.SO_RCVBUF)):
        try:  # beyond the system's limit, which only root may
            end.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BYTES)
        except OSError:
            end.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BYTES)
