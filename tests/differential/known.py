"""Where Mansio answers otherwise than Redis on purpose. docs/compatibility.md quotes the reasons."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.differential.steps import Arg

Excuse = Callable[[Sequence[Arg], bytes, bytes], bool]


class Difference(NamedTuple):
    """One documented difference; `excuses` gets a command, Redis' reply and Mansio's (whole replies)."""

    title: str
    reason: str
    excuses: Excuse


KNOWN: Final[tuple[Difference, ...]] = ()


def excuse_for(args: Sequence[Arg], redis: bytes, mansio: bytes) -> Difference | None:
    """The documented difference that this is, or None."""
    return next((each for each in KNOWN if each.excuses(args, redis, mansio)), None)
