"""The process that hashes passwords: takes jobs from its standard input, a socket, until the other end closes.

It gets what others leave of the processors, and gives way at once when they need one (sched(7), SCHED_IDLE). A thread
of the broker, also of low priority, keeps a processor for its time slice, and could not be put back as far: one that
waits for a processor while it holds the interpreter's lock stops the broker.

Nothing that comes here is in the arguments or the environment. It ignores the signals that end its parent, who may
still let somebody in; when the parent is gone, however it went, the socket is closed and this process ends.
"""

import os
import signal
from time import process_time_ns

NICENESS = 19
"""Where there is no such class."""


class Closed(Exception):
    """The other end closed the socket."""


def main() -> None:
    """Run as a process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    yield_to_others()
    serve(0)


def yield_to_others() -> None:
    """Let this process have only what others leave of the processors."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # not on this system, or not in this sandbox
        os.nice(NICENESS)


def serve(connection: int) -> None:
    """Do jobs until the other end of this socket closes."""
    # Imported here, that is with what others leave of the processors.
    from mansio.admin import passwords
    from mansio.server import hashing

    def take(size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            piece = os.read(connection, size - len(taken))
            if not piece:
                raise Closed
            taken += piece
        return taken

    def give(answer: hashing.Answer) -> None:
        data = hashing.encode_answer(answer)
        while data:
            data = data[os.write(connection, data) :]

    passwords.prepare()
    try:
        give(hashing.READY)
        while True:
            job = hashing.decode_job(take(hashing.REQUEST.size), take)
            give(hashing.work(job, process_time_ns))
    except (Closed, ConnectionError):
        pass
