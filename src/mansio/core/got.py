"""What a client has fetched."""

from mansio.core.run import Run


class Got:
    """The answer to basic.get: message `i` of `run`, with its tag and the number of messages still ready behind it."""

    __slots__ = ("i", "redelivered", "remaining", "run", "tag")

    def __init__(self, run: Run, i: int, tag: int, redelivered: bool, remaining: int) -> None:
        self.run = run
        self.i = i
        self.tag = tag
        self.redelivered = redelivered
        self.remaining = remaining
