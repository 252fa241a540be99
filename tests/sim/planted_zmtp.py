"""Bugs that are put in on purpose, of the ZeroMQ front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from mansio.core.bounds import Bound
from mansio.core.run import Run
from mansio.core.session import Outcome
from mansio.protocol.zmtp import putting, results
from mansio.protocol.zmtp.answering import Answering
from mansio.protocol.zmtp.asking import Asking
from mansio.protocol.zmtp.connection import ZmtpConnection
from mansio.protocol.zmtp.giving import Giving
from mansio.protocol.zmtp.leases import Leases, _Seat
from mansio.protocol.zmtp.pending import Pending, Told
from mansio.protocol.zmtp.replying import Reply
from tests.sim.planted_worlds import worlds
from tests.sim.profile import SLOW, Profile

Plant = Callable[[], AbstractContextManager[Any]]


def _told_early() -> AbstractContextManager[Any]:
    """200 is said as soon as a task has come."""

    def early(self: Pending, count: int, told: Told) -> None:
        told(0, ())

    return with_peers(patch.object(Pending, "add", early))


def _full_and_stored() -> AbstractContextManager[Any]:
    """Who puts into a full queue hears 200."""
    confirmed = Pending.confirmed

    def deaf(self: Pending, upto: int, rejected: list[tuple[int, int]]) -> None:
        confirmed(self, upto, [])

    return with_peers(patch.object(Pending, "confirmed", deaf), full=True)


def _lease_lost() -> AbstractContextManager[Any]:
    """What a peer has not settled is gone when its connection ends."""

    def closed(self: Answering) -> None:
        channel = self.connection.channel
        if channel.ledger.total:
            self.connection.broker.settle(channel, 0, 0, True, Outcome.ACCEPT)

    return with_peers(patch.object(Answering, "closed", closed))


def _wrong_envelope() -> AbstractContextManager[Any]:
    """Replies to PUTs that came in a row have the envelopes of each other."""
    init = putting._Row.__init__

    def mixed(self: Any, connection: Any, envelopes: list[Any], *about: Any) -> None:
        init(self, connection, envelopes[::-1], *about)

    return with_peers(patch.object(putting._Row, "__init__", mixed))


def _result_lost() -> AbstractContextManager[Any]:
    """NEXT and ACK settle a task, and its result goes nowhere."""
    return with_peers(patch.object(results, "answer", lambda *about: False), asking=True)


def _done_early() -> AbstractContextManager[Any]:
    """ACK is answered before the settlement is in the log."""

    def ack(self: Leases, reply: Reply, tag: str, result: Sequence[bytes], *about: Any) -> None:
        self._finish(self._find(tag), result, None)
        reply.done()

    return with_peers(patch.object(Leases, "ack", ack), slow=True)


def _looks_new() -> AbstractContextManager[Any]:
    """Tasks that have come back look as if nobody had had them."""
    give = Leases.give

    def fresh(
        self: Leases, reply: Reply, run: Run, i: int, number: int, again: bool, seat: Any
    ) -> None:
        give(self, reply, run, i, number, False, seat)

    return with_peers(patch.object(Leases, "give", fresh))


def _twice() -> AbstractContextManager[Any]:
    """A seat that has got a task gets another one before that is done."""
    init = _Seat.__init__

    def roomy(self: Any, *about: Any) -> None:
        init(self, *about)
        self.consumer.limit = 2

    return with_peers(patch.object(_Seat, "__init__", roomy))


def _sits_on() -> AbstractContextManager[Any]:
    """Who has waited long enough is told so, and still a consumer."""
    return with_peers(patch.object(Leases, "leave", lambda self, seat: None))


def _pulled_again() -> AbstractContextManager[Any]:
    """What was on its way to a PULL peer that is gone is given to others."""
    return with_peers(patch.object(Giving, "closed", lambda self: None))


def _pulled_and_kept() -> AbstractContextManager[Any]:
    """A PONG acknowledges nothing."""
    return with_peers(patch.object(Giving, "ponged", lambda self, context: None))


def _pushed_too_much() -> AbstractContextManager[Any]:
    """A PUSH peer does not wait for a full queue."""

    def takes(self: Bound, queue: Any, run: Run) -> bool:
        return True

    @contextmanager
    def pushed() -> Iterator[None]:
        types = patch("tests.sim.zmtp_operations.TYPES", ("PUSH",))
        with patch.object(Bound, "takes", takes), types:
            yield

    return with_peers(pushed(), full=True)


def _replied_in_vain() -> AbstractContextManager[Any]:
    """A worker has the task for ever that it said it could not do."""

    def settle(self: Asking, frames: list[bytes]) -> bool:
        self._tag = 0
        return True

    return with_peers(patch.object(Asking, "_settle", settle))


def _replied_late() -> AbstractContextManager[Any]:
    """A reply to what a worker had before is one to what it has."""
    receive = Asking.receive

    def deaf(self: Asking, messages: list[list[bytes]]) -> int:
        return receive(self, [frames[frames.index(b"") :] for frames in messages])

    return with_peers(patch.object(Asking, "receive", deaf))


def _patient() -> AbstractContextManager[Any]:
    """A worker that is gone without a word keeps what it has."""

    def freeze(profile: Profile, _: Random) -> None:
        profile.taste["freeze"] = profile.taste["sleep"] = 3.0

    bug = patch.object(ZmtpConnection, "_owes", lambda self: self.heartbeats._asked is False)
    return worlds(with_peers(bug), freeze)


def with_peers(
    bug: AbstractContextManager[Any], full: bool = False, asking: bool = False, slow: bool = False
) -> AbstractContextManager[Any]:
    """Worlds with many ZeroMQ peers; `full`: queues have room for few, `asking`: most messages ask for receipts or
    answers, `slow`: the log is."""

    def invite(profile: Profile, _: Random) -> None:
        profile.access, profile.sockets = False, 0.7
        if asking:
            profile.telling = 0.8
        if slow:
            profile.faults, profile.persistent = SLOW, 0.9
        for queue in profile.plain if full else ():
            queue.arguments |= {"x-max-length": 1, "x-overflow": "reject-publish"}

    return worlds(bug, invite)


BUGS: tuple[tuple[str, Plant], ...] = (
    ("ZeroMQ: stored before durable", _told_early),
    ("ZeroMQ: full and stored", _full_and_stored),
    ("ZeroMQ: lease lost with its connection", _lease_lost),
    ("ZeroMQ: wrong envelope", _wrong_envelope),
    ("ZeroMQ: result lost", _result_lost),
    ("ZeroMQ: done before durable", _done_early),
    ("ZeroMQ: redelivered and not marked", _looks_new),
    ("ZeroMQ: a seat for two", _twice),
    ("ZeroMQ: a seat for ever", _sits_on),
    ("ZeroMQ: pulled twice", _pulled_again),
    ("ZeroMQ: pulled and kept", _pulled_and_kept),
    ("ZeroMQ: pushed too much", _pushed_too_much),
    ("ZeroMQ: replied in vain", _replied_in_vain),
    ("ZeroMQ: silent for ever", _patient),
    ("ZeroMQ: reply to another task", _replied_late),
)
