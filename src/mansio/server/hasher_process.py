"""The broker's side of the process that hashes passwords: starts it, asks it, and knows when it has ended.

start ──► running ──ask──► busy ──► running
             └──────────────┴──► it ends, for whatever reason, or is closed: Ended for who waits, then it is reaped
"""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

import mansio
from mansio.server.hashing import Answer, Job, decode_answer, encode_job

END_S: Final = 0.5
"""How long closing waits for the process to be gone; it is killed, but may have to wait for a processor."""
REAP_S: Final = 0.2
"""Between two looks whether a process that has closed its socket is gone."""
TUNABLES: Final = "glibc.malloc.mmap_threshold=1048576:glibc.malloc.hugetlb=1"
"""The 19 MiB of a hash are given back to the system after it, and come in huge pages where there are any: without these
each costs 5 ms for page faults (measured), without either they are kept."""


class Ended(Exception):
    """The process has ended; the text says how."""


class HasherProcess(asyncio.Protocol):
    """One process, from its start to its end. One call at a time."""

    # Where modules are is told, so that it works however mansio was installed; -S saves the time that .pth files take.
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; "
        "from mansio.server.hasher_child import main; main()"
    )

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._reply: asyncio.Future[Answer] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while it is not known to have ended."""
        return self._process.pid if self._process is not None and self._transport else None

    async def start(self) -> None:
        """Returns when it is ready. Errors: OSError if it cannot be started, Ended if it cannot do its work."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs)
            self._reply = loop.create_future()
            await loop.create_unix_connection(lambda: self, sock=ours)
        except OSError:
            ours.close()
            raise
        await self._reply

    async def ask(self, job: Job) -> Answer:
        """Does a job. Errors: Ended."""
        if self._transport is None:
            raise Ended(self._how())
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(encode_job(job))
        return await self._reply

    def close(self) -> None:
        """Ends the process, whatever it does."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        answer = decode_answer(self._received)
        if answer is not None:
            self._received.clear()
            if self._reply is not None and not self._reply.done():
                self._reply.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        self._reap()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(Ended(self._how()))

    def _spawn(self, theirs: socket.socket) -> "subprocess.Popen[bytes]":
        paths = [str(Path(mansio.__file__).parent.parent), *filter(None, sys.path)]
        # Of our settings it needs none, and a password may be among them.
        own = {name: value for name, value in os.environ.items() if not name.startswith("MANSIO_")}
        # In the broker's session: in another one it would be, for Linux (sched(7), autogroup), a group that gets as
        # much of a processor as the broker. In another process group: Ctrl-C is not for it.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self.program, *paths],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={**own, "GLIBC_TUNABLES": TUNABLES},
            process_group=0,
        )

    def _how(self) -> str:
        code = self._process.poll() if self._process is not None else None
        return "it closed its socket" if code is None else f"exit code {code}"

    def _reap(self) -> None:
        """Leaves no zombie, also where the end takes its time."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            asyncio.get_running_loop().call_later(REAP_S, self._reap)
