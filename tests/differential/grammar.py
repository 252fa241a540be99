"""Commands at random, from lines that look like Redis' own documentation.

    4 LPOS lkey value {RANK rank} {COUNT count} {MAXLEN count}

The number says how often the line is taken. WORDS are themselves, words are drawn (vocabulary.py), `a|b` is one of
the two, `word+` one to four, `[...]` is there or not, and `{...}`, too, in any order among their like.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from tests.differential.steps import Arg

Draw = Callable[["Draws"], list[Arg]]
OFTEN: Final = 0.4
MANY: Final = (1, 1, 1, 2, 2, 3, 4)


class Draws:
    """The dice of a scenario, and what it has to remember to throw them well."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.clock = 0  # of the ids of stream entries


def sequence(parts: list[Draw]) -> Draw:
    """One after the other."""

    def draw(draws: Draws) -> list[Arg]:
        return [arg for part in parts for arg in part(draws)]

    return draw


def maybe(part: Draw) -> Draw:
    """There or not."""
    return lambda draws: part(draws) if draws.rng.random() < OFTEN else []


def shuffled(parts: list[Draw]) -> Draw:
    """Each there or not, in any order."""

    def draw(draws: Draws) -> list[Arg]:
        chosen = [part for part in parts if draws.rng.random() < OFTEN]
        draws.rng.shuffle(chosen)
        return [arg for part in chosen for arg in part(draws)]

    return draw


def one_of(parts: list[Draw]) -> Draw:
    """One of them."""
    return lambda draws: draws.rng.choice(parts)(draws)


def repeated(part: Draw) -> Draw:
    """A few."""

    def draw(draws: Draws) -> list[Arg]:
        return [arg for _ in range(draws.rng.choice(MANY)) for arg in part(draws)]

    return draw


def literal(word: str) -> Draw:
    """The word itself."""
    data = word.encode()
    return lambda draws: [data]


class Line:
    """One line of a table, compiled."""

    def __init__(self, text: str, words: dict[str, Draw]) -> None:
        weight, _, rest = text.strip().partition(" ")
        self.text = rest
        self.weight = int(weight)
        self._words = words
        self._tokens = rest.replace("[", " [ ").replace("]", " ] ").split()
        self._tokens = " ".join(self._tokens).replace("{", " { ").replace("}", " } ").split()
        self.name = self._tokens[0]
        self._at = 0
        self.draw = self._sequence("")

    def _sequence(self, until: str) -> Draw:
        parts: list[Draw] = []
        options: list[Draw] = []
        while self._at < len(self._tokens) and self._tokens[self._at] != until:
            token = self._tokens[self._at]
            self._at += 1
            if token == "{":
                options.append(self._sequence("}"))
                continue
            if options:
                parts.append(shuffled(options))
                options = []
            parts.append(maybe(self._sequence("]")) if token == "[" else self._word(token))
        self._at += 1
        if options:
            parts.append(shuffled(options))
        return self._alternatives(parts)

    def _alternatives(self, parts: list[Draw]) -> Draw:
        """`EX seconds | PX ms`: a bar of its own divides whole sequences."""
        groups: list[list[Draw]] = [[]]
        for part in parts:
            if part is BAR:
                groups.append([])
            else:
                groups[-1].append(part)
        if len(groups) == 1:
            return sequence(parts)
        return one_of([sequence(group) for group in groups])

    def _word(self, token: str) -> Draw:
        if token == "|":
            return BAR
        if "|" in token:
            return one_of([self._word(each) for each in token.split("|")])
        if len(token) > 1 and token.endswith("+"):
            return repeated(self._pair(token[:-1]))
        return self._pair(token)

    def _pair(self, token: str) -> Draw:
        """`field:value`: two words that belong together."""
        if ":" in token:
            return sequence([self._pair(each) for each in token.split(":")])
        if token in self._words:
            return self._words[token]
        if token.lower() == token and token.isalpha():
            raise ValueError(f"no such word: {token}")
        return literal(token)


def _bar(draws: Draws) -> list[Arg]:
    raise AssertionError("divides alternatives, and is never drawn")


BAR: Final[Draw] = _bar


def table(text: str, words: dict[str, Draw]) -> list[Line]:
    """Its lines; empty ones do not count."""
    return [Line(line, words) for line in text.splitlines() if line.strip()]
