"""The process of all clients: does what the controller says, and tells the oracle's process everything.

One process and one thread, so that the order of events in the journal is the order in which they happened.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from multiprocessing.connection import Connection as Pipe
from random import Random
from typing import Any

from tests.torture.changes import Seen
from tests.torture.churn import Churn
from tests.torture.journal import Journal
from tests.torture.roles import Consumer, Member, be_loose, publish
from tests.torture.session import Sender, Session, World
from tests.torture.steady import drain, look, set_up
from tests.torture.stream_roles import follow, produce
from tests.torture.transactions import transact
from tests.torture.wire import ChannelClosed, Lost, Unexpected

FLUSH_S = 0.005
PROBE_S_MAX = 20.0
STREAMS_SHARE = 0.75
"""Of the rounds with readers, groups and numbered producers; queues have the others for themselves."""


class Load:
    """Answers commands: `(id, name, arguments …)` with `(id, fault or "", result)`."""

    def __init__(self, commands: Pipe, journal: Pipe, port: int) -> None:
        self._commands = commands
        self._journal = Journal(journal.send_bytes)
        self._world = World(self._journal, port)
        self._there: Seen = {}

    async def run(self) -> None:
        """Until the command `exit`."""
        loop = asyncio.get_running_loop()
        flushing = asyncio.create_task(self._flush())
        under_way: set[asyncio.Task[None]] = set()
        while True:
            number, name, *arguments = await loop.run_in_executor(None, self._commands.recv)
            if name == "exit":
                break
            task = asyncio.create_task(self._do(number, name, arguments))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        flushing.cancel()
        self._journal.flush()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._journal.flush()

    async def _do(self, number: int, name: str, arguments: list[Any]) -> None:
        fault, result = "", None
        try:
            result = await getattr(self, name)(*arguments)
        except Exception as error:
            fault = f"{name}: {error!r} {traceback.format_exc()}"
        self._journal.flush()
        self._commands.send((number, fault, result))

    # -- commands

    async def note(self, *event: Any) -> None:
        """An event that the controller knows of."""
        self._journal(*event)

    async def set_up(self) -> None:
        """Declare what stays."""
        await set_up(self._world)

    async def look(self) -> None:
        """Look at queues, exchanges and bindings."""
        self._there = await look(self._world)

    async def drain(self, seed: str) -> None:
        """Empty all queues and groups, and read all streams."""
        await drain(self._world, self._there, Random(seed))

    async def probe(self) -> None:
        """A message is confirmed in time."""
        async with asyncio.timeout(PROBE_S_MAX):
            session = await Session.open(self._world)
            sender = await Sender.open(session, True)
            sender.mark()
            await sender.settle()
            await session.connection.close()

    async def stop(self) -> None:
        """Roles come to an end in order."""
        self._world.stopping = True

    async def work(self, seed: str, polite: bool) -> list[str]:
        """All roles at once, until the broker dies or `stop`; answers what they complain of."""
        world, rng = self._world, Random(seed)
        world.stopping, world.polite = False, polite
        world.streams = rng.random() < STREAMS_SHARE
        roles: list[Coroutine[Any, Any, None]] = [Churn(world, _fork(rng), self._there).run()]
        roles += [publish(world, _fork(rng), True) for _ in range(rng.randrange(1, 4))]
        roles += [publish(world, _fork(rng), False) for _ in range(rng.randrange(2))]
        roles += [Consumer(world, _fork(rng)).run() for _ in range(rng.randrange(5))]
        roles += [transact(world, _fork(rng)) for _ in range(rng.randrange(3))]
        roles += [be_loose(world, _fork(rng)) for _ in range(rng.randrange(2))]
        if world.streams:
            roles += [follow(world, _fork(rng), i) for i in range(rng.randrange(4))]
            roles += [produce(world, _fork(rng), i) for i in range(rng.randrange(3))]
            roles += [Member(world, _fork(rng)).run() for _ in range(rng.randrange(3))]
        await asyncio.gather(*(self._role(role) for role in roles))
        faults, world.faults = world.faults, []
        return faults

    async def _role(self, role: Coroutine[Any, Any, None]) -> None:
        try:
            await role
        except (Lost, OSError):
            pass
        except (ChannelClosed, Unexpected, TimeoutError, KeyError, ValueError) as error:
            self._world.faults.append(f"{error!r} {traceback.format_exc()}")


def _fork(rng: Random) -> Random:
    return Random(rng.getrandbits(64))


def main(commands: Pipe, journal: Pipe, port: int) -> None:
    """The process."""
    asyncio.run(Load(commands, journal, port).run())
