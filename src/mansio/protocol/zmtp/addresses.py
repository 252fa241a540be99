"""The frame in front of what a worker is given: it comes back in front of the reply, and says what that is a reply to.

A socket of libzmq outlives its connection: what a program says after that has gone leaves over the next one, where its
worker may have another task by then. So an address is of one connection, and names one task.
"""

from typing import Final

MARK: Final = b"mansio:"


class Addresses:
    """Those of one connection, or of one of its places."""

    __slots__ = ("_head",)

    def __init__(self, token: str) -> None:
        """`token`: nobody else's."""
        self._head = MARK + token.encode() + b":"

    def of(self, tag: int) -> bytes:
        """That of the task with this delivery tag; no two tasks of a token have the same. Below 255 bytes."""
        return self._head + b"%d" % tag


def is_address(frame: bytes) -> bool:
    """Whether a frame is one, of whichever connection."""
    return frame.startswith(MARK)
