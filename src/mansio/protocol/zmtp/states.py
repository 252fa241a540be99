"""The states of a connection, and which command is understood in which.

                        ┌─ NULL ──► READY ──────────────────────┐
    GREETING ───────────┤                                       ├─► CHECKING ─► OPEN
    64 bytes            ├─ PLAIN ─► HELLO ─► CHECKING ─► INITIATE
                        │            ◄ WELCOME                    ◄ READY      (or ERROR ►, and the end)
                        └─ CURVE ─► CURVE_HELLO ─► CURVE_INITIATE

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
    CURVE_HELLO = auto()
    CURVE_INITIATE = auto()
    CHECKING = auto()
    """Who it is is being checked; nothing is read."""
    OPEN = auto()
    CLOSED = auto()


FIRST: Final = {"NULL": State.READY, "PLAIN": State.HELLO, "CURVE": State.CURVE_HELLO}
"""What follows the greeting, by mechanism."""

COMMANDS: Final = {
    (State.READY, b"READY"): "_on_ready",
    (State.HELLO, b"HELLO"): "_on_hello",
    (State.INITIATE, b"INITIATE"): "_on_ready",
    (State.CURVE_HELLO, b"HELLO"): "_on_curve_hello",
    (State.CURVE_INITIATE, b"INITIATE"): "_on_curve_initiate",
    (State.READY, b"ERROR"): "_on_error",
    (State.HELLO, b"ERROR"): "_on_error",
    (State.INITIATE, b"ERROR"): "_on_error",
    (State.CURVE_HELLO, b"ERROR"): "_on_error",
    (State.CURVE_INITIATE, b"ERROR"): "_on_error",
    (State.OPEN, b"ERROR"): "_on_error",
    (State.OPEN, b"PING"): "_on_ping",
    (State.OPEN, b"PONG"): "_on_pong",
    (State.OPEN, b"SUBSCRIBE"): "_on_subscribe",
    (State.OPEN, b"CANCEL"): "_on_cancel",
}
"""Who understands what: methods of `Security`, or, in OPEN, of `ZmtpConnection`."""
