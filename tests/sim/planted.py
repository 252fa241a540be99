"""Bugs that are put in on purpose: a simulation that does not find these would not find others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mansio.core.broker import Broker
from mansio.core.confirms import Confirms
from mansio.core.consuming import Consuming
from mansio.core.dispatch import Consumer
from mansio.core.inflight import Ledger, Piece
from mansio.core.loading import Loading
from mansio.core.overdue import Overdue, Watch
from mansio.core.queue import Queue
from mansio.core.retention import Retention
from mansio.core.routing import Binding, Route
from mansio.core.run import Run, Span
from mansio.core.session import Session
from mansio.core.settling import Settling
from mansio.core.sharing import Sharing
from mansio.core.strategies import LeastLoaded, RoundRobin, Weighted
from mansio.core.topology import VHost
from tests.sim import (
    planted_access,
    planted_delays,
    planted_letters,
    planted_partitions,
    planted_policies,
    planted_producers,
    planted_receipts,
    planted_repeats,
    planted_streams,
    planted_zmtp,
)
from tests.sim.planted_worlds import worlds
from tests.sim.profile import SLOW, Profile

if TYPE_CHECKING:
    from tests.sim.cli import Result

OFTEN = 10
"""Some bugs strike only every so many times."""


@dataclass(slots=True)
class Planted:
    """`plant` gives a patch that puts the bug in for as long as it is entered."""

    name: str
    plant: Callable[[], AbstractContextManager[Any]]
    steps: int = 300
    """What a world needs for the bug to strike."""


def find(bug: Planted, seeds: Iterable[int], run: Callable[[int], Result]) -> Result | None:
    """The first seed whose world goes wrong with the bug, or None. ZeroMQ peers are in worlds whose bug is theirs."""
    for seed in seeds:
        with patch.object(Profile, "draw_sockets", lambda self, rng: None), bug.plant():
            result = run(seed)
        if result.error:
            return result
    return None


def _confirm_early() -> AbstractContextManager[Any]:
    """Confirms leave before the log entry is durable."""
    durable = Broker.durable

    def early(self: Broker, ticket: int) -> None:
        durable(self, ticket + 1)

    return patch.object(Broker, "durable", early)


def _requeue_behind() -> AbstractContextManager[Any]:
    """What is requeued goes to the end of the queue."""

    def behind(self: Queue, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.in_flight -= piece.count
            self.ready_count += piece.count
            for i in range(piece.start, piece.start + piece.count * piece.step, piece.step):
                self.ready.append(Span(piece.run, i, i + 1, piece.base, True))

    return patch.object(Queue, "requeue", behind)


def _lostcredit() -> AbstractContextManager[Any]:
    """Now and then an ack frees room, and the queue is not told."""
    credit = Settling.credit
    calls = 0

    def lost(self: Settling, piece: Piece) -> None:
        nonlocal calls
        calls += 1
        if calls % OFTEN or piece.consumer is None:
            credit(self, piece)
        else:
            piece.consumer.unsettled -= piece.count
            piece.consumer.channel.unsettled -= piece.count

    return patch.object(Settling, "credit", lost)


def _not_redelivered() -> AbstractContextManager[Any]:
    """What was requeued looks as if it came for the first time."""
    requeue = Queue.requeue

    def fresh(self: Queue, pieces: Sequence[Piece]) -> None:
        requeue(self, pieces)
        for span in self.ready:
            span.redelivered = False

    return patch.object(Queue, "requeue", fresh)


def _lost_confirm() -> AbstractContextManager[Any]:
    """Now and then a turn forgets that it owes a confirm."""
    seal = Confirms.seal
    calls = 0

    def forgetful(self: Confirms, ticket: int) -> None:
        nonlocal calls
        calls += 1
        if not calls % OFTEN:
            self._publishing.clear()
        seal(self, ticket)

    return patch.object(Confirms, "seal", forgetful)


def _lost_settlement() -> AbstractContextManager[Any]:
    """Now and then settlements do not reach the log."""
    take = Settling.take_records
    calls = 0

    def forgetful(self: Settling) -> list[Any]:
        nonlocal calls
        calls += 1
        records: list[Any] = take(self)
        return records if calls % OFTEN else []

    return patch.object(Settling, "take_records", forgetful)


def _shared_run() -> AbstractContextManager[Any]:
    """Publishes of two channels are grouped as if they came from one."""
    init = Route.__init__

    def mixed(self: Route, *args: Any, **fields: Any) -> None:
        init(self, *args, **fields)
        self.group = frozenset([(0, queue.id) for queue in self.queues] or [(0, 0)])

    return patch.object(Route, "__init__", mixed)


def _stale_routes() -> AbstractContextManager[Any]:
    """A connection goes on to use the routes that it knows when a binding is removed."""
    remove = VHost.remove_binding

    def silent(self: VHost, binding: Binding) -> None:
        version = self.version
        remove(self, binding)
        self.version = version

    return patch.object(VHost, "remove_binding", silent)


def _early_reply() -> AbstractContextManager[Any]:
    """A client hears of a change that is not durable yet."""
    return patch.object(Confirms, "changed", lambda self, session: None)


def _early_cut() -> AbstractContextManager[Any]:
    """The log is cut before the settlements are durable that make its front superfluous.

    Strikes only a broker that crashes in between, so the worlds are such that this happens.
    """

    def crash(profile: Profile, _: Random) -> None:
        profile.crashes, profile.faults = 0.02, SLOW
        profile.bucket_bytes = profile.group_bytes_max = 300

    return worlds(patch.object(Retention, "settled", Retention._forget), crash)


def _wrong_record() -> AbstractContextManager[Any]:
    """Now and then a run gets the bytes of the one that was read before it."""
    before = (0, b"", None, None)
    calls = 0

    def mixed(self: Run, count: int, data: bytes, ends: Any, which: Any) -> bool:
        nonlocal before, calls
        calls += 1
        found, before = before, (count, data, ends, which)
        if found[0] == count and not calls % OFTEN:
            _, data, ends, which = found
        self.data, self.ends, self.which = data, ends, which
        return True

    return patch.object(Run, "page_in", mixed)


def _nobody_woken() -> AbstractContextManager[Any]:
    """Now and then messages are read back, and the queue that waits for them is not told."""
    wake = Loading._wake
    calls = 0

    def silent(self: Loading, run: Run) -> None:
        nonlocal calls
        calls += 1
        if not calls % OFTEN:
            self._queues.pop(run, None)
        wake(self, run)

    return patch.object(Loading, "_wake", silent)


def _ignored_priority() -> AbstractContextManager[Any]:
    """Consumers of a lower priority get messages while those above them wait for their next turn."""
    return patch.object(Consumer, "is_spent", False)


def _wrong_successor() -> AbstractContextManager[Any]:
    """The newest consumer becomes the single active one."""
    remove = Sharing.remove

    def newest(self: Sharing, consumer: Consumer) -> None:
        remove(self, consumer)
        if self.active is not None and self.groups:
            self.active = self.groups[0].consumers[-1]

    return patch.object(Sharing, "remove", newest)


def _ignored_weight() -> AbstractContextManager[Any]:
    """Consumers get messages as if all had the same weight. Worlds in which weights are usual."""

    def weigh(profile: Profile, _: Random) -> None:
        profile.taste["priority"] = profile.taste["consume"] = 1.0
        for queue in profile.plain:
            queue.arguments["x-dispatch-strategy"] = "weighted"

    return worlds(patch.object(Weighted, "share", RoundRobin.share), weigh)


def _ignored_load() -> AbstractContextManager[Any]:
    """Consumers get messages whatever they have to do already."""
    return patch.object(LeastLoaded, "share", RoundRobin.share)


def _waiting_for_the_deaf() -> AbstractContextManager[Any]:
    """A connection takes no more, and consumers that waited for its own are not told. Worlds in which that is usual."""

    def narrow(profile: Profile, _: Random) -> None:
        profile.taste["priority"] = profile.taste["consume"] = 3.0
        profile.turn_bytes, profile.write_high_bytes = 300, 600

    def silent(self: Consuming, session: Session, writable: bool) -> None:
        session.writable = writable
        if writable:
            self.grant(session)
        else:
            session.allowance = 0

    return worlds(patch.object(Consuming, "set_writable", silent), narrow)


def _never_late() -> AbstractContextManager[Any]:
    """Now and then nobody looks any more whether deliveries are late."""
    look_at = Overdue.look_at
    calls = 0

    def forgetful(self: Overdue, watch: Watch, when_ms: int) -> None:
        nonlocal calls
        calls += 1
        if calls % OFTEN:
            look_at(self, watch, when_ms)

    return patch.object(Overdue, "look_at", forgetful)


def _taken_too_much() -> AbstractContextManager[Any]:
    """With the deliveries of a late consumer all others of its channel are taken back, and forgotten."""
    return patch.object(Ledger, "withdraw", lambda self, flights: self.take_all())


PLANTED = (
    Planted("confirm before durable", _confirm_early),
    Planted("requeue at the wrong end", _requeue_behind),
    Planted("lost credit", _lostcredit),
    Planted("redelivered flag forgotten", _not_redelivered),
    Planted("lost confirm", _lost_confirm),
    Planted("lost settlement record", _lost_settlement),
    Planted("channels share a run", _shared_run),
    Planted("stale routes", _stale_routes, steps=600),
    Planted("reply before durable", _early_reply),
    Planted("log cut too early", _early_cut, steps=500),
    Planted("wrong record read back", _wrong_record),
    Planted("read back for nobody", _nobody_woken),
    Planted("priority ignored", _ignored_priority),
    Planted("wrong single active consumer", _wrong_successor),
    Planted("weight ignored", _ignored_weight),
    Planted("load ignored", _ignored_load),
    Planted("waiting for the deaf", _waiting_for_the_deaf),
    Planted("never late", _never_late),
    Planted("more taken back than is late", _taken_too_much),
    *(
        Planted(name, plant, steps=400)
        for bugs in (
            planted_access,
            planted_letters,
            planted_delays,
            planted_repeats,
            planted_receipts,
            planted_streams,
            planted_policies,
            planted_producers,
            planted_partitions,
            planted_zmtp,
        )
        for name, plant in bugs.BUGS
    ),
)
