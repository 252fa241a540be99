"""Redis clients that write alone in a database of their own, and what it may hold after a crash.

A client sends random commands, many at a time, and nobody else changes its database. So after a crash the database
is as behind some prefix of what was sent: at least all that was answered, for a reply to a write says that it is
durable. Which states those are is known of a redis-server (the twin), which is told the same: first what was answered,
whose replies have to be the same, too; then one command after the other, until both hold the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.differential import compare, known
from tests.differential.families import TABLES
from tests.differential.grammar import Draws, Line
from tests.differential.steps import shown
from tests.resp_client import RespClient, command, parse

FAMILIES: Final = {"lists": 4, "strings": 2, "keys": 1, "streams": 5, "transactions": 1}
"""Weights."""
LEFT_OUT: Final = ("xauto", "DB", "MOVE", "WATCH", "SCAN", "RANDOMKEY")
"""Words of lines whose effects differ from server to server, or which reach beyond the database."""
WINDOWS: Final = (1, 5, 20, 100)
RESET_SHARE: Final = 0.003
"""How often a client leaves and comes again, as after a fault of its own."""


@dataclass(slots=True)
class Spoken:
    """What one connection has sent, and the replies that came."""

    sent: list[tuple[bytes, ...]] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)


class Lines:
    """Commands at random."""

    def __init__(self, missing: set[str], families: dict[str, int] = FAMILIES) -> None:
        """`missing`: commands that the server does not have. `families`: weights, as FAMILIES."""
        self._families: list[str] = []
        self._weights: list[int] = []
        self._lines: dict[str, list[Line]] = {}
        self._chances: dict[str, list[int]] = {}
        for name, weight in families.items():
            lines = [
                line for line in TABLES[name]
                if line.name.lower() not in missing and not any(word in line.text for word in LEFT_OUT)
            ]  # fmt: skip
            if lines:
                self._families.append(name)
                self._weights.append(weight)
                self._lines[name] = lines
                self._chances[name] = [line.weight for line in lines]

    def draw(self, draws: Draws) -> tuple[bytes, ...]:
        """The next one, without what only a server knows."""
        rng = draws.rng
        while True:
            family = rng.choices(self._families, self._weights)[0]
            line = rng.choices(self._lines[family], self._chances[family])[0]
            args = line.draw(draws)
            plain = tuple(arg for arg in args if isinstance(arg, bytes))
            if len(plain) == len(args) and b"*" not in plain and not known.may_part(plain):
                return plain


class Writer:
    """One client, and the twin's database for it. `work` runs in a thread; the rest does not at the same time."""

    def __init__(self, database: int, lines: Lines) -> None:
        self.database = database
        self.spoken: list[Spoken] = []
        self.fault = ""
        self.answered = 0
        self._lines = lines

    def work(self, port: int, seed: str) -> None:
        """Sends until the server is gone."""
        draws = Draws(Random(seed))
        draws.clock = draws.rng.randrange(1_000_000)
        self.spoken, self.fault = [], ""
        try:
            while True:
                self._connection(port, draws)
        except OSError:
            return
        except Exception as error:
            self.fault = f"{error!r}"

    def _connection(self, port: int, draws: Draws) -> None:
        client = RespClient(port)
        spoken = Spoken()
        self.spoken.append(spoken)
        client.ask("SELECT", self.database)
        window = draws.rng.choice(WINDOWS)
        try:
            while draws.rng.random() >= RESET_SHARE * window:
                some = [self._lines.draw(draws) for _ in range(draws.rng.randrange(window) + 1)]
                spoken.sent += some
                client.send(b"".join(command(*args) for args in some))
                for _ in some:
                    spoken.replies.append(client.raw())
                    self.answered += 1
        finally:
            client.close()

    def judge(self, port: int, twin_port: int) -> list[str]:
        """What is wrong in the database of a server that was started again."""
        twin = RespClient(twin_port)
        twin.ask("SELECT", self.database)
        try:
            return self._judged(port, twin_port, twin)
        finally:
            twin.close()

    def _judged(self, port: int, twin_port: int, twin: RespClient) -> list[str]:
        findings: list[str] = []
        if self.fault:
            findings.append(f"CLIENT: database {self.database}: {self.fault}")
        rest: deque[tuple[bytes, ...]] = deque()
        for spoken in self.spoken:
            # All but the last one were left by the client itself, when everything had been answered.
            twin.ask("RESET")
            twin.ask("SELECT", self.database)
            done = spoken.sent[: len(spoken.replies)]
            twin.send(b"".join(command(*args) for args in done))
            theirs = twin.raws(len(done))
            findings += self._different(done, theirs, spoken.replies)
            rest = deque(spoken.sent[len(done) :])
        self.spoken = []
        there = Contents(port, self.database)
        nearest = ""
        while (difference := there.differs_from(Contents(twin_port, self.database))) and rest:
            nearest = nearest or difference
            args = rest.popleft()
            twin.ask(*args)
        if difference:
            findings.append(f"STATE: database {self.database}: {nearest or difference}")
        return findings

    def _different(
        self, asked: list[tuple[bytes, ...]], theirs: list[bytes], ours: list[bytes]
    ) -> list[str]:
        transactions = compare.Transactions()
        for args, one, other in zip(asked, theirs, ours, strict=True):
            queued = transactions.before(0, args)
            if not compare.same(args, one, other, queued):
                if not known.excuses_for(args, one, other, queued):
                    what = " ".join(map(shown, args))
                    text = f"{what}: Redis {one!r}, Mansio {other!r}"
                    return [f"REPLY: database {self.database}: {text}"]
            transactions.heard(0, args, one)
        return []


class Contents:
    """All that a database holds, as replies to questions."""

    def __init__(self, port: int, database: int) -> None:
        client = RespClient(port)
        client.ask("HELLO", "3")
        client.ask("SELECT", database)
        self.answers: dict[tuple[bytes, ...], bytes] = {}
        for key in sorted(client.ask("KEYS", "*")):
            for args in questions(key, str(client.ask("TYPE", key))):
                client.send(command(*args))
                self.answers[args] = client.raw()
        client.close()

    def differs_from(self, other: Contents) -> str:
        """The first difference in words, or nothing."""
        for args in sorted(self.answers.keys() | other.answers.keys()):
            ours, theirs = self.answers.get(args), other.answers.get(args)
            if ours is None or theirs is None:
                kind, there = args[0].decode(), "not there" if ours is None else "there"
                return f"{shown(args[1])} is {there} ({kind} {theirs or ours!r})"
            if not compare.same(args, theirs, ours) and not known.excuses_for(args, theirs, ours):
                what = " ".join(map(shown, args))
                return f"{what}: {parse(ours)[0]!r} instead of {parse(theirs)[0]!r}"
        return ""


def questions(key: bytes, kind: str) -> list[tuple[bytes, ...]]:
    """What tells everything of a key."""
    asks: list[tuple[bytes, ...]] = [(b"TYPE", key), (b"PTTL", key)]
    if kind == "list":
        asks.append((b"LRANGE", key, b"0", b"-1"))
    elif kind == "string":
        asks.append((b"GET", key))
    elif kind == "stream":
        asks.append((b"XRANGE", key, b"-", b"+"))
        asks.append((b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"))
    return asks
