"""Producers that number their messages: with care, so that each is stored once, in order; or as they like."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import Value
from tests.sim.letters import HEADER_FIXED_BYTES
from tests.sim.model import Violation
from tests.sim.publishing import Shape
from tests.sim.repeats import NUMBER, PRODUCER, number_of
from tests.sim.wire import parse_content

if TYPE_CHECKING:
    from tests.sim.client import Client, ClientChannel
    from tests.sim.durable import Durable

SIZES = (0, 1, 8, 20, 64, 300)
ODD = (-1, True, "7", None, 1 << 62)
"""No numbers of messages, but for the last one, behind which there is not much room."""


class Producer:
    """Counts its messages from 1 on. It publishes on one channel at a time, and on the next one all that was not
    confirmed, in order, before it goes on."""

    def __init__(self, name: str, stream: str) -> None:
        self.name = name
        self.stream = stream
        self.open: dict[int, None] = {}
        """What is not confirmed, in order."""
        self.client: Client | None = None
        self.channel: ClientChannel | None = None
        self._last = 0

    def go_on(self, count: int) -> range:
        """The numbers of so many new messages."""
        first, self._last = self._last + 1, self._last + count
        numbers = range(first, self._last + 1)
        self.open.update(dict.fromkeys(numbers))
        return numbers

    def confirmed(self, number: int, stored: bool) -> None:
        """The broker has answered."""
        if stored:
            self.open.pop(number, None)

    def shape(self, rng: Random, number: int) -> Shape:
        """What a message with this number looks like."""
        properties = Properties(headers={PRODUCER: self.name, NUMBER: number})
        properties.delivery_mode = rng.choice((None, 1, 2))
        return Shape(rng.choice(SIZES), properties)


def produced_next(rng: Random, last: int) -> Value:
    """The number of a message behind one with the last number, from somebody who takes no care."""
    draw = rng.random()
    if draw < 0.5:
        return last + 1
    if draw < 0.7:
        return last
    if draw < 0.85:
        return rng.randint(0, last + 1)
    return last + rng.randint(2, 9) if draw < 0.95 else rng.choice(ODD)


def check_produced(durable: Durable, producers: list[Producer]) -> None:
    """Of each of these a stream has had every message once, in order, since it was declared."""
    names = {each.name for each in producers}
    found: dict[tuple[str, int, str], list[int]] = {}
    for place in sorted(durable.places):
        if durable.is_stream(place[:2]):
            header, _ = parse_content(durable.places[place].frames)
            headers = decode_properties(header, HEADER_FIXED_BYTES, len(header)).headers or {}
            numbered = number_of(headers)
            if numbered is not None and numbered[0] in names and "x-death" not in headers:
                found.setdefault((*place[:2], numbered[0]), []).append(numbered[1])
    for key, numbers in found.items():
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise Violation(f"stream {key} has {numbers}")
