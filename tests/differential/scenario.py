"""Scenarios at random: clients that take turns, each with a few commands at a time."""

from collections.abc import Sequence
from random import Random
from typing import Final

from tests.differential.bytes_alone import PHRASES
from tests.differential.families import TABLES
from tests.differential.grammar import Draws, Line
from tests.differential.steps import Arg, Scenario, Step, may_wait
from tests.differential.vocabulary import JUNK, KEYS

CLIENTS: Final = 4
SUBSCRIBERS: Final = 2
SPOILT: Final = 0.04  # how often a command is spoilt
TURN: Final = (1, 1, 2, 3, 8, 20)  # steps of one client before another has its turn
IN_A_TRANSACTION: Final = 0.2  # how often the next step of a client that began one ends it
WEIGHTS: Final = {
    "keys": 0.5,
    "connection": 0.12,
    "pubsub": 0.12,
    "transactions": 0.25,
    "blocking": 0.25,
}
"""How often a family is taken, where it is not as often as the others."""
UNHEARD: Final = (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR", b"QUIT", b"WAIT")
"""What no client of the others sends: the answers would not be one for each."""
LONGEST_WAIT_S: Final = 500.0


class Generator:
    """Makes scenarios; the same for the same seed."""

    def __init__(
        self, rng: Random, families: Sequence[str], protocols: Sequence[int], missing: set[str]
    ) -> None:
        """`missing`: commands that are not sent, since the server does not have them."""
        self.rng = rng
        self.protocols = protocols
        self._tables: dict[str, list[Line]] = {}
        self._weights: dict[str, list[int]] = {}
        self.families = [each for each in families if each not in ("protocol", "blocking")]
        self.blocking = "blocking" in families
        self.alone = "protocol" in families
        for name, lines in TABLES.items():
            left = [line for line in lines if line.name.lower() not in missing]
            self._tables[name] = left
            self._weights[name] = [line.weight for line in left]
        if self.blocking:
            self.families.append("blocking")
        self.families = [name for name in self.families if self._tables[name]]
        self._chances = [WEIGHTS.get(name, 1.0) for name in self.families]

    def scenario(self, size: int) -> Scenario:
        """About `size` steps."""
        rng = self.rng
        subscribers = frozenset(range(CLIENTS, CLIENTS + SUBSCRIBERS)) if self._listens else ()
        count = CLIENTS + len(subscribers)
        protocols = tuple(rng.choice(self.protocols) for _ in range(count))
        made = Scenario(protocols, frozenset(subscribers))
        draws = Draws(rng)
        inside = [False] * count
        while len(made.steps) < size:
            client = rng.randrange(count)
            for _ in range(rng.choice(TURN)):
                made.steps += self._steps(client, draws, inside, client in made.subscribers)
        return made

    @property
    def _listens(self) -> bool:
        return "pubsub" in self.families

    def _steps(self, client: int, draws: Draws, inside: list[bool], subscriber: bool) -> list[Step]:
        rng = self.rng
        if subscriber:
            return [self._spoilt(Step(client, self._draw("subscribers", draws)))]
        if inside[client] and rng.random() < IN_A_TRANSACTION:
            inside[client] = False
            return [Step(client, (b"EXEC",))]
        rare = rng.random()
        if rare < 0.004 and self.alone:
            return [Step(client, (rng.choice(PHRASES),), "alone")]
        if rare < 0.005 and "strings" in self.families:
            return [self._short_lived()]
        if rare < 0.008 and "keys" in self.families and self._tables["keys"]:
            return [self._scan(client)]
        if rare < 0.009 and self.blocking and self._tables["timed"]:
            return [Step(client, self._draw("timed", draws), "waits")]
        if rare < 0.02 and self.blocking and self._tables["unblock"]:
            return [Step(0, self._draw("unblock", draws))]
        family = rng.choices(self.families, self._chances)[0]
        step = self._spoilt(Step(client, self._draw(family, draws)))
        if step.name() == b"MULTI" and len(step.args) == 1:
            inside[client] = True
        elif step.name() in (b"EXEC", b"DISCARD", b"RESET"):
            inside[client] = False
        return [step]

    def _draw(self, family: str, draws: Draws) -> tuple[Arg, ...]:
        line = self.rng.choices(self._tables[family], self._weights[family])[0]
        return tuple(line.draw(draws))

    def _spoilt(self, step: Step) -> Step:
        """The same with a mistake, now and then; and where it can wait, it waits for ever or not at all."""
        rng, args = self.rng, list(step.args)
        # HELLO with a mistake behind SETNAME has set the name all the same in Redis.
        if rng.random() < SPOILT and step.name() not in (b"SCAN", b"HELLO"):
            at = rng.randrange(len(args))
            kind = rng.randrange(5)
            if kind == 0 and at:
                del args[at]
            elif kind == 1:
                args.insert(at + 1, rng.choice(JUNK))
            elif kind == 2 and at:
                args[at] = rng.choice(JUNK)
            elif kind == 3 and at:
                args[at] = rng.choice(KEYS)
            elif isinstance(word := args[at], bytes):
                args[at] = word.swapcase()
        made = tuple(args)
        name = Step(step.client, made).name()
        if name in UNHEARD and step.client < CLIENTS:
            return step
        if may_wait(made):
            return Step(step.client, tuple(map(for_ever, made)), "blocks")
        return Step(step.client, made)

    def _short_lived(self) -> Step:
        """A key that is gone when it is looked at next."""
        key = self.rng.choice(KEYS)
        if self.rng.random() < 0.5:
            return Step(0, (b"SET", key, b"short-lived", b"PX", b"1"), "expires")
        return Step(0, (b"PEXPIRE", key, b"1"), "expires")

    def _scan(self, client: int) -> Step:
        rng = self.rng
        args = [b"SCAN", b"0"]
        if rng.random() < 0.5:
            args += (b"MATCH", rng.choice((b"*", b"l*", b"?1", b"[sx]*", b"l1")))
        if rng.random() < 0.5:
            args += (b"COUNT", rng.choice((b"1", b"2", b"10", b"100")))
        if rng.random() < 0.4:
            args += (b"TYPE", rng.choice((b"list", b"string", b"stream", b"hash")))
        return Step(client, tuple(args), "scan")


def for_ever(arg: Arg) -> Arg:
    """A time limit that could end during the test becomes none."""
    if not isinstance(arg, bytes):
        return arg
    try:
        seconds = float(arg)
    except ValueError:
        return arg
    return b"0" if 0 < seconds < LONGEST_WAIT_S and b"." in arg else arg
