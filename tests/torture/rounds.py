"""Rounds of torture: load, a kill at a random moment, a restart, a look; now and then a drain.

controller ── commands ──► load process ── AMQP ──► broker process (and its children)
    ▲                          │ journal                 ▲
    └── verdicts ── oracle ◄───┘                         └── killed and started by the controller
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from tests.torture import judge, load
from tests.torture.broker import Broker, StartFailed

KILL_S_MAX = 0.8
DRAIN_SHARE = 0.08
COMMAND_S_MAX = 180.0
END_S_MAX = 10.0
OPTIONS = ("--segment-size", "1MiB", "--memory-budget", "16MiB")
"""So that segments come and go, and queues are paged out, in every round."""
KINDS = {
    "kill": 58,
    "kill with children": 22,
    "kill of a child": 7,
    "kill, kill at start": 5,
    "stop": 4,
    "nothing": 4,
}
"""How a round ends: weights. `stop` is SIGTERM, `nothing` lets clients leave in order and the broker run on."""


@dataclass(slots=True)
class Report:
    """What came of it. `starts_s`: seconds of every start."""

    rounds: int = 0
    findings: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)


class CommandFailed(Exception):
    """The load process could not do what it was told, or not in time."""


class Torture:
    """One run on one data directory. Use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        kinds: dict[str, int] | None = None,
        reply_is_proof: bool = True,
        options: tuple[str, ...] = (),
        kill_s_max: float = KILL_S_MAX,
    ) -> None:
        """`folder`: for the data, the broker's log and the journal; empty or not there.

        `kinds`: weights, as `KINDS`. `options`: more of them for the broker. `kill_s_max`: how long a round may work.
        """
        self.report = Report()
        self._seed = seed
        self._kinds = KINDS if kinds is None else kinds
        self._kill_s_max = kill_s_max
        self._incarnation = 0
        self._clean = True
        folder.mkdir(parents=True, exist_ok=True)
        self.broker = Broker(folder / "data", folder / "broker.log", (*OPTIONS, *options))
        context = get_context("spawn")
        self._commands, commands = context.Pipe()
        events, journal = context.Pipe(duplex=False)
        self._verdicts, verdicts = context.Pipe(duplex=False)
        path = str(folder / "journal.bin")
        self._load = context.Process(target=load.main, args=(commands, journal, self.broker.port))
        self._judge = context.Process(
            target=judge.main, args=(events, verdicts, path, reply_is_proof)
        )
        self._number = 0
        self._under_way: dict[int, tuple[Any, ...]] = {}
        self._answers: dict[int, tuple[str, Any]] = {}
        self._load.start()
        self._judge.start()
        for end in (commands, events, journal, verdicts):
            end.close()

    def __enter__(self) -> Torture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.broker.kill(group=True)
        self._command("exit")
        for process in (self._load, self._judge):  # the oracle's ends behind the last block
            process.join(END_S_MAX)
            process.kill()
            process.join()

    # -- commands to the load process

    def _command(self, *words: Any) -> int:
        self._number += 1
        self._under_way[self._number] = words
        self._commands.send((self._number, *words))
        return self._number

    def _wait(self, number: int) -> Any:
        deadline = time.monotonic() + COMMAND_S_MAX
        while number not in self._answers:
            if not self._commands.poll(max(0.0, deadline - time.monotonic())):
                waiting = ", ".join(str(words) for words in self._under_way.values())
                raise CommandFailed(f"no answer in {COMMAND_S_MAX} s to {waiting}")
            answer, fault, result = self._commands.recv()
            self._answers[answer] = (fault, result)
            del self._under_way[answer]
        fault, result = self._answers.pop(number)
        if fault:
            raise CommandFailed(fault)
        return result

    def _do(self, *words: Any) -> Any:
        return self._wait(self._command(*words))

    def _check(self) -> bool:
        """Ask the oracle; True if nothing is wrong so far."""
        self._do("note", "check", self.report.rounds)
        if not self._verdicts.poll(COMMAND_S_MAX):
            raise CommandFailed(f"no verdict in {COMMAND_S_MAX} s")
        _, findings, self.report.counts = self._verdicts.recv()
        self._complain(*findings)
        return not self.report.findings

    def _complain(self, *findings: str) -> None:
        self.report.findings += [f"round {self.report.rounds}: {text}" for text in findings]

    # -- rounds

    def run(self, rounds: int, progress: Callable[[Report], None] | None = None) -> Report:
        """So many rounds, and a drain at the end; stops at the first one with findings."""
        try:
            self._start()
            self._do("set_up")
            self._do("look")
            while self.report.rounds < rounds and not self.report.findings:
                self.report.rounds += 1
                rng = Random(f"{self._seed}/{self.report.rounds}")
                self._round(rng, self.report.rounds == rounds)
                self._check()
                if progress is not None:
                    progress(self.report)
        except StartFailed as error:
            self._complain(f"START: {error}")
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            self._complain(f"HANG: {error}\n{self.broker.log_tail()}")
        return self.report

    def _start(self) -> None:
        self.report.starts_s.append(self.broker.start())
        self._incarnation += 1
        self._do("note", "started", self._incarnation, not self._clean)

    def _round(self, rng: Random, last: bool) -> None:
        kind = rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        self.report.kinds[kind] += 1
        work = self._command("work", f"{self._seed}/{self.report.rounds}/work", kind == "nothing")
        time.sleep(rng.uniform(0, self._kill_s_max))
        self._clean = kind in ("stop", "nothing")
        if kind == "stop":
            self._do("note", "stopping")
            code = self.broker.stop()
            if code:
                self._complain(f"STOP: exit code {code} after SIGTERM\n{self.broker.log_tail()}")
        elif kind == "nothing":
            self._do("stop")
        else:
            self._kill(kind, rng)
        self._complain(*(f"CLIENT: {fault}" for fault in self._wait(work)))
        if kind != "nothing":
            self._start()
        self._do("look")
        if last or rng.random() < DRAIN_SHARE:
            self._do("drain", f"{self._seed}/{self.report.rounds}/drain")

    def _kill(self, kind: str, rng: Random) -> None:
        if kind == "kill of a child":
            self.report.kinds["children killed"] += self.broker.kill_child()
            if rng.random() < 0.7:
                self._do("probe")
            else:
                time.sleep(rng.uniform(0, 0.3))
            if not self.broker.running:
                self._complain(f"ENDED: with its child\n{self.broker.log_tail()}")
        self.broker.kill(group=kind == "kill with children")
        if kind == "kill, kill at start":
            self.broker.spawn()
            time.sleep(rng.uniform(0, 0.3))
            self.broker.kill(group=rng.random() < 0.5)
