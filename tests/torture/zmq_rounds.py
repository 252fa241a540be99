"""Rounds of torture with ZeroMQ clients: producers, callers and workers; kills and restarts; a look, a drain at times.

A round has one broker or several, one behind the other. Raw peers end with each; sockets of libzmq live through all of
them but the last. Then nobody is connected, and the queues are looked at, by Redis' LRANGE, on a broker that was
started again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.differential.servers import CannotStart, Mansio, free_port
from tests.resp_client import RespClient
from tests.torture.zmq_ledger import Ledger
from tests.torture.zmq_pirates import Fleet
from tests.torture.zmq_producers import Callers, Producers
from tests.torture.zmq_wire import RawPeer
from tests.torture.zmq_workers import Desk, Lease, Workers

QUEUES: Final = ("tasks", "jobs")
CLIENTS_MAX: Final = 3
"""Of each kind and queue."""
BROKERS: Final = {1: 60, 2: 30, 3: 10}
"""How many a round has: weights."""
DEPTHS: Final = {10: 40, 100: 35, 2_000: 25}
"""How many tasks producers keep in a queue: weights. Where there are few, calls are answered in time."""
KILL_S_MAX: Final = 0.8
END_S_MAX: Final = 30.0
DRAIN_SHARE: Final = 0.2
DRAIN_WINDOW: Final = 50
OPTIONS: Final = ("--segment-size", "1MiB", "--memory-budget", "16MiB")
KINDS: Final = {"kill": 45, "kill with children": 40, "stop": 10, "kill, kill at start": 5}
"""How a broker ends: weights."""


@dataclass(slots=True)
class Report:
    """What came of it. `starts`: how many brokers were started."""

    rounds: int = 0
    starts: int = 0
    findings: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class ZmqTorture:
    """One run. A context manager."""

    def __init__(
        self,
        seed: int,
        options: tuple[str, ...] = (),
        kill_s_max: float = KILL_S_MAX,
        durable: bool = True,
    ) -> None:
        """`options`: more of them for the broker. `kill_s_max`: how long each may work."""
        self.report = Report()
        self._port = free_port()
        ports = ("--zmq-port", str(self._port))
        self._server = Mansio(durable, (*OPTIONS, *ports, *options))
        self._seed = seed
        self._kill_s_max = kill_s_max
        self._ledgers = [Ledger(name) for name in QUEUES]

    def __enter__(self) -> ZmqTorture:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.close()

    def run(self, rounds: int, progress: Callable[[Report], None] | None = None) -> Report:
        """So many rounds, and a drain at the end; stops at the first one with findings."""
        try:
            self._start()
            while self.report.rounds < rounds and not self.report.findings:
                self.report.rounds += 1
                rng = Random(f"{self._seed}/{self.report.rounds}")
                self._round(rng)
                if self.report.rounds == rounds or rng.random() < DRAIN_SHARE:
                    self._drain()
                if progress is not None:
                    progress(self.report)
        except CannotStart as error:
            self._complain(f"START: {error}")
        for ledger in self._ledgers:
            self.report.counts.update(ledger.counts)
        if self.report.findings and "Traceback" in self._server.output():
            self._complain(self._server.output()[-3000:])
        return self.report

    def _start(self) -> None:
        self._server.start()
        self.report.starts += 1

    # -- load

    def _round(self, rng: Random) -> None:
        seed = f"{self._seed}/{self.report.rounds}"
        for ledger in self._ledgers:
            ledger.depth_max = rng.choices(list(DEPTHS), list(DEPTHS.values()))[0]
        fleet = Fleet(self._port)
        pirates = self._clients(rng, seed, "pirate", fleet)
        brokers = rng.choices(list(BROKERS), list(BROKERS.values()))[0]
        for number in range(1, brokers + 1):
            raw = self._clients(rng, f"{seed}/{number}", "raw", self._port)
            time.sleep(rng.uniform(0, self._kill_s_max))
            self._end(rng)
            fleet.stopping = number == brokers
            threads = raw + pirates if fleet.stopping else raw
            if not (self._joined(threads) and (fleet.stopping or fleet.broker_ended())):
                self._complain("HANG: a client does not notice that the broker is gone")
                return
            for ledger in self._ledgers:
                ledger.restarting()
            self._start()
        fleet.close()
        self._look()

    def _clients(self, rng: Random, seed: str, kind: str, where: Any) -> list[threading.Thread]:
        """Starts a thread for each client of a kind, raw or pirate."""
        threads = []
        for ledger in self._ledgers:
            producers, callers, workers = Producers(ledger), Callers(ledger), Workers(ledger)
            bodies: tuple[Callable[[Any, str], None], ...] = (
                (producers.pirate, callers.pirate, workers.pirate)
                if kind == "pirate"
                else (producers.window, callers.window, workers.seats)
            )
            for body in bodies:
                for i in range(rng.randrange(CLIENTS_MAX + 1)):
                    name = f"{seed}/{ledger.queue}/{body.__qualname__}/{i}"
                    args = (ledger, body, where, name)
                    threads.append(threading.Thread(target=self._run, args=args))
        for thread in threads:
            thread.start()
        return threads

    def _run(self, ledger: Ledger, body: Callable[[Any, str], None], where: Any, name: str) -> None:
        try:
            body(where, name)
        except Exception as error:
            ledger.complain(f"CLIENT: {name}: {error!r}")

    def _joined(self, threads: list[threading.Thread]) -> bool:
        for thread in threads:
            thread.join(END_S_MAX)
        return not any(thread.is_alive() for thread in threads)

    def _end(self, rng: Random) -> None:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        self.report.kinds[kind] += 1
        if kind == "stop":
            for ledger in self._ledgers:
                ledger.stopping = True
            self._server.stop()
            return
        self._server.kill(children=kind == "kill with children")
        if kind == "kill, kill at start":
            self._server.spawn()
            time.sleep(rng.uniform(0, 0.3))
            self._server.kill(children=rng.random() < 0.5)

    # -- looks

    def _look(self) -> list[list[bytes]]:
        """What is in the queues, judged."""
        client = RespClient(self._server.port)
        found: list[list[bytes]] = [
            client.ask("LRANGE", ledger.queue, 0, -1) for ledger in self._ledgers
        ]
        client.close()
        for ledger, there in zip(self._ledgers, found, strict=True):
            there.reverse()
            self._complain(*ledger.judge(there))
        return found

    def _drain(self) -> None:
        """Takes all that is there, in its order, acknowledges it, and looks whether that holds over a kill."""
        found = self._look()
        for ledger, there in zip(self._ledgers, found, strict=True):
            ledger.drained(there, self._taken(ledger))
        self._server.kill(children=True)
        for ledger in self._ledgers:
            ledger.restarting()
        self._start()
        self._look()

    def _taken(self, ledger: Ledger) -> list[bytes]:
        peer, desk = RawPeer(self._port), Desk(ledger)
        names: list[bytes] = []
        while True:
            peer.send(*([b"", b"GET", ledger.key] for _ in range(DRAIN_WINDOW)))
            for _ in range(DRAIN_WINDOW):
                desk.heard(b"GET", None, peer.receive()[1:])
            leases, desk.leases = desk.leases, []
            if not leases:
                peer.close()
                return names
            names += [lease.name for lease in leases]
            self._acknowledge(ledger, desk, peer, leases)

    def _acknowledge(self, ledger: Ledger, desk: Desk, peer: RawPeer, leases: list[Lease]) -> None:
        for lease in leases:
            ledger.settling(lease.name)
        peer.send(*([b"", b"ACK", lease.tag] for lease in leases))
        for lease in leases:
            desk.heard(b"ACK", lease, peer.receive()[1:])

    def _complain(self, *findings: str) -> None:
        self.report.findings += [f"round {self.report.rounds}: {text[:2000]}" for text in findings]
