"""What a scenario is made of: steps of several clients, each the same for both servers but for what only they know."""

from dataclasses import dataclass, field
from typing import Final

BLOCKING: Final = frozenset((b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP"))
MAY_BLOCK: Final = frozenset((b"XREAD", b"XREADGROUP"))


@dataclass(frozen=True, slots=True)
class Known:
    """What each server has chosen by itself: the id of a `client`, or of an `entry` that it was told to number."""

    what: str
    number: int
    before: bytes = b""

    def __str__(self) -> str:
        return f"<{self.before.decode()}{self.what} {self.number}>"


Arg = bytes | Known


@dataclass(frozen=True, slots=True)
class Step:
    """One client's next words. `kind`: what is done with them.

    ask    a command and its reply         blocks  the same, and it may have to wait for others
    waits  it ends by its own time limit   expires it gives a key a very short life, which then ends
    scan   SCAN from 0 to the end          alone   bytes of a client of its own, to the end or ECHO's reply
    """

    client: int
    args: tuple[Arg, ...]
    kind: str = "ask"

    def name(self) -> bytes:
        """The command, in upper case."""
        first = self.args[0] if self.args else b""
        return first.upper() if isinstance(first, bytes) else b""

    def __str__(self) -> str:
        words = [str(arg) if isinstance(arg, Known) else shown(arg) for arg in self.args]
        kind = "" if self.kind == "ask" else f" ({self.kind})"
        return f"client {self.client}{kind}: {' '.join(words)}"


@dataclass(slots=True)
class Scenario:
    """Steps of clients that speak these versions of the protocol, from an empty server on."""

    protocols: tuple[int, ...]
    subscribers: frozenset[int]
    """Clients that subscribe to channels, and do nothing that waits."""
    steps: list[Step] = field(default_factory=list)

    def with_steps(self, steps: list[Step]) -> "Scenario":
        """The same clients with other steps."""
        return Scenario(self.protocols, self.subscribers, steps)


def may_wait(args: tuple[Arg, ...]) -> bool:
    """Whether this command can wait for what others do."""
    name = args[0].upper() if args and isinstance(args[0], bytes) else b""
    if name in BLOCKING:
        return True
    return name in MAY_BLOCK and any(
        isinstance(arg, bytes) and arg.upper() == b"BLOCK" for arg in args
    )


def shown(data: bytes) -> str:
    """Bytes as a word for people."""
    if len(data) > 60:
        return f"{data[:40]!r}…({len(data)} bytes)"
    text = repr(data)[1:]
    plain = text[1:-1]
    return plain if plain and not set(plain) & set(" \\'\"") else text
