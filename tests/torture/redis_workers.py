"""Producers and workers on one Redis list, and what must have become of each element after a crash.

LOST     an element whose push was answered is in the list, or with a worker, or with one whose reply was cut off
BACK     an element that a worker has got is not in the list
TWICE    it is not got twice
ORDER    elements of one producer are got, and stay, in the order in which they were pushed, but for those that were
         with a client that had gone before it was told, and went back
NOWHERE  what comes out was pushed
"""

from __future__ import annotations

import threading
from collections import Counter
from random import Random
from typing import Final

from tests.resp_client import NULL_ARRAY, RespClient, RespError, command

KEYS: Final = {"LPUSH": b"jobs", "RPUSH": b"left jobs"}
"""By command that pushes; workers take from the other end."""
POPS: Final = {"LPUSH": ("BRPOP", "RPOP"), "RPUSH": ("BLPOP", "LPOP")}
DEPTH_MAX: Final = 3_000
WINDOWS: Final = (1, 10, 50)
COUNTS: Final = (1, 3, 20)
PADDING: Final = (0, 0, 50, 2_000)


class Jobs:
    """One list over all rounds. Numbers of elements are (producer, number)."""

    def __init__(self, push: str, database: int) -> None:
        self.push = push
        self.key = KEYS[push]
        self.database = database
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._producers = 0
        self._sent: dict[bytes, bool] = {}  # by element: whether the push was answered
        self._got: dict[bytes, int] = {}
        self._cut = 0  # elements that may have been in replies that were cut off
        self._late: list[str] = []  # elements that were got behind later ones
        self._findings: list[str] = []

    # -- in threads, until the server is gone

    def produce(self, port: int, seed: str) -> None:
        """Pushes, several at a time, and a row of elements in one command now and then."""
        rng = Random(seed)
        try:
            client = self._client(port)
            with self._lock:
                self._producers += 1
                producer, number = self._producers, 0
            while True:
                rows: list[list[bytes]] = []
                for _ in range(rng.randrange(rng.choice(WINDOWS)) + 1):
                    size = rng.choice(COUNTS)
                    row = [
                        b"%d-%d-%b" % (producer, number + i, b"x" * rng.choice(PADDING))
                        for i in range(size)
                    ]
                    number += size
                    rows.append(row)
                with self._lock:
                    self._sent |= dict.fromkeys((each for row in rows for each in row), False)
                client.send(b"".join(command(self.push, self.key, *row) for row in rows))
                for row in rows:
                    length = client.reply()
                    if not isinstance(length, int):
                        self._complain(f"CLIENT: {self.push} was answered {length!r}")
                        return
                    with self._lock:
                        self._sent |= dict.fromkeys(row, True)
                        self.counts["pushed"] += len(row)
                while length > DEPTH_MAX:
                    length = client.ask("LLEN", self.key)
        except OSError:
            return

    def work(self, port: int, seed: str) -> None:
        """Waits for elements, or takes several at a time; leaves in the middle now and then."""
        rng = Random(seed)
        under_way = 0
        last: dict[int, int] = {}
        try:
            while True:
                client = self._client(port)
                waits, takes = POPS[self.push]
                for _ in range(rng.choice((3, 100, 10_000))):
                    if rng.random() < 0.7:
                        under_way = 1
                        answer = client.ask(waits, self.key, rng.choice((0, 1)))
                        found = [] if answer in (None, NULL_ARRAY) else answer[1:]
                    else:
                        under_way = rng.choice(COUNTS)
                        answer = client.ask(takes, self.key, under_way)
                        found = [] if answer in (None, NULL_ARRAY) else answer
                    if isinstance(answer, RespError):
                        self._complain(f"CLIENT: a pop was answered {answer!r}")
                        return
                    under_way = 0
                    self._take(found, last)
                if rng.random() < 0.5:  # it asks, and does not wait for the answer
                    client.send(command(waits, self.key, 0))
                    with self._lock:
                        self._cut += 1
                client.close()
        except OSError:
            with self._lock:
                self._cut += under_way

    def _take(self, found: list[bytes], last: dict[int, int]) -> None:
        with self._lock:
            self.counts["popped"] += len(found)
            for element in found:
                if element not in self._sent:
                    self._complain(f"NOWHERE: {element[:40]!r} was got")
                    continue
                if element in self._got:
                    self._complain(f"TWICE: {element[:40]!r} was got")
                self._got[element] = 1
                producer, number = place_of(element)
                if last.get(producer, -1) > number:
                    self._late.append(f"ORDER: {element[:40]!r} was got behind {last[producer]}")
                last[producer] = max(number, last.get(producer, -1))

    def _client(self, port: int) -> RespClient:
        client = RespClient(port)
        client.ask("SELECT", self.database)
        return client

    def _complain(self, text: str) -> None:
        self._findings.append(f"{text} ({self.push})")

    # -- behind a crash

    def judge(self, port: int) -> list[str]:
        """What is wrong in the list of a server that was started again."""
        client = self._client(port)
        there = client.ask("LRANGE", self.key, 0, -1)
        client.close()
        if self.push == "LPUSH":
            there.reverse()
        findings, self._findings = self._findings, []
        if len(self._late) > self._cut:  # what goes back to its place comes late
            findings += self._late
        self.counts["late"] += len(self._late)
        last: dict[int, int] = {}
        for element in there:
            if element not in self._sent:
                findings.append(f"NOWHERE: {element[:40]!r} is in the list")
                continue
            if element in self._got:
                findings.append(f"BACK: {element[:40]!r} was got, and is in the list")
            producer, number = place_of(element)
            if last.get(producer, -1) >= number:
                findings.append(f"ORDER: {element[:40]!r} is behind {last[producer]}")
            last[producer] = number
        if len(set(there)) != len(there):
            findings.append("TWICE: an element is in the list twice")
        left = set(there)
        gone = [
            element for element, answered in self._sent.items()
            if answered and element not in self._got and element not in left
        ]  # fmt: skip
        self.counts["in replies that were cut off"] += len(gone)
        if len(gone) > self._cut:
            findings.append(
                f"LOST: {len(gone)} elements, {self._cut} replies were cut off: {gone[0][:40]!r}"
            )
        # What is there is what the next round begins with.
        self._sent = dict.fromkeys(there, True)
        self._got, self._cut, self._late = {}, 0, []
        return [
            f"{text} ({self.push})" if not text.endswith(")") else text for text in findings[:20]
        ]


def place_of(element: bytes) -> tuple[int, int]:
    """Who pushed it, and its number there."""
    producer, number, _ = element.split(b"-", 2)
    return int(producer), int(number)
