"""Rounds of torture with Redis clients: writers, producers and workers; a kill; a restart; a look."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.differential.families import TABLES
from tests.differential.servers import CannotStart, Redis, Server
from tests.differential.side import Side
from tests.torture.redis_workers import Jobs
from tests.torture.redis_writers import FAMILIES, Lines, Writer

WRITERS: Final = 4
PRODUCERS: Final = 3
WORKERS: Final = 4
KILL_S_MAX: Final = 0.8
END_S_MAX: Final = 30.0
OPTIONS: Final = ("--segment-size", "1MiB", "--memory-budget", "16MiB")
KINDS: Final = {"kill": 55, "kill with children": 30, "stop": 10, "kill, kill at start": 5}
"""How a round ends: weights."""


@dataclass(slots=True)
class Report:
    """What came of it."""

    rounds: int = 0
    findings: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class RedisTorture:
    """One run on one server, with a redis-server as its twin. A context manager."""

    def __init__(
        self,
        server: Server,
        seed: int,
        kill_s_max: float = KILL_S_MAX,
        families: dict[str, int] = FAMILIES,
    ) -> None:
        """`server`: not started yet. `kill_s_max`: how long a round may work. `families`: of the writers' commands."""
        self.report = Report()
        self._server = server
        self._twin = Redis()
        self._seed = seed
        self._kill_s_max = kill_s_max
        self._families = families
        self._writers: list[Writer] = []
        self._jobs = [Jobs("LPUSH", WRITERS), Jobs("RPUSH", WRITERS + 1)]

    def __enter__(self) -> RedisTorture:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.close()
        self._twin.close()

    def run(self, rounds: int) -> Report:
        """So many rounds; stops at the first one with findings."""
        try:
            self._twin.start()
            self._server.start()
            missing = self._missing()
            self._writers = [Writer(i, Lines(missing, self._families)) for i in range(WRITERS)]
            while self.report.rounds < rounds and not self.report.findings:
                self.report.rounds += 1
                self._round(Random(f"{self._seed}/{self.report.rounds}"))
        except CannotStart as error:
            self._complain(f"START: {error}")
        for jobs in self._jobs:
            self.report.counts.update(jobs.counts)
        self.report.counts["commands answered"] = sum(each.answered for each in self._writers)
        return self.report

    def _missing(self) -> set[str]:
        side = Side("mansio", self._server.port)
        names = {line.name.lower() for lines in TABLES.values() for line in lines}
        missing = side.lacks({name for name in names if name.isalpha()})
        side.close()
        return missing

    def _round(self, rng: Random) -> None:
        port, seed = self._server.port, f"{self._seed}/{self.report.rounds}"
        threads = [
            threading.Thread(target=writer.work, args=(port, f"{seed}/writer/{writer.database}"))
            for writer in self._writers
        ]
        for jobs in self._jobs:
            for kind, count in ((jobs.produce, PRODUCERS), (jobs.work, WORKERS)):
                for i in range(rng.randrange(count + 1)):
                    name = f"{seed}/{jobs.push}/{kind.__name__}/{i}"
                    threads.append(threading.Thread(target=kind, args=(port, name)))
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0, self._kill_s_max))
        self._end(rng)
        for thread in threads:
            thread.join(END_S_MAX)
            if thread.is_alive():
                self._complain("HANG: a client does not notice that the server is gone")
                return
        self._server.start()
        self._look()

    def _end(self, rng: Random) -> None:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        self.report.kinds[kind] += 1
        if kind == "stop":
            self._server.stop()
            return
        self._server.kill(children=kind == "kill with children")
        if kind == "kill, kill at start":
            self._server.spawn()
            time.sleep(rng.uniform(0, 0.3))
            self._server.kill(children=rng.random() < 0.5)

    def _look(self) -> None:
        for writer in self._writers:
            self._complain(*writer.judge(self._server.port, self._twin.port))
        for jobs in self._jobs:
            self._complain(*jobs.judge(self._server.port))
        if self.report.findings and "Traceback" in self._server.output():
            self._complain(self._server.output()[-3000:])

    def _complain(self, *findings: str) -> None:
        self.report.findings += [f"round {self.report.rounds}: {text[:2000]}" for text in findings]
