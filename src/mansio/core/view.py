"""One message as routing sees it, and expressions over it. Whoever makes the broker supplies both."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class View(Protocol):
    """What routing may ask of a message; decoded when it is asked for, and once."""

    memo: Any
    """For whoever evaluates expressions: what it has made of this message. None at first."""
    exchange: str
    """The one that it was published to."""
    routing_key: str

    @property
    def headers(self) -> Mapping[str, Any]:
        """The header table, empty where there is none."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """Those that are set, by their names in the specification (1.8.1): `message_id`, …; without the headers."""

    @property
    def body(self) -> bytes: ...


class Expression(Protocol):
    """Something that is true of a message or not."""

    def matches(self, view: View) -> bool:
        """False also for a message that it makes no sense for. Never raises."""


Compile = Callable[[str], Expression]
"""Makes an expression of its text; ValueError says what is wrong with it, and where."""


class _Never:
    def matches(self, view: View) -> bool:
        return False


def compile_nothing(text: str) -> Expression:
    """For a broker that routes no messages: accepts every expression, and none is true."""
    return _Never()


class Bare:
    """A message of which only its way in is known."""

    headers: Mapping[str, Any] = {}
    properties: Mapping[str, Any] = {}
    body = b""

    def __init__(self, exchange: str, routing_key: str) -> None:
        self.memo: Any = None
        self.exchange = exchange
        self.routing_key = routing_key
