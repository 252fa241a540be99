"""What ZeroMQ clients did to one queue and saw of it, and what a durable broker must not have made of that.

Clients say here what they are about to do *before* they send it, and what they have heard *after* that.

LOST       a persistent task whose PUT was answered 200, and that nobody has tried to acknowledge, is in the queue
BACK       a task whose ACK, or the NEXT behind it, was answered 200 does not come again, nor what a look has not found
FLAG       a task that a worker has had before comes with redelivered set, whatever happened in between
ORDER      tasks of one producer are in the queue, and come for the first time, in the order in which they were put;
           and their ids ascend
TWICE      a task is there once, and is not given to a worker while another one has it, unless the broker is stopping
UNKNOWN    a task that a worker has, from the broker that runs, can be acknowledged
NOWHERE    what comes was put, and what is answered was called
DAMAGED    it is what was put
ANSWER     a call has one reply: 200 and what a worker has made of this very task, or 408; 500 if a worker rejected it
STATUS     other replies are those that the request may have
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.torture.zmq_tasks import CALL, PUT, frames_of, name_in, name_of, place_of, result_of

FINDINGS_MAX: Final = 20


class Held:
    """What one worker's connection has had of the broker that runs. `last`: by producer, the number of its last first
    delivery."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.epoch = 0


class _Task:
    """What is known of one."""

    __slots__ = ("acked", "answered", "epoch", "held", "id", "received", "rejected", "tries")

    def __init__(self) -> None:
        self.id: int | None = None  # of a PUT that was answered 200
        self.received = False
        self.tries = 0  # to settle it, whose outcome is not known
        self.acked = b""  # by which verb, as far as a reply said so
        self.rejected = False  # by a worker, perhaps
        self.answered = False  # a call
        self.held: Held | None = None
        self.epoch = 0  # when it was received


class Ledger:
    """One queue over all rounds. Methods may be called by several threads, `judge` and `restarting` may not."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.counts: Counter[str] = Counter()
        self.depth = 0
        """About how many tasks there are."""
        self.depth_max = 0
        """How many there are to be, about, this round."""
        self.epoch = 0
        """How many brokers have ended."""
        self.stopping = False
        """The broker is ending in order: it parts from one client after the other, and what the first ones had may come
        to others before the first ones know."""
        self._lock = threading.Lock()
        self._tasks: dict[bytes, _Task] = {}  # those that may be in the queue
        self._gone: set[bytes] = set()
        self._producers = 0
        self._findings: list[str] = []

    @property
    def key(self) -> bytes:
        """The queue as requests name it."""
        return self.queue.encode()

    def complain(self, text: str) -> None:
        """Takes note of what is wrong."""
        self._findings.append(f"{text} (queue {self.queue}, epoch {self.epoch})")

    def restarting(self) -> None:
        """The broker is gone, and all clients have noticed."""
        self.epoch += 1
        self.stopping = False

    # -- producers and callers

    def producer(self) -> int:
        """A number for a new one."""
        with self._lock:
            self._producers += 1
            return self._producers

    def sending(self, kind: bytes, producer: int, number: int) -> bytes:
        """A task is about to be sent: its name."""
        name = name_of(kind, producer, number)
        with self._lock:
            self._tasks[name] = _Task()
            self.depth += 1
            self.counts["calls sent" if kind == CALL else "puts sent"] += 1
        return name

    def put(self, name: bytes, reply: list[bytes]) -> None:
        """What its PUT was answered."""
        with self._lock:
            if len(reply) != 2 or reply[0] != b"200" or not reply[1].isdigit():
                self.complain(f"STATUS: PUT {name!r}: {reply!r}")
                return
            self.counts["puts confirmed"] += 1
            self._tasks[name].id = int(reply[1])

    def called(self, name: bytes, reply: list[bytes]) -> bool:
        """What its CALL was answered; False: it had been answered before."""
        status = reply[0]
        with self._lock:
            task = self._tasks.get(name)
            if task is None or task.answered:
                self.complain(f"ANSWER: {name!r} has another reply: {reply!r:.200}")
                return False
            task.answered = True
            self.counts[f"calls answered {status.decode('latin-1')}"] += 1
            if status == b"200":
                if reply[1:] != result_of(name):
                    self.complain(f"ANSWER: {name!r}: {reply!r:.200}")
                elif not task.received:
                    self.complain(f"NOWHERE: {name!r} was answered, and no worker had it")
            elif status == b"408":
                self.depth -= 1
            elif not (status == b"500" and task.rejected):
                self.complain(f"STATUS: CALL {name!r}: {reply!r:.200}")
            return True

    # -- workers

    def received(self, held: Held, frames: list[bytes], redelivered: bytes) -> bytes | None:
        """A worker has got something: the name, if it is a task."""
        name = name_in(frames[0])
        with self._lock:
            self.counts["received"] += 1
            task = self._tasks.get(name)
            if task is None or task.acked:
                verb = task.acked if task is not None else b"a look"
                there = task is not None or name in self._gone
                self.complain(f"{'BACK' if there else 'NOWHERE'}: {name!r} was received, {verb!r}")
                return None
            if frames != frames_of(name):
                self.complain(f"DAMAGED: {name!r}: {frames!r:.200}")
            held_now = task.held is not None and task.epoch == self.epoch
            if held_now and not self.stopping:
                self.complain(f"TWICE: {name!r} was received while another worker has it")
            if redelivered == b"1":
                self.counts["redelivered"] += 1
            else:
                if task.received:
                    self.complain(f"FLAG: {name!r} comes again, as if for the first time")
                if held.epoch != self.epoch:
                    held.epoch, held.last = self.epoch, {}
                producer, number = place_of(name)
                if held.last.get(producer, -1) >= number:
                    self.complain(f"ORDER: {name!r} was received behind {held.last[producer]}")
                held.last[producer] = number
            task.received, task.held, task.epoch = True, held, self.epoch
            return name

    def settling(self, name: bytes, reject: bool = False) -> None:
        """It is about to be acknowledged, or rejected."""
        with self._lock:
            task = self._tasks[name]
            task.tries += 1
            task.rejected = task.rejected or reject
            task.held = None

    def acked(self, name: bytes, verb: bytes) -> None:
        """The reply to this verb said that its acknowledgement holds."""
        with self._lock:
            self.counts["acks confirmed"] += 1
            self._tasks[name].acked = verb
            self.depth -= 1

    def unknown(self, name: bytes, epoch: int) -> None:
        """The reply said 410: it was not settled by that. `epoch`: when the worker got it."""
        with self._lock:
            self._tasks[name].tries -= 1
            self.counts["unknown tags"] += 1
            if epoch == self.epoch:
                self.complain(f"UNKNOWN: {name!r} was not held, and the broker still runs")

    def released(self, names: Sequence[bytes]) -> None:
        """A worker gives them back, or leaves with them: it is about to say so, or to go."""
        with self._lock:
            for name in names:
                self._tasks[name].held = None

    # -- behind a crash, when there are no clients

    def judge(self, there: list[bytes]) -> list[str]:
        """What is wrong, with the bodies that are in the queue of a broker that was started again."""
        names = [name_in(body) for body in there]
        last: dict[int, int] = {}
        last_id = -1
        seen: set[bytes] = set()
        for name, body in zip(names, there, strict=True):
            task = self._tasks.get(name)
            if task is None:
                kind = "BACK" if name in self._gone else "NOWHERE"
                self.complain(f"{kind}: {name!r} is in the queue")
                continue
            if name in seen:
                self.complain(f"TWICE: {name!r} is in the queue again")
            seen.add(name)
            if body != b"".join(frames_of(name)):
                self.complain(f"DAMAGED: {name!r} in the queue: {body[:100]!r}")
            producer, number = place_of(name)
            if last.get(producer, -1) > number or (task.id is not None and task.id <= last_id):
                self.complain(f"ORDER: {name!r} is behind {last.get(producer)}, id {last_id}")
            last[producer] = number
            last_id = last_id if task.id is None else task.id
            if task.acked:
                self.complain(f"BACK: {name!r} is in the queue, {task.acked!r}")
        for name, task in self._tasks.items():
            kept = name[:1] == PUT and task.id is not None and not (task.tries or task.acked)
            if kept and name not in seen:
                had = "a worker had it" if task.received else "nobody had it"
                self.complain(f"LOST: {name!r}, {had}")
        self._forget(seen)
        self.depth = len(there)
        self.counts["looked at"] += len(there)
        findings, self._findings = self._findings, []
        return findings[:FINDINGS_MAX]

    def _forget(self, there: set[bytes]) -> None:
        for name in [name for name in self._tasks if name not in there]:
            del self._tasks[name]
            self._gone.add(name)
        for task in self._tasks.values():
            task.tries = 0
            task.held = None

    def drained(self, there: list[bytes], got: list[bytes]) -> None:
        """What was in the queue at a look, and the names that came out: only calls may have expired meanwhile."""
        names = [name_in(body) for body in there]
        come = set(got)
        missing = [name for name in names if name not in come and name[:1] != CALL]
        if missing:
            self.complain(f"LOST: {len(missing)} did not come out, {missing[0]!r}")
        if got != [name for name in names if name in come]:
            self.complain("ORDER: what came out came in another order than it was in")
        self.counts["drains"] += 1
