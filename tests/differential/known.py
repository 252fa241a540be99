"""Where Mansio answers otherwise than Redis on purpose. docs/compatibility.md quotes the reasons."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.differential.steps import Arg

Excuse = Callable[[Sequence[Arg], bytes, bytes], bool]


class Difference(NamedTuple):
    """One documented difference; `excuses` gets a command, Redis' reply and Mansio's (whole replies)."""

    title: str
    reason: str
    excuses: Excuse


def _counts_commands(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    words = [arg.upper() for arg in args if isinstance(arg, bytes)]
    return words == [b"COMMAND", b"COUNT"] and mansio.startswith(b":")


def _ends_at_a_nul(args: Sequence[Arg], redis: bytes, mansio: bytes) -> bool:
    """Each word that is quoted, or all of the rest."""
    word = re.compile(rb"('[^'\r\n\0]*)\0[^'\r\n]*'")
    rest = re.compile(rb"(-[^\r\n\0]*)\0[^\r\n]*")
    return b"-" in redis and redis in (word.sub(rb"\1'", mansio), rest.sub(rb"\1", mansio))


KNOWN: Final[tuple[Difference, ...]] = (
    Difference(
        "`COMMAND COUNT`, `COMMAND` and its like",
        "They tell of the commands that there are.",
        _counts_commands,
    ),
    Difference(
        "A NUL byte in an error",
        "Redis ends the text there; Mansio shows all of it.",
        _ends_at_a_nul,
    ),
)


def excuse_for(args: Sequence[Arg], redis: bytes, mansio: bytes) -> Difference | None:
    """The documented difference that this is, or None."""
    return next((each for each in KNOWN if each.excuses(args, redis, mansio)), None)
