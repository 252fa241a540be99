"""The states of a connection, and which command is understood in which.

                        ┌─ NULL ──► READY ──────────────────────┐
    GREETING ───────────┤                                       ├─► CHECKING ─► OPEN
    64 bytes            └─ PLAIN ─► HELLO ─► CHECKING ─► INITIATE
                                     ◄ WELCOME                    ◄ READY      (or ERROR ►, and the end)

What is not in the table is an error, but for OPEN: there, commands that are not known mean nothing (RFC 37 has some
that libzmq only says when it is asked to).
"""

from enum import Enum, auto
from typing import Final


class State(Enum):
    """Of one connection."""

    GREETING = auto()
    READY = auto()
    """READY is awaited."""
    HELLO = auto()
    INITIATE = auto()
    CHECKING = auto()
    """The password is being checked; nothing is read."""
    OPEN = auto()
    CLOSED = auto()


FIRST: Final = {"NULL": State.READY, "PLAIN": State.HELLO}
"""What follows the greeting, by mechanism."""

COMMANDS: Final = {
    (State.READY, b"READY"): "_on_ready",
    (State.HELLO, b"HELLO"): "_on_hello",
    (State.INITIATE, b"INITIATE"): "_on_ready",
    (State.READY, b"ERROR"): "_on_error",
    (State.HELLO, b"ERROR"): "_on_error",
    (State.INITIATE, b"ERROR"): "_on_error",
    (State.OPEN, b"ERROR"): "_on_error",
    (State.OPEN, b"PING"): "_on_ping",
    (State.OPEN, b"PONG"): "_on_pong",
    (State.OPEN, b"SUBSCRIBE"): "_on_subscribe",
    (State.OPEN, b"CANCEL"): "_on_cancel",
}
"""Who understands what: methods of `Security`, or, in OPEN, of `ZmtpConnection`."""
