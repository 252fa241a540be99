"""What the broker writes into messages by itself. The core knows nothing of how they look on a wire: who makes the
Broker gives it somebody who does.
"""

from typing import NamedTuple, Protocol

from mansio.core.marks import Marks
from mansio.core.receipts import Receipt
from mansio.core.routing import Arguments, Route
from mansio.core.run import Run
from mansio.core.users import User
from mansio.core.view import Bare, View


class Death(NamedTuple):
    """Why, when and where a message was dropped."""

    queue: str
    reason: str
    """expired | rejected | maxlen | delivery_limit"""
    exchange: str
    """Where it was published to."""
    key: str
    time_s: int
    """Unix time."""
    new_key: str | None
    """The routing key that it gets; None: it keeps those that it has."""


class Letter(NamedTuple):
    """A message that the broker publishes."""

    frames: bytes
    """As runs hold it, without a publish method frame."""
    keys: list[str]
    """What it is routed by; the first one is what its consumers see."""
    headers: Arguments
    priority: int
    expiration_ms: int | None
    deaths: list[tuple[str, str, int]]
    """(queue, reason, how often) of each entry of its x-death header, the last death first."""


class Wishes(NamedTuple):
    """What a message that is published asks for, by its properties."""

    frames: bytes
    """As runs are to hold it: without its BCC header, and its delay is spent."""
    persistent: bool
    priority: int
    expiration_ms: int | None
    delay_ms: int
    """How long it is held back; 0: it is not."""
    copies: list[str]
    """Routing keys beside the one that it is published with."""
    marks: Marks | None
    """With its id also where nobody may ask for that."""


class Letters(Protocol):
    """Takes messages apart and writes new ones."""

    frame_max: int
    """The largest frame of what it writes, framing included."""

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        """Message `i` of a run as it is published again, with this death on top of its x-death header."""

    def again(self, run: Run, i: int) -> Letter:
        """Message `i` of a run as it is routed later than it was published: its BCC header goes."""

    def marks(self, run: Run, i: int) -> Marks | None:
        """What message `i` of a run asks for beside being delivered."""

    def wishes(self, frames: bytes, user: User) -> Wishes:
        """What a message asks for that this user publishes; PreconditionFailed where that makes no sense."""

    def receipt(self, receipt: Receipt, key: str) -> Run:
        """A run of one message that says this, published to the default exchange with this key."""

    def counted(self, run: Run, i: int, deliveries: int) -> Run:
        """Message `i` of a run as it is delivered for another time: with an x-delivery-count header."""

    def numbered(self, run: Run, first: int) -> Run:
        """The messages of a run as a stream holds them: persistent, with x-stream-offset headers from `first` on."""

    def contents(self, values: list[bytes], route: Route) -> Run:
        """A run of messages with these bodies, persistent and without other properties. `route`: without a publish
        method frame, on channel 0; how large their frames are is noted there."""

    def bodies(self, run: Run, start: int, stop: int) -> list[bytes]:
        """The bodies of messages [start, stop) of a run."""

    def view(self, frames: bytes, exchange: str, key: str) -> View:
        """A message, as runs hold it without a publish method frame, as routing sees it."""


class NoLetters:
    """Of a broker that nobody told how messages look: for tests and tools that never come to it."""

    frame_max = 0

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        raise NotImplementedError("this broker cannot write messages")

    def again(self, run: Run, i: int) -> Letter:
        raise NotImplementedError("this broker cannot take messages apart")

    def marks(self, run: Run, i: int) -> Marks | None:
        raise NotImplementedError("this broker cannot take messages apart")

    def wishes(self, frames: bytes, user: User) -> Wishes:
        raise NotImplementedError("this broker cannot take messages apart")

    def receipt(self, receipt: Receipt, key: str) -> Run:
        raise NotImplementedError("this broker cannot write messages")

    def counted(self, run: Run, i: int, deliveries: int) -> Run:
        raise NotImplementedError("this broker cannot write messages")

    def numbered(self, run: Run, first: int) -> Run:
        raise NotImplementedError("this broker cannot write messages")

    def contents(self, values: list[bytes], route: Route) -> Run:
        raise NotImplementedError("this broker cannot write messages")

    def bodies(self, run: Run, start: int, stop: int) -> list[bytes]:
        raise NotImplementedError("this broker cannot take messages apart")

    def view(self, frames: bytes, exchange: str, key: str) -> View:
        return Bare(exchange, key)
