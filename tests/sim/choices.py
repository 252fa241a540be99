"""Exchanges that choose one of their bindings: the oracle lets the broker choose, and remembers what must not change.

Where messages went is compared with every way that the choices of all exchanges together allow. A hash must not
choose differently for the same value as long as the bindings are the same, not even after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mansio.codec.amqp_properties import decode_properties
from mansio.codec.amqp_values import Table
from tests.sim.wire import Message

CHOOSERS = ("x-random", "x-local-random", "x-modulus-hash", "x-consistent-hash")

Target = tuple[bool, str]
"""(whether it is a queue, name)."""
Place = tuple[Any, ...]
"""What decides where a hash leads: exchange, its bindings, and the value. Empty for chance."""

EXPRESSIONS: dict[str, Callable[[Message], bool]] = {
    "headers.h == 1": lambda message: _is(message, "h", 1),
    "headers.h == 'one' || headers.i == 2": lambda m: _is(m, "h", "one") or _is(m, "i", 2),
    "has(headers.i)": lambda message: "i" in message.headers,
    "!(headers.h == true)": lambda m: "h" in m.headers and not _is(m, "h", True),
    "routing_key.startsWith('a')": lambda message: message.key.startswith("a"),
    "has(properties.delivery_mode) && properties.delivery_mode == 2": lambda m: m.persistent,
    "body.a == 1": lambda message: False,
    "true": lambda message: True,
}
"""Expressions of x-content bindings, and what they mean."""


def _is(message: Message, name: str, value: object) -> bool:
    found = message.headers.get(name)
    return type(found) is type(value) and found == value


@dataclass(slots=True)
class Way:
    """One way through all choices. `choices`: what was chosen where, in order."""

    choices: list[tuple[Place, Target]] = field(default_factory=list)
    _script: list[int] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)

    def choose(self, options: list[Target], place: Place) -> list[Target]:
        """One of them, or none where there is none."""
        if not options:
            return []
        at = len(self._sizes)
        self._sizes.append(len(options))
        if at == len(self._script):
            self._script.append(0)
        chosen = options[self._script[at]]
        self.choices.append((place, chosen))
        return [chosen]

    def advance(self) -> bool:
        """Goes on to the next way; False behind the last one."""
        while self._script and self._script[-1] + 1 >= self._sizes[len(self._script) - 1]:
            self._script.pop()
        self._sizes.clear()
        self.choices.clear()
        if not self._script:
            return False
        self._script[-1] += 1
        return True


class Choices:
    """What hashes have chosen."""

    def __init__(self) -> None:
        self._known: dict[Place, Target] = {}

    def options(self, place: Place, bindings: list[Target]) -> list[Target]:
        """What may be chosen."""
        if not bindings:
            return []
        known = self._known.get(place)
        return [known] if known is not None else list(dict.fromkeys(bindings))

    def remember(self, choices: list[tuple[Place, Target]]) -> None:
        """These were the broker's."""
        for place, chosen in choices:
            if place:
                self._known[place] = chosen


def place_of(
    name: str, type: str, bindings: tuple[Any, ...], arguments: Table, message: Message
) -> Place:
    """What decides where a hash leads, see `Place`."""
    if type == "x-modulus-hash":
        return name, bindings, message.key, message.copies
    if type != "x-consistent-hash":
        return ()
    value: Any = message.key
    if "hash-header" in arguments:
        value = repr(message.headers.get(str(arguments["hash-header"])))
    elif "hash-property" in arguments:
        value = decode_properties(message.header, 12, len(message.header)).message_id
    return name, frozenset(bindings), value
