"""A broker on a small filesystem that fills up: publishers are blocked, consumers empty it, everybody goes on.

    fill ──► connection.blocked ──► drain ──► unblocked, go on ──► fill ──► kill -9 ──► restart ──► drain

`python -m tests.torture.disk_full` mounts a tmpfs of 64 MiB for it, which only root may do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mansio.codec import amqp_methods as m
from tests.torture.broker import Broker
from tests.torture.journal import Journal, read_block
from tests.torture.session import Held, Sender, Session, World
from tests.torture.steady import drain, look, set_up
from tests.torture.stream_oracle import StreamOracle
from tests.torture.topology import STEADY, mask

SIZE_MIB = 64
PUBLISHERS = 2
STEP_S_MAX = 30.0
STALLED_S = 5.0
"""Without a confirm for so long a publisher stands still, told or not."""
QUEUES = STEADY[:PUBLISHERS]


class Shape(NamedTuple):
    """What is published: `window` messages without confirm at most, sent in bursts.

    `more`: messages that each publisher gets confirmed after it was unblocked.
    """

    body_bytes: int
    window: int
    burst: int
    more: int


SHAPES = {
    "small": Shape(1000, 2000, 100, 3000),
    "pages": Shape(4096, 200, 20, 2000),
    "large": Shape(64 << 10, 200, 10, 300),
    "huge": Shape(300_000, 50, 5, 100),
}
"""The window of the last two is more than what is in reserve on such a disk."""


class CannotMount(Exception):
    """Why there is no small filesystem."""


@contextmanager
def small_filesystem(size_mib: int = SIZE_MIB) -> Iterator[Path]:
    """A tmpfs of this size, gone afterwards. CannotMount."""
    if os.geteuid() != 0:
        raise CannotMount("only root may mount a filesystem")
    with tempfile.TemporaryDirectory(prefix="mansio-full-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CannotMount(f"{command[0]}: {error}") from error
        if done.returncode:
            raise CannotMount(done.stderr.strip() or f"mount: exit code {done.returncode}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def used_mib(folder: Path) -> float:
    """What the files under a folder take, in MiB."""
    blocks = 0
    for path in folder.rglob("*"):
        try:
            blocks += path.lstat().st_blocks
        except FileNotFoundError:  # trimmed meanwhile
            continue
    return blocks * 512 / (1 << 20)


@dataclass(slots=True)
class Outcome:
    """What happened. `blocked`: connections that were told, at each fill; `findings`: what was wrong."""

    full_mib: float = 0.0
    drained_mib: float = 0.0
    blocked: list[int] = field(default_factory=list)
    stalled: list[int] = field(default_factory=list)
    resumed: int = 0
    restart_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


class Publisher:
    """One connection that publishes to a queue of its own as fast as it is allowed to."""

    def __init__(self, sender: Sender, queue: str, shape: Shape) -> None:
        self.sender = sender
        self.connection = sender.session.connection
        self._message = ("", queue, mask(queue), True, shape.body_bytes)
        self._shape = shape
        self.stalled = False

    @property
    def blocked(self) -> bool:
        """Whether connection.blocked came, and unblocked did not."""
        return not self.connection.unblocked.is_set()

    async def fill(self) -> None:
        """Until it is blocked, or nothing is confirmed any more."""
        while not self.blocked and not self.stalled:
            self.stalled = not await self._burst()

    async def go_on(self) -> None:
        """Until `more` of them are confirmed, blocked or not in between. TimeoutError."""
        self.stalled = False
        goal = self.sender.sent + self._shape.more
        async with asyncio.timeout(STEP_S_MAX):
            while self.sender.sent < goal:
                await self.connection.wait(self.connection.unblocked)
                await self._burst()
            await self.sender.settle()

    async def _burst(self) -> bool:
        """Some more messages, when there is room in the window; False if it stays full."""
        connection = self.connection
        while len(self.sender.unconfirmed) >= self._shape.window:
            connection.changed.clear()
            try:
                async with asyncio.timeout(STALLED_S):
                    await connection.wait(connection.changed)
            except TimeoutError:
                return False
            if self.blocked:
                return True
        self.sender.send([self._message] * self._shape.burst)
        await asyncio.sleep(0)
        return True


class DiskFull:
    """The scenario, on a data directory in a small filesystem."""

    def __init__(self, data: Path, log: Path, shape: Shape) -> None:
        self._data = data
        self.broker = Broker(data, log)
        self.outcome = Outcome()
        self._shape = shape
        self._oracle = StreamOracle()
        journal = Journal(self._apply)
        self._world = World(journal, self.broker.port)
        self._incarnation = 0

    def _apply(self, block: bytes) -> None:
        for event in read_block(block):
            self._oracle.apply(event)

    async def run(self) -> Outcome:
        """All of it. TimeoutError where something does not come."""
        self._start(crashed=False)
        await set_up(self._world)
        await look(self._world)
        publishers = await self._fill()
        self.outcome.full_mib = used_mib(self._data)
        await self._drain_and_go_on(publishers)
        await self._close(publishers)
        await drain(self._world, await look(self._world))
        await self._shrink()
        publishers = await self._fill()
        self.broker.kill(group=True)
        for publisher in publishers:
            await publisher.connection.ended.wait()
        self.outcome.restart_s = self._start(crashed=True)
        await drain(self._world, await look(self._world))
        publishers = await self._open()
        await self._drain_and_go_on(publishers)
        await self._close(publishers)
        await drain(self._world, await look(self._world))
        self._world.journal.flush()
        self.outcome.findings, self.outcome.counts = self._oracle.check()
        return self.outcome

    def _start(self, crashed: bool) -> float:
        seconds = self.broker.start()
        self._incarnation += 1
        self._world.journal("started", self._incarnation, crashed)
        return seconds

    async def _open(self) -> list[Publisher]:
        return [
            Publisher(await Sender.open(await Session.open(self._world), True), queue, self._shape)
            for queue in QUEUES
        ]

    async def _close(self, publishers: list[Publisher]) -> None:
        for publisher in publishers:
            await publisher.sender.session.ask(publisher.connection.close())

    async def _fill(self) -> list[Publisher]:
        publishers = await self._open()
        async with asyncio.timeout(STEP_S_MAX):
            await asyncio.gather(*(publisher.fill() for publisher in publishers))
        self.outcome.blocked.append(sum(publisher.blocked for publisher in publishers))
        self.outcome.stalled.append(sum(publisher.stalled for publisher in publishers))
        return publishers

    async def _drain_and_go_on(self, publishers: list[Publisher]) -> None:
        """Consumers empty the queues until every publisher has gone on for a while."""
        session = await Session.open(self._world)
        held = [Held(session, await session.channel()) for _ in QUEUES]
        for each, queue in zip(held, QUEUES, strict=True):
            await each.channel.call(m.BasicQos(0, 500), m.BasicQosOk)
            await each.consume(queue)
        going = asyncio.gather(*(publisher.go_on() for publisher in publishers))
        while not going.done():
            for each in held:
                if each.tags:
                    tags = list(each.tags)
                    each.settle(tags)
                    each.channel.send(m.BasicAck(tags[-1], True))
            await asyncio.sleep(0.001)
        await going
        self.outcome.resumed += len(publishers)
        for each in held:
            each.requeue(list(each.tags))
        await session.ask(session.connection.close())

    async def _shrink(self) -> None:
        """The log gets small again, a moment after the last acknowledgement."""
        deadline = time.monotonic() + STEP_S_MAX
        while time.monotonic() < deadline:
            self.outcome.drained_mib = used_mib(self._data)
            if self.outcome.drained_mib < self.outcome.full_mib / 2:
                break
            await asyncio.sleep(0.1)


def complaints(outcome: Outcome) -> list[str]:
    """What is not as it should be."""
    found = list(outcome.findings)
    if min(outcome.blocked, default=0) < PUBLISHERS:
        found.append(f"connection.blocked came to {outcome.blocked} of {PUBLISHERS} publishers")
    if outcome.resumed < 2 * PUBLISHERS:
        found.append(f"publishers went on {outcome.resumed} of {2 * PUBLISHERS} times")
    if any(outcome.stalled):
        found.append(f"{outcome.stalled} publishers stood still and were not told")
    if outcome.drained_mib >= outcome.full_mib / 2:
        found.append(f"the log takes {outcome.drained_mib:.1f} of {outcome.full_mib:.1f} MiB")
    return found


def run(shape: Shape, size_mib: int = SIZE_MIB) -> tuple[Outcome, list[str]]:
    """One scenario on a filesystem of its own: what happened, and what was wrong. CannotMount."""
    with small_filesystem(size_mib) as folder, tempfile.TemporaryDirectory() as logs:
        scenario = DiskFull(folder / "data", Path(logs) / "broker.log", shape)
        try:
            asyncio.run(scenario.run())
        except TimeoutError as error:
            where = traceback.extract_tb(error.__traceback__)
            steps = " > ".join(step.name for step in where if step.filename == __file__)
            return scenario.outcome, [f"{steps}: no end in time\n{scenario.broker.log_tail()}"]
        finally:
            scenario.broker.kill(group=True)
    return scenario.outcome, complaints(scenario.outcome)


def main() -> int:
    """Exit code 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.disk_full")
    parser.add_argument("--size", type=int, default=SIZE_MIB, help="MiB (64)")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="all of them")
    options = parser.parse_args()
    failed = False
    for name in options.shape or SHAPES:
        outcome, wrong = run(SHAPES[name], options.size)
        print(f"disk full, {name}: {'FAILED' if wrong else 'passed'}, {outcome}", flush=True)
        for text in wrong:
            print(text)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
