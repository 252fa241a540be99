"""A world without sockets whose log is kept: it can be crashed behind any part of a turn, and goes on from there."""

from itertools import pairwise
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.core.check import check
from mansio.core.restore import Restore
from tests.protocol.talk import Message, Talker, World

T0 = 1_700_000_000_000


class LastingWorld(World):
    """`parts`: of the log, each of which is there as a whole or not at all: lists of records."""

    def __init__(self, parts: list[list[bytes]] | None = None, **limits: Any) -> None:
        super().__init__(**limits)
        self.parts = parts or []
        self.broker.now_ms = T0
        if parts is None:
            self.broker.journal.started("test", new=True)
            return
        restore = Restore(self.broker)
        for seq, part in enumerate(self.parts, start=1):
            restore.entry(seq, sum(map(len, part)))
            offset = 0
            for record in part:
                restore.apply(record, offset)
                offset += len(record)
        restore.finish()
        self.broker.journal.started("test", new=False)
        check(self.broker)

    def turn(self, durable: bool = True) -> None:
        journal = self.broker.journal
        records = [b"".join(parts) for parts in self.broker.end_turn()]
        breaks = [0, *journal.breaks, len(records)]
        at = 0
        for first, stop in pairwise(breaks):
            part = records[first:stop]
            if not part:
                continue
            self.parts.append(part)
            seq = len(self.parts)
            placed = [
                (owner, seq, sum(map(len, part[: number - first])), len(part[number - first]))
                for number, owner in journal.owners
                if first <= number < stop
            ]
            journal.placed(seq, sum(map(len, part)), placed)
            at = seq
        assert not records or at
        self.ticket += 1
        self.broker.seal(self.ticket)
        if durable:
            self.broker.durable(self.ticket)
        check(self.broker)

    def load(self) -> None:
        """Reads what is wanted from the log."""
        loading = self.broker.paging.loading
        for run in loading.take(1 << 40):
            data = b"".join(self.parts[run.seq - 1])
            loading.loaded(run, data[run.offset : run.offset + run.size])

    def restarted(self, parts: int | None = None, **limits: Any) -> "LastingWorld":
        """The broker after a crash that so many parts of the log have survived; at the same time of day."""
        world = LastingWorld([list(part) for part in self.parts[:parts]], **limits)
        world.broker.now_ms = self.broker.now_ms
        return world

    def ready(self, queue: str) -> int:
        """How many messages are ready in a queue; -1 when it is not there."""
        found = self.broker.vhosts["/"].queues.get(queue)
        return -1 if found is None else found.ready_count


def settle_down(world: LastingWorld, *talkers: Talker) -> list[Any]:
    """Turns until nothing is left to hand out; answers what the clients heard."""
    heard: list[Any] = []
    for _ in range(20):
        world.turn()
        for talker in talkers:
            heard += [item for _, item in talker.hear()]
        if not world.broker.unfinished:
            break
    return heard


def take(talker: Talker, queue: str) -> list[Message]:
    """Takes everything that is ready in a queue."""
    found: list[Message] = []
    while True:
        heard = talker.call(1, m.BasicGet(queue, no_ack=True))
        messages = [item for item in heard if isinstance(item, Message)]
        if not messages:
            return found
        found += messages
